"""`guardian hotline publish`, `sign`, `refresh`, `status`, `epoch`, `build`, `hint`, `serve`, as people type them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from guardian.cli import main
from guardian.desk.repository import Repository
from tests.cli.hotline.typed import TypedDesk, make_desk
from tests.gateway.product import free_port


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_desk(tmp_path_factory.mktemp("founded"))


@pytest.fixture
def desk(founded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> TypedDesk:
    shutil.copytree(founded, tmp_path / "all")
    return TypedDesk(tmp_path / "all", capsys)


def test_two_people_publish(desk: TypedDesk) -> None:
    desk.add("listed-1.example")
    said = desk.run("publish", by="ana")
    assert "csam-md: serial 2, 1 entries (0 before); 1 tags come, 0 go" in said
    assert "signed by ana; 1 more of ion: sign --as NAME" in said
    assert "Released" not in said
    assert "1 more of ion" in desk.run("sign", by="ana")
    said = desk.run("sign", by="ion")
    assert "Released: version 2, root 1, builds default." in said
    assert desk.fail("sign", by="ion") == "guardian: nothing waits for a signature; publish --as NAME prepares it\n"
    assert "nothing has changed" in desk.fail("publish", by="ana")
    desk.run("journal", "verify")


def test_names_of_the_list_are_not_shown_while_publishing(desk: TypedDesk) -> None:
    desk.add("listed-1.example")
    said = desk.run("publish", by="ana") + desk.run("sign", by="ion") + desk.run("status")
    assert "listed-1" not in said


def test_the_wrong_password_signs_nothing(desk: TypedDesk) -> None:
    desk.add("listed-1.example")
    wrong = desk.folder / "wrong.txt"
    wrong.write_text("another four words\n")
    wrong.chmod(0o600)
    code = main(["hotline", "--desk", str(desk.desk), "publish", "--as", "ana", "--password-file", str(wrong)])
    assert code == 1
    assert not (desk.desk / "pending" / "publication.json").exists()


def test_status_tells_what_is_due_by_its_exit_code(desk: TypedDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "csam-md serial 1" in desk.run("status")
    found = json.loads(desk.run("status", "--json"))
    assert found["builds"][0]["lists"] == {"csam-md": 1}
    assert not any(end["due"] for end in found["ends"])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3 * 86400)
    said = desk.run("status", code=1)
    assert re.search(r"timestamp .* has ended 24 hours ago +refresh", said)
    desk.run("refresh")
    desk.run("status")


def test_refresh_is_quiet_for_cron_and_loud_when_it_fails(desk: TypedDesk) -> None:
    assert desk.run("refresh", "--quiet") == ""
    (desk.desk / "online" / "password").unlink()
    assert "online/password" in desk.fail("refresh", "--quiet")


def test_a_new_epoch_and_a_build(desk: TypedDesk) -> None:
    desk.add("listed-1.example")
    assert "begins with the next publication" in desk.run("epoch", "new")
    said = desk.run("build", "add", "isp-one", "--canary-suffix", "md")
    names = re.findall(r"[a-z0-9]+\.md", said)
    assert len(names) == 3
    assert "with the next publication" in desk.run("build", "list")
    said = desk.run("publish", by="ana")
    assert "with a new salt" in said
    desk.run("sign", by="ion")
    said = desk.run("sign", by="maria")
    assert "builds default, isp-one" in said
    assert not any(name in said for name in names)
    assert "isp-one" in desk.run("epoch", "show")
    for words, what in (
        (("add", "isp-one", "--canary-suffix", "md"), "already"),
        (("add",), "which"),
        (("add", "isp-two"), "canary"),
        (("add", "isp-two", "--canary", "www.a.example"), "can be registered"),
    ):
        assert what in desk.fail("build", *words)


def test_a_large_change_asks_and_is_agreed_to(desk: TypedDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardian.desk.growth.LEAST", 2)
    desk.add(*(f"listed-{number}.example" for number in range(3)))
    said = desk.run("publish", by="ana") + desk.run("sign", by="ion")
    assert "consent of other people is needed" in said
    assert "bulk-consent --as NAME" in said
    assert "Released" not in said
    assert "needs a reason" in desk.fail("bulk-consent", "--reason", " ", by="maria")
    assert "Released: version 2" in desk.run("bulk-consent", "--reason", "a new source", by="maria")


def test_a_release_stands_without_its_hint(desk: TypedDesk) -> None:
    assert "no broker is set" in desk.fail("hint")
    with open(desk.desk / "desk.yaml", "a", encoding="utf-8") as file:
        file.write("push:\n  broker: mqtt://127.0.0.1:1\n")
    desk.add("listed-1.example")
    desk.run("publish", by="ana")
    said = desk.fail("sign", by="ion")
    assert "the release is in force, but the hint was not sent" in said
    state = Repository(desk.desk).state("default")
    assert state
    assert state.timestamp.signed.version == 2


def test_a_release_can_be_copied_to_the_web_server_before_its_hint(desk: TypedDesk) -> None:
    with open(desk.desk / "desk.yaml", "a", encoding="utf-8") as file:
        file.write("push:\n  broker: mqtt://127.0.0.1:1\n")
    desk.add("listed-1.example")
    desk.run("publish", "--no-hint", by="ana")
    assert "Released: version 2" in desk.run("sign", "--no-hint", by="ion")  # no broker is asked
    assert "can be sent again" in desk.fail("hint", "--urgent")


def test_serve_shows_the_feed(desk: TypedDesk) -> None:
    listen = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "guardian", "hotline", "--desk", str(desk.desk), "serve", "--listen", listen]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout
            address = re.search(r"http://[0-9.:]+/default/", server.stdout.readline())
            assert address
            with urllib.request.urlopen(f"{address[0]}metadata/1.root.json", timeout=5) as answer:
                served = answer.read()
        finally:
            server.terminate()
    assert served == Repository(desk.desk).roots()[0]
