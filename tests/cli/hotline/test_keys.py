"""`guardian hotline root`, `rotate`, `revoke`, `add-person`, as people type them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from guardian.desk.repository import Repository
from tests.cli.hotline.typed import PASSWORD, TypedDesk, make_desk


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_desk(tmp_path_factory.mktemp("founded"))


@pytest.fixture
def desk(founded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> TypedDesk:
    shutil.copytree(founded, tmp_path / "all")
    return TypedDesk(tmp_path / "all", capsys)


def root_version(desk: TypedDesk) -> int:
    root = Repository(desk.desk).root()
    assert root
    return int(root.signed.version)


def password_file(desk: TypedDesk, name: str) -> str:
    path = desk.folder / f"{name}.txt"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)
    return str(path)


def test_the_root_is_renewed_on_two_days(desk: TypedDesk) -> None:
    assert "root: 2 of ana, ion, maria" in desk.run("root", "show")
    assert "nothing waits" in desk.fail("root", "sign", by="ana")
    said = desk.run("root", "renew", by="ana")
    assert "holds for another year" in said
    assert "by the root before: 1 of 2 have signed; 1 more of ion, maria" in said
    assert "1 of 2 have signed" in desk.run("root", "show")
    assert "Released: root 2" in desk.run("root", "sign", by="maria")
    assert root_version(desk) == 2
    assert "who are you" in desk.fail("root", "sign")


def test_a_new_key_for_oneself(desk: TypedDesk) -> None:
    said = desk.run("rotate", "ion", "--new-password-file", password_file(desk, "ion"), by="ion")
    assert "ion (key" in said
    assert "may not sign for the root of trust any more" in said
    desk.run("root", "sign", by="ana")
    said = desk.run("root", "sign", by="maria")
    # targets was signed by ana and ion: the new root believes ana's signature only
    assert "publish --renew --as NAME" in said
    assert root_version(desk) == 1
    desk.run("publish", by="ana")
    assert "root 2" in desk.run("sign", by="ion")
    assert root_version(desk) == 2


@pytest.mark.parametrize("role", ["snapshot", "timestamp"])
def test_a_new_key_for_the_machine(desk: TypedDesk, role: str) -> None:
    assert "the machine (key" in desk.run("rotate", role, by="ana")
    desk.run("refresh")
    desk.run("root", "sign", by="ana")
    assert "Released: root 2" in desk.run("root", "sign", by="ion")
    desk.run("refresh")


def test_somebody_comes_and_somebody_goes(desk: TypedDesk) -> None:
    file = password_file(desk, "dan")
    said = desk.run("add-person", "dan", "--roles", "list,root", "--new-password-file", file, by="ana")
    assert "dan" in said
    if "waits for a second person" in said:
        desk.run("approve", "1", by="ion")
    desk.run("root", "sign", by="ana")
    desk.run("root", "sign", by="ion")
    desk.run("publish", by="ana")
    desk.run("sign", by="ion")
    assert "targets: 2 of ana, dan, ion" in desk.run("root", "show")
    said = desk.run("revoke", "ion", "--why", "left", by="ana")
    assert "ion can't approve or sign" in said
    assert "does not work at this desk any more" in desk.fail("root", "sign", by="ion")
    desk.run("root", "sign", by="ana")
    said = desk.run("root", "sign", by="dan")
    desk.run("publish", by="ana")
    said += desk.run("sign", by="dan")
    assert root_version(desk) == 3
    assert "targets: 2 of ana, dan" in desk.run("root", "show")


def test_nobody_is_revoked_who_is_needed(desk: TypedDesk) -> None:
    said = desk.fail("revoke", "ion", by="ana")
    assert "1 people can't give 2 signatures; add somebody first" in said
    desk.run("root", "show")
    assert "nobody at this desk" in desk.fail("revoke", "nobody", by="ana")


def test_a_lost_key_is_proposed_anew(desk: TypedDesk) -> None:
    desk.add("listed-1.example")  # from now on letting somebody in takes two others
    said = desk.run("rotate", "ion", "--new-password-file", password_file(desk, "ion"), by="ana")
    assert "waits for a second person" in said
    desk.run("approve", "2", by="maria")
    desk.run("root", "sign", by="ana")
    desk.run("root", "sign", by="maria")
    desk.run("publish", by="ana")
    assert "root 2" in desk.run("sign", by="ion")
