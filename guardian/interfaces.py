"""The addresses of this machine's own interfaces: as they are now, followed live, and as endpoints to listen on.

`dns.listen: ["br-lan:53"]` means every address of that interface, whichever it has by now. `fit_to_interfaces` puts
addresses in the place of such names, and finds which public IPv6 networks are the home's; `Interfaces` tells when it
has to be done again. Codec: linux/rtnetlink.h, linux/if_addr.h. No capability is needed.
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import IPV6LENGTH, IPv6Network
from typing import NamedTuple

from guardian.config import HOME_NETWORKS, Config, Endpoint, Network
from guardian.errors import FormError, GuardianError
from guardian.rtnetlink import Notices, read_table
from guardian.wire.netlink import split_attributes

log = logging.getLogger(__name__)

_SIOCGIFADDR = 0x8915  # linux/sockios.h
_INTERFACE_REQUEST = struct.Struct("16s24x")  # struct ifreq: a name, then a union of 24 bytes
_IPV6_TABLE = "/proc/net/if_inet6"
_TEMPORARY = 0x01  # IFA_F_TEMPORARY of IPv6, linux/if_addr.h: an address that hides who asks is none to be found at
_TENTATIVE_OR_FAILED = 0x48  # IFA_F_TENTATIVE | IFA_F_DADFAILED: cannot be bound (yet)

_RTM_GETADDR = 22
_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_FLAGS = struct.Struct("=I")
_BYTES = {socket.AF_INET: 4, socket.AF_INET6: 16}
_WIDEST_HOME = 40  # bits: providers give a home /48 to /64; what is wider is not one home
SETTLE_SECONDS = 0.3  # a network that comes up tells of many changes in a row
RETRY_SECONDS = 5.0  # after a new address could not be used: another program may still be there


class InterfaceAddress(NamedTuple):
    """One address of one interface."""

    interface: int  # index
    host: str  # IP literal; a link-local IPv6 one has its scope as a number, `fe80::1%3`: a new interface differs
    prefix: int  # bits of the network that it is in
    flags: int = 0  # IFA_F_*

    @property
    def may_listen(self) -> bool:
        """Whether somebody would look for us there, and the kernel lets us bind it."""
        is_v6 = ":" in self.host
        return not self.flags & (_TENTATIVE_OR_FAILED | (_TEMPORARY if is_v6 else 0))


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


class Interfaces:
    """The machine's addresses, followed live. `on_change` is called once for all that one wake brought."""

    def __init__(self, notices: Notices, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._notices = notices
        self._told = _picture()
        self.fileno = notices.fileno
        self.close = notices.close

    @classmethod
    def open(cls, on_change: Callable[[], None]) -> Interfaces:
        """Return what is subscribed and filled. Raises OSError where the kernel has no rtnetlink."""
        notices = Notices(_GROUPS)
        try:
            return cls(notices, on_change)
        except OSError:
            notices.close()
            raise

    def on_readable(self) -> None:
        """Take in every notice that waits, and read the whole table anew: it is short, and then never wrong."""
        self._notices.receive()
        picture = _picture()
        if picture != self._told:
            self._told = picture
            self._on_change()


class Following:
    """Runs `act` when the machine's addresses have changed, never twice at a time; again soon when it returns False."""

    def __init__(self, act: Callable[[], Awaitable[bool]]) -> None:
        self._act = act
        self._changed = asyncio.Event()
        self._interfaces: Interfaces | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow from now on, with one run at the start: something may have changed since the addresses were read."""
        loop = asyncio.get_running_loop()
        try:
            self._interfaces = Interfaces.open(self._changed.set)
        except OSError as error:
            log.warning("event=addresses-not-followed error=%r", error.strerror)
            return
        loop.add_reader(self._interfaces.fileno(), self._on_readable)
        self._changed.set()
        self._task = loop.create_task(self._run())

    async def close(self) -> None:
        """Stop. May be called twice."""
        if self._interfaces is not None:
            asyncio.get_running_loop().remove_reader(self._interfaces.fileno())
            self._interfaces.close()
            self._interfaces = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _on_readable(self) -> None:
        assert self._interfaces is not None
        try:
            self._interfaces.on_readable()
        except (OSError, GuardianError) as error:  # the kernel was busy: what it told is lost, so look at it all
            log.warning("event=addresses-not-read error=%r action=again", str(error))
            self._changed.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._changed.clear()
            try:
                is_done = await self._act()
            except (GuardianError, OSError) as error:
                log.warning("event=addresses-not-used error=%r", str(error))
                is_done = False
            if not is_done:
                loop.call_later(RETRY_SECONDS, self._changed.set)


def _picture() -> tuple[object, ...]:
    """Everything that endpoints follow from."""
    return tuple(sorted(socket.if_nameindex())), tuple(sorted(list_interface_addresses()))


def list_interface_addresses() -> list[InterfaceAddress]:
    """Return every address of every interface, in the kernel's order. Raises OSError where it does not tell."""
    return read_table(_RTM_GETADDR, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0), parse_address)


def parse_address(payload: bytes) -> InterfaceAddress | None:
    """Return the address of an RTM_NEWADDR payload, None for a family that is not IP. Raises FormError."""
    if len(payload) < _ADDRESS.size:
        raise FormError("an address message is cut")
    family, prefix, flags, _scope, interface = _ADDRESS.unpack_from(payload)
    size = _BYTES.get(family)
    if size is None:
        return None
    attributes = dict(split_attributes(payload, _ADDRESS.size))
    packed = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS, b""))  # of a PPP link ADDRESS is the other end
    if len(packed) != size:
        raise FormError(f"an address of {len(packed)} bytes")
    wide = attributes.get(_IFA_FLAGS, b"")
    if len(wide) >= _FLAGS.size:
        (flags,) = _FLAGS.unpack_from(wide)
    address = ipaddress.ip_address(packed)
    scope = f"%{interface}" if address.version == 6 and address.is_link_local else ""
    return InterfaceAddress(interface, f"{address}{scope}", prefix, flags)


def list_absent(endpoints: Iterable[Endpoint]) -> list[str]:
    """Return the interfaces among the endpoints that have no address to listen on now, or are not there."""
    named = dict.fromkeys(endpoint.host for endpoint in endpoints if endpoint.is_interface)
    present = _list_hosts(dict(socket.if_nameindex()), list_interface_addresses()) if named else {}
    return [name for name in named if name not in present]


def fit_to_interfaces(config: Config, *, link_local: bool = True) -> Config:
    """Return `config` as it is with the addresses that the machine's interfaces have now.

    In dns.listen, block.page and web.listen an interface's name gives way to its addresses; one that is not there, or
    has none, gives none. Without `link_local` those are left out that no person writes down. dns.clients and
    web.clients, where nothing else is set, gain the networks of `list_home_networks`. Raises OSError when the kernel
    does not tell.
    """
    endpoints = (*config.dns.listen, *config.block.page, *config.web.listen)
    if not config.filter.lan and not any(endpoint.is_interface or _is_reachable(endpoint) for endpoint in endpoints):
        return config
    try:
        names = dict(socket.if_nameindex())
        addresses = [address for address in list_interface_addresses() if address.interface in names]
    except OSError as error:
        if any(endpoint.is_interface for endpoint in endpoints):
            raise
        log.warning("event=home-networks-unknown error=%r", error.strerror)
        return config
    hosts = _list_hosts(names, addresses)
    home = list_home_networks(config, names, addresses)
    if not link_local:
        hosts = {name: [host for host in found if "%" not in host] for name, found in hosts.items()}
    dns, web = config.dns, config.web
    return replace(
        config,
        dns=replace(dns, listen=_expand(dns.listen, hosts), clients=_extend(dns.clients, home)),
        block=replace(config.block, page=_expand(config.block.page, hosts)),
        web=replace(web, listen=_expand(web.listen, hosts), clients=_extend(web.clients, home)),
    )


def list_home_networks(
    config: Config, names: Mapping[int, str], addresses: Iterable[InterfaceAddress]
) -> tuple[IPv6Network, ...]:
    """Return the public IPv6 networks on the home's side: a device there asks from such an address, as often as not.

    The home's side are interfaces that the flow filter has as its LAN, or where we are asked, and that have a private
    address too: on a server in a data centre the same network would be the neighbours'. `names` is by index.
    """
    addresses = [address for address in addresses if not ipaddress.ip_address(address.host).is_link_local]
    endpoints = (*config.dns.listen, *config.block.page, *config.web.listen)
    asked = {endpoint.host for endpoint in endpoints}
    home = {address.interface for address in addresses if address.host in asked or names[address.interface] in asked}
    home |= {index for index, name in names.items() if name in config.filter.lan}
    home -= {index for index, name in names.items() if name in config.filter.wan or name == "lo"}
    home &= {address.interface for address in addresses if _is_private(address.host)}
    networks = {
        IPv6Network((address.host, address.prefix), strict=False)
        for address in addresses
        if address.interface in home
        and ":" in address.host
        and not _is_private(address.host)
        and _WIDEST_HOME <= address.prefix < IPV6LENGTH
    }
    return tuple(sorted(networks))


def _is_private(host: str) -> bool:
    address = ipaddress.ip_address(host)
    return any(address in network for network in HOME_NETWORKS if network.version == address.version)


def _is_reachable(endpoint: Endpoint) -> bool:
    address = ipaddress.ip_address(endpoint.host)
    return not address.is_loopback and not address.is_unspecified


def _extend(clients: tuple[Network, ...], home: Iterable[IPv6Network]) -> tuple[Network, ...]:
    return (*clients, *home) if clients == HOME_NETWORKS else clients


def _list_hosts(names: Mapping[int, str], addresses: Iterable[InterfaceAddress]) -> dict[str, list[str]]:
    """Return interface -> its addresses that can be listened on."""
    hosts: dict[str, list[str]] = {}
    for address in addresses:
        if address.may_listen:
            hosts.setdefault(names[address.interface], []).append(address.host)
    return hosts


def _expand(endpoints: Iterable[Endpoint], hosts: dict[str, list[str]]) -> tuple[Endpoint, ...]:
    found = []
    for endpoint in endpoints:
        if endpoint.is_interface:
            found += [Endpoint(host, endpoint.port) for host in hosts.get(endpoint.host, ())]
        else:
            found.append(endpoint)
    return tuple(dict.fromkeys(found))
