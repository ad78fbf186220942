"""The whole UDP path against a naive oracle: nobody ever gets an answer that `decide()` would not give at that moment.

Random evenings: several devices, profiles and proxied MACs ask through a real UdpListener with its ready answers,
renewals, shared tables and small budget, while the clock creeps and jumps, parents pause and change rules, lists are
reloaded, devices move, and upstream is late or down. For each answer the oracle asks `decide` and `judge_answer`
anew, with a fresh posture: result, Extended DNS Error, TTLs, `ech` and the fact for the history must agree. No TTL may
pass the moment at which the decision changes, not by a fraction of a second.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC
from ipaddress import ip_network
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.blocklist.compile import Source, compile_image
from guardian.blocklist.image import Image
from guardian.config import BlockConfig, BlockMode, Endpoint
from guardian.names import parse_name
from guardian.policy.compile import Policy, compile_policy
from guardian.policy.decide import decide, judge_answer, posture_of
from guardian.policy.model import (
    Action,
    Catalogue,
    Decision,
    Device,
    Household,
    Kind,
    Match,
    Profile,
    Reason,
    Rule,
    SafeSearch,
    Schedule,
    ServiceRule,
    Subject,
    Window,
)
from guardian.resolver.answer import Blocker, Fact, explain, fact_of
from guardian.resolver.cache import Cache, Entry, Limits, make_entry, make_failure
from guardian.resolver.clients import Client, Clients
from guardian.resolver.handle import Handler, Miss
from guardian.resolver.listen import Core, UdpListener, open_udp
from guardian.resolver.local import LocalNames, is_private_address
from guardian.wire import dns
from guardian.wire.dns import Message, Question, Record
from guardian.wire.svcb import KEY_ALPN, KEY_ECH, ServiceBinding, build_service_binding, parse_service_binding

EVENING = 1_795_377_540.0  # 2026-11-22 19:59 UTC, a Sunday: a minute before bedtime
GUARDIAN = parse_name("guardian.home.arpa")
PAGE = (b"\xc0\xa8\x01\x01", bytes.fromhex("fd000000000000000000000000000001"))
BLOCK_TTL = 10
TABLE_ENTRIES = 24  # small: things must be thrown out
DAILY = frozenset(range(7))

PROXY = "127.0.0.1"
DEVICES = {
    "127.0.0.2": "tablet",
    "127.0.0.3": "laptop",
    "127.0.0.4": "phone",
    "127.0.0.5": "toy",
    "127.0.0.6": "",
    "127.0.0.7": "desk",
}
MACS = {b"\x02\0\0\0\0\2": "tablet", b"\x02\0\0\0\0\3": "laptop", b"\x02\0\0\0\0\4": "phone", b"\x02\0\0\0\0\6": ""}
ADDRESSES = (PROXY, *DEVICES)

LISTS = (
    {
        "category:gambling": "bet.example cloak.example help.example",
        "service:tube": "tube.example",
        "bypass:canary": "canary.example",
        "mandatory:test": "illegal.example",
        "helpline": "help.example",
        "allowed:kids": "kids.example alias.example",
    },
    {  # the same names, otherwise
        "helpline": "bet.example",
        "category:gambling": "plain.example target.example svc.example",
        "service:tube": "alias.example kids.example",
        "mandatory:test": "kids.example cloak.example",
        "allowed:kids": "tube.example",
    },
)
SEARCH, SAFE = parse_name("www.search.example"), parse_name("safe.search.example")
CHAINS = {  # CNAMEs on the way; the last name has the records
    "alias.example": ("cloak.example",),
    "chain.example": ("middle.example", "illegal.example"),
    "cdn.example": ("plain.example",),
}
TTLS = {"plain.example": 2, "cloak.example": 7, "illegal.example": 40, "safe.search.example": 90, "tube.example": 70000}
NAMES = (
    *("bet.example", "www.bet.example", "tube.example", "canary.example", "illegal.example", "help.example"),
    *("kids.example", "plain.example", "ruled.example", "soon.example", "www.search.example", "inside.example"),
    *("svc.example", "gone.example", *CHAINS),
)
TYPES = (dns.TYPE_A, dns.TYPE_AAAA, dns.TYPE_HTTPS, dns.TYPE_TXT, dns.TYPE_ANY)


class Clock:
    """Wall clock and monotonic clock; only `set_wall` parts them."""

    def __init__(self) -> None:
        self.wall, self.steady = EVENING, 5000.25

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def set_wall(self, seconds: float) -> None:
        self.wall += seconds

    @property
    def second(self) -> int:
        return int(self.steady)


class Query(NamedTuple):
    address: str
    name: str
    type: int
    flags: int
    edns: str  # "", "plain", "do", "odd"
    mac: bytes
    upper: bool

    @property
    def packet(self) -> bytes:
        """The bytes behind the id."""
        wire = parse_name(self.name)
        question = (wire.upper() if self.upper else wire) + struct.pack(">2H", self.type, 1)
        options = ((dns.OPTION_MAC, self.mac),) if self.mac else ()
        opt = b""
        if self.edns or options:
            opt = dns.build_edns(dns.Edns(4096 if self.edns != "odd" else 600, 0, self.edns == "do", 0, options))
        return struct.pack(">5H", self.flags, 1, 0, 0, 1 if opt else 0) + question + opt

    @property
    def has_edns(self) -> bool:
        return bool(self.edns or self.mac)

    @property
    def key(self) -> tuple[str, int, bool, bool]:
        return self.name, self.type, self.edns == "do", bool(self.flags & dns.FLAG_CD)


def make_lists(which: int) -> Image:
    sources = [
        Source(tag=tag, name=tag, names=tuple(map(parse_name, names.split()))) for tag, names in LISTS[which].items()
    ]
    return Image(compile_image(sources, b"0123456789abcdef", EVENING).to_bytes())


IMAGES = (make_lists(0), make_lists(1))


def make_household() -> Household:
    child = Profile(
        "child",
        "Child",
        categories=frozenset({"gambling"}),
        schedule=Schedule((Window(DAILY, 20 * 60, 20 * 60 + 2), Window(DAILY, 20 * 60 + 4, 20 * 60 + 5, "homework"))),
        rules=(
            Rule(Action.BLOCK, "ruled.example", Match.SUBDOMAINS),
            Rule(Action.ALLOW, "soon.example", Match.SUBDOMAINS, EVENING + 7.5),
            Rule(Action.BLOCK, "*oon.example", Match.WILDCARD),
        ),
        services=(ServiceRule("tube", Action.BLOCK, (Window(DAILY, 19 * 60, 20 * 60 + 3),)),),
        safe_search=SafeSearch(enabled=True),
    )
    toddler = Profile("toddler", "Toddler", allow_list_only=True)
    adult = Profile("adult", "Adult", filtered=False, bypass_protection=False)
    devices = (
        Device("tablet", "Tablet", "child"),
        Device("phone", "Phone", "child", paused_until=EVENING + 11.2),
        Device("laptop", "Laptop", "adult"),
        Device("desk", "Desk", "adult"),
        Device("toy", "Toy", "toddler", paused_until=EVENING + 3.7),
    )
    return Household("UTC", UTC, (child, toddler, adult), devices, "child", (), "en")


def ask_the_world(name: str, qtype: int) -> tuple[int, tuple[Record, ...], tuple[Record, ...]]:
    """What upstream says: rcode, answers, authority."""
    owner = parse_name(name)
    records = []
    for target in CHAINS.get(name, ()):
        records.append(Record(owner, dns.TYPE_CNAME, 1, 300, parse_name(target)))
        name, owner = target, parse_name(target)
    soa = Record(parse_name("example"), dns.TYPE_SOA, 1, 20, b"\x01a\0\x01b\0" + struct.pack(">5I", 1, 2, 3, 4, 15))
    if name == "gone.example":
        return dns.RCODE_NXDOMAIN, (), (soa,)
    ttl = TTLS.get(name, 60)
    if qtype == dns.TYPE_A:
        inside = name == "inside.example"
        records.append(Record(owner, 1, 1, ttl, b"\x0a\0\0\1" if inside else b"\xc0\0\2" + bytes((len(name),))))
    elif qtype == dns.TYPE_AAAA:
        records.append(Record(owner, 28, 1, ttl, b"\x20\x01\x0d\xb8" + bytes(11) + bytes((len(name),))))
    elif qtype == dns.TYPE_HTTPS and name == "svc.example":
        for place, target in enumerate((b"\0", parse_name("target.example"))):
            params = ((KEY_ALPN, b"\x02h2"), (KEY_ECH, b"secret"))
            records.append(Record(owner, 65, 1, ttl, build_service_binding(ServiceBinding(1 + place, target, params))))
    return dns.RCODE_NOERROR, tuple(records), () if records else (soa,)


class Told(NamedTuple):
    """What the oracle says of one query; `until` is the moment that caps the TTLs."""

    rcode: int
    records: tuple[tuple[int, bytes], ...]
    errors: tuple[tuple[int, bytes], ...]  # Extended DNS Errors
    until: float
    fact: Fact | None
    origin: tuple[str, int, bool, bool] | None  # where the records came from, when upstream gave them


class Home:
    """The engine, the clock, the upstream, and the oracle beside them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.household = make_household()
        self.lists = IMAGES[0]
        self.devices = dict(DEVICES)
        self.policy = self._compile()
        networks = (ip_network("127.0.0.0/8"),)
        self.clients = Clients(self.policy, networks, 0, TABLE_ENTRIES, self._identify, lambda address: None)
        self.cache = Cache(Limits())
        blocker = Blocker(BlockConfig(mandatory=BlockMode.PAGE, other=BlockMode.PAGE), GUARDIAN, PAGE)
        local = LocalNames(GUARDIAN, PAGE)
        self.handler = Handler(self.clients, self.lists, local, self.cache, blocker, BLOCK_TTL, None)
        self.facts: Counter[Fact | None] = Counter()
        self.core = Core(self.clients, self.handler, self, self._drain)
        self.listener = UdpListener(open_udp(Endpoint("127.0.0.1", 0)), self.core)
        self.port = self.listener.socket.getsockname()[1]
        self.sockets = {address: self._open(address) for address in ADDRESSES}
        self.is_late = self.is_down = False
        self.pending: list[tuple[Miss, Callable[[Entry], None]]] = []
        self.owed: dict[tuple[str, int], Query] = {}
        self.stored: dict[tuple[str, int, bool, bool], tuple[int, int]] = {}  # second, seconds of life
        self.failed: dict[tuple[str, int, bool, bool], int] = {}
        self.next_id = 0

    @staticmethod
    def _open(address: str) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.bind((address, 0))
        return opened

    def close(self) -> None:
        self.listener.close()
        for opened in self.sockets.values():
            opened.close()

    def _identify(self, address: bytes, mac: bytes | None) -> str:
        if mac is not None:
            return MACS.get(mac, "")
        return self.devices.get(socket.inet_ntoa(address), "")

    def _compile(self) -> Policy:
        catalogue = Catalogue({}, {}, {SEARCH: SAFE}, {}, {})
        return compile_policy(self.household, catalogue, self.lists)

    def _drain(self, clients: list[Client]) -> None:
        for client in clients:
            if client.log is not None:
                assert Counter(fact for _, fact in client.log) == Counter(client.counts)
                client.log.clear()
            for fact, count in client.counts.items():
                self.facts[fact and fact._replace(qtype=0)] += count
            client.counts.clear()

    # Upstream: the engine's Fetcher

    def fetch(self, miss: Miss, waiter: Callable[[Entry], None] | None = None) -> None:
        assert waiter is not None
        if self.is_late:
            self.pending.append((miss, waiter))
        else:
            waiter(self._resolve(miss))

    def _resolve(self, miss: Miss) -> Entry:
        second = self.clock.second
        name = b".".join(_labels(miss.name)).decode()
        key = name, miss.type, miss.dnssec_ok, miss.checking_disabled
        if self.is_down:
            self.failed[key] = second
            if miss.stale is not None:
                miss.stale.failed = second
                return miss.stale
            entry = make_failure(miss.key, miss.name, miss.type, second, dns.EDE_NETWORK_ERROR, "down")
        else:
            rcode, answers, authority = ask_the_world(name, miss.type)
            message = Message(1, dns.FLAG_QR | rcode, Question(miss.name, miss.type, 1), answers, authority)
            limits = self.cache.limits
            entry = make_entry(miss.key, miss.name, miss.type, message, second, limits, is_private_address)
            has_end = authority or any(r.type == miss.type for r in answers)  # RFC 2308 section 5: no SOA, not kept
            self.stored[key] = second, min((r.ttl for r in answers), default=15) if has_end else 0
            self.failed.pop(key, None)
        if entry.lifetime > 0:
            self.cache.put(entry)
        return entry

    # What happens to a home

    def deliver(self) -> None:
        pending, self.pending, late, self.is_late = self.pending, [], self.is_late, False
        for miss, waiter in pending:
            waiter(self._resolve(miss))
        self._collect()
        assert not self.owed, "an answer is owed for ever"
        self.is_late = late

    def change(self, household: Household | None = None, lists: Image | None = None) -> None:
        """As `Gateway._swap` does."""
        self.household, self.lists = household or self.household, lists or self.lists
        self.policy = self._compile()
        self.handler.lists = self.lists
        self.clients.replace_policy(self.policy)

    def pause(self, name: str, until: float) -> None:
        self.change(
            replace(
                self.household,
                profiles=tuple(replace(p, paused_until=until) if p.id == name else p for p in self.household.profiles),
                devices=tuple(replace(d, paused_until=until) if d.id == name else d for d in self.household.devices),
            )
        )

    def move(self, address: str, device: str) -> None:
        """Another device has the address now, as the neighbour table tells."""
        self.devices[address] = device
        self.clients.forget_address(socket.inet_aton(address))

    def adopt(self, device: str, profile: str) -> None:
        devices = tuple(replace(d, profile=profile) if d.id == device else d for d in self.household.devices)
        self.change(replace(self.household, devices=devices))

    def ask(self, queries: list[Query]) -> None:
        for query in queries:
            self.next_id = self.next_id % 65535 + 1
            self.owed[query.address, self.next_id] = query
            self.sockets[query.address].sendto(self.next_id.to_bytes(2) + query.packet, ("127.0.0.1", self.port))
        self.listener.on_readable()
        self._collect()
        assert len(self.owed) == len(self.pending)

    def _collect(self) -> None:
        expected: Counter[Fact | None] = Counter()
        for address, opened in self.sockets.items():
            for data in _waiting(opened):
                message = dns.parse_message(data)
                query = self.owed.pop((address, message.id))
                expected[self._check(query, message).fact] += 1
        self.core.flush()
        assert self.facts == expected
        self.facts.clear()

    # The oracle

    def _check(self, query: Query, message: Message) -> Told:
        failed = message.rcode == dns.RCODE_SERVFAIL
        told = self._tell(query, failed)
        clue = query, told, message, self.clock.wall
        assert message.question is not None
        sent = query.packet[10:]
        assert sent.startswith(message.question.name), clue  # in the case that was sent
        echoed = dns.FLAG_RD | dns.FLAG_CD
        assert message.flags & ~dns.RCODE_MASK == dns.FLAG_QR | dns.FLAG_RA | query.flags & echoed, clue
        assert message.edns is None or message.edns.dnssec_ok is (query.edns == "do"), clue
        assert (message.edns is not None) == query.has_edns, clue
        if failed:
            assert told.origin in self.failed, clue
            assert {(r.type, _fold(r)) for r in message.answers} <= {(dns.TYPE_CNAME, SAFE)}, clue
            return told
        assert message.rcode == told.rcode, clue
        assert tuple((r.type, _fold(r)) for r in message.answers) == told.records, clue
        if message.edns is not None:
            errors = tuple(value for code, value in message.edns.options if code == dns.OPTION_EDE)
            stale = {dns.EDE_STALE_ANSWER, dns.EDE_STALE_NXDOMAIN} if told.origin else set()
            seen = tuple(error for error in errors if int.from_bytes(error[:2]) not in stale)
            assert seen == tuple(value for _, value in told.errors), clue
            assert all(code == dns.OPTION_EDE for code, _ in message.edns.options), clue
        left = min(told.until - self.clock.wall, 1e9)
        assert left > 0, clue
        for record in (*message.answers, *message.authority):
            assert record.ttl <= left, clue  # the heart of it
            low, high = self._bounds(told, record, left)
            assert low <= record.ttl <= high, (low, high, *clue)
        return told

    def _bounds(self, told: Told, record: Record, left: float) -> tuple[float, float]:
        """The TTLs that a record may have: the cap is exact to two seconds below, the count-down is exact."""
        if told.origin is None:
            return (min(BLOCK_TTL, int(left) - 2), BLOCK_TTL) if told.fact and told.fact.action == "block" else (0, 300)
        stored, life = self.stored[told.origin]
        age = self.clock.second - stored
        if age >= life and age:
            return 0, 30
        name, qtype, *_ = told.origin
        _, answers, authority = ask_the_world(name, qtype)
        whole = next((r.ttl for r in (*answers, *authority) if r.type == record.type), 300)
        return max(0, min(whole - age, int(left) - 2)), whole - age

    def _device(self, query: Query) -> str:
        if query.address == PROXY and query.mac:
            return MACS.get(query.mac, "")
        return self.devices.get(query.address, "")

    def _tell(self, query: Query, failed: bool) -> Told:
        now, name = self.clock.wall, parse_name(query.name)
        device = self._device(query)
        decision = decide(self.policy, Subject(device, Kind.DNS_QUERY, name), now)
        if decision.action is Action.BLOCK:
            return self._blocked(query, decision)
        if not query.flags & dns.FLAG_RD:
            return Told(dns.RCODE_REFUSED, (), (), decision.until, None, None)
        fact = fact_of(decision)
        if query.type == dns.TYPE_ANY:
            return Told(0, ((dns.TYPE_HINFO, b"\x07RFC8482\0"),), (), float("inf"), fact, None)
        if decision.action is Action.REWRITE:
            records: tuple[tuple[int, bytes], ...] = ()
            if query.type not in (dns.TYPE_A, dns.TYPE_AAAA):
                return Told(0, (), (), decision.until, fact, None)
            answers = ask_the_world("safe.search.example", query.type)[1]
            records = ((dns.TYPE_CNAME, SAFE), *((r.type, r.rdata) for r in answers))
            return Told(0, records, (), decision.until, fact, ("safe.search.example", query.type, False, False))
        return self._revealed(query, device, decision, failed)

    def _revealed(self, query: Query, device: str, decision: Decision, failed: bool) -> Told:
        rcode, answers, _ = ask_the_world(query.name, query.type)
        if failed:  # nothing was revealed
            answers = ()
        for target in dns.names_in(answers):
            posture = posture_of(self.policy, device, self.clock.wall)
            seen = judge_answer(posture, decision, target, self.lists.lookup(target))
            if seen.action is Action.BLOCK:
                return self._blocked(query, seen._replace(until=min(decision.until, seen.until)))
        if any(r.type == dns.TYPE_A and is_private_address(r.rdata) for r in answers):
            return self._blocked(query, Decision(Action.BLOCK, Reason.REBINDING, "rebinding", decision.until))
        filtered = posture_of(self.policy, device, self.clock.wall).filtered
        records = tuple((r.type, _without_ech(r.rdata) if filtered and r.type == 65 else r.rdata) for r in answers)
        return Told(rcode, records, (), decision.until, fact_of(decision), query.key)

    def _blocked(self, query: Query, decision: Decision) -> Told:
        codes = {Reason.MANDATORY: dns.EDE_CENSORED, Reason.REBINDING: dns.EDE_BLOCKED}
        errors = [dns.build_extended_error(codes.get(decision.reason, dns.EDE_FILTERED), explain(decision))]
        rcode, records = 0, []
        if decision.reason is Reason.BYPASS:
            rcode = dns.RCODE_NXDOMAIN
        elif decision.reason is not Reason.REBINDING and query.type in (dns.TYPE_A, dns.TYPE_AAAA):
            page = next(address for address in PAGE if len(address) == (4 if query.type == dns.TYPE_A else 16))
            records = [(query.type, page)]
            errors.append(dns.build_extended_error(dns.EDE_FORGED_ANSWER))
        return Told(rcode, tuple(records), tuple(errors), decision.until, fact_of(decision), None)


def _labels(wire: bytes) -> Iterator[bytes]:
    position = 0
    while length := wire[position]:
        yield wire[position + 1 : position + 1 + length]
        position += 1 + length


def _fold(record: Record) -> bytes:
    """Compressed names take their case from the question."""
    return record.rdata.lower() if record.type == dns.TYPE_CNAME else record.rdata


def _waiting(opened: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield opened.recv(4096)
        except BlockingIOError:
            return


def _without_ech(rdata: bytes) -> bytes:
    binding = parse_service_binding(rdata)
    return build_service_binding(binding._replace(params=tuple(p for p in binding.params if p[0] != KEY_ECH)))


def queries() -> st.SearchStrategy[list[Query]]:
    query = st.builds(
        Query,
        st.sampled_from(ADDRESSES),
        st.sampled_from(NAMES),
        st.sampled_from((dns.TYPE_A, *TYPES)),
        st.sampled_from((dns.FLAG_RD,) * 5 + (0, dns.FLAG_RD | dns.FLAG_CD, dns.FLAG_RD | dns.FLAG_AD)),
        st.sampled_from(("", "plain", "plain", "do", "odd")),
        st.sampled_from((b"", b"", b"\x01", *MACS)),
        st.booleans(),
    )
    # The same packet from several senders and again and again: that is what ready answers are for.
    same = st.builds(
        lambda one, addresses: [one._replace(address=address) for address in addresses],
        query,
        st.lists(st.sampled_from(ADDRESSES), min_size=2, max_size=8),
    )
    # Packets that differ in name and type alone: blocks of one shape share an answer.
    telling = [("svc.example", dns.TYPE_HTTPS), ("www.search.example", dns.TYPE_A), ("alias.example", dns.TYPE_A)]
    pairs = st.tuples(st.sampled_from(NAMES), st.sampled_from(TYPES)) | st.sampled_from(telling)
    alike = st.builds(
        lambda one, pairs: [one._replace(name=name, type=qtype) for name, qtype in pairs],
        query,
        st.lists(pairs, min_size=2, max_size=8),
    )
    return st.one_of(same, alike, st.lists(query, min_size=1, max_size=6))


MOMENTS = st.sampled_from((0.0, 1.3, 4.9, 60.5, float("inf"), float("inf")))
STEPS = st.one_of(
    st.tuples(st.just("ask"), queries()),
    st.tuples(st.just("again"), st.none()),
    st.tuples(st.just("wait"), st.sampled_from((0.05, 0.3, 0.7, 0.95, 1.0, 1.6, 3.0, 9.5, 31.0, 61.0))),
    st.tuples(st.just("to-edge"), st.sampled_from((-1.05, -0.95, -0.5, -0.01, 0.0, 0.01, 0.9))),
    st.tuples(st.just("set-wall"), st.sampled_from((-3600.0, -30.0, 45.5, 86400.0))),
    st.tuples(
        st.just("pause"), st.tuples(st.sampled_from(("child", "adult", "laptop", "laptop", "phone", "toy")), MOMENTS)
    ),
    st.tuples(st.just("lists"), st.sampled_from((0, 1))),
    st.tuples(st.just("adopt"), st.tuples(st.sampled_from(("tablet", "laptop")), st.sampled_from(("child", "adult")))),
    st.tuples(st.just("move"), st.tuples(st.sampled_from(tuple(DEVICES)), st.sampled_from(("tablet", "laptop", "")))),
    st.tuples(st.just("flush"), st.none()),
    st.tuples(st.just("late"), st.booleans()),
    st.tuples(st.just("down"), st.booleans()),
    st.tuples(st.just("deliver"), st.none()),
)


def play(home: Home, steps: list[tuple[str, object]]) -> None:
    """Let the steps happen; everything that was asked once is asked again at the end, from everywhere it came."""
    asked: list[Query] = []
    for what, value in (*steps, ("deliver", None), ("late", False), ("again", None), ("again", None)):
        if what == "ask":
            assert isinstance(value, list)
            everywhere = [value[0]._replace(address=address) for address in ADDRESSES]
            asked += value + everywhere
            home.ask(value)
            home.ask(everywhere)
        elif what == "again":
            home.ask(asked[-40:])
            home.ask(asked[-40:])
        else:
            _happen(home, what, value)
            home.ask(asked[-16:])  # whatever happened: it holds for the next packet


def _happen(home: Home, what: str, value: object) -> None:
    if what == "wait":
        assert isinstance(value, float)
        home.clock.wait(value)
    elif what == "to-edge":
        assert isinstance(value, float)
        edges = [posture_of(home.policy, device, home.clock.wall).until for device in ("tablet", "phone", "toy")]
        left = min(edges) + value - home.clock.wall
        if 0 < left < 1000:
            home.clock.wait(left)
    elif what == "set-wall":
        assert isinstance(value, float)
        home.clock.set_wall(value)
        home.clients.forget()  # as the gateway's tick does
    elif what == "pause":
        assert isinstance(value, tuple)
        home.pause(value[0], home.clock.wall + value[1] if value[1] else 0.0)
    elif what == "lists":
        assert isinstance(value, int)
        home.change(lists=IMAGES[value])
    elif what == "adopt":
        assert isinstance(value, tuple)
        home.adopt(*value)
    elif what == "move":
        assert isinstance(value, tuple)
        home.move(*value)
    elif what == "flush":
        home.cache.flush()
        home.clients.forget()
    elif what == "late":
        home.deliver()
        home.is_late = bool(value)
    elif what == "down":
        home.is_down = bool(value)
    else:
        home.deliver()
    assert sum(len(table.ready) for table in home.clients.budget.tables) <= TABLE_ENTRIES


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still, in the place of the listener's."""
    clock = Clock()
    monkeypatch.setattr("guardian.resolver.listen.tell_time", lambda: clock.wall)
    monkeypatch.setattr("guardian.resolver.listen.time", SimpleNamespace(monotonic=lambda: clock.steady))
    # Loopback speaks for others; here only 127.0.0.1 is dnsmasq, the other addresses are devices.
    monkeypatch.setattr("guardian.resolver.clients._is_loopback", lambda address: address == b"\x7f\0\0\1")
    return clock


@settings(
    max_examples=200,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(STEPS, min_size=3, max_size=25))
def test_every_answer_is_what_the_policy_says_now(clock: Clock, steps: list[tuple[str, object]]) -> None:
    clock.wall, clock.steady = EVENING, 5000.25
    home = Home(clock)
    try:
        play(home, steps)
    finally:
        home.close()
