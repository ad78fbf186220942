"""The public lists that `guardian sync` may fetch: `blocklists/sources.yaml` or an ISP's own file."""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from guardian.blocklist.addresses import FORMAT as ADDRESSES
from guardian.catalogue.place import find_data
from guardian.catalogue.shapes import Words, by_reader, read_bytes, read_tags
from guardian.errors import Problem
from guardian.typed_yaml import Locate, decode, read_text


class SourceAction(enum.Enum):
    LIST = "list"  # a listed name has the tags
    EXEMPT = "exempt"  # a listed name has none of the tags, whatever other lists say


@dataclass(frozen=True, slots=True)
class Source:
    """A public list that `guardian sync` fetches. `limit` is in bytes, on the wire and unpacked."""

    url: str  # https://, http:// (tests, an ISP's own network), file:// or a path
    tags: Words = field(metadata=by_reader(read_tags))
    format: str = "auto"  # `addresses`: a list of addresses, which gets one tag, `bypass:NAME`
    licence: str = ""
    limit: int = field(default=16 * 1024 * 1024, metadata=by_reader(read_bytes))
    action: SourceAction = SourceAction.LIST
    enabled: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Sources:
    sources: Mapping[str, Source]


def load_sources(path: str = "") -> Mapping[str, Source]:
    """Return the sources of the file at `path`, "" = the packaged one, by id in file order. Raises ConfigError."""
    path = path or os.path.join(find_data(), "sources.yaml")
    return decode(read_text(path), path, _Sources, _check_sources).sources


def _check_sources(file: _Sources, locate: Locate) -> list[Problem]:
    problems = []
    for source_id, source in file.sources.items():
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,60}", source_id):  # it becomes a file name
            problems.append(Problem(locate("sources", source_id), f"'{source_id[:80]}' is not an id like ut1-gambling"))
        if not source.url:
            problems.append(Problem(locate("sources", source_id, "url"), "'url' is empty"))
        if source.format == ADDRESSES:
            problems += _check_address_source(source_id, source, locate)
    return problems


def _check_address_source(source_id: str, source: Source, locate: Locate) -> Iterator[Problem]:
    if len(source.tags) != 1 or not source.tags[0].startswith("bypass:"):
        yield Problem(locate("sources", source_id, "tags"), "a list of addresses has one tag, of the kind bypass:NAME")
    if source.action is SourceAction.EXEMPT:
        yield Problem(locate("sources", source_id, "action"), "a list of addresses cannot exempt")
