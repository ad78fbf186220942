"""What `guardian doctor` looks at for the flow filter: rights, parts of the kernel, its queue, connection tracking.

Parts of the kernel are tried for real: `nft --check` hands rules to the kernel, which judges them and forgets them, and
two questions over netlink change nothing. The kernel loads its modules for that, as it would for the filter itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator
from typing import NamedTuple

from guardian.cli.doctor_machine import FAIL, OK, WARN, Finding, read_lines
from guardian.cli.doctor_network import (
    PLACES,
    PROGRAM_PATH,
    Places,
    check_forwarding,
    check_hardware,
    check_interfaces,
    read_openwrt_offloading,
)
from guardian.cli.doctor_rules import check_rules, has_own_table, read_ruleset
from guardian.config import Config, FilterConfig
from guardian.errors import GuardianError
from guardian.filter import nftables
from guardian.filter.ruleset import TABLE, Listener, Plan, render_table
from guardian.filter.sysctls import find_wrong_sysctls
from guardian.wire.netlink import (
    NETFILTER,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    pack_message,
    read_error,
    split_messages,
)

FULL_TABLE = 80  # per cent of the connection table

_CAP_NET_ADMIN = 12  # linux/capability.h
_CONNTRACK_STATISTICS = (1 << 8) | 5  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET_STATS
_QUEUE_SETTINGS = (3 << 8) | 2  # NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG
_ANSWER_SECONDS = 5.0

# What the rules are made of, what it is called in a kernel's settings, and OpenWrt's package of it.
_PARTS = (
    ("connection marks (ct)", "ct mark set ct mark & 0x00ffffff", "CONFIG_NFT_CT", "kmod-nft-core"),
    ("reject", "meta l4proto tcp reject with tcp reset", "CONFIG_NFT_REJECT_INET", "kmod-nft-core"),
    ("limits", "limit rate over 2000/second drop", "CONFIG_NFT_LIMIT", "kmod-nft-core"),
)
_NAT_PARTS = (
    ("redirection (nat)", "udp dport 53 redirect to :53", "CONFIG_NFT_REDIR", "kmod-nft-nat"),
    ("address types (fib)", "fib daddr type != local accept", "CONFIG_NFT_FIB_INET", "kmod-nft-fib"),
)


def check_filter(config: Config, places: Places = PLACES) -> Iterator[Finding]:
    """Yield what there is to say of the flow filter. Its whole view needs root."""
    settings = config.filter
    if not settings.enabled:
        yield Finding(
            "filter",
            OK,
            "the flow filter is off: who knows an address or asks another DNS server steps around Guardian",
        )
        return
    yield from check_interfaces(settings.lan, settings.wan, places)
    yield from check_forwarding(settings.lan, settings.wan, places)
    gateway = find_gateway(config.control.socket)
    yield from check_sysctls(gateway, places.proc)
    yield from check_table_size(places.proc)
    yield from check_queue(settings.queue, gateway, places.proc)
    yield from check_hardware((*settings.lan, *settings.wan), places)
    yield from check_rights(gateway, places.proc)
    if can_administer("self", places.proc):
        yield from check_kernel(settings)
        yield from _check_rules(gateway, places)
    else:
        advice = "run this check as root"
        yield Finding("filter kernel", WARN, "the kernel's packet filter cannot be looked at by this user", advice)


def find_gateway(control: str) -> int:
    """Return the process id of the gateway behind a control socket; 0 when none answers."""
    from guardian.control import send

    try:
        process = send(control, "status").get("pid")
    except GuardianError:
        return 0  # `check_gateway` has told why
    return process if isinstance(process, int) else 0


def can_administer(process: int | str, proc: str = "/proc") -> bool:
    """Tell whether a process (`self` or an id) holds CAP_NET_ADMIN."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", "\n".join(read_lines(f"{proc}/{process}/status")), re.MULTILINE)
    return bool(match and int(match[1], 16) >> _CAP_NET_ADMIN & 1)


def check_rights(gateway: int, proc: str = "/proc") -> Iterator[Finding]:
    """Tell whether the gateway that runs may filter."""
    if not gateway:
        return
    if can_administer(gateway, proc):
        yield Finding("filter rights", OK, "the gateway has CAP_NET_ADMIN")
    else:
        yield Finding(
            "filter rights",
            FAIL,
            "the gateway has no CAP_NET_ADMIN: it cannot filter connections",
            "start it as root, or give its service the capability (systemd: AmbientCapabilities=CAP_NET_ADMIN)",
        )


def check_sysctls(gateway: int, proc: str = "/proc") -> Iterator[Finding]:
    """Look at the settings of connection tracking that the filter sets when it starts. `gateway`: 0 = none runs."""
    for setting in find_wrong_sysctls(proc):
        if setting.failure:
            continue  # without connection tracking there is more to say: `check_kernel`
        message = f"{setting.name} is {setting.before}, and the filter needs {setting.after}"
        if gateway:
            yield Finding("filter sysctls", WARN, message, f"`sysctl -w {setting.name}={setting.after}`")
        else:
            yield Finding("filter sysctls", OK, f"{message}: it sets that when it starts")


def check_table_size(proc: str = "/proc") -> Iterator[Finding]:
    """Tell whether the table of connections has room."""
    count, size = (
        "".join(read_lines(f"{proc}/sys/net/netfilter/nf_conntrack_{name}")).strip() for name in ("count", "max")
    )
    if not (count.isdigit() and size.isdigit() and int(size)):
        return
    percent = int(count) * 100 // int(size)
    message = f"{int(count):,} of {int(size):,} places for connections are taken ({percent} %)"
    if percent > FULL_TABLE:
        advice = f"`sysctl -w net.netfilter.nf_conntrack_max={int(size) * 2}`; who opens so many? (`conntrack -L`)"
        yield Finding("connections", WARN, message, advice)
    else:
        yield Finding("connections", OK, message)


class QueueRow(NamedTuple):
    """A queue that a program listens on, as /proc/net/netfilter/nfnetlink_queue has it."""

    port: int  # netlink's number of the socket that listens
    waiting: int  # packets
    dropped: int  # packets for which there was no room


def find_queue(number: int, proc: str = "/proc") -> QueueRow | None:
    """Return who listens on an NFQUEUE; None when nobody does, or when this user may not see it."""
    for line in read_lines(f"{proc}/net/netfilter/nfnetlink_queue"):
        fields = line.split()
        if len(fields) >= 8 and int(fields[0]) == number:
            return QueueRow(int(fields[1]), int(fields[2]), int(fields[5]) + int(fields[6]))
    return None


def find_netlink_holder(port: int, proc: str = "/proc") -> tuple[int, str]:
    """Return the process, and its name, that holds a netlink socket of the packet filter; (0, "") when unseen."""
    inodes = {
        f"socket:[{fields[9]}]"
        for fields in map(str.split, read_lines(f"{proc}/net/netlink"))
        if len(fields) >= 10 and fields[1] == str(nftables.NETLINK_NETFILTER) and fields[2] == str(port)
    }
    for process in filter(str.isdigit, os.listdir(proc)):
        if inodes & _read_descriptors(f"{proc}/{process}/fd"):
            return int(process), "".join(read_lines(f"{proc}/{process}/comm"))
    return 0, ""


def _read_descriptors(folder: str) -> set[str]:
    """What a process has open, as its links say; nothing of a process that has ended or belongs to another user."""
    found = set()
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found.add(os.readlink(f"{folder}/{descriptor}"))
    return found


def check_queue(number: int, gateway: int, proc: str = "/proc") -> Iterator[Finding]:
    """Tell who listens on the filter's queue. `gateway` is the process that should, 0 for none."""
    row = find_queue(number, proc)
    if row is None:
        if gateway and can_administer("self", proc):
            message = f"the gateway does not listen on its queue {number}: new connections are not judged"
            yield Finding("filter queue", FAIL, message, "see its log; restart it if the settings were changed")
        return
    process, name = find_netlink_holder(row.port, proc)
    if gateway and process in (0, gateway):
        message = f"the gateway listens on queue {number}: {row.waiting} packets wait, {row.dropped} were dropped"
        if row.dropped:
            advice = "is this machine too slow for so many new connections? `guardian status` tells how many there are"
            yield Finding("filter queue", WARN, message, advice)
        else:
            yield Finding("filter queue", OK, message)
        return
    holder = f"{name} (process {process})" if process else "another program (root sees which)"
    advice = "stop it, or give Guardian another number in 'filter.queue'"
    yield Finding("filter queue", FAIL, f"the queue {number} is taken by {holder}", advice)


def check_kernel(settings: FilterConfig) -> Iterator[Finding]:
    """Try what the filter needs of nft and the kernel; needs CAP_NET_ADMIN."""
    if not ask_kernel(_CONNTRACK_STATISTICS):
        yield _missing("messages of connection tracking", "CONFIG_NF_CT_NETLINK", "kmod-nf-conntrack-netlink")
    if not ask_kernel(_QUEUE_SETTINGS, settings.queue):
        yield _missing("queues (NFQUEUE)", "CONFIG_NETFILTER_NETLINK_QUEUE", "kmod-nfnetlink-queue")
    if shutil.which("nft", path=PROGRAM_PATH) is None:
        advice = "install nftables (OpenWrt: nftables-json)"
        yield Finding("filter kernel", FAIL, "there is no `nft`, which loads the filter's rules", advice)
        return
    yield from _check_queue_form()
    if settings.offload:
        yield _check_flowtable()
    refusal = nftables.check(render_table(_sample_plan(settings), with_queue=False))
    if not refusal:
        yield Finding("filter kernel", OK, "the kernel takes the filter's rules")
        return
    missing = list(_find_missing_parts())
    yield from missing
    if not missing:
        advice = "a newer nftables (1.0 or later) or kernel may help; please report this line"
        yield Finding("filter kernel", FAIL, f"the filter's rules are refused: {refusal}", advice)


def _check_queue_form() -> Iterator[Finding]:
    form = nftables.find_queue_form()
    if form is nftables.QueueForm.NFT:
        yield Finding("filter kernel", OK, "packets are queued by nft's `queue`")
    elif form is nftables.QueueForm.XTABLES:
        yield Finding(
            "filter kernel", OK, "packets are queued by NFQUEUE of iptables: this kernel's nft has no `queue`"
        )
    else:
        yield _missing("`queue` of nft, and NFQUEUE of iptables", "CONFIG_NFT_QUEUE", "kmod-nft-queue")


def _check_flowtable() -> Finding:
    if not nftables.check(render_table(Plan(("lo",), 0, fails_open=True, offload=("lo",)), with_queue=False)):
        return Finding("filter offload", OK, "the kernel has flowtables: long connections can take the fast path")
    message = "'filter.offload' is on, but this kernel has no flowtables: the rules are loaded without"
    advice = "on OpenWrt install kmod-nft-offload; elsewhere a kernel with CONFIG_NFT_FLOW_OFFLOAD; or turn it off"
    return Finding("filter offload", WARN, message, advice)


def _missing(what: str, option: str, package: str) -> Finding:
    advice = f"on OpenWrt install {package}; elsewhere a kernel with {option}"
    return Finding("filter kernel", FAIL, f"this kernel has no {what}", advice)


def _find_missing_parts() -> Iterator[Finding]:
    for hook, parts in (("filter hook forward", _PARTS), ("nat hook prerouting", _NAT_PARTS)):
        for what, rule, option, package in parts:
            script = f"table inet {TABLE}_try {{\n chain try {{\n type {hook} priority -101;\n {rule}\n }}\n}}\n"
            if nftables.check(script):
                yield _missing(what, option, package)


def _sample_plan(settings: FilterConfig) -> Plan:
    """A plan in which every kind of rule occurs."""
    return Plan(
        settings.lan,
        settings.queue,
        fails_open=True,
        macs=(("02:00:5e:00:00:01", 1),),
        networks=(("192.0.2.1", 2), ("2001:db8::/64", 2)),
        stopped=(1,),
        redirected=(2,),
        dns4=Listener("", 53),
        dns6=Listener("", 53),
    )


def ask_kernel(message: int, number: int = 0) -> bool:
    """Tell whether a part of netfilter answers over netlink; `message` is its number and one of its messages.

    A part that is there answers, or has an error of its own. Only the missing one is EINVAL (nfnetlink_rcv_msg).
    """
    request = pack_message(message, NLM_F_REQUEST | NLM_F_ACK, 1, NETFILTER.pack(socket.AF_UNSPEC, 0, number))
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, nftables.NETLINK_NETFILTER) as asker:
            asker.settimeout(_ANSWER_SECONDS)
            asker.send(request)
            reply = next(split_messages(asker.recv(65536)))
    except OSError:
        return False
    return reply.type != NLMSG_ERROR or read_error(reply.payload) != errno.EINVAL


def _check_rules(gateway: int, places: Places) -> Iterator[Finding]:
    options = read_openwrt_offloading(places.firewall)
    nft = shutil.which("nft", path=PROGRAM_PATH)
    if nft is None:
        return
    try:
        ruleset = read_ruleset(nft)
    except GuardianError as error:
        advice = "install an nft with JSON (OpenWrt: nftables-json instead of nftables-nojson)"
        yield Finding("other rules", WARN, f"other programs' rules cannot be looked at: {error}", advice)
        ruleset = []
    else:
        if gateway and not has_own_table(ruleset):
            message = f"a gateway runs, but its rules (table inet {TABLE}) are not in force"
            yield Finding("filter rules", FAIL, message, "see its log; restart it if the settings were changed")
    yield from check_rules(ruleset, options)
