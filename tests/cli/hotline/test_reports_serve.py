"""The intake as it runs: a real process, TLS, a real console whose courier sends to it, a proxy, slow callers."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from guardian.desk.report_store import ReportStore, list_reports, read_queued
from tests.desk.reports import make_id, sent_by_router
from tests.desk.worked_desk import WorkedDesk
from tests.gateway.product import CHILD, assert_clean, environment, free_port, wait_for
from tests.web.product import console

JSON = {"Content-Type": "application/json"}
HALF = b"POST /reports HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"


class Hotline:
    """A desk whose intake runs."""

    def __init__(self, folder: Path, *options: str, authority: trustme.CA | None = None) -> None:
        self.desk = WorkedDesk(folder / "desk")
        self.port = free_port()
        self.log_path = folder / "intake.log"
        words = ["--listen", f"127.0.0.1:{self.port}", *options]
        if authority is not None:
            made = authority.issue_cert("127.0.0.1")
            made.private_key_pem.write_to_path(str(folder / "key.pem"))
            for blob in made.cert_chain_pems:
                blob.write_to_path(str(folder / "cert.pem"), append=True)
            words += ["--certificate", str(folder / "cert.pem"), "--key", str(folder / "key.pem")]
        command = [
            sys.executable,
            "-m",
            "guardian",
            "hotline",
            "--desk",
            str(self.desk.folder),
            "reports",
            "serve",
            *words,
        ]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment(), cwd=folder)
        wait_for(lambda: self.process.poll() is not None or "event=started" in self.log())
        assert self.process.poll() is None, self.log()
        self.scheme = "https" if authority else "http"
        self.address = f"{self.scheme}://127.0.0.1:{self.port}/reports"

    @property
    def store(self) -> ReportStore:
        return ReportStore(str(self.desk.folder))

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(10) == 0, self.log()
        finally:
            self.process.kill()
        assert_clean(self.log())


@contextlib.contextmanager
def hotline(folder: Path, *options: str, authority: trustme.CA | None = None) -> Iterator[Hotline]:
    """Start an intake, hand it out, end it; what it logged of bugs is a failure of the test."""
    made = Hotline(folder, *options, authority=authority)
    try:
        yield made
    finally:
        made.stop()


def post(address: str, body: bytes, source: str = "127.0.0.1", **headers: str) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(local_address=source, verify=False)) as client:
        return client.post(address, content=body, headers=JSON | headers)


def test_a_childs_report_comes_from_the_tablet_to_the_analyst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real console and its courier on one side, TLS between, the real desk on the other."""
    authority = trustme.CA()
    root = tmp_path / "root.pem"
    authority.cert_pem.write_to_path(str(root))
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    words = {"type": "grooming", "language": "ru", "good_faith": True}
    words |= {"url": "https://zebra.example/страница", "note": "ж" * 1000, "contact": "me@example.org"}
    with hotline(tmp_path, authority=authority) as desk:
        home_folder = tmp_path / "home"
        home_folder.mkdir()
        with console(home_folder, settings={"web": {"reports": desk.address}}) as home:
            receipt = home.child().post("/child/reports", words).json()
            wait_for(lambda: home.get("/reports").json()["sent"] == 1)
            assert home.get("/reports").json()["lost"] == 0
        (found,) = list_reports(desk.store)
        assert (found.report_id, found.type, found.lang) == (receipt["report_id"], "grooming", "ru")
        assert (found.url, found.note) == ("https://zebra.example/страница", "ж" * 1000)
        assert read_queued(desk.store, 1)[1] == "me@example.org"
        assert found.received % 3600 == found.created % 3600 == 0
    assert CHILD not in desk.log()
    assert "zebra" not in desk.log()
    assert "event=report-taken type=grooming" in desk.log()


def test_no_address_and_no_header_is_on_the_disk(tmp_path: Path) -> None:
    with hotline(tmp_path) as desk:
        marks = {"User-Agent": "secret-agent", "X-Forwarded-For": "203.0.113.99", "Cookie": "secret=cookie"}
        assert post(desk.address, sent_by_router(note="zebra"), "127.0.0.77", **marks).status_code == 202
        assert post(desk.address, b"{}", "127.0.0.77", **marks).status_code == 422
        assert (
            post(desk.address + "?secret-query", sent_by_router(make_id(2)), "127.0.0.77", **marks).status_code == 202
        )
    for path in [*desk.desk.folder.rglob("*"), desk.log_path]:
        content = path.read_bytes() if path.is_file() else b""
        for trace in (b"127.0.0.77", b"203.0.113.99", b"secret"):
            assert trace not in content, path
    assert "zebra" not in desk.log()


def test_without_a_named_proxy_it_says_so(tmp_path: Path) -> None:
    with hotline(tmp_path) as desk:
        assert "event=no-proxy-named" in desk.log()


class Proxy(ThreadingHTTPServer):
    """A reverse proxy: TLS to the outside, plain HTTP to the intake, and whom it speaks for in X-Forwarded-For."""

    daemon_threads = True

    def __init__(self, target: str, context: ssl.SSLContext) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                known = self.headers.get("X-Forwarded-For")
                chain = f"{known}, {self.client_address[0]}" if known else self.client_address[0]
                answer = httpx.post(target, content=body, headers=JSON | {"X-Forwarded-For": chain})
                self.send_response(answer.status_code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)


def test_behind_a_proxy_each_home_has_its_own_limit(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with hotline(tmp_path, "--proxy", "127.0.0.1") as desk, Proxy(desk.address, context) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        address = f"https://127.0.0.1:{proxy.server_port}/reports"
        statuses = [
            post(
                address, sent_by_router(make_id(number)), "127.0.0.8", **{"X-Forwarded-For": f"192.0.2.{number}"}
            ).status_code
            for number in range(33)
        ]
        assert statuses == [202] * 30 + [429] * 3  # what the sender says of itself helps nothing
        assert post(address, sent_by_router(make_id(99)), "127.0.0.9").status_code == 202
        proxy.shutdown()
        assert len(list_reports(desk.store)) == 31


def test_callers_that_hang_or_drip_hold_nobody_up(tmp_path: Path) -> None:
    with hotline(tmp_path, "--proxy", "127.0.0.1") as desk, contextlib.ExitStack() as stack:
        for number in range(160):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", desk.port), 5))
            if number % 2:
                slow.sendall(HALF)
        started = time.monotonic()
        answers = []
        for number in range(5):
            for _ in range(5):  # a proxy tries again when its connection is cut to make room
                with contextlib.suppress(httpx.TransportError):
                    good = post(desk.address, sent_by_router(make_id(number)), **{"X-Forwarded-For": "192.0.2.5"})
                    answers.append(good.status_code)
                    break
        assert answers == [202] * 5
        assert time.monotonic() - started < 5


def test_a_head_without_end_is_refused(tmp_path: Path) -> None:
    with hotline(tmp_path) as desk:
        with socket.create_connection(("127.0.0.1", desk.port), 5) as connection:
            connection.sendall(b"POST /reports HTTP/1.1\r\nHost: x\r\n")
            with contextlib.suppress(OSError):
                for _ in range(100):
                    connection.sendall(b"X-Long: " + b"x" * 1000 + b"\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100).startswith(b"HTTP/1.1 4")
        assert post(desk.address, sent_by_router()).status_code == 202


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /reports HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /reports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzzz\r\n",
        HALF.replace(b"Content-Length: 500", b"Transfer-Encoding: chunked") + b"zzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"zzz\r\n" * 9,
        b"POST /reports HTTP/9.9\r\n\r\n",
        b"GET /reports/../desk.db HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /desk.db HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"\x00" * 1000,
    ],
)
def test_what_is_no_request_is_no_harm(tmp_path: Path, request_: bytes) -> None:
    with hotline(tmp_path) as desk:
        with socket.create_connection(("127.0.0.1", desk.port), 5) as connection:
            connection.sendall(request_)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                answer = connection.recv(1000)
                assert not answer or answer.startswith(b"HTTP/1.1 4")
        assert post(desk.address, sent_by_router()).status_code == 202


def test_rubbish_behind_an_answer_is_no_harm(tmp_path: Path) -> None:
    with hotline(tmp_path) as desk:
        with socket.create_connection(("127.0.0.1", desk.port), 5) as connection:
            connection.sendall(b"POST /reports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 415 ")
            connection.sendall(b"zzz\r\n")
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(1000):
                    pass
        assert post(desk.address, sent_by_router()).status_code == 202


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with hotline(tmp_path) as desk:
        taken = [
            number for number in range(5) if post(desk.address, sent_by_router(make_id(number))).status_code == 202
        ]
        desk.process.kill()
        desk.process.wait()
        assert {found.report_id for found in list_reports(desk.store)} == {make_id(number) for number in taken}
        command = [*desk.process.args]  # type: ignore[misc]
        with open(desk.log_path, "ab") as log:
            desk.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment(), cwd=tmp_path)
        wait_for(lambda: desk.log().count("event=started") == 2)
        assert post(desk.address, sent_by_router(make_id(0))).status_code == 202
        assert len(list_reports(desk.store)) == len(taken) == 5


def test_an_address_that_is_taken_is_told(tmp_path: Path) -> None:
    with hotline(tmp_path) as desk:
        words = ["hotline", "--desk", str(desk.desk.folder), "reports", "serve", "--listen", f"127.0.0.1:{desk.port}"]
        done = subprocess.run(
            [sys.executable, "-m", "guardian", *words],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=30,
            check=False,
        )
        assert (done.returncode, "cannot listen on" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    desk = WorkedDesk(tmp_path / "desk")
    (tmp_path / "x.pem").write_text("no certificate")
    words = ["hotline", "--desk", str(desk.folder), "reports", "serve", "--listen", f"127.0.0.1:{free_port()}"]
    words += ["--certificate", str(tmp_path / "x.pem"), "--key", str(tmp_path / "x.pem")]
    done = subprocess.run(
        [sys.executable, "-m", "guardian", *words],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=30,
        check=False,
    )
    assert (done.returncode, "x.pem cannot be used" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_the_router_and_the_intake_speak_of_the_same_fields() -> None:
    assert set(json.loads(sent_by_router())) == {
        "report_id", "schema", "created", "type", "url", "found_via", "note", "lang", "country", "reporter",
        "good_faith",
    }  # fmt: skip
