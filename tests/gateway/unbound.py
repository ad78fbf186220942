"""A real validating resolver from Debian, on loopback, with zones of the test: nothing of it leaves the machine."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.gateway.product import free_port, require, wait_for

CONFIG = """\
server:
  interface: 127.0.0.1
  port: {port}
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  use-syslog: no
  verbosity: 0
  log-queries: no
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{folder}"
  root-hints: ""
  do-not-query-localhost: no
  ede: yes
  val-log-level: 1
  module-config: "validator iterator"
  {anchors}
  local-zone: "plain.example." static
  local-data: "www.plain.example. 300 IN A 192.0.2.50"
  local-data: "www.plain.example. 300 IN AAAA 2001:db8::50"
  local-data: "plain.example. 300 IN SOA ns.plain.example. host.plain.example. 1 3600 600 86400 60"
  {data}
remote-control:
  control-enable: no
auth-zone:
  name: "."
  zonefile: "root.zone"
  for-downstream: no
  for-upstream: yes
{zones}
"""
ZONE = """\
  name: "{name}."
  zonefile: "{file}"
  for-downstream: no
  for-upstream: yes
"""
# A root with nothing in it but itself: what is not of the test does not exist.
ROOT_ZONE = """\
. 3600 IN SOA a. b. 1 3600 600 86400 60
. 3600 IN NS ns.invalid.
"""


def unbound(folder: Path, zones: dict[str, str], anchors: list[str], data: list[str] = []) -> Iterator[int]:  # noqa: B006
    """Run unbound with these zones (name -> file in `folder`) and trust anchors (DNSKEY records); yield its port."""
    require("unbound")
    port = free_port()
    (folder / "root.zone").write_text(ROOT_ZONE)
    config = CONFIG.format(
        port=port,
        folder=folder,
        anchors="\n  ".join(f"trust-anchor: '{anchor}'" for anchor in anchors),
        data="\n  ".join(f"local-data: '{line}'" for line in data),
        zones="".join(f"auth-zone:\n{ZONE.format(name=name, file=file)}" for name, file in zones.items()),
    )
    (folder / "unbound.conf").write_text(config)
    program = shutil.which("unbound", path="/usr/sbin:/usr/bin")
    assert program
    with open(folder / "unbound.log", "wb") as log:
        process = subprocess.Popen([program, "-d", "-c", str(folder / "unbound.conf")], stdout=log, stderr=log)
    try:
        wait_for(lambda: process.poll() is not None or _listens(port))
        assert process.poll() is None, (folder / "unbound.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def sign_zone(folder: Path, zone: str, records: str) -> str:
    """Sign a zone with BIND's tools; write `ZONE.signed` and return its DNSKEY record, the trust anchor."""
    require("dnssec-keygen", "dnssec-signzone")
    text = f"{zone}. 300 IN SOA ns.{zone}. host.{zone}. 1 3600 600 86400 60\n{zone}. 300 IN NS ns.{zone}.\n"
    text += f"ns.{zone}. 300 IN A 127.0.0.1\n{records}"
    (folder / zone).write_text(text)
    keygen = ["dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", zone]
    key = subprocess.run(keygen, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
    sign = ["dnssec-signzone", "-z", "-S", "-o", zone, "-f", f"{zone}.signed", zone]
    subprocess.run(sign, cwd=folder, check=True, capture_output=True)
    lines = (folder / f"{key}.key").read_text().splitlines()
    return next(line for line in lines if " DNSKEY " in line)
