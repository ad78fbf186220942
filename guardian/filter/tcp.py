"""TCP flows whose head is judged: from the SYN until the kernel takes over. Pure.

A flow goes to the kernel only when the client acknowledges server data after it was allowed: then the server has
accepted exactly the bytes that were judged. Where the server's data begin is told by its own SYN-ACK, for a client may
claim less than it has got; more it cannot claim, connection tracking sees to that. Plain HTTP stays here, because each
request may name another host.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from guardian.errors import FormError
from guardian.filter import marks
from guardian.filter.judge import Judge, Who, mark_of
from guardian.filter.judged import FlowKey, JudgedFlow, JudgedFlows
from guardian.filter.signatures import may_become_greeting, tcp_greeting
from guardian.filter.stream import MAX_SEGMENTS, MAX_STREAM_BYTES, MERGED_BYTES, Placement, Stream
from guardian.filter.tcp_flow import Stage, TcpFlow
from guardian.policy.model import Action, Decision, Kind
from guardian.wire import ip, tls
from guardian.wire.http import Body, Request, read_request
from guardian.wire.ip import ACK, FIN, RST, SYN, URG, Packet, Segment

MAX_FLOWS: Final = 16_384
MAX_HELD_BYTES: Final = 16 << 20  # of all streams together
UNANSWERED_SECONDS: Final = 20.0  # a flow whose SYN was not answered yet
SILENT_SECONDS: Final = 300.0  # one whose client has sent nothing: browsers connect before they know for what
UNDECIDED_SECONDS: Final = 60.0
IDLE_SECONDS: Final = 3600.0  # one that was allowed: many protocols are silent for minutes
MAX_EARLY_BYTES: Final = 120_000  # before a second hello (RFC 8446 section 4.2.10): 16 KB, in records of one byte too
MAX_RETRY_BYTES: Final = 512  # of a HelloRetryRequest, which shows nothing but that a second hello is wanted
KEPT_BYTES: Final = 1 << 20  # of plain HTTP, for retransmissions: more than is under way in a home

_BLOCK = Action.BLOCK
_TLS_HANDSHAKE = 22
_RECORDS = re.compile(rb"[\x14\x15\x17](?:\x03|\Z)")  # TLS that begins with another record than a hello's
_ENDLESS = 1 << 62
_REQUEST_LINE = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|CONNECT)[ \t]|[^\n]*[ \t]HTTP/", re.IGNORECASE)


class Answer(NamedTuple):
    """A blocked plain HTTP request that gets the block page in the server's name."""

    who: Who
    key: FlowKey
    sequence: int  # of the first byte that the client expects from the server
    acknowledgement: int
    timestamp: tuple[int, int] | None  # TSval and TSecr to send, where the connection uses them
    names: tuple[bytes, ...]
    decision: Decision
    is_head: bool  # the request was HEAD


class TcpFlows:
    """All TCP flows that are not yet in the kernel's hands, by `Packet.key`."""

    def __init__(
        self,
        judge: Judge,
        judged: JudgedFlows,
        answer: Callable[[Answer], bool],
        forget_carried: Callable[[FlowKey], bool] = lambda key: False,
    ) -> None:
        """`answer` sends the block page into a flow; False when it cannot, then the flow is reset.

        `forget_carried` has the kernel forget a judged flow whose ports are used again, because it may have taken the
        fast path, where nobody looks at TCP windows; False when there is none.
        """
        self._judge = judge
        self._judged = judged
        self._answer = answer
        self._forget_carried = forget_carried
        self._flows: dict[bytes, TcpFlow] = {}
        self._held = 0

    def __len__(self) -> int:
        return len(self._flows)

    @property
    def held_bytes(self) -> int:
        """Bytes of all streams as of the last `age`."""
        return self._held

    def judge_again(self, now: float) -> None:
        """Refuse what was allowed and no longer is: the policy has changed. A stop is the kernel's to keep."""
        for flow in self._flows.values():
            if Stage.HTTP <= flow.stage <= Stage.AGREED:
                address = flow.key.destination
                decision = self._judge.again(flow.who, flow.kind, flow.name, address, now)
                if decision is not None and decision.action is _BLOCK:
                    self._refuse(flow)

    def handle(self, data: bytes, packet: Packet, mac: bytes | None, now: float) -> int:
        """Return the verdict for a TCP packet of a home's device. Raises FormError for what no server would take."""
        segment = ip.read_segment(data, packet.start, packet.end)
        flow = self._flows.get(packet.key)
        if segment.flags & SYN:
            if segment.flags & ACK:
                return self._begin(data, packet, segment)
            return self._open(packet, segment, flow, mac, now)
        if segment.flags & RST:
            return marks.PASS
        if flow is None:
            return self._continue(packet, segment, mac, now)
        flow.seen = now
        if flow.stage >= Stage.REFUSED:
            return marks.REFUSED if flow.stage is Stage.REFUSED else marks.ANSWERED
        if flow.origin < 0 or not segment.flags & ACK or segment.is_signed or not flow.keeps_time(segment):
            return marks.DROP
        payload = data[segment.payload : packet.end]
        if not payload:
            return self._note_silence(flow, segment, now)
        if segment.flags & URG:
            return marks.DROP  # whether the urgent byte belongs to the stream is the server's secret
        return self._place(flow, segment, payload, now)

    # Beginning

    def _open(self, packet: Packet, segment: Segment, flow: TcpFlow | None, mac: bytes | None, now: float) -> int:
        if segment.flags & (ACK | FIN | RST) or packet.end > segment.payload or segment.is_signed:
            return marks.DROP  # data with the SYN (RFC 7413): the client sends it again without
        initial = segment.sequence + 1 & 0xFFFFFFFF
        if flow is not None and flow.origin < 0 and flow.stream.initial == initial:
            flow.seen = now
            return marks.PASS
        who = self._judge.who(packet.source, mac)
        key = FlowKey(ip.TCP, packet.source, segment.source_port, packet.destination, segment.destination_port)
        before = self._judged.get(key) if flow is None else None
        if before is not None and before.mark & marks.STATE_MASK == marks.ALLOWED and self._forget_carried(key):
            self._judged.discard(key)
            return marks.DROP  # the client sends its SYN again
        decision = self._judge.opening(who, packet.destination, segment.destination_port, now)
        if decision.action is _BLOCK:
            return marks.REFUSED
        opened = TcpFlow(who, key, initial, segment.timestamp, now)
        if flow is not None and flow.stage < Stage.REFUSED:
            flow.rival = opened  # it may only mislead about where the stream begins: the server's answer decides
            return marks.PASS
        self._judged.discard(key)
        self._flows.pop(packet.key, None)
        if len(self._flows) >= MAX_FLOWS:
            del self._flows[next(iter(self._flows))]
        self._flows[packet.key] = opened
        return marks.PASS

    def _begin(self, data: bytes, packet: Packet, segment: Segment) -> int:
        """The server's SYN-ACK: which of the client's SYNs it took, and where its own data begin."""
        start = packet.start
        key = packet.destination + packet.source + data[start + 2 : start + 4] + data[start : start + 2]
        flow = self._flows.get(key)
        if flow is None:
            return marks.DROP  # nobody saw the SYN: the client sends it again
        initial, origin, rival = segment.acknowledgement, segment.sequence + 1 & 0xFFFFFFFF, flow.rival
        is_repeated = (initial, origin) == (flow.stream.initial, flow.origin)
        if rival is not None and rival.stream.initial == initial and not is_repeated:
            flow = self._flows[key] = rival
            self._judged.discard(flow.key)
        if flow.stream.initial == initial:
            flow.begin(origin, segment.timestamp)
        return marks.PASS

    def _continue(self, packet: Packet, segment: Segment, mac: bytes | None, now: float) -> int:
        """A packet of a flow whose beginning was not seen, or that was handed over while this packet waited."""
        key = FlowKey(ip.TCP, packet.source, segment.source_port, packet.destination, segment.destination_port)
        flow = self._judged.get(key)
        if flow is not None and flow.mark & marks.STATE_MASK == marks.ALLOWED:
            return flow.mark
        who = self._judge.who(packet.source, mac)
        decision = self._judge.midstream(who, now)
        if decision.action is _BLOCK:
            return marks.REFUSED
        self._judged.add(key, JudgedFlow(who, Kind.ADDRESS, b"", "", marks.ALLOWED, now))
        return marks.ALLOWED

    # Going on

    def _note_silence(self, flow: TcpFlow, segment: Segment, now: float) -> int:
        """An empty segment comes here when the server has sent a lot: it speaks first, or the client only listens."""
        flow.acknowledge(segment.acknowledgement)
        if flow.stage is Stage.FIRST and flow.heard and not flow.stream.size and not segment.flags & FIN:
            decision = self._judge.nameless(flow.who, flow.key.destination_port, now)
            if decision.action is _BLOCK:
                return self._refuse(flow)
            self._agree(flow, Kind.ADDRESS, b"", decision)
            flow.is_settled = True
            return self._hand_over(flow, now)
        return self._acknowledge(flow, segment, now)

    def _acknowledge(self, flow: TcpFlow, segment: Segment, now: float) -> int:
        if not flow.acknowledge(segment.acknowledgement) or flow.stage is not Stage.AGREED:
            return marks.PASS
        if flow.is_settled:
            is_retry = flow.kind is Kind.TLS and flow.heard <= MAX_RETRY_BYTES
            return marks.PASS if is_retry else self._hand_over(flow, now)
        return self._watch(flow, flow.mark | marks.WATCHED, now) if flow.sends_early else marks.PASS

    def _place(self, flow: TcpFlow, segment: Segment, payload: bytes, now: float) -> int:
        stream = flow.stream
        if flow.stage is Stage.AGREED and flow.is_settled:
            if not stream.agrees(segment.sequence, payload):
                return self._refuse_trick(flow, now)
            return self._acknowledge(flow, segment, now)
        self._acknowledge(flow, segment, now)  # a hand-over needs a settled flow: none is lost here
        placement = stream.place(segment.sequence, payload)
        if placement is Placement.NEW:
            self._held += len(payload)
            if self._held > MAX_HELD_BYTES:
                self._shed()
            return self._read(flow, segment, now)
        if placement is Placement.NOTHING and flow.awaits:
            return self._read(flow, segment, now)
        if placement is Placement.CONFLICT:
            return self._refuse_trick(flow, now)
        if placement is Placement.FORGOTTEN:
            return marks.DROP  # the server has it; or it is a trick
        if placement is Placement.TOO_MUCH:  # of what was allowed, the client sends it again when there is room
            return marks.DROP if flow.stage >= Stage.HTTP else self._give_up(flow, now)
        if stream.segments > MAX_SEGMENTS and flow.stage < Stage.HTTP:
            return self._give_up(flow, now)
        return marks.PASS

    def _read(self, flow: TcpFlow, segment: Segment, now: float) -> int:
        """The stream has grown, or comes again: see what it says now."""
        flow.awaits = False
        try:
            if flow.stage is Stage.FIRST and flow.stream.data[0] != _TLS_HANDSHAKE:
                return self._read_first(flow, segment, now)
            if flow.stage <= Stage.TLS:
                return self._read_hello(flow, segment, now)
            if flow.stage is Stage.AGREED:
                return self._read_after_hello(flow, segment, now)
            return self._read_requests(flow, segment, now)
        except FormError:
            return self._give_up(flow, now)

    def _give_up(self, flow: TcpFlow, now: float) -> int:
        """The name cannot be read."""
        decision = self._judge.unreadable(flow.who, now)
        if decision.action is _BLOCK:
            return self._refuse(flow)
        self._agree(flow, Kind.UNREADABLE, b"", decision)
        flow.is_settled = True
        return marks.PASS

    def _has_more_time(self, flow: TcpFlow, now: float) -> int:
        stream = flow.stream
        if stream.segments > MAX_SEGMENTS or stream.end - flow.position > MAX_STREAM_BYTES:
            return self._give_up(flow, now)
        return marks.PASS

    # TLS

    def _read_hello(self, flow: TcpFlow, segment: Segment, now: float) -> int:
        flow.stage = Stage.TLS
        data = flow.stream.data
        hello = flow.reader.read(data) if flow.reader is not None else tls.read_client_hello(data, flow.position)
        if hello is None:
            if flow.reader is None:  # it comes in pieces: from now on each record is read once
                flow.reader = tls.HelloReader(flow.position)
            return self._has_more_time(flow, now)
        flow.reader = None
        if hello.name is None:
            flow.position = hello.end
            return self._give_up(flow, now)
        decision = self._judge.name(flow.who, Kind.TLS, hello.name, flow.key.destination, now)
        if decision is None:
            return self._await(flow)
        if decision.action is _BLOCK:
            return self._refuse(flow)
        self._agree(flow, Kind.TLS, hello.name, decision)
        flow.sends_early = hello.has_early_data
        if flow.sends_early:
            flow.stream.room = MAX_EARLY_BYTES + 2 * MERGED_BYTES
        flow.position = hello.end
        if len(flow.stream.data) == hello.end:
            return marks.PASS
        return self._read_after_hello(flow, segment, now)

    def _read_after_hello(self, flow: TcpFlow, segment: Segment, now: float) -> int:
        """A server may ask for a second hello (RFC 8446 section 4.1.4): it is judged like the first."""
        data = flow.stream.data
        start = max(flow.passed, flow.position)
        following = tls.find_next_hello(data, start, flow.sends_early)
        is_over = flow.heard > MAX_RETRY_BYTES or len(data) - flow.position > MAX_EARLY_BYTES
        if following is None and not (flow.sends_early and is_over):
            flow.passed = tls.pass_records(data, start)
            # Records of early data look like all that comes later: for that long the flow is watched.
            return self._acknowledge(flow, segment, now) if flow.sends_early else self._has_more_time(flow, now)
        if following is None or following < 0:
            flow.is_settled = True
            return self._acknowledge(flow, segment, now)
        flow.position = following
        return self._read_hello(flow, segment, now)

    # Plain HTTP, and all else

    def _read_first(self, flow: TcpFlow, segment: Segment, now: float) -> int:
        data = flow.stream.data
        try:
            request = read_request(data, 0)
        except FormError:
            greeting = bytes(data)
            tag = tcp_greeting(greeting)
            if tag is None and may_become_greeting(greeting):
                return self._has_more_time(flow, now)
            if tag is None and len(greeting) == 1 and _RECORDS.match(greeting):
                return self._has_more_time(flow, now)
            if tag is None and (_REQUEST_LINE.match(greeting) or _RECORDS.match(greeting)):
                return self._give_up(flow, now)  # some servers answer what we don't read
            if tag is not None:
                decision = self._judge.bypass(flow.who, tag, now)
            else:
                decision = self._judge.nameless(flow.who, flow.key.destination_port, now)
            if decision.action is _BLOCK:
                return self._refuse(flow)
            self._agree(flow, Kind.ADDRESS, b"", decision)
            flow.is_settled = True
            return marks.PASS
        if request is None:
            return self._has_more_time(flow, now)
        flow.stage = Stage.HTTP
        flow.stream.room = KEPT_BYTES + 2 * MERGED_BYTES
        return self._read_requests(flow, segment, now)

    def _read_requests(self, flow: TcpFlow, segment: Segment, now: float) -> int:
        stream = flow.stream
        if len(stream.data) > KEPT_BYTES + MERGED_BYTES:  # an early answer is no sign that the server has it all
            stream.forget(min(stream.end - KEPT_BYTES, flow.position))
        verdict = marks.PASS
        while flow.position < stream.end:
            if flow.body is not None:
                index, is_over = flow.body.feed(stream.data, flow.position - stream.base)
                flow.position = stream.base + index
                if not is_over:
                    return verdict
                flow.body, flow.stage = None, Stage.HTTP
                stream.segments = 0
                continue
            try:
                request = read_request(stream.data, flow.position - stream.base)
            except FormError:
                if not flow.upgrades or _may_begin(stream.data[flow.position - stream.base]):
                    raise
                # The server was asked for another protocol (RFC 9110 section 7.8), and took it if it goes on reading.
                flow.body, flow.stage = Body(_ENDLESS), Stage.BODY
                continue
            if request is None:
                return verdict if verdict else self._has_more_time(flow, now)
            blocked = self._judge_request(flow, request, now)
            if flow.awaits:
                return self._await(flow)
            if blocked is not None:
                return self._answer_request(flow, segment, request, blocked)
            flow.position = stream.base + request.end
            flow.agreed_at = flow.acknowledged
            stream.segments = 0
            verdict = self._watch(flow, flow.mark, now)
            if request.is_chunked or request.length:
                flow.body = Body(chunked=True) if request.is_chunked else Body(request.length)
                flow.stage = Stage.BODY
        return verdict

    def _judge_request(self, flow: TcpFlow, request: Request, now: float) -> Decision | None:
        """Return what blocks a request, or None; also when `flow.awaits` says that nobody knows yet."""
        judge, who, address = self._judge, flow.who, flow.key.destination
        flow.kind, flow.upgrades = Kind.HTTP, flow.upgrades or request.upgrades
        if request.is_connect or request.is_proxy:
            decision = judge.bypass(who, "bypass:proxy", now)
            if decision.action is _BLOCK:
                return decision
        for name in request.names:
            named = judge.name(who, Kind.HTTP, name, address, now, request.path)
            if named is None:
                flow.awaits = True
                return None
            if named.action is _BLOCK:
                return named
            flow.name, flow.mark = name, mark_of(named, marks.WATCHED)
        if not request.names:
            flow.name, flow.mark = b"", marks.WATCHED
        if request.method in (b"GET", b"HEAD") and (request.length or request.is_chunked):
            decision = judge.unreadable(who, now)  # some servers take the body for the next request
        elif request.names:
            return None
        elif request.addresses:
            decision = judge.nameless(who, 0, now)
        else:
            decision = judge.unreadable(who, now)
        return decision if decision.action is _BLOCK else None

    def _answer_request(self, flow: TcpFlow, segment: Segment, request: Request, decision: Decision) -> int:
        stamps = (segment.echo, segment.timestamp) if flow.uses_stamps else None
        end = flow.stream.initial + flow.stream.end & 0xFFFFFFFF
        names, is_head = request.names, request.method == b"HEAD"
        answer = Answer(flow.who, flow.key, segment.acknowledgement, end, stamps, names, decision, is_head)
        if request.is_connect or not self._answer(answer):
            return self._refuse(flow)
        self._end(flow, Stage.ANSWERED)
        return marks.ANSWERED

    def _watch(self, flow: TcpFlow, mark: int, now: float) -> int:
        self._judged.add(flow.key, self._judged_flow(flow, now)._replace(mark=mark))
        return mark

    # Ends

    def _agree(self, flow: TcpFlow, kind: Kind, name: bytes, decision: Decision) -> None:
        flow.stage = Stage.AGREED
        flow.kind, flow.name, flow.mark = kind, name, mark_of(decision, marks.ALLOWED)
        flow.agreed_at = flow.acknowledged

    def _hand_over(self, flow: TcpFlow, now: float) -> int:
        self._judged.add(flow.key, self._judged_flow(flow, now))
        self._drop(flow)
        return flow.mark

    def _judged_flow(self, flow: TcpFlow, now: float) -> JudgedFlow:
        return JudgedFlow(flow.who, flow.kind, flow.name, self._judge.service(flow.name), flow.mark, now)

    def _await(self, flow: TcpFlow) -> int:
        """Nobody knows yet whether the name is listed: the client sends these bytes again in a moment."""
        flow.awaits = True
        flow.stream.segments = 0  # its retransmissions are no tricks
        return marks.DROP

    def _refuse_trick(self, flow: TcpFlow, now: float) -> int:
        self._judge.unreadable(flow.who, now, is_trick=True)
        return self._refuse(flow)

    def _refuse(self, flow: TcpFlow) -> int:
        self._end(flow, Stage.REFUSED)
        return marks.REFUSED

    def _end(self, flow: TcpFlow, stage: Stage) -> None:
        self._judged.discard(flow.key)
        flow.stage, flow.body, flow.reader = stage, None, None
        flow.stream = Stream(flow.stream.initial)

    def _drop(self, flow: TcpFlow) -> None:
        key = flow.key
        ports = key.source_port.to_bytes(2) + key.destination_port.to_bytes(2)
        self._flows.pop(key.source + key.destination + ports, None)

    def age(self, now: float) -> None:
        """Forget flows that have gone quiet; call it now and then."""
        old = [key for key, flow in self._flows.items() if now - flow.seen > _patience(flow)]
        for key in old:
            del self._flows[key]
        self._held = sum(flow.stream.size for flow in self._flows.values())

    def _shed(self) -> None:
        """Forget the greediest flows, if the streams hold too much indeed: `_held` only grows between two `age`."""
        self._held = sum(flow.stream.size for flow in self._flows.values())
        if self._held <= MAX_HELD_BYTES // 2:
            return
        for key in sorted(self._flows, key=lambda key: self._flows[key].stream.size, reverse=True):
            self._held -= self._flows.pop(key).stream.size
            if self._held <= MAX_HELD_BYTES // 2:
                break


def _patience(flow: TcpFlow) -> float:
    """How long a flow may be quiet, in seconds."""
    if flow.stage is Stage.FIRST and not flow.stream.segments:
        return UNANSWERED_SECONDS if flow.origin < 0 else SILENT_SECONDS
    return IDLE_SECONDS if Stage.HTTP <= flow.stage <= Stage.AGREED else UNDECIDED_SECONDS


def _may_begin(byte: int) -> bool:
    """Whether a server may read a request, or a TLS hello, that begins with this byte."""
    return 0x20 <= byte < 0x7F or byte in b"\t\r\n" or byte == _TLS_HANDSHAKE
