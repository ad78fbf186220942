"""What stands where in the lab: devices, addresses, sites, ports and DNS records. Nothing runs here."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import NamedTuple

DEVICES = ("tablet", "phone", "stranger")
ROLES = (*DEVICES, "router", "internet")
MACS = {
    "tablet": "02:00:5e:77:00:10",
    "phone": "02:00:5e:77:00:20",
    "stranger": "02:00:5e:77:00:30",
    "router": "02:00:5e:77:00:01",
}
HOSTS = {"router": 1, "tablet": 10, "phone": 20, "stranger": 30}  # the last part of an address, v4 and v6
HOME4, HOME6 = "10.77.0", "2001:db8:1077::"  # v6 as a provider gives it: no ULA, no NAT
WAN4, WAN6 = "198.51.100", "2001:db8:77::"  # no home's networks, so they are not rebinding
INTERNET_HOST = 254  # the provider's end of the router's line

# Ports of the internet's servers: all of them on every address.
HTTP, TLS, QUIC, DNS, DOT = 80, 443, 443, 53, 853
HTTP_ODD, TLS_ODD = 8000, 8443
SOCKS, PROXY, SSH, ECHO = 1080, 3128, 22, 7777
GAME, WIREGUARD = 27015, 51820  # UDP

UPSTREAM = 53  # the host that Guardian asks
FOREIGN = 8  # the host that a child would ask instead; also at the address of a public resolver that lists know
UNLISTED = 9  # a resolver that no list knows
FAMOUS = ("8.8.8.8", "2001:4860:4860::8888")  # lives in the lab as well, as `dns.google`


class Site(NamedTuple):
    """A name in the internet and the last part of its addresses."""

    name: str
    host: int

    @property
    def four(self) -> str:
        return wan4(self.host)

    @property
    def six(self) -> str:
        return wan6(self.host)


SITES = {
    site.name: site
    for site in (
        Site("www.open.example", 80),
        Site("news.open.example", 81),
        Site("quic.open.example", 82),  # tells of HTTP/3 in its HTTPS record
        Site("video.open.example", 83),  # for long downloads
        Site("blocked.example", 90),
        Site("www.blocked.example", 90),
        Site("shared.open.example", 100),  # one address, an open and a blocked site: what a CDN looks like
        Site("shared.blocked.example", 100),
        Site("www.tiktok.com", 110),
        Site("www.youtube.com", 111),
        Site("telefonulcopilului.md", 120),  # a helpline
        Site("mandatory.guardian.test", 130),
        Site("category-adult.guardian.test", 131),
        Site("vpn.open.example", 140),  # an own server, on no list
        Site("nordvpn.com", 141),
        Site("proxy.open.example", 150),
        Site("shell.open.example", 160),
        Site("game.open.example", 170),
        Site("ech.open.example", 180),  # its HTTPS record has `ech`
        Site("public.ech.example", 180),  # the outer name of it
        Site("cloudflare-ech.com", 181),
        Site("mask.icloud.com", 190),
        Site("resolver.unlisted.example", UNLISTED),
        Site("feed.hotline.example", 60),  # of the national hotline: its files, and its hints
        Site("push.hotline.example", 61),
        Site("listed-1.example", 62),  # what the hotline will list
    )
}
NAMES_OF_RESOLVERS = ("dns.google",)


def home4(role: str) -> str:
    """The IPv4 address of a device or the router in the home."""
    return f"{HOME4}.{HOSTS[role]}"


def home6(role: str) -> str:
    """The IPv6 address of a device or the router in the home."""
    return f"{HOME6}{HOSTS[role]}"


def wan4(host: int) -> str:
    """The IPv4 address of a server, or of the router (1) on its line."""
    return f"{WAN4}.{host}"


def wan6(host: int) -> str:
    """The IPv6 address of a server, or of the router (1) on its line."""
    return f"{WAN6}{host}"


def server_hosts() -> list[int]:
    """The last parts of all addresses that servers have."""
    return sorted({site.host for site in SITES.values()} | {UPSTREAM, FOREIGN, UNLISTED})


def server_addresses() -> list[str]:
    """All addresses of servers, both families."""
    hosts = server_hosts()
    return [*(wan4(host) for host in hosts), *(wan6(host) for host in hosts), *FAMOUS]


def ech_config_list(public_name: str) -> str:
    """An ECHConfigList of one configuration (draft-ietf-tls-esni, version 0xfe0d) in base64, as in an HTTPS record."""
    name = public_name.encode()
    key = bytes([7]) + b"\x00\x20" + b"\x00\x20" + bytes(range(1, 33)) + b"\x00\x04\x00\x01\x00\x01"
    contents = key + b"\x40" + bytes([len(name)]) + name + b"\x00\x00"
    config = b"\xfe\x0d" + len(contents).to_bytes(2) + contents
    return base64.b64encode(len(config).to_bytes(2) + config).decode()


def dns_records() -> Iterator[tuple[str, str, str]]:
    """Yield (name, type, rdata) of all that the internet's DNS knows."""
    for site in SITES.values():
        yield site.name, "A", site.four
        yield site.name, "AAAA", site.six
    for name in NAMES_OF_RESOLVERS:
        yield name, "A", FAMOUS[0]
        yield name, "AAAA", FAMOUS[1]
    quic, ech = SITES["quic.open.example"], SITES["ech.open.example"]
    yield quic.name, "HTTPS", f'1 . alpn="h3,http/1.1" ipv4hint="{quic.four}" ipv6hint="{quic.six}"'
    yield ech.name, "HTTPS", f'1 . alpn="http/1.1" ipv4hint="{ech.four}" ech="{ech_config_list("public.ech.example")}"'
    yield "alias.open.example", "CNAME", "www.open.example."
    yield "cloaked.open.example", "CNAME", "www.tiktok.com."
    yield "use-application-dns.net", "A", wan4(FOREIGN)
    yield "any.example", "A", wan4(SITES["www.open.example"].host)  # and every name below it
