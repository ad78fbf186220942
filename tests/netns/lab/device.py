"""A device of the home, and what it can do: real programs in its namespace."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.gateway.product import ROOT, environment
from tests.netns.lab import plan
from tests.netns.namespaces import inside

T = TypeVar("T")

# Exit codes of curl
RESOLVE_FAILED, CONNECT_FAILED, TIMED_OUT, TLS_FAILED, EMPTY_REPLY, RECEIVE_FAILED = 6, 7, 28, 35, 52, 56


class Fetched(NamedTuple):
    """What came of a request. `error` is "" or a word: refused, reset, timeout, or what the program said."""

    status: int  # 0: no response came
    body: str
    error: str
    address: str  # where it connected to, "" if nowhere
    seconds: float

    @property
    def ok(self) -> bool:
        return self.status == 200 and not self.error


class Download:
    """A program that goes on receiving, and when how much came: for stops that must be felt at once.

    Times are time.monotonic().
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._lock = threading.Lock()
        self._parts: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while part := os.read(self.process.stdout.fileno(), 65536):
            with self._lock:
                self._parts.append((time.monotonic(), len(part)))

    @property
    def total(self) -> int:
        """Bytes so far."""
        return self.received()

    def received(self, since: float = 0.0, until: float = float("inf")) -> int:
        """Bytes that came in [since, until)."""
        with self._lock:
            return sum(size for at, size in self._parts if since <= at < until)

    @property
    def last(self) -> float:
        """When the last bytes came, 0.0 for never."""
        with self._lock:
            return self._parts[-1][0] if self._parts else 0.0

    @property
    def ended(self) -> bool:
        """Whether the program has ended: its connection was closed or reset."""
        return self.process.poll() is not None

    def wait_for_more(self, size: int = 20_000, seconds: float = 15.0) -> None:
        """Wait until so many more bytes have come. Raises AssertionError when they don't."""
        goal, deadline = self.total + size, time.monotonic() + seconds
        while self.total < goal:
            assert time.monotonic() < deadline, f"{self.total} bytes after {seconds} s, expected {goal}"
            time.sleep(0.02)

    def wait_for_silence(self, quiet: float = 1.0, seconds: float = 15.0) -> float:
        """Wait until nothing came for `quiet` seconds; return when the last bytes came. Raises AssertionError."""
        deadline = time.monotonic() + seconds
        while True:
            now, last = time.monotonic(), self.last
            if now - last >= quiet:
                return last
            assert now < deadline, f"bytes still come after {seconds} s"
            time.sleep(0.02)

    def close(self) -> None:
        """End the program."""
        self.process.kill()
        self.process.wait(10)
        self._thread.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Device:
    """One namespace with one network card; `four` and `six` are its addresses."""

    def __init__(self, role: str, namespace: str, ca: Path) -> None:
        self.role = role
        self.namespace = namespace
        self.ca = ca
        self.mac = plan.MACS[role]
        self.four, self.six = plan.home4(role), plan.home6(role)

    def inside(self, action: Callable[[], T]) -> T:
        """Run an action in a thread inside; sockets that it makes stay there."""
        return inside(self.namespace, action)

    def command(self, *words: str) -> list[str]:
        """The words that start a program on this device."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def run(self, *words: str, timeout: float = 30, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=environment(),
            cwd=ROOT,
        )

    def run_python(self, script: str, *words: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run Python code with the tests' packages; `words` are its sys.argv[1:]."""
        return self.run(sys.executable, "-W", "error", "-c", script, *words, timeout=timeout)

    # Web

    def fetch(
        self,
        url: str,
        *more: str,
        resolve: Mapping[str, str] | None = None,
        family: int = 0,
        timeout: float = 5.0,
    ) -> Fetched:
        """Fetch a page with curl; `more` are further words for it.

        `resolve` says the address of a name without asking (a hard-coded address, an old answer), `family` is 4 or 6.
        """
        words = ["curl", "-sS", "-m", str(timeout), *self._options(url, resolve, family), *more]
        # Each on a line of its own, behind a body that may end without one.
        words += ["-w", "\n%{http_code}\n%{exitcode}\n%{remote_ip}\n%{time_total}\n%{errormsg}", url]
        done = self.run(*words, timeout=timeout + 20)
        body, status, code, address, seconds, message = done.stdout.rsplit("\n", 5)
        error = _word_of(int(code), message) if int(code) else ""
        return Fetched(int(status), body, error, address, float(seconds))

    def _options(self, url: str, resolve: Mapping[str, str] | None, family: int) -> list[str]:
        words = ["--cacert", str(self.ca), "--noproxy", "*"] + ([f"-{family}"] if family else [])
        host = url.partition("//")[2].partition("/")[0]
        named = host.rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
        port = named or ("443" if url.startswith("https:") else "80")
        for name, address in (resolve or {}).items():
            for number in {port, "443"}:  # the latter for a resolver that `--doh-url` names
                words += ["--resolve", f"{name}:{number}:{f'[{address}]' if ':' in address else address}"]
        return words

    def fetch_h3(
        self, name: str, address: str, port: int = plan.QUIC, path: str = "/", timeout: float = 5.0, version: int = 1
    ) -> Fetched:
        """Fetch a page over HTTP/3; `version` is QUIC's, 1 or 2."""
        started = time.monotonic()
        done = self.run(*self._h3(name, address, port, path, timeout, version), timeout=timeout + 20)
        seconds = time.monotonic() - started
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stderr.splitlines()[-1])
        return Fetched(told["status"], done.stdout, told["error"], address, seconds)

    def _h3(self, name: str, address: str, port: int, path: str, timeout: float, version: int) -> list[str]:
        words = [sys.executable, "-m", "tests.netns.lab.h3_fetch", "--name", name, "--address", address]
        words += ["--port", str(port), "--path", path, "--timeout", str(timeout), "--version", str(version)]
        return [*words, "--ca", str(self.ca)]

    @contextlib.contextmanager
    def download(
        self, url: str, resolve: Mapping[str, str] | None = None, family: int = 0, timeout: float = 300
    ) -> Iterator[Download]:
        """Keep a download running with curl; use a URL that never ends, such as `https://video.open.example/stream`."""
        words = ["curl", "-sSN", "-m", str(timeout), *self._options(url, resolve, family), url]
        with self._receiving(words) as download:
            yield download

    @contextlib.contextmanager
    def download_h3(self, name: str, address: str, path: str = "/stream", timeout: float = 300) -> Iterator[Download]:
        """Keep a download over HTTP/3 running."""
        with self._receiving(self._h3(name, address, plan.QUIC, path, timeout, 1)) as download:
            yield download

    @contextlib.contextmanager
    def play(self, address: str, port: int = plan.GAME) -> Iterator[Download]:
        """Send and receive a datagram 50 times a second, as a game does."""
        with self._receiving([sys.executable, "-c", _PLAY, address, str(port)]) as download:
            yield download

    @contextlib.contextmanager
    def _receiving(self, words: list[str]) -> Iterator[Download]:
        process = subprocess.Popen(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            cwd=ROOT,
            bufsize=0,
        )
        download = Download(process)
        try:
            yield download
        finally:
            download.close()

    # DNS and the rest

    def dig(self, name: str, kind: str = "A", *more: str, server: str = "", timeout: int = 3) -> list[str]:
        """The lines of `dig +short`, [] when no answer came; `server` is the router unless given. `more`: "+tcp"."""
        words = [
            "dig",
            f"@{server or plan.home4('router')}",
            "+short",
            "+tries=1",
            f"+time={timeout}",
            *more,
            name,
            kind,
        ]
        done = self.run(*words)
        return [] if done.returncode else done.stdout.splitlines()

    def ping(self, address: str, timeout: float = 2.0) -> bool:
        """Tell whether an echo request (ICMP) comes back."""
        done = self.run_python(_PING, address, str(timeout))
        assert done.stderr == "", done.stderr
        return done.stdout.strip() == "answered"


def _word_of(code: int, message: str) -> str:
    said = message.lower()
    if "reset by peer" in said or "ssl_error_syscall" in said or code == EMPTY_REPLY:
        return "reset"
    if code == TIMED_OUT:
        return "timeout"
    if code == RESOLVE_FAILED:
        return "no address"
    if code == CONNECT_FAILED:
        return "refused"
    return message or f"curl {code}"


_PLAY = """
import socket, sys, time
address, port = sys.argv[1], int(sys.argv[2])
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as game:
    game.connect((address, port))
    game.settimeout(0.02)
    while True:
        started = time.monotonic()
        try:
            game.send(b"move" * 16)
            sys.stdout.buffer.write(game.recv(2048))
            sys.stdout.buffer.flush()
        except OSError:
            pass
        time.sleep(max(0, 0.02 - (time.monotonic() - started)))
"""

_PING = """
import socket, sys
address, seconds = sys.argv[1], float(sys.argv[2])
six = ":" in address
family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
with socket.socket(family, socket.SOCK_DGRAM, protocol) as pinger:
    pinger.settimeout(seconds)
    try:
        pinger.connect((address, 0))
        pinger.send(bytes([128 if six else 8, 0, 0, 0, 0, 0, 0, 1]) + b"lab")
        print("answered" if pinger.recv(2048).endswith(b"lab") else "strange")
    except OSError as error:
        print("no answer:", error)
"""
