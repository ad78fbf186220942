"""Bench of the hotline's feed: sizes of base, list and delta; what a router pays to look, to open and to update.

    python bench/feed.py            100,000 entries, 50,000 known-good names, the real public suffix list
    python bench/feed.py --quick    the same with fewer repetitions
    python bench/feed.py --json     one flat JSON object of figures

All names are made up from numbers. The keys of the 100,000 entries are derived at the least cost, so that the bench
ends; one key at the cost of a real feed is measured apart (`slow_ms`). Memory is that of a process of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import mmap
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.feed_settling import measure_unrelated
from guardian import cli
from guardian.blocklist.feed_base import STANDARD, Base, Cost, build_base, derive_key, parse_suffix_rules
from guardian.blocklist.tag_delta import apply_delta, count_growth, make_delta
from guardian.blocklist.tag_table import Listed, Scope, TagTable, build_tags
from guardian.names import parse_name

ENTRIES = 100_000
CHANGES = 1000
GOOD = 50_000
CHEAP = Cost(1, 8, 1)
GOALS = {
    "delta_bytes_100k_1000": 12_000.0,  # 500 entries go, 500 come
    "apply_s": 1.0,
    "apply_peak_mb": 80.0,
    "image_bytes": 1_000_000.0,  # base and list together
    "good_us": 10.0,
    "open_ms": 5.0,
    "mapped_private_mb": 1.0,
    "unrelated_p99_added_ms": 1.0,  # to others' answers while a device floods, on a machine with nothing else to do
    "sync_peak_mb": 80.0,  # of `guardian sync --feed`, whole list or delta
}
EXTRA = (
    "unrelated_p50_ms", "unrelated_p99_ms", "unrelated_flooded_p50_ms", "unrelated_flooded_p99_ms",
    "delta_bytes_added", "base_bytes", "tags_bytes", "mapped_rss_mb", "slow_ms", "silent_us", "match_us", "growth_s",
    "sync_whole_s", "sync_whole_bytes", "sync_delta_s", "sync_delta_bytes", "sync_idle_s", "sync_idle_bytes",
    "base_build_s", "tags_build_s", "delta_build_s",
)  # fmt: skip
_ENDINGS = ("com", "com", "net", "org", "info", "ru", "md", "ro", "co.uk", "com.br", "github.io")


class Files(NamedTuple):
    """What the desk made: in the order old state, new state, delta, base."""

    base: Path
    old: Path
    new: Path
    delta: Path


def main() -> int:
    """Run the bench; return 0 when every goal is met, 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    parser.add_argument("--child", nargs="+", metavar="PATH", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return run_child(*args.child)
    with tempfile.TemporaryDirectory(prefix="guardian-bench-") as name:
        files, figures = build_files(Path(name))
        # One function for each part of the product; each returns figures of its own.
        for measure in (measure_sizes, measure_lookups, measure_children, measure_sync, measure_unrelated):
            figures |= measure(files, args.quick)
    if args.json:
        print(json.dumps(figures))
    else:
        print_table(figures)
    return 0 if all(figures[key] <= goal for key, goal in GOALS.items()) else 1


def build_files(folder: Path) -> tuple[Files, dict[str, float]]:
    """Write base, two states of a list and the delta between them; return them with the seconds each took."""
    seconds: dict[str, float] = {}
    data = importlib.util.find_spec("publicsuffixlist")
    assert data is not None and data.origin is not None
    rules = parse_suffix_rules((Path(data.origin).parent / "public_suffix_list.dat").read_text(encoding="utf-8"))
    domains = [make_domain("listed", number) for number in range(ENTRIES + CHANGES)]
    good = [make_domain("good", number) for number in range(GOOD)]
    start = time.perf_counter()
    image = build_base("2027q1", random.Random(1).randbytes(32), STANDARD, rules, good, domains)
    seconds["base_build_s"] = time.perf_counter() - start
    base = Base(image)
    keys = {domain: derive_key(domain, base.salt, CHEAP) for domain in domains}
    entries = [make_entry(domain, number) for number, domain in enumerate(domains)]

    def build(serial: int, chosen: list[Listed]) -> bytes:
        return build_tags("list-1", serial, 1.8e9 + serial, base, make_classes(), chosen, keys)

    start = time.perf_counter()
    old = build(1, entries[:ENTRIES])
    seconds["tags_build_s"] = time.perf_counter() - start
    half = CHANGES // 2
    new = build(2, entries[half : ENTRIES + half])
    start = time.perf_counter()
    delta = make_delta(old, new)
    seconds["delta_build_s"] = time.perf_counter() - start
    seconds["delta_bytes_added"] = len(make_delta(old, build(2, entries)))
    files = Files(folder / "b.base", folder / "1.tags", folder / "2.tags", folder / "1-2.delta")
    for path, content in zip(files, (image, old, new, delta), strict=True):
        path.write_bytes(content)
    return files, seconds


def make_domain(word: str, number: int) -> bytes:
    """Return a registrable domain; the same number gives the same one."""
    return parse_name(f"{word}-{number}.{_ENDINGS[number % len(_ENDINGS)]}")


def make_entry(domain: bytes, number: int) -> Listed:
    """Return an entry: nine of ten list a whole domain, the others a host or a page."""
    kind = number % 20
    if kind == 0:
        return Listed(domain, Scope.HOST, b"\x03www" + domain, number % 3)
    if kind == 1:
        return Listed(domain, Scope.PAGE, b"\x03www" + domain + b"/page-%d" % number, number % 3)
    return Listed(domain, Scope.DOMAIN, domain, number % 3)


def make_classes() -> list[dict[str, Any]]:
    """Return three classes with texts as long as real ones."""
    authority = {"en": "National child protection hotline", "ro": "Linia națională", "ru": "Национальная горячая линия"}
    bases = ("court", "law_order", "voluntary")
    return [{"severity": "national", "legal_basis": basis, "authority": authority} for basis in bases]


def measure_sizes(files: Files, quick: bool) -> dict[str, float]:
    """Return the bytes of base, list and delta."""
    base, tags, delta = (path.stat().st_size for path in (files.base, files.new, files.delta))
    return {"base_bytes": base, "tags_bytes": tags, "image_bytes": base + tags, "delta_bytes_100k_1000": delta}


def measure_lookups(files: Files, quick: bool) -> dict[str, float]:
    """Return the microseconds of looks, the milliseconds of one slow hash."""
    base, table = Base(map_file(files.base)), TagTable(map_file(files.new))
    count = 10_000 if quick else 50_000
    names = [b"\x03www" + make_domain("good", number) for number in range(count)]
    listed = [make_domain("listed", number) for number in range(CHANGES, CHANGES + count // 5)]
    others = [make_domain("other", number) for number in range(count // 5)]
    keys = {domain: derive_key(domain, base.salt, CHEAP) for domain in (*listed, *others)}

    def look_good(name: bytes) -> bool:
        domain = base.key_domain(name)
        return domain is not None and base.is_known_good(domain)

    def look_silent(domain: bytes) -> bool:
        return table.is_silent(keys[domain], domain)

    def look_listed(domain: bytes) -> int | None:
        return table.match_name(keys[domain], domain, b"\x03www" + domain)

    assert all(map(look_good, names)) and all(map(look_silent, others))
    pages = sum(look_listed(domain) is None for domain in listed)
    assert pages == len(listed) // 20  # those of which a page is listed, and not the host
    runs = 3 if quick else 15
    slow = [time_call(lambda: derive_key(names[0], base.salt, base.cost)) for _ in range(runs)]
    return {
        "good_us": time_each(look_good, names),
        "silent_us": time_each(look_silent, others),
        "match_us": time_each(look_listed, listed),
        "slow_ms": statistics.median(slow) * 1e3,
        "growth_s": time_call(lambda: count_growth(TagTable(map_file(files.old)), table)),
    }


def measure_children(files: Files, quick: bool) -> dict[str, float]:
    """Return what applying a delta and keeping files mapped cost, each in a process that does nothing else."""
    figures: dict[str, float] = {}
    for job in (["apply", str(files.old), str(files.delta)], ["map", str(files.base), str(files.new)]):
        done = subprocess.run([sys.executable, __file__, "--child", *job], check=True, capture_output=True)
        figures |= json.loads(done.stdout)
    return figures


def measure_sync(files: Files, quick: bool) -> dict[str, float]:
    """Return peak memory, seconds and bytes of `guardian sync --feed` against a signed feed on loopback.

    First everything, then a day's delta, then nothing new. Bytes are those of answers, without their headers.
    """
    from tests.hotline.feed_maker import LIST, Scene  # not in the children, whose memory is measured

    with tempfile.TemporaryDirectory(prefix="guardian-bench-") as name:
        scene = Scene(Path(name), now=time.time() - 3600)
        domains = [f"listed-{number}.example" for number in range(ENTRIES + CHANGES // 2)]
        scene.maker.publish_all(domains[:ENTRIES])
        settings = Path(name) / "guardian.yaml"
        settings.write_text(
            f"state: {name}/state\nupstreams: {{servers: [192.0.2.1]}}\n"
            f"hotline: {{url: {scene.server.url}, root: {scene.box.config.root}}}\n"
        )
        figures: dict[str, float] = {"sync_peak_mb": 0.0}
        for kind in ("whole", "delta", "idle"):
            if kind == "delta":
                scene.maker.next(domains[CHANGES // 2 :])
            seconds, peak, received = _run_sync(settings, scene)
            figures |= {f"sync_{kind}_s": seconds, f"sync_{kind}_bytes": received}
            figures["sync_peak_mb"] = max(figures["sync_peak_mb"], peak)
        assert scene.update(3600.0).lists[LIST].serial == 2
        scene.server.close()
    return figures


def _run_sync(settings: Path, scene: Any) -> tuple[float, float, float]:
    """Run `guardian sync --feed`; return seconds, MB at the peak, bytes of what it asked for."""
    before = len(scene.server.seen)
    start = time.perf_counter()
    command = [sys.executable, __file__, "--child", "sync", str(settings), ""]
    done = subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - start
    paths = [scene.server.folder / exchange.path[1:] for exchange in scene.server.seen[before:]]
    return seconds, json.loads(done.stdout)["peak_mb"], sum(path.stat().st_size for path in paths if path.exists())


def run_child(job: str, first: str, second: str) -> int:
    """Do one job in this process and print its figures as JSON."""
    figures: dict[str, float] = {}
    if job == "sync":
        assert cli.main(["sync", "--feed", "--quiet", "--config", first]) == 0
        figures["peak_mb"] = _proc_kb("/proc/self/status", "VmHWM") / 1024
    elif job == "apply":
        start = time.perf_counter()
        apply_delta(map_file(Path(first)), Path(second).read_bytes())
        figures["apply_s"] = time.perf_counter() - start
        figures["apply_peak_mb"] = _proc_kb("/proc/self/status", "VmHWM") / 1024
    else:
        first_time = Base(map_file(Path(first)))  # kept: what Python itself loads at the first time is not counted
        before = {key: _proc_kb("/proc/self/smaps_rollup", key) for key in ("Anonymous", "Rss")}
        start = time.perf_counter()
        base, table = Base(map_file(Path(first))), TagTable(map_file(Path(second)))
        figures["open_ms"] = (time.perf_counter() - start) * 1e3
        for number in range(20_000):
            domain = base.key_domain(make_domain("good", number))
            assert domain is not None and base.is_known_good(domain)
            assert table.match_name(number.to_bytes(32), domain, domain) is None
        assert first_time.epoch == base.epoch
        for key, figure in (("Anonymous", "mapped_private_mb"), ("Rss", "mapped_rss_mb")):
            figures[figure] = (_proc_kb("/proc/self/smaps_rollup", key) - before[key]) / 1024
    print(json.dumps(figures))
    return 0


def map_file(path: Path) -> mmap.mmap:
    """Return a file as a read-only mapping."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def time_call(call: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def time_each(look: Callable[[bytes], object], names: list[bytes]) -> float:
    """Return the microseconds of one look, the best of five runs."""

    def look_at_all() -> None:
        for name in names:
            look(name)

    return min(time_call(look_at_all) for _ in range(5)) / len(names) * 1e6


def _proc_kb(file: str, key: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise SystemExit(f"{file} has no {key}")


def print_table(figures: Mapping[str, float]) -> None:
    """Print figures and goals for people."""
    print(f"{'':24} {'measured':>12} {'goal':>12}")
    for key, goal in GOALS.items():
        print(f"{key:24} {figures[key]:12,.2f} {goal:12,.2f}{'' if figures[key] <= goal else '  MISSED'}")
    for key in EXTRA:
        print(f"{key:24} {figures[key]:12,.2f}")


if __name__ == "__main__":
    sys.exit(main())
