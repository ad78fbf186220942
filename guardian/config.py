"""The machine's settings: `guardian.yaml` -> Config, every problem with its line.

These are the settings of whoever installs the box (ports, upstreams, places of files). What parents set is the
household (`guardian.store`). Values only; nothing here opens a socket.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

Network = IPv4Network | IPv6Network


class Endpoint(NamedTuple):
    """An address and a port to listen on; `host` is an IP literal."""

    host: str
    port: int


class Transport(enum.Enum):
    UDP = "udp"  # plain DNS, with TCP when an answer is truncated
    TCP = "tcp"
    TLS = "tls"  # RFC 7858
    HTTPS = "https"  # RFC 8484


@dataclass(frozen=True, slots=True)
class Upstream:
    """One upstream, written `udp://192.168.1.1`, `tcp://[2001:db8::1]:53`, `tls://dns.quad9.net@9.9.9.9,149.112.112.112`,
    `https://dns.quad9.net/dns-query@9.9.9.9`. What stands behind `@` are its addresses (bootstrap); without them the name is
    resolved by the plain upstreams of `bootstrap`. A bare address means udp.
    """

    transport: Transport
    host: str  # IP literal or host name; the name that the certificate must show
    port: int
    path: str = ""  # HTTPS only
    addresses: tuple[str, ...] = ()  # IP literals to connect to
    ca_file: str = ""  # a private CA for this upstream: `...?ca=/path.pem`; "" = the system's

    @property
    def label(self) -> str:
        """How logs and status call it: `tls://dns.quad9.net:853`."""
        raise NotImplementedError


class Strategy(enum.Enum):
    FAILOVER = "failover"  # the first healthy one in order
    FASTEST = "fastest"  # the healthy one with the lowest smoothed round trip
    RACE = "race"  # ask two, take the first good answer


@dataclass(frozen=True, slots=True)
class Forward:
    """A domain (wire name, with all below it) whose queries go to other upstreams: a router's own zone, a company's."""

    domain: bytes
    upstreams: tuple[Upstream, ...]


class BlockMode(enum.Enum):
    PAGE = "page"  # the block page's address for A and AAAA
    NXDOMAIN = "nxdomain"
    NODATA = "nodata"
    NULL = "null"  # 0.0.0.0 and ::


# The dataclasses of the whole file follow. H3 writes readers, checks and `load`.


@dataclass(frozen=True, slots=True)
class DnsConfig:
    listen: tuple[Endpoint, ...] = (Endpoint("127.0.0.1", 53),)
    clients: tuple[Network, ...] = ()  # default: loopback, RFC 1918, fc00::/7, fe80::/10, 100.64/10 is not
    rate_limit: int = 1000  # queries a second and client, 0 = none; bursts of twice that
    table_entries: int = 0  # ready answers kept; 0 = by the machine's memory
    cache_bytes: int = 0  # 0 = by the machine's memory
    min_ttl: int = 0
    max_ttl: int = 86400
    serve_stale: int = 86400  # seconds past expiry that an answer may be used when upstreams fail; 0 = off
    prefetch: bool = True
    rebinding_protection: bool = True
    rebinding_allowed: tuple[bytes, ...] = ()  # domains that may answer with private addresses


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    servers: tuple[Upstream, ...]
    strategy: Strategy = Strategy.FASTEST
    timeout: float = 3.0  # seconds for one query over all tries
    bootstrap: tuple[Upstream, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalConfig:
    name: bytes  # wire name of the gateway itself: guardian.home.arpa
    addresses: tuple[str, ...] = ()  # the gateway's own addresses for `name` and the block page; () = of the interface asked
    zone: bytes = b"\x04home\x04arpa\x00"  # wire name of the home's own zone, answered from leases
    leases: tuple[str, ...] = ()  # lease files: dnsmasq, odhcpd or Kea CSV, told apart by content


@dataclass(frozen=True, slots=True)
class BlockConfig:
    mandatory: BlockMode = BlockMode.PAGE
    other: BlockMode = BlockMode.PAGE
    ttl: int = 10  # seconds, cut to the decision's `until`
    page: tuple[Endpoint, ...] = ()  # where the block page is served; () = not served
    support: str = ""  # an ISP's contact line on the page
