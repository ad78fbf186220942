"""What the values promise: a new profile is the careful one, settings do not change, reasons stand in their order."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import replace

import pytest

from guardian.names import parse_name
from guardian.policy import model
from guardian.policy.compile import Policy
from guardian.policy.decide import decide
from guardian.policy.model import (
    FOREVER,
    Action,
    Device,
    Kind,
    Profile,
    Reason,
    Rule,
    SafeSearch,
    Schedule,
    ServiceRule,
    Subject,
    Window,
)
from guardian.policy.rules import parse_rule

SETTINGS = [value for _, value in inspect.getmembers(model, dataclasses.is_dataclass)]
EVERY_DAY = frozenset(range(7))


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.__name__)
def test_settings_are_frozen_and_without_a_dict(settings: type) -> None:
    """The gateway shares them between a running policy and the next one."""
    assert settings.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(settings)


def test_a_new_profile_is_filtered_and_a_new_device_is_online(
    home: Callable[..., Policy], at: Callable[..., float]
) -> None:
    policy, now = home(Profile("ana", "Ana")), at("2026-11-23 15:00")
    for name, reason in (("dns.google", Reason.BYPASS), ("bet365.com", Reason.DEFAULT)):
        assert decide(policy, Subject("ana", Kind.DNS_QUERY, parse_name(name)), now).reason is reason
    assert Device("tablet", "Tablet", "ana").paused_until == 0.0
    assert Rule(Action.BLOCK, "x.example", model.Match.EXACT).expires == FOREVER


def test_reasons_stand_in_the_order_of_the_steps(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    """Every step objects; then one after the other is taken away."""
    now = at("2026-11-23 15:00")
    tags = ["helpline", "mandatory:national", "bypass:doh", "service:youtube", "category:video"]
    profile = Profile(
        "ana",
        "Ana",
        paused_until=FOREVER,
        schedule=Schedule((Window(EVERY_DAY, 0, 1440),)),
        minutes=(0,) * 7,
        rules=(parse_rule("www.google.com", Action.BLOCK),),
        services=(ServiceRule("youtube", Action.BLOCK),),
        categories=frozenset({"video"}),
        allow_list_only=True,
        safe_search=SafeSearch(True),
    )
    taken = {
        Reason.PAUSE: {"paused_until": 0.0},
        Reason.SCHEDULE: {"schedule": Schedule()},
        Reason.MINUTES: {"minutes": ()},
        Reason.RULE: {"rules": ()},
        Reason.ALLOW_LIST_ONLY: {"allow_list_only": False},
        Reason.SAFE_SEARCH: {"safe_search": SafeSearch()},
    }
    met = []
    for _ in Reason:
        policy = home(profile, lists={tag: ["google.com"] for tag in tags}, clock_unset=Reason.CLOCK not in met)
        reason = decide(policy, Subject("ana", Kind.DNS_QUERY, parse_name("www.google.com")), now).reason
        met.append(reason)
        if reason is Reason.DEFAULT:
            break
        if reason in taken:
            profile = replace(profile, **taken[reason])  # type: ignore[arg-type]
        else:
            tags = [tag for tag in tags if tag.partition(":")[0] != reason.value]
    assert met == [reason for reason in Reason if reason is not Reason.REBINDING]  # of an answer, not of a name
