"""The flow engine: a packet of a home's device comes in, a verdict goes out. Pure: the clock is an argument.

The kernel asks only about what is undecided (docs/flow-filter.md). Every packet gets a verdict, whatever it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from guardian.errors import FormError
from guardian.filter import marks
from guardian.filter.judge import ALWAYS_REACHABLE, Judge, mark_of
from guardian.filter.judged import FlowKey, JudgedFlow, JudgedFlows
from guardian.filter.tcp import Answer, TcpFlows
from guardian.filter.udp import UdpFlows
from guardian.policy.model import Action, Kind
from guardian.wire import ip
from guardian.wire.ip import Packet, read_packet
from guardian.wire.quic import Cipher

# Protocols of home devices that are no tunnel; all others are (GRE, ESP, AH, IP in IP, L2TP).
_PLAIN_PROTOCOLS: Final = frozenset({ip.ICMP, ip.ICMPV6, 132, 136})  # SCTP, UDP-Lite
_ESP: Final = 50  # a phone's calls over Wi-Fi, where no address is translated
_TCP, _UDP = ip.TCP, ip.UDP


class Engine:
    """All undecided flows of the home under one `Judge`."""

    def __init__(
        self,
        judge: Judge,
        answer: Callable[[Answer], bool],
        cipher: Cipher | None,
        inspects_quic: bool,
        forget_carried: Callable[[FlowKey], bool] = lambda key: False,
    ) -> None:
        """`answer` and `forget_carried` are explained in `TcpFlows`."""
        self.judge = judge
        self.judged = JudgedFlows()
        self.tcp = TcpFlows(judge, self.judged, answer, forget_carried)
        self.udp = UdpFlows(judge, self.judged, cipher, inspects_quic)
        self.verdicts: Counter[int] = Counter()
        self.malformed = 0

    def handle(self, data: bytes, mac: bytes | None, now: float) -> int:
        """Return the verdict (see `marks`) for an IP packet from the device with this MAC."""
        try:
            packet = read_packet(data)
            if packet.protocol == _TCP:
                verdict = self.tcp.handle(data, packet, mac, now)
            elif packet.protocol == _UDP:
                verdict = self.udp.handle(data, packet, mac, now)
            else:
                verdict = self._handle_other(packet, mac, now)
        except FormError:
            self.malformed += 1
            verdict = marks.DROP
        self.verdicts[verdict] += 1
        return verdict

    def _handle_other(self, packet: Packet, mac: bytes | None, now: float) -> int:
        judge = self.judge
        who = judge.who(packet.source, mac)
        decision = judge.opening(who, packet.destination, 0, now)
        if packet.protocol == _ESP and judge.is_helpline(packet.destination, now):
            decision = ALWAYS_REACHABLE
        elif decision.action is not Action.BLOCK:
            is_plain = packet.protocol in _PLAIN_PROTOCOLS
            decision = judge.nameless(who, 0, now) if is_plain else judge.bypass(who, "bypass:vpn", now)
        if decision.action is Action.BLOCK:
            return marks.REFUSED
        key = FlowKey(packet.protocol, packet.source, 0, packet.destination, 0)
        mark = mark_of(decision, marks.ALLOWED)
        self.judged.add(key, JudgedFlow(who, Kind.ADDRESS, b"", "", mark, now))
        return mark

    def review(self, now: float, is_new_policy: bool) -> list[tuple[FlowKey, JudgedFlow]]:
        """Judge all allowed flows anew, after a change; return those that must end, forgotten here.

        Under a stop they stay: the kernel holds them still until it ends. Flows whose opener is somebody else now end,
        and so do a filtered device's adopted ones when the policy is another: nobody knows their names.
        """
        ended = [item for item in self.judged.items() if self._must_end(*item, now, is_new_policy)]
        for key, _ in ended:
            self.judged.discard(key)
        self.tcp.judge_again(now)
        self.udp.judge_again(now)
        return ended

    def _must_end(self, key: FlowKey, flow: JudgedFlow, now: float, is_new_policy: bool) -> bool:
        judge = self.judge
        if flow.is_adopted:
            return is_new_policy and judge.posture(flow.who.device, now).filtered
        if judge.who(key.source, flow.who.mac).device != flow.who.device:
            return True
        decision = judge.again(flow.who, flow.kind, flow.name, key.destination, now)
        return decision is not None and decision.action is Action.BLOCK

    def age(self, now: float) -> None:
        """Forget what has gone quiet; call it every few seconds."""
        self.tcp.age(now)
        self.udp.age(now)
