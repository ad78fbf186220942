"""Lease files of three DHCP servers, hostile host names, files that come, change and go."""

from __future__ import annotations

import ipaddress
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.leases import MAX_LEASES, Lease, LeaseFiles, clean_hostname, parse_leases, parse_mac
from guardian.policy.model import FOREVER


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def mac(text: str) -> bytes:
    found = parse_mac(text)
    assert found is not None
    return found


DNSMASQ = """\
1763750000 02:00:00:00:00:01 192.168.1.101 ana-tablet 01:02:00:00:00:00:01
0 02:00:00:00:00:02 192.168.1.102 * *
43200 06-02:00:00:00:00:03 192.168.1.103 Wii *
duid 00:01:00:01:2e:aa:bb:cc:02:00:00:00:00:fe
1763750001 16777217 fd00::101 ana-tablet 00:01:00:01:2e:aa:bb:cc:02:00:00:00:00:01
1763750001 T5 fd00::102 * 00:03:00:01:02:00:00:00:00:01
"""
ODHCPD = """\
# br-lan 0001000112345678020000000007 1a2b3c phone 1763750000 7 128 fd00::7/128 2001:db8::7/128
fd00::7\tphone.lan\tphone
# br-lan 020000000008 ipv4 laptop 1763750002 c0a80108 32 192.168.1.8/32
192.168.1.8\tlaptop.lan\tlaptop
# br-lan 020000000009 ipv4 broken\\x20evil -1 c0a80109 32 192.168.1.9/32
# br-lan 00030001020000000007 1 - 1763750000 10 62 fd00:1::/62
"""
KEA4 = """\
address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
192.168.1.20,02:00:00:00:00:20,,3600,1763750000,1,0,0,printer.example.org.,0,,0
192.168.1.21,02:00:00:00:00:21,,3600,1763750000,1,0,0,old,0,,0
192.168.1.21,02:00:00:00:00:21,,0,1763750000,1,0,0,old,0,,0
192.168.1.22,02:00:00:00:00:22,,3600,1763750000,1,0,0,declined,1,,0
192.168.1.23,02:00:00:00:00:23,,4294967295,1763750000,1,0,0,first&#x2csecond,0,,0
192.168.1.20,02:00:00:00:00:24,,3600,1763750009,1,0,0,,0,,0
"""
KEA6 = """\
address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,\
hwaddr,state,user_context
fd00::30,00:03:00:01:02:00:00:00:00:30,4000,1763750000,1,3000,0,2,128,0,0,six,,0,
fd00::31,00:02:00:00,4000,1763750000,1,3000,0,2,128,0,0,seven,02:00:00:00:00:31,0,
fd00:2::,00:03:00:01:02:00:00:00:00:30,4000,1763750000,1,3000,2,2,56,0,0,six,,0,
"""


def test_dnsmasq() -> None:
    assert parse_leases(DNSMASQ) == (
        Lease(packed("192.168.1.101"), mac("020000000001"), "ana-tablet", 1763750000.0),
        Lease(packed("192.168.1.102"), mac("020000000002"), "", FOREVER),
        Lease(packed("192.168.1.103"), None, "wii", FOREVER),
        Lease(packed("fd00::101"), mac("020000000001"), "ana-tablet", 1763750001.0),
        Lease(packed("fd00::102"), mac("020000000001"), "", 1763750001.0),
    )


def test_odhcpd_state_with_its_hosts_lines() -> None:
    assert parse_leases(ODHCPD) == (
        Lease(packed("fd00::7"), mac("020000000007"), "phone", 1763750000.0),
        Lease(packed("2001:db8::7"), mac("020000000007"), "phone", 1763750000.0),
        Lease(packed("192.168.1.8"), mac("020000000008"), "laptop", 1763750002.0),
        Lease(packed("192.168.1.9"), mac("020000000009"), "", FOREVER),
    )


def test_odhcpd_hosts_alone() -> None:
    assert parse_leases("192.168.1.8\tlaptop.lan\tlaptop\n") == (Lease(packed("192.168.1.8"), None, "laptop", FOREVER),)


def test_kea_is_a_journal_whose_last_line_counts() -> None:
    assert parse_leases(KEA4) == (
        Lease(packed("192.168.1.20"), mac("020000000024"), "", 1763750009.0),
        Lease(packed("192.168.1.23"), mac("020000000023"), "firstsecond", FOREVER),
    )
    assert parse_leases(KEA6) == (
        Lease(packed("fd00::30"), mac("020000000030"), "six", 1763750000.0),
        Lease(packed("fd00::31"), mac("020000000031"), "seven", 1763750000.0),
    )


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Ana's iPhone", "anas-iphone"),
        ("DESKTOP_7", "desktop-7"),
        ("phone.lan", "phone"),
        ("Telefonul lui Ștefan", "telefonul-lui-tefan"),
        ("--x--y--", "x-y"),
        ("xn--tefan-kcb", "xn--tefan-kcb"),
        ("a" * 80, "a" * 63),
        ("a" * 62 + "-b", "a" * 62),
        ("a" * 256, ""),
        ("<script>alert(1)</script>", ""),
        ("x\x1b[31m", ""),
        ("x\r\nHost: y", ""),
        ("x\x85y", ""),
        ("a;reboot", ""),
        ("wpad", ""),
        ("WPAD.lan", ""),
        ("localhost", ""),
        ("...", ""),
        ("", ""),
        ("иван", ""),
    ],
)
def test_host_names_become_labels_or_nothing(text: str, label: str) -> None:
    assert clean_hostname(text) == label


LDH = re.compile(r"(?!-)[a-z0-9-]{0,63}(?<!-)\Z|\Z")


@given(st.text())
def test_any_text_becomes_a_label_or_nothing(text: str) -> None:
    label = clean_hostname(text)
    assert LDH.match(label)
    assert clean_hostname(label) == label


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from([DNSMASQ, ODHCPD, KEA4, KEA6]))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        text = (
            text[:start]
            + draw(st.text(max_size=20) | st.sampled_from([text[start:end] * 2, "\n", ",", " "]))
            + text[end:]
        )
    return text


@given(mutated())
def test_a_damaged_file_never_raises_and_gives_only_clean_leases(text: str) -> None:
    leases = parse_leases(text)
    assert len({lease.address for lease in leases}) == len(leases)
    for lease in leases:
        assert len(lease.address) in (4, 16)
        assert lease.mac is None or len(lease.mac) == 6
        assert LDH.match(lease.hostname)
        assert lease.expires > 0


def test_a_name_cannot_begin_a_line_of_its_own() -> None:
    for separator in "\x0b\x0c\x1c\x85\u2028":
        text = f"1763750000 02:00:00:00:00:01 192.168.1.5 a{separator}1763750000 02:00:00:00:00:09 192.168.1.1 b *\n"
        assert packed("192.168.1.1") not in {lease.address for lease in parse_leases(text)}


def test_a_huge_file_is_bounded() -> None:
    text = "".join(
        f"0 02:00:00:00:00:01 10.{index >> 16}.{index >> 8 & 255}.{index & 255} n{index} *\n"
        for index in range(MAX_LEASES + 100)
    )
    assert len(parse_leases(text)) == MAX_LEASES


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1763740000.0

    def __call__(self) -> float:
        return self.now


def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    first, second = tmp_path / "dhcp.leases", tmp_path / "kea.csv"
    clock = Clock()
    files = LeaseFiles([str(first), str(second), str(tmp_path)], clock, clock)
    assert files.hostname_of(mac("020000000001")) == ""
    first.write_text(DNSMASQ)
    second.write_text(KEA6)
    assert files.name_of(packed("192.168.1.101")) == ""  # looked at within this second already
    clock.now += 1
    assert files.name_of(packed("192.168.1.101")) == "ana-tablet"
    assert files.name_of(packed("fd00::31")) == "seven"
    assert files.hostname_of(mac("020000000001")) == "ana-tablet"
    assert files.addresses_of("Ana-Tablet") == (packed("192.168.1.101"), packed("fd00::101"))
    clock.now += 1
    assert not files.refresh()
    replacement = tmp_path / "new"
    replacement.write_text("0 02:00:00:00:00:01 192.168.1.150 ana-phone *\n")
    replacement.rename(first)
    second.unlink()
    clock.now += 1
    assert files.addresses_of("ana-phone") == (packed("192.168.1.150"),)
    assert files.addresses_of("ana-tablet") == ()
    assert files.name_of(packed("fd00::31")) == ""


def test_ended_leases_have_no_name(tmp_path: Path) -> None:
    path = tmp_path / "dhcp.leases"
    path.write_text(DNSMASQ)
    clock = Clock()
    files = LeaseFiles([str(path)], clock, clock)
    clock.now = 1763750000.5
    assert files.name_of(packed("192.168.1.101")) == ""
    assert files.addresses_of("ana-tablet") == (packed("fd00::101"),)


def test_a_name_belongs_to_the_device_that_had_it_first(tmp_path: Path) -> None:
    path = tmp_path / "dhcp.leases"
    path.write_text("0 02:00:00:00:00:01 10.0.0.1 nas *\n0 02:00:00:00:00:02 10.0.0.2 nas *\n")
    assert LeaseFiles([str(path)]).addresses_of("nas") == (packed("10.0.0.1"),)


def test_a_pipe_in_place_of_a_file_does_not_stop_us(tmp_path: Path) -> None:
    path = tmp_path / "dhcp.leases"
    os.mkfifo(path)
    assert LeaseFiles([str(path)]).addresses_of("x") == ()


def test_dnsmasq_itself_accepts_our_sample(tmp_path: Path) -> None:
    """The sample is what dnsmasq reads back as its own lease file and writes again."""
    program = Path("/usr/sbin/dnsmasq")
    if not program.exists() or os.geteuid() != 0:
        pytest.skip("needs Debian's dnsmasq and root")
    leases = tmp_path / "leases"
    lines = [line for line in DNSMASQ.splitlines() if " 192." in line]
    leases.write_text("\n".join(lines).replace("1763750000", "4102444800") + "\n")
    leases.chmod(0o666)
    tmp_path.chmod(0o777)
    arguments = ["--no-daemon", "--port=0", "--user=root", "--conf-file=/dev/null", f"--dhcp-leasefile={leases}"]
    # unshare: a namespace of its own, so no DHCP socket meets a real network
    daemon = subprocess.Popen(
        ["unshare", "-n", str(program), *arguments, "--dhcp-range=192.168.1.50,192.168.1.150,infinite"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert daemon.stderr is not None
    seen = []
    for line in daemon.stderr:
        seen.append(line)
        if "DHCP, IP range" in line or "failed" in line:
            break
    daemon.send_signal(signal.SIGTERM)
    seen += daemon.stderr.readlines()
    daemon.stderr.close()
    daemon.wait(10)
    assert not [line for line in seen if "ignoring invalid line" in line or "failed" in line], seen
    assert {lease.hostname for lease in parse_leases(leases.read_text())} >= {"ana-tablet"}
