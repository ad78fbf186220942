"""UCI sections -> the tree of nodes that YAML settings make, so that one decoder reads both, each with its own lines.

The mapping follows the types of `Config` and knows no key by name: a section of guardian.yaml is a section here, one in
another is called by both (`config web_tls`), a list of mappings is a section for each (`config forward`), and what
stands alone at the top is an option of `config guardian 'main'`.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import yaml

from guardian.config.uci import Section, Setting, parse_uci
from guardian.errors import Problem
from guardian.typed_yaml import find_nearest

MAIN = "guardian"  # the section of what stands alone at the top
MAIN_NAME = "main"  # under which the init script asks for it
NOTHING = "none"  # `option listen 'none'` is the empty list
_TRUE = frozenset({"1", "on", "yes", "true", "enabled"})
_FALSE = frozenset({"0", "off", "no", "false", "disabled"})
_TAG_BOOL, _TAG_TEXT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:str"
_TAG_LIST, _TAG_MAP = "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"
# What the init script asks for itself: nothing of it is the product's.
_OF_INIT_SCRIPT = {"enabled": (*sorted(_TRUE | _FALSE),), "mode": ("behind", "front")}


class _Field(NamedTuple):
    kind: str  # "option" or "list", the command that gives it
    is_flag: bool


class _Shape(NamedTuple):
    """What a section of one type may hold, and where it belongs in the tree."""

    path: tuple[str, ...]
    is_repeated: bool
    fields: dict[str, _Field]
    inner: dict[str, str]  # key -> the section type that holds it


class _Part:
    """A mapping that grows while sections are read."""

    def __init__(self, line: int) -> None:
        self.first = self.last = line
        self.parts: dict[str, tuple[int, _Part | list[_Part] | yaml.Node]] = {}

    def span(self, line: int) -> None:
        self.first, self.last = min(self.first, line), max(self.last, line)


def compose_uci(text: str, file: str, cls: type) -> tuple[yaml.Node, list[Problem]]:
    """Return the tree that an UCI text says of the dataclass `cls`, and every problem of the text. Raises ConfigError.

    Each problem has the line and the words of the UCI file. Parts with a problem are left out of the tree.
    """
    sections, problems = parse_uci(text, file)
    return _Composer(file, list_shapes(cls), problems).compose(sections), problems


def name_setting(name: str, kind: Any) -> str:
    """Return how UCI calls a key that is missing; `kind` is the type of its value."""
    if dataclasses.is_dataclass(kind):
        return f"the section 'config {name}'"
    return f"'{'list' if typing.get_origin(kind) in (tuple, frozenset) else 'option'} {name}'"


@cache
def list_shapes(cls: type) -> dict[str, _Shape]:
    """Return section type -> what it may hold, for a dataclass of settings."""
    shapes: dict[str, _Shape] = {}
    _add_shape(shapes, cls, MAIN, (), is_repeated=False)
    return shapes


def _add_shape(shapes: dict[str, _Shape], cls: type, type_: str, path: tuple[str, ...], *, is_repeated: bool) -> None:
    shape = _Shape(path, is_repeated, {}, {})
    if type_ in shapes:
        raise TypeError(f"two sections would be called '{type_}': {shapes[type_].path} and {path}")
    shapes[type_] = shape
    hints = typing.get_type_hints(cls)
    for spec in dataclasses.fields(cls):
        key, kind = spec.metadata.get("key", spec.name), hints[spec.name]
        is_list = typing.get_origin(kind) in (tuple, frozenset)
        item = typing.get_args(kind)[0] if is_list else kind
        if dataclasses.is_dataclass(item) and "read" not in spec.metadata:
            inner = key if is_list else "_".join((*path, key))
            shape.inner[key] = inner
            _add_shape(shapes, typing.cast(type, item), inner, (*path, key), is_repeated=is_list)
        else:
            shape.fields[key] = _Field("list" if is_list else "option", kind is bool)


class _Composer:
    def __init__(self, file: str, shapes: dict[str, _Shape], problems: list[Problem]) -> None:
        self._file = file
        self._shapes = shapes
        self._problems = problems
        self._seen: dict[str, int] = {}

    def compose(self, sections: list[Section]) -> yaml.Node:
        root = _Part(1)
        for section in sections:
            shape = self._shapes.get(section.type)
            if shape is None:
                near = find_nearest(section.type, self._shapes)
                hint = f", did you mean 'config {near}'?" if near else f" (known: {', '.join(self._shapes)})"
                self._note(section.line, f"unknown section 'config {section.type[:80]}'{hint}")
            elif self._is_in_place(section, shape):
                self._fill(self._find_part(root, section, shape), section, shape)
        return self._make(root)

    def _note(self, line: int, message: str) -> None:
        self._problems.append(Problem(f"{self._file}:{line}", message))

    def _is_in_place(self, section: Section, shape: _Shape) -> bool:
        first = self._seen.setdefault(section.type, section.line)
        if first != section.line and not shape.is_repeated:
            self._note(section.line, f"'config {section.type}' is there already (line {first}): put both together")
            return False
        if section.type == MAIN and section.name != MAIN_NAME:
            self._note(section.line, f"this section needs its name: config {MAIN} '{MAIN_NAME}'")
        return True

    def _find_part(self, root: _Part, section: Section, shape: _Shape) -> _Part:
        """Return the part of the tree that a section fills; parts on the way are made."""
        last = max([section.line, *(setting.last_line for setting in section.settings)])
        part = root
        for depth, key in enumerate(shape.path, 1):
            part.span(last)
            is_end = depth == len(shape.path)
            _, found = part.parts.get(key, (0, None))
            if is_end and shape.is_repeated:
                entries = found if isinstance(found, list) else []
                inner = _Part(section.line)
                entries.append(inner)
                part.parts.setdefault(key, (section.line, entries))
            elif isinstance(found, _Part):
                inner = found
                if is_end:  # a section in it came first
                    part.parts[key] = section.line, inner
            else:
                inner = _Part(section.line)
                part.parts[key] = section.line, inner
            inner.span(section.line)
            part = inner
        part.span(last)
        return part

    def _fill(self, part: _Part, section: Section, shape: _Shape) -> None:
        given: dict[str, list[Setting]] = {}
        for setting in section.settings:
            given.setdefault(setting.name, []).append(setting)
        for name, settings in given.items():
            known = shape.fields.get(name)
            if known is not None:
                node = self._make_value(name, settings, known)
                if node is not None:
                    part.parts[name] = settings[0].line, node
            elif section.type == MAIN and name in _OF_INIT_SCRIPT:
                self._check_of_init_script(name, settings)
            else:
                for setting in settings:
                    self._note(setting.line, self._explain_unknown(setting, section, shape))

    def _explain_unknown(self, setting: Setting, section: Section, shape: _Shape) -> str:
        what = f"'{section.type}': unknown {setting.kind} '{setting.name[:80]}'"
        if setting.name in shape.inner:
            return f"{what}: it is a section of its own, 'config {shape.inner[setting.name]}'"
        homes = [type_ for type_, other in self._shapes.items() if setting.name in other.fields]
        if len(homes) == 1:
            return f"{what}: it belongs into 'config {homes[0]}'"
        near = find_nearest(setting.name, shape.fields)
        return f"{what}, did you mean '{shape.fields[near].kind} {near}'?" if near is not None else what

    def _check_of_init_script(self, name: str, settings: list[Setting]) -> None:
        known = _OF_INIT_SCRIPT[name]
        setting = self._only_one(name, settings)
        if setting is not None and setting.value and setting.value not in known:
            self._note(setting.line, f"'{name}': '{setting.value[:80]}' is none of {', '.join(known)}")

    def _only_one(self, name: str, settings: list[Setting]) -> Setting | None:
        if settings[0].kind == "list":
            self._note(settings[0].line, f"'{name}' has one value: write 'option {name}', not 'list {name}'")
            return None
        if len(settings) > 1:
            line = settings[0].line
            self._note(settings[1].line, f"'{settings[1].kind} {name}' is given twice (first on line {line})")
            return None
        return settings[0]

    def _make_value(self, name: str, settings: list[Setting], known: _Field) -> yaml.Node | None:
        """Return the node of one key, None where it is not given: an empty option is none, as in libuci."""
        if known.kind == "list":
            return self._make_list(name, settings)
        setting = self._only_one(name, settings)
        if setting is None or not setting.value:
            return None
        word = setting.value.lower()
        if known.is_flag and word in _TRUE | _FALSE:
            return self._scalar(setting, "yes" if word in _TRUE else "no", _TAG_BOOL)
        return self._scalar(setting, setting.value, _TAG_TEXT)

    def _make_list(self, name: str, settings: list[Setting]) -> yaml.Node | None:
        options = [setting for setting in settings if setting.kind == "option"]
        if options and len(settings) > 1:
            other = next(setting for setting in settings if setting is not settings[0])
            self._note(other.line, f"'{name}' is a list: write 'list {name}' for each of its values")
            return None
        if options and not options[0].value:
            return None
        is_none = bool(options) and options[0].value == NOTHING
        entries = [] if is_none else [self._scalar(setting, setting.value, _TAG_TEXT) for setting in settings]
        first, last = settings[0].line, max(setting.last_line for setting in settings)
        return yaml.SequenceNode(_TAG_LIST, entries, self._mark(first), self._mark(last, 1))

    def _scalar(self, setting: Setting, text: str, tag: str) -> yaml.Node:
        return yaml.ScalarNode(tag, text, self._mark(setting.line), self._mark(setting.last_line, 1))

    def _make(self, part: _Part) -> yaml.Node:
        pairs: list[tuple[yaml.Node, yaml.Node]] = []
        for key, (line, value) in part.parts.items():
            if isinstance(value, _Part):
                node = self._make(value)
            elif isinstance(value, list):
                node = self._make_entries(value)
            else:
                node = value
            pairs.append((yaml.ScalarNode(_TAG_TEXT, key, self._mark(line), self._mark(line, 1)), node))
        return yaml.MappingNode(_TAG_MAP, pairs, self._mark(part.first), self._mark(part.last, 1))

    def _make_entries(self, parts: Iterable[_Part]) -> yaml.Node:
        nodes = [self._make(part) for part in parts]
        return yaml.SequenceNode(_TAG_LIST, nodes, nodes[0].start_mark, nodes[-1].end_mark)

    def _mark(self, line: int, column: int = 0) -> yaml.Mark:
        return yaml.Mark(self._file, 0, line - 1, column, None, 0)
