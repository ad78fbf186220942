"""UCI -> the same settings as YAML says, every problem in UCI's words at its line."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import Config, Endpoint, load_config, parse_config
from guardian.config.uci_tree import list_shapes
from guardian.errors import ConfigError
from tests.config.uci_writer import write_uci
from tests.fuzz.driver import fuzz, mutate_text

LEAST = "config upstreams\n\tlist servers 192.0.2.1\n"
# One valid value of each key, as YAML has it; lists have two where two are allowed.
EVERY_KEY: dict[str, Any] = {
    "state": "s",
    "household": "h.yaml",
    "language": "EN",
    "log_level": "debug",
    "provider": "Telecom 'Plus'; #1",
    "languages": ["ru", "en"],
    "dns": {
        "listen": ["127.0.0.1:5300", "[::1]:5300", "br-lan"],
        "clients": ["10.0.0.0/8"],
        "rate_limit": 0,
        "table_entries": 20000,
        "cache_bytes": "8MB",
        "min_ttl": 5,
        "max_ttl": "1h",
        "serve_stale": 0,
        "prefetch": False,
        "rebinding_protection": False,
        "rebinding_allowed": ["plex.direct", "x.example"],
    },
    "upstreams": {
        "servers": ["tls://a.example@192.0.2.1?ca=ca.pem", "192.0.2.7"],
        "strategy": "race",
        "timeout": 2.5,
        "bootstrap": ["192.0.2.2"],
    },
    "forward": [
        {"domain": "Lan.", "upstreams": ["192.0.2.3:54"]},
        {"domain": "corp.example", "upstreams": ["192.0.2.4", "192.0.2.5"]},
    ],
    "local": {
        "name": "box.home.arpa",
        "addresses": ["192.0.2.9"],
        "zone": "lan",
        "leases": ["leases"],
        "time_servers": ["ntp.provider.example"],
    },
    "block": {
        "mandatory": "nodata",
        "other": "null",
        "ttl": "1m",
        "page": ["192.0.2.9"],
        "support": "call \"us\", 'now'",
    },
    "lists": {
        "image": "i/x.image",
        "sources": "sources.yaml",
        "categories": ["gambling", "adult"],
        "mandatory": [{"name": "national", "file": "n.txt"}, {"name": "mine", "file": "m.txt", "provider": "P"}],
        "fetch_hours": 6,
    },
    "history": {"path": "/run/h.db", "snapshot": "h.db", "retention_days": 7, "size_mb": 8, "flush_seconds": "10s"},
    "control": {"socket": "/run/g.sock", "group": "guardian"},
    "web": {
        "listen": ["127.0.0.1:8081"],
        "clients": ["192.0.2.0/24"],
        "hosts": ["Router.LAN."],
        "claim_code": "label",
        "tls": {"enabled": True, "certificate": "c.pem", "key": "/k.pem"},
        "reports": "https://hotline.example/reports",
    },
    "hotline": {
        "url": "http://feed.example/x",
        "root": "root.json",
        "lists": ["csam-md"],
        "poll_hours": 2,
        "push": {
            "broker": "mqtts://push.example", "topic": "t", "user": "u", "password": "pw", "ca": "ca.pem",
            "certificate": "c.pem", "key": "k.pem",
        },
    },
    "filter": {
        "enabled": True, "lan": ["br-lan", "wlan0.2"], "wan": ["eth0"], "on_failure": "closed", "quic": "inspect",
        "queue": 0, "offload": True,
    },
}  # fmt: skip
EMPTIABLE = {("web", "listen"), ("rebinding_allowed",), ("dns", "rebinding_allowed"), ("filter", "lan")}


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "g")
    return [str(problem) for problem in caught.value.problems]


def subtrees(tree: Any, path: tuple[str, ...] = ()) -> st.SearchStrategy[Any]:
    """Parts of `tree`: each key may be left out, each list be shorter."""
    if isinstance(tree, dict):
        required = {"servers", "upstreams", "domain", "name", "file"} & set(tree)
        parts = {key: subtrees(value, (*path, key)) for key, value in tree.items()}
        return st.fixed_dictionaries(
            {key: parts[key] for key in parts if key in required},
            optional={key: parts[key] for key in parts if key not in required},
        )
    if isinstance(tree, list):
        least = 0 if path in EMPTIABLE else 1
        return st.lists(st.sampled_from(range(len(tree))), min_size=least, max_size=len(tree), unique=True).map(
            lambda kept: [tree[index] for index in sorted(kept)]
        )
    return st.just(tree)


@given(subtrees(EVERY_KEY))
def test_uci_says_what_yaml_says(tree: dict[str, Any]) -> None:
    def outcome(text: str, file: str) -> Config | set[str]:
        try:
            return parse_config(text, file)
        except ConfigError as error:  # parts that need each other
            return {problem.message for problem in error.problems}

    written = outcome(yaml.safe_dump(tree, allow_unicode=True), "/etc/g/guardian.yaml")
    assert outcome(write_uci(tree), "/etc/g/guardian") == written


def test_the_property_covers_every_key() -> None:
    config = parse_config(write_uci(EVERY_KEY), "/etc/g/guardian")
    plain = parse_config(LEAST, "/etc/g/guardian")
    same = []

    def compare(value: Any, default: Any, place: str) -> None:
        for spec in dataclasses.fields(value):
            mine, other = getattr(value, spec.name), getattr(default, spec.name)
            if dataclasses.is_dataclass(mine) and type(mine) is type(other):
                compare(mine, other, f"{place}{spec.name}.")
            elif mine == other:
                same.append(f"{place}{spec.name}")

    compare(config, plain, "")
    assert same == ["provisioning"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config dns\n\tlist listn x", "g:4: 'dns': unknown list 'listn', did you mean 'list"),
        ("config dns\n\toption listn x", "g:4: 'dns': unknown option 'listn', did you mean 'list listen'?"),
        ("config dsn\n", "g:3: unknown section 'config dsn', did you mean 'config dns'?"),
        ("config interface 'lan'\n", "g:3: unknown section 'config interface' (known: guardian, "),
        ("config dns\n\toption servers x", "g:4: 'dns': unknown option 'servers': it belongs into 'config up"),
        ("config web\n\toption tls 1", "g:4: 'web': unknown option 'tls': it is a section of its own, 'config"),
        ("config dns\n\nconfig dns 'x'\n", "g:5: 'config dns' is there already (line 3): put both together"),
        ("config guardian\n\toption state /x", "g:3: this section needs its name: config guardian 'main'"),
        ("config guardian 'main'\n\tlist state /x", "g:4: 'state' has one value: write 'option state', not"),
        (
            "config guardian 'main'\n\toption state /x\n\toption state /y",
            "g:5: 'option state' is given twice (first on line 4)",
        ),
        (
            "config dns\n\toption listen 127.0.0.1\n\tlist listen ::1",
            "g:5: 'listen' is a list: write 'list listen' for each of its values",
        ),
        ("config dns\n\toption prefetch maybe", "g:4: 'prefetch': 'maybe' is neither yes nor no"),
        ("config dns\n\tlist listen 127.0.0.1\n\tlist listen 'x y'", "g:5: 'listen': 'x y' is neither"),
        ("config dns\n\toption rate_limit x", "g:4: 'rate_limit': 'x' is not a whole number"),
        ("config block\n\toption other nul", "g:4: 'other': 'nul' is none of page, nxdomain, nodata, null"),
        ("config forward\n\toption domain lan", "g:3: 'forward': 'list upstreams' is missing"),
        ("config mandatory\n\toption name x\nconfig mandatory\n\toption name y\n\toption file f", "g:3: 'mand"),
        ("config mandatory\n\toption name x\n\toption file f\n" * 2, "g:6: the mandatory list 'x' is given"),
        ("config web_tls\n\toption key k", "g:4: 'key' needs 'certificate' beside it"),
        ("config hotline_push\n\toption broker mqtts://x", "g:3: 'push' tells of a feed that is not there"),
        ("config guardian 'main'\n\toption enabled si", "g:4: 'enabled': 'si' is none of 0, 1, disabled"),
        ("config guardian 'main'\n\toption mode middle", "g:4: 'mode': 'middle' is none of behind, front"),
        ("config filter\n\toption enabled 1\n\toption lan a", "g:4: the flow filter stands between 'wan'"),
        ("config dns\n\toption listen none", "g:4: 'listen' is empty: nobody could ask"),
    ],
)  # fmt: skip
def test_one_problem(text: str, expected: str) -> None:
    (problem,) = problems_of(LEAST + text)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config dns\n", "g:1: the section 'config upstreams' is missing"),
        ("config upstreams\n", "g:1: 'upstreams': 'list servers' is missing"),
    ],
)
def test_what_is_missing(text: str, expected: str) -> None:
    assert problems_of(text) == [expected]


def test_all_problems_come_in_one_go_in_file_order() -> None:
    text = "config dns\n list listen localhost\n option clint x\nconfig upstreams\nconfig x\nconfig web\n"
    text += " option listen 'a'b\n option x-y z\n"
    assert [problem.split(":")[1] for problem in problems_of(text)] == ["2", "3", "4", "5", "8"]
    assert problems_of(text + " option quote 'never ends\nx\n")[-1].startswith("g:9: the quote ' that begins")


@pytest.mark.parametrize("word", ["1", "on", "yes", "true", "enabled", "On", "TRUE"])
def test_yes(word: str) -> None:
    assert parse_config(LEAST + f"config web_tls\n option enabled {word}", "g").web.tls.enabled


@pytest.mark.parametrize("word", ["0", "off", "no", "false", "disabled", "No"])
def test_no(word: str) -> None:
    assert not parse_config(LEAST + f"config dns\n option prefetch {word}", "g").dns.prefetch


def test_what_is_lenient() -> None:
    config = parse_config(
        "# made by hand\npackage guardian\nconfig guardian 'main'\n option enabled 0; option mode front\n"
        " option state ''\nconfig upstreams 'upstreams'\n option servers 192.0.2.1\nconfig web\n"
        " option listen 'none'\n option claim_code\n",
        "/etc/config/guardian",
    )
    assert (config.state, config.web.listen, config.web.claim_code) == ("/var/lib/guardian", (), "")
    assert len(config.upstreams.servers) == 1
    inner_first = parse_config("config web_tls\n option enabled 1\nconfig web\n list listen br-lan:80\n" + LEAST, "g")
    assert inner_first.web.tls.enabled and inner_first.web.listen == (Endpoint("br-lan", 80),)


def test_a_file_of_openwrt_is_uci_whatever_it_begins_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("guardian.config.read.UCI_FOLDER", str(tmp_path))
    (tmp_path / "guardian").write_text("# nothing yet\n")
    with pytest.raises(ConfigError, match="the section 'config upstreams' is missing"):
        load_config(str(tmp_path / "guardian"))
    (tmp_path / "guardian").write_text("confg x\n")
    with pytest.raises(ConfigError, match="'confg' is no command of a settings file"):
        load_config(str(tmp_path / "guardian"))


def test_no_two_sections_have_one_name() -> None:
    shapes = list_shapes(Config)
    assert {"guardian", "dns", "forward", "mandatory", "web_tls", "hotline_push"} <= set(shapes)


def test_any_file_is_a_config_or_its_problems_have_lines_of_it() -> None:
    def check(data: bytes) -> None:
        text = "config dns\n" + data.decode("latin-1")
        last = text.count("\n") + 1
        with contextlib.suppress(ConfigError):
            try:
                assert isinstance(parse_config(text, "g"), Config)
            except ConfigError as error:
                assert error.problems
                assert all(1 <= int(problem.where.removeprefix("g:")) <= last for problem in error.problems)
                raise

    whole = write_uci(EVERY_KEY).encode()
    seeds = [*(part.encode() for part in (LEAST, "config forward\n\toption domain x\n")), whole[:4000], whole[1500:]]
    extra = [b"config web_tls", b"config forward", b"list listen ::1", b"option listen none", b"'", b"\\", b"#", b";"]
    fuzz(check, seeds, mutate_text(extra), count=1500)


def test_the_manuals_example_is_right() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    text = next(block for block in manual.split("```") if block.startswith("\nconfig guardian 'main'"))
    config = parse_config(text, "/etc/config/guardian.example")
    assert config.block.page == (Endpoint("br-lan", 80),) and config.history.path == "/tmp/guardian/history.db"
    assert set(list_shapes(Config)) == {line.split()[1] for line in text.splitlines() if line.startswith("config ")}
