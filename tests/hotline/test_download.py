"""Connections: proxies, connections that stay open, one deadline over several answers."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from guardian.errors import ListError
from guardian.hotline.download import (
    Connections,
    Deadline,
    Limits,
    StatusError,
    TooLargeError,
    TooSlowError,
    Validators,
    find_proxy,
    open_url,
)

LIMITS = Limits(size=1 << 20, total=5.0, connect=2.0, read=2.0)


@contextmanager
def deadline(seconds: float = 5.0) -> Iterator[Deadline]:
    made = Deadline(seconds)
    try:
        yield made
    finally:
        made.cancel()


def read(url: str, limits: Limits = LIMITS, connections: Connections | None = None) -> bytes:
    with deadline(limits.total) as end, open_url(url, limits, end, connections=connections) as answer:
        return b"".join(answer.chunks)


class Wire:
    """A server of raw connections: `serve(stream)` runs for each, one after the other."""

    def __init__(self, serve: Any) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._serve = serve
        self.count = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            self.count += 1
            with stream:
                try:
                    self._serve(stream)
                except OSError:
                    continue

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


def read_head(stream: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        part = stream.recv(65536)
        if not part:
            break
        head += part
    return head


@pytest.fixture
def polite() -> Iterator[Wire]:
    """A server that keeps its connections; each answer says how many came before on the same one."""

    def serve(stream: socket.socket) -> None:
        count = 0
        while head := read_head(stream):
            body = b"%d" % count
            status = b"404 Not Found" if b"/missing" in head else b"200 OK"
            stream.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
            count += 1

    wire = Wire(serve)
    yield wire
    wire.close()


def test_a_connection_stays_for_the_next_answer(polite: Wire) -> None:
    connections = Connections()
    url = f"http://127.0.0.1:{polite.port}/"
    try:
        assert [read(url, connections=connections) for _ in range(3)] == [b"0", b"1", b"2"]
        with pytest.raises(StatusError) as caught:
            read(f"{url}missing", connections=connections)
        assert caught.value.status == 404
        assert polite.count == 1
    finally:
        connections.close()
    assert read(url) == b"0", "without somebody who keeps it, none stays"
    assert polite.count == 2


def test_an_answer_that_was_not_read_to_its_end_takes_its_connection_along() -> None:
    def serve(stream: socket.socket) -> None:
        while read_head(stream):
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000)

    wire, connections = Wire(serve), Connections()
    try:
        for _ in range(2):
            with (
                deadline() as end,
                open_url(f"http://127.0.0.1:{wire.port}/", LIMITS, end, connections=connections) as answer,
            ):
                assert next(answer.chunks)
        assert wire.count == 2
    finally:
        connections.close()
        wire.close()


@pytest.mark.parametrize("first_answers", [1, 2])
def test_a_connection_that_was_closed_meanwhile_is_made_anew(first_answers: int) -> None:
    def serve(stream: socket.socket) -> None:
        for _ in range(first_answers):
            if read_head(stream):
                stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    wire, connections = Wire(serve), Connections()
    try:
        for _ in range(4):
            assert read(f"http://127.0.0.1:{wire.port}/", connections=connections) == b"ok"
            time.sleep(0.05)
    finally:
        connections.close()
        wire.close()
    assert wire.count == 4 // first_answers


def test_one_deadline_over_several_answers(polite: Wire) -> None:
    url = f"http://127.0.0.1:{polite.port}/"
    with deadline(0.3) as end:
        with open_url(url, LIMITS, end) as answer:
            assert b"".join(answer.chunks) == b"0"
        time.sleep(0.4)
        with pytest.raises(TooSlowError, match=r"not done within 0\.3 s"), open_url(url, LIMITS, end) as answer:
            b"".join(answer.chunks)


def test_a_cut_in_the_headers_is_no_empty_answer(web: Any) -> None:
    """The end of a connection in the midst of headers looks like an answer without a body."""

    def page(exchange: Any) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not exchange.stop.wait(0.02):
            exchange.send(b"y")

    web.pages["/"] = page
    with pytest.raises(TooSlowError, match="not done within"):
        read(f"{web.url}/", Limits(size=100, total=0.5))


def test_errors_say_what_kind_they_are(web: Any) -> None:
    web.pages["/large"] = lambda exchange: exchange.answer(b"x" * 200)
    with pytest.raises(TooLargeError):
        read(f"{web.url}/large", Limits(size=100))
    web.pages["/silent"] = lambda exchange: exchange.stop.wait()
    with pytest.raises(TooSlowError):
        read(f"{web.url}/silent", Limits(size=100, read=0.2))


def test_what_is_current_has_no_bytes(web: Any) -> None:
    web.pages["/"] = lambda exchange: exchange.answer(b"", "304 Not Modified", Date="Tue, 01 Sep 2026 00:00:00 GMT")
    with deadline() as end, open_url(f"{web.url}/", LIMITS, end, Validators('"a"')) as answer:
        assert not answer.changed and not list(answer.chunks) and answer.date == "Tue, 01 Sep 2026 00:00:00 GMT"


@pytest.fixture
def proxy() -> Iterator[Any]:
    """A proxy that does as it is asked, and notes the heads of requests."""
    heads: list[bytes] = []

    def serve(stream: socket.socket) -> None:
        head = read_head(stream)
        heads.append(head)
        method, target = head.split(b" ")[:2]
        if method != b"CONNECT":
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nvia")
            return
        if b"forbidden" in target:
            stream.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        host, port = target.decode().rsplit(":", 1)
        with socket.create_connection((host, int(port))) as other:
            stream.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threads = [
                threading.Thread(target=pump, args=pair, daemon=True) for pair in ((stream, other), (other, stream))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)

    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    wire = Wire(serve)
    wire.heads = heads  # type: ignore[attr-defined]
    yield wire
    wire.close()


def test_http_goes_through_the_proxy_of_the_environment(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://box:p%40ss@127.0.0.1:{proxy.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert read("http://feed.hotline.example/a?b") == b"via"
    head = proxy.heads[0]
    assert head.startswith(b"GET http://feed.hotline.example/a?b HTTP/1.1\r\n")
    assert b"Host: feed.hotline.example\r\n" in head and b"Proxy-Authorization: Basic Ym94OnBAc3M=\r\n" in head


def test_https_goes_through_a_tunnel_and_is_verified(
    proxy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def serve(stream: socket.socket) -> None:
        with context.wrap_socket(stream, server_side=True) as secured:
            head = read_head(secured)
            assert b"Proxy-Authorization" not in head
            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")

    wire = Wire(serve)
    monkeypatch.setenv("https_proxy", f"http://box:pass@127.0.0.1:{proxy.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    try:
        with pytest.raises(ListError, match="no trusted connection"):
            read(f"https://127.0.0.1:{wire.port}/")
        with authority.cert_pem.tempfile() as file:
            monkeypatch.setenv("SSL_CERT_FILE", file)
            assert read(f"https://127.0.0.1:{wire.port}/") == b"secret"
        with pytest.raises(ListError, match="the proxy answers 403"):
            read("https://forbidden.example/")
    finally:
        wire.close()
    assert proxy.heads[1].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % wire.port)
    assert b"Proxy-Authorization: Basic Ym94OnBhc3M=\r\n" in proxy.heads[1]


@pytest.mark.parametrize(
    ("environment", "url", "found"),
    [
        ({}, "http://a.example/", None),
        ({"http_proxy": "http://p:3128"}, "http://a.example/", ("p", 3128)),
        ({"http_proxy": "p:3128"}, "http://a.example/", ("p", 3128)),
        ({"http_proxy": "http://p:3128"}, "https://a.example/", None),
        ({"https_proxy": "http://p:3128"}, "https://a.example/", ("p", 3128)),
        ({"all_proxy": "http://p:3128"}, "https://a.example/", ("p", 3128)),
        ({"http_proxy": "http://p:3128", "no_proxy": "a.example"}, "http://a.example/", None),
        ({"http_proxy": "http://p:3128", "no_proxy": ".example"}, "http://a.example:8080/", None),
        ({"http_proxy": "http://p:3128", "no_proxy": "*"}, "http://a.example/", None),
        ({"http_proxy": "http://[::1]:3128"}, "http://a.example/", ("::1", 3128)),
    ],
)
def test_the_proxy_of_the_environment(
    environment: dict[str, str], url: str, found: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy = find_proxy(urlsplit(url))
    assert (proxy and (proxy.hostname, proxy.port)) == found


def test_a_proxy_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1080")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ListError, match=r"no http:// address: 'socks5:'"):
        read("http://a.example/")
