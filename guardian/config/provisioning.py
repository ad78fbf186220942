"""The provider's file, which lies over the settings of a home: what an ISP writes once for a hundred thousand boxes.

What it gives holds, whatever the home's settings say of the same key: a stale line of theirs must not cost them the
filter. Such lines are told (`guardian check`, the log), with both places. All paths in it start at its own folder.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field
from typing import Any

import yaml

from guardian.config.checks import check_hotline, check_mandatory
from guardian.config.text import (
    Upstream,
    read_address_of_reports,
    read_choice,
    read_file_name,
    read_line,
    read_upstream,
)
from guardian.config.values import LANGUAGES, HotlineConfig, MandatoryList, Strategy
from guardian.errors import ConfigError, Problem
from guardian.typed_yaml import Locate, compose, decode_node, read_text

DEFAULT_PROVISIONING = "/etc/guardian/provisioning.yaml"
# The settings files that it lies over without being named there: those of the packages.
PACKAGED = ("/etc/guardian/guardian.yaml", "/etc/config/guardian")
_TEXT, _LIST, _MAP = "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"
_NULL = "tag:yaml.org,2002:null"
# Where each of its keys lies in the settings. `claim_code`, `lists.mandatory` and `hotline` have rules of their own.
_PLACES = {
    ("provider",): ("provider",),
    ("support",): ("block", "support"),
    ("languages",): ("languages",),
    ("upstreams", "servers"): ("upstreams", "servers"),
    ("upstreams", "strategy"): ("upstreams", "strategy"),
    ("hotline",): ("hotline",),
    ("reports",): ("web", "reports"),
}
_FILES_OF_HOTLINE = (("root",), ("push", "password"), ("push", "ca"), ("push", "certificate"), ("push", "key"))


NO_HOTLINE = HotlineConfig()


class ClaimPolicy(enum.Enum):
    LABEL = "label"  # the code that is printed on the box; a file has it
    MADE = "made"  # one is made at the first start


@dataclass(frozen=True, slots=True)
class ClaimCode:
    """Which code the first visit asks for."""

    policy: ClaimPolicy
    file: str = field(default="", metadata={"read": read_file_name})  # of `label`


@dataclass(frozen=True, slots=True)
class ProvidedUpstreams:
    """Where questions go; without a strategy the home's holds."""

    servers: tuple[Upstream, ...] = field(metadata={"read": read_upstream})
    strategy: Strategy | None = None


@dataclass(frozen=True, slots=True)
class ProvidedLists:
    """Lists that hold for every device of every home."""

    mandatory: tuple[MandatoryList, ...] = ()


@dataclass(frozen=True, slots=True)
class Provisioning:
    """All of the provider's file."""

    provider: str = field(metadata={"read": read_line})  # its name, as pages say it
    support: str = field(default="", metadata={"read": read_line})  # whom to call, one line
    # that pages offer, the first is the default
    languages: tuple[str, ...] = field(default=LANGUAGES, metadata={"read": read_choice(*LANGUAGES)})
    claim_code: ClaimCode | None = None  # None: as the home's settings say
    upstreams: ProvidedUpstreams | None = None
    lists: ProvidedLists = ProvidedLists()
    hotline: HotlineConfig = NO_HOTLINE
    reports: str = field(default="", metadata={"read": read_address_of_reports})  # where reports go


class Provided:
    """A provider's file that was read: its value, and the nodes that say it."""

    def __init__(self, value: Provisioning, root: yaml.MappingNode, path: str) -> None:
        self.value = value
        self.root = root
        self.folder = os.path.dirname(os.path.abspath(path))


def load_provisioning(path: str) -> Provided:
    """Return what the provider's file says. Raises ConfigError with every problem, each with its line."""
    root = compose(read_text(path), path)
    value = decode_node(root, path, Provisioning, _check).value
    assert isinstance(root, yaml.MappingNode)  # else `provider` would be missing
    return Provided(value, root, path)


def find_provisioning(root: yaml.Node, path: str) -> str:
    """Return the path of the provider's file for the settings `root` of the file at `path`; "" where there is none.

    Raises ConfigError when the settings name one that is not there.
    """
    folder = os.path.dirname(os.path.abspath(path))
    named = _find(root, ("provisioning",))
    if named is not None and isinstance(named, yaml.ScalarNode) and named.value and named.tag != _NULL:
        found = os.path.normpath(os.path.join(folder, named.value.replace("\0", "")))
        if not os.path.exists(found):
            where = Locate(root, {})("provisioning")
            raise ConfigError(
                [Problem(where, f"'provisioning': {found} is not there: correct the path, or leave it out")]
            )
        return found
    is_packaged = os.path.abspath(path) in PACKAGED
    return DEFAULT_PROVISIONING if is_packaged and os.path.exists(DEFAULT_PROVISIONING) else ""


def _check(value: Provisioning, locate: Locate) -> list[Problem]:
    problems = [*check_hotline(value.hotline, locate), *check_mandatory(value.lists.mandatory, locate)]
    if not value.provider:
        problems.append(Problem(locate("provider"), "'provider' is empty: the name by which parents know you"))
    if not value.languages:
        problems.append(Problem(locate("languages"), "'languages' is empty: pages need one; leave it out for all"))
    if value.upstreams is not None and not value.upstreams.servers:
        problems.append(Problem(locate("upstreams", "servers"), "'servers' is empty: nobody would answer"))
    claim = value.claim_code
    if claim is not None and claim.policy is ClaimPolicy.LABEL and not claim.file:
        text = "'policy: label' needs 'file': where the box keeps the code that is printed on its label"
        problems.append(Problem(locate("claim_code", "policy"), text))
    if claim is not None and claim.policy is ClaimPolicy.MADE and claim.file:
        text = "'file' is for 'policy: label': a code that is made is kept in the state directory"
        problems.append(Problem(locate("claim_code", "file"), text))
    for index, entry in enumerate(value.lists.mandatory):
        if entry.provider:
            text = "'provider' of a list is you: leave it out here"
            problems.append(Problem(locate("lists", "mandatory", index, "provider"), text))
    return problems


def lay_over(root: yaml.Node, provided: Provided) -> list[Problem]:
    """Put what the provider gives into the tree of a home's settings; return what the home had said otherwise there.

    Parts of the tree that are no mapping although they must be stay as they are, for the decoder to complain of.
    """
    notes: list[Problem] = []
    if not isinstance(root, yaml.MappingNode):
        return notes
    _place_files(provided)
    for theirs, place in _PLACES.items():
        pair = _find_pair(provided.root, theirs)
        if pair is not None and not _is_null(pair[1]):
            notes += _put(root, place, pair, provided)
    notes += _put_claim_code(root, provided)
    notes += _put_mandatory(root, provided)
    notes += _drop_language(root, provided)
    return sorted(notes, key=lambda note: int(note.where.rpartition(":")[2]))


Pair = tuple[yaml.Node, yaml.Node]


def _place_files(provided: Provided) -> None:
    """Make the paths in the provider's nodes absolute: the settings are in another folder."""
    files = [_find(provided.root, ("hotline", *steps)) for steps in _FILES_OF_HOTLINE]
    files.append(_find(provided.root, ("claim_code", "file")))
    lists = _find(provided.root, ("lists", "mandatory"))
    files += [_find(entry, ("file",)) for entry in (lists.value if isinstance(lists, yaml.SequenceNode) else ())]
    for node in files:
        if node is not None and not _is_null(node) and node.value:
            node.value = os.path.normpath(os.path.join(provided.folder, node.value))
    servers = _find(provided.root, ("upstreams", "servers"))
    for node in servers.value if isinstance(servers, yaml.SequenceNode) else ():
        upstream, mark, file = node.value.partition("?ca=")
        node.value = upstream + mark + (os.path.normpath(os.path.join(provided.folder, file)) if mark else "")


def _put(root: yaml.MappingNode, place: tuple[str, ...], pair: Pair, provided: Provided) -> list[Problem]:
    """Put a pair of key and value at a place of the settings; return a note when something else was there."""
    key, value = pair
    owner = root
    for step in place[:-1]:
        found = _find_pair(owner, (step,))
        if found is None or _is_null(found[1]):
            inner = yaml.MappingNode(_MAP, [], key.start_mark, value.end_mark)
            _replace(owner, step, (_word(step, key), inner))
            owner = inner
        elif isinstance(found[1], yaml.MappingNode):
            owner = found[1]
        else:
            return []
    before = _find_pair(owner, place[-1:])
    _replace(owner, place[-1], (_word(place[-1], key), value))
    if before is None or _is_null(before[1]):
        return []
    return [_note(old, name, place, key, provided) for old, name in _differences(before, value)]


def _differences(before: Pair, value: yaml.Node) -> list[tuple[yaml.Node, str]]:
    """The keys of what a home had said that say something else than the provider; "" for a single value."""
    key, old = before
    if isinstance(old, yaml.MappingNode) and isinstance(value, yaml.MappingNode):
        return [
            (name, name.value)
            for name, node in old.value
            if _plain(node) != _plain(_find(value, (str(name.value),))) and not _is_null(node)
        ]
    return [] if _plain(old) == _plain(value) else [(key, "")]


def _note(old: yaml.Node, name: str, place: tuple[str, ...], key: yaml.Node, provided: Provided) -> Problem:
    what = ".".join((*place, name)) if name else ".".join(place)
    who = provided.value.provider
    where = f"{key.start_mark.name}:{key.start_mark.line + 1}"
    message = f"'{what}' does not hold: {who} sets it in {where}"
    return Problem(f"{old.start_mark.name}:{old.start_mark.line + 1}", message)


def _put_claim_code(root: yaml.MappingNode, provided: Provided) -> list[Problem]:
    claim, pair = provided.value.claim_code, _find_pair(provided.root, ("claim_code",))
    if claim is None or pair is None:
        return []
    file = _find(pair[1], ("file",)) if claim.policy is ClaimPolicy.LABEL else None
    return _put(root, ("web", "claim_code"), (pair[0], file or _word("", pair[0])), provided)


def _put_mandatory(root: yaml.MappingNode, provided: Provided) -> list[Problem]:
    """The provider's lists come first, under its name; those of the home that have other names stay."""
    pair = _find_pair(provided.root, ("lists", "mandatory"))
    if pair is None or not isinstance(pair[1], yaml.SequenceNode):
        return []
    names = [entry.name for entry in provided.value.lists.mandatory]
    for entry in pair[1].value:
        who = yaml.ScalarNode(_TEXT, provided.value.provider, entry.start_mark, entry.end_mark)
        _replace(entry, "provider", (_word("provider", entry), who))
    theirs = dict(zip(names, pair[1].value, strict=True))
    before = _find(root, ("lists", "mandatory"))
    kept, notes = [], []
    for entry in before.value if isinstance(before, yaml.SequenceNode) else ():
        name = _find(entry, ("name",))
        given = theirs.get(str(name.value)) if name is not None else None
        if given is None:
            kept.append(entry)
        elif _plain(_find(entry, ("file",))) != _plain(_find(given, ("file",))):
            notes.append(_note(entry, str(name and name.value), ("lists", "mandatory"), given, provided))
    if before is not None and not isinstance(before, yaml.SequenceNode) and not _is_null(before):
        return []
    whole = yaml.SequenceNode(_LIST, [*pair[1].value, *kept], pair[1].start_mark, pair[1].end_mark)
    _put(root, ("lists", "mandatory"), (pair[0], whole), provided)
    return notes


def _drop_language(root: yaml.MappingNode, provided: Provided) -> list[Problem]:
    """A language that the provider's pages do not have gives way to its first."""
    pair = _find_pair(root, ("language",))
    key = _find_pair(provided.root, ("languages",))
    if pair is None or key is None or not isinstance(pair[1], yaml.ScalarNode):
        return []
    word = pair[1].value.lower()
    if word not in LANGUAGES or word in provided.value.languages:
        return []
    root.value.remove(pair)
    return [_note(pair[0], "", ("language",), key[0], provided)]


def _word(text: str, place: yaml.Node) -> yaml.Node:
    return yaml.ScalarNode(_TEXT, text, place.start_mark, place.end_mark)


def _replace(owner: yaml.MappingNode, name: str, pair: Pair) -> None:
    for index, (key, _) in enumerate(owner.value):
        if key.value == name:
            owner.value[index] = pair
            return
    owner.value.append(pair)


def _find_pair(node: yaml.Node, steps: tuple[str, ...]) -> Pair | None:
    """The key and value at a path of keys; None where there is none."""
    found: Pair | None = None
    for step in steps:
        if not isinstance(node, yaml.MappingNode):
            return None
        found = next(((key, value) for key, value in node.value if key.value == step), None)
        if found is None:
            return None
        node = found[1]
    return found


def _find(node: yaml.Node, steps: tuple[str, ...]) -> yaml.Node | None:
    found = _find_pair(node, steps)
    return found[1] if found is not None else None


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def _plain(node: yaml.Node | None) -> Any:
    """What a node says, to be compared; the places are left out."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(value) for value in node.value]
    return str(node.value) if node is not None else None
