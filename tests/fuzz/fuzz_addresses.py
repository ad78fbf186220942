"""Lists of addresses from the network, and a damaged table, to `parse_addresses` and `from_bytes`.

Invariant: nothing but ListError is raised, and that by a table only. Every network is public, not wide, and without
bits behind its prefix; the counts add up; a table made of the list finds each of its networks.
"""

from __future__ import annotations

import ipaddress

from guardian.blocklist.address_lists import AddressFacts, parse_addresses
from guardian.blocklist.addresses import MAGIC, build_table, from_bytes, parse_network
from guardian.errors import ListError
from tests.fuzz.driver import main, mutate_text

SEEDS = [
    b"# exits\n8.8.8.8\n8.8.4.4 # why\r\n\n2620:fe::fe\n9.0.0.0/8\n2a00::/16\n",
    b"1.1.1.1:853\n1.0.0.1 1080\n[2620:fe::fe]:443\n::ffff:8.8.8.8\n2002:808:808::/48\n64:ff9b::808:808\n",
    b"0.0.0.0 ads.example.com\n10.0.0.1\n0.0.0.0/0\nfe80::1%eth0\n<html>\n",
    build_table([("bypass:doh", parse_network("8.8.8.8")), ("bypass:tor", parse_network("2a00::1"))]).to_bytes(),
]
EXTRA = [
    b"/", b"/0", b"/33", b":", b"::", b"[", b"]", b"%", b"#", b";", b"\xff", b"\0", b"1.2.3.4", b"ffff:", b" 80",
    b"64:ff9b::",
]  # fmt: skip


def check(data: bytes) -> None:
    facts = AddressFacts()
    found = list(parse_addresses(data, facts))
    assert facts.entries == len(found) == facts.content - sum(facts.refused.values())
    assert facts.content <= facts.lines <= data.count(b"\n") + 1
    table = build_table(("x", network) for network in found)
    for first, bits in found:
        network = ipaddress.ip_network((first, bits))  # strict: raises for bits behind the prefix
        assert network.prefixlen >= (8 if len(first) == 4 else 16)
        assert not (network.is_loopback or network.is_link_local or network.is_multicast or network.is_unspecified)
        assert table.lookup(first) == table.lookup(network.broadcast_address.packed) == "x"
    if data.startswith(MAGIC):
        try:
            from_bytes(data)
        except ListError:
            return


mutate = mutate_text(EXTRA)

if __name__ == "__main__":
    main(check, SEEDS, mutate)
