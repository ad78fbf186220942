"""LuCI's page of Guardian: it shows the health of a real gateway, in three languages, and asks for nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.openwrt.buildroot import FEED, ROOT, load_json
from tests.gateway.product import run_guardian, running

APP = FEED / "luci-app-guardian"
PAGE = APP / "htdocs" / "luci-static" / "resources" / "view" / "guardian" / "overview.js"
ACL = APP / "root" / "usr" / "share" / "rpcd" / "acl.d" / "luci-app-guardian.json"
MENU = APP / "root" / "usr" / "share" / "luci" / "menu.d" / "luci-app-guardian.json"
LANGUAGES = ("ro", "ru")
_ENTRY = re.compile(r'^msgid ((?:".*"\n)+)msgstr ((?:".*"\n?)+)', re.MULTILINE)


def read_catalogue(path: Path) -> dict[str, str]:
    """Return the texts of a .po file; those of its head under ""."""

    def join(lines: str) -> str:
        return "".join(json.loads(line) for line in lines.splitlines())

    return {join(found[1]): join(found[2]) for found in _ENTRY.finditer(path.read_text(encoding="utf-8"))}


def page_texts() -> set[str]:
    """Return the texts that the page has translated, and the one of its ACL."""
    found = re.findall(r"_\('((?:[^'\\]|\\.)*)'\)", PAGE.read_text(encoding="utf-8"))
    (acl,) = load_json(ACL).values()
    return {text.replace("\\'", "'") for text in found} | {acl["description"]}


def words_in(language: str) -> dict[str, str]:
    if language == "en":
        return {text: text for text in page_texts()}
    return read_catalogue(APP / "po" / language / "guardian.po")


def show(health: list[Any], language: str = "en", uci: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what the page shows: at first, and after it asked once more."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not there: the page cannot be run")
    given = {"page": str(PAGE), "health": health, "words": words_in(language)}
    done = subprocess.run(
        [node, str(Path(__file__).with_name("luci_page.mjs"))],
        input=json.dumps(given | {"uci": {"web": {"listen": ["br-lan:8080"]}} if uci is None else uci}),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


@pytest.fixture(scope="module")
def healths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The health of a gateway that runs, and of one that has ended."""
    folder = tmp_path_factory.mktemp("gateway")
    with running(folder, {"upstreams": {"servers": ["127.0.0.1:1"]}}) as gateway:
        up = json.loads(gateway.run("status", "--health").stdout)
        config = str(gateway.config)
    down = json.loads(run_guardian("status", "--health", "--config", config, cwd=folder).stdout)
    return up, down


def test_it_shows_a_gateway_that_runs_and_one_that_has_ended(healths: tuple[Any, Any]) -> None:
    up, down = healths
    made = show([up, down])
    assert up["version"] in made["first"]["texts"]
    assert "It does not run. Names may be unfiltered." not in made["first"]["texts"]
    assert "switched off: DNS only" in made["first"]["texts"]
    assert "It does not run. Names may be unfiltered." in made["then"]["texts"]
    assert "The filter does not run." in made["then"]["texts"]
    assert made["saves"] is None, "nothing is set here"


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_every_problem_and_state_has_its_text(healths: tuple[Any, Any], language: str) -> None:
    fields = load_json(ROOT / "deploy" / "isp" / "health.schema.json")["properties"]
    codes = [code for code in fields["problem"]["enum"] if code]
    assert set(codes) <= set(fields["problems"]["items"]["enum"])
    bare = show([healths[0] | {"problems": [], "state": "ok"}] * 2, language)["first"]["texts"]
    sick = healths[0] | {"problems": codes, "state": "attention"}
    shown = show([sick, sick], language)["first"]["texts"]
    assert not set(codes) & set(shown), "a code, where a sentence should stand"
    assert len(shown) == len(bare) + len(codes)
    for state in fields["feed"]["properties"]["state"]["enum"]:
        one = healths[0] | {"feed": healths[0]["feed"] | {"state": state}}
        assert language == "en" or state not in show([one, one], language)["first"]["texts"], "a word of the program"


@pytest.mark.parametrize("answer", [None, "broken", {"schema": 2}])
def test_without_an_answer_it_says_so(answer: Any) -> None:
    made = show([answer, answer])
    assert "Guardian gives no answer." in made["first"]["texts"]


@pytest.mark.parametrize(
    ("uci", "link"),
    [
        ({"web": {"listen": ["br-lan:8080"]}}, ["http://192.168.1.1:8080/"]),
        ({"web": {"listen": "[fd00::1]:8081"}}, ["http://192.168.1.1:8081/"]),
        ({"web": {"listen": ["br-lan:8443"]}, "web_tls": {"enabled": "1"}}, ["https://192.168.1.1:8443/"]),
        ({"web": {"listen": []}}, []),
        ({}, []),
    ],
)
def test_it_leads_to_the_console(uci: dict[str, Any], link: list[str]) -> None:
    assert show([None, None], uci=uci)["first"]["links"] == link


def test_an_old_version_is_told(healths: tuple[Any, Any]) -> None:
    old = healths[0] | {"needs_update": True, "minimum_version": "9.1"}
    assert "The hotline asks for version 9.1 or newer: ask your provider." in show([old, old])["first"]["texts"]


def test_its_rights_are_to_read_the_health_and_the_settings() -> None:
    (rights,) = load_json(ACL).values()
    assert rights.keys() == {"description", "read"}
    assert rights["read"] == {"ubus": {"guardian": ["health"]}, "uci": ["guardian"]}
    assert all(word not in PAGE.read_text() for word in ("fs.", "ui.", "uci.set", "uci.save", "innerHTML"))


def test_the_menu_leads_to_the_page() -> None:
    ((address, entry),) = load_json(MENU).items()
    assert address.startswith("admin/services/")
    assert (APP / "htdocs/luci-static/resources/view" / f"{entry['action']['path']}.js") == PAGE
    assert entry["depends"]["acl"] == list(load_json(ACL))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_translations_are_whole(language: str) -> None:
    made = words_in(language)
    head = made.pop("")
    assert f"Language: {language}\n" in head and "charset=UTF-8" in head and "nplurals=3" in head
    assert set(made) == page_texts() == set(read_catalogue(APP / "po" / "templates" / "guardian.pot")) - {""}
    for text, translated in made.items():
        assert translated, text
        assert re.findall(r"%\w", text) == re.findall(r"%\w", translated)
        assert text[-1] != "." or translated.endswith("."), text
