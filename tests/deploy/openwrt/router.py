"""A router for tests: this machine's file system with OpenWrt's paths laid over it, and what the package installs.

Everything written goes to memory and is gone at the end. busybox is the shell and brings the small programs; uci, procd
and the init scripts' library are the stubs beside this file, dnsmasq and nft are Debian's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.product import ROOT

FILES = ROOT / "deploy" / "openwrt" / "guardian" / "files"
STUBS = Path(__file__).parent / "stubs"
INSTALLED: Mapping[str, str] = {
    "guardian.init": "etc/init.d/guardian",
    "guardian.config": "etc/config/guardian",
    "guardian.defaults": "etc/uci-defaults/50_guardian",
    "guardian.hotplug": "etc/hotplug.d/iface/90-guardian",
    "guardian.keep": "lib/upgrade/keep.d/guardian",
    "dnsmasq-mode": "usr/lib/guardian/dnsmasq-mode",
    "dns-watch": "usr/lib/guardian/dns-watch",
    "find-interfaces": "usr/lib/guardian/find-interfaces",
    "capabilities-gateway.json": "etc/capabilities/guardian-gateway.json",
    "capabilities-web.json": "etc/capabilities/guardian-web.json",
    "seccomp.json": "etc/seccomp/guardian.json",
    "ubus-acl.json": "usr/share/acl.d/guardian.json",
}
_STUBS: Mapping[str, str] = {
    "functions.sh": "lib/functions.sh",
    "network.sh": "lib/functions/network.sh",
    "procd.sh": "lib/functions/procd.sh",
    "rc.common": "etc/rc.common",
    "dnsmasq.init": "etc/init.d/dnsmasq",
}
_PROGRAMS = ("uci", "ubus", "logger", "reload_config", "procd-message", "dnsmasq-settings")
# What OpenWrt's busybox has and the scripts use; the rest of Debian's is left alone.
APPLETS = (
    "ash", "cat", "chmod", "chown", "cp", "date", "find", "grep", "head", "hexdump", "ip", "kill", "ls", "mkdir", "mv",
    "nslookup", "rm", "sed", "sh", "sleep", "touch", "tr", "true", "udhcpc",
)  # fmt: skip
LAUNCHER = f"""#!/bin/sh
exec {ROOT}/.venv/bin/python -m guardian "$@"
"""
USER = 987


class Router:
    """The file system of one router. Paths are as on the router, without the first slash."""

    def __init__(self, folder: Path, namespace: str = "") -> None:
        """`folder` is empty; `namespace` is the network namespace in which commands run, "" for this one."""
        self.namespace = namespace
        self._memory, self.root = folder / "memory", folder / "root"
        self._processes: list[subprocess.Popen[bytes]] = []

    def path(self, name: str) -> Path:
        """Return where a file of the router lies here."""
        return self.root / name

    def mount(self) -> None:
        """Make the file system. Raises CalledProcessError where the machine does not allow it."""
        for folder in (self._memory, self.root):
            folder.mkdir()
        _run("mount", "-t", "tmpfs", "none", str(self._memory))
        upper, work = self._memory / "upper", self._memory / "work"
        for folder in (upper, work):
            folder.mkdir()
        options = f"lowerdir=/,upperdir={upper},workdir={work}"
        _run("mount", "-t", "overlay", "overlay", "-o", options, str(self.root))
        for name in ("tmp", "run", "var"):
            _run("mount", "-t", "tmpfs", "none", str(self.path(name)))
            if ROOT.is_relative_to(f"/{name}"):  # it has just disappeared under the router's own
                there = self.path(str(ROOT).lstrip("/"))
                there.mkdir(parents=True)
                _run("mount", "--bind", str(ROOT), str(there))
        self.path("tmp").chmod(0o1777)
        # Fresh ones: whoever clears a folder that a killed test left must not reach this machine's own.
        _run("mount", "-t", "proc", "proc", str(self.path("proc")))
        _run("mount", "-t", "tmpfs", "none", str(self.path("dev")))
        for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
            os.mknod(self.path(f"dev/{name}"), 0o20666, os.makedev(1, minor))
            self.path(f"dev/{name}").chmod(0o666)
        self.path("dev/stdin").symlink_to("/proc/self/fd/0")
        self._fill()

    def _fill(self) -> None:
        for name in ("var/run", "var/lock", "var/state", "etc/config", "etc/init.d", "tmp/procd/running", "tmp/netifd"):
            self.path(name).mkdir(parents=True, exist_ok=True)
        for name in ("bb", "stub"):
            self.path(name).mkdir()
        for applet in APPLETS:
            self.path(f"bb/{applet}").symlink_to("/bin/busybox")
        self.path("bin/sh").unlink()
        self.path("bin/sh").symlink_to("/bin/busybox")
        for source, target in _STUBS.items():
            self.put(target, (STUBS / source).read_text(), 0o755)
        for program in _PROGRAMS:
            self.put(f"stub/{program}", (STUBS / program).read_text(), 0o755)
        for source, target in INSTALLED.items():
            mode = 0o755 if os.access(FILES / source, os.X_OK) else 0o644
            self.put(target, (FILES / source).read_text(), mode)
        self.put("usr/bin/guardian", LAUNCHER, 0o755)
        self.put("etc/config/dhcp", DHCP)
        self.put("etc/config/firewall", FIREWALL)
        self.put("etc/config/network", NETWORK)
        self.put("etc/TZ", "EET-2EEST,M3.5.0/3,M10.5.0/4\n")
        for name, line in (("passwd", f"guardian:x:{USER}:{USER}::/:/bin/false\n"), ("group", f"guardian:x:{USER}:\n")):
            with self.path(f"etc/{name}").open("a") as file:
                file.write(line)

    def put(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the router."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            path.unlink()
        path.write_text(text)
        path.chmod(mode)

    def read(self, name: str) -> str:
        """Return a file's text, "" when it is not there."""
        try:
            return self.path(name).read_text()
        except FileNotFoundError:
            return ""

    def _command(self, words: tuple[str, ...]) -> list[str]:
        inside = ["chroot", str(self.root), *words]
        return ["ip", "netns", "exec", self.namespace, *inside] if self.namespace else inside

    def run(self, *words: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program of the router."""
        done = subprocess.run(
            self._command(words), capture_output=True, text=True, check=False, timeout=timeout, env=ENVIRONMENT
        )
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a program of the router; its output goes to tmp/log."""
        with self.path("tmp/log").open("ab") as log:
            process = subprocess.Popen(
                self._command(words), env={**ENVIRONMENT, **(env or {})}, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def uci(self, *words: str) -> str:
        """Return what `uci` prints."""
        return self.run("uci", "-q", *words, check=False).stdout.strip()

    def init(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Guardian's init script."""
        return self.run("/bin/sh", "/etc/rc.common", "/etc/init.d/guardian", *words, check=check)

    def mode(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run dnsmasq-mode."""
        return self.run("/usr/lib/guardian/dnsmasq-mode", *words, check=check)

    def told(self) -> list[tuple[str, Any]]:
        """Return what procd was told: methods and messages, in order; and forget it."""
        lines = self.read("tmp/procd/told").splitlines()
        self.put("tmp/procd/told", "")
        calls = (line.partition(" ") for line in lines)
        return [(method, json.loads(text) if text else {}) for method, _, text in calls]

    def syslog(self) -> str:
        """Return what was logged."""
        return self.read("tmp/syslog")

    def close(self) -> None:
        """End what runs on it, and take it away."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
                continue
            process.kill()
            process.wait(10)
        self._end_all()
        for name in ("proc", "dev", "tmp", "run", "var", ""):
            subprocess.run(["umount", "--lazy", "--recursive", str(self.path(name))], capture_output=True, check=False)
        subprocess.run(["umount", "--lazy", str(self._memory)], capture_output=True, check=False)

    def _end_all(self) -> None:
        """End what daemons and scripts left behind: whoever has this router's root."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(folder / "root") == str(self.root):
                    os.kill(int(folder.name), signal.SIGKILL)


ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/stub:/bb:/usr/sbin:/usr/bin:/sbin:/bin",
    "GUARDIAN_CONFIG": "/etc/config/guardian",
    "HOME": "/root",
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
}
# As a stock OpenWrt has them (package/network/services/dnsmasq/files/dhcp.conf, firewall4's own): what matters here.
DHCP = """
config dnsmasq
	option domainneeded '1'
	option boguspriv '1'
	option localise_queries '1'
	option rebind_protection '1'
	option rebind_localhost '1'
	option local '/lan/'
	option domain 'lan'
	option expandhosts '1'
	option cachesize '1000'
	option authoritative '1'
	option readethers '1'
	option leasefile '/tmp/dhcp.leases'
	option resolvfile '/tmp/resolv.conf.d/resolv.conf.auto'
	option localservice '1'

config dhcp 'lan'
	option interface 'lan'
	option start '100'
	option limit '150'
	option leasetime '12h'

config dhcp 'wan'
	option interface 'wan'
	option ignore '1'
"""
FIREWALL = """
config defaults
	option input 'REJECT'

config zone
	option name 'lan'
	list network 'lan'
	option input 'ACCEPT'

config zone
	option name 'wan'
	list network 'wan'
	list network 'wan6'
	option masq '1'

config forwarding
	option src 'lan'
	option dest 'wan'
"""
NETWORK = """
config interface 'lan'
	option device 'br-lan'
	option proto 'static'
	option ipaddr '192.168.1.1'

config interface 'wan'
	option device 'wan'
	option proto 'dhcp'

config interface 'wan6'
	option device 'wan'
	option proto 'dhcpv6'
"""


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=20)


@contextlib.contextmanager
def router(folder: Path, namespace: str = "") -> Iterator[Router]:
    """A router while the context lasts; the test is skipped where none can be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root to lay a router's files over this machine's")
    for program in ("busybox", "flock"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    folder.mkdir(parents=True, exist_ok=True)
    made = Router(folder, namespace)
    try:
        try:
            made.mount()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"cannot make a router's file system: {error.stderr!r}")
        yield made
    finally:
        made.close()
