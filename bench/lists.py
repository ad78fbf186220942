"""Bench of the list image: size, compiling, mapping, looking up, replacing; beside a Python dict of the same names.

    python bench/lists.py            1 M and 5 M names in 16 categories
    python bench/lists.py --quick    1 M names only, fewer lookups
    python bench/lists.py --json     one flat JSON object of figures

Names come from a seed. Memory is the peak RSS (VmHWM) of a process that does nothing but compile; what ru_maxrss
says would hold the parent's memory from before the exec.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from guardian.blocklist.compile import Source, compile_image
from guardian.names import parse_name
from guardian.store.images import map_image, write_image

CATEGORIES = 16
GOALS = {
    "bytes_per_name": 6.5,
    "compile_s": 5.0,
    "compile_peak_mb": 80.0,
    "map_ms": 5.0,
    "lookup_hit_us": 5.0,
    "lookup_miss_us": 5.0,
    "reload_growth_mb": 2.0,
}
_TOP = "com com com com net org info de ru fr co.uk com.br pl it nl eu xyz top online site md ro ua".split()  # noqa: SIM905
_SYLLABLES = [first + vowel for first in "bcdfghklmnprstvz" for vowel in "aeiou"]
_HOSTS = ["www", "m", "cdn", "static", "img", "api", "mail", "blog", "shop", "ads", "track", "news", "go", "app"]


def main() -> int:
    """Run the bench; return 0 when every goal for 1 M names is met, 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 M names only, fewer lookups")
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return run_compile(Path(args.child[0]), Path(args.child[1]))
    lookups = 50_000 if args.quick else 200_000
    figures = measure(1_000_000, lookups)
    figures |= measure_dict(1_000_000, lookups, figures)
    if not args.quick:
        figures |= {f"{key}_5m": value for key, value in measure(5_000_000, lookups).items()}
    if args.json:
        print(json.dumps(figures))
    else:
        print_table(figures)
    return 0 if all(figures[key] <= goal for key, goal in GOALS.items()) else 1


def generate_names(count: int, seed: int) -> Iterator[str]:
    """Yield `count` different names, mostly of two and three labels, the same for the same seed."""
    rng = random.Random(seed)
    for number in range(count):
        # The number in base 36 keeps names apart, as the odd labels of real lists do.
        label = "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 5))) + _to_base36(number)
        name = f"{label}.{rng.choice(_TOP)}"
        kind = rng.random()
        if kind < 0.35:
            name = f"{rng.choice(_HOSTS)}.{name}"
        elif kind < 0.42:
            name = f"{rng.choice(_HOSTS)}.{rng.choice(_SYLLABLES)}{number % 97}.{name}"
        yield name


def _to_base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return digits


def run_compile(folder: Path, out: Path) -> int:
    """Compile every list of a folder, in this process, and print seconds and peak memory as JSON."""
    start = time.perf_counter()
    sources = [Source(f"category:{file.stem}", file.name, file.read_bytes) for file in sorted(folder.glob("*.domains"))]
    compiled = compile_image(sources, random.Random(1).randbytes(16), 1.0)
    write_image(out, compiled.chunks)
    seconds = time.perf_counter() - start
    print(json.dumps({"compile_s": seconds, "compile_peak_mb": _proc_kb("/proc/self/status", "VmHWM") / 1024}))
    return 0


def measure(count: int, lookups: int) -> dict[str, float]:
    """Return the figures of an image of `count` names."""
    with tempfile.TemporaryDirectory(prefix="guardian-bench-") as folder_name:
        folder = Path(folder_name)
        write_lists(folder, count)
        image_path = folder / "guardian.image"
        command = [sys.executable, __file__, "--child", folder_name, str(image_path)]
        figures: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        start = time.perf_counter()
        image = map_image(image_path)
        figures["map_ms"] = (time.perf_counter() - start) * 1e3
        figures["bytes_per_name"] = image_path.stat().st_size / image.name_count
        hits, misses = sample(count, lookups)
        assert all(map(image.lookup, hits))
        figures["lookup_hit_us"] = time_lookups(image.lookup, hits)
        figures["lookup_miss_us"] = time_lookups(image.lookup, misses)
        other = folder / "other.image"
        write_image(other, [image_path.read_bytes()])
        # Replace the mapped image and use the new one, ten times: what stays is growth.
        before = _proc_kb("/proc/self/smaps_rollup", "Anonymous")
        for turn in range(10):
            image = map_image(other if turn % 2 == 0 else image_path)
            for name in hits[:2000]:
                image.lookup(name)
        figures["reload_growth_mb"] = max(0, _proc_kb("/proc/self/smaps_rollup", "Anonymous") - before) / 1024
    return figures


def write_lists(folder: Path, count: int) -> None:
    """Write `count` names as 16 lists of plain domains."""
    files = [(folder / f"c{number:02}.domains").open("w") for number in range(CATEGORIES)]
    rng = random.Random(3)
    for name in generate_names(count, 1):
        files[int(rng.random() * CATEGORIES)].write(name + "\n")
    for file in files:
        file.close()


def sample(count: int, lookups: int) -> tuple[list[bytes], list[bytes]]:
    """Return wire names that are listed or below a listed one, and names that are not, both of 3 to 4 labels."""
    step = max(1, count // lookups)
    listed = [name for index, name in enumerate(generate_names(count, 1)) if index % step == 0]
    rng = random.Random(4)
    rng.shuffle(listed)
    hits = [parse_name(name if name.count(".") > 1 else f"www.{name}") for name in listed]
    misses = [parse_name(f"www.{name}x" if name.count(".") < 2 else f"{name}x") for name in listed]
    return hits, misses


def time_lookups(lookup: Callable[[bytes], object], names: list[bytes]) -> float:
    """Return the microseconds of one lookup, the best of five runs."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for name in names:
            lookup(name)
        best = min(best, time.perf_counter() - start)
    return best / len(names) * 1e6


def measure_dict(count: int, lookups: int, figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures of the floor: a dict of the same names, and what the image is beside it."""
    before = _proc_kb("/proc/self/smaps_rollup", "Anonymous")
    start = time.perf_counter()
    table = {parse_name(name): 1 for name in generate_names(count, 1)}
    seconds = time.perf_counter() - start
    grown = (_proc_kb("/proc/self/smaps_rollup", "Anonymous") - before) * 1024 / count

    def lookup(name: bytes) -> int:
        mask = position = 0
        while length := name[position]:
            mask |= table.get(name[position:], 0)
            position += 1 + length
        return mask

    hits, misses = sample(count, lookups)
    floor = {"dict_bytes_per_name": grown, "dict_build_s": seconds}
    floor["dict_hit_us"] = time_lookups(lookup, hits)
    floor["dict_miss_us"] = time_lookups(lookup, misses)
    floor["ratio_bytes_vs_dict"] = figures["bytes_per_name"] / grown
    floor["ratio_hit_vs_dict"] = figures["lookup_hit_us"] / floor["dict_hit_us"]
    floor["ratio_miss_vs_dict"] = figures["lookup_miss_us"] / floor["dict_miss_us"]
    return floor


def _proc_kb(file: str, key: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise SystemExit(f"{file} has no {key}")


def print_table(figures: Mapping[str, float]) -> None:
    """Print figures, goals and the floor for people."""
    print(f"{'':20} {'1 M':>9} {'goal':>8} {'5 M':>9} {'dict, 1 M':>10}")
    floor = {"bytes_per_name": "dict_bytes_per_name", "lookup_hit_us": "dict_hit_us", "lookup_miss_us": "dict_miss_us"}
    for key, goal in GOALS.items():
        many = f"{figures[f'{key}_5m']:9.2f}" if f"{key}_5m" in figures else f"{'-':>9}"
        beside = f"{figures[floor[key]]:10.2f}" if key in floor else f"{'-':>10}"
        verdict = "" if figures[key] <= goal else "  MISSED"
        print(f"{key:20} {figures[key]:9.2f} {goal:8.1f} {many} {beside}{verdict}")
    for key in ("ratio_bytes_vs_dict", "ratio_hit_vs_dict", "ratio_miss_vs_dict"):
        print(f"{key:20} {figures[key]:9.2f}")


if __name__ == "__main__":
    sys.exit(main())
