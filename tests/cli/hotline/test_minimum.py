"""`guardian hotline minimum`: two people ask routers for a version, everybody who signs sees it, routers show it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from guardian.cli.hotline.minimum import run
from guardian.config.values import HotlineConfig
from guardian.desk.repository import Repository
from guardian.desk.serving import make_server
from guardian.hotline.feed_state import FeedState
from guardian.hotline.trust import FeedClient
from tests.cli.hotline.typed import TypedDesk, make_desk

WHY = ("--why", "older ones miss pages")


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_desk(tmp_path_factory.mktemp("founded"))


@pytest.fixture
def desk(founded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> TypedDesk:
    shutil.copytree(founded, tmp_path / "all")
    return TypedDesk(tmp_path / "all", capsys)


def look(desk: TypedDesk, folder: Path) -> FeedState:
    """Let a router look at the desk's public folder."""
    import threading

    folder.mkdir(exist_ok=True)
    root = folder / "root.json"
    if not root.exists():
        root.write_bytes(Repository(desk.desk).roots()[0])
    server = make_server(desk.desk / "public", "127.0.0.1", 0, quiet=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        config = HotlineConfig(url=f"http://127.0.0.1:{server.server_address[1]}/default/", root=str(root))
        return FeedClient(config, folder / "hotline").update(time.time())
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_from_two_people_to_a_router_and_back(desk: TypedDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(run)
    assert desk.run("minimum") == "routers are asked for Guardian of any version\n"
    said = desk.run("minimum", "0.1", *WHY, by="ana")
    assert "proposal 1: Guardian 0.1; nothing has changed yet" in said and "approve 1 --as NAME" in said
    assert "of any version" in desk.run("minimum")
    assert "minimum" in desk.run("pending", "1") and "a notice, nothing else" in desk.run("pending", "1")
    assert "nothing has changed since the last publication" in desk.fail("publish", by="ana")
    assert "a second person must look at it" in desk.fail("approve", "1", by="ana")
    assert "publish' brings it to the routers" in desk.run("approve", "1", by="ion")
    assert desk.run("minimum") == "routers are asked for Guardian 0.1\n"
    for said in (desk.run("publish", by="ana"), desk.run("sign", by="ion")):  # who signs sees what is signed
        assert "notice: routers are asked for Guardian 0.1 (any version before)" in said
    assert "Released" in said
    state = look(desk, tmp_path / "box")
    assert not state.troubles() and (state.minimum_version, state.needs_update) == ("0.1", False)
    monkeypatch.setattr("guardian.hotline.feed_state.__version__", "0.0.9")
    assert state.needs_update
    desk.run("minimum", "any", *WHY, by="ion")
    desk.run("approve", "2", by="ana")
    assert "asked for Guardian of any version (0.1 before)" in desk.run("publish", by="ion")
    desk.run("sign", by="ana")
    assert look(desk, tmp_path / "box").minimum_version == ""
    desk.run("journal", "verify")


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("soon", "'soon' is no version"), ("1.2.3.4.5", "is no version"), ("0.1\x1b[2J", "is no version"),
        ("99.0", "update it before"), ("", "routers are asked for no version already"),
        ("any", "routers are asked for no version already"),
    ],
)  # fmt: skip
def test_what_nobody_may_ask_for(desk: TypedDesk, version: str, words: str) -> None:
    """A slip of the hand does not tell a hundred thousand homes that their box is old."""
    said = desk.fail("minimum", version, *WHY, by="ana")
    assert words in said and "\x1b" not in said
    assert "nothing waits" in desk.run("pending")


def test_who_and_why_must_be_said(desk: TypedDesk) -> None:
    assert "who proposes it, and why?" in desk.fail("minimum", "0.1")
    assert "who proposes it, and why?" in desk.fail("minimum", "0.1", by="ana")


def test_who_agrees_with_large_changes_may_not(desk: TypedDesk) -> None:
    """Maria is root and bulk at a trial desk: it is the people of the lists who sign what routers are told."""
    assert "may not propose this" in desk.fail("minimum", "0.1", *WHY, by="maria")
    desk.run("minimum", "0.1", *WHY, by="ana")
    assert "may not approve this" in desk.fail("approve", "1", by="maria")


def test_nobody_writes_it_past_the_journal(desk: TypedDesk) -> None:
    """Root on the desk's machine can change a table, but `journal verify` finds it."""
    import sqlite3

    desk.run("minimum", "0.1", *WHY, by="ana")
    desk.run("approve", "1", by="ion")
    desk.run("journal", "verify")
    connection = sqlite3.connect(desk.desk / "desk.db")
    with connection:
        connection.execute("UPDATE options SET value = '0.0.7' WHERE name = 'minimum_version'")
    connection.close()
    assert "asked for Guardian 0.0.7, which is not what the journal says" in desk.fail("journal", "verify")
