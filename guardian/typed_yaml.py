"""YAML text -> typed values, with every problem at its line.

`decode(text, file, cls)` reads a frozen dataclass: its fields are the keys, its type hints the types, its defaults the
defaults. A field whose text needs more than its type names a reader: `field(metadata={"read": read_port})`, a function
from the scalar's text to the value that raises TextError. A union is decided by what is written: a mapping is read as
the dataclass or Mapping of the union, a list as its tuple, anything else as its scalar. All problems are collected
before ConfigError is raised.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from typing import Any, Generic, NamedTuple, TypeVar

import yaml

from guardian.errors import ConfigError, Problem, TextError

T = TypeVar("T")
Reader = Callable[[str], Any]
MAX_FILE_BYTES = 4 * 1024 * 1024  # a household is kilobytes; a list is not YAML

_BOOL = "tag:yaml.org,2002:bool"
_NULL = "tag:yaml.org,2002:null"
_MAP = "tag:yaml.org,2002:map"
_TRUE = frozenset({"yes", "true", "on"})
_LONGEST_WORD = 64  # of which a likely spelling is looked for
_MOST_KNOWN = 1000  # words among which it is looked for
MOST_PROBLEMS = 100  # that are told of one text: who has made more reads no further, and finding them takes time


class _Failed:
    """What a part comes to that could not be read; its owner leaves it out."""


_FAILED = _Failed()


class Locate:
    """Finds places. `locate("profiles", "ana", "rules", 2)` is the `file:line` of a path of keys and indexes.

    The first step may also be a dataclass value that `decode` made: `locate(device, "macs")`.
    """

    def __init__(self, root: yaml.Node, nodes: dict[int, yaml.Node]) -> None:
        self._root = root
        self._nodes = nodes
        self._asked: dict[str, yaml.Node] = {}

    def __call__(self, *path: object) -> str:
        where, node = self._walk(path)
        self._asked[where] = node
        return where

    def is_given(self, *path: object) -> bool:
        """Tell whether somebody wrote this, or it is a default."""
        node, steps = self._start(path)
        return all((found := _child(node, step)) and (node := found[1]) for step in steps)

    def overlaps(self, where: str, lines: Collection[int]) -> bool:
        """Tell whether the part that was located at `where` spans one of the lines."""
        node = self._asked.get(where)
        if node is None:
            return False
        last = node.end_mark.line + (node.end_mark.column > 0)  # a block ends at the start of the next line
        return any(int(where.rpartition(":")[2]) <= line <= last for line in lines)

    def _start(self, path: tuple[object, ...]) -> tuple[yaml.Node, tuple[object, ...]]:
        if path and id(path[0]) in self._nodes:
            return self._nodes[id(path[0])], path[1:]
        return self._root, path

    def _walk(self, path: tuple[object, ...]) -> tuple[str, yaml.Node]:
        node, steps = self._start(path)
        where = _where(node)
        for step in steps:
            found = _child(node, step)
            if found is None:
                break
            where, node = found
        return where, node


def decode(text: str, file: str, cls: type[T], check: Callable[[T, Locate], list[Problem]] | None = None) -> T:
    """Return the value of type `cls` (a dataclass) that the YAML `text` of `file` says. Raises ConfigError.

    `check(value, locate)` returns the problems that span fields. It runs on broken files too: parts that could not be
    read are left out of `value` or have their default there, and what `check` finds in such a part is not reported.
    """
    return decode_node(compose(text, file), file, cls, check).value


class Decoded(NamedTuple, Generic[T]):
    """What a node tree says, and where it says it."""

    value: T
    locate: Locate


def name_key(name: str, kind: Any) -> str:
    """Return how YAML calls a key that is missing; `kind` is the type of its value."""
    return f"the key '{name}'"


def decode_node(
    root: yaml.Node,
    file: str,
    cls: type[T],
    check: Callable[[T, Locate], list[Problem]] | None = None,
    found: Iterable[Problem] = (),
    name: Callable[[str, Any], str] = name_key,
) -> Decoded[T]:
    """Return the value of type `cls` that a tree of nodes says, wherever the tree comes from. Raises ConfigError.

    Problems are at the file that a node's mark names, else at `file`; `found` are those that whoever made the tree has
    found already, and `name` is how its format calls a key that is missing. `check` is that of `decode`.
    """
    decoder = _Decoder(name)
    value = decoder.read(root, cls, None, "")
    problems = [*found, *decoder.problems]
    locate = Locate(root, decoder.nodes)
    if check is not None and value is not _FAILED:
        broken: dict[str, set[int]] = {}
        for problem in problems:
            broken.setdefault(problem.where.rpartition(":")[0], set()).add(_line_in(problem))
        problems += [
            problem
            for problem in check(value, locate)
            if not locate.overlaps(problem.where, broken.get(problem.where.rpartition(":")[0], ()))
        ]
    if problems:
        files = list(dict.fromkeys([file, *(problem.where.rpartition(":")[0] for problem in problems)]))
        places = {place: number for number, place in enumerate(files)}
        raise ConfigError(sorted(problems, key=lambda p: (places[p.where.rpartition(":")[0]], _line_in(p))))
    return Decoded(typing.cast(T, value), locate)


def read_text(path: str) -> str:
    """Return the text of a settings file. Raises ConfigError when it cannot be read, is huge or is not UTF-8."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError([Problem(path, f"cannot be read: {reason}")]) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError([Problem(path, f"is larger than {MAX_FILE_BYTES // 1024 // 1024} MB: not a settings file")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(f"{path}:{line}", "is not UTF-8 text")]) from None


class _Loader(yaml.SafeLoader):
    """Refuses anchors and aliases: ten nested ones make a billion values of a kilobyte."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(
                problem="anchors (&name) and aliases (*name) are not used here; a text that begins with "
                "& or * needs quotes",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)


def compose(text: str, file: str) -> yaml.Node:
    """Return the node tree of one YAML document. Raises ConfigError with the line of the syntax error."""
    try:
        loader = _Loader(text)
        loader.name = file  # marks tell their file
        try:
            node: yaml.Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        what = error.problem or error.context
        hint = '; an address like "::1" needs quotes' if "found ':'" in str(what) else ""
        raise ConfigError([Problem(f"{file}:{line}", f"not YAML: {what}{hint}")]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([Problem(f"{file}:{line}", f"not YAML: {error.reason}")]) from None
    except RecursionError:
        raise ConfigError([Problem(f"{file}:1", "not YAML: nested too deeply")]) from None
    if node is None:
        return yaml.MappingNode(_MAP, [], yaml.Mark(file, 0, 0, 0, None, 0), yaml.Mark(file, 0, 0, 0, None, 0))
    return node


def suggest(word: str, known: Collection[str]) -> str:
    """Return ", did you mean 'x'?" for the nearest known word, or nothing."""
    near = find_nearest(word, known)
    return f", did you mean '{near}'?" if near is not None else ""


def find_nearest(word: str, known: Collection[str]) -> str | None:
    """Return the known word that looks most like `word`, None when none does."""
    if len(word) > _LONGEST_WORD or len(known) > _MOST_KNOWN:
        return None
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return near[0] if near else None


def _line_in(problem: Problem) -> int:
    line = problem.where.rpartition(":")[2]
    return int(line) if line.isdigit() else 0


def _where(node: yaml.Node) -> str:
    """The place of a node, `file:line`; its mark knows the file."""
    return f"{node.start_mark.name}:{node.start_mark.line + 1}"


def _child(node: yaml.Node, step: object) -> tuple[str, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return _where(key), value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return _where(node.value[step]), node.value[step]
    return None


class _Decoder:
    """Walks nodes and types together; a bad part becomes a problem and is left out, and the walk goes on."""

    def __init__(self, name: Callable[[str, Any], str]) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self.nodes: dict[int, yaml.Node] = {}  # id of each dataclass value made -> where it is written
        self._made: list[object] = []  # keeps those ids from being used again
        self._hints: dict[type, dict[str, Any]] = {}

    def problem(self, node: yaml.Node, message: str) -> None:
        self.problems.append(Problem(_where(node), message))
        if len(self.problems) >= MOST_PROBLEMS:
            raise ConfigError(self.problems)

    def read(self, node: yaml.Node, kind: Any, reader: Reader | None, key: str) -> Any:
        origin = typing.get_origin(kind)
        if origin in (types.UnionType, typing.Union):
            return self.read_union(node, typing.get_args(kind), reader, key)
        if origin in (tuple, frozenset):
            return self.read_sequence(node, typing.get_args(kind)[0], origin, reader, key)
        if origin is not None and issubclass(origin, Mapping):
            return self.read_mapping(node, typing.get_args(kind)[1], reader, key)
        if reader is None and dataclasses.is_dataclass(kind):
            return self.read_dataclass(node, typing.cast(type, kind), key)
        return self.read_scalar(node, kind, reader, key)

    def read_union(self, node: yaml.Node, parts: tuple[Any, ...], reader: Reader | None, key: str) -> Any:
        if type(None) in parts and _is_null(node):
            return None
        shapes = {_shape(part): part for part in parts if part is not type(None)}
        shape = type(node) if type(node) in shapes else next(iter(shapes))
        if len(shapes) > 1 and type(node) not in shapes:
            self.problem(node, f"{_place(key)}must be {' or '.join(_SHAPES[shape] for shape in shapes)}")
            return _FAILED
        # The reader belongs to the texts; a dataclass has its own.
        own = None if dataclasses.is_dataclass(shapes[shape]) and len(shapes) > 1 else reader
        return self.read(node, shapes[shape], own, key)

    def read_dataclass(self, node: yaml.Node, cls: type, key: str) -> Any:
        if _is_null(node):  # a heading whose keys are all commented out
            node = yaml.MappingNode(_MAP, [], node.start_mark, node.end_mark)
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, f"{_place(key)}must be a mapping of keys to values")
            return _FAILED
        hints = self._hints.get(cls) or self._hints.setdefault(cls, typing.get_type_hints(cls))
        fields = {f.metadata.get("key", f.name): f for f in dataclasses.fields(cls) if f.init}
        values: dict[str, Any] = {}
        failed = False
        for name, child, place in self.pairs(node):
            spec = fields.get(name)
            if spec is None:
                self.problem(place, f"{_place(key)}unknown key '{name[:80]}'{suggest(name, fields)}")
                continue
            value = self.read(child, hints[spec.name], spec.metadata.get("read"), name)
            if value is not _FAILED:
                values[spec.name] = value
            elif _is_required(spec):
                failed = True
        for name, spec in fields.items():
            if _is_required(spec) and spec.name not in values:
                if not any(name == given.value for given, _ in node.value):
                    self.problem(node, f"{_place(key)}{self.name(name, hints[spec.name])} is missing")
                failed = True
        if failed:
            return _FAILED
        made = cls(**values)
        self.nodes[id(made)] = node
        self._made.append(made)
        return made

    def pairs(self, node: yaml.MappingNode) -> list[tuple[str, yaml.Node, yaml.Node]]:
        """Return (key, value, place of the key); a duplicate key is a problem, never a silent override."""
        seen: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.problem(key, "a key must be a plain word")
            elif key.value in seen:
                self.problem(key, f"the key '{key.value[:80]}' is given twice")
            else:
                seen[key.value] = (value, key)
        return [(name, *places) for name, places in seen.items()]

    def read_sequence(self, node: yaml.Node, item: Any, origin: Any, reader: Reader | None, key: str) -> Any:
        if _is_null(node):
            return origin()
        if not isinstance(node, yaml.SequenceNode):
            self.problem(node, f"{_place(key)}must be a list")
            return _FAILED
        values = [self.read(child, item, reader, key) for child in node.value]
        return origin(value for value in values if value is not _FAILED)

    def read_mapping(self, node: yaml.Node, item: Any, reader: Reader | None, key: str) -> Any:
        if _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, f"{_place(key)}must be a mapping of keys to values")
            return _FAILED
        values = {name: self.read(child, item, reader, name) for name, child, _ in self.pairs(node)}
        return {name: value for name, value in values.items() if value is not _FAILED}

    def read_scalar(self, node: yaml.Node, kind: Any, reader: Reader | None, key: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self.problem(node, f"{_place(key)}must be a single value")
            return _FAILED
        try:
            if reader is not None:
                return reader(_read_str(node.value, node.tag))
            if isinstance(kind, type) and issubclass(kind, enum.Enum):
                return _read_enum(node.value, kind)
            return _SCALARS[kind](node.value, node.tag)
        except TextError as error:
            self.problem(node, f"{_place(key)}{error}")
            return _FAILED


_SHAPES = {yaml.MappingNode: "a mapping of keys to values", yaml.SequenceNode: "a list", yaml.ScalarNode: "one value"}


def _shape(kind: Any) -> type[yaml.Node]:
    origin = typing.get_origin(kind)
    if origin in (tuple, frozenset):
        return yaml.SequenceNode
    if dataclasses.is_dataclass(kind) or (origin is not None and issubclass(origin, Mapping)):
        return yaml.MappingNode
    return yaml.ScalarNode


def _is_required(spec: dataclasses.Field[Any]) -> bool:
    return spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING


def _place(key: str) -> str:
    return f"'{key[:80]}': " if key else ""


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def _read_enum(text: str, kind: type[enum.Enum]) -> enum.Enum:
    values = [str(member.value) for member in kind]
    # YAML 1.1 reads `off` as false; the text is what the person wrote.
    if text.lower() not in values:
        raise TextError(f"'{text[:80]}' is none of {', '.join(values)}{suggest(text, values)}")
    return kind(text.lower())


def _read_bool(text: str, tag: str) -> bool:
    if tag != _BOOL:
        raise TextError(f"'{text[:80]}' is neither yes nor no")
    return text.lower() in _TRUE


def _read_int(text: str, tag: str) -> int:
    try:
        return int(text, 10)
    except ValueError:
        raise TextError(f"'{text[:80]}' is not a whole number") from None


def _read_float(text: str, tag: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise TextError(f"'{text[:80]}' is not a number")
    return number


def _read_str(text: str, tag: str) -> str:
    if tag == _NULL:
        raise TextError("needs a value")
    return text


def _read_date(text: str, tag: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise TextError(f"'{text[:80]}' is not a date like 2026-12-31") from None


_SCALARS: dict[Any, Callable[[str, str], Any]] = {
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    str: _read_str,
    date: _read_date,
}
