"""Typed YAML: values by type, all problems at their lines, hostile text."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import ConfigError, Problem, TextError
from guardian.typed_yaml import Locate, compose, decode, decode_node, read_text, suggest


class Colour(enum.Enum):
    RED = "red"
    OFF = "off"


def read_even(text: str) -> int:
    if not text.isdigit() or int(text) % 2:
        raise TextError(f"'{text}' is not even")
    return int(text)


@dataclass(frozen=True, slots=True)
class Leg:
    length: int
    name: str = "leg"
    start: str = field(default="", metadata={"key": "from"})


@dataclass(frozen=True, slots=True)
class Table:
    title: str = "table"
    wide: bool = False
    height: float = 1.0
    colour: Colour = Colour.RED
    made: date = date(2000, 1, 1)
    even: int = field(default=0, metadata={"read": read_even})
    legs: tuple[Leg, ...] = ()
    words: frozenset[str] = frozenset()
    by_name: Mapping[str, Leg | str] = field(default_factory=dict)
    days: tuple[str, ...] | str | None = None
    evens: Mapping[str, int] | tuple[int, ...] | int | None = field(default=None, metadata={"read": read_even})


def problems_of(text: str, cls: type = Table) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        decode(text, "t.yaml", cls)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Table()),
        ("# nothing\n", Table()),
        ("title: 21:00", Table(title="21:00")),  # a number in base 60, says YAML 1.1; the person wrote a time
        ("title: no", Table(title="no")),
        ("title: 2026-01-01", Table(title="2026-01-01")),
        ("wide: on", Table(wide=True)),
        ("height: 2", Table(height=2.0)),
        ("colour: off", Table(colour=Colour.OFF)),
        ("colour: RED", Table(colour=Colour.RED)),
        ("made: 2026-12-31", Table(made=date(2026, 12, 31))),
        ("even: 4", Table(even=4)),
        ("legs:", Table()),
        ("legs: [{length: 3}, {length: 4, name: x, from: y}]", Table(legs=(Leg(3), Leg(4, "x", "y")))),
        ("words: [a, b, a]", Table(words=frozenset({"a", "b"}))),
        ("by_name: {a: {length: 1}, b: short}", Table(by_name={"a": Leg(1), "b": "short"})),
        ("days: [mon, tue]", Table(days=("mon", "tue"))),
        ("days: mon", Table(days="mon")),
        ("days: ~", Table()),
        ("evens: 2", Table(evens=2)),
        ("evens: [2, 4]", Table(evens=(2, 4))),
        ("evens: {a: 2}", Table(evens={"a": 2})),
    ],
)
def test_values(text: str, expected: Table) -> None:
    assert decode(text, "t.yaml", Table) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("titel: x", "t.yaml:1: unknown key 'titel', did you mean 'title'?"),
        ("title: x\ntitle: y", "t.yaml:2: the key 'title' is given twice"),
        ("title:", "t.yaml:1: 'title': needs a value"),
        ("title: [a]", "t.yaml:1: 'title': must be a single value"),
        ("wide: maybe", "t.yaml:1: 'wide': 'maybe' is neither yes nor no"),
        ("height: .inf", "t.yaml:1: 'height': '.inf' is not a number"),
        ("height: nan", "t.yaml:1: 'height': 'nan' is not a number"),
        ("even: 3", "t.yaml:1: 'even': '3' is not even"),
        ("colour: rot", "t.yaml:1: 'colour': 'rot' is none of red, off"),
        ("made: 31.12.2026", "t.yaml:1: 'made': '31.12.2026' is not a date like 2026-12-31"),
        ("legs: 3", "t.yaml:1: 'legs': must be a list"),
        ("legs:\n- name: x", "t.yaml:2: 'legs': the key 'length' is missing"),
        ("legs:\n- length: x", "t.yaml:2: 'length': 'x' is not a whole number"),
        ("by_name: [a]", "t.yaml:1: 'by_name': must be a mapping of keys to values"),
        ("by_name: {a: [b]}", "t.yaml:1: 'a': must be a mapping of keys to values or one value"),
        ("evens: {a: 1}", "t.yaml:1: 'a': '1' is not even"),
        ("[a]: b", "t.yaml:1: a key must be a plain word"),
        ("- a", "t.yaml:1: must be a mapping of keys to values"),
        ("a: b: c", "t.yaml:1: not YAML: mapping values are not allowed here"),
        ("title: x\n\ttab: y", "t.yaml:2: not YAML: found character '\\t' that cannot start any token"),
        ("title: x\nwide: \x07", "t.yaml:2: not YAML: special characters are not allowed"),
        ("a: 1\n---\nb: 2", "t.yaml:2: not YAML: but found another document"),
    ],
)
def test_one_problem(text: str, expected: str) -> None:
    assert problems_of(text) == [expected]


def test_all_problems_in_one_go_in_file_order() -> None:
    text = "legs:\n- {length: x}\n- {lenth: 3}\nwide: perhaps\nnew: 1\n"
    assert [problem.split(":")[1] for problem in problems_of(text)] == ["2", "3", "3", "4", "5"]


def test_a_check_sees_whole_values_and_its_problems_join() -> None:
    def check(table: Table, locate: Locate) -> list[Problem]:
        found = [Problem(locate(leg, "length"), "too short") for leg in table.legs if leg.length < 2]
        return found + [Problem(locate("by_name", "a"), "a is given")] * locate.is_given("by_name", "a")

    text = "legs:\n- {length: 1}\n- {length: x}\n- name: y\n  length: 0\nby_name: {a: b}\nwide: eh\n"
    with pytest.raises(ConfigError) as caught:
        decode(text, "t", Table, check)
    assert [str(problem) for problem in caught.value.problems] == [
        "t:2: too short",
        "t:3: 'length': 'x' is not a whole number",
        "t:5: too short",
        "t:6: a is given",
        "t:7: 'wide': 'eh' is neither yes nor no",
    ]


def test_a_check_is_silent_about_parts_that_could_not_be_read() -> None:
    def check(table: Table, locate: Locate) -> list[Problem]:
        return [] if table.legs else [Problem(locate("legs"), "a table needs legs")]

    with pytest.raises(ConfigError) as caught:
        decode("title: x\nlegs:\n- {length: x}\nwide: yes\n", "t", Table, check)
    assert [problem.where for problem in caught.value.problems] == ["t:3"]


def test_locate_goes_by_path_as_well() -> None:
    places: list[str] = []

    def check(table: Table, locate: Locate) -> list[Problem]:
        places.extend([locate("legs", 1, "name"), locate("legs", 7), locate("nothing"), locate("by_name", "a")])
        return []

    decode("legs:\n- length: 1\n- length: 2\n  name: x\nby_name:\n  a: b\n", "t", Table, check)
    assert places == ["t:4", "t:1", "t:1", "t:6"]


def test_aliases_are_refused_before_they_multiply() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "anchors (&name)" in problems_of("\n".join(lines))[0]


def test_deep_nesting_is_an_error_and_not_a_crash() -> None:
    assert problems_of("[" * 100_000) == ["t.yaml:1: not YAML: nested too deeply"]


@given(st.text(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"#%\n \t,?0~", max_size=200))
def test_any_text_gives_a_value_or_a_config_error(text: str) -> None:
    try:
        assert isinstance(decode(text, "t", Table), Table)
    except ConfigError as error:
        assert error.problems
        assert all(problem.where.startswith("t:") for problem in error.problems)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_quoted_text_is_what_was_written(text: str) -> None:
    assert decode(yaml.safe_dump({"title": text}), "t", Table).title == text


def test_read_text(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "bom.yaml").write_bytes(b"\xef\xbb\xbftitle: x\n")
    assert decode(read_text(str(folder / "bom.yaml")), "t", Table).title == "x"
    (folder / "latin.yaml").write_bytes(b"title: x\nname: \xff\n")
    (folder / "big.yaml").write_bytes(b"# \n" * 2_000_000)
    for name, part in (
        ("latin.yaml", "latin.yaml:2: is not UTF-8 text"),
        ("big.yaml", "larger than"),
        ("none.yaml", "none.yaml: cannot be read: No such file"),
        (".", "Is a directory"),
        ("a\0b", "null"),
    ):
        with pytest.raises(ConfigError, match=part):
            read_text(str(folder / name) if "\0" not in name else name)


def test_a_tree_of_several_files_has_its_problems_in_each() -> None:
    """Who lays one file over another: each node's mark tells its file."""
    root = compose("title: x\nwrong: 1\n", "home")
    over = compose("\n\nother: 2\ntitle: 3\n", "theirs")
    assert isinstance(root, yaml.MappingNode) and isinstance(over, yaml.MappingNode)
    root.value += [over.value[0]]
    root.value[0] = over.value[1]
    found = [Problem("home:7", "seen before")]
    with pytest.raises(ConfigError) as caught:
        decode_node(root, "home", Table, lambda table, locate: [Problem(locate("title"), "no")], found)
    assert [str(problem)[:12] for problem in caught.value.problems] == [
        "home:2: unkn",
        "home:7: seen",
        "theirs:3: un",
        "theirs:4: no",
    ]


def test_another_format_calls_what_is_missing_by_its_own_name() -> None:
    with pytest.raises(ConfigError, match="t:1: 'legs': the column 'length' is missing"):
        decode_node(compose("legs: [{}]", "t"), "t", Table, name=lambda name, kind: f"the column '{name}'")


def test_a_tree_that_is_right_tells_its_places() -> None:
    value, locate = decode_node(compose("\ntitle: x\n", "t"), "t", Table)
    assert (value.title, locate("title")) == ("x", "t:2")
    assert locate.is_given("title") and not locate.is_given("rows")


def test_suggest() -> None:
    assert suggest("listn", ["listen", "clients"]) == ", did you mean 'listen'?"
    assert suggest("zzz", ["listen"]) == ""
    assert suggest("x" * 100_000, ["x" * 100_000]) == ""


def test_compose_of_nothing_is_an_empty_mapping() -> None:
    assert compose("", "t").value == []
