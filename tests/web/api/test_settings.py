"""Settings of the console and channels, over the API of a running console."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardian.web.api.settings import ENDPOINTS
from tests.gateway.product import CHILD, environment, free_port, wait_for
from tests.web.outside import outside
from tests.web.product import Served, console

SECRET = "s3cret-w0rd"


def remove_channels(served: Served) -> None:
    for channel in served.get("/channels").json()["channels"]:
        assert served.delete(f"/channels/{channel['id']}").status_code == 204


def add(served: Served, address: str, **more: Any) -> dict[str, Any]:
    answer = served.post("/channels", {"name": "Tata", "address": address} | more)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["channels"][-1]
    return found


def files_with(served: Served, word: str) -> list[str]:
    """Every file that the processes of the home have written, with `word` in it."""
    paths = [*(served.folder / "state").rglob("*"), served.folder / "log", served.folder / "web.log"]
    return [path.name for path in paths if path.is_file() and word.encode() in path.read_bytes()]


def test_settings_have_safe_defaults_and_are_kept(served: Served) -> None:
    assert served.get("/settings").json() == {"login_from_children": False, "notify_languages": "en"}
    assert served.patch("/settings", {"notify_languages": "ru"}).json()["notify_languages"] == "ru"
    changed = served.patch("/settings", {"login_from_children": True})
    assert changed.json() == {"login_from_children": True, "notify_languages": "ru"}
    assert served.get("/settings").json() == changed.json()
    assert served.patch("/settings", {"login_from_children": False, "notify_languages": "en"}).status_code == 200


def test_parents_decide_whether_a_child_may_open_the_sign_in(served: Served) -> None:
    child = served.anonymous(CHILD)
    try:
        assert child.get("/start").json()["login_allowed"] is False
        served.patch("/settings", {"login_from_children": True})
        assert child.get("/start").json()["login_allowed"] is True
    finally:
        served.patch("/settings", {"login_from_children": False})
    assert child.get("/start").json()["login_allowed"] is False


@pytest.mark.parametrize(
    "body", [{"notify_languages": "de"}, {"notify_languages": "ro\n"}, {"login_from_children": "yes"}, {"x": 1}, [], 7]
)
def test_wrong_settings_change_nothing(served: Served, body: Any) -> None:
    before = served.get("/settings").json()
    assert served.patch("/settings", body).status_code == 422
    assert served.get("/settings").json() == before


def test_only_parents_and_their_programs_see_settings_and_channels(served: Served) -> None:
    callers = [served.anonymous(), served.helper(), served.token("status", "read", "requests", "control")]
    for caller in callers:
        for endpoint in ENDPOINTS:
            path = endpoint.path.replace("{channel}", "1")
            answer = caller.request(endpoint.method, path, {} if endpoint.body else None)
            assert answer.status_code in (401, 403), (endpoint, answer.text)
    program = served.token("manage", "read", "requests")
    assert program.get("/channels").status_code == 200
    # A channel carries what children ask out of the home, and the box calls its address: for people only.
    assert program.post("/channels", {"name": "x", "address": "json://127.0.0.1/x"}).status_code == 403


def test_an_address_is_never_sent_back_nor_written_elsewhere(served: Served) -> None:
    with outside() as friend:
        address = f"json://mama:{SECRET}@127.0.0.1:{friend.port}/{SECRET}"
        channel = add(served, address, requests=False)
        assert channel == {
            "id": channel["id"], "name": "Tata", "service": "json", "requests": False, "alerts": True, "last_error": "",
        }  # fmt: skip
        answers = [
            served.get("/channels"),
            served.post(f"/channels/{channel['id']}/test"),
            served.post("/channels", {"name": "x", "address": f"nonsense://{SECRET}/"}),
            served.post("/channels", {"name": "x", "address": f"{SECRET}://" + "x" * 2000}),
            served.get("/backup"),
            served.get("/changes"),
        ]
        assert all(SECRET not in answer.text + str(answer.headers) for answer in answers)
        assert answers[0].json()["available"] is True
        assert files_with(served, SECRET) == ["console.db"]
        remove_channels(served)
    assert files_with(served, SECRET) == []


def test_a_channel_can_be_tried(served: Served) -> None:
    with outside() as friend:
        friend.status = 200
        channel = add(served, f"json://127.0.0.1:{friend.port}/")
        served.patch("/settings", {"notify_languages": "ro"})
        assert served.post(f"/channels/{channel['id']}/test").status_code == 204
        served.patch("/settings", {"notify_languages": "en"})
        (taken,) = friend.taken
        assert taken.json()["title"] == "Guardian: merge"
        friend.status = 401
        answer = served.post(f"/channels/{channel['id']}/test")
        assert (answer.status_code, answer.json()["code"]) == (503, "not-delivered")
        assert served.get("/channels").json()["channels"][0]["last_error"] == "refused:401"
        remove_channels(served)


def test_a_childs_request_reaches_the_parents_at_once(served: Served) -> None:
    with outside() as friend:
        friend.status = 200
        add(served, f"json://127.0.0.1:{friend.port}/", alerts=False)
        asked = served.child().post("/child/requests", {"kind": "time", "minutes": 25, "message": "pleeease"})
        assert asked.status_code == 201, asked.text
        begin = time.monotonic()
        wait_for(lambda: friend.taken)
        assert time.monotonic() - begin < 8  # not only at the next look, half a minute later
        assert "Ana asks for 25 more minutes." in friend.taken[0].json()["message"]
        assert "pleeease" not in friend.taken[0].body.decode()
        remove_channels(served)


def test_what_parents_can_see_already_is_not_sent_to_a_new_channel(served: Served) -> None:
    with outside() as friend:
        friend.status = 200
        asked = served.child().post("/child/requests", {"kind": "time", "minutes": 35})
        assert asked.status_code == 201, asked.text
        add(served, f"json://127.0.0.1:{friend.port}/")
        served.child().post("/child/requests", {"kind": "time", "minutes": 40})
        wait_for(lambda: friend.taken)
        assert "40 more minutes" in friend.taken[0].json()["message"]
        assert "35 more minutes" not in friend.taken[0].json()["message"]
        remove_channels(served)


@pytest.mark.parametrize(
    "address",
    [
        "nonsense://x/y", "ntfy", "syslog://", "file:///etc/passwd", "javascript:alert(1)", "tgram://short",
        "discord://a/b?template=/etc/passwd", "ntfys://a b/c", "json://x/\x00", "<script>alert(1)</script>", "json://[::1",
    ],
)  # fmt: skip
def test_addresses_of_no_use_are_refused(served: Served, address: str) -> None:
    answer = served.post("/channels", {"name": "x", "address": address})
    assert (answer.status_code, answer.json()["code"]) == (422, "not-valid")
    assert served.get("/channels").json()["channels"] == []


def test_the_journal_tells_of_channels_and_settings_without_an_address(served: Served) -> None:
    with outside() as friend:
        add(served, f"json://mama:{SECRET}@127.0.0.1:{friend.port}/")
        remove_channels(served)
    before = served.get("/settings").json()
    other = "ru" if before["notify_languages"] != "ru" else "en"
    assert served.patch("/settings", {"notify_languages": other}).status_code == 200
    assert served.patch("/settings", {"notify_languages": other}).status_code == 200  # changes nothing
    assert served.patch("/settings", before).status_code == 200
    answer = served.get("/changes?limit=4")
    assert [(line["kind"], line["details"]) for line in answer.json()["changes"]] == [
        ("console-changed", {"parts": "notify_languages"}),
        ("console-changed", {"parts": "notify_languages"}),
        ("channel-removed", {"name": "Tata"}),
        ("channel-added", {"name": "Tata"}),
    ]
    assert SECRET not in answer.text


def test_names_of_channels_are_only_text(served: Served) -> None:
    name = "<script>alert(1)</script>\u202e"
    channel = add(served, f"json://127.0.0.1:{free_port()}/", name=name, requests=False, alerts=False)
    assert channel["name"] == name
    remove_channels(served)


def test_there_are_ten_at_most(served: Served) -> None:
    for number in range(10):
        add(served, f"json://127.0.0.1:1/{number}", requests=False, alerts=False)
    answer = served.post("/channels", {"name": "x", "address": "json://127.0.0.1:1/"})
    assert (answer.status_code, answer.json()["code"]) == (409, "full")
    remove_channels(served)


@pytest.mark.parametrize("number", ["0", "99", "-1", "x", "1e3", "９", "%00", "1" * 400])
def test_a_channel_that_is_not_there(served: Served, number: str) -> None:
    assert served.delete(f"/channels/{number}").status_code == 404
    assert served.post(f"/channels/{number}/test").status_code == 404


def test_one_slow_channel_does_not_stop_the_page(served: Served) -> None:
    with outside() as silent:
        silent.behave = "hang"
        channel = add(served, f"json://127.0.0.1:{silent.port}/", requests=False, alerts=False)
        other = served.signed_in()
        answers: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: answers.append(other.post(f"/channels/{channel['id']}/test")))
        thread.start()
        wait_for(lambda: silent.taken)
        begin = time.monotonic()
        busy = [served.post(f"/channels/{channel['id']}/test") for _ in range(6)]
        assert {(answer.status_code, answer.json()["code"]) for answer in busy} == {(429, "throttled")}
        assert served.get("/settings").status_code == 200
        assert time.monotonic() - begin < 5
        silent.close()
        thread.join(30)
    assert answers[0].json()["code"] == "not-delivered"
    remove_channels(served)


def test_the_console_ends_at_once_while_a_channel_is_tried(tmp_path: Path) -> None:
    with outside() as silent, console(tmp_path) as served:
        silent.behave = "hang"
        channel = add(served, f"json://127.0.0.1:{silent.port}/", requests=False, alerts=False)
        answers: list[object] = []

        def try_it() -> None:
            try:
                answers.append(served.post(f"/channels/{channel['id']}/test").status_code)
            except httpx.TransportError as error:
                answers.append(error)

        thread = threading.Thread(target=try_it)
        thread.start()
        wait_for(lambda: silent.taken)
        begin = time.monotonic()
        assert served.stop_web() == 0
        assert time.monotonic() - begin < 3
        thread.join(10)
        assert answers


def test_without_apprise_channels_say_so(tmp_path: Path) -> None:
    """A console whose Python finds no Apprise, as after an installation without the extra."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_NO_APPRISE)
    with console(tmp_path) as served:
        channel = add(served, f"json://127.0.0.1:{free_port()}/")
        served.stop_web()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.web.product.environment", lambda: _with_path(tmp_path / "site"))
            served.start_web()
        found = served.get("/channels").json()
        assert (found["available"], len(found["channels"])) == (False, 1)
        for answer in (
            served.post("/channels", {"name": "x", "address": "ntfys://ntfy.example/x"}),
            served.post(f"/channels/{channel['id']}/test"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "not-installed")
            assert "notify" in answer.json()["title"]
        assert served.child().post("/child/requests", {"kind": "time", "minutes": 25}).status_code == 201
        assert served.delete(f"/channels/{channel['id']}").status_code == 204


_NO_APPRISE = """
import sys
from importlib.abc import MetaPathFinder

class NotThere(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "apprise":
            raise ModuleNotFoundError(name)

import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "apprise" else real(name, package)
sys.meta_path.insert(0, NotThere())
"""


def _with_path(folder: Path) -> dict[str, str]:
    mine = environment()
    return mine | {"PYTHONPATH": f"{folder}:{mine['PYTHONPATH']}"}
