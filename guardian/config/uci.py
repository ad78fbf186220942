"""The words of an UCI file, OpenWrt's format of settings: sections, options and lists, each with its line.

What is read is what libuci reads (its `file.c`): `config TYPE ['NAME']`, `option KEY VALUE`, `list KEY VALUE`, `package
NAME`, their first letters for short; single quotes (all is literal), double quotes and bare words (a backslash takes
the next character as it is, and at a line's end goes on with the next line); quotes may span lines; `;` ends a command,
`#` begins a comment. Two things that libuci lets pass are problems here, because they are mistakes: a `#` inside a bare
word, which cuts the value, and words behind the value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from guardian.errors import ConfigError, Problem
from guardian.typed_yaml import MOST_PROBLEMS

_SPACE = " \t\r\v\f"
_BARE = re.compile(r"[^\s'\"\\#;]+", re.ASCII)
_IN_QUOTES = re.compile(r'[^"\\]+')
_NAME = re.compile(r"[A-Za-z0-9_]+")
_TYPE = re.compile(r"[!-~]+")
_COMMANDS = {"c": "config", "o": "option", "l": "list", "p": "package"}
_FORMS = {
    "config": "config TYPE 'NAME'",
    "option": "option KEY 'VALUE'",
    "list": "list KEY 'VALUE'",
    "package": "package NAME",
}


class Setting(NamedTuple):
    """One `option` or `list` command."""

    kind: str  # "option" or "list"
    name: str
    value: str
    line: int  # from 1
    last_line: int  # of a value that spans lines


@dataclass(slots=True)
class Section:
    """One `config` command with its settings, in file order."""

    type: str
    name: str  # "" = anonymous
    line: int  # from 1
    settings: list[Setting] = field(default_factory=list)


def is_uci(text: str) -> bool:
    """Tell whether this is an UCI file: its first word is `config` or `package`."""
    words = (line.split(None, 1) for line in text.split("\n"))
    first = next((found[0] for found in words if found and not found[0].startswith("#")), "")
    return first in ("config", "package")


def parse_uci(text: str, file: str) -> tuple[list[Section], list[Problem]]:
    """Return the sections of an UCI file, and what is wrong with it.

    Raises ConfigError with what was found so far at a hundred problems, and at a quote that has no end.
    """
    scanner = _Scanner(text, file)
    sections: list[Section] = []
    section: Section | None = None
    while (words := scanner.read_command()) is not None:
        command = _COMMANDS.get(words[0].text, words[0].text)
        line = words[0].line
        if not _is_whole(scanner, command, words):
            if command == "config":  # what follows belongs to it, not to the section before
                section = Section("", "", line)
            continue
        if command == "config":
            section = Section(words[1].text, words[2].text if len(words) > 2 else "", line)
            sections.append(section)
        elif section is None and command != "package":
            scanner.note(line, f"'{command} {words[1].text[:80]}' stands before the first section: 'config guardian'")
        elif section is not None and command != "package":
            value = words[2] if len(words) > 2 else _Word("", line, line)
            section.settings.append(Setting(command, words[1].text, value.text, line, value.last_line))
    return sections, scanner.problems


class _Word(NamedTuple):
    text: str
    line: int
    last_line: int


def _is_whole(scanner: _Scanner, command: str, words: list[_Word]) -> bool:
    line = words[0].line
    if command not in _FORMS:
        known = ", ".join(_FORMS)
        scanner.note(line, f"'{words[0].text[:80]}' is no command of a settings file (known: {known})")
        return False
    if len(words) < 2 or (command == "option" and len(words) < 3 and not words[1].text):
        scanner.note(line, f"'{command}' needs more: {_FORMS[command]}")
        return False
    if len(words) > (2 if command == "package" else 3):
        text = words[2 if command == "package" else 3].text
        scanner.note(line, f"'{text[:80]}' is one word too many: {_FORMS[command]}; a value with spaces needs quotes")
        return False
    is_type = command == "config"
    if not (_TYPE if is_type else _NAME).fullmatch(words[1].text):
        scanner.note(line, f"'{words[1].text[:80]}' is no name: letters, digits and '_'")
        return False
    if is_type and len(words) > 2 and words[2].text and not _NAME.fullmatch(words[2].text):
        scanner.note(line, f"'{words[2].text[:80]}' is no name of a section: letters, digits and '_'")
        return False
    return True


class _Scanner:
    """Cuts a text into commands of words. Never goes back, so its time grows with the text and no faster."""

    def __init__(self, text: str, file: str) -> None:
        self.problems: list[Problem] = []
        self._text = text
        self._file = file
        self._at = 0
        self._line = 1

    def note(self, line: int, message: str) -> None:
        """Take down a problem. Raises ConfigError when there are too many."""
        self.problems.append(Problem(f"{self._file}:{line}", message))
        if len(self.problems) >= MOST_PROBLEMS:
            raise ConfigError(self.problems)

    def read_command(self) -> list[_Word] | None:
        """Return the words of the next command, at least one; None at the end."""
        words: list[_Word] = []
        while True:
            char = self._peek()
            if char and char in _SPACE:
                self._at += 1
            elif char == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif not char or char in "\n;":
                self._at += len(char)
                self._line += char == "\n"
                if words or not char:
                    return words or None
            elif (word := self._read_word()) is not None:
                words.append(word)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _read_word(self) -> _Word | None:
        """Return a word; None for a lone continuation of the line."""
        parts: list[str] = []
        first, is_empty = self._line, True
        while (char := self._peek()) and char not in _SPACE and char not in "\n;":
            if char == "#":
                self.note(self._line, "a '#' begins a comment here and cuts the value: put it into quotes")
                break
            if char == "\\":
                is_empty = not self._read_escaped(parts) and is_empty
                continue
            is_empty = False
            if char == "'":
                self._read_literal(parts)
            elif char == '"':
                self._read_quoted(parts)
            else:
                found = _BARE.match(self._text, self._at)
                # A character that is white space to the pattern and not to us is one of the word's.
                bare = found[0] if found else char
                parts.append(bare)
                self._at += len(bare)
        return None if is_empty else _Word("".join(parts), first, self._line)

    def _read_escaped(self, parts: list[str]) -> bool:
        """Take a backslash and what it escapes; return whether that is part of the word."""
        self._at += 1
        if self._text.startswith("\r\n", self._at):
            self._at += 1
        char = self._peek()
        self._at += len(char)
        if char == "\n":
            self._line += 1
            return False
        parts.append(char)
        return bool(char)

    def _read_literal(self, parts: list[str]) -> None:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            self._refuse_open("'")
        part = self._text[self._at + 1 : end]
        parts.append(part)
        self._line += part.count("\n")
        self._at = end + 1

    def _read_quoted(self, parts: list[str]) -> None:
        start, line = self._at, self._line
        self._at += 1
        while char := self._peek():
            if char == '"':
                self._at += 1
                return
            if char == "\\":
                self._read_escaped(parts)
                continue
            found = _IN_QUOTES.match(self._text, self._at)
            assert found is not None  # neither of the two that the pattern leaves out
            parts.append(found[0])
            self._line += found[0].count("\n")
            self._at = found.end()
        self._at, self._line = start, line
        self._refuse_open('"')

    def _refuse_open(self, mark: str) -> NoReturn:
        """Nothing behind a quote without an end can be told apart: reading ends there. Raises ConfigError."""
        self.note(self._line, f"the quote {mark} that begins here has no end")
        raise ConfigError(self.problems)
