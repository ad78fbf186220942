"""Some seconds of `fuzz_wire_http`: the same inputs at each run."""

from __future__ import annotations

from tests.fuzz import fuzz_wire_http
from tests.fuzz.driver import fuzz


def test_no_input_breaks_the_invariant() -> None:
    for seed in fuzz_wire_http.SEEDS:
        fuzz_wire_http.check(seed)
    assert fuzz(fuzz_wire_http.check, fuzz_wire_http.SEEDS, fuzz_wire_http.mutate, seed=1, count=12_000) == 12_000
