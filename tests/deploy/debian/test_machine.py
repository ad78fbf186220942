"""The services on a booted machine: killed, hung, upgraded while the home asks, shut in, removed and installed again.

One machine for all, in the order of this file: each test leaves it running.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.debian.conftest import resolves, start
from tests.deploy.debian.container import Container, machine
from tests.deploy.debian.street import PI, PI_ADDRESS, SITE, TABLET, Street, count_answers, street

_IMPORTS = (
    "from guardian.bundled import add_bundled; add_bundled(); import guardian.hotline.trust, guardian.web.process, "
    "guardian.resolver.upstream, h2.connection, apprise, msgspec, requests; "
    "print(requests.certs.where(), msgspec.__file__)"
)
SERVICES = ("guardian-gateway", "guardian-web", "guardian-sync")
MOST_EXPOSED = 20  # tenths, as systemd-analyze's --threshold has them


@pytest.fixture(scope="module")
def made_road(
    base: Path, installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Container, Street]]:
    folder = tmp_path_factory.mktemp("machine")
    layers = [installed, base]
    with street(folder / "street") as road, machine("gd-machine", PI, layers, folder / "disk", boot=False) as made:
        start(made, road)
        made.run("guardian-setup dns-only --yes")
        yield made, road


@pytest.fixture
def made(made_road: tuple[Container, Street]) -> Container:
    return made_road[0]


@pytest.fixture
def road(made_road: tuple[Container, Street]) -> Street:
    return made_road[1]


def find_process(made: Container, unit: str = "guardian-gateway") -> int:
    return int(made.run(f"systemctl show --property=MainPID --value {unit}").stdout)


def wait_for_answer(road: Street, seconds: float) -> float:
    """Return the seconds until the tablet gets an answer again."""
    begin = time.monotonic()
    while road.ask(TABLET, PI_ADDRESS, "allowed.example") != [SITE]:
        assert time.monotonic() - begin < seconds, "no answer"
        time.sleep(0.1)
    return time.monotonic() - begin


def test_names_are_filtered_for_the_home_only(made: Container, road: Street) -> None:
    assert road.ask(TABLET, PI_ADDRESS, "allowed.example") == [SITE]
    assert road.ask(TABLET, PI_ADDRESS, "mandatory.guardian.test") == [PI_ADDRESS]
    listening = made.run("ss -Hlntup").stdout
    assert "0.0.0.0:53" not in listening
    assert "127.0.0.53" not in listening
    assert made.run("stat -c '%U:%G %a' /run/guardian/control.sock").stdout == "guardian:guardian 660\n"
    assert made.run("stat -c %a /var/lib/guardian /run/guardian").stdout == "750\n750\n"


def test_everything_that_is_bundled_is_there(made: Container) -> None:
    """The machine has nothing of these, or something old; the authorities are the system's."""
    done = made.run(f"PYTHONPATH=/usr/lib/guardian python3 -c '{_IMPORTS}'")
    authorities, compiled = done.stdout.split()
    assert authorities == "/etc/ssl/certs/ca-certificates.crt"
    assert compiled.startswith("/usr/lib/guardian/bundled/")


def test_gateway_has_no_more_rights_than_port_53_takes(made: Container) -> None:
    process = find_process(made)
    status = dict(
        line.split(":\t", 1) for line in made.run(f"cat /proc/{process}/status").stdout.splitlines() if ":\t" in line
    )
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 1 << 10  # CAP_NET_BIND_SERVICE
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert "0" not in status["Uid"].split()


@pytest.mark.parametrize("service", [*SERVICES, "guardian-lan", "guardian-dhcp"])
def test_services_are_shut_in(made: Container, service: str) -> None:
    made.run(f"systemd-analyze security --no-pager --threshold={MOST_EXPOSED} {service}.service")


def test_killed_gateway_is_back_within_seconds(made: Container, road: Street) -> None:
    before = find_process(made)
    made.run(f"kill -9 {before}")
    assert wait_for_answer(road, 15.0) < 15.0
    assert find_process(made) not in (0, before)


@pytest.mark.parametrize(("service", "seconds"), [("guardian-gateway", 30), ("guardian-web", 45)])
def test_hung_service_is_ended_and_started_again(made: Container, road: Street, service: str, seconds: float) -> None:
    before = find_process(made, service)
    made.run(f"kill -STOP {before}")
    begin = time.monotonic()
    while find_process(made, service) in (0, before):
        assert time.monotonic() - begin < seconds, f"{service} hangs for ever"
        time.sleep(0.5)
    assert "result 'watchdog'" in made.log(f"{service}.service")
    wait_for_answer(road, 15.0)


def test_gateway_that_dies_again_and_again_is_never_given_up(made: Container, road: Street) -> None:
    for _ in range(7):  # systemd's own patience ends after five
        wait_for_answer(road, 20.0)
        made.run(f"kill -9 {find_process(made)}")
    wait_for_answer(road, 20.0)


def test_reload_takes_new_settings(made: Container, road: Street) -> None:
    before = find_process(made)
    settings = made.root / "etc/guardian/guardian.yaml"
    text = settings.read_text()
    assert '  page: ["eth0:80"]\n' in text
    settings.write_text(text.replace('  page: ["eth0:80"]\n', "  mandatory: nxdomain\n  other: nxdomain\n"))
    made.run("guardian check")
    assert made.run("systemctl reload guardian-gateway", check=False).returncode  # block.page needs a new start
    made.run("systemctl restart guardian-gateway guardian-web")
    assert find_process(made) != before
    assert road.ask(TABLET, PI_ADDRESS, "mandatory.guardian.test") == []
    made.run("guardian-setup dns-only --yes")
    assert "nxdomain" in made.run("cat /etc/guardian/guardian.yaml.old").stdout  # by hand: kept
    assert road.ask(TABLET, PI_ADDRESS, "mandatory.guardian.test") == [PI_ADDRESS]
    made.run("systemctl reload guardian-gateway guardian-web")


def test_secrets_reach_the_console_and_nobody_else(made: Container) -> None:
    folder = "/etc/guardian/credentials"
    made.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=guardian.home.arpa "
        f"-keyout {folder}/tls-key -out /etc/guardian/tls.pem 2>/dev/null"
    )
    secret = "/run/credentials/guardian-web.service/secret_tls-key"
    made.run(
        f"sed -i 's|^web:|web:\\n  tls: {{enabled: yes, certificate: /etc/guardian/tls.pem, key: {secret}}}|' "
        "/etc/guardian/guardian.yaml && chmod 644 /etc/guardian/tls.pem && systemctl restart guardian-web"
    )
    process = find_process(made, "guardian-web")
    assert made.run(f"nsenter -t {process} -m cat {secret}").stdout.startswith("-----BEGIN PRIVATE KEY-----")
    assert made.run(f"runuser -u guardian -- cat {folder}/tls-key", check=False).returncode
    assert made.run(f"runuser -u pi -- cat {secret}", check=False).returncode
    serving = made.run(
        f"openssl s_client -connect {PI_ADDRESS}:8080 </dev/null 2>/dev/null | openssl x509 -noout -subject"
    )
    assert serving.stdout == "subject=CN = guardian.home.arpa\n"
    made.run(f"rm {folder}/tls-key /etc/guardian/tls.pem; guardian-setup dns-only --yes")


def test_lists_are_updated_by_a_timer(made: Container) -> None:
    assert made.run("systemctl is-active guardian-sync.timer").stdout == "active\n"
    shown = made.run("systemctl show guardian-sync.timer -p RandomizedDelayUSec -p Persistent").stdout
    assert "RandomizedDelayUSec=4h" in shown
    assert "Persistent=yes" in shown
    made.run("guardian sync --offline --quiet", check=False)  # without the internet it says so, and takes what is there
    assert made.run("stat -c %U /var/lib/guardian/lists/guardian.image").stdout == "guardian\n"


def test_upgrade_while_the_home_asks(made: Container, road: Street, newer: Path) -> None:
    code = made.run("guardian web --claim-code").stdout
    shutil.copy(newer, made.root / "home/pi/newer.deb")
    stop: list[float] = []
    answers: dict[int, tuple[float, float]] = {}
    asking = threading.Thread(target=count_answers, args=(TABLET, PI_ADDRESS, "allowed.example", stop, answers))
    asking.start()
    try:
        time.sleep(0.5)
        made.run("sudo apt-get install -y ./newer.deb </dev/null", user="pi", seconds=300)
        wait_for_answer(road, 30.0)
        time.sleep(1.0)
    finally:
        stop.append(time.monotonic())
        asking.join(10)
    lost = [asked for asked, seconds in answers.values() if seconds > 1.0]
    away = max(lost, default=0.0) - min(lost, default=0.0)
    print(f"upgrade: {len(answers)} asked, {len(lost)} not answered within a second, all of them in {away:.2f} s")
    assert len(answers) > 50
    assert away < 20.0  # a quiet machine: about a second
    assert made.run("guardian --version").stdout == "guardian 0.2.0\n"
    assert "version 0.2.0 runs" in made.run("guardian doctor", check=False).stdout
    assert made.run("guardian web --claim-code").stdout == code
    assert resolves(made)


def test_downgrade_is_the_administrators_word(made: Container, package: Path, road: Street) -> None:
    """dpkg puts an older version back; settings and state of the same form go on."""
    shutil.copy(package, made.root / "home/pi/older.deb")
    made.run("dpkg --install /home/pi/older.deb", seconds=300)
    assert made.run("guardian --version").stdout == "guardian 0.1.0\n"
    wait_for_answer(road, 20.0)


def test_remove_keeps_settings_and_takes_rules_and_processes(made: Container, package: Path, road: Street) -> None:
    made.run("nft add table inet guardian")  # what a gateway that was killed leaves
    made.run("apt-get remove -y guardian", seconds=300)
    assert resolves(made)
    assert "guardian" not in made.run("nft list tables").stdout
    assert not made.run("ss -Hlntu 'sport = :53 or sport = :80 or sport = :8080'").stdout
    assert made.run("ls /etc/guardian/guardian.yaml /var/lib/guardian/console.db").returncode == 0
    made.run("dpkg --install /home/pi/older.deb", seconds=300)
    assert made.run("systemctl is-active guardian-gateway").stdout == "active\n"
    wait_for_answer(road, 20.0)


def test_machine_that_asks_itself_keeps_its_names_when_guardian_goes(made: Container) -> None:
    """The router tells everybody to ask the Pi, and the Pi is one of them."""
    (made.root / "etc/resolv.conf").write_text(f"search home\nnameserver {PI_ADDRESS}\n")
    assert resolves(made)
    told = made.run("apt-get purge -y guardian 2>&1", seconds=300).stdout
    assert "until its next lease it asks 9.9.9.9, 149.112.112.112" in told
    assert resolves(made)
    assert made.run("cat /etc/resolv.conf").stdout.splitlines()[0] == "search home"
    assert made.run("ls -d /etc/guardian /var/lib/guardian /run/guardian 2>/dev/null", check=False).stdout == ""
