"""The emulated router with Guardian's files on it: settings, a household, a million names, keys for the servers."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import trustme
import yaml

from tests.vm.disks import ROOT, build_work
from tests.vm.guest.network import LAN4, LAN6, SITES, mac_of
from tests.vm.packages import choose_cache

NAMES = 1_000_000
BLOCKED = "www.blocked.example"
SETTINGS: dict[str, Any] = {
    "state": "/srv/guardian/state",
    "household": "/srv/guardian/household.yaml",
    "language": "en",
    "control": {"socket": "/run/guardian/control.sock"},
    "dns": {"listen": [f"{LAN4}:53", f"[{LAN6}]:53"], "rate_limit": 0},
    "upstreams": {"servers": ["udp://192.0.2.53:53"]},
    "lists": {"image": "/srv/lists/million.image"},
    "block": {"page": [f"{LAN4}:80"]},
    "history": {"flush_seconds": 1},
    "filter": {"enabled": True, "lan": ["br-lan"], "wan": ["wan0"]},
    "web": {"listen": [f"{LAN4}:8080"]},
}
HOUSEHOLD: dict[str, Any] = {
    "timezone": "UTC",
    "language": "en",
    "new_devices": "child",
    "profiles": {
        "child": {
            "name": "Ana",
            "age": "7-9",
            "offline": [],
            "minutes": "unlimited",
            "minutes_for": {"youtube": 60},
            "categories": ["gambling", "adult"],
            "services": {"youtube": "allow"},
            "youtube": "off",
            "allow_list_only": False,
            "strict": False,
            "bypass_protection": True,
            "visibility": "names",
        },
        "parents": {"name": "Parents", "filtered": False},
    },
    "devices": {
        "tablet": {"name": "Tablet", "profile": "child", "macs": [mac_of("child")]},
        "phone": {"name": "Phone", "profile": "parents", "macs": [mac_of("adult")]},
    },
}


def make_work(folder: Path) -> Path:
    """Return the disk of one run."""
    authority = trustme.CA()
    certificate = authority.issue_cert(*SITES)
    keys = certificate.private_key_and_cert_chain_pem.bytes()
    files: dict[str, Path | bytes] = {
        "keys/server.pem": keys,
        "keys/ca.pem": authority.cert_pem.bytes(),
        "lists/million.image": compile_million(),
        "guardian/household.yaml": yaml.safe_dump(HOUSEHOLD, allow_unicode=True).encode(),
    }
    for name, more in (("guardian", {}), ("offload", {"offload": True})):
        settings = SETTINGS | {"filter": SETTINGS["filter"] | more}
        files[f"guardian/{name}.yaml"] = yaml.safe_dump(settings, sort_keys=False).encode()
    return build_work(folder, files)


def compile_million() -> Path:
    """Return the image of a million generated names and the one that is tested, kept between runs of the same code."""
    from bench.names import make_corpus

    sources = [*sorted((ROOT / "guardian/blocklist").glob("*.py")), ROOT / "bench/names.py", Path(__file__)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    cache = choose_cache()
    image = cache / f"million-{digest}.image"
    if not image.exists():
        for old in cache.glob("million-*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        lists = cache / "million-lists"
        lists.mkdir()
        words: list[str] = []
        corpus = make_corpus(NAMES, 1000)
        (lists / "mandatory").write_text("\n".join(corpus.mandatory()) + "\n")
        (lists / "youtube").write_text("youtube.com\n")
        words += ["--tag", f"mandatory:bench={lists}/mandatory", "--tag", f"service:youtube={lists}/youtube"]
        for category, names in corpus.by_category():
            file = lists / category
            own = [BLOCKED] if category == "gambling" else []
            file.write_text("\n".join([*names, *own]) + "\n")
            words += ["--category", f"{category}={file}"]
        unfinished = cache / "million-unfinished.image"
        command = [sys.executable, "-m", "guardian", "lists", "compile", str(unfinished), *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, timeout=600)
        unfinished.rename(image)
        shutil.rmtree(lists)
    return image
