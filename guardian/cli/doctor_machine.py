"""What `guardian doctor` looks at on the machine itself: ports and who holds them, clock, memory, other IPv6 routers.

Everything is read from the kernel's own files; `proc` says where they are. Nothing is changed: a port is tried by
binding it for a moment, without listening.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from guardian.clock import State
from guardian.config import Endpoint

OK, WARN, FAIL = "ok", "warn", "fail"

LITTLE_MEMORY, TOO_LITTLE_MEMORY = 64 << 20, 24 << 20  # bytes that are still available
LAST_CLOCK = 4_102_444_800.0  # 2100-01-01: no clock is right that says more
RESOLVED = ipaddress.ip_address("127.0.0.53")

_TCP_LISTEN = "0A"
_ROUTE_DEFAULT, _ROUTE_ADVERTISED = 0x00010000, 0x00040000  # RTF_DEFAULT, RTF_ADDRCONF of linux/ipv6_route.h

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Finding(NamedTuple):
    """One thing that was looked at. `advice` says what to do; it is empty when all is well."""

    check: str
    level: str  # ok, warn or fail
    message: str
    advice: str = ""


class OpenSocket(NamedTuple):
    """A socket that receives on a port: UDP, or TCP that listens."""

    protocol: str  # udp or tcp
    address: IpAddress
    port: int
    inode: int


def read_sockets(proc: str = "/proc") -> Iterator[OpenSocket]:
    """Yield the sockets of this network namespace that receive on a port."""
    for protocol in ("udp", "udp6", "tcp", "tcp6"):
        for line in read_lines(f"{proc}/net/{protocol}")[1:]:
            fields = line.split()
            if len(fields) < 10 or (protocol.startswith("tcp") and fields[3] != _TCP_LISTEN):
                continue
            address, _, port = fields[1].partition(":")
            yield OpenSocket(protocol[:3], _read_kernel_address(address), int(port, 16), int(fields[9]))


def _read_kernel_address(text: str) -> IpAddress:
    """An address as the kernel prints it: hexadecimal words of 32 bits in the machine's own byte order."""
    words = [int(text[index : index + 8], 16).to_bytes(4, sys.byteorder) for index in range(0, len(text), 8)]
    return ipaddress.ip_address(b"".join(words))


def find_holder(endpoint: Endpoint, protocol: str, proc: str = "/proc") -> str:
    """Return who receives on an endpoint, as `dnsmasq (process 812)`; "" when that cannot be seen."""
    wanted = ipaddress.ip_address(endpoint.host)
    inodes = {
        entry.inode
        for entry in read_sockets(proc)
        if entry.protocol == protocol
        and entry.port == endpoint.port
        and (entry.address == wanted or entry.address.is_unspecified or wanted.is_unspecified)
    }
    for process in sorted((name for name in list_folder(proc) if name.isdigit()), key=int):
        for descriptor in list_folder(f"{proc}/{process}/fd"):
            match = re.fullmatch(r"socket:\[(\d+)\]", _read_link(f"{proc}/{process}/fd/{descriptor}"))
            if match and int(match[1]) in inodes:
                return f"{''.join(read_lines(f'{proc}/{process}/comm'))} (process {process})"
    return ""


def check_port(endpoint: Endpoint, protocol: str, key: str, proc: str = "/proc") -> Finding:
    """Tell whether the gateway could bind an endpoint. `key` is the setting that names it: `dns.listen`."""
    check = f"port {endpoint.port}/{protocol}"
    where = f"{endpoint.host} port {endpoint.port}/{protocol}"
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    try:
        with socket.socket(family, kind) as probe:
            if protocol == "tcp":  # a connection that ended a moment ago is nobody's
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((endpoint.host, endpoint.port))
            return Finding(check, OK, f"{where} is free")
    except OSError as error:
        return _explain_bind(error, endpoint, protocol, check, where, key, proc)


def _explain_bind(
    error: OSError, endpoint: Endpoint, protocol: str, check: str, where: str, key: str, proc: str
) -> Finding:
    if error.errno == errno.EADDRINUSE:
        holder = find_holder(endpoint, protocol, proc)
        message = f"{where} is taken by {holder or 'another program (root sees which)'}"
        if holder.startswith("systemd-resolve"):
            advice = f"write the addresses of the home's network in '{key}', one by one, or stop systemd-resolved"
        else:
            advice = f"stop it, or give Guardian another address or port in '{key}'"
        return Finding(check, FAIL, message, advice)
    if error.errno in (errno.EACCES, errno.EPERM):
        first = "".join(read_lines(f"{proc}/sys/net/ipv4/ip_unprivileged_port_start")) or "1024"
        return Finding(
            check,
            FAIL,
            f"{where} needs a permission that this user does not have (ports below {first})",
            "run Guardian as a service with CAP_NET_BIND_SERVICE, or run this check as the user of the service",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return Finding(
            check,
            FAIL,
            f"{endpoint.host} is no address of this machine",
            f"see `ip address`, and correct '{key}'",
        )
    return Finding(check, FAIL, f"{where} cannot be used: {error.strerror}", f"correct '{key}'")


def check_resolved(endpoints: Iterable[Endpoint], proc: str = "/proc") -> Iterator[Finding]:
    """Tell about systemd-resolved on this machine, which asks its own upstreams, past Guardian."""
    entries = [entry for entry in read_sockets(proc) if entry.address == RESOLVED and entry.port == 53]
    if not entries:
        return
    wildcard = [e for e in endpoints if e.port == 53 and ipaddress.ip_address(e.host).is_unspecified]
    if wildcard:
        yield Finding(
            "systemd-resolved",
            FAIL,
            f"systemd-resolved holds 127.0.0.53 port 53, so {wildcard[0].host} port 53 cannot be taken",
            "write the addresses of the home's network in 'dns.listen', one by one",
        )
    else:
        yield Finding(
            "systemd-resolved",
            OK,
            "systemd-resolved serves this machine's own programs on 127.0.0.53; it does not disturb the home",
        )


def check_memory(proc: str = "/proc") -> Finding:
    """Tell whether the machine has memory left."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", "\n".join(read_lines(f"{proc}/meminfo")), re.MULTILINE)
    if match is None:
        return Finding("memory", WARN, "this system does not tell how much memory is left", "look at it by hand")
    available = int(match[1]) << 10
    message = f"{available >> 20} MB of memory are available"
    advice = "stop other programs, or lower 'dns.cache_bytes' and 'dns.table_entries'"
    if available < TOO_LITTLE_MEMORY:
        return Finding("memory", FAIL, message, advice)
    if available < LITTLE_MEMORY:
        return Finding("memory", WARN, message, advice)
    return Finding("memory", OK, message)


def check_clock(now: float, floor: float, what: str) -> Finding:
    """Tell whether the clock can be right: not before `floor` (epoch seconds, the time of `what`)."""
    if now < floor or now > LAST_CLOCK:
        return Finding(
            "clock",
            FAIL,
            f"the clock is wrong: it is before {what}" if now < floor else "the clock is wrong: it is after 2100",
            "set it (`timedatectl set-ntp true`, or the router's NTP); hours, lists and certificates hang on it",
        )
    return Finding("clock", OK, f"the clock is later than {what}")


def check_gateway_clock(clock: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Tell when the gateway does not believe the clock; `clock` is as in its status, None from an older gateway."""
    if clock is None or clock["state"] == State.SET.value:
        return
    advice = "let this machine reach its time servers (NTP, port 123); their names: 'local.time_servers'"
    if clock["state"] == State.WAITING.value:
        message = f"nobody has set the clock yet ({clock['doubt']}): profiles with hours or minutes are closed"
        yield Finding("time", WARN, message, f"wait a minute; if it stays, {advice}")
    else:
        moment = datetime.fromtimestamp(clock["now"], UTC).strftime("%Y-%m-%d %H:%M UTC")
        message = f"no time comes from the internet: by the box's memory it is {moment}, and hours follow that"
        yield Finding("time", FAIL, message, advice)


def check_routers(endpoints: Iterable[Endpoint], wan: Iterable[str], proc: str = "/proc") -> Iterator[Finding]:
    """Tell about other routers that announce IPv6 here: devices take their DNS servers (RDNSS, RFC 8106) as well.

    What such a router says of DNS is not kept by the kernel, so only its being there can be seen.
    """
    if all(ipaddress.ip_address(endpoint.host).is_loopback for endpoint in endpoints):
        return  # serves this machine only
    for line in read_lines(f"{proc}/net/ipv6_route"):
        fields = line.split()
        if len(fields) < 10 or not int(fields[8], 16) & _ROUTE_DEFAULT or not int(fields[8], 16) & _ROUTE_ADVERTISED:
            continue
        if fields[9] in wan:
            continue
        router = ipaddress.ip_address(bytes.fromhex(fields[4]))
        yield Finding(
            "ipv6",
            WARN,
            f"the router {router} announces IPv6 on {fields[9]}: devices may ask its DNS server, past Guardian",
            "switch off its IPv6 DNS announcement (RDNSS, DHCPv6 DNS), or name the interface in 'filter.wan' "
            "if it is the way to the provider",
        )


def read_lines(path: str) -> list[str]:
    """Return the lines of a file of the kernel; none when it is not there or not for us."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def list_folder(path: str) -> list[str]:
    """Return the names in a folder; none when it is not there or not for us."""
    try:
        return os.listdir(path)
    except OSError:
        return []  # a process that has ended, or of another user


def _read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
