"""Who gets in: hosts, networks, origins, cookies, tokens, scopes; every endpoint with every kind of caller."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardian.config import Config, parse_config
from guardian.web.access import ALL_SCOPES
from guardian.web.api import ENDPOINTS
from guardian.web.routing import Endpoint, RefusalError
from guardian.web.security import (
    COOKIE,
    POLICY,
    Doors,
    check_origin,
    plain_address,
    read_cookie,
    read_head,
    split_host,
)
from tests.gateway.product import ADULT, CHILD
from tests.web.product import PASSWORD, Browser, Served, console

CLOSED = [endpoint for endpoint in ENDPOINTS if endpoint.scope not in ("public", "child")]
NOBODYS = "nothing-such"


def configure(web: str = "{}", local: str = "{}") -> Config:
    text = f"upstreams: {{servers: [192.0.2.1]}}\nweb: {web}\nlocal: {local}\n"
    return parse_config(text, "/nowhere/guardian.yaml")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("guardian.home.arpa", "guardian.home.arpa"),
        ("Guardian.Home.ARPA.:8080", "guardian.home.arpa"),
        ("192.168.1.1:8080", "192.168.1.1"),
        ("[fd00::1]:8080", "fd00::1"),
        ("[fd00::1]", "fd00::1"),
        ("", None),
        (":8080", None),
        ("guardian.home.arpa:x", None),
        ("guardian.home.arpa:80:80", None),
        ("[fd00::1", None),
        ("[evil.example]:80", None),
        ("[fd00::1].evil.example", None),
        ("fd00::1", None),
    ],
)
def test_hosts_are_split(host: str, name: str | None) -> None:
    assert split_host(host) == name


def test_which_names_are_the_box() -> None:
    doors = Doors(configure("{hosts: [Router.LAN.]}", "{name: box.home.arpa}"))
    for host in ("box.home.arpa", "box", "BOX:8080", "localhost:8080", "router.lan", "10.0.0.1", "[::1]:8080"):
        assert doors.is_own_host(host), host
    for host in (
        "evil.example",
        "box.home.arpa.evil.example",
        "xbox",
        "guardian.home.arpa",
        "10.0.0.1.evil.example",
        "127.0.0.1.nip.io",
        "",
        "box.home.arpa@evil.example",
        "2130706433.example",
        "[fe80::1%25eth0]",
    ):
        assert not doors.is_own_host(host), host


def test_which_sources_are_the_home() -> None:
    doors = Doors(configure())
    for address in ("127.0.0.1", "192.168.1.7", "10.1.2.3", "172.16.0.1", "::1", "fd12::7", "fe80::1"):
        assert doors.is_home(address), address
    for address in ("8.8.8.8", "100.64.0.1", "172.32.0.1", "2001:db8::1", "0.0.0.0", "::"):
        assert not doors.is_home(address), address
    narrow = Doors(configure("{clients: [192.168.7.0/24, '2001:db8::/32']}"))
    assert narrow.is_home("192.168.7.9") and narrow.is_home("2001:db8::9") and not narrow.is_home("127.0.0.1")


def test_addresses_of_sockets() -> None:
    assert plain_address("::ffff:192.168.1.2") == "192.168.1.2"
    assert plain_address("fe80::1%eth0") == "fe80::1" and plain_address("10.0.0.1") == "10.0.0.1"
    assert not Doors(configure()).is_home(plain_address("::ffff:8.8.8.8"))


@pytest.mark.parametrize(
    ("fields", "is_fine"),
    [
        ({}, True),
        ({"origin": "http://10.0.0.1:8080"}, True),
        ({"origin": "HTTP://10.0.0.1:8080"}, True),
        ({"origin": "https://10.0.0.1:8080"}, False),
        ({"origin": "http://10.0.0.1"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
    ],
)
def test_origins(fields: dict[str, str], is_fine: bool) -> None:
    raw = [(name.encode(), value.encode()) for name, value in ({"host": "10.0.0.1:8080"} | fields).items()]
    for method in ("POST", "PUT", "PATCH", "DELETE", "PROPFIND"):
        if is_fine:
            check_origin(read_head(method, "http", "10.0.0.2", raw))
        else:
            with pytest.raises(RefusalError) as caught:
                check_origin(read_head(method, "http", "10.0.0.2", raw))
            assert (caught.value.status, caught.value.code) == (403, "csrf")
    check_origin(read_head("GET", "http", "10.0.0.2", raw))


@pytest.mark.parametrize(
    ("cookies", "secret"),
    [
        ([f"{COOKIE}=abc"], "abc"),
        ([f"x=1; {COOKIE}=abc; y=2"], "abc"),
        (["x=1", f"{COOKIE}=abc"], "abc"),
        ([f"{COOKIE}=planted; {COOKIE}=mine"], ""),
        ([f"{COOKIE}=planted", f"{COOKIE}=mine"], ""),
        ([f"{COOKIE}="], ""),
        (["x=1"], ""),
        ([], ""),
        ([f'{COOKIE}="a b'], ""),
        ([f"{COOKIE}={'x' * 5000}"], "x" * 128),
    ],
)
def test_cookies(cookies: list[str], secret: str) -> None:
    raw = [(b"Cookie", cookie.encode()) for cookie in cookies]
    assert read_cookie(read_head("GET", "http", "10.0.0.2", raw)) == secret


# The running console


def path_of(endpoint: Endpoint) -> str:
    """Of nobody's thing, so that a hole in the fence changes nothing."""
    return re.sub(r"{\w+(:\w+)?}", NOBODYS, endpoint.path)


def send(browser: Browser, endpoint: Endpoint, **more: Any) -> tuple[int, str]:
    """Status and code of a call whose body can never do anything."""
    body = None if endpoint.body is None else "not: [a household" if endpoint.body is str else {"no-such-key": 1}
    answer = browser.request(endpoint.method, path_of(endpoint), body, **more)
    problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    return answer.status_code, answer.json()["code"] if problem else ""


@pytest.mark.parametrize("endpoint", CLOSED, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_every_closed_call_needs_a_caller(served: Served, endpoint: Endpoint) -> None:
    strangers = (
        served.anonymous(),
        served.child(),
        served.anonymous(headers={"Authorization": "Bearer gdn_" + "A" * 43}),
        served.anonymous(headers={"Authorization": f"Basic {served.parent.http.cookies[COOKIE]}"}),
        served.anonymous(headers={"Authorization": f"Bearer {served.parent.http.cookies[COOKIE]}"}),
        served.anonymous(headers={"Cookie": f"{COOKIE}={'A' * 43}"}),
    )
    for stranger in strangers:
        assert send(stranger, endpoint) == (401, "not-signed-in")


@pytest.fixture(scope="module")
def callers(served: Served) -> dict[str, Browser]:
    """One program for each scope, and the helper."""
    scopes = [scope for scope in ALL_SCOPES if scope != "accounts"]
    return {scope: served.token(scope) for scope in scopes} | {"helper": served.helper()}


@pytest.mark.parametrize("endpoint", CLOSED, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_nobody_leaves_their_scope(served: Served, callers: dict[str, Browser], endpoint: Endpoint) -> None:
    if endpoint.media == "text/event-stream" or (endpoint.method, endpoint.path) == ("DELETE", "/session"):
        return  # has no end, or an effect, when it is allowed; below
    for name, browser in callers.items():
        scope = "requests" if name == "helper" else name
        allowed = endpoint.scope == scope and (name == "helper" or not endpoint.people_only)
        status, code = send(browser, endpoint)
        if allowed:
            assert status not in (401, 405, 500) and code != "csrf", (name, status, code)
            assert status != 403 or endpoint.path == "/accounts/{account}", (name, code)
        else:
            assert (status, code) == (403, "not-allowed"), name


def test_programs_neither_sign_out_nor_manage_accounts(served: Served, callers: dict[str, Browser]) -> None:
    for browser in callers.values():
        if not browser.csrf:
            assert browser.delete("/session").status_code == 403
    answer = served.post("/tokens", {"name": "Greedy", "scopes": ["accounts"]})
    assert answer.status_code == 422
    # Even where the database says so.
    with served.store.writing() as connection:
        connection.execute("UPDATE tokens SET scopes = 'requests accounts' WHERE scopes = 'requests'")
    assert callers["requests"].get("/accounts").status_code == 403
    assert callers["requests"].get("/requests").status_code == 200


def test_events_need_a_scope_too(served: Served, callers: dict[str, Browser]) -> None:
    assert callers["status"].get("/events").status_code == 403
    assert served.anonymous().get("/events").status_code == 401


def test_a_cookie_beside_a_token_counts_for_nothing(served: Served, callers: dict[str, Browser]) -> None:
    both = {"Cookie": f"{COOKIE}={served.parent.http.cookies[COOKIE]}", "X-CSRF-Token": served.parent.csrf}
    assert callers["status"].get("/accounts", headers=both).status_code == 403
    assert callers["status"].get("/household", headers=both).status_code == 403


@pytest.mark.parametrize("endpoint", CLOSED, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_changes_need_the_token_of_the_page(served: Served, endpoint: Endpoint) -> None:
    if endpoint.method == "GET":
        return
    thief = served.anonymous(headers={"Cookie": f"{COOKIE}={served.parent.http.cookies[COOKIE]}"})
    assert send(thief, endpoint) == (403, "csrf")
    for wrong in ("", "x", served.parent.csrf[:-1], served.parent.csrf + "x", served.helper().csrf):
        assert send(thief, endpoint, headers={"X-CSRF-Token": wrong}) == (403, "csrf")


OPEN_CHANGES = [endpoint for endpoint in ENDPOINTS if endpoint not in CLOSED and endpoint.method != "GET"]


@pytest.mark.parametrize("endpoint", OPEN_CHANGES, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_other_sites_cannot_make_a_browser_call(served: Served, endpoint: Endpoint, headers: dict[str, str]) -> None:
    """Sign-in, claim and a child's requests have no token of the page: the browser's own word counts."""
    for source in ("127.0.0.1", CHILD):
        assert send(served.anonymous(source), endpoint, headers=headers) == (403, "csrf")


def test_no_answer_lets_another_site_read(served: Served) -> None:
    for method, path in (("GET", "/start"), ("OPTIONS", "/session"), ("OPTIONS", "/household"), ("POST", "/session")):
        answer = served.anonymous().request(method, path, headers={"Origin": "http://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


REBOUND = [
    "evil.example",
    "evil.example:{port}",
    "guardian.home.arpa.evil.example",
    "127.0.0.1.nip.io:{port}",
    "x" * 300,
]


@pytest.mark.parametrize("host", REBOUND)
@pytest.mark.parametrize("path", ["!/", "!/assets/x.js", "/start", "/household", "/session", "!/me", "!/nothing"])
def test_a_rebound_name_gets_nothing(served: Served, host: str, path: str) -> None:
    headers = {"Host": host.format(port=served.web_port)}
    for browser in (served.parent, served.anonymous(), served.child()):
        for method in ("GET", "POST", "OPTIONS"):
            answer = browser.request(method, path, headers=headers)
            assert answer.status_code == 421 and answer.json()["code"] == "wrong-host"


def test_own_names_get_in(served: Served) -> None:
    for host in ("guardian.home.arpa", "guardian", "localhost", "192.168.1.1", "[fd00::1]"):
        for tail in ("", f":{served.web_port}"):
            assert served.anonymous().get("/start", headers={"Host": host + tail}).status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        "GET /api/v1/start HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n",
        "GET /api/v1/start HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n",
        "GET /api/v1/start HTTP/1.1\r\n",
        "GET /api/v1/start HTTP/1.0\r\n",
        "GET http://evil.example/api/v1/start HTTP/1.1\r\nHost: evil.example\r\n",
        "GET /api/v1/start HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\n",
        "GET /api/v1/start HTTP/1.1\r\nHost: evil.example\r\nForwarded: host=localhost\r\n",
    ],
)
def test_hosts_that_try_tricks(served: Served, head: str) -> None:
    with socket.create_connection(("127.0.0.1", served.web_port), 5) as connection:
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.split()[1] in (b"400", b"421") and b"claimed" not in answer


def test_every_answer_has_the_headers(served: Served) -> None:
    """Pages, calls, errors of every kind."""
    asked = [
        served.get("!/"),
        served.get("!/me"),
        served.get("!/icon.svg"),
        served.get("!/nothing.js"),
        served.get("/session"),
        served.get("/openapi.json"),
        served.get("/nothing"),
        served.post("!/"),
        served.anonymous().get("/session"),
        served.anonymous().request("OPTIONS", "/session"),
        served.patch("/session"),
        served.anonymous().get("/start", headers={"Host": "evil.example"}),
        served.post("/session", "not json"),
    ]
    assert {answer.status_code for answer in asked} >= {200, 204, 401, 404, 405, 415, 421}
    for answer in asked:
        headers = answer.headers
        assert headers["content-security-policy"] == POLICY and "unsafe" not in POLICY
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == ("no-cache" if "icon" in str(answer.url) else "no-store")
        assert "server" not in headers and "x-powered-by" not in headers


def test_what_a_caller_says_of_its_address_is_not_believed(served: Served) -> None:
    lies = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
    answer = served.child().get("/start", headers=lies)
    assert answer.json()["login_allowed"] is False
    assert served.anonymous().get("/start", headers={"X-Forwarded-For": CHILD}).json()["login_allowed"] is True


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Served]:
    """A console for one address only."""
    with console(tmp_path, settings={"web": {"clients": ["127.0.0.1/32"]}}) as running:
        yield running


def test_who_is_outside_gets_nothing(narrow: Served) -> None:
    outside = narrow.anonymous(ADULT)
    for path in ("/start", "!/", "/household", "!/me"):
        answer = outside.get(path, headers={"X-Forwarded-For": "127.0.0.1"})
        assert answer.status_code == 403 and answer.json()["code"] == "outside"
    assert outside.post("/session", {"name": "Mama", "password": PASSWORD}).status_code == 403
    assert narrow.get("/session").status_code == 200


def test_a_childs_device_is_kept_out_of_the_parents_place(served: Served) -> None:
    """Neither sign-in nor a stolen session works there, until parents allow it."""
    child = served.child()
    sign_in = {"name": "Mama", "password": PASSWORD}
    assert child.get("/start").json()["login_allowed"] is False
    answer = child.post("/session", sign_in)
    assert (answer.status_code, answer.json()["code"]) == (403, "child-device")
    stolen = {"Cookie": f"{COOKIE}={served.parent.http.cookies[COOKIE]}"}
    answer = served.anonymous(CHILD, stolen).get("/household")
    assert (answer.status_code, answer.json()["code"]) == (403, "child-device")
    assert child.get("/child").status_code == 200
    served.store.set_option("login_from_children", "yes")
    try:
        assert child.get("/start").json()["login_allowed"] is True
        assert child.post("/session", sign_in).status_code == 201
        assert child.get("/household").status_code == 200
    finally:
        served.store.set_option("login_from_children", "no")
    assert child.get("/household").status_code == 403
