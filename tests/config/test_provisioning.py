"""The provider's file: what it gives holds over the home's settings, in YAML and UCI, and both places are told."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import LANGUAGES, Config, MandatoryList, Strategy, load_config, load_settings, parse_settings
from guardian.config.provisioning import ClaimPolicy, Provisioning, load_provisioning
from guardian.errors import ConfigError
from tests.fuzz.driver import fuzz, mutate_text

WHOLE = """\
provider: Telecom Plus
support: Telecom Plus, 1181
languages: [ru, ro]
claim_code: {policy: label, file: claim}
upstreams:
  servers: ["tls://dns.example@192.0.2.1?ca=ca.pem", 192.0.2.2]
  strategy: race
lists:
  mandatory:
    - {name: national, file: national.txt}
hotline:
  url: https://feed.example/
  root: root.json
  lists: [csam-md]
  push: {broker: "mqtts://push.example", user: u, password: pw}
reports: https://hotline.example/r
"""
LEAST = "provider: P\n"


@pytest.fixture
def isp(tmp_path: Path) -> Path:
    (tmp_path / "isp").mkdir()
    return write(tmp_path, WHOLE)


def write(folder: Path, text: str) -> Path:
    path = folder / "isp" / "provisioning.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def read(folder: Path, text: str) -> tuple[Config, list[str]]:
    """The settings that a home's lines come to under the provider's file, and the notes, without the folder."""
    head = "config guardian 'main'\n option provisioning isp/provisioning.yaml\n" if "config " in text else ""
    head = head or "provisioning: isp/provisioning.yaml\n"
    config, _, notes = parse_settings(head + text, str(folder / "home"))
    return config, [str(note).replace(f"{folder}/", "") for note in notes]


def test_all_of_it_holds_for_a_home_that_says_nothing(isp: Path, tmp_path: Path) -> None:
    config, notes = read(tmp_path, "state: s\n")
    folder = str(isp.parent)
    assert notes == []
    assert (config.provider, config.languages, config.language) == ("Telecom Plus", ("ru", "ro"), "ru")
    assert (config.block.support, config.web.reports) == ("Telecom Plus, 1181", "https://hotline.example/r")
    assert config.web.claim_code == f"{folder}/claim"
    assert [upstream.label for upstream in config.upstreams.servers] == ["tls://dns.example:853", "udp://192.0.2.2:53"]
    assert config.upstreams.servers[0].ca_file == f"{folder}/ca.pem"
    assert config.upstreams.strategy is Strategy.RACE
    assert config.lists.mandatory == (MandatoryList("national", f"{folder}/national.txt", "Telecom Plus"),)
    hotline = config.hotline
    assert (hotline.url, hotline.root, hotline.lists) == ("https://feed.example/", f"{folder}/root.json", ("csam-md",))
    assert (hotline.push.user, hotline.push.password) == ("u", f"{folder}/pw")
    assert (config.state, config.provisioning) == (str(tmp_path / "s"), str(isp))


HOME_YAML = """\
language: en
block: {support: Uncle Bob}
upstreams: {servers: [192.0.2.9], strategy: race, timeout: 1}
lists:
  fetch_hours: 7
  mandatory:
    - {name: mine, file: mine.txt}
    - {name: national, file: /dev/null}
web:
  claim_code: ""
  listen: [br-lan]
hotline:
  url: https://feed.example/
  poll_hours: 100
"""
HOME_UCI = """\
config block
 option support 'Uncle Bob'
config upstreams
 list servers 192.0.2.9
 option strategy race
 option timeout 1
config lists
 option fetch_hours 7
config mandatory
 option name mine
 option file mine.txt
config mandatory
 option name national
 option file /dev/null
config web
 list listen br-lan
 option claim_code /dev/null
config hotline
 option url https://feed.example/
 option poll_hours 100
"""


def test_what_a_home_says_otherwise_does_not_hold_and_is_told(isp: Path, tmp_path: Path) -> None:
    config, notes = read(tmp_path, HOME_YAML)
    assert notes == [
        "home:2: 'language' does not hold: Telecom Plus sets it in isp/provisioning.yaml:3",
        "home:3: 'block.support' does not hold: Telecom Plus sets it in isp/provisioning.yaml:2",
        "home:4: 'upstreams.servers' does not hold: Telecom Plus sets it in isp/provisioning.yaml:6",
        "home:9: 'lists.mandatory.national' does not hold: Telecom Plus sets it in isp/provisioning.yaml:10",
        "home:11: 'web.claim_code' does not hold: Telecom Plus sets it in isp/provisioning.yaml:4",
        "home:15: 'hotline.poll_hours' does not hold: Telecom Plus sets it in isp/provisioning.yaml:11",
    ]
    assert (config.language, config.block.support) == ("ru", "Telecom Plus, 1181")
    assert len(config.upstreams.servers) == 2 and config.upstreams.timeout == 1
    assert [(entry.name, entry.provider) for entry in config.lists.mandatory] == [
        ("national", "Telecom Plus"),
        ("mine", ""),
    ]
    assert config.lists.mandatory[0].file == f"{isp.parent}/national.txt"
    assert config.lists.mandatory[1].file == str(tmp_path / "mine.txt")
    assert config.lists.fetch_hours == 7 and config.hotline.poll_hours == 6
    assert config.web.listen[0].host == "br-lan" and config.web.claim_code.endswith("isp/claim")


def test_the_same_in_uci(isp: Path, tmp_path: Path) -> None:
    config, notes = read(tmp_path, HOME_UCI)
    assert [note.partition(" does")[0] for note in notes] == [
        "home:4: 'block.support'",
        "home:6: 'upstreams.servers'",
        "home:14: 'lists.mandatory.national'",
        "home:19: 'web.claim_code'",
        "home:22: 'hotline.poll_hours'",
    ]
    assert config.hotline.url == "https://feed.example/" and config.upstreams.strategy is Strategy.RACE


def test_a_home_that_says_the_same_is_told_nothing(isp: Path, tmp_path: Path) -> None:
    text = "language: ro\nlanguages: [ru, ro]\nprovider: Telecom Plus\nweb: {reports: https://hotline.example/r}\n"
    text += "block:\nhotline:\nlists: {mandatory: }\n"
    config, notes = read(tmp_path, text)
    assert (notes, config.language) == ([], "ro")


def test_what_the_provider_leaves_out_is_the_homes(tmp_path: Path) -> None:
    write(tmp_path, LEAST)
    config, notes = read(tmp_path, HOME_YAML.replace("  poll_hours: 100\n", "  root: r\n"))
    assert notes == [] and config.languages == LANGUAGES
    assert (config.language, config.block.support, config.upstreams.strategy) == ("en", "Uncle Bob", Strategy.RACE)
    assert len(config.lists.mandatory) == 2 and config.hotline.root == str(tmp_path / "r")


def test_a_code_that_is_made_takes_no_label_of_the_home(tmp_path: Path) -> None:
    write(tmp_path, LEAST + "claim_code: {policy: made}\n")
    config, notes = read(tmp_path, "upstreams: {servers: [192.0.2.1]}\nweb: {claim_code: /etc/label}\n")
    assert config.web.claim_code == "" and notes[0].startswith("home:3: 'web.claim_code' does not hold: P sets it")


def test_a_list_of_languages_decides_the_default(tmp_path: Path) -> None:
    write(tmp_path, LEAST + "languages: [en]\nupstreams: {servers: [192.0.2.1]}\n")
    assert read(tmp_path, "state: s\n")[0].language == "en"
    with pytest.raises(ConfigError, match=r"home:2: 'language': 'de' is none of ro, ru, en"):
        read(tmp_path, "language: de\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("support: x\n", "1: the key 'provider' is missing"),
        ("provider: ''\n", "1: 'provider' is empty"),
        ("providr: x\n" + LEAST, "1: unknown key 'providr', did you mean 'provider'?"),
        (LEAST + "languages: []\n", "2: 'languages' is empty"),
        (LEAST + "languages: [ro, de]\n", "2: 'languages': 'de' is none of ro, ru, en"),
        (LEAST + 'support: "a\\nb"\n', "2: 'support': holds a line break"),
        (LEAST + f"support: {'x' * 201}\n", "2: 'support': is longer than 200 characters"),
        (LEAST + "claim_code: {policy: label}\n", "2: 'policy: label' needs 'file'"),
        (LEAST + "claim_code:\n  policy: made\n  file: x\n", "4: 'file' is for 'policy: label'"),
        (LEAST + "claim_code: {policy: labl}\n", "2: 'policy': 'labl' is none of label, made, did you mean 'label'?"),
        (LEAST + "claim_code: label\n", "2: 'claim_code': must be a mapping of keys to values"),
        (LEAST + "upstreams: {servers: []}\n", "2: 'servers' is empty"),
        (LEAST + "upstreams:\n  servers: [x y]\n", "3: 'servers': 'x y' is not an IP address"),
        (LEAST + "upstreams: {bootstrap: []}\n", "2: 'upstreams': unknown key 'bootstrap'"),
        (LEAST + "lists:\n  mandatory: [{name: a, file: ''}]\n", "3: the mandatory list 'a' needs a file"),
        (LEAST + "lists: {mandatory: [{name: a, file: x, provider: y}]}\n", "2: 'provider' of a list is you"),
        (LEAST + "hotline: {url: 'https://x.example'}\n", "2: 'url' needs 'root' beside it"),
        (LEAST + "reports: http://x.example\n", "2: 'reports': 'http://x.example' is not an address like"),
        ("[]", "1: must be a mapping"),
        ("x: [", "1: not YAML"),
    ],
)
def test_its_problems_have_its_lines(text: str, expected: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "upstreams: {servers: [192.0.2.1]}\n")
    found = [str(problem) for problem in caught.value.problems]
    assert any(problem.startswith(f"{path}:{expected}") for problem in found), found
    with pytest.raises(ConfigError):
        load_provisioning(str(path))


def test_what_both_files_come_to_together_has_the_place_of_either(tmp_path: Path) -> None:
    path = write(tmp_path, LEAST + "upstreams:\n  servers: ['tls://dns.example']\n")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "dns:\n  clients: []\nblock: 7\n")
    assert [str(problem).partition(": ")[0] for problem in caught.value.problems] == [
        f"{tmp_path}/home:3",
        f"{tmp_path}/home:4",
        f"{path}:3",
    ]
    assert "has no address" in str(caught.value)
    named = "upstreams: {bootstrap: [192.0.2.1]}\n"
    assert read(tmp_path, named)[0].upstreams.servers[0].host == "dns.example"


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"home:1: 'provisioning': .*/isp/provisioning.yaml is not there"):
        read(tmp_path, "upstreams: {servers: [192.0.2.1]}\n")
    with pytest.raises(ConfigError, match=r"home:2: 'provisioning': .* is not there"):
        read(tmp_path, "config upstreams\n list servers 192.0.2.1\n")


def test_the_packaged_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, other, path = tmp_path / "guardian.yaml", tmp_path / "other.yaml", tmp_path / "provisioning.yaml"
    monkeypatch.setattr("guardian.config.provisioning.PACKAGED", (str(home),))
    monkeypatch.setattr("guardian.config.provisioning.DEFAULT_PROVISIONING", str(path))
    for settings in (home, other):
        settings.write_text("upstreams: {servers: [192.0.2.1]}\n")
    assert load_config(str(home)).provider == ""
    path.write_text(LEAST)
    assert (load_config(str(home)).provider, load_config(str(other)).provider) == ("P", "")
    monkeypatch.chdir(tmp_path)
    assert load_settings("guardian.yaml").config.provisioning == str(path)
    home.write_text("provisioning: mine.yaml\nupstreams: {servers: [192.0.2.1]}\n")
    (tmp_path / "mine.yaml").write_text("provider: Q\n")
    assert load_config(str(home)).provider == "Q"


def test_policies() -> None:
    assert [policy.value for policy in ClaimPolicy] == ["label", "made"]


@given(st.lists(st.sampled_from(range(6)), unique=True))
def test_the_provider_always_wins(tmp_path_factory: pytest.TempPathFactory, chosen: list[int]) -> None:
    """Whatever parts a home has written: what the provider's file gives is what holds."""
    folder = tmp_path_factory.mktemp("home")
    write(folder, WHOLE)
    blocks = ["language: en", "block: {support: x}", "upstreams: {servers: [192.0.2.9]}", "web: {claim_code: z}"]
    blocks += ["hotline: {url: 'http://other.example', root: o}", "lists: {mandatory: [{name: national, file: q}]}"]
    config, notes = read(folder, "state: s\n" + "".join(f"{blocks[index]}\n" for index in chosen))
    alone, none = read(folder, "state: s\n")
    assert config == alone and none == []
    assert len(notes) >= len(chosen)


def test_any_pair_of_files_is_a_config_or_problems(tmp_path: Path) -> None:
    def check(data: bytes) -> None:
        theirs, _, mine = data.partition(b"\n===\n")
        path = write(tmp_path, "")
        path.write_bytes(theirs)
        text = "provisioning: isp/provisioning.yaml\n" + mine.decode("latin-1")
        with contextlib.suppress(ConfigError):
            config, _, notes = parse_settings(text, str(tmp_path / "home"))
            assert isinstance(config, Config)
            assert all(note.where.startswith(str(tmp_path)) for note in notes)

    seeds = [f"{WHOLE}\n===\n{HOME_YAML}".encode(), f"{LEAST}\n===\nupstreams: {{servers: [192.0.2.1]}}\n".encode()]
    extra = [b"hotline: x", b"lists: []", b"- a", b"  mandatory: [{}, 1, [x]]", b": ", b"null", b"? [a]\n: b", b"!!x y"]
    extra += [b"upstreams:\n  servers: {a: b}", b"web: {claim_code: []}", b"language: [ro]", b"\n===\n"]
    fuzz(check, seeds, mutate_text(extra), count=1200)


def test_the_manuals_example_is_right(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    text = next(block for block in manual.split("```") if block.startswith("yaml\nprovider: Telecom Plus"))
    given = load_provisioning(str(write(tmp_path, text.removeprefix("yaml\n")))).value
    assert given.claim_code is not None and given.claim_code.policy is ClaimPolicy.LABEL
    keys = {spec.name for spec in dataclasses.fields(Provisioning)}
    assert all(f"`{key}" in manual for key in keys)
