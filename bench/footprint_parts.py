"""What Guardian costs a small router besides the million names: both processes at rest, updates, flash."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from bench.comparison import Figures, say
from bench.gateway import make_household
from bench.load import HOST, NETWORK, WORK, Query
from bench.names import Corpus
from bench.peers import MEGABYTE, ask, free_port, read_smaps
from guardian.gateway.sizing import cache_bytes_for, table_entries_for

ROOT = Path(__file__).parents[1]
FOLDER = WORK / "footprint"
GUARDIAN = (sys.executable, "-m", "guardian")
ROUTER_MEMORY = 256 << 20
START_SECONDS = 60.0
REST_SECONDS = 5.0  # until what a start left behind has been given back
LISTED = "category-adult.guardian.test"  # a starter list's name
_PEAK = """
import sys
from guardian import cli
code = cli.main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print("peak", peak.split()[1], code, file=sys.stderr)
"""


def measure_box() -> Figures:
    """Return the memory of gateway and console at rest with the starter lists, and the seconds to a first answer.

    As root with the flow filter on; else without (`box_filter` tells). Raises SystemExit.
    """
    say("measuring gateway and console with the starter lists")
    for old in ("state", "gateway.log", "web.log"):
        shutil.rmtree(FOLDER / old, ignore_errors=True) if (FOLDER / old).is_dir() else (FOLDER / old).unlink(
            missing_ok=True
        )
    (FOLDER / "state").mkdir(parents=True)
    (FOLDER / "household.yaml").write_text(make_household())
    port, web_port = free_port(), free_port()
    has_filter = os.geteuid() == 0 and _make_interfaces()
    settings: dict[str, Any] = {
        "state": str(FOLDER / "state"),
        "household": str(FOLDER / "household.yaml"),
        "dns": {
            "listen": [f"{HOST}:{port}"],
            "clients": [f"{NETWORK}.0/24"],
            "rate_limit": 0,
            "table_entries": table_entries_for(ROUTER_MEMORY),
            "cache_bytes": cache_bytes_for(ROUTER_MEMORY),
        },
        "upstreams": {"servers": [f"udp://{HOST}:1"]},
        "web": {"listen": [f"{HOST}:{web_port}"], "clients": [f"{NETWORK}.0/24"]},
        "filter": {"enabled": has_filter, "lan": ["lan0"], "wan": ["wan0"]},
    }
    (FOLDER / "guardian.yaml").write_text(json.dumps(settings))  # JSON is YAML
    # The first start compiles the starter lists (and Python its bytecode); a router may run for months after it.
    _, first = _run_box(port, web_port)
    seconds, figures = _run_box(port, web_port)
    figures["box_first_gateway_private_mb"] = first["box_gateway_private_mb"]
    return figures | {"box_start_s": round(seconds, 3), "box_filter": float(has_filter)}


def _make_interfaces() -> bool:
    """Make a home's two interfaces, the ends of one cable, in this bench's own network namespace."""
    if not os.path.exists("/sys/class/net/lan0"):
        words = ["ip", "link", "add", "lan0", "type", "veth", "peer", "name", "wan0"]
        if subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode != 0:
            return False
    for name in ("lan0", "wan0"):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    return True


def _run_box(port: int, web_port: int) -> tuple[float, Figures]:
    began = time.monotonic()
    processes = {}
    try:
        processes["gateway"] = _start("gateway")
        while (reply := ask(port, Query(LISTED), timeout=0.02)) is None:
            _look_after(processes, began)
        if reply.rcode not in (0, 3):
            raise SystemExit(f"the gateway answered {LISTED} with {reply}")
        seconds = time.monotonic() - began
        processes["web"] = _start("web")
        while not _answers(web_port):
            _look_after(processes, began)
        time.sleep(REST_SECONDS)
        figures: Figures = {}
        for name, process in processes.items():
            memory = read_smaps(Path(f"/proc/{process.pid}/smaps_rollup"), ())
            mapped = read_smaps(Path(f"/proc/{process.pid}/smaps"), (".image", ".table")).private
            figures |= {
                f"box_{name}_rss_mb": round(memory.rss, 1),
                f"box_{name}_pss_mb": round(memory.pss, 1),
                f"box_{name}_private_mb": round(memory.private - mapped, 1),
            }
        return seconds, figures
    finally:
        for process in processes.values():
            process.terminate()
        for name, process in processes.items():
            if process.wait(30) != 0:
                raise SystemExit(f"`guardian {name}` ended badly; see {FOLDER}/{name}.log")


def _start(name: str) -> subprocess.Popen[bytes]:
    with open(FOLDER / f"{name}.log", "ab") as log:
        words = [*GUARDIAN, name, "--config", str(FOLDER / "guardian.yaml")]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _look_after(processes: dict[str, subprocess.Popen[bytes]], began: float) -> None:
    ended = [name for name, process in processes.items() if process.poll() is not None]
    if ended or time.monotonic() - began > START_SECONDS:
        raise SystemExit(f"{' and '.join(ended) or 'Guardian'} does not start; see {FOLDER}/*.log")
    time.sleep(0.005)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/api/v1/start", timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        raise
    except OSError:
        return False


def measure_sync(corpus: Corpus) -> Figures:
    """Return peak MB and seconds of `guardian sync` that fetches and compiles a million names in 16 lists."""
    say("measuring an update of a million names")
    folder = FOLDER / "sync"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "state").mkdir(parents=True)
    sources = {}
    for category, names in corpus.by_category():
        file = folder / f"{category}.txt"
        file.write_text("\n".join(names) + "\n")
        sources[f"list-{category.replace('_', '-')}"] = {
            "url": file.as_uri(), "format": "domains", "tags": f"category:{category}", "limit": "64M",
        }  # fmt: skip
    (folder / "sources.yaml").write_text(json.dumps({"sources": sources}))
    settings = {
        "state": str(folder / "state"),
        "upstreams": {"servers": [f"udp://{HOST}:1"]},
        "lists": {"sources": str(folder / "sources.yaml")},
    }
    (folder / "guardian.yaml").write_text(json.dumps(settings))
    words = [sys.executable, "-c", _PEAK, "sync", "--quiet", "--config", str(folder / "guardian.yaml")]
    began = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    seconds = time.monotonic() - began
    last = (done.stderr.strip().splitlines() or ["nothing"])[-1].split()
    image = folder / "state/lists/guardian.image"
    if last[0] != "peak" or last[2] != "0" or not image.exists():
        raise SystemExit(f"`guardian sync` failed: {done.stdout}{done.stderr}")
    return {
        "sync_peak_mb": round(int(last[1]) * 1024 / MEGABYTE, 1),
        "sync_s": round(seconds, 1),
        "sync_image_mb": round(image.stat().st_size / MEGABYTE, 2),
    }


def measure_flash() -> Figures:
    """Return what OpenWrt's package adds to a squashfs image, without Python itself, in MB; {} without mksquashfs.

    Guardian and its bundle are laid out as the feed's Makefile does: bytecode only, no desk, pages not packed twice.
    """
    if shutil.which("mksquashfs", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        say("flash: mksquashfs is not installed")
        return {}
    say("measuring the growth of an image")
    root = FOLDER / "flash"
    shutil.rmtree(root, ignore_errors=True)
    package = root / "usr/lib/python3/site-packages/guardian"
    shutil.copytree(
        ROOT / "guardian", package, ignore=shutil.ignore_patterns("__pycache__", "*.gz", "desk", "blocklists")
    )
    shutil.rmtree(package / "cli/hotline")
    shutil.copytree(ROOT / "blocklists", package / "blocklists")
    pack = [sys.executable, str(ROOT / "scripts/bundle-openwrt")]
    bundled = root / "usr/lib/guardian/bundled"
    bundled.parent.mkdir(parents=True)
    listed = ROOT / "deploy/openwrt/guardian/bundle.txt"
    done = subprocess.run([*pack, str(listed), str(bundled)], capture_output=True, text=True, check=False)
    has_bundle = done.returncode == 0
    if not has_bundle:
        say(f"flash: the bundle is left out: {done.stderr.strip()[-200:]}")
    subprocess.run([*pack, "--bytecode", str(root)], check=True, stdout=subprocess.DEVNULL)
    figures: Figures = {"flash_guardian_mb": _squash(package.parent)}
    if has_bundle:
        figures["flash_bundle_mb"] = _squash(bundled)
        figures["flash_mb"] = _squash(root)
    return figures


def _squash(folder: Path) -> float:
    image = FOLDER / "flash.squashfs"
    image.unlink(missing_ok=True)
    words = ["mksquashfs", str(folder), str(image), "-comp", "xz", "-b", "256K", "-no-xattrs", "-all-root", "-quiet"]
    words += ["-no-progress", "-processors", "1"]
    path = {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=os.environ | path)
    return round(image.stat().st_size / MEGABYTE, 2)
