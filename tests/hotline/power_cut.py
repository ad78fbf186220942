"""Runs updates of a feed that end at a chosen write, rename or sync, and forgets what the disk was never asked to keep.

Started once (`python -m tests.hotline.power_cut`), it forks for each order that it reads: a line of JSON with `folder`,
`url`, `root`, `now`, `step`, `mode`. It answers with how many steps there were, or -1 where the power went.

mode `killed`: the process ends, the disk keeps everything; a write in work is done by half.
mode `torn`: files that were not synced are cut in half, though they may have got their names already.
mode `lost`: that, and renames, links and removals whose folder was not synced are undone.
"""

from __future__ import annotations

import _io
import builtins
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from guardian.config.values import HotlineConfig
from guardian.hotline.trust import FeedClient
from tests.hotline.feed_maker import PATIENCE

CUT = 9
real_open, real_rename, real_unlink = builtins.open, os.rename, os.unlink


class Disk:
    """Counts what is done to files below `folder`, and ends the process at step number `last`."""

    def __init__(self, folder: str, last: int, mode: str) -> None:
        self.folder = os.path.realpath(folder)
        self.last = last
        self.mode = mode
        self.steps = 0
        self.loose: dict[int, str] = {}  # inode -> a path: written and not synced
        self.undo: list[tuple[str, Callable[[], None]]] = []  # folder that is not synced, and the way back

    def is_ours(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and f"{os.path.realpath(os.path.dirname(path))}/".startswith(
            f"{self.folder}/"
        )

    def step(self, half: Callable[[], None] | None = None) -> None:
        self.steps += 1
        if self.steps > self.last:
            if half:
                half()
            self.cut()

    def cut(self) -> None:
        if self.mode in ("torn", "lost"):
            for inode, path in self.loose.items():
                for place in (path, *self._names(inode)):
                    if os.path.isfile(place) and os.stat(place).st_ino == inode:
                        os.truncate(place, os.path.getsize(place) // 2)
        if self.mode == "lost":
            for _, way_back in reversed(self.undo):
                way_back()
        os._exit(CUT)

    def _names(self, inode: int) -> list[str]:
        paths = [os.path.join(at, name) for at, _, names in os.walk(self.folder) for name in names]
        return [path for path in paths if os.lstat(path).st_ino == inode]

    def patch(self) -> None:
        """Have this process work on this disk from now on."""
        for name in ("replace", "rename"):
            setattr(os, name, self._renaming(getattr(os, name)))
        for name in ("unlink", "remove"):
            setattr(os, name, self._removing(getattr(os, name)))
        os.symlink = self._linking(os.symlink)  # type: ignore[assignment]
        os.fsync = self._syncing(os.fsync)  # type: ignore[assignment]
        for module in (builtins, io, _io):
            module.open = self._open  # type: ignore[attr-defined]

    def _renaming(self, real: Callable[..., None]) -> Callable[..., None]:
        def rename(source: Any, target: Any, **more: Any) -> None:
            if self.is_ours(target):
                self.step()
                source_text, target_text = os.fspath(source), os.fspath(target)
                before = self._keep(target_text)

                def way_back() -> None:
                    real(target_text, source_text)
                    if before:
                        real(before, target_text)

                self.undo.append((os.path.realpath(os.path.dirname(target_text)), way_back))
            real(source, target, **more)

        return rename

    def _keep(self, path: str) -> str:
        """Keep what a rename or removal takes away; a copy that belongs to nobody."""
        if not os.path.lexists(path):
            return ""
        kept = f"{self.folder}.kept-{os.getpid()}-{self.steps}"  # beside the folder: a rename must reach it
        shutil.copy2(path, kept, follow_symlinks=False)
        return kept

    def _removing(self, real: Callable[..., None]) -> Callable[..., None]:
        def remove(path: Any, **more: Any) -> None:
            if self.is_ours(path) and os.path.lexists(path):
                self.step()
                text = os.fspath(path)
                before = self._keep(text)
                self.undo.append((os.path.realpath(os.path.dirname(text)), lambda: real_rename(before, text)))
            real(path, **more)

        return remove

    def _linking(self, real: Callable[..., None]) -> Callable[..., None]:
        def symlink(source: Any, target: Any, **more: Any) -> None:
            if self.is_ours(target):
                self.step()
                text = os.fspath(target)
                self.undo.append((os.path.realpath(os.path.dirname(text)), lambda: real_unlink(text)))
            real(source, target, **more)

        return symlink

    def _syncing(self, real: Callable[..., None]) -> Callable[..., None]:
        def fsync(descriptor: int) -> None:
            self.step()
            path = os.path.realpath(f"/proc/self/fd/{descriptor}")
            real(descriptor)
            self.loose.pop(os.fstat(descriptor).st_ino, None)
            self.undo = [item for item in self.undo if item[0] != path]

        return fsync

    def _open(self, file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        if not self.is_ours(file) or not set(mode) & set("wax+"):
            return real_open(file, mode, *args, **more)
        self.step()
        raw = _CountedFile(file, mode.replace("b", "").replace("t", ""), opener=more.get("opener"))
        raw.disk = self
        self.loose[os.fstat(raw.fileno()).st_ino] = os.path.realpath(f"/proc/self/fd/{raw.fileno()}")
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding=more.get("encoding") or "utf-8")


class _CountedFile(io.FileIO):
    disk: Disk

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.disk.step(lambda: os.write(self.fileno(), view[: len(view) // 2]) and None)
        return super().write(data)


def run_order(order: dict[str, Any]) -> int:
    """Run one update in a process of its own; return its steps, or -1 where it was cut."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        disk = Disk(order["folder"], order["step"], order["mode"])
        disk.patch()
        config = HotlineConfig(url=order["url"], root=order["root"])
        state = FeedClient(config, order["folder"], limits=replace(PATIENCE, total=20.0)).update(order["now"])
        os.write(writing, f"{disk.steps} {state.troubles()}".encode())
        os._exit(0)
    os.close(writing)
    with real_open(reading, "rb") as told:
        answer = told.read().decode()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == CUT:
        return -1
    steps, _, troubles = answer.partition(" ")
    if code or troubles != "()":
        raise SystemExit(f"an update ended with {code}: {answer}")
    return int(steps)


def main() -> None:
    for line in sys.stdin:
        print(run_order(json.loads(line)), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
