"""The network around the machine: a provider's router with the internet behind it, the Pi, a child's tablet.

      internet + router                    Pi (booted by container.py)          tablet
      192.168.1.1, 9.9.9.9   --- eth0  192.168.1.2                     either beside the Pi (192.168.1.50)
                                    eth1  (its home's side)            ---  or behind it, with an address by DHCP

The resolver on 9.9.9.9 answers DNS over TLS with a certificate that the Pi's authorities know, as the real one does.
"""

from __future__ import annotations

import contextlib
import ctypes
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.netns.namespaces import CLONE_NEWNET

ROUTER, PI, TABLET = "gd-router", "gd-pi", "gd-tablet"
ROUTER_ADDRESS, PI_ADDRESS, TABLET_ADDRESS = "192.168.1.1", "192.168.1.2", "192.168.1.50"
SITE = "203.0.113.80"
PROGRAMS = ("ip", "unbound", "dig", "curl")
NAMES = ("allowed.example", "blocked.example", "www.blocked.example", "example.com")

_UNBOUND = """\
server:
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: "{folder}/unbound.log"
    interface: {router}
    interface: 9.9.9.9
    interface: 9.9.9.9@853
    interface: 149.112.112.112
    interface: 149.112.112.112@853
    tls-port: 853
    tls-service-key: "{folder}/key.pem"
    tls-service-pem: "{folder}/chain.pem"
    access-control: 0.0.0.0/0 allow
    do-ip6: no
    module-config: "iterator"
    local-zone: "." static
{names}
"""


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr or done.stdout}")
    return done.stdout


def inside(namespace: str, *words: str) -> list[str]:
    """Return the words that run a program in a namespace."""
    return ["ip", "netns", "exec", namespace, *words]


class Street:
    """The network. `behind`: the tablet is on the Pi's own side, without an address."""

    def __init__(self, folder: Path, behind: bool) -> None:
        self.folder, self.behind = folder, behind
        self.authority = trustme.CA()
        self._resolver: subprocess.Popen[bytes] | None = None
        self._site: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Make namespaces, links and servers."""
        for namespace in (ROUTER, TABLET):
            run("ip", "netns", "add", namespace)
            run(*inside(namespace, "ip", "link", "set", "lo", "up"))
        router, tablet = (f"ip -n {name}".split() for name in (ROUTER, TABLET))
        run(*router, "link", "add", "br-lan", "type", "bridge")
        run(*router, "address", "add", f"{ROUTER_ADDRESS}/24", "dev", "br-lan")
        for address in ("9.9.9.9", "149.112.112.112", SITE):
            run(*router, "address", "add", f"{address}/32", "dev", "lo")
        run(*router, "link", "set", "br-lan", "up")
        if not self.behind:
            self._plug("tablet", TABLET, "eth0")
            run(*tablet, "address", "add", f"{TABLET_ADDRESS}/24", "dev", "eth0")
            run(*tablet, "route", "add", "default", "via", ROUTER_ADDRESS)
        self._start_resolver()
        self._start_site()

    def connect(self) -> None:
        """Plug the booted Pi in; its first address comes from the router, as every machine's does."""
        pi = ["ip", "-n", PI]
        self._plug("pi", PI, "eth0")
        run(*pi, "address", "add", f"{PI_ADDRESS}/24", "dev", "eth0")
        run(*pi, "route", "add", "default", "via", ROUTER_ADDRESS)
        if self.behind:
            run(*pi, "link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", TABLET)
            run("ip", "-n", TABLET, "link", "set", "eth0", "up")

    def _plug(self, port: str, namespace: str, name: str) -> None:
        """Connect a namespace to the router's switch."""
        run("ip", "-n", ROUTER, "link", "add", port, "type", "veth", "peer", "name", name, "netns", namespace)
        run("ip", "-n", ROUTER, "link", "set", port, "master", "br-lan", "up")
        run("ip", "-n", namespace, "link", "set", name, "up")

    def _start_resolver(self) -> None:
        certificate = self.authority.issue_cert("dns.quad9.net")
        certificate.private_key_pem.write_to_path(str(self.folder / "key.pem"))
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(str(self.folder / "chain.pem"), append=True)
        names = "\n".join(f'    local-data: "{name}. 300 A {SITE}"' for name in NAMES)
        settings = self.folder / "unbound.conf"
        settings.write_text(_UNBOUND.format(folder=self.folder, router=ROUTER_ADDRESS, names=names))
        self._resolver = subprocess.Popen(inside(ROUTER, "unbound", "-d", "-c", str(settings)))
        deadline = time.monotonic() + 15
        while not self.ask(ROUTER, "9.9.9.9", "allowed.example"):
            assert self._resolver.poll() is None, (self.folder / "unbound.log").read_text()
            assert time.monotonic() < deadline, "unbound does not answer"
            time.sleep(0.1)

    def _start_site(self) -> None:
        """A web server of the internet: one page, for every name."""
        pages = self.folder / "pages"
        pages.mkdir()
        (pages / "index.html").write_text("a page of the internet\n")
        words = inside(ROUTER, "python3", "-m", "http.server", "--bind", SITE, "--directory", str(pages), "80")
        self._site = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(self, namespace: str, server: str, name: str, *options: str) -> list[str]:
        """Return the addresses that a server gives for a name, asked in a namespace; [] for none or no answer."""
        words = inside(namespace, "dig", "+short", "+tries=1", "+time=2", *options, f"@{server}", name, "A")
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
        return [] if done.returncode else [line for line in done.stdout.split("\n") if line and line[0].isdigit()]

    def fetch(self, namespace: str, url: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Fetch a URL in a namespace; stdout ends with a line of the HTTP status (000: no answer)."""
        words = inside(namespace, "curl", "-s", "-m", "8", "-w", "\n%{http_code}", *options, url)
        return subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)

    def close(self) -> None:
        """End the servers and take the namespaces away."""
        for process in (self._resolver, self._site):
            if process is not None:
                process.kill()
                process.wait(10)
        for namespace in (ROUTER, TABLET):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


@contextlib.contextmanager
def street(folder: Path, behind: bool = False) -> Iterator[Street]:
    """The network for the time of a `with`."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"needs the program '{program}' (scripts/setup test)")
    folder.mkdir(parents=True, exist_ok=True)
    made = Street(folder, behind)
    made.close()  # what a test that was killed has left
    try:
        made.open()
        yield made
    finally:
        made.close()


def enter_namespace(name: str) -> None:
    """Let this thread live in a namespace; sockets that it makes are there."""
    library = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{name}") as handle:
        if library.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def count_answers(
    namespace: str, server: str, name: str, stop: list[float], answers: dict[int, tuple[float, float]]
) -> None:
    """Ask a server for a name every 20 ms until `stop` holds something, whatever comes back meanwhile.

    `answers` holds for each question when it was asked, and after how many seconds its answer came (inf: never).
    """
    enter_namespace(namespace)
    tail = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    tail += b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0\0\x01\0\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        number, ends = 0, float("inf")
        while time.monotonic() < ends:
            if stop and ends == float("inf"):
                ends = time.monotonic() + 2.0  # for the last answers
            if not stop:
                number += 1
                answers[number] = (time.monotonic(), float("inf"))
                asking.sendto(number.to_bytes(2, "big") + tail, (server, 53))
            next_one = time.monotonic() + 0.02
            while (left := next_one - time.monotonic()) > 0:
                if select.select([asking], [], [], left)[0]:
                    answer = asking.recv(512)
                    asked, _ = answers[int.from_bytes(answer[:2], "big")]
                    answers[int.from_bytes(answer[:2], "big")] = (asked, time.monotonic() - asked)
