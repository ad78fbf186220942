"""What the Debian package is made of: what must not change by accident, and what hangs together."""

from __future__ import annotations

import configparser
import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from guardian import __version__
from guardian.config import load_config
from tests.gateway.product import require

ROOT = Path(__file__).parents[3]
DEBIAN = ROOT / "deploy" / "debian"
UNITS = sorted(DEBIAN.glob("guardian.guardian-*.service"))
SCRIPTS = ("guardian.postinst", "guardian.prerm", "guardian.postrm", "guardian-lan")
# guardian-setup writes this file. Should its first content ever change, dpkg would ask every parent which one to keep,
# and unattended upgrades would pass the package over until somebody answers. Defaults live in the code: leave it.
CONFFILE = "73c9accd5e4ee2d661c623da8ba95de3a5a3ba2bcf33cb0a1e142d4a301d1605"


class Unit(configparser.RawConfigParser):
    """A unit file: names with case, and the last of repeated keys."""

    def optionxform(self, name: str) -> str:
        return name


def read_unit(path: Path) -> Unit:
    unit = Unit(strict=False, delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    unit.read_string(path.read_text())
    return unit


def test_conffile_is_the_one_that_was_first_shipped() -> None:
    assert hashlib.sha256((DEBIAN / "guardian.yaml").read_bytes()).hexdigest() == CONFFILE


def test_conffile_serves_nobody_but_the_machine_and_takes_no_port_of_others() -> None:
    config = load_config(str(DEBIAN / "guardian.yaml"))
    listening = (*config.dns.listen, *config.block.page, *config.web.listen)
    assert {endpoint.host for endpoint in listening} == {"127.0.0.1"}
    assert 53 not in {endpoint.port for endpoint in listening}
    assert config.history.path.startswith("/run/")
    assert config.control.socket == "/run/guardian/control.sock"
    assert not config.filter.enabled


def test_changelog_and_code_name_one_version() -> None:
    assert (DEBIAN / "changelog").read_text().startswith(f"guardian ({__version__}) ")


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_services_are_shut_in_and_never_given_up(path: Path) -> None:
    unit = read_unit(path)
    service = unit["Service"]
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["ProtectHome"] == "yes"
    assert service["SystemCallArchitectures"] == "native"
    assert "CapabilityBoundingSet" in service
    if service.get("Type") != "oneshot":
        assert service["Restart"] == "always"
        assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    if "Type=notify" in path.read_text() and service.get("User") == "guardian":
        assert service["WatchdogSignal"] == "SIGKILL"
        assert service["ExecStart"].endswith(" --replace")
        assert service["RuntimeDirectoryPreserve"] == "yes"  # the other one lives there too


def test_gateway_sees_the_network_it_filters() -> None:
    """ProcSubset=pid hides /proc/net, and with it who is who."""
    assert "ProcSubset" not in read_unit(DEBIAN / "guardian.guardian-gateway.service")["Service"]


def test_rights_of_the_filter_are_only_given_with_it() -> None:
    plain = read_unit(DEBIAN / "guardian.guardian-gateway.service")["Service"]
    assert plain["CapabilityBoundingSet"] == plain["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"
    added = read_unit(DEBIAN / "filter.conf")["Service"]
    assert added["CapabilityBoundingSet"] == added["AmbientCapabilities"] == "CAP_NET_ADMIN CAP_NET_RAW"


def test_rules_name_every_service() -> None:
    rules = (DEBIAN / "rules").read_text()
    named = set(re.findall(r"--name=guardian-(\w+)", rules)) | {"lan", "wifi", "dhcp"}
    assert named == {path.stem.removeprefix("guardian.guardian-") for path in UNITS}
    assert "for unit in lan wifi dhcp;" in rules


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_clean_for_a_small_shell(name: str) -> None:
    path = DEBIAN / name
    subprocess.run(["sh", "-n", path], check=True)
    assert re.search(r"^set -e", path.read_text(), re.MULTILINE)
    require("shellcheck")
    subprocess.run(["shellcheck", path], check=True)


def test_what_setup_makes_is_taken_away_by_purge() -> None:
    """`guardian_setup.modes` is not imported here: the paths are read as they stand there."""
    modes = (DEBIAN / "guardian_setup" / "modes.py").read_text()
    purged = (DEBIAN / "guardian.postrm").read_text()
    elsewhere = re.findall(r'"(/etc/(?!guardian)[^"]+)"', modes)
    assert len(elsewhere) == 3
    for path in elsewhere:
        assert path in purged or path.rpartition("/")[0] in purged, path
    assert "rm -rf /etc/guardian " in purged
    for folder in ("/var/lib/guardian", "/var/lib/guardian-dhcp", "/run/guardian"):
        assert folder in purged


def test_what_is_bundled_is_pinned() -> None:
    lines = (DEBIAN / "bundled.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin.partition("==")[0] for pin in pins] == ["msgspec"]
    assert all(re.fullmatch(r"[a-z_]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}", pin) for pin in pins)
