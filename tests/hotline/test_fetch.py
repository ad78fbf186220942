"""Fetching from servers that do everything wrong. Deadlines here are small, so that bad servers cost little time."""

from __future__ import annotations

import gzip
import io
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.errors import ListError
from guardian.hotline.download import Limits, Validators, unpack
from guardian.hotline.fetch import FetchResult, fetch

LIST = b"".join(b"name-%d.example.org\n" % number for number in range(2000))
LIMITS = Limits(size=1 << 20, total=5.0, connect=2.0, read=2.0)
NASTY = Limits(size=1 << 20, total=0.6, connect=2.0, read=2.0, grace=0.2, rate=4096)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A good copy that no failure may touch."""
    path = tmp_path / "kept.list"
    path.write_bytes(b"last.good.example\n")
    return path


def refuse(url: str, kept: Path, limits: Limits = LIMITS) -> str:
    """Fetch, expect a refusal, and check that the copy is whole and nothing else lies about; return why."""
    begin = time.monotonic()
    with pytest.raises(ListError) as caught:
        fetch(url, kept, limits)
    assert time.monotonic() - begin < limits.total + limits.connect + 3  # bounded, not timed
    assert kept.read_bytes() == b"last.good.example\n"
    assert os.listdir(kept.parent) == [kept.name]
    return str(caught.value)


def test_a_list_comes_whole(web: Any, kept: Path) -> None:
    web.pages["/list"] = lambda x: x.answer(LIST, ETag='"v1"', Last_Modified="Mon, 01 Jan 2026 00:00:00 GMT")
    result = fetch(f"{web.url}/list", kept, LIMITS)
    assert result == FetchResult(True, len(LIST), Validators('"v1"', "Mon, 01 Jan 2026 00:00:00 GMT"))
    assert kept.read_bytes() == LIST
    asked = web.seen[0].headers
    assert "cookie" not in asked and "authorization" not in asked and "referer" not in asked
    assert asked["user-agent"] == "guardian-sync" and asked["accept-encoding"] == "gzip"


def test_what_is_current_is_not_sent_again(web: Any, kept: Path) -> None:
    def page(exchange: Any) -> None:
        if exchange.headers.get("if-none-match") == '"v1"':
            exchange.send(b'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\nConnection: close\r\n\r\n')
        else:
            exchange.answer(LIST, ETag='"v1"')

    web.pages["/list"] = page
    first = fetch(f"{web.url}/list", kept, LIMITS)
    second = fetch(f"{web.url}/list", kept, LIMITS, first.validators)
    assert second == FetchResult(False, 0, first.validators)
    assert kept.read_bytes() == LIST


def test_a_304_that_nobody_asked_for_is_refused(web: Any, kept: Path) -> None:
    web.pages["/list"] = lambda x: x.send(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n")
    assert "304" in refuse(f"{web.url}/list", kept)


def test_gzip_is_unpacked_also_in_several_members(web: Any, kept: Path) -> None:
    packed = gzip.compress(LIST[:5000]) + gzip.compress(LIST[5000:])
    web.pages["/encoded"] = lambda x: x.answer(packed, Content_Encoding="gzip")
    web.pages["/list.gz"] = lambda x: x.answer(packed, Content_Type="application/gzip")
    for path in ("/encoded", "/list.gz"):
        assert fetch(f"{web.url}{path}", kept, LIMITS).size == len(LIST)
        assert kept.read_bytes() == LIST


def test_chunked_bodies_are_read(web: Any, kept: Path) -> None:
    web.pages["/list"] = lambda x: x.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        + b"".join(b"%x\r\n%s\r\n" % (len(LIST[at : at + 999]), LIST[at : at + 999]) for at in range(0, len(LIST), 999))
        + b"0\r\n\r\n"
    )
    fetch(f"{web.url}/list", kept, LIMITS)
    assert kept.read_bytes() == LIST


BOMB = zlib.compressobj(9, wbits=31)
BOMB_BYTES = b"".join(BOMB.compress(b"a.example\n" * 100_000) for _ in range(60)) + BOMB.flush()


def endless(exchange: Any) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while not exchange.stop.is_set():
        exchange.send(LIST)


def endless_headers(exchange: Any) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    while not exchange.stop.is_set():
        exchange.send(b"X-More: and more\r\n" * 100)


def drip(data: bytes) -> Callable[[Any], None]:
    def page(exchange: Any) -> None:
        for byte in data:
            if exchange.stop.wait(0.02):
                return
            exchange.send(bytes([byte]))

    return page


def silent(exchange: Any) -> None:
    exchange.stop.wait()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\nConnection: close\r\n\r\n"

ATTACKS: dict[str, tuple[Callable[[Any], None], Limits, str]] = {
    "declared too large": (lambda x: x.answer(b"", length=1 << 40), LIMITS, "more than the limit"),
    "endless body": (endless, LIMITS, "larger than the limit"),
    "endless headers": (endless_headers, LIMITS, "does not speak HTTP"),
    "gzip bomb": (lambda x: x.answer(BOMB_BYTES, Content_Encoding="gzip"), LIMITS, "unpacked answer is larger"),
    "gzip cut off": (lambda x: x.answer(gzip.compress(LIST)[:-20], Content_Encoding="gzip"), LIMITS, "cut off"),
    "gzip damaged": (lambda x: x.answer(gzip.compress(LIST)[:60] + b"x" * 60), LIMITS, "damaged"),
    "gzip with a tail": (lambda x: x.answer(gzip.compress(LIST) + b"tail"), LIMITS, "damaged"),
    "unknown packing": (lambda x: x.answer(LIST, Content_Encoding="br"), LIMITS, "nobody asked for"),
    "truncated length": (lambda x: x.answer(LIST, length=len(LIST) + 1), LIMITS, "cut off"),
    "truncated chunk": (
        lambda x: x.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n400\r\nabc"),
        LIMITS,
        "cut off",
    ),
    "bad chunk": (
        lambda x: x.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\nabc"),
        LIMITS,
        "",
    ),
    "negative length": (lambda x: x.answer(b"", length=-5), LIMITS, "empty"),
    "silence": (silent, Limits(size=1000, total=5, read=0.2), "no answer within"),
    "header drip": (drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 10000), NASTY, "not done within"),
    "body drip": (drip(HEAD + b"a" * 10000), Limits(size=1 << 20, total=0.8, read=2.0), "not done within"),
    "too slow": (drip(HEAD + b"a" * 10000), Limits(1 << 20, total=10, read=2, grace=0.2, rate=10**6), "too slow"),
    "web page": (lambda x: x.answer(b"<!DOCTYPE html>sorry", Content_Type="text/html"), LIMITS, "web page"),
    "page as text": (lambda x: x.answer(b"\r\n  <HTML><head>", Content_Type="text/plain"), LIMITS, "web page"),
    "page with a mark": (lambda x: x.answer(b"\xef\xbb\xbf<!doctype html>"), LIMITS, "web page"),
    "empty": (lambda x: x.answer(b""), LIMITS, "empty"),
    "not found": (lambda x: x.answer(b"a.example", "404 Not Found"), LIMITS, "404"),
    "server error": (lambda x: x.answer(b"a.example", "503 Busy"), LIMITS, "503"),
    "partial": (lambda x: x.answer(LIST, "206 Partial Content"), LIMITS, "206"),
    "redirect to itself": (lambda x: x.answer(b"", "302 Found", Location="/list"), LIMITS, "redirects"),
    "redirect to a file": (lambda x: x.answer(b"", "302 Found", Location="file:///etc/passwd"), LIMITS, "refused"),
    "redirect nowhere": (lambda x: x.answer(b"", "302 Found"), LIMITS, "without a place"),
    "redirect to rubbish": (lambda x: x.answer(b"", "301 X", Location="http://[::bad"), LIMITS, "no usable address"),
    "redirect with a login": (lambda x: x.answer(b"", "301 X", Location="http://a:b@127.0.0.1/"), LIMITS, "no usable"),
    "no HTTP": (lambda x: x.send(b"SSH-2.0-OpenSSH_9.2\r\n"), LIMITS, "does not speak HTTP"),
    "garbage": (lambda x: x.send(bytes(range(256)) * 50), LIMITS, "does not speak HTTP"),
    "closed at once": (lambda x: None, LIMITS, ""),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_bad_server_leaves_the_last_copy(attack: str, web: Any, kept: Path) -> None:
    page, limits, expected = ATTACKS[attack]
    web.pages["/list"] = page
    assert expected in refuse(f"{web.url}/list", kept, limits)


def test_redirects_are_followed_and_counted(web: Any, kept: Path) -> None:
    for step in range(5):
        web.pages[f"/{step}"] = lambda x, step=step: x.answer(b"", "307 Go", Location=f"{web.url}/{step + 1}")
    web.pages["/5"] = lambda x: x.answer(LIST)
    assert fetch(f"{web.url}/0", kept, LIMITS).size == len(LIST)
    web.pages["/5"] = lambda x: x.answer(b"", "307 Go", Location="/6")
    kept.write_bytes(b"last.good.example\n")
    assert "more than 5 redirects" in refuse(f"{web.url}/0", kept)


def test_nobody_there(kept: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "no connection to 127.0.0.1" in refuse(f"http://127.0.0.1:{port}/list", kept)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/list", "http://", "http://127.0.0.1:99999/", "https:///x", "gopher:x"]
)
def test_addresses_that_are_none(url: str, kept: Path) -> None:
    refuse(url, kept)


class TlsServer:
    """Answers one page over TLS until closed."""

    def __init__(self, authority: trustme.CA, answer: bytes) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}/list"
        self._context = context
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                with connection, self._context.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(65536)
                    secured.sendall(self._answer)
            except OSError:
                continue

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


def test_https_is_verified_and_never_downgraded(
    web: Any, kept: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    web.pages["/list"] = lambda x: x.answer(LIST)
    good = TlsServer(authority, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(LIST), LIST))
    down = TlsServer(authority, f"HTTP/1.1 302 Found\r\nLocation: {web.url}/list\r\nContent-Length: 0\r\n\r\n".encode())
    try:
        assert "no trusted connection" in refuse(good.url, kept)
        with authority.cert_pem.tempfile() as ca_file:
            monkeypatch.setenv("SSL_CERT_FILE", ca_file)
            assert "is refused" in refuse(down.url, kept)
            assert not web.seen
            assert fetch(good.url, kept, LIMITS).size == len(LIST)
    finally:
        good.close()
        down.close()


def test_files(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("source")
    source = folder / "my list.txt"
    source.write_bytes(LIST)
    first = fetch(source.as_uri(), kept, LIMITS)
    assert first.changed and kept.read_bytes() == LIST
    assert not fetch(str(source), kept, LIMITS, first.validators).changed
    source.write_bytes(gzip.compress(LIST + b"more.example\n"))
    assert fetch(str(source), kept, LIMITS, first.validators).changed
    assert kept.read_bytes().endswith(b"more.example\n")
    kept.write_bytes(b"last.good.example\n")
    os.mkfifo(folder / "pipe")
    (folder / "huge").write_bytes(b"x" * (LIMITS.size + 1))
    for name, expected in (("pipe", "no ordinary file"), (".", ""), ("none", "No such file"), ("huge", "limit")):
        assert expected in refuse(str(folder / name), kept)


@settings(max_examples=200, deadline=None)
@given(
    members=st.lists(st.binary(max_size=300_000) | st.binary(max_size=40).map(lambda part: part * 5000), max_size=3),
    cuts=st.lists(st.integers(1, 70_000), min_size=1, max_size=20),
    limit=st.integers(1, 700_000),
)
def test_unpacking_is_the_inverse_of_packing_however_it_arrives(
    members: list[bytes], cuts: list[int], limit: int
) -> None:
    plain = b"".join(members)
    stream = io.BytesIO(b"".join(gzip.compress(member, 1) for member in members))

    def arrive() -> Any:
        while True:
            for size in cuts:
                part = stream.read(size)
                if not part:
                    return
                yield part

    unpacked = unpack(arrive(), limit)
    if len(plain) > limit:
        with pytest.raises(ListError):
            b"".join(unpacked)
    else:
        assert b"".join(unpacked) == plain


def test_a_copy_is_for_this_user_alone_whatever_the_umask(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It may be the copy of a mandatory list."""
    source = tmp_path_factory.mktemp("source") / "list.txt"
    source.write_bytes(LIST)
    before = os.umask(0)
    try:
        fetch(str(source), kept, LIMITS)
    finally:
        os.umask(before)
    assert kept.stat().st_mode & 0o777 == 0o600
