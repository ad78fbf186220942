"""The one driver of the fuzz targets: valid inputs, mutated, given to a function that checks an invariant.

By hand, from the root of the checkout: `python -m tests.fuzz.fuzz_query --seconds 3600 --seed 7`. Each input is made of
(seed, number) alone, so `--seed 7 --start 1234 --count 1` makes one again. In the suite a count bounds the work.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from random import Random

Check = Callable[[bytes], None]
Mutate = Callable[[Random, Sequence[bytes]], bytes]

_EDGES = (0, 1, 2, 3, 4, 5, 0x0C, 0x0F, 0x29, 0x3F, 0x40, 0x41, 0x7F, 0x80, 0xBF, 0xC0, 0xC1, 0xFE, 0xFF)
_LENGTHS = (0, 1, 2, 4, 16, 63, 64, 255, 256, 1023, 0x3FFF, 0x7FFF, 0x8000, 0xC00C, 0xFFFE, 0xFFFF)
MAX_BYTES = 8192  # of an input: what is wrong shows in small ones


def mutate_bytes(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of `seeds` with a few changes of the kinds that break parsers of binary formats."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 5, 9))):
        if not data:
            data += random.randbytes(random.randrange(1, 20))
        at = random.randrange(len(data))
        end = min(len(data), at + random.randrange(1, 24))
        match random.randrange(10):
            case 0:
                data[at] ^= 1 << random.randrange(8)
            case 1:
                data[at] = random.choice(_EDGES)
            case 2:
                data[at : at + 2] = random.choice(_LENGTHS).to_bytes(2, "big")
            case 3:
                data[at] = (data[at] + random.choice((-1, 1))) & 0xFF
            case 4:
                del data[at:end]
            case 5:
                data[at:at] = random.randbytes(random.randrange(1, 16))
            case 6:
                data[at:at] = data[at:end] * random.randrange(1, 5)
            case 7:
                del data[at:]
            case 8:
                other = random.choice(seeds)
                start = random.randrange(len(other) + 1)
                data[at:] = other[start:]
            case _:
                data[at:end] = bytes(end - at)
    return bytes(data[:MAX_BYTES])


def mutate_text(extra: Sequence[bytes]) -> Mutate:
    """Return a mutator of line-based text that also puts in the pieces of `extra`."""

    def mutate(random: Random, seeds: Sequence[bytes]) -> bytes:
        lines = random.choice(seeds).split(b"\n")
        for _ in range(random.choice((0, 1, 1, 2, 3, 6))):
            at = random.randrange(len(lines))
            line = lines[at]
            where = random.randrange(len(line) + 1)
            match random.randrange(9):
                case 0:
                    del lines[at : at + random.randrange(1, 4)]
                case 1:
                    lines.insert(at, random.choice(lines))
                case 2:
                    lines[at] = line[:where] + random.choice(extra) + line[where:]
                case 3:
                    lines[at] = random.choice(extra)
                case 4:
                    lines[at] = mutate_bytes(random, [line or b"x"])
                case 5:
                    lines[at] = line[:where]
                case 6:
                    lines.insert(at, random.choice(random.choice(seeds).split(b"\n")))
                case 7:
                    lines[at] = line[:where] + line[where : where + 8] * random.choice((2, 3, 40)) + line[where:]
                case _:
                    lines[at] = b" " * random.randrange(6) + line.strip()
            lines = lines or [b""]
        return b"\n".join(lines)[:MAX_BYTES]

    return mutate


def fuzz(
    check: Check,
    seeds: Sequence[bytes],
    mutate: Mutate = mutate_bytes,
    *,
    seed: int = 0,
    start: int = 0,
    count: int | None = None,
    seconds: float | None = None,
) -> int:
    """Give `check` mutated `seeds` until `count` or `seconds` are used up; return how many.

    An exception of `check` goes on, after seed, number and input in hex were printed.
    """
    end = None if seconds is None else time.monotonic() + seconds
    for number in itertools.count(start):
        if (count is not None and number >= start + count) or (end is not None and time.monotonic() >= end):
            return number - start
        data = mutate(Random(f"{seed}:{number}"), seeds)
        try:
            check(data)
        except BaseException:
            print(f"\nfuzz: --seed {seed} --start {number} --count 1\ninput: {data.hex()}", file=sys.stderr)
            raise
    raise AssertionError("unreachable")


def main(check: Check, seeds: Sequence[bytes], mutate: Mutate = mutate_bytes) -> None:
    """The command line of one target."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--seconds", type=float, help="how long (default: 60, when --count is not given)")
    parser.add_argument("--count", type=int, help="how many inputs")
    parser.add_argument("--seed", type=int, default=0, help="other numbers give other inputs (default: 0)")
    parser.add_argument("--start", type=int, default=0, help="number of the first input (default: 0)")
    parser.add_argument("--input", help="check this one input, in hex")
    options = parser.parse_args()
    if options.input is not None:
        check(bytes.fromhex(options.input))
        print("ok")
        return
    seconds = 60.0 if options.seconds is None and options.count is None else options.seconds
    began = time.monotonic()
    done = fuzz(check, seeds, mutate, seed=options.seed, start=options.start, count=options.count, seconds=seconds)
    print(f"{done} inputs, {done / max(time.monotonic() - began, 1e-9):.0f} a second, no violation")
