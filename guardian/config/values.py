"""The sections of `guardian.yaml` as values: one frozen dataclass each, defaults included.

Times are seconds unless the name says otherwise. Paths are absolute once `load_config` has read them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from guardian.config.text import (
    Broker,
    Endpoint,
    Network,
    Upstream,
    read_address,
    read_address_of_reports,
    read_broker,
    read_choice,
    read_duration,
    read_feed_address,
    read_file_name,
    read_host,
    read_interface,
    read_line,
    read_listener,
    read_network,
    read_number,
    read_seconds,
    read_size,
    read_upstream,
    read_word,
)
from guardian.names import parse_name

LANGUAGES = ("ro", "ru", "en")
HOME_NETWORKS: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)  # not 100.64.0.0/10: behind a provider's NAT these are the neighbours


def _by(read: Callable[[str], Any]) -> dict[str, Any]:
    return {"read": read}


class Strategy(enum.Enum):
    FAILOVER = "failover"  # the first healthy one in order
    FASTEST = "fastest"  # the healthy one with the lowest smoothed round trip
    RACE = "race"  # ask two, take the first good answer


class BlockMode(enum.Enum):
    PAGE = "page"  # the block page's address for A and AAAA
    NXDOMAIN = "nxdomain"
    NODATA = "nodata"
    NULL = "null"  # 0.0.0.0 and ::


class OnFailure(enum.Enum):
    OPEN = "open"  # the home stays online, unfiltered
    CLOSED = "closed"  # no way out until Guardian is back


class QuicMode(enum.Enum):
    REFUSE = "refuse"  # filtered devices get an ICMP refusal at once, and browsers take TCP
    INSPECT = "inspect"  # the name is read from the Initial packets


@dataclass(frozen=True, slots=True)
class Forward:
    """A domain (wire name, with all below it) whose queries go to other upstreams: a router's own zone, a company's."""

    domain: bytes = field(metadata=_by(parse_name))
    upstreams: tuple[Upstream, ...] = field(metadata=_by(read_upstream))


@dataclass(frozen=True, slots=True)
class DnsConfig:
    listen: tuple[Endpoint, ...] = field(default=(Endpoint("127.0.0.1", 53),), metadata=_by(read_listener(53)))
    clients: tuple[Network, ...] = field(default=HOME_NETWORKS, metadata=_by(read_network))  # all others: REFUSED
    # queries a second and client, 0 = none; bursts of twice that
    rate_limit: int = field(default=1000, metadata=_by(read_number(0, 10_000_000)))
    # ready answers kept; 0 = by the machine's memory
    table_entries: int = field(default=0, metadata=_by(read_number(0, 10_000_000)))
    cache_bytes: int = field(default=0, metadata=_by(read_size))  # 0 = by the machine's memory
    min_ttl: int = field(default=0, metadata=_by(read_seconds(0, 3600)))
    max_ttl: int = field(default=86400, metadata=_by(read_seconds(1, 604800)))
    # seconds past expiry that an answer may be used when upstreams fail; 0 = off (RFC 8767)
    serve_stale: int = field(default=86400, metadata=_by(read_seconds(0, 604800)))
    prefetch: bool = True
    rebinding_protection: bool = True
    # domains that may answer with private addresses
    rebinding_allowed: tuple[bytes, ...] = field(default=(), metadata=_by(parse_name))


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    servers: tuple[Upstream, ...] = field(metadata=_by(read_upstream))
    strategy: Strategy = Strategy.FASTEST
    timeout: float = field(default=3.0, metadata=_by(read_duration(0.1, 30)))  # for one query over all tries
    bootstrap: tuple[Upstream, ...] = field(default=(), metadata=_by(read_upstream))


@dataclass(frozen=True, slots=True)
class LocalConfig:
    # wire name of the gateway itself
    name: bytes = field(default=b"\x08guardian\x04home\x04arpa\x00", metadata=_by(parse_name))
    # the gateway's own addresses for `name` and the block page; () = of the interface asked
    addresses: tuple[str, ...] = field(default=(), metadata=_by(read_address))
    # wire name of the home's own zone, answered from leases
    zone: bytes = field(default=b"\x04home\x04arpa\x00", metadata=_by(parse_name))
    # wire names of time servers besides the well-known ones: the box itself always finds them
    time_servers: tuple[bytes, ...] = field(default=(), metadata=_by(parse_name))
    # lease files: dnsmasq, odhcpd or Kea CSV, told apart by content
    leases: tuple[str, ...] = field(default=(), metadata=_by(read_file_name))


@dataclass(frozen=True, slots=True)
class BlockConfig:
    mandatory: BlockMode = BlockMode.PAGE
    other: BlockMode = BlockMode.PAGE
    ttl: int = field(default=10, metadata=_by(read_seconds(0, 3600)))  # cut to the decision's `until`
    # where the block page is served; () = not served
    page: tuple[Endpoint, ...] = field(default=(), metadata=_by(read_listener(80)))
    support: str = field(default="", metadata=_by(read_line))  # an ISP's contact line on the page


@dataclass(frozen=True, slots=True)
class MandatoryList:
    """A local file of illegal names, compiled as the tag `mandatory:NAME`."""

    name: str = field(metadata=_by(read_word))
    file: str = field(metadata=_by(read_file_name))
    provider: str = field(default="", metadata=_by(read_line))  # who gives it, as the console says; "" = this home


@dataclass(frozen=True, slots=True)
class ListsConfig:
    image: str = field(default="", metadata=_by(read_file_name))  # default: STATE/lists/guardian.image
    sources: str = field(default="", metadata=_by(read_file_name))  # "" = the packaged blocklists/sources.yaml
    categories: tuple[str, ...] = field(default=(), metadata=_by(read_word))  # fetched ones; () = all of `sources`
    mandatory: tuple[MandatoryList, ...] = ()
    fetch_hours: int = field(default=24, metadata=_by(read_number(0, 24 * 30)))  # 0 = only by hand


@dataclass(frozen=True, slots=True)
class HistoryConfig:
    path: str = field(default="", metadata=_by(read_file_name))  # default: STATE/history.db; routers: on a RAM disk
    snapshot: str = field(default="", metadata=_by(read_file_name))  # a copy on flash, hourly and at stop; "" = none
    retention_days: int = field(default=30, metadata=_by(read_number(0, 366)))
    size_mb: int = field(default=64, metadata=_by(read_number(1, 65536)))  # the oldest go when it is reached
    flush_seconds: float = field(default=5.0, metadata=_by(read_duration(0.1, 3600)))


@dataclass(frozen=True, slots=True)
class ControlConfig:
    socket: str = field(default="", metadata=_by(read_file_name))  # default: STATE/control.sock
    group: str = field(default="", metadata=_by(read_word))  # may use the socket (mode 660); "" = the gateway's own


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """HTTPS of the parents' console. Without files a certificate of its own is made, which browsers must be told of."""

    enabled: bool = False
    certificate: str = field(default="", metadata=_by(read_file_name))  # PEM, with its chain
    key: str = field(default="", metadata=_by(read_file_name))  # PEM, without a passphrase


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The parents' console."""

    # () = no console
    listen: tuple[Endpoint, ...] = field(default=(Endpoint("127.0.0.1", 8080),), metadata=_by(read_listener(8080)))
    clients: tuple[Network, ...] = field(default=HOME_NETWORKS, metadata=_by(read_network))  # all others: refused
    # names by which browsers call this box, besides `local.name`, its first label, localhost and addresses
    hosts: tuple[str, ...] = field(default=(), metadata=_by(read_host))
    claim_code: str = field(default="", metadata=_by(read_file_name))  # an ISP's code for this box; "" = one is made
    tls: TlsConfig = TlsConfig()
    reports: str = field(default="", metadata=_by(read_address_of_reports))  # where reports go; "" = nowhere


@dataclass(frozen=True, slots=True)
class PushConfig:
    """Hints that the feed has something new (MQTT 5). The feed is looked at every few hours all the same."""

    broker: Broker | None = field(default=None, metadata=_by(read_broker))  # None = no hints
    topic: str = "guardian/feed"
    user: str = ""
    password: str = field(default="", metadata=_by(read_file_name))  # a file that holds it
    ca: str = field(default="", metadata=_by(read_file_name))  # PEM; "" = the system's
    certificate: str = field(default="", metadata=_by(read_file_name))  # PEM, the box's own, with `key`
    key: str = field(default="", metadata=_by(read_file_name))


@dataclass(frozen=True, slots=True)
class HotlineConfig:
    """The hotline's feed of signed lists (docs/feed.md)."""

    url: str = field(default="", metadata=_by(read_feed_address))  # "" = no feed
    root: str = field(default="", metadata=_by(read_file_name))  # the root of trust that came with the box: root.json
    lists: tuple[str, ...] = field(default=(), metadata=_by(read_word))  # () = all that the feed has
    poll_hours: int = field(default=6, metadata=_by(read_number(1, 24 * 7)))  # +-50 %
    push: PushConfig = PushConfig()


@dataclass(frozen=True, slots=True)
class FilterConfig:
    """The flow filter: what it stands between, and what holds for the home when it cannot judge."""

    enabled: bool = False
    lan: tuple[str, ...] = field(default=(), metadata=_by(read_interface))  # names; not empty when enabled
    wan: tuple[str, ...] = field(default=(), metadata=_by(read_interface))  # the same, and none that is in `lan`
    on_failure: OnFailure = OnFailure.OPEN
    quic: QuicMode = QuicMode.REFUSE
    queue: int = field(default=53, metadata=_by(read_number(0, 65535)))  # NFQUEUE number
    offload: bool = False  # long flows that are judged and allowed take the kernel's fast path


@dataclass(frozen=True, slots=True)
class Config:
    """All of `guardian.yaml`."""

    upstreams: UpstreamConfig
    state: str = field(default="/var/lib/guardian", metadata=_by(read_file_name))  # directory of all that is kept
    dns: DnsConfig = DnsConfig()
    forward: tuple[Forward, ...] = ()
    local: LocalConfig = LocalConfig()
    block: BlockConfig = BlockConfig()
    lists: ListsConfig = ListsConfig()
    history: HistoryConfig = HistoryConfig()
    control: ControlConfig = ControlConfig()
    web: WebConfig = WebConfig()
    hotline: HotlineConfig = HotlineConfig()
    filter: FilterConfig = FilterConfig()
    household: str = field(default="", metadata=_by(read_file_name))  # YAML imported at the first start; "" = none
    provisioning: str = field(default="", metadata=_by(read_file_name))  # the provider's file, which holds over this
    provider: str = field(default="", metadata=_by(read_line))  # who gave the box, as pages say it; "" = nobody
    # that pages offer; the first is that of `language` where it is not given
    languages: tuple[str, ...] = field(default=LANGUAGES, metadata=_by(read_choice(*LANGUAGES)))
    language: str = field(default="ro", metadata=_by(read_choice(*LANGUAGES)))
    log_level: str = field(default="info", metadata=_by(read_choice("debug", "info", "warning", "error")))

    @property
    def settings(self) -> str:
        """Path of the database of what parents set."""
        return f"{self.state}/settings.db"
