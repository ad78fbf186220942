"""The event stream over HTTP: a real gateway, a real console, browsers that stay, leave, and are signed out."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardian.config import load_config
from guardian.store import accounts
from guardian.web.access import ROLE_SCOPES, Caller
from guardian.web.api import live
from guardian.web.console import Console
from guardian.web.events import MAX_STREAMS_PER_CALLER
from tests.gateway.product import ADULT, CHILD, ROOT, TEEN, Upstream, environment, wait_for
from tests.web.product import HELPER, PARENT, PASSWORD, Browser, Served, console

RECORDS = "www.open.example A 192.0.2.10\nillegal.open.example CNAME mandatory.guardian.test.\n"


class Page:
    """An open page: reads the stream in a thread."""

    def __init__(self, browser: Browser) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.raw: list[str] = []
        self.is_over = False
        # A connection of its own: the stream has no end.
        self._client = httpx.Client(
            base_url=browser.http.base_url,
            cookies=browser.http.cookies,
            headers=browser.http.headers,
            timeout=httpx.Timeout(40),
        )
        self._context = self._client.stream("GET", "/api/v1/events")
        self.response = self._context.__enter__()
        self._thread = threading.Thread(target=self._read, daemon=True)
        if self.response.status_code == 200:
            self._thread.start()

    def _read(self) -> None:
        event = ""
        try:
            for line in self.response.iter_lines():
                self.raw.append(line)
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.events.append((event, json.loads(line.removeprefix("data: "))))
        except (httpx.TransportError, httpx.StreamError):  # the test closed it
            pass
        self.is_over = True

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for event, data in self.events if event == kind]

    def close(self) -> None:
        """Go, as a browser goes: `close` alone would wait for the thread that reads."""
        if self._thread.ident is not None and not self.is_over:
            connection: socket.socket = self.response.extensions["network_stream"].get_extra_info("socket")
            connection.shutdown(socket.SHUT_RDWR)
            self._thread.join(10)
        self.response.close()
        self._client.close()


@contextmanager
def opened(browser: Browser) -> Iterator[Page]:
    page = Page(browser)
    try:
        assert page.response.status_code == 200, page.response.read()
        wait_for(lambda: "retry: 3000" in page.raw)
        yield page
    finally:
        page.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream(RECORDS)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def served(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    settings = {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}, "history": {"flush_seconds": 0.1}}
    with console(tmp_path_factory.mktemp("live"), settings=settings) as running:
        yield running


def follow_gateway(served: Served, page: Page) -> None:
    """Wait until the gateway's events come through."""
    for _ in range(50):
        served.ask("blocked.example")
        time.sleep(0.2)
        if page.of("decision"):
            break
    time.sleep(1.2)
    page.events.clear()


def test_what_happens_in_the_home_reaches_an_open_page(served: Served) -> None:
    with opened(served.parent) as page:
        assert page.response.headers["content-type"].startswith("text/event-stream")
        assert page.response.headers["cache-control"] == "no-store"
        follow_gateway(served, page)
        served.ask("blocked.example")
        served.ask("illegal.open.example", source=ADULT)
        served.ask("telefonulcopilului.md")
        served.ask("www.open.example", source=TEEN)
        decisions = wait_for(lambda: len(page.of("decision")) >= 2 and page.of("decision"))
        tablet = {event["device"]: event for event in decisions}["tablet"]
        assert (tablet["action"], tablet["reason"], tablet["name"]) == ("block", "rule", "blocked.example")
        phone = {event["device"]: event for event in decisions}["phone"]
        assert (phone["reason"], phone["tag"]) == ("", "") and "name" not in phone
        page.events.clear()
        changed = served.patch("/household", {"language": "ro"})
        assert changed.status_code == 200, changed.text
        wait_for(lambda: {"what": "household"} in page.of("change"))
        time.sleep(0.5)
        assert page.of("change").count({"what": "household"}) == 1  # gateway and console tell of one
    everything = json.dumps(page.raw)
    for secret in ("telefonul", "illegal", "mandatory", "helpline"):
        assert secret not in everything


def test_helpers_hear_of_requests_only(served: Served) -> None:
    with opened(served.helper()) as helper, opened(served.parent) as parent:
        follow_gateway(served, parent)
        asked = served.child().post("/child/requests", {"kind": "time", "minutes": 15})
        assert asked.status_code in (200, 201), asked.text
        wait_for(lambda: helper.of("request"))
        wait_for(lambda: parent.of("request"))
        wait_for(lambda: {"what": "requests"} in helper.of("change"))
        served.ask("blocked.example")
        wait_for(lambda: parent.of("decision"))
        assert {event for event, _ in helper.events} == {"change", "request"}
        assert all(data == {"what": "requests"} for data in helper.of("change"))


@pytest.mark.parametrize(
    ("scopes", "status"), [(("requests",), 200), (("read", "requests"), 200), (("read",), 403), (("status",), 403)]
)
def test_programs_listen_with_the_scope_for_it(served: Served, scopes: tuple[str, ...], status: int) -> None:
    page = Page(served.token(*scopes))
    assert page.response.status_code == status
    page.close()


def test_nobody_and_a_childs_device_may_not(served: Served) -> None:
    for browser in (served.anonymous(), served.child()):
        assert browser.get("/events").status_code == 401
    stolen = served.anonymous(CHILD)
    stolen.http.cookies = served.parent.http.cookies
    assert stolen.get("/events").status_code == 403
    assert served.parent.request("HEAD", "/events").status_code == 200
    assert served.parent.post("/events", {}).status_code == 405


def test_the_fifth_page_of_a_session_is_refused_and_a_closed_one_frees_its_place(served: Served) -> None:
    browser = served.signed_in()
    pages = [Page(browser) for _ in range(MAX_STREAMS_PER_CALLER + 1)]
    try:
        assert [page.response.status_code for page in pages] == [200] * MAX_STREAMS_PER_CALLER + [503]
        problem = json.loads(pages[-1].response.read())
        assert (problem["code"], problem["retry_after"]) == ("not-now", 30)
        with opened(served.parent):  # another session has its own
            pass
        pages.pop(0).close()
        pages.append(wait_for(lambda: try_to_open(browser)))
    finally:
        for page in pages:
            page.close()


def try_to_open(browser: Browser) -> Page | None:
    page = Page(browser)
    if page.response.status_code == 200:
        return page
    page.close()
    return None


def test_whoever_is_signed_out_hears_no_more(upstream: Upstream, tmp_path: Path) -> None:
    """The same program, to which a minute between two looks is a second."""
    site = tmp_path / "site"
    site.mkdir()
    script = "import guardian.web.api.live as live\nlive.CHECK_SECONDS = 1.0\nlive.HEARTBEAT_SECONDS = 0.3\n"
    (site / "sitecustomize.py").write_text(script)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.web.product.environment", lambda: environment(PYTHONPATH=f"{site}:{ROOT}"))
        with console(tmp_path, settings={"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as served:
            browser, token = served.signed_in(), served.token("requests")
            with opened(browser) as page, opened(token) as program, opened(served.parent) as other:
                wait_for(lambda: ":" in page.raw)  # heartbeats
                time.sleep(1.5)
                assert not page.is_over and not program.is_over
                assert browser.delete("/session").status_code == 204
                wait_for(lambda: page.is_over)
                assert served.delete("/tokens/1").status_code == 204
                wait_for(lambda: program.is_over)
                time.sleep(1.5)
                assert not other.is_over


def test_what_ends_a_sign_in_ends_its_streams_at_once(tmp_path: Path) -> None:
    """Not a minute later: the looks between are as rare as they are."""
    with console(tmp_path) as served:
        helper, program = served.helper(), served.token("read", "requests")
        again, elsewhere = served.signed_in(), served.signed_in()
        (account,) = [each for each in served.get("/accounts").json() if each["name"] == HELPER]
        with opened(served.parent) as mine, opened(again) as second, opened(elsewhere) as third:
            with opened(helper) as aunt, opened(program) as app:
                began = time.monotonic()
                assert served.delete("/tokens/1").status_code == 204
                wait_for(lambda: app.is_over)
                assert served.delete(f"/accounts/{account['id']}").status_code == 204
                wait_for(lambda: aunt.is_over)
            assert again.delete("/session").status_code == 204
            wait_for(lambda: second.is_over)
            change = {"password": "another battery", "current_password": PASSWORD}
            assert served.patch("/accounts/1", change).status_code == 200
            wait_for(lambda: third.is_over)
            assert time.monotonic() - began < live.CHECK_SECONDS / 2
            assert not mine.is_over  # who changed the password stays signed in
            wait_for(lambda: {"what": "household"} in mine.of("change"))  # the journal has new lines


def test_a_role_that_is_less_ends_the_streams_of_more(tmp_path: Path) -> None:
    with console(tmp_path) as served:
        assert served.post("/accounts", {"name": "Tata", "role": "parent", "password": PASSWORD}).status_code == 201
        (tata,) = [each for each in served.get("/accounts").json() if each["name"] == "Tata"]
        with opened(served.signed_in("Tata")) as page, opened(served.parent) as mine:
            change = {"role": "helper", "current_password": PASSWORD}
            assert served.patch(f"/accounts/{tata['id']}", change).status_code == 200
            wait_for(lambda: page.is_over)
            assert not mine.is_over


def test_open_pages_do_not_keep_the_console_from_ending(upstream: Upstream, tmp_path: Path) -> None:
    with console(tmp_path, settings={"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as served:
        with opened(served.parent) as page, opened(served.parent) as other:
            began = time.monotonic()
            assert served.stop_web() == 0
            assert time.monotonic() - began < 2
            wait_for(lambda: page.is_over and other.is_over)
        served.start_web()


def test_a_gateway_that_comes_back_is_heard_again(upstream: Upstream, tmp_path: Path) -> None:
    with (
        console(tmp_path, settings={"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as served,
        opened(served.parent) as page,
    ):
        follow_gateway(served, page)
        served.stop()
        wait_for(lambda: {"what": "alerts"} in page.of("change"))
        served.start()
        wait_for(lambda: {"what": "household"} in page.of("change"), 15)
        follow_gateway(served, page)


def test_who_may_go_on_listening(tmp_path: Path) -> None:
    """The answers of one look, from the database."""
    config = tmp_path / "guardian.yaml"
    config.write_text("upstreams: {servers: ['127.0.0.1:1']}\nstate: state\n")
    (tmp_path / "state").mkdir()
    store_console = Console(load_config(str(config)), str(config))
    store, now = store_console.store, time.time()
    mama = accounts.add_account(store, PARENT, "parent", "scrypt$", now)
    aunt = accounts.add_account(store, HELPER, "helper", "scrypt$", now)
    for account, role in ((mama, "parent"), (aunt, "helper")):
        secret, csrf = accounts.open_session(store, account.id, now)
        caller = Caller("127.0.0.9", ROLE_SCOPES[role], account.id, account.name, accounts.hash_secret(secret), csrf)
        assert live.may_listen(store_console, caller, now)
        assert not live.may_listen(store_console, caller, now + 31 * 86400)
        other = "helper" if role == "parent" else "parent"
        wrong = Caller("127.0.0.9", ROLE_SCOPES[other], account.id, account.name, caller.session, csrf)
        assert not live.may_listen(store_console, wrong, now)  # the role has changed meanwhile
        accounts.end_session(store, caller.session)
        assert not live.may_listen(store_console, caller, now)
    _, token = accounts.add_token(store, "App", ("read", "requests"), now)
    program = Caller("127.0.0.9", frozenset({"read", "requests"}), who="App", token=token.id)
    assert live.may_listen(store_console, program, now)
    accounts.remove_token(store, token.id)
    assert not live.may_listen(store_console, program, now)
