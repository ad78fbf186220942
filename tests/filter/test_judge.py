"""What the policy says of flows, and who is told."""

from __future__ import annotations

import pytest

from guardian.filter import judge as module
from guardian.filter.judge import Who, mark_of
from guardian.filter.marks import ALLOWED as CARRIED
from guardian.filter.marks import ALWAYS, WATCHED
from guardian.names import parse_name
from guardian.policy.model import FOREVER, Action, Decision, Kind, Reason
from tests.filter.home import (
    ADULT_MAC,
    ALLOWED,
    BLOCKED,
    CHILD_MAC,
    HELP,
    NOON,
    TODDLER_MAC,
    TRUSTED_MAC,
    Home,
    make_policy,
)

ADDRESS, OTHER = b"\xc0\0\2\1", b"\xc0\0\2\2"
SEARCH, SAFE = parse_name("www.search.example"), parse_name("safe.search.example")
BLOCK, ALLOW = Action.BLOCK, Action.ALLOW


class Listed:
    """Addresses on lists."""

    def __init__(self, tag: str) -> None:
        self.tags = {ADDRESS: tag}

    def lookup(self, address: bytes) -> str:
        return self.tags.get(address, "")


def who_of(home: Home, mac: bytes) -> Who:
    return home.judge.who(b"\x0a\0\0\2", mac)


def test_devices_are_looked_up_once_until_something_changes() -> None:
    home = Home()
    assert who_of(home, CHILD_MAC) == Who("tablet", CHILD_MAC)
    home.devices[CHILD_MAC] = "laptop"
    assert who_of(home, CHILD_MAC).device == "tablet"
    home.judge.forget()
    assert who_of(home, CHILD_MAC).device == "laptop"
    assert home.judge.who(b"\x0a\0\0\x09", None).device == ""


def test_identities_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDENTITIES", 10)
    home = Home()
    for number in range(100):
        home.judge.who(number.to_bytes(4), CHILD_MAC)
    assert len(home.judge._identities) <= 10


def test_postures_are_made_anew_when_their_time_is_over() -> None:
    home = Home(make_policy(paused_until=NOON + 60))
    assert home.judge.stopped(["tablet", "laptop"], NOON) == {"tablet"}
    assert home.judge.stopped(["tablet", "laptop"], NOON + 60) == set()
    assert home.judge.stopped(["tablet"], NOON) == {"tablet"}, "the clock was set back"


@pytest.mark.parametrize(("port", "kind"), [(853, "dot"), (53, "dns")])
def test_foreign_dns_is_an_attempt(port: int, kind: str) -> None:
    home = Home()
    assert home.judge.opening(who_of(home, CHILD_MAC), ADDRESS, port, NOON).action is BLOCK
    assert home.attempts == [kind]
    assert home.judge.opening(who_of(home, TRUSTED_MAC), ADDRESS, port, NOON).action is ALLOW
    assert home.judge.opening(who_of(home, ADULT_MAC), ADDRESS, port, NOON).action is ALLOW
    assert home.attempts == [kind]


def test_addresses_on_lists() -> None:
    home = Home(make_policy(addresses=Listed("bypass:doh")))
    assert home.judge.opening(who_of(home, CHILD_MAC), ADDRESS, 443, NOON).rule == "bypass:doh"
    assert home.judge.opening(who_of(home, CHILD_MAC), OTHER, 443, NOON).action is ALLOW
    assert home.judge.opening(who_of(home, TRUSTED_MAC), ADDRESS, 443, NOON).action is ALLOW
    assert home.attempts == ["doh"]
    home = Home(make_policy(addresses=Listed("mandatory:test")))
    decision = home.judge.opening(who_of(home, ADULT_MAC), ADDRESS, 443, NOON)
    assert (decision.action, decision.reason) == (BLOCK, Reason.MANDATORY)
    assert home.attempts == []


def test_a_helplines_address_is_open_and_stays_so() -> None:
    home = Home(make_policy(addresses=Listed("bypass:doh")))
    home.judge.give_named(HELP, (ADDRESS,), 60, NOON, is_helpline=True)
    child = who_of(home, CHILD_MAC)
    assert home.judge.opening(child, ADDRESS, 443, NOON).action is ALLOW
    again = home.judge.again(child, Kind.TLS, HELP, ADDRESS, NOON)
    assert again is not None
    assert again.action is ALLOW, "what was let in is not ended by the next review"
    again = home.judge.again(child, Kind.TLS, BLOCKED, ADDRESS, NOON)
    assert again is not None
    assert again.action is BLOCK


def test_strict_devices_reach_what_was_given_to_them() -> None:
    home = Home()
    toddler = who_of(home, TODDLER_MAC)
    assert home.judge.opening(toddler, ADDRESS, 443, NOON).rule == "bypass:dns-first"
    home.judge.given.note("tablet", [ADDRESS], 60, NOON)
    assert home.judge.opening(toddler, ADDRESS, 443, NOON).action is BLOCK
    home.judge.given.note("toy", [ADDRESS], 60, NOON)
    assert home.judge.opening(toddler, ADDRESS, 443, NOON).action is ALLOW
    assert home.judge.opening(who_of(home, CHILD_MAC), OTHER, 443, NOON).action is ALLOW
    assert home.attempts == ["dns-first", "dns-first"]


def test_a_stop_waits_for_the_name() -> None:
    home = Home(make_policy(paused_until=FOREVER))
    child = who_of(home, CHILD_MAC)
    assert home.judge.opening(child, ADDRESS, 853, NOON).action is ALLOW
    assert home.judge.name(child, Kind.TLS, ALLOWED, ADDRESS, NOON).reason is Reason.PAUSE
    assert home.judge.name(child, Kind.TLS, HELP, ADDRESS, NOON).reason is Reason.PAUSE, "any server can be called so"
    home.judge.give_named(HELP, (ADDRESS,), 60, NOON, is_helpline=True)
    assert home.judge.name(child, Kind.TLS, HELP, ADDRESS, NOON).reason is Reason.HELPLINE
    assert home.judge.name(child, Kind.TLS, HELP, OTHER, NOON).reason is Reason.PAUSE
    assert home.judge.nameless(child, 22, NOON).action is BLOCK
    assert home.judge.bypass(child, "bypass:vpn", NOON).reason is Reason.PAUSE
    assert home.judge.again(child, Kind.TLS, BLOCKED, ADDRESS, NOON) is None, "the kernel keeps it"


def test_only_a_helplines_own_address_is_spared_a_later_stop() -> None:
    home = Home()
    child = who_of(home, CHILD_MAC)
    home.judge.give_named(HELP, (ADDRESS,), 60, NOON, is_helpline=True)
    true, claimed = (home.judge.name(child, Kind.TLS, HELP, address, NOON) for address in (ADDRESS, OTHER))
    assert true.action is claimed.action is ALLOW
    assert mark_of(true, CARRIED) == CARRIED | ALWAYS
    assert mark_of(claimed, WATCHED) == WATCHED
    assert home.blocks == []


def test_names_and_pages() -> None:
    home = Home()
    child, adult = who_of(home, CHILD_MAC), who_of(home, ADULT_MAC)
    assert home.judge.name(child, Kind.TLS, BLOCKED, ADDRESS, NOON).rule == "category:gambling"
    assert home.judge.name(adult, Kind.TLS, BLOCKED, ADDRESS, NOON).action is ALLOW
    page = parse_name("page.example")
    assert home.judge.name(adult, Kind.HTTP, page, ADDRESS, NOON).action is ALLOW
    assert home.judge.name(adult, Kind.HTTP, page, ADDRESS, NOON, b"/bad/x").reason is Reason.MANDATORY
    assert [(device, name) for device, name, _ in home.blocks] == [("tablet", BLOCKED), ("laptop", page)]
    assert home.attempts == []


def test_the_open_search_at_its_real_address() -> None:
    home = Home()
    child = who_of(home, CHILD_MAC)
    assert home.judge.name(child, Kind.TLS, SEARCH, OTHER, NOON).action is ALLOW, "nobody has asked for it yet"
    home.judge.give_named(SAFE, (ADDRESS,), 60, NOON, is_helpline=False)
    assert home.judge.name(child, Kind.TLS, SEARCH, ADDRESS, NOON).action is ALLOW
    assert home.judge.name(child, Kind.TLS, SEARCH, OTHER, NOON).rule == "bypass:safe-search"
    assert home.judge.name(who_of(home, ADULT_MAC), Kind.TLS, SEARCH, OTHER, NOON).action is ALLOW
    assert home.attempts == ["safe-search"]


def test_what_cannot_be_read() -> None:
    home = Home()
    assert home.judge.unreadable(who_of(home, CHILD_MAC), NOON).rule == "bypass:unreadable"
    assert home.judge.unreadable(who_of(home, TRUSTED_MAC), NOON).action is ALLOW
    assert home.judge.unreadable(who_of(home, ADULT_MAC), NOON, is_trick=True).rule == "bypass:conflict"
    assert home.attempts == ["unreadable", "conflict"]
    assert home.judge.midstream(who_of(home, CHILD_MAC), NOON).action is BLOCK
    assert home.judge.midstream(who_of(home, ADULT_MAC), NOON).action is ALLOW
    assert home.attempts == ["unreadable", "conflict"]


def test_flows_without_a_name() -> None:
    home = Home()
    for port, action in ((22, ALLOW), (0, ALLOW), (80, BLOCK), (443, BLOCK)):
        assert home.judge.nameless(who_of(home, CHILD_MAC), port, NOON).action is action
    assert home.judge.nameless(who_of(home, TRUSTED_MAC), 443, NOON).action is ALLOW
    assert home.judge.bypass(who_of(home, CHILD_MAC), "bypass:vpn", NOON).rule == "bypass:vpn"
    assert home.judge.bypass(who_of(home, TRUSTED_MAC), "bypass:vpn", NOON).action is ALLOW


def test_running_flows_are_judged_without_a_note() -> None:
    home = Home(make_policy(rules=["example.com"]))
    child = who_of(home, CHILD_MAC)
    for kind, name, action in (
        (Kind.TLS, ALLOWED, BLOCK),
        (Kind.TLS, parse_name("www.example.org"), ALLOW),
        (Kind.ADDRESS, b"", ALLOW),
        (Kind.UNREADABLE, b"", BLOCK),
    ):
        decision = home.judge.again(child, kind, name, ADDRESS, NOON)
        assert decision is not None
        assert decision.action is action
    assert not home.blocks
    assert not home.attempts


def test_services() -> None:
    judge = Home().judge
    assert judge.service(parse_name("www.tube.example")) == "tube"
    assert judge.service(ALLOWED) == judge.service(b"") == ""


def test_marks_of_decisions() -> None:
    plain = Decision(ALLOW, Reason.DEFAULT, "default", FOREVER)
    assert mark_of(plain, CARRIED) == CARRIED
    assert mark_of(module.ALWAYS_REACHABLE, CARRIED) == CARRIED | ALWAYS


@pytest.mark.parametrize("kind", [Kind.HTTP, Kind.ADDRESS, Kind.UNREADABLE])
def test_a_running_flow_without_a_name_is_judged_again(kind: Kind) -> None:
    """A plain request to an address names no host; a profile with rules of its own must take that."""
    home = Home()
    for mac, action in ((CHILD_MAC, BLOCK), (TRUSTED_MAC, ALLOW)):
        decision = home.judge.again(who_of(home, mac), kind, b"", ADDRESS, NOON)
        assert decision is not None and decision.action is (action if kind is Kind.UNREADABLE else ALLOW)
