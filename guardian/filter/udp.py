"""UDP flows: QUIC by the names in its Initials, all else by each datagram until the server has answered. Pure."""

from __future__ import annotations

from typing import Final

from guardian.filter import marks
from guardian.filter.judge import ALWAYS_REACHABLE, Judge, Who, mark_of
from guardian.filter.judged import FlowKey, JudgedFlow, JudgedFlows
from guardian.filter.quic import QuicFlow, State
from guardian.filter.signatures import udp_greeting
from guardian.policy.model import Action, Decision, Kind
from guardian.wire import ip
from guardian.wire.ip import Packet
from guardian.wire.quic import VERSION_1, VERSION_2, Cipher, is_long_header, resembles_quic
from guardian.wire.tls import ClientHello

MAX_FLOWS: Final = 8192
MAX_OPENINGS: Final = 4 * MAX_FLOWS
MAX_AWAITED: Final = 8  # hellos of one flow that wait to be judged
UNDECIDED_SECONDS: Final = 60.0
OPENING_SECONDS: Final = 300.0  # a server has long let go of a hello of which no more came
WATCHED_SECONDS: Final = 3600.0  # QUIC in the kernel's hands: only its long headers come here
_HTTPS_PORT = 443
_IKE_PORTS = (500, 4500)  # calls over Wi-Fi, emergency calls included (3GPP TS 23.402), use what VPNs use
_KNOWN = tuple(version.to_bytes(4) for version in (VERSION_1, VERSION_2))
_BLOCK = Action.BLOCK


class UdpFlow:
    """A QUIC flow in the making, or one that the kernel carries."""

    __slots__ = ("awaited", "is_trick", "key", "known", "mark", "name", "quic", "seen", "who")

    def __init__(self, who: Who, key: FlowKey, quic: QuicFlow, now: float) -> None:
        self.who = who
        self.key = key
        self.quic = quic
        self.seen = now
        self.name = b""
        self.mark = marks.PASS
        self.known = 0  # how many connections of it stand in the table of openings
        self.is_trick = False  # it shares a connection with another flow
        self.awaited: tuple[ClientHello, ...] = ()  # hellos whose names are not settled yet


class UdpFlows:
    """QUIC flows by `Packet.key`. `cipher` is None where QUIC cannot be read, or shall not be."""

    def __init__(self, judge: Judge, judged: JudgedFlows, cipher: Cipher | None, inspects: bool) -> None:
        """`inspects`: filtered devices may use QUIC, by the names that it shows; else it is refused to them."""
        self.inspects = inspects
        self._cipher = cipher
        self._judge = judge
        self._judged = judged
        self._flows: dict[bytes, UdpFlow] = {}
        self._openings: dict[bytes, UdpFlow] = {}  # by connection id: who opened it

    def __len__(self) -> int:
        return len(self._flows)

    def handle(self, data: bytes, packet: Packet, mac: bytes | None, now: float) -> int:
        """Return the verdict for a UDP packet of a home's device. Raises FormError for what no server would take."""
        datagram = ip.read_datagram(data, packet.start, packet.end)
        payload = data[datagram.payload : datagram.end]
        flow = self._flows.get(packet.key)
        if flow is not None:
            flow.seen = now
            return self._read(packet, flow, payload, now)
        key = FlowKey(ip.UDP, packet.source, datagram.source_port, packet.destination, datagram.destination_port)
        judged = self._judged.get(key)
        if judged is not None and judged.mark & marks.STATE_MASK == marks.ALLOWED:
            return judged.mark  # it waited while the mark was saved
        return self._open(packet, key, payload, mac, now)

    def _open(self, packet: Packet, key: FlowKey, payload: bytes, mac: bytes | None, now: float) -> int:
        judge = self._judge
        who = judge.who(packet.source, mac)
        decision = judge.opening(who, packet.destination, key.destination_port, now)
        if decision.action is _BLOCK:
            return marks.REFUSED
        if key.destination_port == _HTTPS_PORT or _opens_quic(payload):
            return self._open_quic(packet, key, who, payload, now)
        if key.destination_port in _IKE_PORTS and judge.is_helpline(packet.destination, now):
            return self._settle(key, who, ALWAYS_REACHABLE, now)
        tag = udp_greeting(payload, key.destination_port)
        decision = judge.bypass(who, tag, now) if tag else judge.nameless(who, key.destination_port, now)
        # Watched: a handshake may hide behind a datagram of junk that no server answers.
        return self._settle(key, who, decision, now, marks.WATCHED)

    def _open_quic(self, packet: Packet, key: FlowKey, who: Who, payload: bytes, now: float) -> int:
        posture = self._judge.posture(who.device, now)
        if posture.filtered and not self.inspects:
            return marks.REFUSED  # no attempt at anything: browsers go on over TCP at once
        if self._cipher is None:
            return self._settle(key, who, posture.stop or posture.unreadable, now)
        if len(self._flows) >= MAX_FLOWS and not self._make_room():
            return marks.REFUSED
        flow = self._flows[packet.key] = UdpFlow(who, key, QuicFlow(self._cipher), now)
        return self._read(packet, flow, payload, now)

    def _read(self, packet: Packet, flow: UdpFlow, payload: bytes, now: float) -> int:
        reading = flow.quic.read(payload)
        judge, who = self._judge, flow.who
        if flow.is_trick or self._shares_connection(flow):
            judge.unreadable(who, now, is_trick=True)
            return self._refuse(packet, flow)
        hellos, flow.awaited = (*flow.awaited, *reading.hellos), ()
        for hello in hellos:
            named = (
                judge.unreadable(who, now)
                if hello.name is None
                else judge.name(who, Kind.QUIC, hello.name, flow.key.destination, now)
            )
            if named is None:
                flow.awaited += (hello,)
                continue
            if named.action is _BLOCK:
                return self._refuse(packet, flow)
            flow.name = hello.name or flow.name
            mark = mark_of(named, marks.WATCHED)
            flow.mark = mark & (flow.mark or mark)  # a stop spares it only when all its names are helplines
        if flow.awaited:
            if len(flow.awaited) > MAX_AWAITED:
                return self._refuse(packet, flow)
            return marks.DROP  # the client sends it again in a moment
        if reading.is_opaque:
            return marks.DROP
        if reading.state is State.WHOLE:
            self._judged.add(flow.key, self._judged_flow(flow, now))
            return flow.mark
        if reading.state is State.PENDING:
            return marks.PASS
        decision = judge.unreadable(who, now)
        if decision.action is _BLOCK:
            return self._refuse(packet, flow)
        self._flows.pop(packet.key, None)
        return self._settle(flow.key, who, decision, now)

    def _shares_connection(self, flow: UdpFlow) -> bool:
        """Whether a connection of this flow was opened by another: two flows can show a hello that neither shows alone.

        Servers find the connection by its id, whatever address or port a datagram comes from. No honest client moves
        before the handshake is done (RFC 9000 section 9).
        """
        ids = flow.quic.opening_ids
        if len(ids) == flow.known:
            return False
        flow.known = len(ids)
        for identity in ids:
            first = self._openings.setdefault(identity, flow)
            if first is not flow:
                first.is_trick = first.mark == marks.PASS
                return True
        return len(self._openings) > MAX_OPENINGS

    def _make_room(self) -> bool:
        """Forget the oldest flow that the kernel carries; one whose hello is not whole would have another try."""
        oldest = next((key for key, flow in self._flows.items() if flow.mark), None)
        if oldest is not None:
            del self._flows[oldest]
        return oldest is not None

    def _settle(self, key: FlowKey, who: Who, decision: Decision, now: float, state: int = marks.ALLOWED) -> int:
        if decision.action is _BLOCK:
            self._judged.discard(key)
            return marks.REFUSED
        mark = mark_of(decision, state)
        self._judged.add(key, JudgedFlow(who, Kind.ADDRESS, b"", "", mark, now))
        return mark

    def _refuse(self, packet: Packet, flow: UdpFlow) -> int:
        del self._flows[packet.key]
        self._judged.discard(flow.key)
        self._forget_hello(flow)
        return marks.REFUSED

    def _forget_hello(self, flow: UdpFlow) -> None:
        """It stands in the table of openings for minutes yet, where nobody needs what it said."""
        flow.name, flow.awaited = b"", ()
        if self._cipher is not None:
            flow.quic = QuicFlow(self._cipher)

    def judge_again(self, now: float) -> None:
        """Forget what was allowed and no longer is: the policy has changed. A stop is the kernel's to keep."""
        for key, flow in list(self._flows.items()):
            if flow.mark:
                decision = self._judge.again(flow.who, Kind.QUIC, flow.name, flow.key.destination, now)
                if decision is not None and decision.action is _BLOCK:
                    del self._flows[key]

    def _judged_flow(self, flow: UdpFlow, now: float) -> JudgedFlow:
        return JudgedFlow(flow.who, Kind.QUIC, flow.name, self._judge.service(flow.name), flow.mark, now)

    def age(self, now: float) -> None:
        """Forget flows that have gone quiet; call it now and then."""
        for key, flow in list(self._flows.items()):
            if now - flow.seen > (WATCHED_SECONDS if flow.mark else UNDECIDED_SECONDS):
                del self._flows[key]
                if flow.awaited:
                    self._forget_hello(flow)
        running = set(map(id, self._flows.values()))
        for identity, flow in list(self._openings.items()):
            if now - flow.seen > OPENING_SECONDS and id(flow) not in running:
                del self._openings[identity]


def _opens_quic(payload: bytes) -> bool:
    """Whether a flow's first datagram is a client's first of QUIC, on whatever port."""
    return len(payload) >= 7 and is_long_header(payload[0]) and (payload[1:5] in _KNOWN or resembles_quic(payload, 0))
