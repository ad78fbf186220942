"""Debian's arm64 packages for the emulated router, fetched into a cache of our own.

apt works on folders of ours (a private configuration with its own state): nothing of this machine's packages changes,
and no foreign architecture is added. Signatures are checked as always.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ARCHITECTURE = "arm64"
DEPENDENCIES_TOO = (
    "python3-minimal", "python3-yaml", "libpython3-stdlib", "nftables", "iproute2", "conntrack", "kmod", "ethtool",
    "procps", "dnsmasq-base",
)  # fmt: skip
UNUSED = (
    "perl",
    "libperl",
    "usrmerge",
    "passwd",
    "debconf",
    "dpkg",
    "libfile-find",
    "libtext-glob",
    "libnumber-compare",
)
ALONE = ("busybox-static",)
KERNEL = "linux-image-arm64"
_SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources")


class MissingError(Exception):
    """The machine cannot be built here; the text says why."""


def choose_cache() -> Path:
    """Return the folder that outlives a run: GUARDIAN_VM_CACHE, /var/cache/guardian-vm, or one in /tmp."""
    if folder := os.environ.get("GUARDIAN_VM_CACHE"):
        chosen = Path(folder)
    elif os.access("/var/cache", os.W_OK):
        chosen = Path("/var/cache/guardian-vm")
    else:
        chosen = Path(tempfile.gettempdir()) / f"guardian-vm-{os.getuid()}"
    chosen.mkdir(mode=0o755, parents=True, exist_ok=True)
    return chosen


def fetch_packages(cache: Path) -> tuple[list[Path], Path]:
    """Return the files of the packages, and of the kernel's. Raises MissingError.

    What an earlier run fetched is used as it is; empty the cache for newer ones.
    """
    archive = cache / "debs"
    stamp = archive / "complete"
    wanted = " ".join((*DEPENDENCIES_TOO, *ALONE, KERNEL))
    if not stamp.exists() or stamp.read_text() != wanted:
        _fetch(cache, archive)
        stamp.write_text(wanted)
    kernels = [path for path in archive.glob("*.deb") if path.name.startswith("linux-image-")]
    if len(kernels) != 1:
        raise MissingError(f"{archive} holds {len(kernels)} kernels: remove the folder")
    used = (path for path in archive.glob("*.deb") if path not in kernels and not path.name.startswith(UNUSED))
    return sorted(used), kernels[0]


def _fetch(cache: Path, archive: Path) -> None:
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise MissingError(f"{program} is not installed: the machine is built of Debian's packages")
    shutil.rmtree(archive, ignore_errors=True)
    apt = cache / "apt"
    for folder in (
        archive / "partial",
        apt / "state/lists/partial",
        apt / "cache",
        apt / "sources",
        apt / "preferences",
    ):
        folder.mkdir(parents=True, exist_ok=True)
    sources = [Path(name) for name in _SOURCES if Path(name).exists() and Path(name).read_text().strip()]
    if not sources:
        raise MissingError("this is no Debian: apt has none of its sources")
    for source in sources:
        shutil.copy(source, apt / "sources" / (source.name if source.suffix == ".sources" else "debian.list"))
    (apt / "status").write_text("")
    settings = apt / "apt.conf"
    settings.write_text(
        f"""\
APT::Architecture "{ARCHITECTURE}";
#clear APT::Architectures;
APT::Architectures {{ "{ARCHITECTURE}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Dir::State "{apt}/state/";
Dir::State::status "{apt}/status";
Dir::Cache "{apt}/cache/";
Dir::Cache::archives "{archive}/";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{apt}/sources/";
Dir::Etc::PreferencesParts "{apt}/preferences/";
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Debug::NoLocking "true";
Acquire::Languages "none";
"""
    )
    _apt(settings, "apt-get", "-qq", "update")
    _apt(settings, "apt-get", "-qq", "-y", "--download-only", "install", *DEPENDENCIES_TOO)
    depends = _apt(settings, "apt-cache", "depends", KERNEL)
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if found is None:
        raise MissingError(f"{KERNEL} leads to no kernel: {depends}")
    _apt(settings, "apt-get", "-qq", "download", *ALONE, found[1], cwd=archive)


def _apt(settings: Path, program: str, *words: str, cwd: Path | None = None) -> str:
    kept = {"PATH": os.environ["PATH"], "APT_CONFIG": str(settings), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    proxies = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    done = subprocess.run(
        [program, *words], capture_output=True, text=True, timeout=600, check=False, cwd=cwd, env=kept | proxies
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MissingError(f"`{program} {' '.join(words[:3])}` fails: {last}")
    return done.stdout


def fetch_wheel(cache: Path, name: str, version: str, python: str) -> Path:
    """Return a folder with the arm64 build of one compiled Python package. Raises MissingError."""
    folder = cache / f"{name}-{version}-{python}"
    if not folder.exists():
        work = cache / "wheels"
        shutil.rmtree(work, ignore_errors=True)
        words = ["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", python]
        words += ["--platform", "manylinux2014_aarch64", "--platform", "manylinux_2_17_aarch64", "--dest", str(work)]
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
        done = subprocess.run(
            [*pip, *words, f"{name}=={version}"], capture_output=True, text=True, timeout=300, check=False
        )
        wheels = list(work.glob("*.whl")) if work.exists() else []
        if done.returncode != 0 or len(wheels) != 1:
            raise MissingError(f"{name} {version} for arm64 cannot be fetched: {done.stderr.strip()[-200:]}")
        with zipfile.ZipFile(wheels[0]) as archive:
            archive.extractall(work / "whole")
        (work / "whole").rename(folder)
        shutil.rmtree(work)
    return folder
