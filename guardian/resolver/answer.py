"""Answers as bytes: errors, blocks, rewrites, and the frame around cached records. Pure.

A reply is always `id + head + question + tail`: the id and the question are the client's own bytes (so 0x20 case is
kept), `head` are the ten header bytes behind the id, `tail` is everything behind the question. So one answer serves
every name that gets it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol

from guardian.config import BlockConfig, BlockMode
from guardian.policy.model import Action, Decision, Reason
from guardian.wire import dns
from guardian.wire.dns import Query

NEGATIVE_HOSTMASTER = b"\x0ahostmaster"
MAX_TEXT_BYTES = 80  # an Extended DNS Error is read by a person
MAX_PAGE_ADDRESSES = 4  # of a family: a block fits 512 bytes behind the longest name

_HEAD = struct.Struct(">5H")
KEPT_HEADS = 1024  # a home sees some dozens
_POINTER_RECORD = struct.Struct(">HHHIH")  # owner (a pointer), type, class, ttl, rdlength
_SOA_NUMBERS = struct.Struct(">5I")


class Fact(NamedTuple):
    """What the history keeps of an answer: words of Action and Reason, and the tag that spoke.

    `qtype` is A, AAAA, or 0 for all else: it is not kept, but tells questions of one try from several tries.
    """

    action: str
    reason: str
    tag: str
    qtype: int = 0


class Body(NamedTuple):
    """The records of a reply, rendered for a question at offset 12, and how they came about."""

    rcode: int = dns.RCODE_NOERROR
    records: bytes = b""
    answers: int = 0
    authority: int = 0
    authoritative: bool = False
    authenticated: bool = False
    options: tuple[tuple[int, bytes], ...] = ()  # EDNS options: Extended DNS Errors


class Ready:
    """A reply to all packets with the same bytes behind the id, good while `second < good_until`.

    `trailing` are the bytes behind the question in the packet (its OPT), so that the question's end is known without
    parsing; `grow` is how much longer the reply is than the packet. An answer with TTLs is good for one second, and
    `renew` counts it down until `ends`.
    """

    __slots__ = ("_changes", "_entry", "ends", "fact", "good_until", "grow", "head", "tail", "trailing")

    def __init__(self, head: bytes, tail: bytes, trailing: int, fact: Fact | None) -> None:
        self.head = head
        self.tail = tail
        self.trailing = trailing
        self.grow = len(tail) - trailing
        self.good_until = 0
        self.ends = 0
        self.fact = fact
        self._entry: Rendered | None = None
        self._changes = 0

    @property
    def is_truncated(self) -> bool:
        """Whether the reply says TC."""
        return bool(self.head[0] & 0x02)

    def keep(self, entry: Rendered, second: int, ends: int, changes: int) -> None:
        """Make this reply, just built from `entry`, renewable from `second` until `ends`.

        No TTL passes `changes`, the second in which the decision may change. This reply's own TTLs were right when it
        was built; what is given later in the same second must end that much earlier, hence the renewal.
        """
        self._entry = entry
        self.good_until = second
        self._changes = changes - 1
        self.ends = min(ends, self._changes)

    def renew(self, second: int) -> None:
        """Count the TTLs down to `second`, which is before `ends`."""
        assert self._entry is not None
        records = self._entry.render(second, self._changes - second)
        self.tail = records + self.tail[len(records) :]
        self.good_until = second + 1

    def reply_to(self, packet: bytes) -> bytes:
        """Return the whole reply to `packet`."""
        end = len(packet) - self.trailing
        return packet[:2] + self.head + packet[dns.HEADER_BYTES : end] + self.tail


class Rendered(Protocol):
    """What can render its records at a second; `guardian.resolver.cache.Entry` does."""

    def render(self, second: int, cap: int) -> bytes: ...


@lru_cache(KEPT_HEADS)
def build_head(flags: int, answers: int, authority: int, additional: int) -> bytes:
    """Return the ten header bytes behind the id of a reply with one question; equal ones are one object in memory."""
    return _HEAD.pack(flags, 1, answers, authority, additional)


def frame(query: Query, packet: bytes, body: Body, limit: int) -> tuple[bytes, bytes]:
    """Return (head, tail) of the reply that carries `body`; what is longer than `limit` bytes is truncated (TC)."""
    flags = dns.FLAG_QR | dns.FLAG_RA | (query.flags & (dns.FLAG_RD | dns.FLAG_CD)) | (body.rcode & dns.RCODE_MASK)
    if body.authoritative:
        flags |= dns.FLAG_AA
    edns = query.edns
    wants_authenticated = query.flags & dns.FLAG_AD or (edns is not None and edns.dnssec_ok)
    if body.authenticated and wants_authenticated:  # RFC 6840 section 5.8
        flags |= dns.FLAG_AD
    opt = b""
    if edns is not None:
        opt = dns.build_edns(
            dns.Edns(dns.MAX_UDP_PAYLOAD, 0, edns.dnssec_ok, body.rcode >> 4, body.options),
        )
        if query.question_end + len(opt) > limit:
            opt = dns.build_edns(dns.Edns(dns.MAX_UDP_PAYLOAD, 0, edns.dnssec_ok, body.rcode >> 4))
    if query.question_end + len(body.records) + len(opt) > limit:
        return build_head(flags | dns.FLAG_TC, 0, 0, 1 if opt else 0), opt
    return build_head(flags, body.answers, body.authority, 1 if opt else 0), body.records + opt


def build_error(packet: bytes, rcode: int) -> Ready:
    """Return the reply to a message that was not understood: its header, no question, no records (RFC 1035)."""
    flags = int.from_bytes(packet[2:4])
    kept = flags & (dns.OPCODE_MASK | dns.FLAG_RD | dns.FLAG_CD)
    head = _HEAD.pack(dns.FLAG_QR | dns.FLAG_RA | kept | rcode, 0, 0, 0, 0)
    return Ready(head, b"", len(packet) - dns.HEADER_BYTES, None)


def build_negative(zone: bytes, ttl: int) -> bytes:
    """Return an SOA record owned by the QNAME, for negative caching (RFC 2308); `zone` is the name of this server."""
    rdata = zone + NEGATIVE_HOSTMASTER + zone + _SOA_NUMBERS.pack(1, 3600, 600, 86400, ttl)
    return _POINTER_RECORD.pack(dns.ROOT_POINTER, dns.TYPE_SOA, dns.CLASS_IN, ttl, len(rdata)) + rdata


def build_addresses(addresses: tuple[bytes, ...], ttl: int) -> bytes:
    """Return A or AAAA records owned by the QNAME, for packed addresses."""
    parts = []
    for address in addresses:
        kind = dns.TYPE_A if len(address) == 4 else dns.TYPE_AAAA
        parts.append(_POINTER_RECORD.pack(dns.ROOT_POINTER, kind, dns.CLASS_IN, ttl, len(address)) + address)
    return b"".join(parts)


def build_minimal_any(ttl: int) -> Body:
    """Return the answer to QTYPE ANY: one HINFO record (RFC 8482 section 4.2)."""
    rdata = b"\x07RFC8482\x00"
    record = _POINTER_RECORD.pack(dns.ROOT_POINTER, dns.TYPE_HINFO, dns.CLASS_IN, ttl, len(rdata)) + rdata
    return Body(records=record, answers=1)


class Blocker:
    """Builds the answers to blocked names, by reason, as the configuration says."""

    def __init__(
        self,
        config: BlockConfig,
        zone: bytes,
        page: tuple[bytes, ...],
        errors: Mapping[str, int] | None = None,
    ) -> None:
        """`zone` is the wire name of this server; `page` are the packed addresses of the block page.

        `errors` are the Extended DNS Errors of mandatory rules that have one of their own, by rule.
        """
        self._config = config
        self._errors = errors or {}
        self._zone = zone
        self._page = {size: tuple(a for a in page if len(a) == size)[:MAX_PAGE_ADDRESSES] for size in (4, 16)}

    def mode_of(self, reason: Reason) -> BlockMode:
        """How a block for `reason` is answered."""
        if reason is Reason.MANDATORY:
            return self._config.mandatory
        if reason is Reason.BYPASS:  # the canary and the relays are asked by programs: they read NXDOMAIN as "no"
            return BlockMode.NXDOMAIN
        if reason is Reason.REBINDING:
            return BlockMode.NODATA
        return self._config.other

    def build(self, decision: Decision, qtype: int, ttl: int) -> Body:
        """Return the body of the reply to a blocked query of type `qtype`; `ttl` in seconds."""
        mode = self.mode_of(decision.reason)
        addresses: tuple[bytes, ...] = ()
        if mode is BlockMode.PAGE and qtype in (dns.TYPE_A, dns.TYPE_AAAA):
            addresses = self._page[4 if qtype == dns.TYPE_A else 16]
        elif mode is BlockMode.NULL and qtype in (dns.TYPE_A, dns.TYPE_AAAA):
            addresses = (bytes(4 if qtype == dns.TYPE_A else 16),)
        code = self._errors.get(decision.rule) or _EXTENDED_ERROR.get(decision.reason, dns.EDE_FILTERED)
        is_voluntary = decision.reason is Reason.MANDATORY and code == dns.EDE_BLOCKED
        text = _VOLUNTARY if is_voluntary else explain(decision)
        options = [dns.build_extended_error(code, text)]
        if addresses:
            options.append(dns.build_extended_error(dns.EDE_FORGED_ANSWER))
            records = build_addresses(addresses, ttl)
            return Body(records=records, answers=len(addresses), options=tuple(options))
        rcode = dns.RCODE_NXDOMAIN if mode is BlockMode.NXDOMAIN else dns.RCODE_NOERROR
        return Body(rcode, build_negative(self._zone, ttl), authority=1, options=tuple(options))


_EXTENDED_ERROR = {Reason.MANDATORY: dns.EDE_CENSORED, Reason.REBINDING: dns.EDE_BLOCKED}
_VOLUNTARY = "Guardian: on the hotline's list"  # no law, but an agreement of providers
_TEXT = {
    Reason.MANDATORY: "Guardian: blocked by law",
    Reason.PAUSE: "Guardian: the internet is paused for this device",
    Reason.CLOCK: "Guardian: the box does not know the time yet; try again in a minute",
    Reason.RULE: "Guardian: blocked by a parent",
    Reason.BYPASS: "Guardian: a way around the filter",
    Reason.ALLOW_LIST_ONLY: "Guardian: not among the allowed sites",
    Reason.REBINDING: "Guardian: a public name with an address of this home",
}


def explain(decision: Decision) -> str:
    """Return the short text of a block for the Extended DNS Error; never a listed name."""
    if decision.reason is Reason.MINUTES:
        text = f"Guardian: {_tell_minutes(decision.rule.removeprefix('minutes:'))} are used up"
    else:
        text = _TEXT.get(decision.reason) or f"Guardian: {decision.rule.replace(':', ' ')}"
    return text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")


def _tell_minutes(spent: str) -> str:
    """Whose minutes: `60` is the day's, `week:300` the week's, `youtube` a service's, `group:games` a group's."""
    if spent.isdecimal():
        return "today's minutes"
    if spent.startswith("week:"):
        return "this week's minutes"
    return f"the minutes for {spent.replace(':', ' ')}"


def fact_of(decision: Decision, qtype: int = 0) -> Fact | None:
    """Return what the history keeps of a decision about a query of a type; None for helplines, which leave no trace."""
    if decision.reason is Reason.HELPLINE:
        return None
    tag = "" if decision.action is Action.ALLOW else decision.rule
    kind = qtype if qtype in (dns.TYPE_A, dns.TYPE_AAAA) else 0
    return Fact(decision.action.value, decision.reason.value, tag, kind)
