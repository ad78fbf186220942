"""The addresses of this machine's own interfaces, for a gateway that listens on all of them."""

from __future__ import annotations

import fcntl
import socket
import struct

_SIOCGIFADDR = 0x8915  # linux/sockios.h
_INTERFACE_REQUEST = struct.Struct("16s24x")  # struct ifreq: a name, then a union of 24 bytes
_IPV6_TABLE = "/proc/net/if_inet6"
_TENTATIVE_OR_FAILED = 0x48  # IFA_F_TENTATIVE | IFA_F_DADFAILED, linux/if_addr.h


def list_addresses() -> tuple[bytes, ...]:
    """Return the packed addresses of all interfaces, IPv4 first: the first one of each, and every IPv6 address."""
    addresses = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                reply = fcntl.ioctl(probe, _SIOCGIFADDR, _INTERFACE_REQUEST.pack(name.encode()[:15]))
            except OSError:  # an interface without IPv4
                continue
            addresses.append(reply[20:24])  # the name, family and port stand before it
    return (*dict.fromkeys(addresses), *_list_ipv6())


def _list_ipv6() -> list[bytes]:
    try:
        with open(_IPV6_TABLE, encoding="ascii") as file:
            rows = [line.split() for line in file]
    except FileNotFoundError:  # a kernel without IPv6
        return []
    return [bytes.fromhex(row[0]) for row in rows if not int(row[4], 16) & _TENTATIVE_OR_FAILED]
