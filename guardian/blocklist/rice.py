"""Rice codes (Rice 1979; Golomb codes of a power of two): small numbers in few bits.

A number is written as `number >> parameter` ones, a zero, and the low `parameter` bits, highest first. Gaps between
random sorted numbers take about 1.5 bits more than their mean's logarithm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guardian.errors import ListError

MAX_PARAMETER = 63
_BLOCK = 4096  # bytes that are unpacked at a time


def choose_parameter(numbers: Sequence[int]) -> int:
    """Return the parameter that writes these numbers in the fewest bits."""
    if not numbers:
        return 0
    guess = max(0, (sum(numbers) // len(numbers)).bit_length() - 1)
    near = range(max(0, guess - 2), min(MAX_PARAMETER, guess + 2) + 1)
    return min(near, key=lambda parameter: count_bits(numbers, parameter))


def count_bits(numbers: Sequence[int], parameter: int) -> int:
    """Return how many bits these numbers take."""
    return sum(number >> parameter for number in numbers) + len(numbers) * (1 + parameter)


def write_bits(numbers: Sequence[int], parameter: int) -> str:
    """Return numbers as a text of `0` and `1`."""
    mask = (1 << parameter) - 1
    low = f"0{parameter}b"
    return "".join(
        "1" * (number >> parameter) + "0" + (format(number & mask, low) if parameter else "") for number in numbers
    )


def pack_bits(bits: str) -> bytes:
    """Return bits as bytes, the first bit highest, filled up with zeros."""
    return int(bits + "0" * (-len(bits) % 8) or "0", 2).to_bytes((len(bits) + 7) // 8)


class BitReader:
    """Reads Rice codes from bytes in one pass: time grows with their length, memory does not.

    Every number takes a bit at least, so a count that the bytes cannot hold is refused before anything is read.
    """

    __slots__ = ("_bits", "_data", "_next", "_position")

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._next = 0  # the first byte that is not unpacked
        self._bits = ""
        self._position = 0

    def read(self, count: int, parameter: int, most: int) -> Iterator[int]:
        """Yield so many numbers, none above `most`. Raises ListError when they are not there."""
        if count * (1 + parameter) > self._left():
            raise ListError(f"{count} numbers do not fit into {self._left()} bits")
        for _ in range(count):
            high = self._read_ones(most >> parameter) << parameter
            number = high | self._read_low(parameter)
            if number > most:
                raise ListError("a number in the bit stream is out of bounds")
            yield number

    def finish(self) -> int:
        """Return the position of the first byte after the bits read. Raises ListError when a bit before it is set."""
        left = (len(self._bits) - self._position) // 8
        if "1" in self._bits[self._position : len(self._bits) - 8 * left]:
            raise ListError("the bit stream does not end in zeros")
        return self._next - left

    def _left(self) -> int:
        return len(self._bits) - self._position + 8 * (len(self._data) - self._next)

    def _unpack(self) -> None:
        block = self._data[self._next : self._next + _BLOCK]
        if not block:
            raise ListError("the bit stream ends too soon")
        self._bits = self._bits[self._position :] + format(int.from_bytes(block), f"0{8 * len(block)}b")
        self._position = 0
        self._next += len(block)

    def _read_ones(self, most: int) -> int:
        count = 0
        while True:
            end = self._bits.find("0", self._position)
            count += (len(self._bits) if end < 0 else end) - self._position
            if count > most:
                raise ListError("a number in the bit stream is out of bounds")
            if end >= 0:
                self._position = end + 1
                return count
            self._position = len(self._bits)
            self._unpack()

    def _read_low(self, parameter: int) -> int:
        if not parameter:
            return 0
        if len(self._bits) - self._position < parameter:
            self._unpack()
        start = self._position
        if len(self._bits) - start < parameter:
            raise ListError("the bit stream ends too soon")
        self._position = start + parameter
        return int(self._bits[start : self._position], 2)
