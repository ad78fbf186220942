"""A router's root, small: Debian's Python in OpenWrt's split, all of it bytecode, and our package as it is installed.

Of the standard library only what the package's DEPENDS bring is there, without a single source, and nothing of the
virtual environment but the two packages that the feeds hold (yaml, msgspec). Processes run in it by chroot.
"""

from __future__ import annotations

import contextlib
import json
import os
import py_compile
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.deploy.openwrt.buildroot import SITE_PACKAGES
from tests.deploy.openwrt.python_split import absent_modules

STDLIB = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}))
TAG = f"python3.{sys.version_info.minor}"
FEED_PACKAGES = ("yaml", "_yaml", "msgspec")  # python3-yaml of the feeds, python3-msgspec of ours
_LEFT = re.compile(r"(__pycache__|test|tests|idle_test|(site|dist)-packages|config-.*|sitecustomize\.py|EXTERNALLY.*)")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp"}
# /proc in a mount namespace of its own: it is gone with the process, however that ends.
_ENTER = 'mount -t proc proc "$0/proc" && exec /usr/sbin/chroot "$0" "$@"'
_RECORDER = """\
import atexit, os, sys
def note():
    with open(f"/tmp/modules.{os.getpid()}", "w") as file:
        file.write("\\n".join(sys.modules))
atexit.register(note)
"""


def why_not() -> str:
    """Return why no root can be made here, "" when one can."""
    if os.geteuid() != 0:
        return "a router's root needs root: chroot, and the device files in it"
    if not (STDLIB / "asyncio" / "__pycache__").is_dir() or str(STDLIB) != f"/usr/lib/{TAG}":
        return "the tests do not run with the distribution's Python"
    return ""


class RouterRoot:
    """A root below `folder`. `start` and `run` take words as a router's shell does."""

    def __init__(self, folder: Path, packages: Iterable[Path], python_packages: Iterable[str]) -> None:
        """`packages` are roots of installed packages, `python_packages` those of the feed's Python that are there."""
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        for place in ("tmp/guardian", "proc", "dev", "etc/ssl/certs", "var/run/guardian", "etc/guardian", "usr/bin"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        os.mknod(folder / "dev" / "null", 0o666 | 0o020000, os.makedev(1, 3))
        os.chmod(folder / "dev" / "null", 0o666)
        for package in packages:
            shutil.copytree(package, folder, dirs_exist_ok=True, symlinks=True)
        self._add_library(absent_modules(python_packages))
        self._add_feed_packages()
        # Debian's Python looks there; a router's looks into site-packages.
        (folder / "usr/lib/python3").mkdir()
        (folder / "usr/lib/python3/dist-packages").symlink_to(f"../{TAG}/site-packages")
        (folder / SITE_PACKAGES / "sitecustomize.py").write_text(_RECORDER)
        shutil.copy(f"/usr/bin/{TAG}", folder / "usr/bin/python3")
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", folder / "etc/ssl/certs/ca-certificates.crt")
        (folder / "etc/ssl/cert.pem").symlink_to("certs/ca-certificates.crt")
        (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/ash\nguardian:x:1353:1353::/:/bin/false\n")
        (folder / "etc/group").write_text("root:x:0:\nguardian:x:1353:\n")
        self._add_shared_libraries(folder / "usr/bin/python3", *folder.rglob("*.so"))

    def add_busybox(self) -> None:
        """Put a shell and small programs into the root, as a router has them. Raises AssertionError without busybox."""
        busybox = shutil.which("busybox")
        assert busybox, "busybox is not there"
        (self.folder / "bin").mkdir(exist_ok=True)
        shutil.copy(busybox, self.folder / "bin" / "busybox")
        self._add_shared_libraries(self.folder / "bin" / "busybox")
        for name in ("sh", "mktemp", "cat", "sleep", "rm", "kill", "sed", "echo", "dirname", "find", "killall"):
            (self.folder / "bin" / name).symlink_to("busybox")

    def _add_library(self, absent: set[str]) -> None:
        target = self.folder / "usr" / "lib" / TAG
        for place, folders, names in os.walk(STDLIB):
            inside = Path(place).relative_to(STDLIB)
            folders[:] = [
                name for name in folders if not _LEFT.fullmatch(name) and not (inside == Path() and name in absent)
            ]
            for name in names:
                module = name.partition(".")[0]
                if _LEFT.fullmatch(name) or (inside.name in ("", "lib-dynload") and module in absent):
                    continue
                (target / inside).mkdir(parents=True, exist_ok=True)
                if name.endswith(".py"):
                    made = STDLIB / inside / "__pycache__" / f"{module}.{sys.implementation.cache_tag}.pyc"
                    if not made.exists():
                        made = target / inside / f"{module}.pyc"
                        py_compile.compile(str(STDLIB / inside / name), str(made), doraise=True)
                    else:
                        shutil.copyfile(made, target / inside / f"{module}.pyc")
                elif name.endswith(".so"):
                    shutil.copy(STDLIB / inside / name, target / inside / name)

    def _add_feed_packages(self) -> None:
        here = Path(sysconfig.get_path("platlib"))
        for name in FEED_PACKAGES:
            target = self.folder / SITE_PACKAGES / name
            shutil.copytree(here / name, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))
            for source in target.rglob("*.py"):
                py_compile.compile(str(source), str(source.with_suffix(".pyc")), doraise=True)
                source.unlink()

    def _add_shared_libraries(self, *programs: Path) -> None:
        listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
        for path in sorted(set(re.findall(r"(/\S+\.so\S*) \(0x", listed))):
            if str(self.folder) not in path:
                place = self.folder / path.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)

    @property
    def sources(self) -> list[str]:
        """The Python sources that are there: names below the root."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*.py"))

    def _words(self, *words: str) -> list[str]:
        return ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", _ENTER, str(self.folder), *words]

    def run(self, *words: str, stdin: str = "", seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program of the root to its end."""
        return subprocess.run(
            self._words(*words),
            input=stdin, capture_output=True, text=True, timeout=seconds, check=False, env=_ENVIRONMENT, cwd="/",
        )  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a program of the root; what it says is in `log`."""
        with open(self.folder / "tmp" / "log", "ab") as log:
            process = subprocess.Popen(
                self._words(*words), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=_ENVIRONMENT, cwd="/",
            )  # fmt: skip
        self._running.append(process)
        return process

    def log(self) -> str:
        """What the started programs have said."""
        return (self.folder / "tmp" / "log").read_text(errors="replace")

    def stop(self) -> list[int]:
        """End what was started, as procd does; return the exit codes."""
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        codes = []
        for process in self._running:
            try:
                codes.append(process.wait(15))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append(process.wait(10))
        self._running.clear()
        return codes

    def loaded(self) -> set[str]:
        """The modules that all processes so far have loaded, once they have ended."""
        return {name for path in self.folder.glob("tmp/modules.*") for name in path.read_text().split()}


@contextlib.contextmanager
def ended(root: RouterRoot) -> Iterator[RouterRoot]:
    """Hand a root out, and end what runs in it."""
    try:
        yield root
    finally:
        root.stop()


def wait_until(what: Callable[[], bool], root: RouterRoot, seconds: float = 20) -> None:
    """Wait until something is true. Raises AssertionError with the log."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, root.log()
        time.sleep(0.05)


def read_status(root: RouterRoot, *words: str) -> dict[str, object]:
    """Return what `guardian status --json` says in the root, {} while it says nothing."""
    done = root.run("/usr/bin/guardian", "status", "--json", *words)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}
