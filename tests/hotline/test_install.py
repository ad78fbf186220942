"""From what is offered to what is in force: chains of deltas, new salts, damaged files, and what is left behind."""

from __future__ import annotations

import hashlib
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.feed import Delta, ListedFile
from guardian.hotline.feed_state import CURRENT_FILE, DAMAGED, DISK, STATE_FILE, load_state, read_current
from guardian.hotline.install import clean_folder, find_chain, growth_limit
from tests.hotline.feed_maker import DAY, LIST, Scene, listed


def delta(start: int, end: int, size: int = 100) -> Delta:
    return Delta(start, end, ListedFile(f"lists/list-a/{start}-{end}.delta", size, "0" * 64))


@pytest.mark.parametrize(
    ("deltas", "start", "end", "found"),
    [
        ([], 1, 2, []),
        ([(1, 2)], 1, 2, [(1, 2)]),
        ([(2, 3), (1, 2)], 1, 3, [(1, 2), (2, 3)]),
        ([(1, 2), (2, 3), (1, 3)], 1, 3, [(1, 3)]),
        ([(1, 2, 10), (2, 3, 10), (1, 3, 100)], 1, 3, [(1, 2), (2, 3)]),
        ([(1, 2), (3, 4)], 1, 4, []),
        ([(1, 9)], 1, 4, []),
        ([(1, 1), (2, 1), (1, 2)], 1, 2, [(1, 2)]),
        ([(1, 2)], 5, 2, []),
    ],
)
def test_the_shortest_way(deltas: list[tuple[int, ...]], start: int, end: int, found: list[tuple[int, int]]) -> None:
    chain = find_chain([delta(*item) for item in deltas], start, end)
    assert [(item.start, item.end) for item in chain] == found


@given(
    deltas=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 999)), max_size=30),
    start=st.integers(0, 5),
    steps=st.integers(1, 5),
)
def test_a_way_is_a_way_and_none_is_shorter(deltas: list[tuple[int, int, int]], start: int, steps: int) -> None:
    made, end = [delta(*item) for item in deltas], start + steps
    chain = find_chain(made, start, end)
    best = {start: 0}  # Bellman and Ford, another way to the same number
    for _ in range(10):
        for item in made:
            if item.start < item.end and item.start in best:
                best[item.end] = min(best.get(item.end, 1 << 30), best[item.start] + item.file.size)
    assert bool(chain) == (end in best)
    if chain:
        assert chain[0].start == start and chain[-1].end == end
        assert all(before.end == after.start for before, after in pairwise(chain))
        assert sum(item.file.size for item in chain) == best[end]


@pytest.mark.parametrize(("entries", "limit"), [(0, 500), (5000, 500), (5010, 501), (100_000, 10_000)])
def test_the_growth_of_a_day(entries: int, limit: int) -> None:
    assert growth_limit(entries) == limit


def test_deltas_are_taken_where_they_are_smaller(scene: Scene) -> None:
    for end in (25, 30, 35):
        scene.maker.next(listed(range(end)))
    scene.server.seen.clear()
    assert not scene.update().troubles() and scene.holds("listed-34.example")
    taken = [path.rpartition("/")[2].split(".", 1)[1] for path in scene.server.paths if "/targets/lists/" in path]
    assert taken == ["index.json", "1-2.delta", "2-3.delta", "3-4.delta"]
    scene.maker.deltas[LIST].clear()
    scene.maker.states[LIST].clear()
    scene.maker.next(listed(range(40)))
    scene.server.seen.clear()
    assert not scene.update().troubles() and scene.holds("listed-39.example")
    assert any(path.endswith(".5.tags") for path in scene.server.paths)


def test_a_box_that_was_off_longer_than_deltas_are_kept(scene: Scene) -> None:
    for end in range(21, 55):
        scene.maker.publish_list(listed(range(end)))
    scene.maker.publish_online()
    scene.server.seen.clear()
    assert not scene.update().troubles() and scene.holds("listed-53.example")
    assert any(path.endswith(".35.tags") for path in scene.server.paths)


def test_a_new_base_of_the_same_salt_leaves_the_lists(scene: Scene) -> None:
    before = scene.in_force()
    scene.maker.new_base(good=["good.example"])
    scene.maker.publish_feed()
    scene.maker.publish_online()
    state = scene.update()
    after = scene.in_force()
    assert not state.troubles() and state.reload_due
    assert [name for name in after if name in before] == [name for name in before if name.endswith(".tags")]
    scene.recover()


def test_with_a_new_salt_all_lists_change_or_none(tmp_path: Path) -> None:
    scene = Scene(tmp_path, ("list-a", "list-b"))
    try:
        scene.maker.publish_all({"list-a": listed(range(20)), "list-b": listed(range(20))})
        assert not scene.update().troubles()
        before = scene.in_force()
        scene.maker.new_base("2026q4")
        scene.maker.publish_list(listed(range(22)), "list-a")
        scene.maker.publish_feed()
        scene.maker.publish_online()
        state = scene.update()
        assert scene.in_force() == before and state.epoch == "2026q3"
        told = {name: (code, text) for name, code, text in state.troubles()}
        assert told["list-b"][0] == DAMAGED and "epoch" in told["list-b"][1]
        assert "list-b can't come along" in told["list-a"][1]
        scene.maker.next(listed(range(23)), "list-b")
        state = scene.update()
        assert not state.troubles() and state.epoch == "2026q4"
        assert scene.holds("listed-21.example", "list-a") and scene.holds("listed-22.example", "list-b")
    finally:
        scene.server.close()


def test_a_list_that_was_never_here_does_not_hold_up_a_new_salt(tmp_path: Path) -> None:
    scene = Scene(tmp_path, ("list-a", "list-b"))
    try:
        scene.maker.publish_list(listed(range(20)), "list-a")
        scene.maker.publish_role("list-b")
        scene.maker.publish_feed()
        scene.maker.publish_online()
        state = scene.update()
        assert [name for name, _, _ in state.troubles()] == ["list-b"] and scene.holds("listed-1.example", "list-a")
        scene.maker.new_base("2026q4")
        scene.maker.publish_list(listed(range(22)), "list-a")
        scene.maker.publish_feed()
        scene.maker.publish_online()
        state = scene.update()
        assert [name for name, _, _ in state.troubles()] == ["list-b"] and scene.holds("listed-21.example", "list-a")
    finally:
        scene.server.close()


def test_a_list_that_the_feed_no_longer_has_goes(tmp_path: Path) -> None:
    scene = Scene(tmp_path, ("list-a", "list-b"))
    try:
        scene.maker.publish_all({"list-a": listed(range(20)), "list-b": listed(range(20))})
        assert not scene.update().troubles()
        scene.maker.lists = ["list-a"]
        scene.maker.publish_feed()
        scene.maker.publish_online()
        state = scene.update()
        assert not state.troubles() and set(state.lists) == {"list-a"}
        assert scene.holds("listed-1.example", "list-a") and not scene.holds("listed-1.example", "list-b")
        scene.update()
        assert not [name for name in os.listdir(scene.box.folder) if name.startswith("list-b")]
    finally:
        scene.server.close()


@pytest.mark.parametrize("what", ["tags", "base", "current", "tags gone", "everything"])
def test_a_damaged_file_in_force_is_fetched_anew(scene: Scene, what: str) -> None:
    current = read_current(scene.box.folder)
    assert current
    good = scene.in_force()
    files = {"tags": [current.lists[LIST]], "base": [current.base], "current": [scene.box.folder / CURRENT_FILE]}
    files["tags gone"] = files["tags"]
    files["everything"] = [*files["tags"], *files["base"]]
    for file in files[what]:
        if what == "tags gone":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-9] + b"x" * 8)
    state = scene.update()
    assert not state.troubles(), state.troubles()
    assert scene.in_force() == good and state.lists[LIST].serial == 1 and state.reload_due
    scene.recover()


def test_a_flipped_bit_in_a_list_is_noticed(scene: Scene) -> None:
    """The file still opens; only its digest tells."""
    current = read_current(scene.box.folder)
    assert current
    file = current.lists[LIST]
    good = file.read_bytes()
    bad = bytearray(good)
    bad[-2] ^= 1
    file.write_bytes(bytes(bad))
    assert not scene.update().troubles() and file.read_bytes() == good


def test_what_is_known_of_a_list_outlives_the_state(scene: Scene) -> None:
    """The power went between current.json and state.json, or somebody removed the state: older is still older."""
    scene.maker.next(listed(range(20)), serial=7)
    assert not scene.update().troubles()
    (scene.box.folder / STATE_FILE).unlink()
    scene.maker.next(listed(range(19)), serial=6)
    state = scene.update()
    assert [code for _, code, _ in state.troubles()] == ["rollback"] and state.lists[LIST].serial == 7
    scene.maker.serials[LIST] = 7
    scene.recover()


def test_growth_is_counted_from_the_last_change(scene: Scene) -> None:
    scene.maker.now += 1.9 * DAY
    scene.maker.next([*listed(range(20)), *listed(range(900), "more")])
    assert not scene.update().troubles(), "two days' growth"


def test_a_disk_that_does_not_take_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full, or gives back something else than was written: what is in force stays."""
    real = os.replace
    scene.maker.next(listed(range(30)))
    before = scene.in_force()

    def full(source: str, target: str) -> None:
        if str(target).endswith(".tags"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    state = scene.update()
    assert state.code == DISK and "No space left" in state.error and scene.in_force() == before
    monkeypatch.setattr(os, "replace", real)
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: digest(file, "md5"))
    state = scene.update()
    assert state.code == DISK and "does not come back" in state.error and scene.in_force() == before
    monkeypatch.setattr(hashlib, "file_digest", digest)
    assert load_state(scene.box.folder) == state
    scene.recover()


def test_what_is_left_behind_is_removed(scene: Scene) -> None:
    folder = scene.box.folder
    keep = {path.name for path in folder.iterdir()}
    for name in ("list-a-9.deadbeef.tags", "2020q1-1.base", ".list-a-9.tags.new", ".current.json.new"):
        (folder / name).write_bytes(b"x")
    (folder / "note.txt").write_bytes(b"mine")
    clean_folder(folder)
    assert {path.name for path in folder.iterdir()} == keep | {"note.txt"}
    (folder / CURRENT_FILE).write_bytes(b"{")
    clean_folder(folder)
    assert {path.name for path in folder.iterdir()} == keep | {"note.txt"}, "nobody knows what is in force"
