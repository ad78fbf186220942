"""YAML text -> typed values, with every problem at its line.

`decode(text, file, cls)` reads a frozen dataclass: its fields are the keys, its type hints the types, its defaults the
defaults. A field whose text needs more than its type names a reader: `field(metadata={"read": read_port})`, a function
from the scalar's text to the value that raises TextError. All problems are collected before ConfigError is raised.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, TypeVar

import yaml

from guardian.errors import ConfigError, Problem, TextError

T = TypeVar("T")
Reader = Callable[[str], Any]
MAX_FILE_BYTES = 16 * 1024 * 1024  # a household is kilobytes; a list is not YAML

_BOOL = "tag:yaml.org,2002:bool"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_NULL = "tag:yaml.org,2002:null"
_TRUE = frozenset({"yes", "true", "on"})


def decode(text: str, file: str, cls: type[T], check: Callable[[T, Locate], list[Problem]] | None = None) -> T:
    """Return the value of type `cls` (a dataclass) that the YAML `text` of `file` says. Raises ConfigError.

    `check(value, locate)` adds problems that span fields; `locate("profiles", 2, "rules")` is the place of a path.
    """
    root = compose(text, file)
    decoder = _Decoder(file)
    value = decoder.read(root, cls, None, "")
    if not decoder.problems and check is not None:
        decoder.problems += check(value, lambda *path: f"{file}:{_line_of(root, path)}")
    if decoder.problems:
        raise ConfigError(sorted(decoder.problems, key=lambda problem: int(problem.where.rpartition(":")[2] or 0)))
    return typing.cast(T, value)


Locate = Callable[..., str]


def compose(text: str, file: str) -> yaml.Node:
    """Return the node tree of one YAML document. Raises ConfigError with the line of the syntax error."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError([Problem(f"{file}:{line}", f"not YAML: {error.problem or error.context}")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([Problem(f"{file}:1", f"not YAML: {error}")]) from None
    if node is None:
        return yaml.MappingNode("tag:yaml.org,2002:map", [], yaml.Mark(file, 0, 0, 0, None, 0))
    return node


def suggest(word: str, known: Mapping[str, Any] | list[str] | tuple[str, ...] | frozenset[str]) -> str:
    """Return ", did you mean 'x'?" for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else ""


def _line_of(node: yaml.Node, path: tuple[str | int, ...]) -> int:
    line = node.start_mark.line + 1
    for step in path:
        child: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    line, child = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            child = node.value[step]
            line = child.start_mark.line + 1
        if child is None:
            return line
        node = child
    return line


class _Decoder:
    """Walks nodes and types together; a bad part becomes a problem and a placeholder, and the walk goes on."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def problem(self, node: yaml.Node, message: str) -> None:
        self.problems.append(Problem(f"{self.file}:{node.start_mark.line + 1}", message))

    def read(self, node: yaml.Node, kind: Any, reader: Reader | None, key: str) -> Any:
        origin = typing.get_origin(kind)
        if origin in (types.UnionType, typing.Union):
            if _is_null(node):
                return None
            (kind,) = [part for part in typing.get_args(kind) if part is not type(None)]
            return self.read(node, kind, reader, key)
        if origin in (tuple, frozenset):
            return self.read_sequence(node, kind, origin, reader, key)
        if origin is not None and issubclass(origin, Mapping):
            return self.read_mapping(node, typing.get_args(kind)[1], reader, key)
        if reader is None and dataclasses.is_dataclass(kind):
            return self.read_dataclass(node, typing.cast(type, kind), key)
        return self.read_scalar(node, kind, reader, key)

    def read_dataclass(self, node: yaml.Node, cls: type, key: str) -> Any:
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, f"{_place(key)}must be a mapping of keys to values")
            return None
        hints = typing.get_type_hints(cls)
        fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
        values: dict[str, Any] = {}
        for name, child in self.pairs(node):
            spec = fields.get(name)
            if spec is None:
                self.problem(child, f"{_place(key)}unknown key '{name}'{suggest(name, list(fields))}")
                continue
            values[name] = self.read(child, hints[name], spec.metadata.get("read"), name)
        for name, spec in fields.items():
            required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
            if required and name not in values:
                self.problem(node, f"{_place(key)}the key '{name}' is missing")
                values[name] = None
        return cls(**values)

    def pairs(self, node: yaml.MappingNode) -> list[tuple[str, yaml.Node]]:
        """The mapping's keys and values; a duplicate key is a problem, never a silent override."""
        seen: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.problem(key, "a key must be a plain word")
            elif key.value in seen:
                self.problem(key, f"the key '{key.value}' is given twice")
            else:
                seen[key.value] = value
        return list(seen.items())

    def read_sequence(self, node: yaml.Node, kind: Any, origin: Any, reader: Reader | None, key: str) -> Any:
        item = typing.get_args(kind)[0]
        if _is_null(node):
            return origin()
        if not isinstance(node, yaml.SequenceNode):
            self.problem(node, f"{_place(key)}must be a list")
            return origin()
        before = len(self.problems)
        values = [self.read(child, item, reader, key) for child in node.value]
        return origin(values) if len(self.problems) == before else origin()

    def read_mapping(self, node: yaml.Node, item: Any, reader: Reader | None, key: str) -> dict[str, Any]:
        if _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, f"{_place(key)}must be a mapping of keys to values")
            return {}
        return {name: self.read(child, item, reader, name) for name, child in self.pairs(node)}

    def read_scalar(self, node: yaml.Node, kind: Any, reader: Reader | None, key: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self.problem(node, f"{_place(key)}must be a single value")
            return None
        text = node.value
        try:
            if reader is not None:
                return reader(text)
            if isinstance(kind, type) and issubclass(kind, enum.Enum):
                return _read_enum(text, kind)
            return _SCALARS[kind](text, node.tag)
        except TextError as error:
            self.problem(node, f"{_place(key)}{error}")
            return None


def _place(key: str) -> str:
    return f"'{key}': " if key else ""


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def _read_enum(text: str, kind: type[enum.Enum]) -> enum.Enum:
    values = [str(member.value) for member in kind]
    # YAML 1.1 reads `off` as false; the text is what the person wrote.
    if text.lower() not in values:
        raise TextError(f"'{text}' is none of {', '.join(values)}{suggest(text, values)}")
    return kind(text.lower())


def _read_bool(text: str, tag: str) -> bool:
    if tag != _BOOL:
        raise TextError(f"'{text}' is neither yes nor no")
    return text.lower() in _TRUE


def _read_int(text: str, tag: str) -> int:
    try:
        return int(text, 10)
    except ValueError:
        raise TextError(f"'{text}' is not a whole number") from None


def _read_float(text: str, tag: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise TextError(f"'{text}' is not a number") from None


def _read_str(text: str, tag: str) -> str:
    if tag == _NULL:
        raise TextError("needs a value")
    return text


def _read_date(text: str, tag: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise TextError(f"'{text}' is not a date like 2026-12-31") from None


_SCALARS: dict[Any, Callable[[str, str], Any]] = {
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    str: _read_str,
    date: _read_date,
}
