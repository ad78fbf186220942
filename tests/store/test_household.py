"""Household files: exact inverses, presets, and every mistake at its line."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.errors import ConfigError
from guardian.policy.model import (
    FOREVER,
    Action,
    Bonus,
    Catalogue,
    DayException,
    GroupMinutes,
    Household,
    Match,
    SafeSearch,
    ServiceRule,
    Visibility,
    Window,
    YouTube,
)
from guardian.store.household import decode_household, encode_household, load_household_file
from guardian.store.words import EVERY_DAY, read_moment
from guardian.typed_yaml import MOST_PROBLEMS

ROOT = Path(__file__).parents[2]
HEAD = "timezone: Europe/Chisinau\nprofiles: {ana: {}}\n"


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_import_of_an_export_is_the_same_household(
    data: st.DataObject, households: st.SearchStrategy[Household], catalogue: Catalogue
) -> None:
    household = data.draw(households)
    text = encode_household(household)
    again = decode_household(text, "h.yaml", catalogue)
    assert again == household
    assert encode_household(again) == text
    assert isinstance(yaml.safe_load(text), dict)  # other programs read it as well


def decode(text: str, catalogue: Catalogue) -> Household:
    return decode_household(text, "h.yaml", catalogue)


def problems_of(text: str, catalogue: Catalogue) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        decode(text, catalogue)
    return [str(problem) for problem in caught.value.problems]


def test_what_people_write(catalogue: Catalogue) -> None:
    household = decode(
        """
timezone: Europe/Chisinau
language: ru
new_devices: kid
block: [Ads.Example, {name: "=x.example", note: why}]
allow: ["*.good.example"]
profiles:
  kid:
    offline:
      - 21:00-7:00
      - {days: [sat, sun], from: 13:00, to: "15:00", label: nap}
    exceptions:
      - {date: 2026-12-31, offline: ["01:00-09:00"], note: new year}
      - {date: 2027-01-01}
    minutes: {mon-fri: 60, sat-sun: unlimited}
    minutes_for:
      youtube: 30
      group:games: {mon-fri: 0, sat-sun: 90, week: 120}
      group:social: {week: 60}
      tiktok: [1, 2, 3, 4, 5, unlimited, 7]
      twitch: unlimited
    bonus: [{date: 2026-12-31, minutes: 60}, {date: 2026-12-31, minutes: 10, for: youtube}]
    strict: yes
    services: {roblox: {hours: [sat 10:00-12:00]}, youtube: allow, twitch: {action: allow, hours: [20:00-21:00]}}
    categories: [adult]
    paused_until: 2026-12-01T10:00
    allow: [{name: a.example, until: 2026-12-31}]
  parents: {name: Parents, filtered: no}
devices:
  tablet: {profile: kid, macs: 02-00-00-00-00-01, addresses: [10.0.0.7/32, "FD00::/64"], paused_until: forever}
""",
        catalogue,
    )
    kid, parents = household.profiles
    tz = household.tz
    assert (household.language, household.new_device_profile) == ("ru", "kid")
    assert [(rule.action, rule.pattern, rule.match, rule.note) for rule in household.rules] == [
        (Action.ALLOW, "*.good.example", Match.WILDCARD, ""),
        (Action.BLOCK, "ads.example", Match.SUBDOMAINS, ""),
        (Action.BLOCK, "=x.example", Match.EXACT, "why"),
    ]
    assert kid.schedule.windows == (
        Window(EVERY_DAY, 1260, 420, "bedtime"),
        Window(frozenset({5, 6}), 780, 900, "nap"),
    )
    assert kid.schedule.exceptions == (
        DayException(date(2026, 12, 31), (Window(frozenset(), 60, 540),), "new year"),
        DayException(date(2027, 1, 1), ()),
    )
    assert (kid.minutes, kid.week_minutes, kid.strict, parents.strict) == ((60,) * 5 + (1440,) * 2, None, True, False)
    assert kid.group_minutes == (
        GroupMinutes("youtube", (30,) * 7),
        GroupMinutes("group:games", (0,) * 5 + (90,) * 2, 120),
        GroupMinutes("group:social", week=60),
        GroupMinutes("tiktok", (1, 2, 3, 4, 5, 1440, 7)),
    )
    assert kid.bonuses == (Bonus(date(2026, 12, 31), 60), Bonus(date(2026, 12, 31), 10, "youtube"))
    assert kid.services == (
        ServiceRule("roblox", Action.BLOCK, (Window(frozenset({5}), 600, 720, "hours"),)),
        ServiceRule("youtube", Action.ALLOW),
        ServiceRule("twitch", Action.ALLOW, (Window(EVERY_DAY, 1200, 1260, "hours"),)),
    )
    assert (kid.name, kid.categories) == ("kid", frozenset({"adult"}))
    assert kid.paused_until == read_moment("2026-12-01T10:00", tz)
    assert kid.rules[0].expires == read_moment("2027-01-01T00:00", tz)  # until the end of that day
    assert (parents.name, parents.filtered) == ("Parents", False)
    (tablet,) = household.devices
    assert (tablet.macs, tablet.addresses) == (("02:00:00:00:00:01",), ("10.0.0.7", "fd00::/64"))
    assert tablet.paused_until == FOREVER


def test_an_age_starts_from_its_preset(catalogue: Catalogue) -> None:
    preset = catalogue.presets["10-12"]
    household = decode(
        """
timezone: UTC
profiles:
  plain: {age: 10-12}
  other: {age: 10-12, preset: 16-17}
  none: {age: 10-12, preset: none}
  weekly: {age: 10-12, minutes: {week: 600}}
  both: {age: 10-12, minutes: {daily: 60, week: 600}}
  changed: {preset: 10-12, minutes: unlimited, services: {tiktok: allow}, youtube: off, offline: []}
""",
        catalogue,
    )
    plain, other, none, weekly, both, changed = household.profiles
    assert (plain.categories, plain.services, plain.schedule) == (preset.categories, preset.services, preset.schedule)
    assert (plain.minutes, plain.safe_search, plain.visibility) == (
        preset.minutes,
        preset.safe_search,
        preset.visibility,
    )
    assert (other.age_band, other.categories) == ("10-12", catalogue.presets["16-17"].categories)
    assert other.visibility is Visibility.COUNTS
    assert (none.age_band, none.categories, none.services, none.minutes) == ("10-12", frozenset(), (), ())
    assert (changed.age_band, changed.minutes, changed.schedule.windows) == ("10-12", (), ())
    assert (plain.week_minutes, weekly.week_minutes, weekly.minutes) == (None, 600, preset.minutes)
    assert (both.week_minutes, both.minutes) == (600, (60,) * 7)
    assert changed.safe_search == SafeSearch(True, YouTube.OFF)
    assert {rule.service: rule.action for rule in changed.services} == {
        rule.service: Action.ALLOW if rule.service == "tiktok" else rule.action for rule in preset.services
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("profiles: {ana: {}}", "h.yaml:1: the key 'timezone' is missing"),
        ("timezone: UTC", "h.yaml:1: the key 'profiles' is missing"),
        ("timezone: Europe/Kishinev2\nprofiles: {a: {}}", "h.yaml:1: 'Europe/Kishinev2' is neither a time zone"),
        (HEAD + "new_devices: anna", "h.yaml:3: there is no profile 'anna', did you mean 'ana'?"),
        (HEAD + "language: de", "h.yaml:3: 'language': 'de' is none of ro, ru, en"),
        (HEAD + "devices:\n  x:\n    profile: anna", "h.yaml:5: there is no profile 'anna', did you mean 'ana'?"),
        (HEAD + "devices:\n  x: {name: y}", "h.yaml:4: 'x': the key 'profile' is missing"),
        (
            HEAD
            + "devices:\n  x: {profile: ana, macs: '020000000001'}\n  y: {profile: ana, macs: ['02:00:00:00:00:01']}",
            "h.yaml:5: '02:00:00:00:00:01' already belongs to the device 'x'",
        ),
        (
            HEAD
            + "devices:\n  x: {profile: ana, addresses: [10.0.0.1]}\n  y: {profile: ana, addresses: [10.0.0.1/32]}",
            "h.yaml:5: '10.0.0.1' already belongs to the device 'x'",
        ),
        (
            HEAD + "devices:\n  x:\n    profile: ana\n    addresses:\n    - fd00::/64\n    - fd00::/64",
            "h.yaml:8: 'fd00::/64' already belongs to this device",
        ),
        (HEAD + "devices: {x: {profile: ana, macs: [zz]}}", "h.yaml:3: 'macs': 'zz' is not a MAC address"),
        (HEAD + "devices: {X Y: {profile: ana}}", "h.yaml:3: 'X Y' cannot be an id"),
        (HEAD + "block:\n- a.example\n- http://b.example/x", "h.yaml:5: 'http://b.example/x': write only the site's"),
        (HEAD + "block:\n- {name: b.example, until: tomorrow}", "h.yaml:4: 'tomorrow' is not a moment"),
        ("timezone: UTC\nprofiles:\n  a:\n    block: [x..y]", "h.yaml:4: 'x..y' has an empty label"),
        ("timezone: UTC\nprofiles:\n  a: {age: 10-13}", "h.yaml:3: 'age': '10-13' is no age band"),
        ("timezone: UTC\nprofiles:\n  a: {preset: old}", "h.yaml:3: 'preset': 'old' is no age band"),
        ("timezone: UTC\nprofiles:\n  a: {offline: [mon 7-8]}", "h.yaml:3: 'offline': 'mon 7-8' is not a window"),
        ("timezone: UTC\nprofiles:\n  a: {offline: [mob 07:00-08:00]}", "h.yaml:3: 'offline': 'mob' is not a day"),
        ("timezone: UTC\nprofiles:\n  a: {offline: [mon 24:00-08:00]}", "h.yaml:3: 'offline': a window cannot begin"),
        (
            "timezone: UTC\nprofiles:\n  a:\n    offline:\n    - {from: '25:00', to: '08:00'}",
            "h.yaml:5: 'from': '25:00' is not a time of day",
        ),
        (
            "timezone: UTC\nprofiles:\n  a:\n    offline:\n    - {days: [], from: '20:00', to: '08:00'}",
            "h.yaml:5: 'days' is empty",
        ),
        (
            "timezone: UTC\nprofiles:\n  a: {services: {youtub: block}}",
            "h.yaml:3: there is no service 'youtub', did you",
        ),
        ("timezone: UTC\nprofiles:\n  a: {services: {youtube: rewrite}}", "h.yaml:3: 'youtube': 'rewrite' is none of"),
        (
            "timezone: UTC\nprofiles:\n  a:\n    categories:\n    - adult\n    - gamblin",
            "h.yaml:6: there is no category 'gamblin', did you mean 'gambling'?",
        ),
        ("timezone: UTC\nprofiles:\n  a: {minutes: 2000}", "h.yaml:3: 'minutes': '2000' is not a number of minutes"),
        ("timezone: UTC\nprofiles:\n  a: {minutes: -5}", "h.yaml:3: 'minutes': '-5' is not a number of minutes"),
        (
            "timezone: UTC\nprofiles:\n  a:\n    minutes:\n      daily: 10\n      week: 10081",
            "h.yaml:6: 'week': '10081' is not a number of minutes (of a day 0 to 1440, of a week to 10080)",
        ),
        (
            "timezone: UTC\nprofiles:\n  a:\n    minutes:\n      week: 2000\n      daily: 2000",
            "h.yaml:6: 'daily': '2000' is not a number of minutes of a day (0 to 1440)",
        ),
        (
            "timezone: UTC\nprofiles:\n  a:\n    minutes_for:\n      roblox: 1\n      youtub: 5",
            "h.yaml:6: there is no service 'youtub', did you mean 'youtube'?",
        ),
        (
            "timezone: UTC\nprofiles:\n  a:\n    minutes_for:\n      group:game: 5",
            "h.yaml:5: there is no service group 'group:game', did you mean 'group:games'?",
        ),
        (
            "timezone: UTC\nprofiles:\n  a:\n    minutes_for: {games: 5}",
            "h.yaml:4: there is no service group 'games', did you mean 'group:games'?",
        ),
        (
            "timezone: UTC\nprofiles:\n  a:\n    minutes_for:\n      youtube: {mon: 5}",
            "h.yaml:5: 'youtube' says nothing of tue-sun",
        ),
        (
            "timezone: UTC\nprofiles:\n  a:\n    minutes_for:\n      youtube:\n      - 1\n      - 2",
            "h.yaml:5: 'youtube' has 2 numbers: write seven",
        ),
        (
            "timezone: UTC\nprofiles:\n  a:\n    bonus:\n    - {date: 2026-12-31, minutes: 5}\n    - {minutes: 5}",
            "h.yaml:6: 'bonus': the key 'date' is missing",
        ),
        (
            "timezone: UTC\nprofiles:\n  a:\n    bonus: [{date: 2026-12-31, minutes: 0}]",
            "h.yaml:4: 'minutes': '0' is not a number of minutes to give",
        ),
        (
            "timezone: UTC\nprofiles:\n  a:\n    bonus:\n    - date: 2026-12-31\n      minutes: 5\n      for: youtub",
            "h.yaml:7: there is no service 'youtub', did you mean 'youtube'?",
        ),
        ("timezone: UTC\nprofiles:\n  a: {strict: mostly}", "h.yaml:3: 'strict': 'mostly' is neither yes nor no"),
        ("timezone: UTC\nprofiles:\n  a: {minutes: [1, 2]}", "h.yaml:3: 'minutes' has 2 numbers"),
        ("timezone: UTC\nprofiles:\n  a: {minutes: {mon: 5}}", "h.yaml:3: 'minutes' says nothing of tue-sun"),
        (
            "timezone: UTC\nprofiles:\n  a:\n    minutes:\n      daily: 5\n      sat: 7",
            "h.yaml:6: 'sat' names a day that has its minutes already",
        ),
        (
            "timezone: UTC\nprofiles:\n  a:\n    exceptions:\n    - date: 2026-12-31\n    - date: 2026-12-31",
            "h.yaml:6: the exception for 2026-12-31 is given twice",
        ),
        ('timezone: UTC\nprofiles:\n  a: {name: "x\\ny"}', "h.yaml:3: 'name': a name cannot hold line breaks"),
        ("timezone: UTC\nprofiles:\n  a: {}\n  a: {}", "h.yaml:4: the key 'a' is given twice"),
        ("timezone: UTC\nprofiles:\n  a: {name: ''}", "h.yaml:3: 'name': a name needs at least one letter"),
        (
            "timezone: UTC\nprofiles:\n  a: {}\ndevices:\n  d:\n    profile: a\n    name: ' '",
            "h.yaml:7: 'name': a name needs at least one letter",
        ),
    ],
)
def test_one_problem(text: str, expected: str, catalogue: Catalogue) -> None:
    (problem,) = problems_of(text, catalogue)
    assert problem.startswith(expected)


def test_all_problems_in_one_go(catalogue: Catalogue) -> None:
    text = """timezone: Mars/Base
profiles:
  ana:
    age: 99
    services:
      tictoc: block
    block: ["a b"]
    offline: [x]
devices:
  t: {profile: nobody, macs: [1]}
"""
    lines = [problem.split(":")[1] for problem in problems_of(text, catalogue)]
    assert lines == ["1", "4", "6", "7", "8", "10"]  # one for line 10: its other mistake waits behind the first


def test_the_example_is_right(catalogue: Catalogue) -> None:
    household = load_household_file(str(ROOT / "examples" / "household.yaml"), catalogue)
    assert decode(encode_household(household), catalogue) == household


@pytest.mark.parametrize(
    ("profiles", "devices", "expected"),
    [
        (64, 512, ""),
        (65, 0, "h.yaml:67: these are 65 profiles, and a household has 64 at most"),
        (2, 600, "h.yaml:518: these are 600 devices, and a household has 512 at most"),
    ],
)
def test_how_many_there_may_be(profiles: int, devices: int, expected: str, catalogue: Catalogue) -> None:
    text = "timezone: UTC\nprofiles:\n" + "".join(f"  p{number}: {{}}\n" for number in range(profiles))
    if devices:
        text += "devices:\n" + "".join(f"  d{number}: {{profile: p1}}\n" for number in range(devices))
    if expected:
        assert problems_of(text, catalogue) == [expected]
    else:
        household = decode(text, catalogue)
        assert (len(household.profiles), len(household.devices)) == (profiles, devices)


@pytest.mark.parametrize(
    "text",
    [
        "profiles:\n" + "".join(f"  abcdefghij{i}: {{}}\n" for i in range(1500)) + "devices:\n"
        + "".join(f"  d{i}: {{profile: abcdefghiz{i}}}\n" for i in range(3500)),
        "profiles:\n  a:\n    services:\n" + "".join(f"      youtubekidsxxx{i}: block\n" for i in range(6000)),
        "profiles: {}\n" + "a: 1\n" * 20_000,
    ],
)  # fmt: skip
def test_a_file_full_of_mistakes_is_refused_before_long(text: str, catalogue: Catalogue) -> None:
    """Who restores a file from a stranger must not wait for minutes: each mistake had a likely spelling looked for."""
    began = time.process_time()
    with pytest.raises(ConfigError) as caught:
        decode_household(f"timezone: UTC\n{text}", "home.yaml", catalogue)
    assert len(caught.value.problems) == MOST_PROBLEMS
    assert time.process_time() - began < 15, "half a minute once, on a fast machine"
