"""The console's pages: texts complete in three languages, types as the API has them, nothing against the server's
policy, small enough for a slow router; and the front end's own tests.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WEBUI = ROOT / "webui"
SOURCE = WEBUI / "src"
LOCALE = SOURCE / "locale"
STATIC = ROOT / "guardian" / "web" / "static"
LANGUAGES = ("en", "ro", "ru")
PLURAL_FORMS = {"en": {"one", "other"}, "ro": {"one", "few", "other"}, "ru": {"one", "few", "many"}}
SECTIONS = sorted(path.stem for path in (LOCALE / "en").glob("*.json"))
FIRST_LOAD_BYTES = 150 * 1024
KEY = re.compile(r"[a-z]+(\.[\w-]+)+")


def read_texts(language: str, section: str) -> dict[str, Any]:
    """Return a catalogue as it is written; a key twice is a failure."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), sorted(key for key in keys if keys.count(key) > 1)
        return dict(pairs)

    text = (LOCALE / language / f"{section}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text, object_pairs_hook=unique)
    return found


def list_sources() -> list[Path]:
    """Return what the pages are made of, without their tests and catalogues."""
    return [
        path
        for path in sorted(SOURCE.rglob("*"))
        if path.suffix in (".ts", ".svelte")
        and not path.name.endswith((".test.ts", ".d.ts"))
        and LOCALE not in path.parents
    ]


def list_forms(text: Any) -> list[str]:
    return [text] if isinstance(text, str) else list(text.values())


def list_values(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


# Texts


def test_every_language_has_the_same_sections() -> None:
    assert len(SECTIONS) >= 11
    for language in LANGUAGES:
        assert sorted(path.stem for path in (LOCALE / language).glob("*.json")) == SECTIONS


@pytest.mark.parametrize("section", SECTIONS)
def test_every_language_has_the_same_keys_and_values(section: str) -> None:
    texts = {language: read_texts(language, section) for language in LANGUAGES}
    for language in ("ro", "ru"):
        assert sorted(texts[language]) == sorted(texts["en"]), f"{language}/{section}.json"
    for key, english in texts["en"].items():
        wanted = set().union(*map(list_values, list_forms(english)))
        for language in LANGUAGES:
            text = texts[language][key]
            where = f"{language} {key}"
            assert isinstance(text, str) == isinstance(english, str), f"{where}: plural in one language only"
            for form in list_forms(text):
                assert form and form == form.strip(), f"{where}: empty, or with spaces around it"
                # "one" may say it in words; nothing else may leave a value out.
                assert list_values(form) <= wanted, f"{where}: {form}"
            assert set().union(*map(list_values, list_forms(text))) == wanted, where
            if not isinstance(text, str):
                assert set(text) == PLURAL_FORMS[language], f"{where}: {sorted(text)}"
                assert wanted, f"{where}: plural forms without a number"


def test_no_key_stands_in_two_sections() -> None:
    seen: dict[str, str] = {}
    for section in SECTIONS:
        for key in read_texts("en", section):
            assert key not in seen, f"{key} in {seen[key]} and {section}"
            seen[key] = section


def test_every_section_is_loaded() -> None:
    for language in LANGUAGES:
        main = (LOCALE / f"{language}.ts").read_text() + (LOCALE / f"child.{language}.ts").read_text()
        for section in SECTIONS:
            assert f"'./{language}/{section}.json'" in main, f"{language}.ts lacks {section}"


@pytest.mark.parametrize("language", ["ro", "ru"])
def test_texts_are_translated(language: str) -> None:
    """A text with words in it is not the English one; names and units may be."""
    same = []
    for section in SECTIONS:
        english = read_texts("en", section)
        for key, text in read_texts(language, section).items():
            for form, other in zip(list_forms(text), list_forms(english[key]), strict=False):
                words = re.findall(r"[^\W\d_]{3,}", re.sub(r"\{\w+\}", "", form))
                if form == other and len(words) > 2:
                    same.append(f"{key}: {form}")
    assert not same
    if language == "ru":
        return
    old = [
        key for section in SECTIONS for key, text in read_texts("ro", section).items() if re.search("[şţŞŢ]", str(text))
    ]
    assert not old, "ș and ț have a comma below, not a cedilla"


def find_keys() -> tuple[set[str], list[re.Pattern[str]], dict[str, str]]:
    """Return all quoted texts of the sources, the patterns of their templates, and where each text stands."""
    quoted: dict[str, str] = {}
    patterns: dict[str, re.Pattern[str]] = {}
    for path in list_sources():
        source = path.read_text(encoding="utf-8")
        for found in re.finditer(r"'([\w.-]+)'|\"([\w.-]+)\"", source):
            quoted.setdefault(found[1] or found[2], str(path.relative_to(SOURCE)))
        for found in re.finditer(r"`([a-z]+(?:\.[\w-]*)*\$\{[^`]*)`", source):
            parts = re.split(r"\$\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}", found[1])
            if re.fullmatch(r"[a-z]+\.[\w.-]*", parts[0]) and all(re.fullmatch(r"[\w.-]*", part) for part in parts):
                patterns[found[1]] = re.compile(r"[\w.-]+?".join(map(re.escape, parts)))
    return set(quoted), list(patterns.values()), quoted


def test_every_used_key_exists_and_every_key_is_used() -> None:
    known = {key for section in SECTIONS for key in read_texts("en", section)}
    quoted, patterns, where = find_keys()
    families = {key.partition(".")[0] for key in known}
    missing = sorted(
        f"{where[text]}: {text}"
        for text in quoted
        if KEY.fullmatch(text) and text.partition(".")[0] in families and text not in known
    )
    assert not missing
    for pattern in patterns:
        if pattern.pattern.partition("\\.")[0] in families:
            assert any(pattern.fullmatch(key) for key in known), f"no key fits {pattern.pattern}"
    unused = sorted(
        key for key in known if key not in quoted and not any(pattern.fullmatch(key) for pattern in patterns)
    )
    assert not unused


def list_calls(name: str) -> Iterator[tuple[Path, ast.Call]]:
    """Yield all calls of a name, or of a method, in the console and the store."""
    for path in [*(ROOT / "guardian" / "web").rglob("*.py"), *(ROOT / "guardian" / "store").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and name == getattr(node.func, "id", getattr(node.func, "attr", "")):
                yield path, node


def test_every_error_code_of_the_box_has_words() -> None:
    known = set(read_texts("en", "common"))
    codes = {
        str(call.args[1].value)
        for _, call in list_calls("RefusalError")
        if len(call.args) > 1 and isinstance(call.args[1], ast.Constant)
    }
    assert {"wrong-password", "throttled", "conflict"} <= codes | {"conflict"} and len(codes) > 15
    assert sorted(code for code in codes if f"error.{code}" not in known) == []


def test_every_kind_of_journal_line_has_words() -> None:
    known = set(read_texts("en", "settings"))
    kinds = {
        str(call.args[2].value)
        for name in ("Entry", "note")
        for _, call in list_calls(name)
        if len(call.args) > 2 and isinstance(call.args[2], ast.Constant) and call.args[2].value
    } | {"pause", "resume", "bedtime", "request-granted", "request-refused"}
    assert {"bonus", "profile-changed", "restored"} <= kinds
    assert {
        "account-made", "account-changed", "account-removed", "token-made", "token-removed",
        "channel-added", "channel-removed", "console-changed",
    } <= kinds  # fmt: skip
    assert sorted(kind for kind in kinds if f"journal.{kind}" not in known) == []


def test_every_part_that_the_journal_names_has_words() -> None:
    from guardian.web.shapes.settings import ConsoleSettings

    known = set(read_texts("en", "settings"))
    parts = [*ConsoleSettings.__struct_fields__, "name", "role", "password"]  # of a person: guardian/web/api/session.py
    assert [part for part in parts if f"journal.part_{part}" not in known] == []


def test_countries_to_choose_from_are_those_with_helplines() -> None:
    helplines = yaml.safe_load((ROOT / "blocklists" / "helplines.yaml").read_text(encoding="utf-8"))["helplines"]
    countries = {each["country"] for each in helplines if each.get("country")}
    listed = re.search(r"= \[(.*)\]", (SOURCE / "lib" / "countries.ts").read_text())
    assert listed and set(re.findall(r"'(\w\w)'", listed[1])) == countries


# What the pages are made of


def test_the_types_are_made_of_the_api_as_it_is() -> None:
    from guardian.web.api import ENDPOINTS
    from guardian.web.openapi import build_document

    committed = json.loads((WEBUI / "openapi.json").read_text(encoding="utf-8"))
    assert committed == json.loads(json.dumps(build_document(ENDPOINTS))), "run scripts/build-webui --types"


def test_no_package_registry_is_named() -> None:
    """Packages come from wherever this machine gets them."""
    lock = json.loads((WEBUI / "package-lock.json").read_text(encoding="utf-8"))
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    assert all("integrity" in package for name, package in lock["packages"].items() if name)
    files = [path for path in WEBUI.rglob("*") if path.is_file() and "node_modules" not in path.parts]
    named = [path for path in files if re.search(rb"registry\.[a-z]", path.read_bytes())]
    assert not named


def test_nothing_breaks_the_servers_policy() -> None:
    """No HTML made of text, no inline style or script, nothing fetched from elsewhere."""
    for path in list_sources():
        source = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for wrong in ("{@html", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", ' style="', "eval("):
            assert wrong not in source, f"{path.relative_to(WEBUI)}: {wrong}"
    for name in ("index.html", "child.html"):
        page = (WEBUI / name).read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|(?:src|href)=\"(?!/)", page), name


# What a browser gets


@pytest.fixture(scope="module")
def built() -> Path:
    if not (STATIC / "index.html").exists():
        pytest.skip("the pages are not built (scripts/build-webui): there is no Node.js and no network here")
    return STATIC


def load(built: Path, *names: str) -> set[Path]:
    """Return files with all that they import at once."""
    found: set[Path] = set()
    waiting = [built / name for name in names]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            waiting += [built / name.lstrip("/") for name in re.findall(r'(?:src|href)="(/assets/[^"]+)"', text)]
        if path.suffix == ".js":
            waiting += [path.parent / name for name in re.findall(r'(?:from|import)\s*"\./([^"]+\.js)"', text)]
    return found


def measure(files: set[Path]) -> int:
    """Return the bytes of files as they travel."""
    return sum(Path(f"{path}.gz").stat().st_size for path in files)


def test_every_file_has_its_compressed_twin(built: Path) -> None:
    files = [path for path in built.rglob("*") if path.suffix in (".js", ".css", ".html", ".svg")]
    assert len(files) > 20
    for path in files:
        assert gzip.decompress(Path(f"{path}.gz").read_bytes()) == path.read_bytes(), path.name


@pytest.mark.parametrize("page", ["index.html", "child.html"])
def test_the_first_load_is_small(built: Path, page: str) -> None:
    """Entry, home page and the largest language, compressed: what a phone waits for."""
    files = load(built, page)
    assets = built / "assets"
    if page == "index.html":
        chunks = [path for path in assets.glob("*") if re.match(r"(Home|Frame)-", path.name) and path.suffix != ".gz"]
        assert chunks, "the home page is a chunk of its own"
        files |= load(built, *(f"assets/{path.name}" for path in chunks))
        largest = max(assets.glob("ru-*.js"), key=lambda path: path.stat().st_size)
        files |= {largest}
    total = measure(files)
    assert 10_000 < total <= FIRST_LOAD_BYTES, sorted((path.name, measure({path})) for path in files)


def test_languages_are_chunks_of_their_own(built: Path) -> None:
    at_once = "".join(path.read_text(encoding="utf-8") for path in load(built, "index.html") if path.suffix == ".js")
    for language in LANGUAGES:
        assert read_texts(language, "setup")["setup.lead_1"] not in at_once
        assert list((built / "assets").glob(f"{language}-*.js"))


# The front end's own tests


def run_node(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the front end's packages; skip where they are not installed."""
    node = shutil.which("node")
    if node is None or not (WEBUI / "node_modules").exists():
        pytest.skip("Node.js or the front end's packages are not installed (scripts/build-webui)")
    program, *rest = words
    return subprocess.run(
        [node, str(WEBUI / "node_modules" / program), *rest],
        cwd=WEBUI, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_units() -> None:
    done = run_node("vitest/vitest.mjs", "run", "--no-color")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Tests\s+\d+ passed", done.stdout), done.stdout


def test_types_and_accessibility_of_markup() -> None:
    done = run_node("svelte-check/bin/svelte-check", "--tsconfig", "./tsconfig.json", "--fail-on-warnings")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_are_those_of_the_document() -> None:
    # As in `npm run types`, but nothing is written.
    words = ("openapi-typescript/bin/cli.js", "openapi.json", "--root-types", "--root-types-no-schema-prefix")
    done = run_node(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (SOURCE / "lib" / "schema.d.ts").read_text(encoding="utf-8").strip()


# The build


@pytest.mark.parametrize("has_build", [True, False])
def test_without_node_and_network_an_older_build_stays_in_use(tmp_path: Path, has_build: bool) -> None:
    """A machine that cannot build must still start what is there, and say so."""
    for folder in ("src", "public"):
        (tmp_path / "webui" / folder).mkdir(parents=True)
    for name in ("index.html", "child.html", "vite.config.ts", "svelte.config.js", "package-lock.json"):
        shutil.copy(WEBUI / name, tmp_path / "webui" / name)
    (tmp_path / "scripts").mkdir()
    script = Path(shutil.copy(ROOT / "scripts" / "build-webui", tmp_path / "scripts" / "build-webui"))
    page = tmp_path / "guardian" / "web" / "static" / "index.html"
    page.parent.mkdir(parents=True)
    if has_build:
        page.write_text("older")
    programs = tmp_path / "bin"  # all that a small machine has, and no node
    programs.mkdir()
    for name in ("bash", "env", "dirname", "find", "flock", "rm"):
        program = shutil.which(name)
        assert program, name
        (programs / name).symlink_to(program)
    done = subprocess.run(
        [script], env={"PATH": str(programs)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert "there is no Node.js" in done.stderr
    if has_build:
        assert (done.returncode, page.read_text()) == (0, "older"), done.stderr
        assert "an older build is in use" in done.stderr
    else:
        assert done.returncode == 1 and "there are none yet" in done.stderr
