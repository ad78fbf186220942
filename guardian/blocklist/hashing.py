"""The keyed hash of the image: `int(key bytes, big-endian) * multiplier % prime`.

The prime and the multiplier are random and belong to one image. Two names collide only if the prime divides the
difference of their numbers, so whoever writes a list line cannot aim it at a popular name without reading the image.
"""

from __future__ import annotations

from typing import NamedTuple

from guardian.errors import ListError

KEY_BYTES = 16
_TOP = 0b11 << 62  # the prime lies in the upper quarter of the 64-bit numbers: few buckets stay empty
# These bases decide primality for every number below 3.3e24 (Sorenson and Webster, 2015).
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)


class HashKey(NamedTuple):
    """What makes one image's hash its own: a 64-bit prime and an odd 64-bit multiplier."""

    prime: int
    multiplier: int


def make_key(random_bytes: bytes) -> HashKey:
    """Return the key that random bytes stand for: 16 or more, of which 16 are used. Raises ListError for fewer."""
    if len(random_bytes) < KEY_BYTES:
        raise ListError(f"a hash key needs {KEY_BYTES} random bytes, not {len(random_bytes)}")
    candidate = int.from_bytes(random_bytes[:8], "little") | _TOP | 1
    while not is_prime(candidate):
        candidate += 2
        if candidate >> 64:
            candidate = _TOP | 1
    return HashKey(candidate, int.from_bytes(random_bytes[8:KEY_BYTES], "little") | 1)


def is_prime(number: int) -> bool:
    """Tell whether a number below 2**64 is prime (Miller-Rabin with bases that leave no doubt)."""
    if number < 2:
        return False
    for prime in _WITNESSES:
        if number % prime == 0:
            return number == prime
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(number, base, odd, twos) for base in _WITNESSES)


def _passes(number: int, base: int, odd: int, twos: int) -> bool:
    power = pow(base, odd, number)
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False
