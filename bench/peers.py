"""The servers of a comparison: dnsmasq and unbound from Debian, each set up as well as its manual allows.

A `Server` owns a folder under `.bench/`, writes its configuration there, runs as one process on one core, and tells its
memory and processor time. `bench/gateway.py` is Guardian in the same clothes.
"""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple, Protocol

from bench.load import HOST, WORK, Query, build_query, client_address, cores, pinned
from bench.names import Corpus

START_LIMIT = 120  # seconds to the first filtered answer
DNSMASQ_CACHE = 10_000  # the largest that dnsmasq does not warn about ("may cause performance issues")
MEGABYTE = 1_000_000
NXDOMAIN = 3


class Memory(NamedTuple):
    """Megabytes (10^6 bytes) of a process; `mapped` is the part of `private` that is only the list image's file."""

    rss: float
    pss: float
    private: float
    mapped: float = 0.0


class Peer(Protocol):
    """What differs between the servers."""

    name: str
    folder: Path

    def prepare(self, corpus: Corpus, port: int, upstream: int) -> list[str]:
        """Write the configuration; return the command to run. `port` and `upstream` are ports of HOST."""
        ...

    def image_files(self) -> tuple[Path, ...]:
        """Return the files whose mapped pages are not counted as private memory."""
        ...


class Dnsmasq:
    """One `local=/name/` line a name, which dnsmasq answers with NXDOMAIN for the name and all below it."""

    name = "dnsmasq"
    folder = WORK / "dnsmasq"

    def __init__(self, cache: int = DNSMASQ_CACHE) -> None:
        self.cache = cache

    def prepare(self, corpus: Corpus, port: int, upstream: int) -> list[str]:
        lines = [
            f"port={port}",
            f"listen-address={HOST}",
            "bind-interfaces",
            f"user={getpass.getuser()}",
            "pid-file=",
            "no-resolv",
            "no-hosts",
            f"server={HOST}#{upstream}",
            f"cache-size={self.cache}",
            "cache-rr=HTTPS",  # without it each HTTPS query goes upstream
            "dns-forward-max=10000",
            *(f"local=/{name}/" for name in corpus.blocked),
        ]
        config = self.folder / "dnsmasq.conf"
        config.write_text("\n".join(lines) + "\n")
        return ["dnsmasq", "--keep-in-foreground", f"--conf-file={config}", "--log-facility=-"]

    def image_files(self) -> tuple[Path, ...]:
        return ()


class Unbound:
    """One `local-zone: name always_nxdomain` a name; one thread, no validation, as none of the three validates."""

    name = "unbound"
    folder = WORK / "unbound"

    def prepare(self, corpus: Corpus, port: int, upstream: int) -> list[str]:
        options = {
            "interface": HOST,
            "port": port,
            "access-control": "10.0.0.0/8 allow",
            "num-threads": 1,
            "module-config": '"iterator"',
            "do-not-query-localhost": "no",
            "qname-minimisation": "no",
            "minimal-responses": "yes",
            "msg-cache-size": "64m",
            "rrset-cache-size": "64m",
            "key-cache-size": "1m",
            "num-queries-per-thread": 4096,
            "outgoing-range": 8192,
            "use-syslog": "no",
            "verbosity": 0,
            "username": '""',
            "chroot": '""',
            "directory": f'"{self.folder}"',
            "pidfile": '""',
        }
        zones = self.folder / "zones.conf"
        zones.write_text("".join(f'local-zone: "{name}" always_nxdomain\n' for name in corpus.blocked))
        config = self.folder / "unbound.conf"
        text = "server:\n" + "".join(f"  {key}: {value}\n" for key, value in options.items())
        text += f'  include: "{zones}"\n'
        text += "remote-control:\n  control-enable: no\n"
        text += f'forward-zone:\n  name: "."\n  forward-addr: {HOST}@{upstream}\n'
        config.write_text(text)
        return ["unbound", "-d", "-p", "-c", str(config)]

    def image_files(self) -> tuple[Path, ...]:
        return ()


class Server:
    """A peer that runs. As a context manager it is stopped at the end."""

    def __init__(self, peer: Peer, corpus: Corpus, upstream: int) -> None:
        self.peer = peer
        self.name = peer.name
        self.port = free_port()
        peer.folder.mkdir(parents=True, exist_ok=True)
        self.command = peer.prepare(corpus, self.port, upstream)
        self._first = corpus.blocked[0]
        self._log = peer.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> float:
        """Start the process; return the seconds until it answered a listed name with NXDOMAIN. Raises SystemExit."""
        with self._log.open("wb") as log:
            began = time.monotonic()
            process = subprocess.Popen(pinned(cores()[1], self.command), stdout=log, stderr=log)
        self._process = process
        while (reply := ask(self.port, Query(self._first), timeout=0.02)) is None or reply.rcode != NXDOMAIN:
            if process.poll() is not None or time.monotonic() - began > START_LIMIT:
                self.stop()
                raise SystemExit(f"{self.name} does not answer; its last words:\n{self.log_tail()}")
            time.sleep(0.005)
        return time.monotonic() - began

    def stop(self) -> None:
        """End the process, if it runs: asked to, and after ten seconds made to."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def pause(self, paused: bool) -> None:
        """Stop the process from running at all, or let it go on: what is not measured must not take processor time."""
        os.kill(self.pid, signal.SIGSTOP if paused else signal.SIGCONT)

    def log(self) -> str:
        """Return all that the server wrote on stdout and stderr."""
        return self._log.read_text(errors="replace")

    def log_tail(self) -> str:
        """Return the last lines that the server wrote."""
        return "\n".join(self.log().splitlines()[-15:])

    def cpu_seconds(self) -> float:
        """Return the processor time of all threads so far, user and system, exact to the nanosecond."""
        # The process CPU clock of another process, see MAKE_PROCESS_CPUCLOCK in the kernel's posix-timers.h.
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory(self) -> Memory:
        """Return the memory of the process now."""
        rollup = read_smaps(Path(f"/proc/{self.pid}/smaps_rollup"), ())
        images = tuple(str(path.resolve()) for path in self.peer.image_files())
        mapped = read_smaps(Path(f"/proc/{self.pid}/smaps"), images) if images else Memory(0, 0, 0)
        return rollup._replace(mapped=mapped.private)


def read_smaps(path: Path, only: tuple[str, ...]) -> Memory:
    """Sum a smaps file; `only` keeps the mappings of these files."""
    sums = {"Rss": 0, "Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    taken = True
    for line in path.read_text().splitlines():
        key, _, rest = line.partition(":")
        if " " in key:  # the head of a mapping: addresses, rights, offset, device, inode, path
            taken = not only or line.endswith(only)
        elif taken and key in sums:
            sums[key] += int(rest.split()[0]) * 1024
    private = sums["Private_Clean"] + sums["Private_Dirty"]
    return Memory(sums["Rss"] / MEGABYTE, sums["Pss"] / MEGABYTE, private / MEGABYTE)


def free_port() -> int:
    """Return a UDP and TCP port of HOST that nobody uses now."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((HOST, 0))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind((HOST, port))
            except OSError:
                continue
            return port


class Reply(NamedTuple):
    """The RCODE of an answer and how many records its answer section holds."""

    rcode: int
    answers: int


def ask(port: int, query: Query, *, client: int = 0, timeout: float = 2.0) -> Reply | None:
    """Ask HOST:port once; return the reply, or None when none came in time."""
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        asking.bind((client_address(client), 0))
        asking.settimeout(timeout)
        asking.connect((HOST, port))
        message = os.urandom(2) + build_query(query)[2:]
        try:
            asking.send(message)
            answer = asking.recv(4096)
        except (TimeoutError, ConnectionRefusedError):  # not yet, or nobody listens there yet
            return None
    if answer[:2] != message[:2]:
        return None
    return Reply(answer[3] & 15, int.from_bytes(answer[6:8], "big"))
