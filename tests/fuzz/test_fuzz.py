"""Some seconds of every fuzz target: a fixed number of inputs, the same at each run. For hours: see `driver`."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz import (
    fuzz_addresses,
    fuzz_feed,
    fuzz_handle,
    fuzz_http,
    fuzz_leases,
    fuzz_lists,
    fuzz_message,
    fuzz_query,
    fuzz_yaml,
)
from tests.fuzz.driver import Check, Mutate, fuzz, mutate_bytes

TARGETS = [
    pytest.param(fuzz_query.check, fuzz_query.SEEDS, mutate_bytes, 40_000, id="query"),
    pytest.param(fuzz_message.check, fuzz_message.SEEDS, mutate_bytes, 6_000, id="message"),
    pytest.param(fuzz_feed.check, fuzz_feed.SEEDS, fuzz_feed.mutate, 8_000, id="feed"),
    pytest.param(fuzz_handle.check, fuzz_handle.SEEDS, mutate_bytes, 2_500, id="handle"),
    pytest.param(fuzz_lists.check, fuzz_lists.SEEDS, fuzz_lists.mutate, 800, id="lists"),
    pytest.param(fuzz_addresses.check, fuzz_addresses.SEEDS, fuzz_addresses.mutate, 8_000, id="addresses"),
    pytest.param(fuzz_yaml.check, fuzz_yaml.SEEDS, fuzz_yaml.mutate, 100, id="yaml"),
    pytest.param(fuzz_leases.check, fuzz_leases.SEEDS, fuzz_leases.mutate, 10_000, id="leases"),
    pytest.param(fuzz_http.check, fuzz_http.SEEDS, fuzz_http.mutate, 25_000, id="http"),
]


@pytest.mark.parametrize(("check", "seeds", "mutate", "count"), TARGETS)
def test_no_input_breaks_the_invariant(check: Check, seeds: list[bytes], mutate: Mutate, count: int) -> None:
    for seed in seeds:  # the seeds themselves are valid input
        check(seed)
    assert fuzz(check, seeds, mutate, seed=1, count=count) == count


def test_an_input_can_be_made_again_and_a_violation_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[bytes] = []

    def check(data: bytes) -> None:
        seen.append(data)
        if len(seen) == 20:
            raise ValueError("a violation")

    with pytest.raises(ValueError, match="a violation"):
        fuzz(check, [b"hello world"], seed=3, count=100)
    assert "--seed 3 --start 19 --count 1" in capsys.readouterr().err
    assert fuzz(seen.append, [b"hello world"], seed=3, start=19, count=1) == 1
    assert seen[-1] == seen[-2]


def test_inputs_differ_and_stay_small() -> None:
    made = {mutate_bytes(Random(number), [bytes(200), b"abc" * 50]) for number in range(1000)}
    assert len(made) > 500
    assert max(map(len, made)) <= 8192
