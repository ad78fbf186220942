"""What a program does to a folder, call by call (strace), and what a disk may hold of it when the power goes.

One traced run is enough for all cuts: `record` keeps every call that changes the folder, and `Run.cut` makes the folder
anew as a disk may leave it after so many of them. The rules are POSIX's, which promise the least: what is not synced
may be lost, and a name is kept only when its folder was synced.

mode `killed`: the process ends, the kernel writes everything; a write at work is done by half.
mode `torn`: names are kept, and contents as they were at their last sync: none, where there was none.
mode `lost`: contents and names as they were at their last sync.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.gateway.product import environment

MODES = ("killed", "torn", "lost")
CALLS = (
    "open,openat,creat,close,dup,write,pwrite64,writev,read,lseek,ftruncate,rename,renameat,renameat2,unlink,unlinkat,"
    "link,linkat,mkdir,mkdirat,rmdir,fsync,fdatasync,sendfile,copy_file_range"
)
_LINE = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\((?P<words>.*)\) += (?P<result>-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"\b(\d+)<((?:\\x[0-9a-f]{2})+)>")


class Step(NamedTuple):
    """One call that changed the folder, or synced something of it, or told somebody that all is done."""

    call: str
    path: str = ""
    data: bytes = b""
    offset: int = 0
    other: str = ""  # the second path of a rename or link


@dataclass
class _Inode:
    content: bytearray
    synced: bytes | None  # None: never


@dataclass
class _Disk:
    """Names and contents now, and as the disk promises to have them."""

    names: dict[str, _Inode | None]  # None is a folder
    kept: dict[str, _Inode | None] = field(default_factory=dict)

    def apply(self, step: Step) -> None:
        names, path = self.names, step.path
        if step.call == "create":
            if path not in names:
                names[path] = _Inode(bytearray(), None)
        elif step.call == "mkdir":
            names[path] = None
        elif step.call == "write":
            content = self._file(path).content
            content.extend(bytes(max(0, step.offset + len(step.data) - len(content))))
            content[step.offset : step.offset + len(step.data)] = step.data
        elif step.call == "truncate":
            content = self._file(path).content
            del content[step.offset :]
            content.extend(bytes(step.offset - len(content)))
        elif step.call == "rename":
            names[step.other] = names.pop(path)
        elif step.call == "link":
            names[step.other] = names[path]
        elif step.call == "unlink":
            del names[path]
        elif step.call == "sync":
            self._sync(path)

    def _file(self, path: str) -> _Inode:
        found = self.names[path]
        assert found is not None, f"{path} is a folder"
        return found

    def _sync(self, path: str) -> None:
        if self.names.get(path) is not None:
            inode = self._file(path)
            inode.synced = bytes(inode.content)
            return
        for name in [name for name in self.kept if os.path.dirname(name) == path]:
            del self.kept[name]
        self.kept |= {name: inode for name, inode in self.names.items() if os.path.dirname(name) == path}

    def write(self, folder: Path, mode: str) -> None:
        """Make the folder as a disk may hold it."""
        names = self.kept if mode == "lost" else self.names
        for name in sorted(names):
            inode, place = names[name], folder / name if name else folder
            if not place.parent.is_dir() and name:
                continue  # its folder is lost, and it with it
            if inode is None:
                place.mkdir(exist_ok=True)
            else:
                place.write_bytes(inode.content if mode == "killed" else inode.synced or b"")


class Run(NamedTuple):
    """A traced run: the folder before it, and the steps. `told` is how many of them were done when it said so."""

    before: dict[str, bytes | None]
    steps: tuple[Step, ...]
    told: int
    output: str

    def cut(self, count: int, mode: str, folder: Path) -> None:
        """Make `folder` as the disk may hold it when the power goes after `count` steps; it must not be there yet."""
        inodes = {
            name: None if content is None else _Inode(bytearray(content), content)
            for name, content in self.before.items()
        }
        disk = _Disk(dict(inodes), dict(inodes))
        for step in self.steps[:count]:
            disk.apply(step)
        if mode == "killed" and count < len(self.steps) and self.steps[count].call == "write":
            step = self.steps[count]
            disk.apply(step._replace(data=step.data[: len(step.data) // 2]))
        folder.mkdir(parents=True)
        disk.write(folder, mode)


def record(folder: Path, *command: str, log: Path, stdin: str = "") -> Run:
    """Run a command to its end, and return what it did below `folder`. Its exit code must be 0."""
    folder = folder.resolve()
    before = {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}
    # Bytes as hexadecimal: what is written may hold anything.
    words = ["strace", "-f", "-y", "-xx", "-s", "100000000", "-qq", "-e", f"trace={CALLS}", "-o", str(log), *command]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=120, check=False, env=environment(), input=stdin
    )
    assert done.returncode == 0, done.stdout + done.stderr
    steps, told = _Reader(str(folder), dict.fromkeys(before)).read(log)
    return Run({"": None} | before, tuple(steps), told, done.stdout)


class _Reader:
    """Reads the calls of a log, and keeps where each descriptor's next byte goes."""

    def __init__(self, folder: str, known: dict[str, None]) -> None:
        self._folder = folder
        self._known = known
        self._offsets: dict[tuple[str, str], int] = {}

    def read(self, log: Path) -> tuple[list[Step], int]:
        steps: list[Step] = []
        told = 0
        for line in _join_lines(log):
            found = _LINE.match(line)
            if found is None or int(found["result"]) < 0:
                continue
            steps += self._read_call(found["pid"], found["call"], found["words"], int(found["result"]))
            if found["call"] == "write" and found["words"].startswith("1<"):
                told = len(steps)
        return steps, told or len(steps)

    def _read_call(self, pid: str, call: str, words: str, result: int) -> Iterator[Step]:
        paths = [self._ours(_decode(text)) for text in _TEXT.findall(words)]
        first = _DESCRIPTOR.match(words)
        number, held = (first[1], self._ours(_decode(first[2]))) if first else ("", None)
        key = (pid, number)
        match call:
            case "open" | "openat" | "creat":
                yield from self._open(pid, words, result, paths[0])
            case "lseek":
                self._offsets[key] = result
            case "read":
                self._offsets[key] = self._offsets.get(key, 0) + result
            case "write" | "writev" if held is not None:
                at = self._offsets.get(key, 0)
                self._offsets[key] = at + result
                data = b"".join(_unpack(text) for text in _TEXT.findall(words))
                assert len(data) >= result, "strace has cut what was written"
                yield Step("write", held, data[:result], at)
            case "pwrite64" if held is not None:
                yield Step("write", held, _unpack(_TEXT.findall(words)[0])[:result], int(words.rsplit(", ", 1)[1]))
            case "ftruncate" if held is not None:
                yield Step("truncate", held, offset=int(words.rsplit(", ", 1)[1]))
            case "fsync" | "fdatasync" if held is not None:
                yield Step("sync", held)
            case "rename" | "renameat" | "renameat2" if paths[1] is not None:
                assert paths[0] is not None, f"{call}: from outside"
                self._known[paths[1]] = self._known.pop(paths[0], None)
                yield Step("rename", paths[0], other=paths[1])
            case "link" | "linkat" if paths[1] is not None:
                assert paths[0] is not None
                self._known[paths[1]] = None
                yield Step("link", paths[0], other=paths[1])
            case "unlink" | "unlinkat" | "rmdir" if paths[0] is not None:
                self._known.pop(paths[0], None)
                yield Step("unlink", paths[0])
            case "mkdir" | "mkdirat" if paths[0] is not None:
                yield Step("mkdir", paths[0])
            case "sendfile" | "copy_file_range":
                raise AssertionError(f"{call} is not understood here: {words[:80]}")

    def _open(self, pid: str, words: str, result: int, path: str | None) -> Iterator[Step]:
        if path is None:
            return
        at = 0
        if "O_CREAT" in words and path not in self._known:
            self._known[path] = None
            yield Step("create", path)
        elif "O_TRUNC" in words:
            yield Step("truncate", path)
        assert "O_APPEND" not in words, "appending is not understood here"
        self._offsets[pid, str(result)] = at

    def _ours(self, path: str) -> str | None:
        """A path below the folder, relative to it; None for another's. "" is the folder itself."""
        path = os.path.normpath(path)
        if path == self._folder:
            return ""
        return path.removeprefix(f"{self._folder}/") if path.startswith(f"{self._folder}/") else None


def _join_lines(log: Path) -> Iterator[str]:
    """The lines of a log; calls that another thread interrupted are put together again."""
    waiting: dict[str, str] = {}
    with open(log, encoding="ascii") as file:
        for line in file:
            pid = line.split(maxsplit=1)[0]
            if line.endswith("<unfinished ...>\n"):
                waiting[pid] = line.removesuffix("<unfinished ...>\n").rstrip()
            elif "resumed>" in line[:60]:
                yield waiting.pop(pid) + line.partition("resumed>")[2]
            else:
                yield line


def _unpack(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _decode(text: str) -> str:
    return os.fsdecode(_unpack(text)).removesuffix(" (deleted)")
