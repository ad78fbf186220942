"""`guardian doctor` on homes that are well and homes that are not, with a real gateway and upstreams on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guardian.cli import doctor, main
from guardian.cli.doctor import examine
from guardian.cli.doctor_machine import FAIL, OK, WARN, Finding
from guardian.config import load_config
from guardian.control import NotRunningError, send
from guardian.interfaces import InterfaceAddress
from guardian.wire.dns import FLAG_QR, RCODE_SERVFAIL, build_message, parse_message

HOUSEHOLD = """\
timezone: Europe/Chisinau
profiles:
  ana: {name: Ana, age: 10-12}
"""


@pytest.fixture
def upstream() -> Iterator[Callable[[int], int]]:
    """Start DNS servers on loopback that answer everything with an RCODE; the value is the port."""
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(server: socket.socket, rcode: int) -> None:
        while True:
            data, peer = server.recvfrom(4096)
            if not data:
                return
            query = parse_message(data)
            server.sendto(build_message(query._replace(flags=FLAG_QR | rcode, edns=None)), peer)

    def start(rcode: int) -> int:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        sockets.append(server)
        threads.append(threading.Thread(target=serve, args=(server, rcode)))
        threads[-1].start()
        return int(server.getsockname()[1])

    yield start
    for server, thread in zip(sockets, threads, strict=True):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as leave:
            leave.sendto(b"", server.getsockname())
        thread.join()
        server.close()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def home(tmp_path: Path) -> Callable[..., str]:
    """Write the settings of a home; the value is their path."""

    def write(*upstreams: int, more: str = "", household: str = HOUSEHOLD) -> str:
        servers = ", ".join(f'"udp://127.0.0.1:{port}"' for port in upstreams)
        (tmp_path / "household.yaml").write_text(household)
        (tmp_path / "guardian.yaml").write_text(
            f"state: state\nhousehold: household.yaml\n{more}\n"
            f'dns: {{listen: ["127.0.0.1:{free_port()}"]}}\n'
            f"upstreams: {{servers: [{servers}], timeout: 0.5}}\n"
        )
        return str(tmp_path / "guardian.yaml")

    return write


def levels(findings: list[Finding], check: str) -> list[str]:
    return [finding.level for finding in findings if finding.check == check]


def look(path: str) -> list[Finding]:
    findings = list(examine(path, time.time()))
    assert all(bool(finding.advice) == (finding.level != OK) for finding in findings)
    return findings


def test_a_home_that_was_never_started(home: Callable[..., str], upstream: Callable[[int], int]) -> None:
    findings = look(home(upstream(0)))
    assert levels(findings, "settings") == [OK]
    assert levels(findings, "household") == [OK]
    assert levels(findings, "time zone") == [OK]
    assert set(levels(findings, "state")) == {OK}
    assert levels(findings, "lists") == [WARN]
    assert levels(findings, "gateway") == [FAIL]
    assert [f.level for f in findings if f.check.startswith("port ")] == [OK, OK]
    assert levels(findings, "upstream") == [OK]


def test_one_dead_upstream_of_two_is_a_warning(home: Callable[..., str], upstream: Callable[[int], int]) -> None:
    assert levels(look(home(free_port(), upstream(0))), "upstream") == [WARN, OK]


def test_no_upstream_that_works_is_broken(home: Callable[..., str], upstream: Callable[[int], int]) -> None:
    assert levels(look(home(upstream(RCODE_SERVFAIL), free_port())), "upstream") == [FAIL, FAIL]


def test_broken_settings_still_tell_of_the_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "guardian.yaml"
    path.write_text("upstreams: {servers: []}\nlisten_prot: 1\n")
    assert main(["doctor", "--json", "--config", str(path)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"]
    assert report["checks"][0]["check"] == "settings"
    assert "guardian.yaml:" in report["checks"][0]["message"]
    assert {check["check"] for check in report["checks"]} == {"settings", "memory", "clock"}


def test_broken_household_and_image(home: Callable[..., str], upstream: Callable[[int], int], tmp_path: Path) -> None:
    path = home(upstream(0), household="timezone: Europe/Nowhere\nprofiles: {}\n")
    (tmp_path / "state/lists").mkdir(parents=True)
    (tmp_path / "state/lists/guardian.image").write_bytes(b"not an image")
    findings = look(path)
    assert levels(findings, "household") == [FAIL]
    assert levels(findings, "lists") == [FAIL]


def test_unset_home_is_told(home: Callable[..., str], upstream: Callable[[int], int]) -> None:
    path = home(upstream(0))
    settings = Path(path).read_text().replace("household: household.yaml\n", "")
    Path(path).write_text(settings)
    assert levels(look(path), "household") == [WARN]


def test_state_that_cannot_be_written(home: Callable[..., str], upstream: Callable[[int], int]) -> None:
    findings = look(home(upstream(0), more="history: {path: household.yaml/history.db}"))
    assert FAIL in levels(findings, "state")


def test_clock_before_the_program(home: Callable[..., str], upstream: Callable[[int], int]) -> None:
    findings = list(examine(home(upstream(0)), 0.0))
    assert levels(findings, "clock") == [FAIL]


def test_a_running_gateway_is_well(
    home: Callable[..., str],
    upstream: Callable[[int], int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = home(upstream(0))
    command = [sys.executable, "-m", "guardian", "gateway", "--config", path]
    log = tmp_path / "gateway.log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as gateway:
        try:
            wait_for(str(tmp_path / "state/control.sock"), gateway, log)
            assert main(["doctor", "--config", path]) == 0
            told = capsys.readouterr().out
            assert "answers" in told
            assert "0 broken" in told
            os.kill(gateway.pid, signal.SIGSTOP)  # it hangs: the control socket accepts, nobody answers
            monkeypatch.setattr(doctor, "QUERY_SECONDS", 0.2)
            config = load_config(path)
            assert doctor.ask_gateway(config.dns.listen[0], config.local.name).level == FAIL
        finally:
            os.kill(gateway.pid, signal.SIGCONT)
            gateway.terminate()
            gateway.wait(10)


def wait_for(control: str, gateway: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert gateway.poll() is None, log.read_text()
        try:
            send(control, "status")
        except NotRunningError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(log.read_text())


def test_an_interface_without_address_and_a_line_that_does_not_hold(
    home: Callable[..., str], upstream: Callable[[int], int], tmp_path: Path
) -> None:
    path = Path(home(upstream(0), more="provisioning: isp.yaml\nblock: {page: ['nowhere0:80'], support: Bob}"))
    (tmp_path / "isp.yaml").write_text("provider: Telecom Plus\nsupport: '1181'\n")
    findings = list(examine(str(path), time.time()))
    (note,) = [finding for finding in findings if finding.check == "settings" and finding.level == WARN]
    assert f"{path}:4: 'block.support' does not hold: Telecom Plus sets it in {tmp_path}/isp.yaml:2" == note.message
    assert "take the line out" in note.advice
    (absent,) = [finding for finding in findings if finding.check == "interface"]
    assert absent.level == FAIL and "'nowhere0' is not there, or has no address" in absent.message


def test_the_addresses_of_an_interface_are_looked_at(
    home: Callable[..., str], upstream: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not its link-local ones, which nobody writes down."""
    path = Path(home(upstream(0)))
    addresses = [InterfaceAddress(1, "127.0.0.1", 8), InterfaceAddress(1, "fe80::1%1", 64)]
    monkeypatch.setattr("guardian.interfaces.list_interface_addresses", lambda: addresses)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "br-lan")])
    path.write_text(path.read_text().replace("127.0.0.1:", "br-lan:", 2).replace("udp://br-lan", "udp://127.0.0.1"))
    findings = list(examine(str(path), time.time()))
    ports = [finding.message for finding in findings if finding.check.startswith("port ")]
    assert len(ports) == 2 and all(message.startswith("127.0.0.1 port") for message in ports), findings
