"""The process: slow and greedy callers, stop, settings read again, HTTPS, memory."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from guardian.config import Endpoint
from guardian.errors import GuardianError
from guardian.web import process
from guardian.web.app import BODY_SECONDS, MAX_HEAD_BYTES
from guardian.web.process import HEAD_SECONDS, MOST_PER_SOURCE, open_sockets
from tests.gateway.product import environment, free_port, require, wait_for
from tests.web.product import Served, console

START = b"GET /api/v1/start HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    with console(tmp_path, {}, gateway=False) as running:
        yield running


def connect(served: Served, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.web_port), 5, source_address=(source, 0))


def is_open(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(65536) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def test_one_device_cannot_take_all_connections(own: Served) -> None:
    """The longest idle of its own go; others do not notice."""
    other = connect(own, "127.0.0.9")
    greedy = [connect(own) for _ in range(MOST_PER_SOURCE * 4)]
    time.sleep(0.3)
    assert sum(is_open(connection) for connection in greedy) == MOST_PER_SOURCE
    assert is_open(other)
    other.sendall(START)
    other.settimeout(5)
    assert other.recv(20).startswith(b"HTTP/1.1 200")
    assert own.get("/session").status_code == 200, "nor does the greedy device's own page"
    for connection in (*greedy, other):
        connection.close()


def test_many_devices_cannot_lock_out_one_more(own: Served) -> None:
    held = [connect(own, f"127.0.5.{number // 8 + 1}") for number in range(160)]
    time.sleep(0.3)
    assert own.get("/session").status_code == 200
    assert sum(is_open(connection) for connection in held) <= process.MOST_CONNECTIONS
    for connection in held:
        connection.close()


def test_slow_callers_are_cut(own: Served) -> None:
    """A head that comes byte by byte and never ends, a body that does, a connection that says nothing."""
    began = time.monotonic()
    ended: dict[str, float] = {}
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    upload = b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    def drip(name: str, start: bytes, pause: float) -> None:
        with connect(own) as slow, contextlib.suppress(OSError):
            slow.sendall(start)
            while time.monotonic() - began < 30:
                slow.sendall(b" ")
                time.sleep(pause)
        ended[name] = time.monotonic() - began

    callers = (("quick", head, 0.05), ("slow", head, 0.9), ("body", upload + b"Content-Length: 1000\r\n\r\n", 0.5))
    threads = [threading.Thread(target=drip, args=caller) for caller in callers]
    with connect(own) as silent:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not is_open(silent)
    assert (
        HEAD_SECONDS - 1 < min(ended["quick"], ended["slow"]) <= max(ended["quick"], ended["slow"]) < HEAD_SECONDS + 4
    )
    assert BODY_SECONDS - 1 < ended["body"] < BODY_SECONDS + 5
    assert own.get("/session").status_code == 200


@pytest.mark.parametrize(
    "flood",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * MAX_HEAD_BYTES * 2 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"GET /" + b"a" * MAX_HEAD_BYTES * 2 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0" * 100_000,
        b"\r\n" * 50_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\x00: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_floods_in_the_head(served: Served, flood: bytes) -> None:
    answer = b""
    with connect(served) as connection, contextlib.suppress(OSError):
        connection.sendall(flood)
        while part := connection.recv(65536):
            answer += part
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert served.get("/session").status_code == 200


def test_requests_in_one_go_are_answered_in_order(served: Served) -> None:
    with connect(served) as connection:
        connection.sendall(START * 5 + START.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.count(b"HTTP/1.1 200 OK") == 6


@pytest.mark.parametrize("path", ["/api/v1/session", "/api/v1/claim", "/nothing"])
def test_a_bad_chunk_is_refused_without_a_word_in_the_log(own: Served, path: str) -> None:
    """uvicorn answers 400 and lets the application answer as well: a traceback for every such request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    for rest in (b"zzz\r\n", b"5\r\nab", b"5\r\nabcdefgh\r\n", b"zzz\r\n" * 9):
        with connect(own) as connection:
            connection.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
            time.sleep(0.05)
            connection.sendall(rest)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass
    assert own.anonymous().get("/start").status_code == 200
    assert "Traceback" not in own.web_log() and "Exception" not in own.web_log()


def test_an_upgrade_is_no_upgrade(own: Served) -> None:
    with connect(own) as connection:
        connection.sendall(
            START[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
    assert "WARNING" not in own.web_log()


def test_it_stops_at_once_with_open_pages(tmp_path: Path) -> None:
    """Streams, idle connections, half a head, half a body."""
    with console(tmp_path) as served:
        streams = []
        for _ in range(3):
            stream = connect(served)
            head = "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nCookie: guardian_session="
            stream.sendall(f"{head}{served.parent.http.cookies['guardian_session']}\r\n\r\n".encode())
            assert stream.recv(20).startswith(b"HTTP/1.1 200")
            streams.append(stream)
        idle, half_head, half_body = connect(served), connect(served), connect(served)
        half_head.sendall(b"GET / HT")
        half_body.sendall(
            b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 9\r\n\r\n{"
        )
        time.sleep(0.2)
        began = time.monotonic()
        assert served.stop_web() == 0
        assert time.monotonic() - began < 2.5
        for stream in streams:
            rest = b""
            stream.settimeout(2)
            while part := stream.recv(65536):
                rest += part
            assert rest.endswith(b"0\r\n\r\n"), "the stream was ended, not cut"
        for connection in (*streams, idle, half_head, half_body):
            connection.close()
    log = served.web_log()
    assert "event=stopped" in log and "ERROR" not in log and "Traceback" not in log


def test_settings_are_read_again(own: Served) -> None:
    assert own.web is not None
    other = {"Host": "router.lan"}
    assert own.anonymous().get("/start", headers=other).status_code == 421
    own.settings["web"]["hosts"] = ["router.lan"]
    own.settings["block"]["support"] = "Your provider: 0800"
    own.write()
    own.web.send_signal(signal.SIGHUP)
    wait_for(lambda: own.anonymous().get("/start", headers=other).status_code == 200)
    assert own.anonymous().get("/start").json()["support"] == "Your provider: 0800"
    before = own.settings["web"]["listen"]
    for wrong in ({"listen": ["127.0.0.1:1"]}, {"hosts": ["not a host"]}, {"clients": []}):
        own.settings["web"] |= {"listen": before, "hosts": ["evil.example"]} | wrong
        own.write()
        refused = own.web_log().count("event=reload-refused")
        own.web.send_signal(signal.SIGHUP)
        wait_for(lambda count=refused: own.web_log().count("event=reload-refused") == count + 1)
        assert own.anonymous().get("/start", headers={"Host": "evil.example"}).status_code == 421
        own.settings["web"].pop("clients", None)
    assert own.get("/session").status_code == 200


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(GuardianError, match=f"cannot serve the console on 127.0.0.1:{port}: .*in use"):
            open_sockets((Endpoint("127.0.0.1", free_port()), Endpoint("127.0.0.1", port)))


def test_every_family_side_by_side() -> None:
    port = free_port()
    opened = open_sockets((Endpoint("0.0.0.0", port), Endpoint("::", port)))
    try:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), 2).close()
    finally:
        for each in opened:
            each.close()


def test_both_families_are_served(tmp_path: Path) -> None:
    port = free_port()
    settings = {"web": {"listen": [f"127.0.0.1:{port}", f"[::1]:{port}"]}}
    with console(tmp_path, {}, settings, gateway=False, claimed=False, port=port) as served:
        for host in ("127.0.0.1", "[::1]"):
            answer = httpx.get(f"http://{host}:{port}/api/v1/start", trust_env=False)
            assert answer.status_code == 200 and answer.json()["claimed"] is False
        assert served.web is not None


def test_https(tmp_path: Path) -> None:
    """With the certificate that is made at the first start; the cookie never travels in the clear then."""
    require("openssl")
    with console(tmp_path, {}, {"web": {"tls": {"enabled": True}}}, gateway=False) as served:
        trusted = ssl.create_default_context(cafile=str(tmp_path / "state" / "web" / "certificate.pem"))
        base = f"https://127.0.0.1:{served.web_port}"
        with httpx.Client(base_url=base, verify=trusted, trust_env=False) as client:
            assert client.get("/api/v1/start").json()["encrypted"] is True
            answer = client.post("/api/v1/session", json={"name": "Mama", "password": "correct horse battery"})
            assert answer.status_code == 201 and "secure" in answer.headers["set-cookie"].lower()
            origin = {"Origin": f"http://127.0.0.1:{served.web_port}"}
            refused = client.post("/api/v1/session", json={"name": "x", "password": "x"}, headers=origin)
            assert refused.json()["code"] == "csrf", "a page without encryption is another site"
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)), connect(served) as plain:
            old.wrap_socket(plain)


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    (tmp_path / "key.pem").write_text("no key")
    (tmp_path / "guardian.yaml").write_text(
        f"upstreams: {{servers: [192.0.2.1]}}\nstate: state\nweb: {{listen: ['127.0.0.1:{free_port()}'], "
        "tls: {enabled: yes, certificate: cert.pem, key: key.pem}}\n"
    )
    command = [sys.executable, "-m", "guardian", "web", "--config", str(tmp_path / "guardian.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment())
    assert done.returncode == 1 and "cert.pem cannot be used" in done.stderr and "Traceback" not in done.stderr


def resident(pid: int) -> float:
    """Megabytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def test_memory(served: Served) -> None:
    """The process must fit beside the gateway on 128 MB; a sign-in's 16 MB are given back."""
    assert served.web is not None
    for _ in range(4):
        served.signed_in()
    for path in ("/household", "/catalogue", "/devices", "/session"):
        for _ in range(20):
            assert served.get(path).status_code == 200
    served.get("!/")
    assert resident(served.web.pid) <= 45


def test_it_survives_callers_that_leave(own: Served) -> None:
    def leave(number: int) -> None:
        for _ in range(20):
            with connect(own, f"127.0.6.{number}") as connection:
                connection.sendall(START)

    threads = [threading.Thread(target=leave, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: own.get("/session").status_code == 200)
    assert own.web is not None
    wait_for(lambda: len(os.listdir(f"/proc/{own.web.pid}/fd")) < 40)


def test_what_only_costs_memory_is_not_imported() -> None:
    script = """
import sys
import guardian.web.process
print(*sorted({"click", "multiprocessing", "anyio._backends._asyncio", "apprise"} & set(sys.modules)))
import uvicorn.main
print(uvicorn.main.Server is guardian.web.process.UvicornServer, callable(uvicorn.main.run))
"""
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "True True"]
