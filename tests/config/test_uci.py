"""The words of UCI files, as libuci reads them: quotes, backslashes, comments, several commands on a line."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.config.uci import Section, Setting, is_uci, parse_uci
from guardian.errors import ConfigError
from tests.fuzz.driver import fuzz, mutate_text

NAMES = st.text("abcdefgxyzABC019_", min_size=1, max_size=10)


def read(text: str) -> list[Section]:
    sections, problems = parse_uci(text, "g")
    assert problems == []
    return sections


def problems_of(text: str) -> list[str]:
    try:
        problems = parse_uci(text, "g")[1]
    except ConfigError as error:
        problems = list(error.problems)
    return [str(problem) for problem in problems]


def values_of(text: str) -> list[str]:
    (section,) = read(f"config x\n{text}")
    return [setting.value for setting in section.settings]


def test_a_file_as_openwrt_writes_it() -> None:
    text = (
        "package guardian\n\nconfig dns 'dns'\n\toption rate_limit '100'\n\tlist listen 'br-lan:53'\n\nconfig forward\n"
    )
    assert read(text) == [
        Section(
            "dns",
            "dns",
            3,
            [Setting("option", "rate_limit", "100", 4, 4), Setting("list", "listen", "br-lan:53", 5, 5)],
        ),
        Section("forward", "", 7, []),
    ]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("option a b", "b"),
        ("  \t option \t a   b  ", "b"),
        ("o a b", "b"),
        ("l a b", "b"),
        ("option a 'b c'", "b c"),
        ('option a "b c"', "b c"),
        ("option 'a' \"b\"", "b"),
        ("option a 'b'\\''c'", "b'c"),  # as `uci export` writes a single quote
        ("option a b'c d'\"e\"", "bc de"),
        (r"option a b\ c", "b c"),
        (r"option a b\\c", r"b\c"),
        (r"option a \#b", "#b"),
        (r'option a "b\"c\\"', 'b"c\\'),
        (r"option a 'b\'", "b\\"),  # nothing escapes in single quotes
        ("option a '#b;c'", "#b;c"),
        ("option a b # comment", "b"),
        ("option a b ;# comment", "b"),
        ("option a ''", ""),
        ("option a", ""),
        ("option a b\r", "b"),
        ("option a 'b\nc'", "b\nc"),
        ('option a "b\nc"', "b\nc"),
        ('option a "b\\\nc"', "bc"),
        ("option a b\\\nc", "bc"),
        ("option a b\\\r\nc", "bc"),
        ("option a \\\n b", "b"),
        ("option a 'ș' ", "ș"),
    ],
)
def test_one_value(line: str, value: str) -> None:
    assert values_of(line) == [value]


def test_several_commands_on_a_line() -> None:
    (section,) = read("config x 'y'; option a b; list c d;list c 'e';;\noption f g")
    assert [(s.kind, s.name, s.value, s.line) for s in section.settings] == [
        ("option", "a", "b", 1),
        ("list", "c", "d", 1),
        ("list", "c", "e", 1),
        ("option", "f", "g", 2),
    ]


def test_lines_are_counted_through_quotes_and_continued_lines() -> None:
    (section,) = read("# one\n\nconfig x\n option a 'b\nc'\n option d \"e\\\nf\n\"\n option g h\\\ni\n option j k")
    assert [(s.name, s.line, s.last_line) for s in section.settings] == [
        ("a", 4, 5),
        ("d", 6, 8),
        ("g", 9, 10),
        ("j", 11, 11),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("confg x", "g:1: 'confg' is no command of a settings file (known: config, option, list, package)"),
        ("config x\noption", "g:2: 'option' needs more: option KEY 'VALUE'"),
        ("config", "g:1: 'config' needs more: config TYPE 'NAME'"),
        (
            "config x\noption a b c",
            "g:2: 'c' is one word too many: option KEY 'VALUE'; a value with spaces n",
        ),
        ("config x y z", "g:1: 'z' is one word too many: config TYPE 'NAME'"),
        ("package a b", "g:1: 'b' is one word too many: package NAME"),
        ("config x\noption a-b c", "g:2: 'a-b' is no name: letters, digits and '_'"),
        ("config x y-z", "g:1: 'y-z' is no name of a section"),
        ("config 'x y'", "g:1: 'x y' is no name"),
        ("option a b", "g:1: 'option a' stands before the first section"),
        ("config x\noption a 'b\nc\n", "g:2: the quote ' that begins here has no end"),
        ('config x\noption a "b\nc\n', 'g:2: the quote " that begins here has no end'),
        ("config x\noption a b#c", "g:2: a '#' begins a comment here and cuts the value: put it into quotes"),
    ],
)
def test_one_problem(text: str, expected: str) -> None:
    (problem,) = problems_of(text)
    assert problem.startswith(expected)


def test_a_broken_section_takes_its_settings_along() -> None:
    sections, problems = parse_uci("config a\nconfig b-c d-e\noption x y\nconfig f\n", "g")
    assert [(section.type, section.settings) for section in sections] == [("a", []), ("f", [])]
    assert len(problems) == 1


def test_who_has_made_more_than_a_hundred_problems_reads_no_further() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_uci("x\n" * 1000, "g")
    assert len(caught.value.problems) == 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config dns", True),
        ("package guardian\nconfig x", True),
        ("\n # a\n\n\tconfig dns 'x'\n", True),
        ("upstreams: {}\nconfig dns", False),
        ("config: 1", False),
        ("configs x", False),
        ("# config x\n", False),
        ("", False),
        ("\n" * 100_000, False),
        (" " * 1_000_000 + "x", False),
    ],
)
def test_which_files_are_uci(text: str, expected: bool) -> None:
    assert is_uci(text) is expected


@given(st.lists(st.tuples(NAMES, st.lists(st.tuples(NAMES, st.text(st.characters(exclude_characters="\0")))))))
def test_what_uci_exports_is_read_as_it_was(sections: list[tuple[str, list[tuple[str, str]]]]) -> None:
    text = "package guardian\n"
    for type_, settings in sections:
        text += f"\nconfig {type_}\n"
        for key, value in settings:
            escaped = value.replace("'", "'\\''")
            text += f"\toption {key} '{escaped}'\n"
    found = read(text)
    assert [(s.type, [(o.name, o.value) for o in s.settings]) for s in found] == sections


def test_any_text_is_sections_or_problems_with_lines_of_the_file() -> None:
    def check(data: bytes) -> None:
        text = data.decode("latin-1")
        with contextlib.suppress(ConfigError):
            sections, problems = parse_uci(text, "g")
            last = text.count("\n") + 1
            lines = [setting.line for section in sections for setting in section.settings]
            lines += [int(problem.where.removeprefix("g:")) for problem in problems]
            assert all(1 <= line <= last for line in lines)
            assert lines[: len(lines) - len(problems)] == sorted(lines[: len(lines) - len(problems)])

    seeds = [
        b"config a 'b'\n\toption c \"d e\"; list f g # h\n\tlist f 'i\nj'\n",
        b"package x\nconfig y\n\to a b\\\n c\n",
    ]
    fuzz(check, seeds, mutate_text([b"'", b'"', b"\\", b";", b"#", b"\\\n", b"\r\n", b"config ", b"\0"]), count=4000)


def test_a_large_file_takes_no_long_time() -> None:
    assert len(read("config x\n" + "option a 'b'\n" * 100_000)[0].settings) == 100_000
    assert values_of('option a "' + '\\"' * 200_000 + '"') == ['"' * 200_000]
