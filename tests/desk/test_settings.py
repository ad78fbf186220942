"""`desk.yaml`: what init writes can be read, and mistakes are told with their line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.desk.settings import FILE, DeskSettings, load_settings, load_suffix_rules, write_settings
from guardian.errors import ConfigError, DeskError
from guardian.names import parse_name
from guardian.typed_yaml import decode


@given(st.text(min_size=1, max_size=300).filter(lambda text: text.isprintable() and text.strip()))
def test_any_name_comes_back(name: str) -> None:
    assert decode(write_settings(name, ""), FILE, DeskSettings).name == name


@pytest.mark.parametrize("name", ["a\nb", "a" * 301, "\x1b[0m"])
def test_a_name_that_can_not_be_shown_is_told(name: str) -> None:
    with pytest.raises(DeskError):
        write_settings(name, "")


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, "name"),
        ("name: x\nnam: y", 2, "unknown key"),
        ("name: x\npush:\n  broker: http://a", 3, "is not a broker"),
        ("name: x\npush:\n  broker: mqtts://a.example\n  user: y", 4, "needs 'password'"),
        ("name: x\npush:\n  certificate: y", 3, "needs 'key'"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match=what) as caught:
        load_settings(tmp_path)
    assert caught.value.problems[0].where == f"{tmp_path / FILE}:{line}"


def test_a_folder_without_settings_is_no_desk(tmp_path: Path) -> None:
    with pytest.raises(DeskError, match="this is no desk"):
        load_settings(tmp_path)


def test_suffixes_come_from_the_package_or_a_file(tmp_path: Path) -> None:
    own = load_suffix_rules(tmp_path, DeskSettings("x"))
    assert parse_name("co.uk") in own.suffixes
    (tmp_path / "list.dat").write_text("// a list\nco.test\n*.ck\n!www.ck\n")
    rules = load_suffix_rules(tmp_path, DeskSettings("x", suffixes="list.dat"))
    assert rules.suffixes == {parse_name("co.test")}
    with pytest.raises(DeskError, match=r"gone\.dat: .*'suffixes'"):
        load_suffix_rules(tmp_path, DeskSettings("x", suffixes="gone.dat"))
    (tmp_path / "bad.dat").write_text("a.*.b\n")
    with pytest.raises(DeskError, match=r"bad\.dat: .*line 1"):
        load_suffix_rules(tmp_path, DeskSettings("x", suffixes="bad.dat"))
