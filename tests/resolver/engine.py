"""An engine as the gateway builds it, without sockets: real lists, policy, local names, cache. The clock is given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from ipaddress import ip_network

import dns.flags
import dns.message
import dns.name
import dns.rdatatype

from guardian.blocklist.compile import Source, compile_image
from guardian.blocklist.image import Image
from guardian.config import BlockConfig, BlockMode
from guardian.names import parse_name
from guardian.policy.compile import compile_policy
from guardian.policy.model import (
    Action,
    Catalogue,
    Device,
    Household,
    Match,
    Profile,
    Rule,
    SafeSearch,
    Schedule,
    Window,
    YouTube,
)
from guardian.resolver.answer import Blocker, Ready
from guardian.resolver.cache import Cache, Entry, Limits, make_entry
from guardian.resolver.clients import Client, Clients
from guardian.resolver.handle import Handler, Miss
from guardian.resolver.local import LocalNames, is_private_address
from guardian.wire import dns as wire

NOON = 1_795_348_800.0  # 2026-11-22 12:00 UTC, a Sunday
SECOND = 1000
GUARDIAN = parse_name("guardian.home.arpa")
PAGE = (b"\xc0\xa8\x01\x01", bytes.fromhex("fd000000000000000000000000000001"))
CHILD, ADULT, PROXY, STRANGER = b"\x0a\0\0\2", b"\x0a\0\0\3", b"\x7f\0\0\1", b"\x08\x08\x08\x08"
CHILD_MAC = b"\x02\0\0\0\0\2"
TAGGED = {
    "category:gambling": ["bet.example", "cloak.example"],
    "service:tube": ["tube.example"],
    "bypass:canary": ["use-application-dns.net"],
    "mandatory:test": ["illegal.example"],
    "helpline": ["help.example"],
}


def wire_names(*texts: str) -> tuple[bytes, ...]:
    return tuple(parse_name(text) for text in texts)


def make_lists() -> Image:
    sources = [Source(tag=tag, name=tag, names=wire_names(*names)) for tag, names in TAGGED.items()]
    return Image(compile_image(sources, b"0123456789abcdef", NOON).to_bytes())


def make_household(schedule: bool = True) -> Household:
    child = Profile(
        "ana",
        "Ana",
        age_band="10-12",
        categories=frozenset({"gambling"}),
        rules=(Rule(Action.BLOCK, "blocked.example", Match.SUBDOMAINS),),
        safe_search=SafeSearch(enabled=True, youtube=YouTube.STRICT),
        schedule=Schedule((Window(frozenset(range(7)), 21 * 60, 7 * 60),)) if schedule else Schedule(),
    )
    adult = Profile("parents", "Parents", filtered=False, bypass_protection=False)
    devices = (
        Device("tablet", "Tablet", "ana", macs=("02:00:00:00:00:02",), addresses=("10.0.0.2",)),
        Device("laptop", "Laptop", "parents", addresses=("10.0.0.3", "127.0.0.1")),
    )
    return Household("UTC", UTC, (child, adult), devices, "ana", (), "en")


def make_catalogue() -> Catalogue:
    search = {parse_name("www.search.example"): parse_name("safe.search.example")}
    return Catalogue({}, {}, search, {}, {})


@dataclass
class Engine:
    """Ask it packets, feed it upstream's answers, move its clock."""

    handler: Handler
    clients: Clients
    cache: Cache
    prefetched: list[Miss]
    now: float = NOON
    second: int = SECOND

    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.second += seconds

    def client(self, address: bytes = CHILD) -> Client:
        client = self.clients.find(address, self.now)
        assert client is not None
        return client

    def handle(
        self, packet: bytes, address: bytes = CHILD, limit: int | None = None, found: Entry | None = None
    ) -> Ready | Miss | None:
        return self.handler.handle(packet, self.client(address), self.now, self.second, limit, found)

    def ask(self, packet: bytes, address: bytes = CHILD, limit: int | None = None) -> dns.message.Message:
        """The reply, which must be ready."""
        outcome = self.handle(packet, address, limit)
        assert isinstance(outcome, Ready), outcome
        return dns.message.from_wire(outcome.reply_to(packet))

    def miss(self, packet: bytes, address: bytes = CHILD) -> Miss:
        """What must be asked upstream."""
        outcome = self.handle(packet, address)
        assert isinstance(outcome, Miss), outcome
        return outcome

    def feed(self, packet: bytes, text: str, address: bytes = CHILD, flags: int = dns.flags.RA) -> None:
        """Let upstream answer the miss of `packet` with the records of `text` (zone lines; "" = no data)."""
        miss = self.miss(packet, address)
        self.cache.put(self.entry(miss, text, flags))

    def entry(self, miss: Miss, text: str, flags: int = dns.flags.RA) -> Entry:
        query = dns.message.make_query(dns.name.from_wire(miss.name, 0)[0], dns.rdatatype.RdataType(miss.type))
        reply = dns.message.make_response(query)
        reply.flags |= flags
        for line in filter(None, (part.strip() for part in text.splitlines())):
            section = reply.answer
            if line.startswith("authority "):
                line, section = line.removeprefix("authority "), reply.authority
            owner, ttl, kind, rest = line.split(maxsplit=3)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, rest))
        message = wire.parse_message(reply.to_wire())
        return make_entry(miss.key, miss.name, miss.type, message, self.second, self.cache.limits, is_private_address)


def make_query(
    name: str, kind: str = "A", *, edns: bool = True, dnssec: bool = False, flags: int = dns.flags.RD, **options: object
) -> bytes:
    query = dns.message.make_query(name, kind, want_dnssec=dnssec)
    query.flags = dns.flags.Flag(flags)
    if not edns:
        query.use_edns(False)
    elif not dnssec:
        query.use_edns(0, **options)  # type: ignore[arg-type]
    return query.to_wire(max_size=65535)


def make_engine(
    mode: BlockMode = BlockMode.PAGE, rate_limit: int = 0, entries: int = 1000, schedule: bool = True, **limits: int
) -> Engine:
    """Return an engine; `limits` are fields of `Limits`. Without `schedule` it works by any clock."""
    lists = make_lists()
    policy = compile_policy(make_household(schedule), make_catalogue(), lists)
    networks = (ip_network("10.0.0.0/8"), ip_network("127.0.0.0/8"), ip_network("fd00::/8"))
    devices = {CHILD: "tablet", ADULT: "laptop", PROXY: "laptop"}
    macs = {CHILD_MAC: "tablet"}

    def identify(address: bytes, mac: bytes | None) -> str:
        return macs.get(mac or b"") or devices.get(address, "")

    clients = Clients(policy, networks, rate_limit, entries, identify, lambda address: None)
    cache = Cache(Limits()._replace(**limits))
    blocker = Blocker(BlockConfig(mandatory=mode, other=mode), GUARDIAN, PAGE)
    prefetched: list[Miss] = []
    handler = Handler(clients, lists, LocalNames(GUARDIAN, PAGE), cache, blocker, 10, prefetched.append)
    return Engine(handler, clients, cache, prefetched)
