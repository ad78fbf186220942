"""Checks that span keys: each problem once, at its line, all in one go."""

from __future__ import annotations

import pytest

from guardian.config import parse_config
from guardian.errors import ConfigError

LEAST = "upstreams: {servers: [192.0.2.1]}\n"


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "g.yaml")
    return [str(problem) for problem in caught.value.problems]


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


def test_languages() -> None:
    assert parse_config(LEAST + "languages: [en, ro]", "g.yaml").language == "en"
    assert parse_config(LEAST + "languages: [en, ro]\nlanguage: ro", "g.yaml").language == "ro"
    assert problems_of(LEAST + "languages: [en, ro]\nlanguage: ru") == ["g.yaml:3: 'ru' is none of 'languages': en, ro"]
    assert problems_of(LEAST + "languages: []") == [
        "g.yaml:2: 'languages' is empty: pages need one; leave it out for all"
    ]


def test_an_interface_is_no_loop_and_may_be_taken_once() -> None:
    parse_config(LEAST + "dns: {listen: [br-lan]}\nblock: {page: [br-lan], other: page}\nweb: {listen: [br-lan]}", "g")
    text = LEAST + "dns: {listen: ['br-lan:80']}\nblock:\n  page: [br-lan]"
    assert problems_of(text) == ["g.yaml:4: 'br-lan:80' is already taken by 'dns.listen'"]
