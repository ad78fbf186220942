"""What clients send, to `guardian.wire.dns.parse_query`.

Invariant: it returns a Query or raises FormError, nothing else. A Query's name is a lower-case wire name of at most 255
bytes that stands in the packet; its question ends inside the packet. Where `parse_message` also reads the packet, both
read the same.
"""

from __future__ import annotations

import dns.edns
import dns.message

from guardian.errors import FormError
from guardian.names import MAX_NAME_BYTES
from guardian.wire.dns import HEADER_BYTES, OPTION_MAC, parse_message, parse_query, read_mac
from tests.fuzz.driver import main


def make_seeds() -> list[bytes]:
    seeds = []
    for name in (".", "a", "www.example.com", "a" * 63 + "." + "b" * 63 + ".example", "_dns.resolver.arpa"):
        for kind in ("A", "HTTPS", "ANY"):
            seeds.append(dns.message.make_query(name, kind, use_edns=False).to_wire())
            seeds.append(dns.message.make_query(name, kind, want_dnssec=True).to_wire())
    options: list[dns.edns.Option] = [
        dns.edns.GenericOption(dns.edns.OptionType(OPTION_MAC), b"\2\0\0\0\0\2"),
        dns.edns.ECSOption("10.0.0.2"),
        dns.edns.GenericOption(dns.edns.OptionType(10), bytes(8)),
        dns.edns.GenericOption(dns.edns.OptionType(12), bytes(64)),
    ]
    seeds.append(dns.message.make_query("www.example.com", "A", use_edns=0, options=options).to_wire())
    seeds.append(dns.message.make_query("www.example.com", "A", use_edns=1).to_wire())
    return seeds


def check(data: bytes) -> None:
    try:
        query = parse_query(data)
    except FormError:
        return
    assert HEADER_BYTES < query.question_end <= len(data)
    assert data[HEADER_BYTES : query.question_end - 4].lower() == query.name == query.name.lower()
    assert len(query.name) <= MAX_NAME_BYTES
    position = 0
    while length := query.name[position]:
        assert length < 64
        position += 1 + length
    assert position == len(query.name) - 1
    mac = read_mac(query)
    assert mac is None or len(mac) == 6
    try:
        message = parse_message(data)
    except FormError:
        return  # the whole parser also reads what a query carries besides
    assert message.question is not None
    assert message.question.name.lower() == query.name
    assert (message.question.type, message.question.class_) == (query.type, query.class_)
    assert (message.id, message.flags, message.edns) == (query.id, query.flags, query.edns)


SEEDS = make_seeds()

if __name__ == "__main__":
    main(check, SEEDS)
