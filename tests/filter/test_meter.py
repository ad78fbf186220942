"""Minutes of use against generated traffic of both kinds, and against a model that keeps sets of slices."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.filter.meter import (
    HEAVY_IN_BYTES,
    HEAVY_NEW_FLOWS,
    HEAVY_OUT_PACKETS,
    LIGHT_OUT_PACKETS,
    PATIENCE,
    UPLOAD_BYTES,
    Meter,
    ProfileUse,
    Taken,
    Traffic,
    Use,
    begins,
    find_changing,
    find_run,
    weigh,
)
from tests.filter.traffic import (
    FOREGROUND,
    Slice,
    back_up_photos,
    idle_phone,
    idle_television,
    lay_over,
    use,
)

PROFILES = {"tablet": "ana", "phone": "ana", "console": "ion"}
GROUPS = {"youtube": "group:video", "netflix": "group:video", "roblox": "group:games"}
SILENCE = Traffic(150, 110, 2, 1, 0)
SPARSE = Traffic(800, 800, LIGHT_OUT_PACKETS, 6, 0)
DENSE = Traffic(9000, 2_000_000, 700, 1400, 1)


def measure(slices: Iterable[Slice]) -> dict[str, float]:
    """Return the minutes of one device, by service; "" is its total."""
    meter = Meter(0.0, {}, {})
    minutes: dict[str, float] = defaultdict(float)
    for number, found in enumerate(slices, 1):
        for service, traffic in found.items():
            meter.add("tablet", service, traffic)
        for row in meter.take(number * 15.0).devices:
            minutes[row.service] += row.seconds / 60
    return minutes


@pytest.mark.parametrize("seed", range(8))
def test_an_idle_phone_uses_at_most_ten_minutes_a_day(seed: int) -> None:
    minutes = measure(idle_phone(seed))
    assert minutes[""] <= 10
    assert all(minutes[service] <= 5 for service in minutes if service)


@pytest.mark.parametrize("seed", range(3))
def test_an_idle_television_and_a_backup_of_photos_use_nothing(seed: int) -> None:
    assert measure(idle_television(seed)) == {}
    assert measure(back_up_photos(seed, 60)) == {}


def test_more_unnamed_apps_than_anybody_has_are_not_hours() -> None:
    """Twice the unnamed apps of the phone above, each with a timer of its own: some of it is misjudged."""
    more = [{"": found[""]} if "" in found else {} for found in idle_phone(1000)]
    assert measure(lay_over(idle_phone(0), more, 0))[""] <= 30


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", FOREGROUND)
def test_two_hours_of_use_are_two_hours(kind: str, seed: int) -> None:
    minutes = measure(use(kind, seed, 120))
    assert minutes[FOREGROUND[kind][1]] == pytest.approx(120, rel=0.1)
    assert minutes[""] <= 120


@pytest.mark.parametrize("kind", FOREGROUND)
def test_use_of_a_phone_that_does_much_in_the_background(kind: str) -> None:
    """Two hours within a day, in four pieces."""
    day = idle_phone(100)
    for piece in range(4):
        day = lay_over(day, use(kind, piece, 30), 1000 + 1000 * piece)
    assert measure(day)[""] == pytest.approx(120, abs=12 + 10)
    if service := FOREGROUND[kind][1]:
        assert measure(day)[service] == pytest.approx(120, rel=0.1)


@pytest.mark.parametrize("seconds", [30, 60, 120, 180])
@pytest.mark.parametrize(
    ("kinds", "least"),
    [(("video", "feed", "chat"), 50), (("video", "chat", "game"), 50), (("browsing", "feed", "chat"), 30)],
)
def test_changing_between_apps_is_use_of_the_device(kinds: tuple[str, ...], least: float, seconds: int) -> None:
    """An hour of it. Where none of the apps carries much, a part of it is missed."""
    day = idle_phone(7, hours=2)
    for number, start in enumerate(range(1200, 4800, seconds)):
        day = lay_over(day, use(kinds[number % 3], number, seconds / 60), start // 15)
    assert least <= measure(day)[""] <= 60 + 5


@pytest.mark.parametrize("kind", ["video", "call", "game", "chat"])
def test_short_use_of_a_service_counts_from_two_minutes_on(kind: str) -> None:
    quiet: list[Slice] = [{}] * 40
    assert measure(use(kind, 1, 1) + quiet)[""] == 0
    assert measure(use(kind, 1, 2) + quiet)[""] == pytest.approx(2, abs=0.25)


@pytest.mark.parametrize(
    ("traffic", "weight"),
    [
        (SILENCE, 0),
        (SPARSE, 1),
        (DENSE, 2),
        (SPARSE._replace(out_packets=LIGHT_OUT_PACKETS - 1), 0),
        (SPARSE._replace(out_packets=HEAVY_OUT_PACKETS - 1), 1),
        (SPARSE._replace(out_packets=HEAVY_OUT_PACKETS), 2),
        (SPARSE._replace(in_bytes=HEAVY_IN_BYTES - 1), 1),
        (SILENCE._replace(in_bytes=HEAVY_IN_BYTES), 2),  # whoever only listens
        (SPARSE._replace(new_flows=HEAVY_NEW_FLOWS), 2),
        (Traffic(UPLOAD_BYTES, UPLOAD_BYTES // 10 - 1, 500, 250, 9), 0),
        (Traffic(UPLOAD_BYTES, UPLOAD_BYTES // 10, 500, 250, 9), 2),
        (Traffic(UPLOAD_BYTES - 1, 0, 299, 0, 0), 1),
    ],
)
def test_weights(traffic: Traffic, weight: int) -> None:
    assert weigh(traffic) == weight


def mask(newest_first: str) -> int:
    return int(newest_first[::-1], 2)


@pytest.mark.parametrize(
    ("active", "named", "unnamed"),
    [
        ("11111", True, False),
        ("1111", False, False),
        ("11010011", True, False),
        ("110100101", False, False),  # the fifth is the ninth slice
        ("1111111111", True, True),
        ("111101111101", True, True),
        ("1111011111001", True, False),
        ("10001000100010001", True, False),
        ("1000100010001", False, False),
        ("1100" * 5, True, False),
        ("10000" * 4, False, False),
    ],
)
def test_when_use_begins(active: str, named: bool, unnamed: bool) -> None:
    assert (begins(mask(active), is_named=True), begins(mask(active), is_named=False)) == (named, unnamed)


@pytest.mark.parametrize(
    ("heavy", "slices"),
    [
        ("1", 0),
        ("11111111", 0),  # two minutes: all apps at work once an hour
        ("110010001", 9),
        ("110000001", 0),
        ("011100001", 0),  # what comes later must show it
        ("10001000100000000100", 18),
        ("10001000100000000010", 0),  # before a longer quiet
    ],
)
def test_heavy_slices_of_any_service_are_use_of_the_device(heavy: str, slices: int) -> None:
    assert find_changing(mask(heavy)) == (1 << slices) - 1


@pytest.mark.parametrize(
    ("active", "slices"),
    [("1", 1), ("101", 3), ("100001", 6), ("1000001", 1), ("1100010000100000111", 11), ("1" * 20, 20)],
)
def test_a_run_goes_back_to_its_first_slice(active: str, slices: int) -> None:
    assert find_run(mask(active), PATIENCE) == (1 << slices) - 1


def feed(meter: Meter, start: int, count: int, *rows: tuple[str, str]) -> Taken:
    """Run `count` slices in which these devices and services carry much, and return the sums."""
    devices: dict[tuple[str, str], float] = defaultdict(float)
    profiles: dict[tuple[str, str], float] = defaultdict(float)
    for number in range(start + 1, start + count + 1):
        for device, service in rows:
            meter.add(device, service, DENSE)
        taken = meter.take(number * 15.0)
        for row in taken.devices:
            devices[row.device, row.service] += row.seconds
        for found in taken.profiles:
            profiles[found.profile, found.of] += found.seconds
    return Taken(
        [Use(*key, seconds) for key, seconds in sorted(devices.items())],
        [ProfileUse(*key, seconds) for key, seconds in sorted(profiles.items())],
    )


def test_two_services_and_two_devices_at_once_count_once_for_the_total() -> None:
    meter = Meter(0.0, PROFILES, GROUPS)
    rows = ("tablet", "youtube"), ("tablet", "netflix"), ("phone", "youtube"), ("phone", ""), ("console", "roblox")
    taken = feed(meter, 0, 40, *rows, ("toaster", "youtube"))
    assert taken.profiles == [
        ProfileUse("ana", "", 600), ProfileUse("ana", "group:video", 600), ProfileUse("ana", "netflix", 600),
        ProfileUse("ana", "youtube", 600), ProfileUse("ion", "", 600), ProfileUse("ion", "group:games", 600),
        ProfileUse("ion", "roblox", 600),
    ]  # fmt: skip
    assert taken.devices == [
        Use("console", "", 600), Use("console", "roblox", 600), Use("phone", "", 600), Use("phone", "youtube", 600),
        Use("tablet", "", 600), Use("tablet", "netflix", 600), Use("tablet", "youtube", 600), Use("toaster", "", 600),
        Use("toaster", "youtube", 600),
    ]  # fmt: skip


def test_one_device_after_the_other_adds_up() -> None:
    meter = Meter(0.0, PROFILES, GROUPS)
    assert ProfileUse("ana", "", 600) in feed(meter, 0, 40, ("tablet", "youtube")).profiles
    assert ProfileUse("ana", "", 600) in feed(meter, 40, 40, ("phone", "youtube")).profiles


def test_a_reload_may_change_profiles_and_groups() -> None:
    meter = Meter(0.0, PROFILES, GROUPS)
    feed(meter, 0, 20, ("tablet", "youtube"))
    meter.profiles, meter.groups = {"tablet": "ion"}, {}
    assert feed(meter, 20, 4, ("tablet", "youtube")).profiles == [
        ProfileUse("ion", "", 60),
        ProfileUse("ion", "youtube", 60),
    ]


def test_a_take_too_soon_does_nothing_and_loses_nothing() -> None:
    meter = Meter(0.0, {}, {})
    seconds = 0.0
    for second in range(1, 301):
        meter.add("tablet", "youtube", Traffic(10, 10, 1, 1, 0))  # light in 15 s only when all of it is kept
        seconds += sum(row.seconds for row in meter.take(float(second)).devices if row.service)
    assert seconds == 300


def test_silence_ends_use_after_a_minute_and_is_not_counted() -> None:
    meter = Meter(0.0, {}, {})
    assert Use("tablet", "youtube", 300) in feed(meter, 0, 20, ("tablet", "youtube")).devices
    assert feed(meter, 20, PATIENCE).devices == []
    # Within the minute it goes on, and the minute counts.
    assert Use("tablet", "youtube", 75) in feed(meter, 24, 1, ("tablet", "youtube")).devices
    feed(meter, 25, PATIENCE + 1)
    # A little later it goes on at once, but the silence does not count.
    assert Use("tablet", "youtube", 60) in feed(meter, 30, 4, ("tablet", "youtube")).devices
    feed(meter, 34, 9)
    assert feed(meter, 43, 4, ("tablet", "youtube")).devices == []  # it begins anew
    assert Use("tablet", "youtube", 75) in feed(meter, 47, 1, ("tablet", "youtube")).devices


def test_a_gateway_that_was_held_up_claims_no_time_it_did_not_see() -> None:
    meter = Meter(0.0, {}, {})
    feed(meter, 0, 20, ("tablet", "youtube"))
    meter.add("tablet", "youtube", DENSE)
    assert meter.take(300.0 + 3600).devices == []
    assert feed(meter, 260, 3, ("tablet", "youtube")).devices == []
    assert Use("tablet", "youtube", 75) in feed(meter, 263, 1, ("tablet", "youtube")).devices


def test_what_is_quiet_is_forgotten() -> None:
    meter = Meter(0.0, PROFILES, GROUPS)
    feed(meter, 0, 40, ("tablet", "youtube"), ("phone", ""), ("console", "roblox"))
    feed(meter, 40, 20)
    assert not meter._tracks and not meter._devices._counted and not meter._profiles._counted and not meter._traffic
    assert not meter._heavy


@given(st.lists(st.floats(12, 120), max_size=60), st.randoms(use_true_random=False))
def test_use_is_never_longer_than_the_time_that_passed(lengths: list[float], chance) -> None:  # type: ignore[no-untyped-def]
    meter = Meter(1000.0, PROFILES, GROUPS)
    now = 1000.0
    seconds: dict[tuple[str, ...], float] = defaultdict(float)
    for length in lengths:
        now += length
        for device in (*PROFILES, "guest"):
            for service in ("", "youtube", "netflix"):
                meter.add(device, service, chance.choice([SILENCE, SPARSE, DENSE]))
        taken = meter.take(now)
        for row in (*taken.devices, *taken.profiles):
            assert row[2] > 0
            seconds[type(row).__name__, *row[:2]] += row[2]
            assert seconds[type(row).__name__, *row[:2]] <= now - 1000 + 1e-6


def test_use_without_a_pause_is_all_the_time_that_passed_however_uneven_the_samples() -> None:
    meter = Meter(0.0, PROFILES, GROUPS)
    now = seconds = 0.0
    for number in range(200):
        now += (13.0, 15.5, 22.0, 14.2, 31.0)[number % 5]
        meter.add("tablet", "youtube", DENSE)
        seconds += sum(row.seconds for row in meter.take(now).profiles if row.of == "")
    assert seconds == pytest.approx(now)


def model_used(weights: list[int], is_named: bool) -> set[int]:
    """Which slices are use of a service: the same rule in the words of docs/minutes.md."""
    used: set[int] = set()
    for newest, weight in enumerate(weights):
        if not weight:
            continue
        active = [index for index in range(max(0, newest - 19), newest + 1) if weights[index]]
        lately = [index for index in used if newest - 5 <= index]
        if lately:
            used |= set(range(max(lately), newest + 1))
            continue
        if is_named:
            begun = sum(index > newest - 8 for index in active) >= 5
            begun = begun or {(newest - index) // 4 for index in active} == set(range(5))
        else:
            begun = sum(index > newest - 12 for index in active) >= 10
        if begun:
            first = newest
            for index in reversed(active):
                if first - index > 5:
                    break
                first = index
            used |= set(range(first, newest + 1))
    return used


def model_changing(rows: list[list[int]]) -> set[int]:
    """Which slices are use of a device, by its heavy slices in any service."""
    used: set[int] = set()
    heavy = [any(weight == 2 for weight in weights) for weights in zip(*rows, strict=True)]
    for newest in range(len(heavy)):
        found: list[int] = []
        for index in range(newest, max(-1, newest - 20), -1):
            if heavy[index] and (not found or found[-1] - index <= 9):
                found.append(index)
        if heavy[newest] and len(found) >= 4 and len({(newest - index) // 4 for index in found}) >= 3:
            used |= set(range(found[-1], newest + 1))
    return used


@given(
    st.dictionaries(
        st.tuples(
            st.sampled_from(["tablet", "phone", "console", "guest"]), st.sampled_from(["", "youtube", "netflix"])
        ),
        st.lists(st.sampled_from([0, 0, 1, 2, 2]), min_size=60, max_size=60),
        min_size=1,
    )
)
def test_seconds_equal_a_model_of_sets(weights: dict[tuple[str, str], list[int]]) -> None:
    meter = Meter(0.0, PROFILES, GROUPS)
    devices, profiles = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for number in range(60):
        for key, row in weights.items():
            if row[number]:
                meter.add(*key, (SPARSE, DENSE)[row[number] - 1])
        taken = meter.take(number * 15.0 + 15)
        devices.update({(use.device, use.service): int(use.seconds) for use in taken.devices})
        profiles.update({(use.profile, use.of): int(use.seconds) for use in taken.profiles})
    expected_devices: dict[tuple[str, str], set[int]] = {}
    expected_profiles: dict[tuple[str, str], set[int]] = {}
    found = [(*key, model_used(row, is_named=bool(key[1]))) for key, row in weights.items()]
    for device in {device for device, _ in weights}:
        found.append((device, "", model_changing([row for key, row in weights.items() if key[0] == device])))
    for device, service, used in found:
        for of in {"", service}:
            expected_devices.setdefault((device, of), set()).update(used)
        for of in {"", service, GROUPS.get(service, "")}:
            if device in PROFILES:
                expected_profiles.setdefault((PROFILES[device], of), set()).update(used)
    assert devices == {key: 15 * len(used) for key, used in expected_devices.items() if used}
    assert profiles == {key: 15 * len(used) for key, used in expected_profiles.items() if used}
