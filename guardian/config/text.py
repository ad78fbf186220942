"""What one word of `guardian.yaml` comes to: endpoints, upstreams, networks, names, durations, sizes.

Each reader takes the text as written and returns its value or raises TextError.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple
from urllib.parse import urlsplit

from guardian.errors import TextError
from guardian.names import parse_name
from guardian.typed_yaml import suggest

LONGEST_LINE = 200  # of a text for people
Network = IPv4Network | IPv6Network


class Endpoint(NamedTuple):
    """An address and a port to listen on; `host` is an IP literal, or an interface: all addresses that it has."""

    host: str
    port: int

    @property
    def is_interface(self) -> bool:
        """Whether `host` is the name of an interface (`guardian.interfaces.fit_to_interfaces`)."""
        return ":" not in self.host and not self.host.replace(".", "").isdigit()

    def __str__(self) -> str:
        return f"{_bracket(self.host)}:{self.port}"


class Transport(enum.Enum):
    UDP = "udp"  # plain DNS, with TCP when an answer is truncated
    TCP = "tcp"
    TLS = "tls"  # RFC 7858
    HTTPS = "https"  # RFC 8484


_PORTS = {Transport.UDP: 53, Transport.TCP: 53, Transport.TLS: 853, Transport.HTTPS: 443}
PLAIN = (Transport.UDP, Transport.TCP)


@dataclass(frozen=True, slots=True)
class Upstream:
    """One upstream, written `udp://192.168.1.1`, `tcp://[2001:db8::1]:53`, `tls://dns.quad9.net@9.9.9.9,149.112.112.112`,
    `https://dns.quad9.net/dns-query@9.9.9.9`. What stands behind `@` are its addresses (bootstrap); without them the
    name is resolved by the plain upstreams of `bootstrap`. A bare address means udp.
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
        return f"{self.transport.value}://{_bracket(self.host)}:{self.port}{self.path}"


def read_endpoint(default_port: int) -> Callable[[str], Endpoint]:
    """Return a reader of `192.168.1.1:53`, `[::1]:53`, `192.168.1.1`, `::1` that fills in the port."""

    def read(text: str) -> Endpoint:
        host, port = _split_port(text)
        return Endpoint(read_address(host), port or default_port)

    return read


def read_listener(default_port: int) -> Callable[[str], Endpoint]:
    """Return a reader of what `read_endpoint` reads, and of interfaces: `br-lan:53`, `br-lan`."""

    def read(text: str) -> Endpoint:
        host, port = _split_port(text)
        return Endpoint(_read_place(host), port or default_port)

    return read


def _read_place(text: str) -> str:
    if ":" in text or not text or text.replace(".", "").isdigit():
        return read_address(text)
    if text in ("localhost", "lo"):
        raise TextError(f"'{text}' is neither an address nor an interface of the home: write 127.0.0.1")
    try:
        return read_interface(text)
    except TextError:
        raise TextError(f"'{text[:80]}' is neither an IP address nor an interface like br-lan") from None


def read_address(text: str) -> str:
    """Return an IP literal in its shortest form; a scope (`fe80::1%eth0`) stays."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise TextError(f"'{text[:80]}' is not an IP address") from None


def read_network(text: str) -> Network:
    """Return the network of `192.168.0.0/16` or `fd00::/8`; a bare address is a network of one."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        hint = ""
        if "host bits" in str(error):
            hint = f", did you mean '{ipaddress.ip_network(text, strict=False)}'?"
        raise TextError(f"'{text[:80]}' is not a network like 192.168.0.0/16{hint}") from None


def read_upstream(text: str) -> Upstream:
    """Return the upstream that `text` describes (see `Upstream`)."""
    scheme, mark, rest = text.partition("://")
    transport = _read_scheme(scheme) if mark else Transport.UDP
    rest, _, query = (rest if mark else text).partition("?")
    rest, at, bootstrap = rest.partition("@")
    authority, slash, path = rest.partition("/")
    if transport in PLAIN and (at or slash or query):
        raise TextError(f"'{text[:80]}': plain DNS takes an address and a port only, like 192.168.1.1:53")
    if slash and transport is not Transport.HTTPS:
        raise TextError(f"'{text[:80]}': only https:// upstreams have a path")
    host, port = _split_port(authority)
    return Upstream(
        transport,
        _read_host(host, transport),
        port or _PORTS[transport],
        f"/{path or 'dns-query'}" if transport is Transport.HTTPS else "",
        tuple(read_address(part.strip("[] ")) for part in bootstrap.split(",")) if at else (),
        _read_ca(query),
    )


def _read_scheme(text: str) -> Transport:
    known = [transport.value for transport in Transport]
    if text not in known:
        raise TextError(f"unknown upstream scheme '{text[:80]}'{suggest(text, known)} (known: {', '.join(known)})")
    return Transport(text)


def _read_host(text: str, transport: Transport) -> str:
    try:
        return read_address(text)
    except TextError:
        if transport in PLAIN:
            raise TextError(f"'{text[:80]}' is not an IP address: plain DNS needs one") from None
    if not text or re.fullmatch(r"[\d.]+|.*[^\w.-].*", text):
        raise TextError(f"'{text[:80]}' is neither an IP address nor a host name")
    parse_name(text)
    return text.lower().removesuffix(".")


def _read_ca(query: str) -> str:
    if not query:
        return ""
    key, _, value = query.partition("=")
    if key != "ca" or not value:
        raise TextError(f"'?{query[:80]}' is not understood: only ?ca=FILE.pem may follow")
    return value


def _split_port(text: str) -> tuple[str, int]:
    """The host and the port, 0 when there is none; IPv6 with a port needs brackets."""
    if text.startswith("["):
        host, closed, tail = text[1:].partition("]")
        if not closed or (tail and not tail.startswith(":")):
            raise TextError(f"'{text[:80]}' is not an address like [2001:db8::1]:53")
        return host, read_port(tail[1:]) if tail else 0
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, read_port(port)
    return text, 0


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def read_port(text: str) -> int:
    """Return a port, 1 to 65535."""
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536):
        raise TextError(f"'{text[:80]}' is not a port (1 to 65535)")
    return int(text)


def read_number(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from `low` to `high`."""

    def read(text: str) -> int:
        try:
            number = int(text, 10)
        except ValueError:
            raise TextError(f"'{text[:80]}' is not a whole number") from None
        if not low <= number <= high:
            raise TextError(f"{number} is not between {low} and {high}")
        return number

    return read


_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {"": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}


def read_duration(low: float, high: float) -> Callable[[str], float]:
    """Return a reader of seconds, written `90`, `1.5`, `30s`, `10m`, `12h`, `7d` or `2w`."""

    def read(text: str) -> float:
        seconds = _read_quantity(text, _SECONDS, "a time like 90, 30s, 10m, 12h or 7d")
        if not low <= seconds <= high:
            raise TextError(f"{text} is not between {low:g} and {high:g} seconds")
        return seconds

    return read


def read_seconds(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole seconds, written as `read_duration` reads them."""
    read = read_duration(low, high)
    return lambda text: round(read(text))


def read_size(text: str) -> int:
    """Return bytes, written `8388608`, `512k`, `8MB` or `1G`; a kilobyte has 1024."""
    return round(_read_quantity(text, _BYTES, "a size like 512k, 8MB or 1G"))


def _read_quantity(text: str, units: dict[str, int], form: str) -> float:
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?) ?([a-zA-Z]{0,2})", text.strip(), re.ASCII)
    if not found or found[2].lower() not in units:
        raise TextError(f"'{text[:80]}' is not {form}")
    return float(found[1]) * units[found[2].lower()]


def read_word(text: str) -> str:
    """Return a short id: letters, digits, `-` and `_`, as tags and groups are called."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text):
        raise TextError(f"'{text[:80]}' is not a plain word of letters, digits and '-'")
    return text


def read_interface(text: str) -> str:
    """Return the name of a network interface: what Linux takes as one and packet filters can write down."""
    if len(text) > 15 or not re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*", text) or text in (".", ".."):
        raise TextError(f"'{text[:80]}' is not an interface: at most 15 letters, digits, '.', '_' and '-', like br-lan")
    if text == "lo":
        raise TextError("'lo' is this machine itself: no other device is behind it")
    return text


def read_line(text: str) -> str:
    """Return a line for people: at most 200 characters, none that steers a terminal or turns a page's direction."""
    if len(text) > LONGEST_LINE:
        raise TextError(f"is longer than {LONGEST_LINE} characters: one line that people read")
    if not text.isprintable():
        raise TextError("holds a line break or another sign that cannot be shown: write one line of text")
    return text.strip()


def read_file_name(text: str) -> str:
    """Return a path; empty is none."""
    if "\0" in text:
        raise TextError("a file name cannot hold a zero byte")
    return text


def read_host(text: str) -> str:
    """Return a name by which browsers call this box, in small letters without a dot at its end."""
    host = text.lower().removesuffix(".")
    if not re.fullmatch(
        r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*", host
    ):
        raise TextError(f"'{text[:80]}' is not a host name like guardian.lan (no port, no https://)")
    return host


def read_address_of_reports(text: str) -> str:
    """Return the URL that takes reports: https, or http on this machine."""
    try:
        parts = urlsplit(text)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host = "", None
    is_local = host in ("127.0.0.1", "::1", "localhost")
    if text and (not host or not (scheme == "https" or (scheme == "http" and is_local))):
        raise TextError(f"'{text[:80]}' is not an address like https://hotline.example/reports")
    return text


@dataclass(frozen=True, slots=True)
class Broker:
    """An MQTT broker, written `mqtts://push.example`; plain `mqtt://` is for this machine only."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{_bracket(self.host)}:{self.port}"


def read_broker(text: str) -> Broker:
    """Return a broker; its port is 8883 with TLS, 1883 without."""
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    is_plain = scheme == "mqtt" and host in ("127.0.0.1", "::1", "localhost")
    if not host or not (scheme == "mqtts" or is_plain) or parts.path.strip("/") or parts.username or parts.query:
        raise TextError(f"'{text[:80]}' is not a broker like mqtts://push.example:8883 (mqtt: on this machine only)")
    return Broker(host, port or (8883 if scheme == "mqtts" else 1883), scheme == "mqtts")


def read_feed_address(text: str) -> str:
    """Return the URL of a feed with a slash at its end; what comes from there is signed, so http will do."""
    try:
        parts = urlsplit(text)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host = "", None
    if not host or scheme not in ("https", "http") or parts.username or parts.query or parts.fragment:
        raise TextError(f"'{text[:80]}' is not an address like https://feed.hotline.example/guardian/")
    return text.rstrip("/") + "/"


def read_choice(*known: str) -> Callable[[str], str]:
    """Return a reader of one of the known words."""

    def read(text: str) -> str:
        if text.lower() not in known:
            raise TextError(f"'{text[:80]}' is none of {', '.join(known)}{suggest(text, known)}")
        return text.lower()

    return read
