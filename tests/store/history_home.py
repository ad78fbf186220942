"""What the tests of the history share: a clock that stands, batches of names, and all bytes that a folder holds."""

from __future__ import annotations

import random
from pathlib import Path

from guardian.names import parse_name
from guardian.policy.model import Visibility
from guardian.store.history import HistoryWriter
from guardian.store.history_record import Batch, Recorder

HOUR = 498_000  # 2026-10-24
NOW = HOUR * 3600.0
NAMES = Visibility.NAMES


class Clock:
    """A clock that the test moves."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def block(recorder: Recorder, device: str, name: str, visibility: Visibility = NAMES, hour: int = HOUR) -> None:
    recorder.add(hour, device, parse_name(name), "block", "category", "category:gambling", 1, hour * 3600.0, visibility)


def one_batch(*names: str, device: str = "ana", hour: int = HOUR) -> Batch | None:
    recorder = Recorder()
    for name in names:
        block(recorder, device, name, hour=hour)
    return recorder.take()


def write(path: str, *batches: Batch | None, **options: object) -> None:
    writer = HistoryWriter(path, clock=Clock(), **options)  # type: ignore[arg-type]
    writer.start()
    for batch in batches:
        assert writer.submit(batch)
        writer.drain()
    status = writer.status()
    writer.close()
    assert status.error == ""


def all_bytes(directory: str | Path) -> bytes:
    """Everything that stands in the directory: databases, logs, snapshots."""
    return b"".join(file.read_bytes() for file in Path(directory).rglob("*") if file.is_file())


def broken_pages(file: Path) -> None:
    """Overwrite all but the first page with noise."""
    content = bytearray(file.read_bytes())
    content[4096:] = random.Random(1).randbytes(len(content) - 4096)
    file.write_bytes(content)
