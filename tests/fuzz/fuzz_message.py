"""What upstreams send, to `guardian.wire.dns.parse_message` and on into a cache entry.

Invariant: FormError or a Message. A Message that is built again and parsed again says the same (names by RFC 4343: case
does not matter), within 64 KiB. An entry made of it is rendered at any second to records that parse, whose owners lie
on the way from the name, with no TTL above the cap; without ech no record has any.
"""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from guardian.errors import FormError
from guardian.names import MAX_NAME_BYTES
from guardian.resolver.cache import MAX_REVEALED, Entry, Limits, make_entry, make_key
from guardian.resolver.local import is_private_address
from guardian.wire.dns import Message, Record, build_message, parse_message
from guardian.wire.svcb import KEY_ECH, parse_service_binding
from tests.fuzz.driver import main

_LIMITS = Limits()
_ANSWERS = (
    ("A", ["www.example.com. 60 A 192.0.2.1", "www.example.com. 61 A 10.0.0.1"]),
    ("A", ["www.example.com. 60 CNAME a.cdn.test.", "a.cdn.test. 5 CNAME b.cdn.test.", "b.cdn.test. 9 A 192.0.2.1"]),
    ("AAAA", ["example.com. 60 DNAME x.test.", "www.example.com. 0 CNAME www.x.test.", "www.x.test. 7 AAAA fd00::1"]),
    ("HTTPS", ["www.example.com. 60 HTTPS 1 . alpn=h2 ech=AA3+DQAJAAAAAAAAAAAA ipv4hint=192.0.2.1,10.0.0.1"]),
    ("HTTPS", ["www.example.com. 60 HTTPS 1 svc.test. mandatory=alpn,ech alpn=h3 ech=AA3+DQAJAAAAAAAAAAAA"]),
    ("SVCB", ["www.example.com. 60 SVCB 0 other.test."]),
    ("MX", ["www.example.com. 60 MX 10 mail.example.com.", "www.example.com. 60 MX 20 mail.example.com."]),
    ("SRV", ["www.example.com. 60 SRV 1 2 3 srv.example.com."]),
    ("TXT", ['www.example.com. 60 TXT "hello" "world"']),
    ("TYPE65280", ["www.example.com. 60 TYPE65280 \\# 4 01020304"]),
    ("SOA", ["www.example.com. 60 SOA ns.example.com. host.example.com. 1 2 3 4 5"]),
    ("NAPTR", ['www.example.com. 60 NAPTR 1 2 "u" "E2U+sip" "!^.*$!x!" .']),
)


def make_seeds() -> list[bytes]:
    seeds = []
    for kind, lines in _ANSWERS:
        for dnssec in (False, True):
            reply = dns.message.make_response(dns.message.make_query("www.example.com", kind, want_dnssec=dnssec))
            reply.flags |= dns.flags.RA | dns.flags.AD
            for line in lines:
                owner, ttl, type_, rest = line.split(maxsplit=3)
                reply.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", type_, rest))
            seeds.append(reply.to_wire())
    reply = dns.message.make_response(dns.message.make_query("www.example.com", "A", want_dnssec=True))
    reply.set_rcode(dns.rcode.NXDOMAIN)
    reply.authority.append(
        dns.rrset.from_text("example.com.", 900, "IN", "SOA", "ns.example.com. h.example.com. 1 2 3 4 5")
    )
    reply.authority.append(dns.rrset.from_text("example.com.", 900, "IN", "NSEC", "z.example.com. A NS SOA"))
    return [*seeds, reply.to_wire()]


def lower(message: Message) -> Message:
    """RDATA in lower case as a whole: which of its bytes are names is the parser's to know."""

    def fold(records: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple(r._replace(owner=r.owner.lower(), rdata=r.rdata.lower()) for r in records)

    question = message.question and message.question._replace(name=message.question.name.lower())
    parts = fold(message.answers), fold(message.authority), fold(message.additional)
    return message._replace(question=question, answers=parts[0], authority=parts[1], additional=parts[2])


def check(data: bytes) -> None:
    try:
        message = parse_message(data)
    except FormError:
        return
    for record in (*message.answers, *message.authority, *message.additional):
        assert len(record.owner) <= MAX_NAME_BYTES
        assert 0 <= record.ttl < 1 << 31
    again = build_message(message)
    assert len(again) <= 65535
    if len(again) < 60_000:
        assert lower(parse_message(again)) == lower(message)
    check_entry(message)


def check_entry(message: Message) -> None:
    if message.question is None:
        return
    name, kind = message.question.name.lower(), message.question.type
    for dnssec_ok in (False, True):
        key = make_key(name, kind, dnssec_ok, False)
        try:
            entry = make_entry(key, name, kind, message, 1000, _LIMITS, is_private_address)
        except FormError:
            continue
        assert 0 <= entry.lifetime <= _LIMITS.max_ttl
        assert len(entry.revealed) <= MAX_REVEALED
        stripped = entry.without_ech()
        for second, cap in ((1000, 1 << 30), (1003, 7), (1000 + entry.lifetime, 0)):
            for variant in (entry, stripped):
                check_records(variant, variant.render(second, cap), cap)
                check_records(variant, variant.render_stale(cap), cap)
        for record in stripped.parse().answers:
            if record.type in (64, 65):
                assert KEY_ECH not in dict(parse_service_binding(record.rdata).params)


def check_records(entry: Entry, records: bytes, cap: int) -> None:
    assert len(records) == len(entry.records)
    head = bytes(4) + b"\0\1" + entry.answers.to_bytes(2) + entry.authority.to_bytes(2) + bytes(2)
    parsed = parse_message(head + entry.name + entry.type.to_bytes(2) + b"\0\1" + records)
    assert all(record.ttl <= max(cap, 0) for record in (*parsed.answers, *parsed.authority))
    known = {entry.name, *entry.revealed}
    for record in parsed.answers:
        assert record.owner.lower() in known or any(name.endswith(record.owner.lower()) for name in known)


SEEDS = make_seeds()

if __name__ == "__main__":
    main(check, SEEDS)
