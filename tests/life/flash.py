"""A router's flash for tests: a small ext4 in a file, that can be full, read-only, broken, or lose its power."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.product import require, run_tool


class Flash:
    """A file system of its own, mounted at `point`. What is not synced stays in memory (`commit=600`)."""

    def __init__(self, point: Path, megabytes: int = 16) -> None:
        self.point = point
        self._image = point.with_name(f"{point.name}.img")
        with open(self._image, "wb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-m", "0", str(self._image))
        point.mkdir(exist_ok=True)
        self.mount()
        (point / "lost+found").rmdir()

    def mount(self, *, read_only: bool = False) -> None:
        """Mount it, as at boot: its journal is replayed."""
        options = "loop,errors=remount-ro,commit=600" + (",ro" if read_only else "")
        deadline = time.monotonic() + 20
        while True:
            try:
                _run("mount", "-o", options, str(self._image), str(self.point))
            except OSError:  # the kernel takes its time to let go of the loop device of before
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def unmount(self) -> None:
        """Take it away; everything is written."""
        _run("umount", str(self.point))

    def cut(self) -> None:
        """Keep what the disk has by now, forget the rest, and mount that. Whoever writes must be stopped or killed."""
        kept = self._image.with_suffix(".cut")
        shutil.copyfile(self._image, kept)
        _run("umount", "--lazy", str(self.point))
        os.replace(kept, self._image)
        self.mount()

    def fill(self) -> None:
        """Leave no room, for nobody."""
        with open(self.point / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def make_room(self) -> None:
        """Take away what `fill` has put there."""
        os.unlink(self.point / "filler")

    def break_down(self) -> None:
        """Let the kernel see an error of the disk: it takes no writes from now on, and does not say so (`ro`)."""
        device = os.path.basename(run_tool("findmnt", "-n", "-o", "SOURCE", str(self.point)).strip())
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")

    def set_read_only(self, read_only: bool = True) -> None:
        """Remount it."""
        _run("mount", "-o", "remount,ro" if read_only else "remount,rw", str(self.point))

    def close(self) -> None:
        """Unmount it, whatever its state."""
        subprocess.run(["umount", "--lazy", str(self.point)], check=False, capture_output=True, timeout=20)
        self._image.unlink(missing_ok=True)


@contextlib.contextmanager
def flash(point: Path, megabytes: int = 16) -> Iterator[Flash]:
    """Make one, mount it at `point`, and take it away. Skips the test where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a file system")
    require("mkfs.ext4", "mount", "umount", "findmnt")
    try:
        made = Flash(point, megabytes)
    except OSError as error:
        pytest.skip(f"cannot mount a file system here: {error}")
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def ram(point: Path, kilobytes: int) -> Iterator[Path]:
    """A RAM disk of a size, mounted at `point`, as /tmp is on a router."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a file system")
    point.mkdir(exist_ok=True)
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=755", "guardian-test", str(point))
    except OSError as error:
        pytest.skip(f"cannot mount a file system here: {error}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=False, capture_output=True, timeout=20)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
