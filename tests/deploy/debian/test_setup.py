"""guardian-setup's parts: what it decides, writes and looks at. The whole of it is tried on machines (test_machine.py,
test_coexistence.py, test_raspberry_pi_document.py)."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import parse_config

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "deploy" / "debian"))  # as the installed command does with its own folder

from guardian_setup import command, leave, machine, modes  # noqa: E402
from guardian_setup.modes import Mode, Plan, Radio  # noqa: E402

NAMES = st.from_regex(r"[a-z][a-z0-9]{1,10}", fullmatch=True)
ADDRESSES = st.builds(
    lambda network, length: str(ipaddress.IPv4Interface(f"{ipaddress.IPv4Address(network << 16 | 257)}/{length}")),
    st.sampled_from([0x0A01, 0xC0A8, 0xAC10]),
    st.integers(16, 29),
)
PLANS = st.builds(
    Plan,
    mode=st.sampled_from(Mode),
    lan=NAMES.map(lambda name: f"l{name}"),
    wan=NAMES.map(lambda name: f"w{name}"),
    address=ADDRESSES,
    language=st.sampled_from(["ro", "ru", "en"]),
    upstreams=st.sampled_from([modes.UPSTREAMS, ("192.0.2.1", "tls://x.example@192.0.2.2")]),
    has_page=st.booleans(),
)
ROWS = [
    {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8, "scope": "host"}]},
    {
        "ifname": "eth0",
        "addr_info": [
            {"family": "inet", "local": "192.168.1.2", "prefixlen": 24, "scope": "global"},
            {"family": "inet6", "local": "fe80::1", "prefixlen": 64, "scope": "link"},
        ],
    },
    {"ifname": "docker0", "addr_info": []},
    {"ifname": "wlan0", "addr_info": [{"family": "inet", "local": "169.254.7.7", "prefixlen": 16, "scope": "link"}]},
]


@given(PLANS)
def test_settings_of_every_plan_are_right(plan: Plan) -> None:
    config = parse_config(modes.render_settings(plan), modes.SETTINGS)
    assert [(it.host, it.port) for it in config.dns.listen] == [(plan.lan, 53)]
    assert [(it.host, it.port) for it in config.web.listen] == [(plan.lan, 8080)]
    assert bool(config.block.page) == plan.has_page
    assert config.language == plan.language
    assert config.filter.enabled == plan.mode.is_router
    if plan.mode.is_router:
        assert (config.filter.lan, config.filter.wan) == ((plan.lan,), (plan.wan,))
        assert config.local.leases == (modes.LEASES,)


@given(PLANS)
def test_devices_get_addresses_of_the_home_and_never_the_routers(plan: Plan) -> None:
    rendered = modes.render_dhcp(plan)
    line = next(line for line in rendered.splitlines() if line.startswith("dhcp-range="))
    first, last, mask, _ = line.removeprefix("dhcp-range=").split(",")
    mine = ipaddress.IPv4Interface(plan.address)
    assert ipaddress.IPv4Address(first) <= ipaddress.IPv4Address(last)
    for end in (first, last):
        assert ipaddress.IPv4Address(end) in mine.network
        assert ipaddress.IPv4Address(end) not in (mine.network.network_address, mine.network.broadcast_address)
    assert not ipaddress.IPv4Address(first) <= mine.ip <= ipaddress.IPv4Address(last)
    assert mask == str(mine.network.netmask)
    assert f"option:dns-server,{plan.host}" in rendered
    assert "\nport=0\n" in rendered


def test_every_file_of_every_mode_is_known_to_undo() -> None:
    for mode in Mode:
        plan = Plan(mode, "eth1", "eth0", "192.168.77.1/24", radio=Radio("a", "12345678", "MD"))
        assert set(modes.list_files(plan)) <= {modes.SETTINGS, *modes.EXTRA_FILES}
        assert set(modes.list_units(mode)) <= set(modes.UNITS)
    assert modes.list_units(Mode.DNS_ONLY) == modes.CORE
    assert modes.list_units(Mode.ACCESS_POINT) == modes.UNITS


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None, reason="needs root and nft")
def test_rules_of_a_router_are_taken_by_the_kernel() -> None:
    rules = modes.render_nat(Plan(Mode.GATEWAY, "eth1", "eth0", "192.168.77.1/24"))
    command_line = ["unshare", "--net", "sh", "-c", "nft -f - && nft list ruleset"]
    done = subprocess.run(command_line, input=rules, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert 'oifname "eth0" masquerade' in done.stdout


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="needs dnsmasq")
def test_dnsmasq_takes_its_settings(tmp_path: Path) -> None:
    text = modes.render_dhcp(Plan(Mode.GATEWAY, "eth1", "eth0", "10.77.7.1/16"))
    (tmp_path / "dhcp.conf").write_text(text)
    dnsmasq = shutil.which("dnsmasq") or ""
    done = subprocess.run(
        [dnsmasq, "--test", f"--conf-file={tmp_path}/dhcp.conf"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("radio", "wrong"),
    [
        (Radio("Casa noastră", "mere verzi 7", "MD"), 0),
        (Radio("", "mere verzi 7", "MD"), 1),
        (Radio("ă" * 17, "mere verzi 7", "MD"), 1),  # 34 bytes
        (Radio('a"\nwpa=0', "mere verzi 7", "MD"), 1),
        (Radio("a", "short", "MD"), 1),
        (Radio("a", "12345678\nwpa=0", "MD"), 1),
        (Radio("a", "x" * 64, "md"), 2),
    ],
)
def test_wrong_words_for_a_radio_are_refused(radio: Radio, wrong: int) -> None:
    assert len(modes.check_radio(radio)) == wrong


def test_home_gets_a_network_that_is_not_taken() -> None:
    assert modes.choose_address([]) == "192.168.77.1/24"
    assert modes.choose_address([ipaddress.IPv4Network("192.168.0.0/16")]) == "10.77.7.1/24"
    with pytest.raises(LookupError, match="--address"):
        modes.choose_address([ipaddress.IPv4Network("0.0.0.0/0")])


def test_interfaces_are_those_that_may_lead_into_a_home() -> None:
    found = machine.parse_interfaces(ROWS, "/nowhere")
    assert [(it.name, [str(address) for address in it.addresses]) for it in found] == [
        ("eth0", ["192.168.1.2/24"]),
        ("wlan0", []),
    ]


def test_interface_of_ifupdown_is_found(tmp_path: Path) -> None:
    (tmp_path / "interfaces.d").mkdir()
    (tmp_path / "interfaces").write_text("source /etc/network/interfaces.d/*\nauto eth0\n# iface eth1\n")
    (tmp_path / "interfaces.d" / "home").write_text("auto eth1\niface  eth1 inet static\n")
    assert machine.is_in_ifupdown("eth1", str(tmp_path)) == str(tmp_path / "interfaces.d" / "home")
    assert machine.is_in_ifupdown("eth0", str(tmp_path)) == ""
    assert machine.is_in_ifupdown("eth0", str(tmp_path / "missing")) == ""


def test_holder_of_a_port_is_named_but_not_one_of_another_address_or_our_own() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.7", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        (holder,) = machine.find_holders("127.0.0.7", port, set())
        assert f"(process {os.getpid()})" in holder
        assert machine.find_holders("127.0.0.8", port, set()) == []
        assert machine.find_holders("127.0.0.7", port, {os.getpid()}) == []


@pytest.mark.parametrize(
    "text", ["192.168.77.1", "192.168.77.0/24", "192.168.77.255/24", "8.8.8.8/24", "x", "10.0.0.1/31"]
)
def test_addresses_that_no_home_can_have_are_refused(text: str) -> None:
    with pytest.raises(command.GuardianError, match="--address"):
        command._read_address(text)


@pytest.mark.parametrize(
    ("servers", "itself"),
    [([], False), (["192.168.1.2"], True), (["192.168.1.2", "fe80::1%eth0"], True), (["192.168.1.2", "9.9.9.9"], False),
     (["127.0.0.1"], False)],
)  # fmt: skip
def test_machine_that_asks_only_itself_is_told_from_others(servers: list[str], itself: bool) -> None:
    assert leave.asks_itself(servers, {"192.168.1.2", "fe80::1"}) is itself


def test_resolv_conf_gets_other_servers_and_keeps_the_rest() -> None:
    text = "# by dhcp\nsearch home\nnameserver 192.168.1.2\noptions edns0\n"
    assert leave.read_servers(text) == ["192.168.1.2"]
    after = leave.replace_servers(text, ("9.9.9.9",))
    assert leave.read_servers(after) == ["9.9.9.9"]
    assert [line for line in after.splitlines() if not line.startswith(("#", "nameserver"))] == [
        "search home",
        "options edns0",
    ]


def test_wrong_words_end_with_where_to_read_on(capfd: pytest.CaptureFixture[str]) -> None:
    assert command.main(["router"]) == 2
    assert "Try 'guardian-setup --help'" in capfd.readouterr().err
    assert command.main(["--help"]) == 0
    assert "dns-only" in capfd.readouterr().out
