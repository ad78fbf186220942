"""TCP flows whose head is judged: from the SYN until the kernel takes over. Pure.

A flow goes to the kernel only when the client acknowledges server data after it was allowed: then the server has
accepted exactly the bytes that were judged. Plain HTTP stays here, because each request may name another host.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from guardian.errors import FormError
from guardian.filter import marks
from guardian.filter.judge import Judge, Who, mark_of
from guardian.filter.judged import FlowKey, JudgedFlow, JudgedFlows
from guardian.filter.signatures import may_become_greeting, tcp_greeting
from guardian.filter.stream import MAX_SEGMENTS, MAX_STREAM_BYTES, Placement, Stream
from guardian.policy.model import FOREVER, Action, Decision, Kind, Reason
from guardian.wire import ip, tls
from guardian.wire.http import Body, Request, read_request
from guardian.wire.ip import ACK, FIN, RST, SYN, URG, Packet, Segment

MAX_FLOWS: Final = 16_384
MAX_HELD_BYTES: Final = 16 << 20  # of all streams together
SILENT_SECONDS: Final = 20.0  # a flow that has sent nothing yet
UNDECIDED_SECONDS: Final = 60.0
IDLE_HTTP_SECONDS: Final = 3600.0
MAX_EARLY_BYTES: Final = 17_408  # that a server passes over before a second hello (RFC 8446 section 4.2.10)
BODY_KEPT_BYTES: Final = 32_768  # of a request's body, for retransmissions

_BLOCK = Action.BLOCK
_TLS_HANDSHAKE = 22
_REQUEST_LINE = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|CONNECT)[ \t]|[^\n]*[ \t]HTTP/", re.IGNORECASE)


class Stage(enum.IntEnum):
    FIRST = 0  # no byte has told the protocol
    TLS = 1
    HTTP = 2  # between two requests
    BODY = 3  # in the body of a request
    AGREED = 4  # allowed; waits for the client to acknowledge server data
    REFUSED = 5
    ANSWERED = 6


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


class TcpFlow:
    """One connection. Offsets are in the client's stream."""

    __slots__ = (
        "acknowledged",
        "agreed_at",
        "body",
        "confirmed",
        "is_settled",
        "key",
        "kind",
        "mark",
        "name",
        "position",
        "reader",
        "seen",
        "sends_early",
        "stage",
        "stamp",
        "stream",
        "upgrades",
        "uses_stamps",
        "who",
    )

    def __init__(self, who: Who, key: FlowKey, stream: Stream, uses_stamps: bool, now: float) -> None:
        self.who = who
        self.key = key
        self.stream = stream
        self.stage = Stage.FIRST
        self.seen = now
        self.uses_stamps: bool | None = None if uses_stamps else False  # None: offered; the first data tells
        self.stamp = 0
        self.acknowledged = -1  # the highest ACK so far; -1 = none
        self.agreed_at = 0  # `acknowledged` when the last decision was made
        self.position = 0  # where the next hello or request begins
        self.confirmed = 0  # all before it was answered by the server
        self.is_settled = False  # what follows the hello is no second one
        self.sends_early = False  # TLS early data follow the hello
        self.reader: tls.HelloReader | None = None
        self.body: Body | None = None
        self.upgrades = False
        self.kind = Kind.ADDRESS
        self.name = b""
        self.mark = marks.ALLOWED


class TcpFlows:
    """All TCP flows that are not yet in the kernel's hands, by `Packet.key`."""

    def __init__(self, judge: Judge, judged: JudgedFlows, answer: Callable[[Answer], bool]) -> None:
        """`answer` sends the block page into a flow; False when it cannot, then the flow is reset."""
        self._judge = judge
        self._judged = judged
        self._answer = answer
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
            return self._open(packet, segment, flow, mac, now)
        if segment.flags & RST:
            return marks.PASS
        if flow is None:
            return self._continue(packet, segment, mac, now)
        flow.seen = now
        if flow.stage >= Stage.REFUSED:
            return marks.REFUSED if flow.stage is Stage.REFUSED else marks.ANSWERED
        if not segment.flags & ACK or segment.is_signed or not _keeps_time(flow, segment):
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
        if flow is not None and flow.stage < Stage.REFUSED:
            # Another SYN may only mislead about where the stream begins.
            return marks.PASS if flow.stream.initial == initial else marks.DROP
        who = self._judge.who(packet.source, mac)
        key = FlowKey(ip.TCP, packet.source, segment.source_port, packet.destination, segment.destination_port)
        self._judged.discard(key)
        self._flows.pop(packet.key, None)
        decision = self._judge.opening(who, packet.destination, segment.destination_port, now)
        if decision.action is _BLOCK:
            return marks.REFUSED
        if len(self._flows) >= MAX_FLOWS:
            del self._flows[next(iter(self._flows))]
        uses_stamps = segment.timestamp != ip.NO_TIMESTAMP
        self._flows[packet.key] = TcpFlow(who, key, Stream(initial), uses_stamps, now)
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
        if flow.stage is Stage.FIRST and not flow.stream.size and not segment.flags & FIN:
            decision = self._judge.nameless(flow.who, flow.key.destination_port, now)
            if decision.action is _BLOCK:
                return self._refuse(flow)
            self._agree(flow, Kind.ADDRESS, b"", decision)
            flow.is_settled = True
            return self._hand_over(flow, now)
        return self._acknowledge(flow, segment, now)

    def _acknowledge(self, flow: TcpFlow, segment: Segment, now: float) -> int:
        flow.acknowledged = _later(flow.acknowledged, segment.acknowledgement)
        if flow.stage < Stage.HTTP or not 0 < (flow.acknowledged - flow.agreed_at & 0xFFFFFFFF) < 0x80000000:
            return marks.PASS
        if flow.stage is Stage.AGREED:
            if flow.is_settled:
                return self._hand_over(flow, now)
            return self._watch(flow, now) | marks.WATCHED if flow.sends_early else marks.PASS
        flow.confirmed = flow.position
        if flow.stage is Stage.HTTP:
            flow.stream.forget(flow.position)
        return marks.PASS

    def _place(self, flow: TcpFlow, segment: Segment, payload: bytes, now: float) -> int:
        stream = flow.stream
        if flow.stage is Stage.AGREED and flow.is_settled:
            if not stream.agrees(segment.sequence, payload):
                return self._refuse_trick(flow, now)
            return self._acknowledge(flow, segment, now)
        self._acknowledge(flow, segment, now)  # a hand-over needs a settled flow: none is lost here
        placement = stream.place(segment.sequence, payload)
        if placement is Placement.NEW:
            return self._read(flow, segment, now)
        if placement is Placement.CONFLICT:
            return self._refuse_trick(flow, now)
        if placement is Placement.TOO_MUCH:
            return self._refuse(flow) if flow.stage >= Stage.HTTP else self._give_up(flow, now)
        if placement is Placement.FORGOTTEN and stream.offset_of(segment.sequence) < flow.confirmed:
            return marks.DROP  # the server has it and has answered: only a trick sends it again
        if stream.segments > MAX_SEGMENTS and flow.stage < Stage.HTTP:
            return self._give_up(flow, now)
        return marks.PASS

    def _read(self, flow: TcpFlow, segment: Segment, now: float) -> int:
        """The stream has grown: see what it says now."""
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
        if stream.segments > MAX_SEGMENTS or len(stream.data) > MAX_STREAM_BYTES:
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
        if decision.action is _BLOCK:
            return self._refuse(flow)
        self._agree(flow, Kind.TLS, hello.name, decision)
        flow.sends_early = hello.has_early_data
        flow.position = hello.end
        if len(flow.stream.data) == hello.end:
            return marks.PASS
        return self._read_after_hello(flow, segment, now)

    def _read_after_hello(self, flow: TcpFlow, segment: Segment, now: float) -> int:
        """A server may ask for a second hello (RFC 8446 section 4.1.4): it is judged like the first."""
        following = tls.find_next_hello(flow.stream.data, flow.position, flow.sends_early)
        if following is None and not (flow.sends_early and len(flow.stream.data) - flow.position > MAX_EARLY_BYTES):
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
            if tag is None and _REQUEST_LINE.match(greeting):
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
        return self._read_requests(flow, segment, now)

    def _read_requests(self, flow: TcpFlow, segment: Segment, now: float) -> int:
        stream = flow.stream
        verdict = marks.PASS
        while flow.position < stream.end:
            if flow.body is not None:
                index, is_over = flow.body.feed(stream.data, flow.position - stream.base)
                flow.position = stream.base + index
                if not is_over:
                    self._forget_body(flow)
                    return verdict
                flow.body, flow.stage = None, Stage.HTTP
                continue
            try:
                request = read_request(stream.data, flow.position - stream.base)
            except FormError:
                if not flow.upgrades:
                    raise
                # The server was asked for another protocol (RFC 9110 section 7.8), and this is no request.
                self._agree(flow, flow.kind, flow.name, _ALLOWED)
                flow.is_settled = True
                return verdict
            if request is None:
                return verdict if verdict else self._has_more_time(flow, now)
            blocked = self._judge_request(flow, request, now)
            if blocked is not None:
                return self._answer_request(flow, segment, request, blocked)
            flow.position = stream.base + request.end
            flow.agreed_at = flow.acknowledged
            stream.segments = 0
            verdict = self._watch(flow, now)
            if request.is_chunked or request.length:
                flow.body = Body(chunked=True) if request.is_chunked else Body(request.length)
                flow.stage = Stage.BODY
        return verdict

    def _judge_request(self, flow: TcpFlow, request: Request, now: float) -> Decision | None:
        """Return what blocks a request, or None."""
        judge, who, address = self._judge, flow.who, flow.key.destination
        flow.kind, flow.upgrades = Kind.HTTP, flow.upgrades or request.upgrades
        for name in request.names:
            decision = judge.name(who, Kind.HTTP, name, address, now, request.path)
            if decision.action is _BLOCK:
                return decision
            flow.name, flow.mark = name, mark_of(decision, marks.WATCHED)
        if request.is_connect or request.is_proxy:
            decision = judge.bypass(who, "bypass:proxy", now)
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

    def _watch(self, flow: TcpFlow, now: float) -> int:
        self._judged.add(flow.key, self._judged_flow(flow, now))
        return flow.mark

    def _forget_body(self, flow: TcpFlow) -> None:
        stream = flow.stream
        if len(stream.data) > 2 * BODY_KEPT_BYTES:
            stream.forget(stream.end - BODY_KEPT_BYTES)
        stream.segments = 0

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
        del self._flows[key.source + key.destination + key.source_port.to_bytes(2) + key.destination_port.to_bytes(2)]

    def age(self, now: float) -> None:
        """Forget flows that have gone quiet, and the greediest while the streams hold too much. Call it often."""
        limits = {Stage.FIRST: SILENT_SECONDS, Stage.HTTP: IDLE_HTTP_SECONDS, Stage.BODY: IDLE_HTTP_SECONDS}
        old = [key for key, flow in self._flows.items() if now - flow.seen > limits.get(flow.stage, UNDECIDED_SECONDS)]
        for key in old:
            del self._flows[key]
        self._held = sum(flow.stream.size for flow in self._flows.values())
        if self._held > MAX_HELD_BYTES:
            for key in sorted(self._flows, key=lambda key: self._flows[key].stream.size, reverse=True):
                self._held -= self._flows.pop(key).stream.size
                if self._held <= MAX_HELD_BYTES // 2:
                    break


_ALLOWED = Decision(Action.ALLOW, Reason.DEFAULT, "default", FOREVER)


def _later(one: int, other: int) -> int:
    """The later of two sequence numbers; `one` may be -1 for none."""
    return other if one < 0 or (other - one & 0xFFFFFFFF) < 0x80000000 else one


def _keeps_time(flow: TcpFlow, segment: Segment) -> bool:
    """Whether the server will take a segment by its timestamp (RFC 7323 section 5)."""
    stamp = segment.timestamp
    if flow.uses_stamps is False:
        return True
    if flow.uses_stamps is None:
        flow.uses_stamps = stamp != ip.NO_TIMESTAMP  # the server took the offer, or did not
        flow.stamp = max(stamp, 0)
        return True
    if stamp == ip.NO_TIMESTAMP:
        return False
    distance = stamp - flow.stamp & 0xFFFFFFFF
    if distance >= 0x80000000:
        return False
    flow.stamp = stamp
    return True
