"""guardian.yaml: every key, every check, all problems in one go, paths."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from guardian.config import (
    DEFAULT_PATH,
    HOME_NETWORKS,
    BlockMode,
    Config,
    Endpoint,
    OnFailure,
    QuicMode,
    Strategy,
    TlsConfig,
    find_config,
    load_config,
    parse_config,
)

ROOT = Path(__file__).parents[2]
LEAST = "upstreams: {servers: [192.0.2.1]}\n"


def test_the_least_file() -> None:
    config = parse_config(LEAST, "/etc/guardian/guardian.yaml")
    assert config.state == "/var/lib/guardian"
    assert config.settings == "/var/lib/guardian/settings.db"
    assert config.lists.image == "/var/lib/guardian/lists/guardian.image"
    assert config.history.path == "/var/lib/guardian/history.db"
    assert config.control.socket == "/var/lib/guardian/control.sock"
    assert config.dns.clients == HOME_NETWORKS
    assert config.dns.listen == (Endpoint("127.0.0.1", 53),)
    assert config.lists.sources == config.household == config.history.snapshot == ""


def test_every_key() -> None:
    text = """
state: s
household: h.yaml
language: EN
log_level: debug
dns:
  listen: ["127.0.0.1:5300", "[::1]:5300"]
  clients: [10.0.0.0/8]
  rate_limit: 0
  table_entries: 20000
  cache_bytes: 8MB
  min_ttl: 5
  max_ttl: 1h
  serve_stale: 0
  prefetch: no
  rebinding_protection: no
  rebinding_allowed: [plex.direct]
upstreams:
  servers: ["tls://a.example@192.0.2.1?ca=ca.pem"]
  strategy: race
  timeout: 2.5
  bootstrap: [192.0.2.2]
forward:
  - {domain: Lan., upstreams: ["192.0.2.3:54"]}
local: {name: box.home.arpa, addresses: ["192.0.2.9"], zone: lan, leases: [leases]}
block: {mandatory: nodata, other: "null", ttl: 1m, page: [192.0.2.9], support: call us}
lists:
  image: i/x.image
  sources: sources.yaml
  categories: [gambling]
  mandatory: [{name: national, file: n.txt}]
  fetch_hours: 6
history: {path: /run/h.db, snapshot: h.db, retention_days: 7, size_mb: 8, flush_seconds: 10s}
control: {socket: /run/g.sock, group: guardian}
web:
  listen: ["127.0.0.1:8080"]
  clients: [192.0.2.0/24]
  hosts: [Router.LAN.]
  claim_code: label
  tls: {enabled: yes, certificate: c.pem, key: /k.pem}
  reports: https://hotline.example/reports
hotline:
  url: http://feed.example/x
  root: root.json
  lists: [csam-md]
  poll_hours: 2
  push: {broker: "mqtts://push.example", topic: t, user: u, password: pw, ca: ca.pem, certificate: c.pem, key: k.pem}
filter: {enabled: yes, lan: [br-lan, wlan0.2], wan: [eth0], on_failure: closed, quic: inspect, queue: 0}
"""
    config = parse_config(text, "/etc/g/guardian.yaml")
    assert config.state == "/etc/g/s"
    assert (config.household, config.language, config.log_level) == ("/etc/g/h.yaml", "en", "debug")
    assert (config.dns.cache_bytes, config.dns.max_ttl, config.dns.prefetch) == (8 * 2**20, 3600, False)
    assert config.dns.rebinding_allowed == (b"\x04plex\x06direct\x00",)
    assert config.upstreams.servers[0].ca_file == "/etc/g/ca.pem"
    assert (config.upstreams.strategy, config.upstreams.timeout) == (Strategy.RACE, 2.5)
    assert config.forward[0].domain == b"\x03lan\x00"
    assert config.forward[0].upstreams[0].label == "udp://192.0.2.3:54"
    assert config.local.leases == ("/etc/g/leases",)
    assert (config.block.mandatory, config.block.other, config.block.ttl) == (BlockMode.NODATA, BlockMode.NULL, 60)
    assert config.block.page == (Endpoint("192.0.2.9", 80),)
    assert (config.lists.image, config.lists.sources) == ("/etc/g/i/x.image", "/etc/g/sources.yaml")
    assert config.lists.mandatory[0].file == "/etc/g/n.txt"
    assert (config.history.path, config.history.snapshot) == ("/run/h.db", "/etc/g/h.db")
    assert config.history.flush_seconds == 10.0
    assert config.control.socket == "/run/g.sock"
    assert config.web.hosts == ("router.lan",) and [str(network) for network in config.web.clients] == ["192.0.2.0/24"]
    assert config.web.claim_code == "/etc/g/label" and config.web.reports == "https://hotline.example/reports"
    assert config.web.tls == TlsConfig(True, "/etc/g/c.pem", "/k.pem")
    hotline, push = config.hotline, config.hotline.push
    assert (hotline.url, hotline.root, hotline.lists) == ("http://feed.example/x/", "/etc/g/root.json", ("csam-md",))
    assert (str(push.broker), push.topic, push.user) == ("mqtts://push.example:8883", "t", "u")
    files = (push.password, push.ca, push.certificate, push.key)
    assert files == ("/etc/g/pw", "/etc/g/ca.pem", "/etc/g/c.pem", "/etc/g/k.pem")
    assert config.filter.enabled
    assert (config.filter.lan, config.filter.wan) == (("br-lan", "wlan0.2"), ("eth0",))
    assert (config.filter.on_failure, config.filter.quic) == (OnFailure.CLOSED, QuicMode.INSPECT)
    assert config.filter.queue == 0


def test_find_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GUARDIAN_CONFIG", raising=False)
    assert find_config() == DEFAULT_PATH
    monkeypatch.setenv("GUARDIAN_CONFIG", "/x.yaml")
    assert find_config() == "/x.yaml"
    assert find_config("/y.yaml") == "/y.yaml"


@pytest.mark.parametrize("name", ["laptop", "router"])
def test_examples_are_right(name: str) -> None:
    load_config(str(ROOT / "examples" / f"{name}.yaml"))


def test_laptop_keeps_its_state_in_the_checkout_and_needs_no_privilege() -> None:
    config = load_config(str(ROOT / "examples" / "laptop.yaml"))
    assert config.state == str(ROOT / "state")
    endpoints = (*config.dns.listen, *config.block.page, *config.web.listen)
    assert all(endpoint.port >= 1024 and endpoint.host in ("127.0.0.1", "::1") for endpoint in endpoints)


def test_the_manual_names_every_key() -> None:
    manual = (ROOT / "docs" / "configuration.md").read_text()

    def keys(cls: type, prefix: str) -> list[str]:
        found = []
        for spec in dataclasses.fields(cls):
            value = spec.default
            if dataclasses.is_dataclass(value):
                found += keys(type(value), f"{prefix}{spec.name}.")
            else:
                found.append(f"`{prefix}{spec.name}`")
        return found

    missing = [key for key in keys(Config, "") if key not in manual and key != "`upstreams`"]
    assert missing == []
