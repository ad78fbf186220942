"""What the policy says of a flow: devices, their postures, names, addresses and ways around. Pure.

Every refusal is told to `Notes`: what was blocked goes to the history, attempts to get around the filter to the alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from guardian.filter import marks
from guardian.filter.given import GivenAddresses
from guardian.policy.compile import Policy, service_of
from guardian.policy.decide import judge, judge_address, judge_bypass
from guardian.policy.model import FOREVER, UNSETTLED, Action, Decision, Kind, NameLists, Reason
from guardian.policy.posture import Posture, posture_of

MAX_IDENTITIES = 8192

_BLOCK, _BYPASS, _HELPLINE = Action.BLOCK, Reason.BYPASS, Reason.HELPLINE
_WEB_PORTS = frozenset({80, 443})
_DNS_OVER_TLS, _DNS = 853, 53
_ANY_HELPLINE = b""  # as a key of `named`: the addresses of all helplines
ALWAYS_REACHABLE = Decision(Action.ALLOW, Reason.HELPLINE, "helpline", FOREVER)
_NO_NAME = Decision(Action.ALLOW, Reason.DEFAULT, "default", FOREVER)


class Who(NamedTuple):
    """The opener of a flow. `device` is "" for a device that nobody has named."""

    device: str
    mac: bytes | None


class FlowLists(NameLists, Protocol):
    """Lists of names and of pages; `guardian.blocklist.image.Image` satisfies it."""

    def lookup_url(self, name: bytes, path: bytes) -> int:
        """Return the mask of the tags that hold for a page: the wire name of its host, its path with the query."""


class Notes(NamedTuple):
    """Who is told. `attempt(who, kind, now)`: kind is a word like `doh`. `block(who, name, decision, now)`."""

    attempt: Callable[[Who, str, float], None]
    block: Callable[[Who, bytes, Decision, float], None]


class Judge:
    """Decisions for flows under one policy. `replace` swaps the policy; what is remembered of devices goes with it."""

    def __init__(
        self,
        policy: Policy,
        lists: FlowLists,
        identify: Callable[[bytes, bytes | None], str],
        notes: Notes,
        settle: Callable[[bytes, bytes], None] = lambda name, asker: None,
    ) -> None:
        """`identify(address, mac)` returns a device id.

        `settle(name, asker)` begins to ask the lists that are slow to answer for a name that is UNSETTLED; `asker` is
        the device's MAC or id, b"" when no packet waits for it.
        """
        self.policy = policy
        self.lists = lists
        self.given: GivenAddresses[str] = GivenAddresses()  # by device id, to strict devices
        self.named: GivenAddresses[bytes] = GivenAddresses()  # by wire name, of helplines and safe twins
        self._identify = identify
        self._notes = notes
        self._settle = settle
        self._identities: dict[tuple[bytes, bytes | None], Who] = {}
        self._postures: dict[str, Posture] = {}

    def replace(self, policy: Policy, lists: FlowLists) -> None:
        """Decide by another policy from now on."""
        self.policy, self.lists = policy, lists
        self.forget()

    def forget(self) -> None:
        """Look up devices and postures anew: the policy, the clock or an address has changed."""
        self._identities.clear()
        self._postures.clear()

    def who(self, address: bytes, mac: bytes | None) -> Who:
        """Return the device that sends from a packed address with a MAC."""
        who = self._identities.get((address, mac))
        if who is None:
            if len(self._identities) >= MAX_IDENTITIES:
                self._identities.clear()
            who = self._identities[address, mac] = Who(self._identify(address, mac), mac)
        return who

    def posture(self, device: str, now: float) -> Posture:
        """Return where a device stands at `now`."""
        posture = self._postures.get(device)
        if posture is None or not posture.now <= now < posture.until:
            posture = self._postures[device] = posture_of(self.policy, device, now)
        return posture

    def opening(self, who: Who, address: bytes, port: int, now: float) -> Decision:
        """Decide on a flow's first packet, by where it goes. A stop does not speak here: a helpline may follow."""
        posture = self.posture(who.device, now)
        if posture.stop is not None:
            return _NO_NAME
        if port == _DNS_OVER_TLS:
            decision = judge_bypass(posture, "bypass:dot")
        elif port == _DNS:
            decision = judge_bypass(posture, "bypass:dns")
        else:
            decision = judge_address(posture, self.policy.addresses.lookup(address))
        if decision.action is _BLOCK and self.is_helpline(address, now):
            return _NO_NAME  # a resolver's address that serves others too; what is said there is judged by its name
        if decision.action is not _BLOCK and posture.strict and not self.given.has(who.device, address, now):
            decision = judge_bypass(posture, "bypass:dns-first")
        return self._noted(who, b"", decision, now)

    def name(self, who: Who, kind: Kind, name: bytes, address: bytes, now: float, path: bytes = b"") -> Decision | None:
        """Decide on the name (wire form, lower case) that a flow to `address` shows; `path` is that of plain HTTP.

        None: nobody knows yet. Then the packet is to be dropped, and judged anew when the client sends it again.
        """
        posture = self.posture(who.device, now)
        tags = self.lists.lookup(name)
        if tags & UNSETTLED and not tags & posture.mandatory:
            self._settle(name, who.mac or who.device.encode() or address)
            return None
        if path:
            tags |= self.lists.lookup_url(name, path)
        decision = judge(posture, kind, name, tags)
        if decision.action is not _BLOCK:
            twin = posture.rewrites.get(name)
            if posture.stop is not None and not self.named.has(name, address, now):
                decision = posture.stop  # anybody can say a helpline's name to a server of his own
            elif decision.reason is _HELPLINE and not self.named.has(name, address, now):
                decision = posture.default  # so a stop that begins later finds it
            elif twin and self.named.knows(twin.target) and not self.named.has(twin.target, address, now):
                # The open search, by its real address.
                decision = Decision(_BLOCK, _BYPASS, "bypass:safe-search", posture.until)
        return self._noted(who, name, decision, now)

    def give_named(self, name: bytes, addresses: tuple[bytes, ...], ttl: int, now: float, is_helpline: bool) -> None:
        """Note the addresses that the resolver gave for a helpline's name, or for a safe twin's."""
        self.named.note(name, addresses, ttl, now)
        if is_helpline:
            self.named.note(_ANY_HELPLINE, addresses, ttl, now)

    def is_helpline(self, address: bytes, now: float) -> bool:
        """Tell whether the resolver gave this address for a name that is always reachable."""
        return self.named.has(_ANY_HELPLINE, address, now)

    def unreadable(self, who: Who, now: float, is_trick: bool = False) -> Decision:
        """Decide on a flow whose name cannot be read. `is_trick`: its segments contradict each other."""
        decision = judge(self.posture(who.device, now), Kind.UNREADABLE, b"", 0)
        if is_trick:  # no honest sender does that
            decision = Decision(_BLOCK, _BYPASS, "bypass:conflict", decision.until)
        return self._noted(who, b"", decision, now)

    def midstream(self, who: Who, now: float) -> Decision:
        """Decide on a flow whose beginning nobody saw: it ran before the gateway. No attempt, so nothing is noted."""
        return judge(self.posture(who.device, now), Kind.UNREADABLE, b"", 0)

    def nameless(self, who: Who, port: int, now: float) -> Decision:
        """Decide on a flow that is neither TLS nor HTTP; on the web's ports that is a way around."""
        if port in _WEB_PORTS:
            return self.unreadable(who, now)
        return self._noted(who, b"", judge_address(self.posture(who.device, now), ""), now)

    def bypass(self, who: Who, tag: str, now: float) -> Decision:
        """Decide on a way around that was recognised: `bypass:vpn`, `bypass:proxy`."""
        return self._noted(who, b"", judge_bypass(self.posture(who.device, now), tag), now)

    def again(self, who: Who, kind: Kind, name: bytes, address: bytes, now: float) -> Decision | None:
        """Decide anew on a running flow, without noting anything; None while a stop holds: the kernel keeps that."""
        posture = self.posture(who.device, now)
        if posture.stop is not None:
            return None
        decision = judge_address(posture, self.policy.addresses.lookup(address))
        if decision.action is _BLOCK and not self.is_helpline(address, now):
            return decision
        if not name:  # also plain HTTP to an address
            return judge(posture, kind if kind is Kind.UNREADABLE else Kind.ADDRESS, b"", 0)
        tags = self.lists.lookup(name)
        if tags & UNSETTLED:
            self._settle(name, b"")  # it runs on; when the name turns out to be listed, it is judged again
        return judge(posture, kind, name, tags)

    def service(self, name: bytes) -> str:
        """Return the id of the service that a name belongs to, or ""."""
        return service_of(self.policy, self.lists.lookup(name)) if name else ""

    def _noted(self, who: Who, name: bytes, decision: Decision, now: float) -> Decision:
        if decision.action is _BLOCK:
            if decision.reason is _BYPASS:
                self._notes.attempt(who, decision.rule.removeprefix("bypass:"), now)
            self._notes.block(who, name, decision, now)
        return decision

    def stopped(self, devices: Iterable[str], now: float) -> set[str]:
        """Return the ids of those devices that have no internet now."""
        return {device for device in devices if self.posture(device, now).stop is not None}


def mark_of(decision: Decision, state: int) -> int:
    """Return the verdict for an allowed flow: `state` (ALLOWED or WATCHED), and whether a stop may cut it."""
    return state | marks.ALWAYS if decision.reason is _HELPLINE else state
