"""Lease files, with the names that devices give themselves, to `guardian.leases.parse_leases`.

Invariant: nothing is raised. Each lease has a packed address, once; a MAC of six bytes or none; and a host name that is
one LDH label or "", never one of those that others trust.
"""

from __future__ import annotations

import re

from guardian.leases import MAX_LEASES, clean_hostname, parse_leases
from tests.fuzz.driver import main, mutate_text

SEEDS = [
    b"1795348800 02:00:5e:10:00:01 192.168.1.23 tablet 01:02:00:5e:10:00:01\n0 02:00:5e:10:00:02 192.168.1.24 * *\n"
    b"duid 00:01:00:01:2a:bc\n1795348800 123 fd00::7 phone 00:03:00:01:02:00:5e:10:00:03\n",
    b"# br-lan 00030001025e10000001 1 tablet 1795348800 7 128 fd00::7/128 2001:db8::7/128\n"
    b"# br-lan 02005e100001 ipv4 printer 1795348800 17 32 192.168.1.9/32\n192.168.1.9\tprinter.lan printer\n",
    b"address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id\n"
    b"192.168.1.10,02:00:5e:10:00:05,,3600,1795348800,1,0,0,laptop.lan,0,,0\n192.168.1.10,,,0,0,1,0,0,,2,,0\n",
    b"address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,"
    b"hwaddr,state\nfd00::9,00:03:00:01:02:00:5e:10:00:06,3600,1795348800,1,3600,0,1,128,0,0,a&#x2cb,,0\n",
]
EXTRA = [
    b"wpad", b"localhost", b"<script>", b"../../etc", b"\0", b"\xff", b"&#x2c", b"&#x00", b"a" * 300, b"\x0b",
    b"\x1c", b"\x85", "\u2028".encode(), b",", b",,,,", b"# ", b"*", b"-", b"%n", b"xn--", b"999.1.1.1", b"::",
    b"1" * 30, "ЁЖ".encode(), b"\r", b" ",
]  # fmt: skip
_LABEL = re.compile(r"(?!-)[a-z0-9-]{0,63}(?<!-)\Z")


def check(data: bytes) -> None:
    for text in (data.decode("utf-8", "replace"), data.decode("utf-8", "surrogateescape"), data.decode("latin-1")):
        leases = parse_leases(text)
        assert len(leases) <= MAX_LEASES
        assert len({lease.address for lease in leases}) == len(leases)
        for lease in leases:
            assert len(lease.address) in (4, 16)
            assert lease.mac is None or len(lease.mac) == 6
            assert lease.hostname == "" or _LABEL.match(lease.hostname), lease
            assert lease.hostname not in ("wpad", "isatap", "localhost")
            assert lease.expires >= 0
        label = clean_hostname(text[:80])
        assert label == "" or _LABEL.match(label)


mutate = mutate_text(EXTRA)

if __name__ == "__main__":
    main(check, SEEDS, mutate)
