"""The init script under busybox's shell: what procd is told, compared whole, and what each command does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.openwrt.router import FIREWALL, USER, Router, router


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Router]:
    with router(tmp_path / "box") as made:
        made.put("sbin/ujail", "", 0o755)
        made.put("lib/libpreload-seccomp.so", "")
        made.put("tmp/netifd/lan", "device br-lan\nipaddr 192.168.1.1\nsubnet 192.168.1.1/24\n")
        made.put("tmp/netifd/wan", "device wan\nipaddr 198.51.100.7\n")
        made.put("etc/init.d/dnsmasq", '#!/bin/sh\necho "$1" >>/tmp/dnsmasq.reloads\n', 0o755)
        yield made


def fake_program(box: Router, script: str) -> None:
    """Put another program in the place of Guardian: what the init script makes of its answers is looked at here."""
    box.put("usr/bin/guardian", f'#!/bin/sh\necho "$@" >>/tmp/typed\n{script}\n', 0o755)


def mounts(*, own: dict[str, str]) -> dict[str, str]:
    shared = ("/lib", "/usr/lib", "/usr/share/zoneinfo", "/etc/config", "/etc/ssl", "/etc/TZ", "/etc/hosts")
    told = dict.fromkeys((*shared, "/tmp/dhcp.leases", "/tmp/hosts"), "0")
    return told | dict.fromkeys(("/etc/guardian", "/var/run/guardian", "/tmp/guardian"), "1") | own


def instance(name: str, own: dict[str, str]) -> dict[str, Any]:
    return {
        "command": ["/usr/bin/guardian", name, "--config", "/etc/config/guardian", "--replace"],
        "env": {
            "GUARDIAN_CONFIG": "/etc/config/guardian",
            "GUARDIAN_PROCD_INSTANCE": name,
            "TMPDIR": "/tmp/guardian",
            "SQLITE_TMPDIR": "/tmp/guardian",
        },
        "respawn": ["3600", "5", "0"],
        "watchdog": ["2", "30"],
        "term_timeout": 15,
        "limits": {"core": "0"},
        "stdout": True,
        "stderr": True,
        "user": "guardian",
        "group": "guardian",
        "no_new_privs": True,
        "capabilities": f"/etc/capabilities/guardian-{name}.json",
        "seccomp": "/etc/seccomp/guardian.json",
        "jail": {
            "name": f"guardian-{name}",
            "ubus": True,
            "procfs": True,
            "ronly": True,
            "mount": mounts(own=own),
        },
    }


GATEWAY = instance("gateway", {"/usr/sbin/nft": "0", "/proc/sys/net/netfilter": "1"})
WEB = instance("web", {"/usr/bin/openssl": "0"}) | {"file": ["/tmp/resolv.conf.d/resolv.conf.auto"]}
WATCH = {"command": ["/usr/lib/guardian/dns-watch"], "respawn": ["3600", "5", "0"], "stdout": True, "stderr": True}


def change(package: str, *command: str) -> list[Any]:
    return ["config.change", ["if", ["eq", "package", package], ["run_script", *command]], 1000]


SERVICE = {
    "name": "guardian",
    "script": "/etc/init.d/guardian",
    "instances": {"gateway": GATEWAY, "web": WEB, "watch": WATCH},
    "triggers": [
        change("guardian", "/etc/init.d/guardian", "reload"),
        change("dhcp", "/usr/lib/guardian/dnsmasq-mode", "ensure"),
        change("network", "/usr/lib/guardian/find-interfaces", "update"),
        change("firewall", "/usr/lib/guardian/find-interfaces", "update"),
    ],
}
FIREWALL_CHANGED = ("event", {"type": "config.change", "data": {"package": "firewall"}})
DELETED = ("delete", {"name": "guardian", "instance": ""})


def test_start_tells_procd_all_of_it(box: Router) -> None:
    box.init("start")
    assert box.told() == [("set", SERVICE), FIREWALL_CHANGED]
    assert box.syslog() == ""


def test_folders_belong_to_the_user_and_a_provider_s_files_do_not(box: Router) -> None:
    box.put("etc/guardian/settings.db", "x")
    box.put("etc/guardian/provisioning.yaml", "provider: example\n")
    box.put("etc/guardian/provider/root.json", "{}")
    box.path("etc/config/guardian").chmod(0o600)
    box.init("start")
    for name in ("etc/guardian", "etc/guardian/settings.db", "var/run/guardian", "tmp/guardian"):
        assert box.path(name).stat().st_uid == USER, name
    for name in ("etc/guardian/provisioning.yaml", "etc/guardian/provider", "etc/guardian/provider/root.json"):
        assert box.path(name).stat().st_uid == 0, name
    assert box.path("etc/config/guardian").stat().st_mode & 0o777 == 0o644
    assert box.path("tmp/dhcp.leases").exists() and box.path("tmp/hosts").is_dir()


def test_a_second_start_writes_nothing_to_flash(box: Router) -> None:
    box.put("etc/guardian/settings.db", "x")
    box.init("start")
    before = box.path("etc/guardian/settings.db").stat().st_ctime_ns
    box.init("start")
    assert box.path("etc/guardian/settings.db").stat().st_ctime_ns == before


def test_without_ujail_it_runs_as_root_and_says_so(box: Router) -> None:
    box.path("sbin/ujail").unlink()
    box.init("start")
    instances = box.told()[0][1]["instances"]
    jail = {"jail", "user", "group", "no_new_privs", "capabilities", "seccomp"}
    for name, whole in (("gateway", GATEWAY), ("web", WEB)):
        assert instances[name] == {key: value for key, value in whole.items() if key not in jail}
        assert f"event=no-jail instance={name} user=root" in box.syslog()


def test_without_the_filter_of_calls_the_jail_stays(box: Router) -> None:
    """ujail that is asked for a filter and finds no library for it does not start the process."""
    box.path("lib/libpreload-seccomp.so").unlink()
    box.init("start")
    instances = box.told()[0][1]["instances"]
    for name, whole in (("gateway", GATEWAY), ("web", WEB)):
        assert instances[name] == {key: value for key, value in whole.items() if key != "seccomp"}


def test_without_a_console(box: Router) -> None:
    box.uci("delete", "guardian.web.listen")
    box.uci("set", "guardian.web.listen=none")
    box.init("start")
    assert set(box.told()[0][1]["instances"]) == {"gateway", "watch"}


def test_disabled_starts_nothing_and_gives_dnsmasq_back(box: Router) -> None:
    box.mode("apply")
    box.uci("set", "guardian.main.enabled=0")
    box.init("start")
    assert box.told()[0][1]["instances"] == {}
    assert box.read("var/state/dhcp") == ""


def test_the_firewall_redirects_dns_where_the_flow_filter_does_not(box: Router) -> None:
    box.uci("set", "guardian.filter.enabled=0")
    box.init("start")
    redirect = {
        "type": "redirect",
        "name": "guardian_dns",
        "target": "DNAT",
        "family": "any",
        "proto": "tcp udp",
        "src": "lan",
        "src_dport": "53",
        "dest_port": "53",
        "reflection": False,
    }
    assert box.told()[0] == ("set", SERVICE | {"data": {"firewall": [redirect]}})


def test_boot_puts_dnsmasq_behind_before_it_starts(box: Router) -> None:
    box.init("boot")
    assert box.uci("-P", "/var/state", "get", "dhcp.@dnsmasq[0].server") == "127.0.0.1#5353"
    assert box.read("tmp/dnsmasq.reloads") == ""


def test_stop_gives_dnsmasq_back(box: Router) -> None:
    box.init("boot")
    box.told()
    box.init("stop")
    assert box.told() == [DELETED, FIREWALL_CHANGED]
    assert box.read("var/state/dhcp") == "" and box.read("tmp/dnsmasq.reloads") == "reload\n"


@pytest.mark.parametrize("command", ["restart", "shutdown"])
def test_dnsmasq_stays_as_it_is(box: Router, command: str) -> None:
    box.init("boot")
    over = box.read("var/state/dhcp")
    box.init(command)
    assert box.read("var/state/dhcp") == over != ""
    assert box.read("tmp/dnsmasq.reloads") == ""


def test_reload_of_a_bad_file_changes_nothing_and_says_where(box: Router) -> None:
    """The real `guardian check` reads the file."""
    text = box.read("etc/config/guardian").replace("list listen '127.0.0.1:5353'", "list listn '127.0.0.1:5353'")
    box.put("etc/config/guardian", text)
    line = text.splitlines().index("\tlist listn '127.0.0.1:5353'") + 1
    done = box.init("reload", check=False)
    assert done.returncode == 1 and box.told() == []
    assert f"daemon.err event=reload-refused running=as-before problem='/etc/config/guardian:{line}: " in box.syslog()
    assert f"/etc/config/guardian:{line}: " in done.stderr and "did you mean" in done.stderr


def test_reload_of_a_good_file(box: Router) -> None:
    fake_program(box, "exit 0")
    box.put("tmp/procd/running/gateway", "")
    box.init("reload")
    assert box.told() == [("set", SERVICE), ("signal", {"name": "guardian", "instance": "web", "signal": "HUP"})]
    typed = box.read("tmp/typed").splitlines()
    assert typed == ["check --config /etc/config/guardian", "gateway --reload --config /etc/config/guardian"]


def test_what_cannot_change_while_it_runs_starts_it_anew(box: Router) -> None:
    fake_program(box, '[ "$1" = check ] || { echo "filter cannot change while the gateway runs" >&2; exit 1; }')
    box.put("tmp/procd/running/gateway", "")
    box.init("reload")
    told = box.told()
    assert [method for method, _ in told] == ["set", "signal", "delete", "set"]
    assert told[2] == ("delete", {"name": "guardian", "instance": "gateway"}) and told[3] == told[0]
    assert "event=starting-anew reason='filter cannot change" in box.syslog()


def test_the_packaged_settings_are_good(box: Router) -> None:
    box.init("start")
    done = box.run("/usr/bin/guardian", "check", check=False)
    assert done.returncode == 0, done.stderr


# Interfaces


def interfaces(box: Router) -> dict[str, str]:
    keys = ("filter.lan", "filter.wan", "local.addresses")
    return {key: box.uci("get", f"guardian.{key}") for key in keys}


def test_first_boot_finds_interfaces_before_the_network_is_up(box: Router) -> None:
    for name in ("lan", "wan"):
        box.path(f"tmp/netifd/{name}").unlink()
    box.put(
        "etc/config/network", box.read("etc/config/network").replace("br-lan", "br-home").replace("'wan'", "'eth1'")
    )
    box.put("etc/config/network", box.read("etc/config/network").replace("interface 'eth1'", "interface 'wan'"))
    box.put("etc/init.d/cron", '#!/bin/sh\necho "$1" >>/tmp/cron\n', 0o755)
    box.run("/etc/uci-defaults/50_guardian")
    assert interfaces(box) == {"filter.lan": "br-home", "filter.wan": "eth1", "local.addresses": ""}
    assert box.read("tmp/cron") == "enable\nrestart\n"
    minute, hour, *rest = box.read("etc/crontabs/guardian").split(maxsplit=5)
    assert 0 <= int(minute) < 60 and 2 <= int(hour) < 6 and rest[:3] == ["*", "*", "*"]
    assert rest[3].endswith("/usr/bin/guardian sync --quiet\n")
    before = box.read("etc/crontabs/guardian")
    box.run("/etc/uci-defaults/50_guardian")
    assert box.read("etc/crontabs/guardian") == before
    assert box.run("/usr/bin/guardian", "check").returncode == 0


def test_the_network_comes_up_by_pppoe_with_guests(box: Router) -> None:
    """The device that leads out gets another name when it is dialled; the guests' zone is the home too."""
    box.put("etc/rc.d/S18guardian", "")
    guests = "\nconfig zone\n\toption name 'guest'\n\tlist network 'guest'\n"
    box.put(
        "etc/config/firewall", FIREWALL + guests + "\nconfig forwarding\n\toption src 'guest'\n\toption dest 'wan'\n"
    )
    box.put("tmp/netifd/guest", "device br-guest\nipaddr 192.168.2.1\n")
    box.put("tmp/netifd/wan", "device pppoe-wan\nipaddr 198.51.100.7\n")
    hotplug = "env ACTION=ifup INTERFACE=wan sh /etc/hotplug.d/iface/90-guardian"
    box.run("sh", "-c", hotplug)
    assert interfaces(box) == {
        "filter.lan": "br-lan br-guest", "filter.wan": "pppoe-wan wan", "local.addresses": "192.168.1.1 192.168.2.1",
    }  # fmt: skip
    assert ("reload_config", {}) in box.told()
    box.run("sh", "-c", hotplug)
    assert ("reload_config", {}) not in box.told()
    # Renumbered: the addresses follow.
    box.put("tmp/netifd/lan", "device br-lan\nipaddr 192.168.7.1\n")
    box.run("sh", "-c", hotplug)
    assert interfaces(box)["local.addresses"] == "192.168.7.1 192.168.2.1"


def test_what_somebody_wrote_stays(box: Router) -> None:
    box.run("/usr/lib/guardian/find-interfaces", "update")
    for key, value in (("filter.lan", "br-kids"), ("local.addresses", "10.0.0.1")):
        box.uci("delete", f"guardian.{key}")
        box.uci("add_list", f"guardian.{key}={value}")
    box.uci("commit", "guardian")
    box.put("tmp/netifd/wan", "device pppoe-wan\n")
    box.run("/usr/lib/guardian/find-interfaces", "update")
    assert interfaces(box) == {
        "filter.lan": "br-kids", "filter.wan": "pppoe-wan wan", "local.addresses": "10.0.0.1",
    }  # fmt: skip


def test_events_that_mean_nothing(box: Router) -> None:
    box.put("etc/rc.d/S18guardian", "")
    for words in ("ACTION=ifdown INTERFACE=wan", "ACTION=ifup INTERFACE=loopback"):
        box.run("sh", "-c", f"env {words} sh /etc/hotplug.d/iface/90-guardian")
    box.path("etc/rc.d/S18guardian").unlink()
    box.run("sh", "-c", "env ACTION=ifup INTERFACE=wan sh /etc/hotplug.d/iface/90-guardian", check=False)
    assert box.told() == [] and box.syslog() == ""


# What stands in the files of rules


def test_capabilities_are_the_same_in_all_five_sets(box: Router) -> None:
    wanted = {"gateway": {"CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"}, "web": {"CAP_NET_BIND_SERVICE"}}
    for name, capabilities in wanted.items():
        sets = json.loads(box.read(f"etc/capabilities/guardian-{name}.json"))
        assert set(sets) == {"bounding", "effective", "permitted", "inheritable", "ambient"}
        assert all(set(names) == capabilities for names in sets.values())


def test_the_bus_lets_the_user_wind_up_the_watchdog_and_nothing_else(box: Router) -> None:
    rules = json.loads(box.read("usr/share/acl.d/guardian.json"))
    assert rules == {"user": "guardian", "access": {"service": {"methods": ["watchdog"]}}}
    # ubusd passes over a file that others may write, or that is not root's.
    status = box.path("usr/share/acl.d/guardian.json").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o022) == (0, 0, 0)
