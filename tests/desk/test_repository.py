"""The folder of signed metadata: damage is told, old files go after a week, one command at a time."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from guardian.desk.repository import GRACE, Repository, write_file
from guardian.errors import DeskError
from tests.desk.feed_desk import LIST, FeedDesk, found


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> FeedDesk:
    return found(tmp_path_factory.mktemp("founded") / "desk", time.time())


@pytest.fixture
def desk(founded: FeedDesk, tmp_path: Path) -> FeedDesk:
    return founded.copy(tmp_path / "desk")


def test_only_one_command_publishes(desk: FeedDesk) -> None:
    second = Repository(desk.folder)
    with desk.repository.locked(), pytest.raises(DeskError, match="another command is publishing"), second.locked():
        pass
    with Repository(desk.folder).locked():
        pass


def test_secrets_are_for_the_owner_and_public_files_for_all(desk: FeedDesk) -> None:
    modes = {
        str(path.relative_to(desk.folder)): path.stat().st_mode & 0o777
        for path in desk.folder.rglob("*")
        if path.is_file()
    }
    assert {mode for path, mode in modes.items() if path.startswith("public/")} == {0o644}
    assert {mode for path, mode in modes.items() if not path.startswith("public/")} == {0o600}


def test_old_files_go_after_a_week_and_roots_never(desk: FeedDesk) -> None:
    public = desk.repository.public("default")
    desk.list_names(["listed-1.example"])
    desk.publish()
    old = {path for path in public.rglob("*") if path.is_file()}
    desk.list_names(["listed-2.example"])
    desk.publish()
    assert old <= set(public.rglob("*"))
    desk.now += GRACE - 60
    assert desk.release().swept == 0
    assert old <= set(public.rglob("*"))
    desk.now += 120
    assert desk.release().swept > 0
    left = {path.name for path in public.rglob("*")}
    assert "1.root.json" in left
    assert f"1.{LIST}.json" not in left
    assert f"3.{LIST}.json" in left
    state = desk.repository.state("default")
    assert state
    for path in state.delegated[LIST].signed.targets:  # all that is signed is still there
        desk.repository.read_target("default", state.delegated[LIST], path)


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b'{"signed": {}, "signatures": []}'])
def test_damaged_metadata_are_told_with_their_file(desk: FeedDesk, damage: bytes) -> None:
    path = desk.folder / "feed" / "default" / "targets.json"
    path.write_bytes(damage)
    with pytest.raises(DeskError, match=r"targets\.json: damaged .*backup"):
        desk.repository.state("default")


def test_metadata_of_another_role_are_told(desk: FeedDesk) -> None:
    folder = desk.folder / "feed" / "default"
    (folder / "targets.json").write_bytes((folder / "snapshot.json").read_bytes())
    with pytest.raises(DeskError, match="holds snapshot, not targets"):
        desk.repository.state("default")


def test_what_the_web_server_changed_is_not_built_upon(desk: FeedDesk) -> None:
    public = desk.repository.public("default") / "targets"
    for path in public.rglob("*.tags"):
        path.write_bytes(path.read_bytes() + b"\0")
    desk.list_names(["listed-1.example"])
    with pytest.raises(DeskError, match=r"damaged .*mirror"):
        desk.prepare()
    for path in public.rglob("*.tags"):
        path.unlink()
    with pytest.raises(DeskError, match="No such file"):
        desk.prepare()


def test_a_release_that_was_not_ready_is_forgotten(desk: FeedDesk) -> None:
    write_file(desk.folder / "release" / "0", b"half")
    with desk.repository.locked():
        assert not (desk.folder / "release").exists()


def test_a_release_that_is_ready_is_finished_by_any_command(desk: FeedDesk) -> None:
    write_file(desk.folder / "release" / "0", b"one")
    write_file(desk.folder / "release" / "ready.json", json.dumps(["public/default/targets/x"]).encode())
    with desk.repository.locked():
        assert (desk.repository.public("default") / "targets" / "x").read_bytes() == b"one"


def test_a_file_is_the_old_one_until_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "file"
    write_file(place, b"old")
    seen = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda *places: (seen.append(place.read_bytes()), real(*places))[1])
    write_file(place, b"new", 0o644)
    assert seen == [b"old"]
    assert (place.read_bytes(), place.stat().st_mode & 0o777) == (b"new", 0o644)
    assert list(tmp_path.iterdir()) == [place]


def test_before_the_first_release_there_is_nothing(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    assert (repository.root(), repository.roots(), repository.builds(), repository.state("default")) == (
        None,
        [],
        [],
        None,
    )
