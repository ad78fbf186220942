"""Gateway and console in the jail of the init script: they need nothing that is not named, and get no more."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.openwrt.home import ROUTER, WEB, Home, home
from tests.deploy.openwrt.router import FILES, USER
from tests.deploy.openwrt.ujail import SYSCALLS, compile_seccomp
from tests.gateway.product import ROOT, wait_for

JAILER = Path(__file__).parent / "ujail.py"
# The launcher of the package has the interpreter of the system in its first line; here our tree is its site-packages.
LAUNCHER = f"""#!/usr/bin/python3 -E
import sys
sys.path[:0] = ["{ROOT}", "{ROOT}/.venv/lib/python3.{sys.version_info.minor}/site-packages"]
from guardian.cli import main
sys.exit(main())
"""
# Calls that a jailed process must not make, and one that it must; each in the number of x86-64.
TRIES = "import ctypes, os; c = ctypes.CDLL(None, use_errno=True)\n" + "".join(
    f"c.syscall({number}, 0, 0, 0, 0, 0); print('{name}', ctypes.get_errno())\n"
    for name, number in (("mount", 165), ("unshare", 272), ("ptrace", 101), ("settimeofday", 164), ("bpf", 321))
)
TRIES += "print(open('/proc/self/status').read()); print(sorted(os.listdir('/etc')), sorted(os.listdir('/')))\n"
TRIES += "print('tmp', os.access('/tmp', os.W_OK), os.access('/tmp/guardian', os.W_OK))\n"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    if platform.machine() != "x86_64":
        pytest.skip("the numbers of system calls here are those of x86-64")
    with home(tmp_path_factory.mktemp("jail")) as made:
        box = made.box
        box.put("sbin/ujail", "", 0o755)
        box.put("lib/libpreload-seccomp.so", "")
        box.put("usr/bin/guardian", LAUNCHER, 0o755)
        box.put("etc/config/wireless", "config wifi-iface\n\toption key 'secret'\n", 0o600)
        box.uci("set", "guardian.filter.enabled=1")
        box.uci("commit", "guardian")
        box.init("start")
        for method, message in box.told():
            for name, instance in message["instances"].items() if method == "set" else ():
                launch(made, name, instance)
        yield made


def launch(made: Home, name: str, instance: dict[str, object]) -> None:
    """Start an instance as procd does: those with a jail by ujail."""
    command = [str(word) for word in instance["command"]]  # type: ignore[attr-defined]
    if "jail" in instance:
        made.box.put(f"tmp/{name}.json", json.dumps(instance))
        command = ["/usr/bin/python3", str(JAILER), f"/tmp/{name}.json"]
    made.running[name] = made.box.start(*command)


def jailed_pid(made: Home, name: str) -> int:
    """The process in the jail: the child of what procd started."""
    children = Path(f"/proc/{made.running[name].pid}/task/{made.running[name].pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def status_of(made: Home, name: str) -> dict[str, str]:
    lines = Path(f"/proc/{jailed_pid(made, name)}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_the_gateway_filters_in_its_jail(family: Home) -> None:
    family.wait_for_mode("mode behind", 40)
    assert family.tablet.join().dns == ROUTER
    family.laptop.join()
    assert family.tablet.ask("blocked.example") == "NXDOMAIN" and family.laptop.ask("blocked.example") == [WEB]
    log = family.box.read("tmp/log")
    told = [line for line in log.splitlines() if line.startswith(("WARNING", "ERROR", "CRITICAL"))]
    assert all("procd-not-told" in line for line in told), told
    rules = subprocess.run(
        ["ip", "netns", "exec", family.box.namespace, "nft", "list", "tables"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "table inet guardian" in rules
    acct = ["cat", "/proc/sys/net/netfilter/nf_conntrack_acct"]
    assert family.box.run(*acct).stdout.strip() == "1"


def test_it_is_nobody(family: Home) -> None:
    wanted = {"gateway": (1 << 10) | (1 << 12) | (1 << 13), "web": 1 << 10}
    for name, capabilities in wanted.items():
        status = status_of(family, name)
        assert set(status["Uid"].split() + status["Gid"].split()) == {str(USER)}
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind], 16) == capabilities, (name, kind)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_what_is_not_named_is_not_there(family: Home) -> None:
    for name in ("gateway", "web"):
        root = Path(f"/proc/{jailed_pid(family, name)}/root")
        assert {path.name for path in root.iterdir()} <= {
            "dev",
            "etc",
            "lib",
            "lib64",
            "proc",
            "tmp",
            "usr",
            "var",
            ROOT.parts[1],  # where this checkout lies: its Python is the router's
        }
        for path in ("etc/shadow", "root", "tmp/log", "etc/dropbear", "etc/init.d"):
            assert not (root / path).exists(), path


def test_calls_that_are_refused(family: Home) -> None:
    instance = json.loads(family.box.read("tmp/gateway.json"))
    instance["command"] = ["/usr/bin/python3", "-c", TRIES]
    family.box.put("tmp/tries.json", json.dumps(instance))
    told = family.box.run("/usr/bin/python3", str(JAILER), "/tmp/tries.json").stdout
    for name in ("mount", "unshare", "ptrace", "settimeofday", "bpf"):
        assert f"{name} 1\n" in told, told  # EPERM
    assert "tmp False True" in told


def test_a_commit_of_settings_is_seen(family: Home) -> None:
    """`uci commit` puts another file in the place: a jail with the file alone would read the old one for ever."""
    box = family.box
    box.uci("add_list", "guardian.dns.rebinding_allowed=open.example")
    box.uci("commit", "guardian")
    assert family.laptop.ask("private.open.example") == []
    done = box.run("/usr/bin/guardian", "gateway", "--reload", "--config", "/etc/config/guardian")
    assert done.stdout == "reloaded\n"
    assert family.laptop.ask("private.open.example") == ["192.168.1.77"]


def test_the_console_answers(family: Home) -> None:
    def page() -> str:
        words = [
            "ip",
            "netns",
            "exec",
            family.laptop.namespace,
            "curl",
            "-s",
            "-m",
            "5",
            f"http://{ROUTER}:8080/api/v1/start",
        ]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout

    wait_for(lambda: '"claimed":false' in page().replace(" ", ""), 30, 0.3)
    code = family.box.run("/usr/bin/guardian", "web", "--claim-code").stdout.strip()
    assert len(code) >= 6


def test_what_is_written_outside_of_memory_is_kept(family: Home) -> None:
    """sysupgrade's list holds all that the product wrote on flash, and nothing that a provider puts there."""
    box = family.box
    box.run("chroot", "--userspec=guardian:guardian", "/", "/usr/bin/guardian", "household", "import",
            "/etc/guardian/home.yaml")  # fmt: skip
    box.put("etc/guardian/provisioning.yaml", "")
    kept = box.run("sh", "-c", "find $(cat /lib/upgrade/keep.d/guardian) -type f 2>/dev/null; true").stdout.split()
    written = {
        f"/{path.relative_to(box.root)}"
        for path in box.path("etc/guardian").rglob("*")
        if path.is_file() and path.name not in ("home.yaml", "provisioning.yaml")
    }
    assert {"/etc/guardian/settings.db", "/etc/guardian/console.db", "/etc/guardian/claim-code"} <= written
    assert written <= set(kept), written - set(kept)
    assert "/etc/config/guardian" in kept and "/etc/guardian/provisioning.yaml" not in kept


# The list itself


def test_every_rule_names_calls_that_every_machine_has() -> None:
    """ujail passes over unknown names; a rule of such names alone would hold for every call."""
    rules = json.loads((FILES / "seccomp.json").read_text())
    everywhere = {"ptrace": 1, "mount": 2, "init_module": 3}  # on x86-64, arm, aarch64 and mips alike
    assert [rule["names"][0] for rule in rules["syscalls"]] == list(everywhere)
    compile_seccomp(rules, everywhere)
    with pytest.raises(ValueError, match="every call"):
        compile_seccomp(rules, {"ptrace": 1})


def test_no_name_is_mistyped() -> None:
    rules = json.loads((FILES / "seccomp.json").read_text())
    names = {name for rule in rules["syscalls"] for name in rule["names"]}
    assert names - set(SYSCALLS) == {"clock_settime64"}  # of 32-bit machines
