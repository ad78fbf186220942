"""Rules into the kernel by `nft` and `iptables-restore`, and a monitor that tells when somebody else changed ours.

Everything but the monitor blocks: call it in an executor. The table is `inet guardian`; where the kernel has no nft
`queue` expression, one rule of ours is in the table `mangle` of ip and ip6. Codec: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import enum
import errno
import logging
import os
import shutil
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from typing import Final

from guardian.errors import FormError, GuardianError
from guardian.filter.ruleset import TABLE, XTABLES_CHAIN
from guardian.wire import netlink
from guardian.wire.netlink import NETFILTER, NetlinkMessage, split_attributes, split_messages

log = logging.getLogger(__name__)

XTABLES_TABLE: Final = "mangle"
MAX_ERROR: Final = 400  # characters of a program's complaint
SECONDS_PER_RUN: Final = 60.0

_PATH_BEHIND = "/usr/sbin:/sbin:/usr/local/sbin"  # services are often started without them
_STARTED: deque[int] = deque(maxlen=16)  # process ids of the programs started here; few, for ids are used again

_QUEUE_PROBE = """
table inet guardian_probe {
    chain probe {
        type filter hook forward priority -150; policy accept;
        meta mark & 0x8 == 0x8 queue num 0
    }
}
"""
_XTABLES_PROBE = "*mangle\n-A FORWARD -m mark --mark 0x8/0x8 -j NFQUEUE --queue-num 0\nCOMMIT\n"


class QueueForm(enum.Enum):
    """How this machine can put packets into a queue."""

    NFT = "nft"
    XTABLES = "xtables"
    NONE = "none"


def load(script: str) -> None:
    """Load a script in one transaction: all of it or nothing. Raises GuardianError with nft's complaint."""
    complaint = _run(("nft",), ("-f", "-"), script)
    if complaint:
        raise GuardianError(f"the packet filter did not take the rules: {complaint}")


def check(script: str) -> str:
    """Return "" when the kernel would take a script now, else nft's complaint."""
    return _run(("nft",), ("--check", "-f", "-"), script)


def load_xtables(rules_v4: str, rules_v6: str) -> None:
    """Load rules in the form of iptables-save, beside what is there; "" is passed over.

    Raises GuardianError with the complaints, after both were tried.
    """
    complaints = []
    for family, rules in (("", rules_v4), ("6", rules_v6)):
        complaint = _run(_restore_programs(family), ("--noflush",), rules) if rules else ""
        if complaint:
            complaints.append(f"ip{family}tables did not take the rules: {complaint}")
    if complaints:
        raise GuardianError("; ".join(complaints))


def find_queue_form() -> QueueForm:
    """Return how packets can be queued here. Nothing is changed."""
    complaint = check(_QUEUE_PROBE)
    if not complaint:
        return QueueForm.NFT
    log.info("event=no-nft-queue reason=%r", complaint)
    complaint = _run(_restore_programs(""), ("--test", "--noflush"), _XTABLES_PROBE)
    if not complaint:
        return QueueForm.XTABLES
    log.info("event=no-xtables-queue reason=%r", complaint)
    return QueueForm.NONE


def _restore_programs(family: str) -> tuple[str, ...]:
    return f"ip{family}tables-nft-restore", f"ip{family}tables-restore"


def _run(programs: tuple[str, ...], arguments: tuple[str, ...], text: str) -> str:
    return _run_program(programs, arguments, text)[1]


def _run_program(programs: tuple[str, ...], arguments: tuple[str, ...], text: str) -> tuple[str, str]:
    """Give a text to the first of `programs` that is installed; return its output, and its complaint if it failed."""
    path = f"{os.environ.get('PATH', '')}:{_PATH_BEHIND}"
    found = next(filter(None, (shutil.which(program, path=path) for program in programs)), None)
    if found is None:
        return "", f"{programs[-1]} is not installed"
    child = subprocess.Popen(  # noqa: S603 - a program of the system; what it is told is rendered by us
        (found, *arguments),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    with child:
        _STARTED.append(child.pid)  # known before it has its text, so before it changes anything
        try:
            output, errors = child.communicate(text, timeout=SECONDS_PER_RUN)
        except subprocess.TimeoutExpired:
            child.kill()
            return "", f"{os.path.basename(found)} did not end in {SECONDS_PER_RUN:.0f} seconds"
    if child.returncode == 0:
        return output, ""
    return output, shorten(errors) or f"{os.path.basename(found)} ended with {child.returncode}"


def shorten(errors: str) -> str:
    """Return the first complaint of nft or iptables in one line: what is wrong, and the line that it is about."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    start = next((number for number, line in enumerate(lines) if "rror" in line or "ailed" in line), 0)
    told = [line for line in lines[start : start + 2] if line.strip("^~ ")]
    return "; ".join(told).replace("/dev/stdin:", "line ")[:MAX_ERROR]


NETLINK_NETFILTER: Final = netlink.NETLINK_NETFILTER
_NFNLGRP_NFTABLES = 7
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_DELTABLE, _DELCHAIN, _DELRULE, _NEWGEN = 2, 5, 8, 15
_NAME_OF_TABLE = 1  # NFTA_TABLE_NAME, and NFTA_*_TABLE of everything else
_NFTA_GEN_PROC_PID = 2
_NFPROTO_INET, _NFPROTO_IPV4, _NFPROTO_IPV6 = 1, 2, 10
_SO_RCVBUFFORCE = 33
_RECEIVE_BYTES = 128 * 1024
_BACKLOG_BYTES = 8 * 1024 * 1024  # a firewall that loads thousands of rules in one transaction
_DATAGRAMS_PER_WAKE = 256


class Monitor:
    """Hears of every transaction. `on_touched` is called once for each in which another program touched our rules.

    Ours are the table `inet guardian`, whatever changes in it, and our rules in `mangle` when they are removed. A
    change is our own when the process that made it is this one or one that this module started. What packets and
    timeouts do to sets is no transaction. After lost notices `on_touched` is called too. Of iptables-legacy nothing
    is heard.
    """

    def __init__(self, on_touched: Callable[[], None]) -> None:
        self._on_touched = on_touched
        self._endpoint: socket.socket | None = None
        self._touched: set[int] = set()  # netlink ports that touched our rules in the transaction that is being told

    @classmethod
    def open(cls, on_touched: Callable[[], None]) -> Monitor:
        """Return a monitor that hears from now on. Raises GuardianError that says what to do."""
        monitor = cls(on_touched)
        try:
            monitor._endpoint = _open_endpoint()
        except OSError as error:
            advice = "run with the capability CAP_NET_ADMIN" if isinstance(error, PermissionError) else error.strerror
            raise GuardianError(f"changes of the packet filter cannot be followed: {advice}") from error
        return monitor

    def close(self) -> None:
        """Hear no more. May be called twice."""
        if self._endpoint is not None:
            self._endpoint.close()
        self._endpoint = None

    def fileno(self) -> int:
        """Return the descriptor to watch for reading. Raises OSError after `close`."""
        if self._endpoint is None:
            raise OSError(errno.EBADF, "the monitor is closed")
        return self._endpoint.fileno()

    def on_readable(self) -> None:
        """Take in the notices that wait, then call `on_touched` for each transaction that touched our rules."""
        touched = 0
        for _ in range(_DATAGRAMS_PER_WAKE):
            if self._endpoint is None:
                break
            try:
                data, sender = self._endpoint.recvfrom(_RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                log.warning("event=filter-notices-lost")
                self._touched.clear()
                touched += 1
                continue
            if sender[0] == 0:  # the kernel
                touched += self._read_datagram(data)
        for _ in range(touched):
            self._on_touched()

    def _read_datagram(self, data: bytes) -> int:
        """Return how many transactions ended in a datagram in which another program touched our rules."""
        touched = 0
        try:
            for message in split_messages(data):
                if message.type >> 8 != _SUBSYSTEM:
                    continue
                if message.type & 0xFF == _NEWGEN:
                    touched += message.port in self._touched and not _is_own(message)
                    self._touched.clear()
                elif touches_ours(message):
                    self._touched.add(message.port)
        except FormError as error:
            log.warning("event=filter-notice-unreadable error=%s", error)
        return touched


def touches_ours(message: NetlinkMessage) -> bool:
    """Tell whether a notice is of something in our table, or of rules of ours in `mangle` that are gone.

    Raises FormError.
    """
    if len(message.payload) < NETFILTER.size:
        raise FormError("a notice of the packet filter is cut")
    family = message.payload[0]
    if family not in (_NFPROTO_INET, _NFPROTO_IPV4, _NFPROTO_IPV6):
        return False
    attributes = split_attributes(message.payload, NETFILTER.size)
    table = next((value.rstrip(b"\0") for kind, value in attributes if kind == _NAME_OF_TABLE), b"")
    if family == _NFPROTO_INET:
        return table == TABLE.encode()
    if table != XTABLES_TABLE.encode():
        return False
    # A rule that is gone is told whole: a jump to our chain names it, and so does a rule in it.
    removed = message.type & 0xFF in (_DELRULE, _DELCHAIN) and XTABLES_CHAIN.encode() in message.payload
    return removed or message.type & 0xFF == _DELTABLE


def _is_own(message: NetlinkMessage) -> bool:
    """Tell whether a process of ours made this generation.

    The kernel names it by its id outside all containers; the netlink port is the id that we know in one.
    """
    makers = {message.port}
    for kind, value in split_attributes(message.payload, NETFILTER.size):
        if kind == _NFTA_GEN_PROC_PID:
            makers.add(int.from_bytes(value, "big"))
    return not makers.isdisjoint((os.getpid(), *_STARTED))


def _open_endpoint() -> socket.socket:
    endpoint = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    try:
        endpoint.setblocking(False)
        try:
            endpoint.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BACKLOG_BYTES)
        except PermissionError:
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BACKLOG_BYTES)
        endpoint.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))
    except OSError:
        endpoint.close()
        raise
    return endpoint
