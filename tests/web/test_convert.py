"""The household and its shapes say the same: nothing is lost on the way out and back in."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.catalogue import load_catalogue
from guardian.errors import ConfigError
from guardian.home import open_household
from guardian.policy.model import FOREVER, Action, Device, Household, Profile, Window
from guardian.policy.rules import parse_rule
from guardian.web.convert import (
    LAST_MOMENT,
    Problems,
    read_addresses,
    read_macs,
    read_name,
    read_pause,
    read_profile,
    read_rules,
    show_device,
    show_household,
    show_profile,
)
from guardian.web.shapes import household as shapes
from tests.store.conftest import make_household

CATALOGUE = load_catalogue(names=False)


def name_it(text: str) -> str:
    """As the API takes names: not blank, no spaces at the ends."""
    return text.strip()[:60].strip() or "x"


def label_windows(windows: tuple[Window, ...]) -> tuple[Window, ...]:
    return tuple(replace(window, label=name_it(window.label)) for window in windows)


def make_sendable(profile: Profile) -> Profile:
    """The profile with names and labels as the API takes them; a household file is more patient."""
    schedule = replace(
        profile.schedule,
        windows=label_windows(profile.schedule.windows),
        exceptions=tuple(replace(each, windows=label_windows(each.windows)) for each in profile.schedule.exceptions),
    )
    services = tuple(replace(rule, hours=label_windows(rule.hours)) for rule in profile.services)
    return replace(profile, name=name_it(profile.name), schedule=schedule, services=services)


@given(household=make_household(CATALOGUE))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_out_and_in_again(household: Household) -> None:
    for profile in map(make_sendable, household.profiles):
        shape = show_profile(profile)
        sent = msgspec.json.decode(msgspec.json.encode(shape), type=shapes.Profile)
        assert sent == shape
        assert read_profile(sent, CATALOGUE) == profile
        assert show_profile(read_profile(sent, CATALOGUE)) == shape
    for device in household.devices:
        shape_of_device = show_device(device)
        problems = Problems()
        assert read_macs(shape_of_device.macs, {}, problems) == device.macs
        assert read_addresses(shape_of_device.addresses, {}, problems) == device.addresses
        problems.finish()
        assert read_pause(shape_of_device.pause) == device.paused_until
    whole = show_household(household, 7)
    assert (whole.revision, whole.country, whole.new_devices) == (7, household.country, household.new_device_profile)
    assert [each.id for each in whole.profiles] == [each.id for each in household.profiles]
    assert read_rules(whole.rules, Problems()) == household.rules


def test_the_open_box_is_not_set_up() -> None:
    household = open_household("ro")
    assert show_household(household, 0).set_up is False
    assert show_household(replace(household, new_device_profile=""), 1).set_up is True


def test_a_moment_beyond_all_calendars_is_never() -> None:
    rule = parse_rule("a.example", Action.ALLOW, LAST_MOMENT + 1)
    shape = show_profile(Profile("p", "P", paused_until=1e300, rules=(rule,)))
    assert (shape.pause, shape.rules[0].expires) == (shapes.Pause(None), None)
    assert read_pause(shape.pause) == FOREVER
    assert show_profile(Profile("p", "P")).pause is None
    assert show_device(Device("d", "D", "p", paused_until=5.0)).pause == shapes.Pause(5.0)


def test_a_limit_that_limits_nothing_goes() -> None:
    shape = show_profile(Profile("p", "P"))
    shape.minutes_for = [shapes.GroupMinutes("youtube", shapes.Minutes())]
    assert read_profile(shape, CATALOGUE).group_minutes == ()


def test_names() -> None:
    assert read_name("  Ana Maria ") == "Ana Maria"
    shape = show_profile(Profile("p", "P"))
    for text in ("", " ", "\u2029", "a\u0000b", "x" * 201):
        shape.name = text
        with pytest.raises(ConfigError) as refused:
            read_profile(shape, CATALOGUE, prefix="draft.")
        assert [problem.where for problem in refused.value.problems] == ["draft.name"]


def test_places_of_devices() -> None:
    problems = Problems()
    owners = {"aa:00:00:00:00:01": "Ana's phone", "192.168.1.7": "TV"}
    macs = [" AA-00-00-00-00-02 ", "aa:00:00:00:00:02", "AA:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "x"]
    assert read_macs(macs, owners, problems) == ("aa:00:00:00:00:02",)
    addresses = ["192.168.1.7", "FD00:0::/64", "10.0.0.1/8", "fe80::1%eth0; drop", "192.168.1.8"]
    assert read_addresses(addresses, owners, problems, "address") == ("fd00::/64", "192.168.1.8")
    with pytest.raises(ConfigError) as refused:
        problems.finish()
    found = [(problem.where, problem.message) for problem in refused.value.problems]
    assert [where for where, _ in found] == [*(f"macs[{place}]" for place in (1, 2, 3, 4)), *["address"] * 3]
    assert "Ana's phone" in found[1][1]


@given(st.lists(st.builds(shapes.Rule, st.sampled_from(["allow", "block"]), st.text(max_size=300))))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_rule_or_a_problem(rules: list[shapes.Rule]) -> None:
    problems = Problems()
    made = read_rules(rules, problems)
    try:
        problems.finish()
    except ConfigError as error:
        assert len(made) + len(error.problems) == len(rules)
    else:
        assert len(made) == len(rules)
        assert all(rule.pattern.isascii() for rule in made)
