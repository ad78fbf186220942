"""Some seconds of `fuzz_tls`: the same inputs at each run."""

from __future__ import annotations

from tests.fuzz import fuzz_tls
from tests.fuzz.driver import fuzz


def test_no_input_breaks_the_invariant() -> None:
    for seed in fuzz_tls.SEEDS:
        fuzz_tls.check(seed)
    assert fuzz(fuzz_tls.check, fuzz_tls.SEEDS, seed=1, count=15_000) == 15_000
