"""Rice codes: written numbers come back, and a stream that lies is refused before it costs anything."""

from __future__ import annotations

import math
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.blocklist.rice import MAX_PARAMETER, BitReader, choose_parameter, count_bits, pack_bits, write_bits
from guardian.errors import ListError

_NUMBERS = st.lists(st.integers(0, 3000), max_size=60)


@given(_NUMBERS, st.integers(0, 12), _NUMBERS, st.integers(0, 12), st.binary(max_size=5))
def test_two_runs_come_back(one: list[int], first: int, two: list[int], second: int, rest: bytes) -> None:
    bits = write_bits(one, first) + write_bits(two, second)
    assert len(bits) == count_bits(one, first) + count_bits(two, second)
    data = pack_bits(bits)
    reader = BitReader(memoryview(data + rest))
    assert list(reader.read(len(one), first, 3000)) == one
    assert list(reader.read(len(two), second, 3000)) == two
    assert reader.finish() == len(data)


def test_runs_longer_than_what_is_unpacked_at_a_time() -> None:
    rng = random.Random(1)
    for parameter in (0, 3, 47, MAX_PARAMETER):
        numbers = [rng.randrange(3 << parameter) for _ in range(3000)] + [100_000 if parameter < 4 else 0, 1]
        data = pack_bits(write_bits(numbers, parameter))
        assert list(BitReader(memoryview(data)).read(len(numbers), parameter, 1 << 66)) == numbers


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=30))
def test_the_chosen_parameter_is_the_best(numbers: list[int]) -> None:
    chosen = choose_parameter(numbers)
    best = min(range(MAX_PARAMETER + 1), key=lambda parameter: count_bits(numbers, parameter))
    # Numbers of very different sizes may put the best one further off; gaps of random numbers never do.
    assert count_bits(numbers, chosen) <= 1.3 * count_bits(numbers, best)


def test_gaps_of_random_numbers_cost_close_to_the_least_possible() -> None:
    rng = random.Random(2)
    numbers = sorted(rng.sample(range(1 << 56), 1000))
    gaps = [b - a for a, b in zip([0, *numbers], numbers, strict=False)]
    least = math.log2(math.comb(1 << 56, 1000)) / 1000
    assert count_bits(gaps, choose_parameter(gaps)) / 1000 < least + 0.2
    assert choose_parameter([]) == 0
    assert choose_parameter([0, 0]) == 0


@pytest.mark.parametrize(
    ("data", "count", "parameter", "most", "message"),
    [
        (b"", 1, 0, 9, "1 numbers do not fit into 0 bits"),
        (b"\0", 9, 0, 9, "9 numbers do not fit into 8 bits"),
        (b"\0", 1 << 40, 63, 9, "do not fit"),
        (b"\xff", 1, 0, 99, "ends too soon"),
        (b"\xfe\0", 2, 7, 99999, "ends too soon"),
        (b"\xff\xff", 1, 0, 9, "out of bounds"),
        (b"\xff" * 9000, 1, 0, 9000, "out of bounds"),
        (b"\x60", 1, 2, 2, "out of bounds"),
    ],
)
def test_a_stream_that_lies_is_refused(data: bytes, count: int, parameter: int, most: int, message: str) -> None:
    with pytest.raises(ListError, match=message):
        list(BitReader(memoryview(data)).read(count, parameter, most))


def test_bits_after_the_last_number_are_zeros() -> None:
    reader = BitReader(memoryview(b"\x01"))
    assert list(reader.read(3, 0, 9)) == [0, 0, 0]
    with pytest.raises(ListError, match="end in zeros"):
        reader.finish()
    assert BitReader(memoryview(b"")).finish() == 0


def test_a_long_stream_takes_little_memory() -> None:
    data = memoryview(b"\xff" * 2_000_000 + b"\0")
    tracemalloc.start()
    try:
        assert list(BitReader(data).read(1, 0, 1 << 40)) == [16_000_000]
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()
