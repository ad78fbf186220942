"""The filter: every good name passes, no listed one does, others do once in 65,536."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.blocklist import known_good
from guardian.blocklist.known_good import EMPTY, MAX_GOOD, Shape, build_filter, check_shape, find_shape, passes
from guardian.errors import ListError

_HASHES = st.lists(st.integers(0, (1 << 64) - 1), max_size=60)


def draw(count: int, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.getrandbits(64) for _ in range(count)]


@settings(deadline=None)
@given(_HASHES, _HASHES, st.binary(max_size=32))
def test_good_passes_and_listed_never(good: list[int], listed: list[int], random_bytes: bytes) -> None:
    shape, slots = build_filter(good + good[::2], listed + good[:3], random_bytes)  # duplicates, and names in both
    check_shape(shape)
    assert len(slots) == shape.slots
    refused = {*listed, *good[:3]}
    assert all(passes(slots, shape, number) for number in good if number not in refused)
    assert not any(passes(slots, shape, number) for number in refused)
    assert build_filter(good, listed + good[:3], random_bytes) == (shape, slots)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 10, 100, 1000, 20_000])
def test_sizes_from_none_up(count: int) -> None:
    good = draw(count, count)
    shape, slots = build_filter(good, [], b"x")
    assert all(passes(slots, shape, number) for number in good)
    others = draw(100_000, -1)
    assert sum(passes(slots, shape, number) for number in others) < 15  # 1.5 are expected
    if count >= 20_000:
        assert 2 * len(slots) / count < 2.6


def test_no_listed_name_passes_even_where_that_takes_many_draws() -> None:
    good, listed = draw(500, 1), draw(120_000, 2)  # a draw spares them all with a chance of 16 %
    shape, slots = build_filter(good, listed, b"x")
    assert all(passes(slots, shape, number) for number in good)
    assert not any(passes(slots, shape, number) for number in listed)


def test_a_seed_that_does_not_peel_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []
    peel = known_good._peel

    def fail_twice(mixed: list[int], shape: Shape) -> list[tuple[int, int, int, int]] | None:
        seeds.append(shape.seed)
        return None if len(seeds) < 3 else peel(mixed, shape)

    monkeypatch.setattr(known_good, "_peel", fail_twice)
    shape, slots = build_filter([1, 2, 3], [], b"x")
    assert len(set(seeds)) == 3
    assert all(passes(slots, shape, number) for number in (1, 2, 3))
    monkeypatch.setattr(known_good, "_peel", lambda mixed, shape: None)
    with pytest.raises(ListError, match="no seed"):
        build_filter([1], [], b"x")


def test_names_of_one_hash_after_mixing_do_not_peel() -> None:
    shape = find_shape(2, 5)
    assert known_good._peel([7, 7], shape) is None


def test_too_many_listed_or_good_names_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_good, "_FILLS", 1)
    with pytest.raises(ListError, match="spares all of 600000 listed domains"):
        build_filter(draw(10, 1), draw(600_000, 2), b"x")
    monkeypatch.setattr(known_good, "MAX_GOOD", 2)
    with pytest.raises(ListError, match="3 known-good names are more"):
        build_filter([1, 2, 3], [], b"x")


@settings(deadline=None)
@given(
    st.builds(Shape, st.integers(0, (1 << 64) - 1), st.sampled_from([4, 64, 4096]), st.integers(1, 9)),
    st.lists(st.integers(0, (1 << 64) - 1), max_size=50),
)
def test_a_probe_never_leaves_the_slots(shape: Shape, numbers: list[int]) -> None:
    check_shape(shape)
    slots = [0] * shape.slots
    for number in [0, (1 << 64) - 1, *numbers]:
        passes(slots, shape, number)  # an index beyond would raise
        probes = known_good._probes(number, shape)
        assert [probe // shape.segment_length for probe in probes] == [
            probes[0] // shape.segment_length + n for n in range(3)
        ]


@pytest.mark.parametrize(
    "shape",
    [
        Shape(-1, 4, 1), Shape(1 << 64, 4, 1), Shape(0, 0, 1), Shape(0, 2, 1), Shape(0, 6, 1), Shape(0, 1 << 19, 1),
        Shape(0, 4, 0), Shape(0, 4, -1), Shape(0, 4, MAX_GOOD), Shape(1, 0, 0), Shape(0, -4, 1),
    ],
)  # fmt: skip
def test_a_damaged_shape_is_refused(shape: Shape) -> None:
    with pytest.raises(ListError, match="known-good filter"):
        check_shape(shape)


def test_every_shape_that_is_built_is_accepted() -> None:
    assert find_shape(0, 1) == EMPTY
    check_shape(EMPTY)
    for count in (1, 2, 3, 10, 1000, 50_000, 1_000_000, MAX_GOOD):
        shape = find_shape(count, 1)
        check_shape(shape)
        assert shape.slots >= count
