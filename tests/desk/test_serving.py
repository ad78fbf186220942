"""The web server for trying."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian.desk.serving import make_server
from guardian.errors import DeskError


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    public = tmp_path / "public"
    (public / "default").mkdir(parents=True)
    (public / "default" / "timestamp.json").write_text("{}")
    (public / "default" / ".hidden").write_text("x")
    (tmp_path / "desk.db").write_text("secret")
    (public / "link").symlink_to(tmp_path / "desk.db")
    server = make_server(public, "127.0.0.1", 0, quiet=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_files_have_an_etag_that_spares_the_second_fetch(port: int) -> None:
    status, headers, body = ask(port, "/default/timestamp.json")
    assert (status, body, headers["Cache-Control"]) == (200, b"{}", "no-cache")
    status, again, body = ask(port, "/default/timestamp.json", If_None_Match=headers["ETag"])
    assert (status, body, again["ETag"]) == (304, b"", headers["ETag"])
    assert ask(port, "/default/timestamp.json", If_None_Match='"other"')[0] == 200
    status, headers, body = ask(port, "/default/timestamp.json", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "2", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/", "/default", "/default/", "/gone", "/link", "/default/.hidden", "/../desk.db", "/default/../../desk.db",
        "/%2e%2e/desk.db", "/default/%2e%2e/%2e%2e/desk.db", "/..%2fdesk.db", "/default/timestamp.json%00",
        "//etc/passwd",
    ],
)  # fmt: skip
def test_nothing_else_is_shown(port: int, path: str) -> None:
    status, _, body = ask(port, path)
    assert status == 404
    assert b"secret" not in body


def test_other_methods_are_refused(port: int) -> None:
    assert ask(port, "/default/timestamp.json", "POST")[0] == 501


def test_there_must_be_something_to_serve(tmp_path: Path) -> None:
    with pytest.raises(DeskError, match="publish first"):
        make_server(tmp_path / "public", "127.0.0.1", 0)
