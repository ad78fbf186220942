"""The running product for tests: an upstream that says what it is told and notes what it was asked, and a gateway that
is started as on a router, in a process of its own, and always ended.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
import yaml

from guardian.catalogue import load_catalogue
from guardian.catalogue.starter import compile_starter
from guardian.control import send
from guardian.errors import GuardianError

ROOT = Path(__file__).parents[2]
CHILD, ADULT, TEEN, GROUNDED, NEWCOMER = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.9"
START_SECONDS = 20.0

HOUSEHOLD: dict[str, Any] = {
    "timezone": "UTC",
    "language": "en",
    "new_devices": "guests",
    "profiles": {
        "ana": {
            "name": "Ana",
            "age": "10-12",
            "offline": [],
            "minutes": "unlimited",
            "visibility": "names",
            "block": ["=blocked.example", "*.rule.example"],
            "allow": ["yes.rule.example"],
        },
        "matei": {"name": "Matei", "age": "16-17", "offline": [], "minutes": "unlimited", "visibility": "counts"},
        "ion": {"name": "Ion", "age": "13-15", "offline": ["daily 00:00-24:00"], "minutes": "unlimited"},
        "guests": {"name": "Guests", "age": "0-6", "offline": [], "minutes": "unlimited"},
        "parents": {"name": "Parents", "filtered": False, "visibility": "names"},
    },
    "devices": {
        "tablet": {"name": "Tablet", "profile": "ana", "macs": ["02:00:5e:10:00:01"], "addresses": [CHILD]},
        "phone": {"name": "Phone", "profile": "matei", "addresses": [TEEN]},
        "console": {"name": "Console", "profile": "ion", "addresses": [GROUNDED]},
        "laptop": {"name": "Laptop", "profile": "parents", "addresses": [ADULT, "127.0.0.1", "::1"]},
    },
}

_taken: set[int] = set()


def free_port() -> int:
    """A port that nobody has, for UDP and TCP, v4 and v6; not one that the kernel gives to outgoing sockets."""
    for _ in range(200):
        port = random.randrange(12000, 32000)
        if port not in _taken and all(_is_free(port, host) for host in ("127.0.0.1", "::1")):
            _taken.add(port)
            return port
    raise AssertionError("no port is free")


def _is_free(port: int, host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(family, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def wait_for(what: Callable[[], Any], seconds: float = 10.0, pause: float = 0.02) -> Any:
    """Return the first true value of `what()`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = what()
        if value:
            return value
        time.sleep(pause)
    raise AssertionError(f"it did not come true in {seconds} s")


class Asked(NamedTuple):
    name: str
    type: str
    wire: bytes


class Upstream:
    """A DNS server whose answers are lines `name TYPE rdata`; other names below `any.example` have an address."""

    def __init__(self, records: str = "", ttl: int = 300, port: int = 0, host: str = "127.0.0.1") -> None:
        self.asked: list[Asked] = []
        self.silent = False
        self.echo = False  # "no such name" in no time, for floods
        self.delay = 0.0
        self.ttl = ttl
        self._records: dict[str, list[tuple[str, str]]] = {}
        self.add(records)
        self.port = port or free_port()
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for endpoint in (self._udp, self._tcp):
            endpoint.bind((host, self.port))
        self._tcp.listen()
        self._stop_read, self._stop_write = os.pipe()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def add(self, records: str) -> None:
        """Add or replace the records of the names in `records`."""
        new: dict[str, list[tuple[str, str]]] = {}
        for line in records.strip().splitlines():
            name, kind, rdata = line.split(maxsplit=2)
            new.setdefault(name, []).append((kind, rdata))
        self._records |= new

    def names(self) -> set[str]:
        """The names that were asked so far."""
        return {asked.name for asked in self.asked}

    def close(self) -> None:
        """End it; the port is free then."""
        os.write(self._stop_write, b"x")
        for thread in self._threads:
            thread.join(5)
        for descriptor in (self._stop_read, self._stop_write):
            os.close(descriptor)
        self._udp.close()
        self._tcp.close()

    def _serve(self) -> None:
        while True:
            watched: list[Any] = [self._udp, self._tcp, self._stop_read]
            ready, _, _ = select.select(watched, [], [])
            if self._stop_read in ready:
                return
            if self._udp in ready:
                data, sender = self._udp.recvfrom(4096)
                self._reply_later(data, sender)
            if self._tcp in ready:
                connection, _ = self._tcp.accept()
                thread = threading.Thread(target=self._serve_stream, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _reply_later(self, data: bytes, sender: Any) -> None:
        answer = self._answer(data)
        if self.silent:
            return
        if not self.delay:
            self._udp.sendto(answer, sender)
            return
        timer = threading.Timer(self.delay, self._udp.sendto, (answer, sender))
        timer.daemon = True
        timer.start()
        self._threads.append(timer)

    def _serve_stream(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with connection, connection.makefile("rb") as stream:
            try:
                while len(size := stream.read(2)) == 2:
                    answer = self._answer(stream.read(int.from_bytes(size)))
                    if not self.silent:
                        connection.sendall(len(answer).to_bytes(2) + answer)
            except OSError:
                return

    def _answer(self, data: bytes) -> bytes:
        if self.echo and b"\x03www\x04open" not in data:
            return data[:2] + b"\x81\x83" + data[4:]
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(Asked(name, kind, data))
        response = dns.message.make_response(query, recursion_available=True)
        self._fill(response, name, kind)
        return response.to_wire(max_size=65535)

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        records = self._records.get(name)
        if records is None and name.endswith(".any.example"):
            records = [("A", "192.0.2.77")]
        found = False
        for type_, rdata in records or ():
            if type_ in ("CNAME", kind):
                response.answer.append(self._rrset(name, type_, rdata))
                found = True
            if type_ == "CNAME" and kind != "CNAME":
                self._fill(response, rdata.rstrip("."), kind)
                return
        if not found:
            soa = "ns.example. host.example. 1 3600 600 86400 60"
            response.authority.append(self._rrset("example", "SOA", soa))
        if records is None:
            response.set_rcode(dns.rcode.NXDOMAIN)

    def _rrset(self, name: str, kind: str, rdata: str) -> dns.rrset.RRset:
        return dns.rrset.from_text(f"{name}.", self.ttl, dns.rdataclass.IN, dns.rdatatype.from_text(kind), rdata)


def check_hours(household: dict[str, Any]) -> None:
    """Each child's hours must be named: those of an age would make it another test in the evening."""
    for key, profile in household.get("profiles", {}).items():
        assert "offline" in profile or not profile.get("filtered", True), f"name the 'offline' hours of {key!r}"


class Running:
    """One gateway process with its folder: `guardian.yaml`, `home.yaml`, `state`, `log`."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        household: dict[str, Any] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.prefix = prefix  # words before the command: `ip netns exec NAME`
        self.port = free_port()
        self.page_port = free_port()
        self.household = HOUSEHOLD if household is None else household
        check_hours(self.household)
        self.settings: dict[str, Any] = {
            "state": "state",
            "household": "home.yaml",
            "language": "en",
            "dns": {"listen": [f"127.0.0.1:{self.port}", f"[::1]:{self.port}"], "rate_limit": 0},
            "block": {"page": [f"127.0.0.1:{self.page_port}"]},
            "local": {"addresses": ["127.0.0.1", "::1"]},
            "history": {"flush_seconds": 0.2},
        }
        for section, values in settings.items():
            mine = self.settings.get(section)
            self.settings[section] = mine | values if isinstance(mine, dict) else values
        self.process: subprocess.Popen[bytes] | None = None
        self.write()

    @property
    def config(self) -> Path:
        return self.folder / "guardian.yaml"

    @property
    def socket(self) -> str:
        return str(self.folder / "state" / "control.sock")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def write(self) -> None:
        """Write settings and household as they are now."""
        self.config.write_text(yaml.safe_dump(self.settings, allow_unicode=True))
        (self.folder / "home.yaml").write_text(yaml.safe_dump(self.household, allow_unicode=True))

    def start(self) -> Running:
        """Start it and wait until the control socket answers."""
        image = self.folder / "state" / "lists" / "guardian.image"
        if not self.prefix and not image.parent.exists():  # compiled once for all tests: it is half of a start
            (self.folder / "state").mkdir(mode=0o750, exist_ok=True)
            image.parent.mkdir()
            image.write_bytes(compile_starter_image())
        log = open(self.folder / "log", "ab")  # noqa: SIM115 - the process keeps it
        with log:
            command = [*self.prefix, sys.executable, "-m", "guardian", "gateway", "--config", str(self.config)]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=environment()
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.control("status")
            except GuardianError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise AssertionError(f"the gateway does not run: {error}\n{self.log()}") from None
                time.sleep(0.02)
            else:
                return self

    def stop(self) -> int:
        """End it as a service manager does; return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the gateway does not end\n{self.log()}") from None

    def kill(self) -> None:
        """End it as a power cut does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def log(self) -> str:
        """What it has logged so far."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def control(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Use the control socket. Raises GuardianError."""
        return send(self.socket, verb, **arguments)

    def status(self) -> dict[str, Any]:
        return self.control("status")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line on this gateway's settings."""
        return run_guardian(*words, "--config", str(self.config), cwd=self.folder)

    def ask(
        self,
        name: str,
        kind: str = "A",
        source: str | None = CHILD,
        tcp: bool = False,
        server: str = "127.0.0.1",
        edns: bool = True,
        timeout: float = 6.0,
        **more: Any,
    ) -> dns.message.Message:
        """The answer to one question from the address `source`."""
        query = dns.message.make_query(name, kind, use_edns=0 if edns else None, **more)
        if ":" in server:
            source = None
        exchange = dns.query.tcp if tcp else dns.query.udp
        return exchange(query, server, timeout, self.port, source)

    def memory(self) -> int:
        """Private bytes: what it would give back."""
        sizes = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in sizes if line.startswith("Private_"))


@functools.cache
def compile_starter_image() -> bytes:
    """The image of the built-in names, as `guardian run` has it compiled at the first start."""
    return compile_starter(load_catalogue(), random.randbytes(16), time.time()).to_bytes()


def environment(**more: str) -> dict[str, str]:
    """Ours, with the checkout's package and without settings that the tester has."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GUARDIAN")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"} | more


def run_guardian(
    *words: str, cwd: Path | None = None, stdin: str = "", **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    command = [sys.executable, "-m", "guardian", *words]
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env=environment(),
        **more,
    )


@contextlib.contextmanager
def running(
    folder: Path, settings: dict[str, Any], household: dict[str, Any] | None = None, prefix: tuple[str, ...] = ()
) -> Iterator[Running]:
    """Start a gateway, hand it out, end it; what it logged of bugs is a failure of the test."""
    gateway = Running(folder, settings, household, prefix)
    gateway.start()
    try:
        yield gateway
    finally:
        code = gateway.stop()
    assert code == 0, gateway.log()
    assert_clean(gateway.log())


def assert_clean(log: str) -> None:
    """No exception, no leak of a socket in a log."""
    for word in ("Traceback", "Exception", "exception", "Warning", "never retrieved", "never awaited"):
        assert word not in log, log


def option(code: int, value: bytes) -> dns.edns.GenericOption:
    """An EDNS option by its number."""
    return dns.edns.GenericOption(dns.edns.OptionType.make(code), value)


def addresses(answer: dns.message.Message) -> list[str]:
    """The addresses in an answer, in order."""
    return [
        rdata.to_text()
        for rrset in answer.answer
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for rdata in rrset
    ]


def rcode(answer: dns.message.Message) -> str:
    return dns.rcode.to_text(answer.rcode())


def extended_errors(answer: dns.message.Message) -> list[int]:
    """The codes of Extended DNS Errors (RFC 8914)."""
    return [int(option.to_wire()[:2].hex(), 16) for option in answer.options if option.otype == 15]


def least_ttl(answer: dns.message.Message) -> int:
    return min(rrset.ttl for rrset in (*answer.answer, *answer.authority))


def require(*programs: str) -> None:
    """Skip the test where one of Debian's programs is missing."""
    import shutil

    missing = [program for program in programs if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (scripts/setup test)")


def run_tool(*words: str, timeout: float = 20, **more: Any) -> str:
    """Run a program to its end and return what it printed, errors included."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        list(words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False, **more
    )
    return done.stdout
