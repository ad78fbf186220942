"""Real resolvers from Debian with a policy zone, on loopback: unbound and BIND; what they ask goes to the test."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import dns.query
import dns.rcode

from tests.gateway.product import free_port, require, wait_for

UNBOUND = """\
server:
  interface: 127.0.0.1
  port: {port}
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  verbosity: 1
  use-syslog: no
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{folder}"
  root-hints: ""
  do-not-query-localhost: no
  ede: yes
  module-config: "respip validator iterator"
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{upstream}
rpz:
  name: "{zone}"
  zonefile: "{file}"
"""
BIND = """\
options {{
  directory "{folder}";
  pid-file none;
  listen-on port {port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  recursion yes;
  allow-recursion {{ 127.0.0.0/8; }};
  dnssec-validation no;
  forwarders {{ 127.0.0.1 port {upstream}; }};
  forward only;
  response-policy {{ zone "{zone}"; }} qname-wait-recurse no break-dnssec yes;
}};
controls {{ }};
zone "{zone}" {{ type primary; file "{file}"; allow-query {{ none; }}; allow-transfer {{ none; }}; notify no; }};
"""

# BIND answers before it has read its policy zones.
READY = "reload done: success"
Ask = Callable[[str], dns.message.Message]


@contextlib.contextmanager
def unbound(folder: Path, zone: str, file: Path, upstream: int) -> Iterator[Ask]:
    """Run unbound with the policy zone before the resolver at port `upstream`; hand out what asks it."""
    require("unbound")
    port = free_port()
    (folder / "unbound.conf").write_text(
        UNBOUND.format(port=port, folder=folder, zone=zone, file=file, upstream=upstream)
    )
    yield from _run(
        ["unbound", "-d", "-c", str(folder / "unbound.conf")], port, folder / "unbound.log", "start of service"
    )


@contextlib.contextmanager
def bind(folder: Path, zone: str, file: Path, upstream: int) -> Iterator[Ask]:
    """Run BIND with the policy zone before the resolver at port `upstream`; hand out what asks it."""
    require("named")
    port = free_port()
    (folder / "named.conf").write_text(BIND.format(port=port, folder=folder, zone=zone, file=file, upstream=upstream))
    yield from _run(["named", "-g", "-n", "1", "-c", str(folder / "named.conf")], port, folder / "named.log", READY)


def _run(command: list[str], port: int, log: Path, ready: str) -> Iterator[Ask]:
    program = shutil.which(command[0], path="/usr/sbin:/usr/bin")
    assert program

    def ask(name: str) -> dns.message.Message:
        return dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", port=port, timeout=5)

    with open(log, "wb") as output:
        process = subprocess.Popen([program, *command[1:]], stdout=output, stderr=output)
    try:
        wait_for(lambda: process.poll() is not None or ready in log.read_text(errors="replace"))
        assert process.poll() is None, log.read_text(errors="replace")
        yield ask
    finally:
        process.terminate()
        process.wait(10)


def check_zone(zone: str, file: Path) -> str:
    """What BIND's own checker says of a zone file; "" when it is well. Warnings count."""
    require("named-checkzone")
    done = subprocess.run(
        ["named-checkzone", "-q", "-i", "none", zone, str(file)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr if done.returncode else ""
