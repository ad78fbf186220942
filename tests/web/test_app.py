"""The frame around the calls: methods, types, sizes, revisions, errors; on the running console and on the application
with calls of this file.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import StreamingResponse

from guardian.config import load_config
from guardian.errors import ConfigError, GuardianError, Problem
from guardian.store.settings import ConflictError
from guardian.web.app import MOST_CALLS_OF_ONE, MOST_CALLS_OF_STRANGERS, Application
from guardian.web.console import Console
from guardian.web.pages import Pages
from guardian.web.routing import MAX_BODY_BYTES, MAX_STRANGERS_BODY_BYTES, Call, Endpoint, RefusalError
from guardian.web.shapes.common import Done
from tests.web.product import Browser, Served


def raw(served: Served, head: str, body: bytes = b"", seconds: float = 5) -> bytes:
    """The answer to bytes on a connection of their own."""
    with socket.create_connection(("127.0.0.1", served.web_port), seconds) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + body)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            assert answer, "cut off without an answer"
        return answer


def test_methods(served: Served) -> None:
    answer = served.post("/start")
    assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert answer.json()["code"] == "wrong-method"
    assert served.put("/session", {}).headers["allow"] == "DELETE, GET, HEAD, OPTIONS, POST"
    options = served.parent.request("OPTIONS", "/session")
    assert options.status_code == 204 and options.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, POST"
    for method in ("TRACE", "CONNECT", "PROPFIND", "X" * 50):
        assert served.parent.request(method, "/session").status_code in (400, 404, 405)


def test_head_is_get_without_a_body(served: Served) -> None:
    for path in ("/session", "!/", "/openapi.json"):
        get, head = served.get(path), served.parent.request("HEAD", path)
        assert head.content == b"" and head.status_code == get.status_code == 200
        assert head.headers["content-type"] == get.headers["content-type"]
    assert served.anonymous().request("HEAD", "/session").status_code == 401
    assert served.parent.request("HEAD", "/events", timeout=3).headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    "path",
    ["!/api", "!/api/", "!/api/v1", "!/api/v2/start", "/nothing", "/start/", "/profiles//pause", "/accounts/1/2"],
)
def test_calls_that_are_none(served: Served, path: str) -> None:
    answer = served.get(path)
    assert answer.status_code == 404 and answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 401),
        ("Application/JSON; charset=UTF-8", 401),
        ('application/json; charset="utf-8"', 401),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/yaml", 415),
        ("", 415),
        ("application/json, text/plain", 415),
    ],
)
def test_bodies_are_of_their_type(served: Served, media: str, status: int) -> None:
    """A form of another site can send neither JSON nor YAML."""
    content = json.dumps({"name": "x", "password": "x"}).encode()
    browser = served.anonymous("127.0.7.1" if status == 401 else "127.0.7.2")
    answer = browser.http.post("/api/v1/session", content=content, headers={"Content-Type": media})
    assert answer.status_code == status


def test_bodies_are_bounded(served: Served) -> None:
    big = {"name": "x" * MAX_BODY_BYTES, "password": "x"}
    answer = served.anonymous().post("/session", big)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")

    def chunks() -> Iterator[bytes]:
        while True:
            yield b" " * 65536

    # Without an end, and without a length: refused as soon as it is too large, and the connection ends.
    try:
        answer = served.anonymous().http.post(
            "/api/v1/session", content=chunks(), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413 and answer.headers["connection"] == "close"
    except httpx.WriteError:
        pass  # the end came before all of the answer was read
    assert served.get("/session").status_code == 200


def test_a_bomb_of_brackets(served: Served) -> None:
    typed = {"Content-Type": "application/json"}
    for content in (b"[" * 200_000, b'{"name":' * 20_000, b"\xff" * 1000, b"1" * 200_000, b'"' + b"\\u0000" * 30_000):
        short = content[:MAX_STRANGERS_BODY_BYTES]
        answer = served.anonymous().http.post("/api/v1/session", content=short, headers=typed)
        assert answer.status_code in (400, 422) and len(answer.content) < 2000
        answer = served.parent.http.post(
            "/api/v1/accounts", content=content, headers=typed | {"X-CSRF-Token": served.parent.csrf}
        )
        assert answer.status_code in (400, 422) and len(answer.content) < 2000


def test_a_stranger_s_body_is_small(served: Served) -> None:
    """A child's devices hold 128 connections open: what comes in by them must fit a router's memory."""
    child, report = served.child(), {"type": "other", "language": "ro", "good_faith": True}
    longest = report | {"note": "\U0001f600" * 1000, "found_via": "\U0001f600" * 200, "contact": "\U0001f600" * 200}
    escaped = json.dumps(longest | {"url": "x.example/" + "y" * 2000}).encode()
    assert 16_000 < len(escaped) < MAX_STRANGERS_BODY_BYTES
    headers = {"Content-Type": "application/json"}
    assert child.http.post("/api/v1/child/reports", content=escaped, headers=headers).status_code == 202
    large = escaped + b" " * MAX_STRANGERS_BODY_BYTES
    for path in ("/child/reports", "/child/requests", "/session", "/claim"):
        assert child.http.post(f"/api/v1{path}", content=large, headers=headers).status_code == 413
    assert served.post("/restore", "#" + "x" * 200_000).status_code == 422  # a parent's file is read, and refused


def test_the_length_is_checked_before_the_body_comes(served: Served) -> None:
    head = "POST /api/v1/session HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
    head += "Content-Length: 99999999999\n\n"
    assert raw(served, head).startswith(b"HTTP/1.1 413 ")
    assert raw(served, head.replace("99999999999", "-1")).startswith(b"HTTP/1.1 400 ")
    assert raw(served, head.replace("99999999999", "1\nTransfer-Encoding: chunked")).startswith(b"HTTP/1.1 400 ")
    assert raw(served, head.replace("99999999999", "1\nContent-Length: 2")).startswith(b"HTTP/1.1 400 ")


def test_a_stranger_is_refused_before_the_body_is_read(served: Served) -> None:
    head = (
        "PATCH /api/v1/household HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: 200000\n\n"
    )
    with socket.create_connection(("127.0.0.1", served.web_port), 3) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode())  # and nothing of the body
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("days=7", 200),
        ("days=7&days=8", 400),
        ("days=%ff", 400),
        ("day=7", 422),
        ("days=", 422),
        ("&".join(f"x{number}=1" for number in range(100)), 400),
        ("%", 422),
    ],
)
def test_queries(served: Served, query: str, status: int) -> None:
    assert served.get(f"/alerts?{query}").status_code == status


@pytest.mark.parametrize("value", ['"x"', 'W/"1"', '"1", "2"', '"-1"', '"' + "9" * 40 + '"', "1e3", '"²"'])
def test_revisions_that_are_none(served: Served, value: str) -> None:
    change = {"new_devices": "guests"}
    answer = served.patch("/household", change, headers={"If-Match": value.encode()})
    assert (answer.status_code, answer.json()["code"]) == (400, "not-valid")


def test_revisions(served: Served) -> None:
    assert served.patch("/household", {"new_devices": ""}).status_code == 200
    revision = served.get("/household").json()["revision"]
    change = {"new_devices": "guests"}
    answer = served.patch("/household", change, headers={"If-Match": f'"{revision + 5}"'})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    changed = served.patch("/household", change, headers={"If-Match": f'"{revision}"'})
    assert changed.status_code == 200 and changed.json()["revision"] > revision
    assert served.patch("/household", change, headers={"If-Match": "*"}).status_code == 200


def test_the_document_is_served(served: Served) -> None:
    answer = served.anonymous().get("/openapi.json")
    assert answer.status_code == 200 and answer.json()["openapi"] == "3.1.0"
    assert served.anonymous().post("/openapi.json").status_code == 405


# The application with calls of this file


def fail_with(error: Exception) -> Any:
    def run(call: Call[Any]) -> Any:
        raise error

    run.__name__ = f"raise_{type(error).__name__}"
    return run


async def stream(call: Call[Any]) -> StreamingResponse:
    async def tell() -> AsyncIterator[bytes]:
        while True:
            yield b": still here\n\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(tell(), media_type="text/event-stream")


def block(call: Call[Any]) -> Done:
    import time

    time.sleep(0.3)
    return Done(1)


CALLS = (
    Endpoint("GET", "/bug", "public", "a bug", fail_with(KeyError("the password is 1234")), Done),
    Endpoint("GET", "/conflict", "public", "a conflict", fail_with(ConflictError("revision 8, not 7")), Done),
    Endpoint("GET", "/wrong", "public", "wrong", fail_with(ConfigError([Problem("a.yaml:3", "no")])), Done),
    Endpoint("GET", "/later", "public", "not now", fail_with(GuardianError("the gateway does not answer")), Done),
    Endpoint("GET", "/full", "public", "full", fail_with(RefusalError(429, "full", retry_after=60)), Done),
    Endpoint("GET", "/text", "public", "text", lambda call: "ș: да", str, media="application/yaml"),
    Endpoint("GET", "/stream", "public", "a stream", stream, str, media="text/event-stream"),
    Endpoint("GET", "/slow", "public", "slow", block, Done),
)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    (tmp_path / "state").mkdir()
    config = tmp_path / "guardian.yaml"
    config.write_text("upstreams: {servers: [192.0.2.1]}\nstate: state\n")
    made = Application(Console(load_config(str(config)), str(config)), CALLS, Pages(str(tmp_path)))
    yield made
    made.close()


def ask(app: Application, path: str) -> httpx.Response:
    async def exchange() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(f"/api/v1{path}")

    return asyncio.run(exchange())


def test_a_bug_is_told_to_the_log_and_not_to_the_caller(app: Application, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(app, "/bug")
    assert (answer.status_code, answer.json()["code"]) == (500, "bug") and "1234" not in answer.text
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "event=bug method=GET path=/bug" in record.getMessage() and record.exc_info


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/conflict", 409, "conflict"), ("/wrong", 422, "not-valid"), ("/later", 503, "not-now"), ("/full", 429, "full")],
)
def test_errors_of_calls(app: Application, path: str, status: int, code: str) -> None:
    answer = ask(app, path)
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) == answer.json()["retry_after"]
    if code == "not-valid":
        assert answer.json()["problems"] == [{"where": "a.yaml:3", "message": "no"}]


def test_text(app: Application) -> None:
    answer = ask(app, "/text")
    assert answer.text == "ș: да" and answer.headers["content-type"] == "application/yaml; charset=utf-8"


def test_a_stream_ends_when_the_process_stops(app: Application) -> None:
    async def exchange() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) == 5:
                app.stop()

        async def receive() -> Any:
            await asyncio.sleep(60)

        scope = {
            "type": "http", "method": "GET", "path": "/api/v1/stream", "raw_path": b"", "query_string": b"",
            "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "scheme": "http",
            "root_path": "", "http_version": "1.1",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
        }  # fmt: skip
        async with asyncio.timeout(3):
            await app(scope, receive, send)
        return sent

    sent = asyncio.run(exchange())
    assert sent[0]["status"] == 200 and sent[-1]["more_body"] is False
    assert b"content-security-policy" in dict(sent[0]["headers"])


def test_too_many_calls_at_once_are_told_to_come_again(app: Application) -> None:
    async def exchange() -> list[int]:
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answers = await asyncio.gather(*(client.get("/api/v1/slow") for _ in range(MOST_CALLS_OF_ONE + 20)))
        return [answer.status_code for answer in answers]

    codes = asyncio.run(exchange())
    assert set(codes) == {200, 503} and codes.count(503) >= 20 and codes.count(200) >= MOST_CALLS_OF_ONE - 1
    assert ask(app, "/text").status_code == 200


def test_a_flood_from_many_addresses_does_not_hold_up_who_is_signed_in(app: Application) -> None:
    """A child's laptop has as many IPv6 addresses as it likes."""

    async def ask_as(address: str) -> int:
        transport = httpx.ASGITransport(app, client=(address, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.get("/api/v1/slow")).status_code

    async def exchange() -> tuple[list[int], list[int]]:
        app.befriend("127.0.0.1")
        flood = [asyncio.ensure_future(ask_as(f"127.0.9.{number % 200 + 1}")) for number in range(200)]
        await asyncio.sleep(0)
        mine = await asyncio.gather(*(ask_as("127.0.0.1") for _ in range(10)))
        return mine, await asyncio.gather(*flood)

    mine, flood = asyncio.run(exchange())
    assert mine == [200] * 10
    assert flood.count(503) >= 200 - 2 * MOST_CALLS_OF_STRANGERS and flood.count(200) >= MOST_CALLS_OF_STRANGERS - 1


def test_who_signs_in_is_no_stranger_any_more(served: Served) -> None:
    """The same on the running console: 30 devices at once, and a parent's page among them."""
    stop, codes = threading.Event(), []

    def flood(address: str) -> None:
        browser = Browser(served.base, address)
        while not stop.is_set():
            codes.append(browser.get("/child").status_code)
        browser.http.close()

    threads = [threading.Thread(target=flood, args=(f"127.0.8.{number + 1}",)) for number in range(60)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 20
        while 503 not in codes and time.monotonic() < deadline:
            time.sleep(0.05)
        mine = [served.get("/home").status_code for _ in range(15)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert mine == [200] * 15
