"""A stand-in for ujail, run as root in a router of the tests: `ujail.py INSTANCE.json`, as procd describes it.

The order of things was read in procd's jail/jail.c, jail/fs.c and jail/seccomp-oci.c: a file system of nothing but what
was named (in the order of the names, what is missing is passed over), own processes, capabilities, user, no new
privileges, the filter of system calls; and an environment of nothing but what was named.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import pwd
import signal
import struct
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
NEW_FILES, NEW_IPC, NEW_PIDS = 0x00020000, 0x08000000, 0x20000000
READ_ONLY, REMOUNT, BIND, RECURSIVE, PRIVATE, DETACH = 1, 32, 4096, 16384, 1 << 18, 2
PR_BOUNDING_DROP, PR_SECUREBITS, PR_NO_NEW_PRIVS, PR_SECCOMP, PR_AMBIENT, AMBIENT_RAISE = 24, 28, 38, 22, 47, 2
PR_DEATH_SIGNAL = 1
NO_SETUID_FIXUP, LOCKED = (
    1 << 2,
    (1 << 5) | (1 << 3) | (1 << 1),
)  # keep-caps, no-setuid-fixup and no-root stay as they are
CAPABILITIES = {"CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SETPCAP": 8, "CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12,
                "CAP_NET_RAW": 13}  # fmt: skip
LAST_CAPABILITY = 40
CAPSET = {"x86_64": 126, "aarch64": 91}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# What the list names and x86-64 has (linux/arch/x86/entry/syscalls/syscall_64.tbl).
SYSCALLS = {
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "perf_event_open": 298, "bpf": 321,
    "userfaultfd": 323, "add_key": 248, "request_key": 249, "keyctl": 250, "mount": 165, "umount2": 166,
    "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308, "open_by_handle_at": 304, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "fspick": 433, "move_mount": 429, "open_tree": 428, "mount_setattr": 442,
    "quotactl": 179, "swapon": 167, "swapoff": 168, "acct": 163, "init_module": 175, "finit_module": 313,
    "delete_module": 176, "kexec_load": 246, "kexec_file_load": 320, "reboot": 169, "syslog": 103, "settimeofday": 164,
    "clock_settime": 227, "clock_adjtime": 305, "adjtimex": 159, "sethostname": 170, "setdomainname": 171,
    "personality": 135, "vhangup": 153, "ioperm": 173, "iopl": 172, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427,
}  # fmt: skip
# Debian's Python and our tree in the place of OpenWrt's packages, which lie below /usr/lib; and iptables, for kernels
# that have no `queue` of nft's own, as the ones of test machines.
STAND_INS = (
    "/lib64", "/usr/bin/python3", "/usr/bin/python3.11", "/etc/nsswitch.conf", "/etc/ld.so.cache",
    "/usr/sbin/iptables-nft-restore", "/usr/sbin/ip6tables-nft-restore",
)  # fmt: skip
TREE = str(Path(__file__).parents[3])


class SeccompProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def check(result: int, what: str) -> None:
    """Raise OSError when a call of the C library failed."""
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    words = [text.encode() if text else None for text in (source, target, kind)]
    check(LIBC.mount(*words, ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def main(path: str) -> int:
    """Run the instance until it ends; return its exit code."""
    instance = json.loads(Path(path).read_text(encoding="utf-8"))
    check(LIBC.unshare(NEW_FILES | NEW_IPC | NEW_PIDS), "unshare")
    child = os.fork()
    if child == 0:
        enter(instance)

    def forward(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def enter(instance: dict[str, Any]) -> None:
    """Become the instance."""
    sets = json.loads(Path(instance["capabilities"]).read_text(encoding="utf-8"))
    program = compile_seccomp(json.loads(Path(instance["seccomp"]).read_text(encoding="utf-8")))
    user = pwd.getpwnam(instance["user"])
    build(instance["jail"])
    check(LIBC.prctl(PR_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0), "securebits")
    wanted = {name: sum(1 << CAPABILITIES[word] for word in words) for name, words in sets.items()}
    helping = sum(1 << CAPABILITIES[word] for word in ("CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP"))
    drop(wanted["bounding"] | helping)
    set_capabilities(*(wanted[name] | helping for name in ("effective", "permitted", "inheritable")))
    os.initgroups(instance["user"], user.pw_gid)
    os.setregid(user.pw_gid, user.pw_gid)
    os.setreuid(user.pw_uid, user.pw_uid)
    check(LIBC.prctl(PR_SECUREBITS, LOCKED, 0, 0, 0), "securebits")
    drop(wanted["bounding"])
    set_capabilities(wanted["effective"], wanted["permitted"], wanted["inheritable"])
    check(LIBC.prctl(PR_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "death signal")  # so that no test leaves one behind
    for word in sets["ambient"]:
        check(LIBC.prctl(PR_AMBIENT, AMBIENT_RAISE, CAPABILITIES[word], 0, 0), word)
    if instance.get("no_new_privs"):
        check(LIBC.prctl(PR_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    filled = SeccompProgram(len(program) // 8, program)
    check(LIBC.prctl(PR_SECCOMP, 2, ctypes.byref(filled), 0, 0), "seccomp")
    os.execve(instance["command"][0], instance["command"], {"container": "ujail", **instance["env"]})


def build(jail: dict[str, Any]) -> None:
    """Make the file system, and go there."""
    mount("none", "/", "none", RECURSIVE | PRIVATE)
    root = tempfile.mkdtemp(prefix="ujail-")
    mount("tmpfs", root, "tmpfs", 0, "mode=0755")
    binds = {**jail["mount"], **dict.fromkeys((*STAND_INS, TREE, "/etc/passwd", "/etc/group", "/etc/resolv.conf"), "0")}
    binds.setdefault("/usr/bin/guardian", "0")
    if jail.get("ubus"):
        binds["/var/run/ubus/ubus.sock"] = "1"
    special = {"/dev": "tmpfs", "/proc": "proc"} if jail.get("procfs") else {"/dev": "tmpfs"}
    for path in sorted((*binds, *special)):
        target = root + path
        if path in special:
            os.makedirs(target, exist_ok=True)
            mount(special[path], target, special[path], 0)
            if path == "/proc":
                bind(f"{root}/proc/sys", f"{root}/proc/sys", is_read_only=True)
        elif os.path.exists(path):
            bind(path, target, is_read_only=binds[path] == "0")
    os.makedirs(f"{root}/old")
    os.chdir(root)
    check(LIBC.pivot_root(root.encode(), f"{root}/old".encode()), "pivot_root")
    os.chdir("/")
    check(LIBC.umount2(b"/old", DETACH), "umount")
    os.rmdir("/old")
    for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
        os.mknod(f"/dev/{name}", 0o20666, os.makedev(1, minor))
        os.chmod(f"/dev/{name}", 0o666)
    if jail.get("ronly"):
        mount("", "/", "bind", REMOUNT | BIND | READ_ONLY)


def bind(source: str, target: str, *, is_read_only: bool) -> None:
    """Let `target` be `source`."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
    mount(source, target, "bind", BIND)
    if is_read_only:
        mount("", target, "", REMOUNT | BIND | READ_ONLY)


def drop(kept: int) -> None:
    """Take capabilities out of the bounding set."""
    for number in range(LAST_CAPABILITY + 1):
        if not kept & (1 << number):
            check(LIBC.prctl(PR_BOUNDING_DROP, number, 0, 0, 0), "bounding set")


def set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2), form 3."""
    header = struct.pack("<II", 0x20080522, 0)
    low = struct.pack("<III", effective & 0xFFFFFFFF, permitted & 0xFFFFFFFF, inheritable & 0xFFFFFFFF)
    high = struct.pack("<III", effective >> 32, permitted >> 32, inheritable >> 32)
    check(LIBC.syscall(CAPSET[platform.machine()], header, low + high), "capset")


def compile_seccomp(rules: dict[str, Any], numbers: dict[str, int] | None = None) -> bytes:
    """Return the filter that ujail makes of a list: in each rule one jump per name that this machine has.

    Raises ValueError for what ujail gets wrong: a rule of unknown names alone holds for every call, and jumps are of
    eight bits.
    """
    known = SYSCALLS if numbers is None else numbers
    assert rules["defaultAction"] == "SCMP_ACT_ALLOW"
    code = [(0x20, 0, 0, 4), (0x15, 1, 0, AUDIT_ARCH[platform.machine()]), (0x06, 0, 0, 0)]
    for rule in rules["syscalls"]:
        assert rule["action"] == "SCMP_ACT_ERRNO" and set(rule) == {"names", "action"}
        found = [known[name] for name in rule["names"] if name in known]
        if not found:
            raise ValueError(f"no name of this rule is known here: it would refuse every call: {rule['names']}")
        if len(found) > 255:
            raise ValueError("a rule has more names than a jump can pass")
        code.append((0x20, 0, 0, 0))
        for index, number in enumerate(found):
            left = len(found) - index - 1
            code.append((0x15, left, 1 if left == 0 else 0, number))
        code.append((0x06, 0, 0, 0x00050001))  # EPERM
    code.append((0x06, 0, 0, 0x7FFF0000))
    return b"".join(struct.pack("<HBBI", *line) for line in code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
