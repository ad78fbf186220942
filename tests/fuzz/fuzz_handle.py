"""Packets through the whole engine: `Handler.handle`, upstream's answer, and `handle` again.

Invariant: nothing is raised. A reply has the id of its packet, is a response, parses, and is within its limit; the same
packet twice gets the same reply. A child's device is never let through to a listed name, nor anybody to a mandatory
one, and neither private names nor anything that a client sent besides its question go upstream.
"""

from __future__ import annotations

from random import Random

import dns.edns
import dns.message

from guardian.errors import FormError
from guardian.names import is_below, parse_name
from guardian.resolver.answer import Ready
from guardian.resolver.cache import Entry, make_entry, make_failure
from guardian.resolver.handle import Miss
from guardian.resolver.local import is_private_address
from guardian.wire.dns import FLAG_QR, MAX_UDP_PAYLOAD, MIN_UDP_PAYLOAD, OPTION_MAC, Message, parse_message, parse_query
from tests.fuzz import fuzz_message
from tests.fuzz.driver import main, mutate_bytes
from tests.resolver.engine import ADULT, CHILD, CHILD_MAC, PROXY, Engine, make_engine, make_query

_NAMES = (
    "bet.example", "x.bet.example", "illegal.example", "help.example", "blocked.example", "www.search.example",
    "use-application-dns.net", "guardian.home.arpa", "printer.local", "www.example.com", "localhost", "printer",
    "1.1.168.192.in-addr.arpa",
)  # fmt: skip
_CLOSED = tuple(map(parse_name, ("bet.example", "cloak.example", "illegal.example", "blocked.example")))
_MANDATORY = parse_name("illegal.example")
_PRIVATE = tuple(map(parse_name, ("local", "localhost", "onion", "test", "invalid", "lan", "168.192.in-addr.arpa")))


def make_seeds() -> list[bytes]:
    mac = dns.edns.GenericOption(dns.edns.OptionType(OPTION_MAC), CHILD_MAC)
    seeds = []
    for name in _NAMES:
        seeds += [make_query(name), make_query(name, "AAAA", edns=False), make_query(name, "HTTPS", dnssec=True)]
        seeds += [make_query(name, options=[mac]), make_query(name, flags=0x0130)]
    return [*seeds, dns.message.make_query("www.example.com", "ANY").to_wire()]


class Target:
    """One engine for 500 inputs, as in life: what needs a history is found again by starting 500 inputs before."""

    def __init__(self) -> None:
        self.engine: Engine = make_engine(entries=200, max_bytes=200_000)
        self.count = 0

    def check(self, data: bytes) -> None:
        self.count += 1
        if self.count % 500 == 0:
            self.engine = make_engine(entries=200, max_bytes=200_000)
        if self.count % 7 == 0:
            self.engine.wait(self.count % 400)
        for address in (CHILD, ADULT, PROXY):
            for limit in (None, 65535):
                self.check_one(data, address, limit)
        assert len(self.engine.clients.budget) <= 200
        assert self.engine.cache.bytes <= 200_000

    def check_one(self, data: bytes, address: bytes, limit: int | None) -> None:
        outcome = self.engine.handle(data, address, limit)
        for _ in range(3):
            if not isinstance(outcome, Miss):
                break
            self.check_miss(outcome, data, address)
            entry = self.answer(outcome, data)
            outcome = self.engine.handle(data, address, limit, entry)
        if outcome is None:
            assert len(data) < 12 or data[2] & 0x80
            return
        assert isinstance(outcome, Ready)
        reply = outcome.reply_to(data)
        self.check_reply(reply, data, limit)
        again = self.engine.handle(data, address, limit)
        if isinstance(again, Ready):
            assert again.reply_to(data) == reply

    def check_miss(self, miss: Miss, data: bytes, address: bytes) -> None:
        name = parse_query(data).name
        assert not any(is_below(miss.name, parent) for parent in _PRIVATE)
        assert not is_below(name, _MANDATORY)
        if address == CHILD:
            assert not any(is_below(name, parent) for parent in _CLOSED)
        assert miss.question == miss.name + miss.type.to_bytes(2) + b"\0\1"
        assert miss.name in (name, parse_name("safe.search.example"))

    def answer(self, miss: Miss, data: bytes) -> Entry:
        """What upstream says: something mutated, about the question that was asked."""
        raw = mutate_bytes(Random(data), fuzz_message.SEEDS)
        try:
            message = parse_message(raw)
        except FormError:
            return make_failure(miss.key, miss.name, miss.type, self.engine.second, 23, "broken")
        asked = b"\3www\7example\3com\0"
        answers = tuple(r._replace(owner=miss.name) if r.owner.lower() == asked else r for r in message.answers)
        message = Message(1, FLAG_QR | message.flags & 0x2F, None, answers, message.authority)
        try:
            entry = make_entry(
                miss.key,
                miss.name,
                miss.type,
                message,
                self.engine.second,
                self.engine.cache.limits,
                is_private_address,
            )
        except FormError:
            return make_failure(miss.key, miss.name, miss.type, self.engine.second, 23, "broken")
        if entry.lifetime:
            self.engine.cache.put(entry)
        return entry

    def check_reply(self, reply: bytes, data: bytes, limit: int | None) -> None:
        assert reply[:2] == data[:2]
        assert reply[2] & 0x80
        if limit is None:
            limit = MIN_UDP_PAYLOAD
            try:
                edns = parse_query(data).edns
            except FormError:
                edns = None
            if edns is not None:
                limit = min(max(edns.payload, MIN_UDP_PAYLOAD), MAX_UDP_PAYLOAD)
        assert len(reply) <= limit
        if not reply[2] & 0x78:
            parsed = parse_message(reply)
            if parsed.question is not None:
                assert reply[12 : 12 + len(parsed.question.name)] == data[12 : 12 + len(parsed.question.name)]


SEEDS = make_seeds()
TARGET = Target()
check = TARGET.check

if __name__ == "__main__":
    main(check, SEEDS)
