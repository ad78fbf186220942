"""The machine's settings: `guardian.yaml`, or UCI on OpenWrt, -> Config, every problem with its line.

These are the settings of whoever installs the box (ports, upstreams, places of files). What parents set is the
household (`guardian.store`). Values only; nothing here opens a socket.
"""

from guardian.config.read import (
    DEFAULT_PATH,
    Settings,
    find_config,
    load_config,
    load_settings,
    parse_config,
    parse_settings,
    place_files,
)
from guardian.config.text import PLAIN, Endpoint, Network, Transport, Upstream, read_upstream
from guardian.config.values import (
    HOME_NETWORKS,
    LANGUAGES,
    BlockConfig,
    BlockMode,
    Config,
    ControlConfig,
    DnsConfig,
    FilterConfig,
    Forward,
    HistoryConfig,
    ListsConfig,
    LocalConfig,
    MandatoryList,
    OnFailure,
    QuicMode,
    Strategy,
    TlsConfig,
    UpstreamConfig,
    WebConfig,
)

__all__ = [
    "DEFAULT_PATH",
    "HOME_NETWORKS",
    "LANGUAGES",
    "PLAIN",
    "BlockConfig",
    "BlockMode",
    "Config",
    "ControlConfig",
    "DnsConfig",
    "Endpoint",
    "FilterConfig",
    "Forward",
    "HistoryConfig",
    "ListsConfig",
    "LocalConfig",
    "MandatoryList",
    "Network",
    "OnFailure",
    "QuicMode",
    "Settings",
    "Strategy",
    "TlsConfig",
    "Transport",
    "Upstream",
    "UpstreamConfig",
    "WebConfig",
    "find_config",
    "load_config",
    "load_settings",
    "parse_config",
    "parse_settings",
    "place_files",
    "read_upstream",
]
