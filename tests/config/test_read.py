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
from guardian.errors import ConfigError

ROOT = Path(__file__).parents[2]
LEAST = "upstreams: {servers: [192.0.2.1]}\n"


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "g.yaml")
    return [str(problem) for problem in caught.value.problems]


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "g.yaml:1: the key 'upstreams' is missing"),
        ("upstreams: {}", "g.yaml:1: 'upstreams': the key 'servers' is missing"),
        ("upstreams: {servers: []}", "g.yaml:1: 'servers' is empty: nobody would answer"),
        (LEAST + "dsn: {}", "g.yaml:2: unknown key 'dsn', did you mean 'dns'?"),
        (LEAST + "dns:\n  listn: [127.0.0.1]", "g.yaml:3: 'dns': unknown key 'listn', did you mean 'listen'?"),
        (LEAST + "dns: {listen: [::1]}", "g.yaml:2: not YAML: expected the node content, but found ':'; an address"),
        (LEAST + "dns: {listen: []}", "g.yaml:2: 'listen' is empty: nobody could ask"),
        (LEAST + "dns: {clients: []}", "g.yaml:2: 'clients' is empty"),
        (LEAST + "dns:\n  max_ttl: 10\n  min_ttl: 20", "g.yaml:4: 'min_ttl' is above 'max_ttl' (10)"),
        (LEAST + "dns:\n  listen:\n  - 127.0.0.1\n  - 127.0.0.1:53", "g.yaml:5: '127.0.0.1:53' is already taken"),
        (
            LEAST + "web: {listen: ['127.0.0.1:80']}\nblock: {page: [127.0.0.1]}",
            "g.yaml:2: '127.0.0.1:80' is already taken by 'block.page'",
        ),
        (LEAST + "web: {clients: []}", "g.yaml:2: 'clients' is empty: nobody could open the console"),
        (LEAST + "web:\n  tls: {key: k.pem}", "g.yaml:3: 'key' needs 'certificate' beside it"),
        (LEAST + "web:\n  hosts: ['http://x']", "g.yaml:3: 'hosts': 'http://x' is not a host name like guardian.lan"),
        (
            LEAST + "web:\n  reports: http://x.example/",
            "g.yaml:3: 'reports': 'http://x.example/' is not an address like",
        ),
        (LEAST + "hotline: {url: 'https://x.example/'}", "g.yaml:2: 'url' needs 'root' beside it"),
        (LEAST + "hotline:\n  root: r", "g.yaml:3: 'root' needs 'url' beside it"),
        (LEAST + "hotline: {url: ftp://x.example}", "g.yaml:2: 'url': 'ftp://x.example' is not an address like"),
        (LEAST + "hotline:\n  push: {topic: t}", "g.yaml:3: 'push' needs a 'broker'"),
        (
            LEAST + "hotline: {push: {broker: 'mqtts://x.example'}}",
            "g.yaml:2: 'push' tells of a feed that is not there: add 'url' and 'root'",
        ),
        (
            LEAST + "hotline: {url: 'https://x.example', root: r, push: {broker: 'mqtts://x', user: u}}",
            "g.yaml:2: 'user' needs 'password' beside it",
        ),
        (
            LEAST + "hotline: {url: 'https://x.example', root: r, push: {broker: 'mqtts://x', key: u}}",
            "g.yaml:2: 'key' needs 'certificate' beside it",
        ),
        (LEAST + "language: de", "g.yaml:2: 'language': 'de' is none of ro, ru, en"),
        (LEAST + "log_level: inf", "g.yaml:2: 'log_level': 'inf' is none of debug, info, warning, error, did you mean"),
        (LEAST + "state: ''", "g.yaml:2: 'state' is empty"),
        (LEAST + "filter:\n  enabled: yes\n  wan: [eth0]", "g.yaml:3: the flow filter stands between 'lan' and others"),
        (LEAST + "filter:\n  enabled: yes\n  lan: [a]\n  wan: []", "g.yaml:5: the flow filter stands between 'wan'"),
        (LEAST + "filter:\n  lan: [a]\n  wan:\n  - b\n  - a", "g.yaml:6: 'a' is already in 'filter.lan'"),
        (LEAST + "filter: {lan: [a, a]}", "g.yaml:2: 'a' is already in 'filter.lan'"),
        (
            LEAST + "filter:\n  enabled: yes\n  wan: [w]\n  lan:\n  - eth 0",
            "g.yaml:6: 'lan': 'eth 0' is not an interface",
        ),
        (LEAST + "filter: {lan: [lo]}", "g.yaml:2: 'lan': 'lo' is this machine itself"),
        (LEAST + "filter: {lan: eth0}", "g.yaml:2: 'lan': must be a list"),
        (LEAST + "filter: {on_failure: opne}", "g.yaml:2: 'on_failure': 'opne' is none of open, closed, did you mean"),
        (LEAST + "filter: {quic: allow}", "g.yaml:2: 'quic': 'allow' is none of refuse, inspect"),
        (LEAST + "filter: {queue: 65536}", "g.yaml:2: 'queue': 65536 is not between 0 and 65535"),
        (LEAST + "block: {other: page}", "g.yaml:2: 'other: page' needs an address"),
        (LEAST + "block:\n  ttl: 5\n  mandatory: page", "g.yaml:4: 'mandatory: page' needs an address"),
        (LEAST + "forward:\n- {domain: a, upstreams: []}", "g.yaml:3: 'upstreams' is empty"),
        (
            LEAST + "forward:\n- {domain: a, upstreams: [192.0.2.1]}\n- {domain: A., upstreams: [192.0.2.1]}",
            "g.yaml:4: 'a' is forwarded twice",
        ),
        ("upstreams: {servers: ['tls://a.example']}", "g.yaml:1: 'tls://a.example:853' has no address"),
        (
            "upstreams:\n  servers: [192.0.2.1]\n  bootstrap: ['tls://a.example']",
            "g.yaml:3: 'tls://a.example:853': a bootstrap upstream needs an address",
        ),
        ("upstreams: {servers: ['127.0.0.1:53']}", "g.yaml:1: 'udp://127.0.0.1:53' is Guardian's own address"),
        (
            "dns: {listen: ['0.0.0.0:5300']}\nupstreams:\n  servers:\n  - 192.0.2.1\n  - tcp://127.0.0.3:5300",
            "g.yaml:5: 'tcp://127.0.0.3:5300' is Guardian's own address (0.0.0.0:5300)",
        ),
        (
            "dns: {listen: ['[::]:53']}\nlocal: {addresses: [192.168.1.1]}\nupstreams: {servers: [192.168.1.1]}",
            "g.yaml:3: 'udp://192.168.1.1:53' is Guardian's own address ([::]:53)",
        ),
        (
            LEAST + "lists:\n  mandatory:\n  - {name: a, file: x}\n  - {name: a, file: y}",
            "g.yaml:5: the mandatory list 'a' is given twice",
        ),
        (LEAST + "lists: {mandatory: [{name: a, file: ''}]}", "g.yaml:2: the mandatory list 'a' needs a file"),
    ],
)
def test_one_problem(text: str, expected: str) -> None:
    (problem,) = problems_of(text)
    assert problem.startswith(expected)


def test_names_are_fine_where_something_resolves_them() -> None:
    named = parse_config("upstreams: {servers: ['tls://a.example'], bootstrap: [192.0.2.1]}", "g.yaml").upstreams
    assert [(upstream.host, upstream.port) for upstream in named.servers] == [("a.example", 853)]
    beside = parse_config("upstreams: {servers: ['127.0.0.1:5353']}", "g.yaml").upstreams  # another program here
    assert [(upstream.host, upstream.port) for upstream in beside.servers] == [("127.0.0.1", 5353)]


def test_all_problems_come_in_one_go_in_file_order() -> None:
    text = "dns:\n  listen: [localhost]\n  clients: []\nupstream:\n  servers: []\nweb:\n  listen: [1]\n"
    text += "filter: {enabled: yes, wan: [lo]}\n"
    assert [problem.split(":")[1] for problem in problems_of(text + LEAST)] == ["2", "3", "4", "7", "8"]


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
