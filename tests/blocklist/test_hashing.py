from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.blocklist.hashing import is_prime, make_key
from guardian.errors import ListError


def test_primes_are_told_from_the_numbers_that_fool_weaker_tests() -> None:
    sieve = [n for n in range(2, 2000) if all(n % d for d in range(2, int(n**0.5) + 1))]
    assert [n for n in range(2000) if is_prime(n)] == sieve
    # Carmichael numbers, strong pseudoprimes to many bases, the largest 64-bit prime and its neighbour.
    assert not any(map(is_prime, (561, 3215031751, 3474749660383, 341550071728321, 3825123056546413051)))
    assert is_prime(2**64 - 59)
    assert not is_prime(2**64 - 57)


@given(st.binary(min_size=16, max_size=40))
def test_a_key_is_a_64_bit_prime_and_an_odd_number(random_bytes: bytes) -> None:
    key = make_key(random_bytes)
    assert key.prime >> 62 == 0b11
    assert is_prime(key.prime)
    assert key.multiplier & 1
    assert 0 < key.multiplier < 1 << 64


def test_a_start_above_the_last_prime_wraps_within_64_bits() -> None:
    assert make_key(b"\xff" * 16).prime < 1 << 64


def test_too_little_randomness_is_refused() -> None:
    with pytest.raises(ListError, match="16 random bytes"):
        make_key(bytes(15))
