"""A bare Debian machine: debootstrap once, then booted by systemd-nspawn with a network of its own.

What is written goes to memory and is gone at the end. The archives of all that Guardian wants of Debian lie in the
machine's apt cache, so that `apt install ./guardian.deb` needs no network. Its clocks, its kernel and its memory are
those of this machine; everything else is its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SUITE = "bookworm"
CACHE = Path(os.environ.get("GUARDIAN_TEST_CACHE", "/var/cache/guardian-tests"))
FORM = 3  # of the cached machine: another number builds it anew
PROGRAMS = ("debootstrap", "systemd-nspawn", "nsenter", "dpkg-deb", "ip")
# As Raspberry Pi OS Lite has them; not one of Guardian's own requirements but what every image has.
INCLUDED = "systemd,systemd-sysv,dbus,sudo,iproute2,ca-certificates,procps,adduser,python3,openssl,nftables,tzdata"
# Each line as one `apt install` would fetch it: Guardian's own, and other programs of DNS that may be there.
FETCHED = (
    "python3-certifi python3-yaml dnsmasq-base ieee-data iptables hostapd",
    "--no-install-recommends systemd-resolved",
    "--no-install-recommends unbound",
    "--no-install-recommends dnsmasq",
)
BOOT_SECONDS = 60.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CGROUPS = Path("/sys/fs/cgroup")


def require() -> None:
    """Skip the test where no machine can be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a Debian machine is made and booted")
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"needs the program '{program}' (scripts/setup test)")


def prepare_base() -> Path:
    """Return the folder of the bare machine; the first time it is built, in one or two minutes."""
    base = CACHE / f"{SUITE}-{FORM}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if base.exists():
            return base
        fresh = base.with_name(f".{base.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", SUITE, str(fresh), find_mirror()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            pytest.skip(f"debootstrap cannot make a machine here: {(done.stderr or done.stdout).strip()[-300:]}")
        for words in FETCHED:
            _inside_root(fresh, f"apt-get -qq install -y --download-only {words}")
        _inside_root(fresh, "adduser --quiet --disabled-password --gecos '' pi")
        (fresh / "etc/sudoers.d/pi").write_text("pi ALL=(ALL) NOPASSWD: ALL\n")
        (fresh / "etc/hostname").write_text("raspberrypi\n")
        (fresh / "etc/hosts").write_text("127.0.0.1 localhost raspberrypi\n::1 localhost\n")
        fresh.rename(base)
    return base


def find_mirror() -> str:
    """Return the address of the archive that this machine's own apt uses. Skips the test where there is none."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line.partition(" ")[0] for line in done.stdout.splitlines() if line.endswith(" Debian")]
    if not found:
        pytest.skip("apt of this machine names no archive of Debian (apt-get update)")
    return found[0]


def _inside_root(root: Path, command: str) -> None:
    environment = {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["chroot", str(root), "sh", "-c", command], env=environment, capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        pytest.skip(f"the Debian machine cannot be made: {command}: {done.stderr.strip()[-300:]}")


class Container:
    """A booted machine. `run` types commands into it; `root` is its disk."""

    def __init__(self, name: str, namespace: str, layers: list[Path], folder: Path) -> None:
        """`layers` are the folders of its disk, the topmost first; what it writes goes to `folder`.

        Once it has booted, `namespace` is the name of its network.
        """
        self.name, self._namespace = name, namespace
        self.root, self.written, work = folder / "root", folder / "written", folder / "work"
        for made in (self.root, self.written, work):
            made.mkdir(parents=True)
        lower = ":".join(map(str, layers))
        options = f"lowerdir={lower},upperdir={self.written},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)], check=True)
        self._console = (folder / "console").open("w+")
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Start it and wait until it stands."""
        group = _CGROUPS / "systemd" / self.name
        with contextlib.suppress(FileNotFoundError):  # a machine without the old hierarchy needs none
            group.mkdir(exist_ok=True)
        command = ["systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", f"--machine={self.name}",
                   "--register=no", "--keep-unit", "--private-network",
                   "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe"]  # fmt: skip
        self._process = subprocess.Popen(
            ["sh", "-c", f'[ -d {group} ] && echo $$ >{group}/cgroup.procs; exec "$@"', "sh", *command],
            stdin=subprocess.DEVNULL, stdout=self._console, stderr=self._console,
        )  # fmt: skip
        deadline = time.monotonic() + BOOT_SECONDS
        while not self._has_booted():  # its network is still empty: `Street.connect` plugs it in
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._console.seek(0)
                pytest.skip(f"systemd-nspawn does not boot a machine here: {self._console.read()[-600:]}")
            time.sleep(0.1)
        subprocess.run(["ip", "netns", "attach", self._namespace, str(self._leader)], check=True)

    def _has_booted(self) -> bool:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for child in map(int, children):
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{child}/ns/pid").st_ino != os.stat("/proc/self/ns/pid").st_ino:
                    self._leader = child
        if not self._leader or not (self.root / "run").exists():
            return False
        state = self.run("systemctl is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def run(
        self, command: str, *, user: str = "root", typed: str = "", check: bool = True, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Type a command line of a shell as a user, with `typed` on its keyboard; return what came."""
        words = self.enter(user, command)
        done = subprocess.run(words, input=typed, capture_output=True, text=True, timeout=seconds, check=False)
        if check and done.returncode:
            raise AssertionError(f"$ {command}\ncode {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def enter(self, user: str, command: str) -> list[str]:
        """Return the words that run a command line of a shell inside, for those who start it themselves."""
        home = "/root" if user == "root" else f"/home/{user}"
        clean = ["env", "-i", f"PATH={PATH}", f"HOME={home}", "LC_ALL=C.UTF-8", "TERM=dumb", f"USER={user}"]
        shell = ["bash", "-c", f"cd {home} && {command}"]
        within = ["runuser", "-u", user, "--", *shell] if user != "root" else shell
        return ["nsenter", f"--target={self._leader}", "--all", *clean, *within]

    def log(self, unit: str = "") -> str:
        """Return the journal, of one service or of all."""
        words = f"journalctl --no-pager --lines=120 --output=short-monotonic {f'--unit={unit}' if unit else ''}"
        return self.run(words, check=False).stdout

    def stop(self) -> None:
        """Take the machine away, with all that it has written."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
        subprocess.run(["ip", "netns", "delete", self._namespace], capture_output=True, check=False)
        self._console.close()
        subprocess.run(["umount", str(self.root)], check=True)
        for hierarchy in ("systemd", "unified"):
            remove_groups(_CGROUPS / hierarchy / self.name)


def remove_groups(group: Path) -> None:
    """Remove a control group with those below it; it holds no process any more."""
    if not group.is_dir():
        return
    for folder, _, _ in os.walk(group, topdown=False):
        for attempt in range(20):
            try:
                os.rmdir(folder)
                break
            except OSError:
                if attempt == 19:
                    raise
                time.sleep(0.1)


@contextlib.contextmanager
def machine(name: str, namespace: str, layers: list[Path], folder: Path, boot: bool = True) -> Iterator[Container]:
    """A machine for the time of a `with`."""
    made = Container(name, namespace, layers, folder)
    try:
        if boot:
            made.boot()
        yield made
    finally:
        made.stop()
