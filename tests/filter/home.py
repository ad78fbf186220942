"""A small home under a judge and an engine: real lists, a real policy, and the notes that they make."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from functools import cache

from guardian.blocklist.compile import Source, compile_image
from guardian.blocklist.image import Image
from guardian.filter.engine import Engine
from guardian.filter.judge import Judge, Notes, Who
from guardian.filter.judged import FlowKey
from guardian.filter.openssl import load_cipher
from guardian.filter.tcp import Answer
from guardian.names import parse_name
from guardian.policy.compile import Policy, compile_policy
from guardian.policy.model import (
    Action,
    AddressLists,
    Catalogue,
    Decision,
    Device,
    Household,
    Match,
    Profile,
    Rule,
    SafeSearch,
    Service,
)

NOON = 1_795_348_800.0  # 2026-11-22 12:00 UTC, a Sunday
CHILD_MAC, ADULT_MAC, TODDLER_MAC, TRUSTED_MAC = (bytes((2, 0, 0, 0, 0, number)) for number in range(2, 6))
DEVICES = {CHILD_MAC: "tablet", ADULT_MAC: "laptop", TODDLER_MAC: "toy", TRUSTED_MAC: "phone"}
TAGGED = {
    "category:gambling": ["bet.example", "dice.example"],
    "service:tube": ["tube.example"],
    "bypass:doh": ["doh.example"],
    "mandatory:test": ["illegal.example"],
    "helpline": ["help.example"],
}
PAGE = "page.example/bad"
ALLOWED, BLOCKED, HELP = parse_name("www.example.com"), parse_name("bet.example"), parse_name("help.example")


@cache
def make_lists() -> Image:
    sources = [Source(tag=tag, name=tag, names=list(map(parse_name, names))) for tag, names in TAGGED.items()]
    pages = Source(tag="mandatory:test", name="pages", data=lambda: f"http://{PAGE}\n".encode(), format="url")
    return Image(compile_image([*sources, pages], b"0123456789abcdef", NOON).to_bytes())


def make_policy(
    paused_until: float = 0.0, rules: Iterable[str] = (), addresses: AddressLists | None = None, children: int = 0
) -> Policy:
    """The home's policy; `paused_until` is that of the child, `rules` are names that are blocked for it too."""
    child = Profile(
        "child",
        "Child",
        categories=frozenset({"gambling"}),
        rules=tuple(Rule(Action.BLOCK, name, Match.SUBDOMAINS) for name in rules),
        safe_search=SafeSearch(enabled=True),
        paused_until=paused_until,
    )
    trusted = Profile("trusted", "Trusted", categories=frozenset({"gambling"}), bypass_protection=False)
    adult = Profile("adult", "Adult", filtered=False, bypass_protection=False)
    toddler = Profile("toddler", "Toddler", strict=True)
    profiles = {"tablet": "child", "laptop": "adult", "toy": "toddler", "phone": "trusted"}
    devices = tuple(
        Device(device, device, profiles[device], macs=(mac.hex(":"),)) for mac, device in DEVICES.items()
    ) + tuple(Device(f"d{number}", f"d{number}", "child") for number in range(children))
    household = Household("UTC", UTC, (child, trusted, adult, toddler), devices, "child", (), "en")
    tube = Service("tube", "Tube", "video", (parse_name("tube.example"),))
    search = {parse_name("www.search.example"): parse_name("safe.search.example")}
    catalogue = Catalogue({"tube": tube}, {"gambling": "bets"}, search, {}, {})
    return compile_policy(household, catalogue, make_lists(), addresses=addresses)


class Home:
    """An engine and what it told: attempts, blocks, and the answers that it wanted to send."""

    def __init__(self, policy: Policy | None = None, *, inspects: bool = True, can_answer: bool = True) -> None:
        self.attempts: list[str] = []
        self.blocks: list[tuple[str, bytes, Decision]] = []
        self.answers: list[Answer] = []
        self.can_answer = can_answer
        self.forgotten: list[FlowKey] | None = None  # flows that the kernel was told to forget; None = no fast path
        self.devices: dict[bytes | None, str] = dict(DEVICES)  # type: ignore[arg-type]
        self.judge = Judge(
            policy or make_policy(), make_lists(), self._identify, Notes(self._note_attempt, self._note_block)
        )
        self.engine = Engine(self.judge, self._answer, load_cipher(), inspects, self._forget_carried)

    def _identify(self, address: bytes, mac: bytes | None) -> str:
        return self.devices.get(mac, "")

    def _note_attempt(self, who: Who, kind: str, now: float) -> None:
        self.attempts.append(kind)

    def _note_block(self, who: Who, name: bytes, decision: Decision, now: float) -> None:
        self.blocks.append((who.device, name, decision))

    def _answer(self, answer: Answer) -> bool:
        self.answers.append(answer)
        return self.can_answer

    def _forget_carried(self, key: FlowKey) -> bool:
        if self.forgotten is None:
            return False
        self.forgotten.append(key)
        return True

    def handle(self, packet: bytes, now: float = NOON, mac: bytes | None = CHILD_MAC) -> int:
        return self.engine.handle(packet, mac, now)

    def handle_all(self, packets: Iterable[bytes], now: float = NOON, mac: bytes | None = CHILD_MAC) -> list[int]:
        return [self.handle(packet, now, mac) for packet in packets]
