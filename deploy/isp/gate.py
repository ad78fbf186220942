#!/usr/bin/env python3
"""Tell whether a ring of boxes is well enough for the next ring to get the new image (docs/isp.md).

  deploy/isp/gate.py RING.jsonl --asked 1000 --version 0.2.0 [--before BEFORE.jsonl]

RING.jsonl holds the health of each box that answered, one JSON object a line: what `guardian status --health` prints,
or ubus, or your management of boxes collected. --asked is how many were asked, --before the same boxes with the image
before: problems that were there already are not the new image's.

Exit code 0: go on. 1: stop, and look at what is said. 2: the files cannot be used.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

GO, STOP, USAGE = 0, 1, 2
SCHEMA = 1
LEAST_ANSWERS = 0.98  # of those that were asked
LEAST_UPDATED = 0.95  # of those that answered
MOST_DOWN = 0.005
MORE_OF_A_PROBLEM = 0.01  # than with the image before
MOST_PRIVATE_KB = 48 * 1024  # of the gateway, of 95 boxes in 100
SHARE_LOOKED_AT = 0.95
LEAST_BOXES = 20  # fewer say nothing


class Ring(NamedTuple):
    """A ring as its boxes tell."""

    boxes: Sequence[dict[str, Any]]

    def share_of(self, problem: str) -> float:
        """Return which part of the boxes has a problem."""
        return sum(problem in box["problems"] for box in self.boxes) / len(self.boxes) if self.boxes else 0.0

    def count_problems(self) -> Counter[str]:
        """Return how many boxes have each problem."""
        return Counter(problem for box in self.boxes for problem in box["problems"])


def main(words: list[str]) -> int:
    """Look at a ring; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ring", type=Path, metavar="RING.jsonl")
    parser.add_argument("--asked", type=int, required=True, metavar="N", help="how many boxes were asked")
    parser.add_argument("--version", required=True, help="that the new image brings")
    parser.add_argument("--before", type=Path, metavar="BEFORE.jsonl", help="the same boxes before")
    given = parser.parse_args(words)
    try:
        ring = read_ring(given.ring)
        before = read_ring(given.before) if given.before else None
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return USAGE
    print(f"{len(ring.boxes)} of {given.asked} boxes answered; {tell_problems(ring)}")
    stops = list(find_stops(ring, given.asked, given.version, before))
    for stop in stops:
        print(f"stop: {stop}")
    if not stops:
        print("go on")
    return STOP if stops else GO


def read_ring(path: Path) -> Ring:
    """Return a ring of a file. Raises OSError, and ValueError with the line that is no health of a box."""
    boxes = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            box = json.loads(line)
            if box["schema"] != SCHEMA:
                raise ValueError(f"its schema is {box['schema']!r}, this gate knows {SCHEMA}")
            boxes.append(
                {
                    "running": bool(box["running"]),
                    "version": str(box["gateway"]["version"]),
                    "private_kb": int(box["gateway"]["private_kb"]),
                    "problems": [str(problem) for problem in box["problems"]],
                }
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: this is no health of a box: {error}") from None
    return Ring(boxes)


def tell_problems(ring: Ring) -> str:
    """Return the problems of a ring in a line."""
    counts = ring.count_problems()
    return ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "none has a problem"


def find_stops(ring: Ring, asked: int, version: str, before: Ring | None) -> Iterator[str]:
    """Yield why the next ring has to wait."""
    answered = len(ring.boxes)
    if answered < LEAST_BOXES:
        yield f"{answered} boxes say nothing: ask {LEAST_BOXES} or more"
        return
    if answered < asked * LEAST_ANSWERS:
        yield f"{asked - answered} of {asked} boxes did not answer: at most {1 - LEAST_ANSWERS:.0%} may be off"
    down = sum(not box["running"] for box in ring.boxes)
    if down > answered * MOST_DOWN:
        yield f"{down} gateways do not run: at most {MOST_DOWN:.1%} may be down"
    updated = sum(box["version"] == version for box in ring.boxes)
    if updated < answered * LEAST_UPDATED:
        yield f"{updated} of {answered} boxes run {version}: {LEAST_UPDATED:.0%} should"
    for problem, count in ring.count_problems().most_common():
        share = ring.share_of(problem)
        was = before.share_of(problem) if before is not None else 0.0
        if share - was > MORE_OF_A_PROBLEM:
            yield f"{problem} on {count} boxes ({share:.1%}, {was:.1%} before)"
    sizes = sorted(box["private_kb"] for box in ring.boxes if box["running"])
    if sizes and (size := sizes[int(len(sizes) * SHARE_LOOKED_AT)]) > MOST_PRIVATE_KB:
        yield f"one gateway in twenty needs {size >> 10} MB or more: {MOST_PRIVATE_KB >> 10} MB are planned for"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
