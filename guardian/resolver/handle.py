"""The whole life of a query, up to the point where somebody else must be asked. No I/O; the clock is an argument.

`Handler.handle` returns a Ready answer, or a Miss that names what to ask upstream, or None for silence. After the
upstream spoke the same packet is handled again, so that a revealed name meets the same policy. So it is after an
Unsettled: some name must be settled first (the hotline's lists are slow to ask), and meanwhile upstream may be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from guardian.errors import FormError
from guardian.policy.decide import judge, judge_answer
from guardian.policy.model import UNSETTLED, Action, Decision, Kind, NameLists, Reason
from guardian.resolver.answer import Blocker, Body, Fact, Ready, build_error, build_minimal_any, fact_of, frame
from guardian.resolver.cache import STALE_TTL, Cache, Entry, make_key, make_rewrite
from guardian.resolver.clients import Client, Clients
from guardian.resolver.time_servers import is_time_server
from guardian.wire import dns
from guardian.wire.dns import Query, Record

NEGATIVE_TTL = 300  # seconds, for answers that this server makes up
REWRITE_TTL = 300
MAX_TTL_TO_CHANGE = 86400  # a decision that never ends caps nothing that matters
STALE_HOLD = 30  # seconds between tries to refresh a stale answer, RFC 8767 section 5
PREFETCH_HITS = 3
MAX_SHAPES = 256  # of blocked answers in one table: cookies and padding make many
MAX_KEPT_BYTES = 512  # of a packet whose answer is kept ready: padding must not fill the memory
_META_TYPES = {
    dns.TYPE_OPT: dns.RCODE_FORMERR,
    dns.TYPE_TSIG: dns.RCODE_FORMERR,
    dns.TYPE_TKEY: dns.RCODE_NOTIMP,
    dns.TYPE_MAILA: dns.RCODE_NOTIMP,
    dns.TYPE_MAILB: dns.RCODE_NOTIMP,
    dns.TYPE_AXFR: dns.RCODE_REFUSED,
    dns.TYPE_IXFR: dns.RCODE_REFUSED,
}
_GIVEN = (Reason.HELPLINE, Reason.SAFE_SEARCH)
_NOT_READY = "Guardian: this name is still being looked up, ask again"
_REBINDING = Decision(Action.BLOCK, Reason.REBINDING, "rebinding", float("inf"))


class LocalReply(Protocol):
    """What the home itself says of a name; `guardian.resolver.local.LocalAnswer` satisfies it."""

    @property
    def rcode(self) -> int: ...
    @property
    def answers(self) -> tuple[Record, ...]: ...
    @property
    def authority(self) -> tuple[Record, ...]: ...


class LocalSource(Protocol):
    """Names that are answered at home."""

    def answer(self, qname: bytes, qtype: int, asked_address: bytes | None) -> LocalReply | None: ...


class Miss(NamedTuple):
    """What must be asked upstream before the query can be answered."""

    key: bytes
    name: bytes
    type: int
    dnssec_ok: bool
    checking_disabled: bool
    stale: Entry | None  # may serve when upstream fails
    asker: bytes = b""  # the device's MAC or address: each has its share of the questions; empty = nobody's

    @property
    def question(self) -> bytes:
        """QNAME, QTYPE and QCLASS as on the wire."""
        return self.name + self.type.to_bytes(2) + b"\x00\x01"


class Unsettled(NamedTuple):
    """What nobody may be told yet: `names` must be settled first. `miss` can be asked upstream meanwhile."""

    names: tuple[bytes, ...]
    miss: Miss | None
    asker: bytes  # as in Miss


class Ask(NamedTuple):
    """One query on its way. `owner` is the client under whose address a ready answer is kept: the sender."""

    packet: bytes
    query: Query
    client: Client
    owner: Client
    now: float  # epoch seconds
    second: int  # of the monotonic clock
    limit: int  # bytes that the reply may have


class Handler:
    """Answers queries from the policy, the home's names and the cache."""

    def __init__(
        self,
        clients: Clients,
        lists: NameLists,
        local: LocalSource,
        cache: Cache,
        blocker: Blocker,
        block_ttl: int,
        prefetch: Callable[[Miss], None] | None,
        give: Callable[[Client, Decision, bytes, Entry, int], None] | None = None,
        lose_helpline: Callable[[], None] | None = None,
    ) -> None:
        """`prefetch` is called when a popular entry is about to expire.

        `give(client, decision, QNAME, entry, seconds)` is called before an answer leaves whose addresses the flow
        filter must know: for strict devices, helplines and safe twins; `seconds` is how long the client may keep it.

        `lose_helpline()` is called when a mandatory list blocks what a helpline's name leads to.
        """
        self.clients = clients
        self.lists = lists
        self.local = local
        self.cache = cache
        self.blocker = blocker
        self.block_ttl = block_ttl
        self._prefetch = prefetch
        self.give = give
        self.lose_helpline = lose_helpline
        self.time_servers: frozenset[bytes] = frozenset()  # wire names, besides those that everybody knows
        # `note_lead(name, decision, second)`: a name's answer led to one of a mandatory list, until that second.
        self.note_lead: Callable[[bytes, Decision, int], None] | None = None

    def handle(
        self,
        packet: bytes,
        sender: Client,
        now: float,
        second: int,
        limit: int | None = None,
        found: Entry | None = None,
    ) -> Ready | Miss | Unsettled | None:
        """Return the answer to `packet`, or what to ask upstream or to settle first, or None: no answer at all.

        `now` is epoch seconds, `second` the monotonic clock's; `limit` is the transport's size in bytes (None = UDP,
        by EDNS); `found` is what upstream said just now, used even when it may not be kept.
        """
        if len(packet) < dns.HEADER_BYTES or packet[2] & 0x80:
            return None  # not a query: answering it could loop
        if packet[2] & 0x78:
            return build_error(packet, dns.RCODE_NOTIMP)
        try:
            query = dns.parse_query(packet)
        except FormError:
            return build_error(packet, dns.RCODE_FORMERR)
        edns = query.edns
        if limit is None:
            limit = dns.MIN_UDP_PAYLOAD
            if edns is not None:
                limit = max(limit, min(edns.payload, dns.MAX_UDP_PAYLOAD))
        client = sender
        if sender.is_proxy and (mac := dns.read_mac(query)) is not None:
            client = self.clients.find_behind(sender, mac, now)
        owner = sender
        if (box := self.clients.find_box(client, now)) is not None and is_time_server(query.name, self.time_servers):
            client = owner = box
        ask = Ask(packet, query, client, owner, now, second, limit)
        refusal = _refuse(query)
        if refusal is not None:
            return _answer(ask, Body(refusal), None)
        return self._decide(ask, found)

    def put_off(self, packet: bytes, limit: int | None) -> bytes:
        """Return the SERVFAIL for a query that was Unsettled and could not be settled in time: ask again."""
        query = dns.parse_query(packet)
        limit = dns.MIN_UDP_PAYLOAD if limit is None else limit
        options = (dns.build_extended_error(dns.EDE_NOT_READY, _NOT_READY),)
        head, tail = frame(query, packet, Body(dns.RCODE_SERVFAIL, options=options), limit)
        return Ready(head, tail, len(packet) - query.question_end, None).reply_to(packet)

    def _decide(self, ask: Ask, found: Entry | None) -> Ready | Miss | Unsettled:
        """Local names, policy, cache: in this order."""
        query = ask.query
        tags = self.lists.lookup(query.name)
        reply = self.local.answer(query.name, query.type, None)
        # A listed name that does not exist at home (a test name) is the policy's.
        if reply is not None and not (tags and reply.rcode == dns.RCODE_NXDOMAIN):
            return _answer(ask, _local_body(query, reply), None)
        decision = judge(ask.client.posture, Kind.DNS_QUERY, query.name, tags)
        if tags & UNSETTLED and decision.reason is not Reason.MANDATORY:
            return self._wait(ask, decision, reply is None, found)
        if decision.action is Action.BLOCK:
            return self._block(ask, decision)
        if reply is not None:
            return _answer(ask, _local_body(query, reply), None)
        if not query.flags & dns.FLAG_RD:
            return _answer(ask, Body(dns.RCODE_REFUSED), None)
        if query.type == dns.TYPE_ANY:
            return _answer(ask, build_minimal_any(NEGATIVE_TTL), fact_of(decision, query.type))
        entry = self._look_up(ask, decision, found)
        if isinstance(entry, Entry):
            return self._reveal(ask, decision, entry)
        return entry

    def _wait(self, ask: Ask, decision: Decision, is_foreign: bool, found: Entry | None) -> Unsettled:
        """Nothing is said of a name before it is settled. What will be needed from upstream is fetched meanwhile."""
        query, miss = ask.query, None
        if is_foreign and decision.action is not Action.BLOCK and query.flags & dns.FLAG_RD:
            entry = self._look_up(ask, decision, found) if query.type != dns.TYPE_ANY else None
            miss = entry if isinstance(entry, Miss) else None
        return Unsettled((query.name,), miss, _asker(ask.client))

    def _look_up(self, ask: Ask, decision: Decision, found: Entry | None) -> Entry | Miss:
        query = ask.query
        if decision.action is Action.REWRITE:
            entry = self._find_rewritten(query, decision.target, ask.second, found)
        else:
            entry = self._find(query.name, query, ask.second, found)
        # A proxy that names no device speaks for the whole home.
        if isinstance(entry, Entry) or ask.client.is_proxy:
            return entry
        return entry._replace(asker=_asker(ask.client))

    def _find(self, name: bytes, query: Query, second: int, found: Entry | None) -> Entry | Miss:
        dnssec_ok = query.edns is not None and query.edns.dnssec_ok
        checking_disabled = bool(query.flags & dns.FLAG_CD)
        key = make_key(name, query.type, dnssec_ok, checking_disabled)
        if found is not None and found.key == key:
            return found
        entry = self.cache.get(key, second)
        if entry is not None and (second < entry.expires or second < entry.failed + STALE_HOLD):
            return entry
        return Miss(key, name, query.type, dnssec_ok, checking_disabled, entry)

    def _find_rewritten(self, query: Query, target: bytes, second: int, found: Entry | None) -> Entry | Miss:
        """The safe twin's addresses behind a CNAME; other types have no data there: an HTTPS record would lead away."""
        key = make_key(query.name, query.type, False, False, target)
        if query.type not in (dns.TYPE_A, dns.TYPE_AAAA):
            return Entry(key, query.name, query.type, second)
        plain = query._replace(edns=None, flags=query.flags & ~dns.FLAG_CD)
        entry = self._find(target, plain, second, found)
        return make_rewrite(key, query.name, target, entry, REWRITE_TTL) if isinstance(entry, Entry) else entry

    def _reveal(self, ask: Ask, decision: Decision, entry: Entry) -> Ready | Unsettled:
        """Judge what the answer leads to, then give it."""
        posture = ask.client.posture
        unsettled: list[bytes] = []
        if decision.action is Action.ALLOW:
            for name in entry.revealed:
                tags = self.lists.lookup(name)
                seen = judge_answer(posture, decision, name, tags)
                if tags & UNSETTLED and seen.reason is not Reason.MANDATORY:
                    unsettled.append(name)
                elif seen.action is Action.BLOCK:
                    if decision.reason is Reason.HELPLINE and self.lose_helpline is not None:
                        self.lose_helpline()
                    return self._block_revealed(ask, decision, seen, entry)
        if unsettled and decision.reason is not Reason.HELPLINE:  # which waits for nobody
            return Unsettled(tuple(unsettled), None, _asker(ask.client))
        if entry.private and decision.reason is not Reason.HELPLINE:  # which nothing may take away, or write down
            return self._block_revealed(ask, decision, _REBINDING, entry)
        self._consider_prefetch(entry, ask.second)
        if entry.has_ech and posture.strip_ech:
            entry = entry.without_ech()
        second = ask.second
        left = _seconds_to(decision.until, ask.now)
        if self.give is not None and (posture.strict or decision.reason in _GIVEN):
            self.give(ask.client, decision, ask.query.name, entry, max(entry.expires - second, STALE_TTL))
        ready = _answer(ask, _entry_body(entry, second, left, ask.limit), fact_of(decision, ask.query.type))
        # A strict device's answers are given one by one.
        if (
            not posture.strict
            and entry.ttl_places
            and second < entry.expires
            and entry.rcode != dns.RCODE_SERVFAIL
            and not ready.is_truncated
        ):
            # The last tenth of its life goes the long way each second, so that a popular name is fetched in time.
            ready.keep(entry, second, entry.expires - entry.lifetime // 10, second + left)
            self._admit(ask, ready)
        return ready

    def _admit(self, ask: Ask, ready: Ready) -> None:
        # What TCP gets may be too long for UDP. In its last seconds an answer is built anew for each query.
        useful = ask.second < ready.good_until or ask.second < ready.ends
        if useful and ask.limit <= dns.MAX_UDP_PAYLOAD and len(ask.packet) <= MAX_KEPT_BYTES:
            self.clients.budget.admit(ask.owner.table, ask.packet[2:], ready)

    def _consider_prefetch(self, entry: Entry, second: int) -> None:
        entry.hits += 1
        if self._prefetch is None or entry.hits < PREFETCH_HITS or (entry.expires - second) * 10 > entry.lifetime:
            return
        flags = entry.key[len(entry.name) + 2]
        if len(entry.key) == len(entry.name) + 3 and second < entry.expires:
            entry.hits = 0
            self._prefetch(Miss(entry.key, entry.name, entry.type, bool(flags & 1), bool(flags & 2), entry))

    def _block_revealed(self, ask: Ask, asked: Decision, seen: Decision, entry: Entry) -> Ready:
        """What was blocked for its answer is judged anew when that expires, or when the name itself may be blocked."""
        ready = self._build_block(ask, seen._replace(until=min(asked.until, seen.until)))
        ready.good_until = min(ready.good_until, entry.expires)
        if seen.reason is Reason.MANDATORY:
            if self.note_lead is not None:
                self.note_lead(ask.query.name, seen, ready.good_until)
        else:
            self._admit(ask, ready)
        return ready

    def _block(self, ask: Ask, decision: Decision) -> Ready:
        """One Ready serves all names that are blocked for the same reason by packets of the same shape."""
        packet, query = ask.packet, ask.query
        kind = query.type if query.type in (dns.TYPE_A, dns.TYPE_AAAA) else 0
        shape = (decision.rule, kind, packet[2 : dns.HEADER_BYTES], packet[query.question_end :])
        blocked = ask.client.table.blocked
        ready = blocked.get(shape)
        if ready is None or ask.second >= ready.good_until:
            ready = self._build_block(ask, decision)
            if len(packet) <= MAX_KEPT_BYTES:
                if len(blocked) >= MAX_SHAPES:
                    blocked.clear()
                blocked[shape] = ready
        if decision.reason is not Reason.MANDATORY:  # no packet with such a name is kept
            self._admit(ask, ready)
        return ready

    def _build_block(self, ask: Ask, decision: Decision) -> Ready:
        left = _seconds_to(decision.until, ask.now)
        ttl = min(self.block_ttl, left)
        body = self.blocker.build(decision, ask.query.type, ttl)
        ready = _answer(ask, body, fact_of(decision, ask.query.type))
        ready.good_until = ask.second + left - ttl  # the TTL is right while the decision outlives it
        return ready


def _asker(client: Client) -> bytes:
    return client.mac or client.address


def _refuse(query: Query) -> int | None:
    """The RCODE for queries that are never answered, or None."""
    if query.edns is not None and query.edns.version:
        return dns.RCODE_BADVERS
    if query.class_ != dns.CLASS_IN:
        return dns.RCODE_REFUSED
    return _META_TYPES.get(query.type)


def _seconds_to(until: float, now: float) -> int:
    """Whole seconds until `until`, at most a day, at least none."""
    left = until - now
    if left >= MAX_TTL_TO_CHANGE:
        return MAX_TTL_TO_CHANGE
    return int(left) if left > 0 else 0


def _answer(ask: Ask, body: Body, fact: Fact | None) -> Ready:
    head, tail = frame(ask.query, ask.packet, body, ask.limit)
    return Ready(head, tail, len(ask.packet) - ask.query.question_end, fact)


def _entry_body(entry: Entry, second: int, cap: int, limit: int) -> Body:
    options: tuple[tuple[int, bytes], ...] = (entry.error,) if entry.error else ()
    if len(entry.records) > limit:
        records = entry.records  # truncated anyway: thousands of TTLs need no counting
    elif second < entry.expires or not entry.ttl_places or entry.stored == second:
        records = entry.render(second, cap)
    else:
        records = entry.render_stale(cap)
        nxdomain = entry.rcode == dns.RCODE_NXDOMAIN
        options += (dns.build_extended_error(dns.EDE_STALE_NXDOMAIN if nxdomain else dns.EDE_STALE_ANSWER),)
    return Body(
        entry.rcode,
        records,
        entry.answers,
        entry.authority,
        authenticated=entry.authenticated,
        options=options,
    )


def _local_body(query: Query, reply: LocalReply) -> Body:
    out = bytearray(dns.HEADER_BYTES)
    offsets: dict[bytes, int] = {}
    dns.write_name(out, query.name, offsets)
    out += bytes(4)
    start = len(out)
    for record in (*reply.answers, *reply.authority):
        dns.write_record(out, record, offsets)
    return Body(reply.rcode, bytes(out[start:]), len(reply.answers), len(reply.authority), authoritative=True)
