"""Static pages: which page for which path, caching, compression, and nothing outside the folder."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import Response

from guardian.config import load_config
from guardian.web.console import Console
from guardian.web.pages import CHILD_PAGE, CONSOLE_PAGE, Pages
from guardian.web.security import read_head
from tests.web.product import PASSWORD, Served

SCRIPT = b"console.log('" + b"hello " * 300 + b"')"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><title>Guardian</title>" + " " * 600)
    (static / "child.html").write_text("<!doctype html><title>Child</title>")
    (static / "assets" / "index-abc123.js").write_bytes(SCRIPT)
    (static / "icon.svg").write_text("<svg/>")
    (static / "secret.key").write_text("not of a known type")
    (tmp_path / "outside.js").write_text("outside")
    return static


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    (tmp_path / "state").mkdir()
    (tmp_path / "guardian.yaml").write_text("upstreams: {servers: [192.0.2.1]}\nstate: state\n")
    yield Console(load_config(str(tmp_path / "guardian.yaml")), str(tmp_path / "guardian.yaml"))


def ask(folder: Path, console: Console, path: str, method: str = "GET", **fields: str) -> Response:
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return Pages(str(folder)).answer(console, read_head(method, "http", "192.168.1.2", headers), path)


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/", CONSOLE_PAGE),
        ("/login", CONSOLE_PAGE),
        ("/profiles/ana/hours", CONSOLE_PAGE),
        ("/index.html", CONSOLE_PAGE),
        ("/me", CHILD_PAGE),
        ("/me/", CHILD_PAGE),
        ("/ask", CHILD_PAGE),
        ("/menu", CONSOLE_PAGE),
    ],
)
def test_which_page(folder: Path, console: Console, path: str, page: str) -> None:
    answer = ask(folder, console, path)
    if path == "/index.html":
        assert answer.status_code == 404
        return
    assert answer.status_code == 200 and answer.body == (folder / page[1:]).read_bytes()
    assert answer.headers["cache-control"] == "no-store" and answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "path",
    [
        "/../outside.js",
        "/assets/../../outside.js",
        "//etc/passwd.txt",
        "/assets/..\\..\\outside.js",
        "/assets/",
        "/assets/nothing",
        "/secret.key",
        "/nothing.js",
        "/assets/index-abc123.js.gz",
        "/assets/index-abc123.js/",
        "/\0.js",
        "outside.js",
    ],
)
def test_nothing_else_is_handed_out(folder: Path, console: Console, path: str) -> None:
    assert ask(folder, console, path).status_code == 404


def test_assets_are_kept_for_ever(folder: Path, console: Console) -> None:
    path = "/assets/index-abc123.js"
    answer = ask(folder, console, path)
    assert answer.body == SCRIPT and answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    again = ask(folder, console, path, if_none_match=f'"x", W/{answer.headers["etag"]}')
    assert again.status_code == 304 and again.body == b"" and again.headers["etag"] == answer.headers["etag"]
    assert ask(folder, console, path, if_none_match='"x"').status_code == 200
    assert ask(folder, console, "/icon.svg").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("field", "is_packed"),
    [
        ("gzip", True), ("gzip, deflate, br", True), ("br;q=1, GZIP;q=0.5", True), ("*", True),
        ("gzip;q=0", False), ("gzip;q=0.0", False), ("br", False), ("", False), ("xgzip", False),
    ],
)  # fmt: skip
def test_compression(folder: Path, console: Console, field: str, is_packed: bool) -> None:
    answer = ask(folder, console, "/assets/index-abc123.js", accept_encoding=field)
    assert answer.headers["vary"] == "accept-encoding"
    assert (answer.headers.get("content-encoding") == "gzip") is is_packed
    assert (gzip.decompress(bytes(answer.body)) if is_packed else answer.body) == SCRIPT


def test_a_file_that_a_build_takes_away_is_missing(folder: Path, console: Console) -> None:
    pages = Pages(str(folder))
    (folder / "assets" / "index-abc123.js").unlink()
    for coding in (b"gzip", b"identity"):
        head = read_head("GET", "http", "192.168.1.2", [(b"accept-encoding", coding)])
        answer = pages.answer(console, head, "/assets/index-abc123.js")
        assert answer.status_code == 404 and "immutable" not in answer.headers.get("cache-control", "")


def test_files_that_were_compressed_by_the_build(folder: Path, console: Console) -> None:
    packed = gzip.compress(SCRIPT, 1)
    (folder / "assets" / "index-abc123.js.gz").write_bytes(packed)
    assert ask(folder, console, "/assets/index-abc123.js", accept_encoding="gzip").body == packed


def test_pages_that_were_built_again(folder: Path, console: Console) -> None:
    pages, head = Pages(str(folder)), read_head("GET", "http", "192.168.1.2", [])
    (folder / "assets" / "new-1.js").write_text("new")
    assert pages.answer(console, head, "/assets/new-1.js").status_code == 404
    (folder / "index.html").write_text("newer")
    os.utime(folder / "index.html", ns=(1, 1))
    assert pages.answer(console, head, "/").body == b"newer"
    assert pages.answer(console, head, "/assets/new-1.js").body == b"new"


def test_pages_that_were_not_built(tmp_path: Path, console: Console) -> None:
    answer = ask(tmp_path / "nothing", console, "/")
    assert answer.status_code == 503 and b"scripts/build-webui" in bytes(answer.body)


def test_methods(folder: Path, console: Console) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = ask(folder, console, "/", method)
        assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD"


# On the running console, with the pages of the checkout


def test_a_childs_device_goes_to_its_own_page(served: Served) -> None:
    child = served.child()
    answer = child.get("!/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (302, "/me")
    assert child.get("!/me").status_code == 200 and child.get("!/login").status_code == 200
    served.store.set_option("login_from_children", "yes")
    try:
        assert child.get("!/", follow_redirects=False).status_code == 302, "its own page comes first all the same"
        assert child.sign_in("Mama", PASSWORD).status_code == 201
        assert child.get("!/", follow_redirects=False).status_code == 200, "a parent is signed in there"
    finally:
        served.store.set_option("login_from_children", "no")
    assert served.anonymous().get("!/", follow_redirects=False).status_code == 200


def test_no_path_leaves_the_folder(served: Served) -> None:
    """Raw: a browser would clean such paths up by itself."""
    for target in (
        "/../../console.py",
        "/..%2f..%2fconsole.py",
        "/%2e%2e/%2e%2e/console.py",
        "/assets/..%5c..%5cconsole.py",
        "/assets/%00/../../console.py",
        "//..//..//etc/passwd",
        "/....//....//console.py",
        "/%c0%ae%c0%ae/console.py",
        "*",
        "console.py",
        "/api/v1/../../console.py",
    ):
        with socket.create_connection(("127.0.0.1", served.web_port), 5) as connection:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while part := connection.recv(65536):
                answer += part
        assert answer.split()[1] in (b"404", b"400"), target
        assert b"import" not in answer and b"root:" not in answer
