"""A new instance takes the place of an old one, which leaves; two never believe that they are the one."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from guardian.errors import GuardianError
from guardian.supervisor import Generation


def test_the_first_one_takes_the_place_and_a_second_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "run" / "gateway.generation")
    first = Generation.take(path, "gateway", replace=False)
    assert first.is_mine()
    with pytest.raises(GuardianError, match="another gateway is running already; with --replace"):
        Generation.take(path, "gateway", replace=False)
    assert first.is_mine()  # the refused one has claimed nothing
    first.close()
    Generation.take(path, "gateway", replace=False).close()


def test_with_replace_the_old_one_leaves(tmp_path: Path) -> None:
    path = str(tmp_path / "gateway.generation")
    old = Generation.take(path, "gateway", replace=False)
    watching, left = threading.Event(), threading.Event()

    async def live() -> None:
        leaving = asyncio.Event()
        watch = asyncio.create_task(old.watch(leaving.set))
        await asyncio.sleep(0.05)
        watching.set()  # it has found its own token once: what comes now, a later look has to find
        await leaving.wait()
        await watch
        old.close()
        left.set()

    thread = threading.Thread(target=asyncio.run, args=(live(),), daemon=True)
    thread.start()
    assert watching.wait(10)
    new = Generation.take(path, "gateway", replace=True)
    assert left.is_set()
    assert new.is_mine()
    thread.join()
    new.close()


def test_one_that_does_not_leave_is_named_after_the_time(tmp_path: Path) -> None:
    path = str(tmp_path / "web.generation")
    old = Generation.take(path, "console", replace=False)
    began = time.monotonic()
    with pytest.raises(GuardianError, match="another console does not leave"):
        Generation.take(path, "console", replace=True, patience=0.5)
    assert 0.5 <= time.monotonic() - began < 5
    assert not old.is_mine()
    old.close()


def test_a_cut_or_missing_file_makes_nobody_leave(tmp_path: Path) -> None:
    path = tmp_path / "gateway.generation"
    mine = Generation.take(str(path), "gateway", replace=False)
    for strange in (b"", b"x", bytes(500)):
        path.write_bytes(strange)
        assert mine.is_mine()
    path.unlink()
    assert mine.is_mine()
    path.write_bytes(b"0" * 32)  # somebody else's, in a folder that was made anew
    assert not mine.is_mine()
    mine.close()


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gateway.generation"
    path.mkdir()
    with pytest.raises(GuardianError, match=r"gateway\.generation: Is a directory"):
        Generation.take(str(path), "gateway", replace=True)
    with pytest.raises(GuardianError, match=r"^/dev/null/gateway\.generation: "):
        Generation.take("/dev/null/gateway.generation", "gateway", replace=True)


def hold(path: str, told: "multiprocessing.queues.Queue[str]") -> None:  # noqa: UP037 - only a name for checkers
    Generation.take(path, "gateway", replace=False)
    told.put("held")
    time.sleep(1000)


def test_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "gateway.generation")
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    process = context.Process(target=hold, args=(path, told))
    process.start()
    try:
        assert told.get(timeout=60) == "held"
    finally:
        process.kill()
        process.join()
        told.close()
    Generation.take(path, "gateway", replace=False).close()


def test_many_at_once_leave_one(tmp_path: Path) -> None:
    """Each claims the place of all before it; who is overtaken says so, and one is left that believes it is the one."""
    path = str(tmp_path / "gateway.generation")
    made: list[Generation] = []
    refused: list[str] = []

    def come() -> None:
        try:
            mine = Generation.take(path, "gateway", replace=True, patience=60)
        except GuardianError as error:
            refused.append(str(error))
            return
        made.append(mine)
        while mine.is_mine():
            time.sleep(0.01)
            if len(made) + len(refused) == 8 and mine.is_mine():
                return
        mine.close()

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert len(made) + len(refused) == 8
    holders = [mine for mine in made if mine.is_mine()]
    assert len(holders) == 1
    holders[0].close()
    assert all("in this one's place" in text for text in refused)
    assert os.path.getsize(path) == 32
