"""What an image remembers of each list that went into it, for `guardian lists show` and `guardian status`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from guardian.blocklist.entry import Example
from guardian.errors import ListError


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """One list of an image.

    `notes` is what its bringer knows: url, licence, fetched and modified (epoch seconds), signed or not.
    """

    name: str
    tag: str
    action: str  # "block", or "allow" for a list that takes names out of the tag
    format: str
    lines: int = 0
    content: int = 0  # lines that are neither empty nor comments
    entries: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


def format_facts(sources: Sequence[SourceFacts]) -> bytes:
    """Return the facts as the bytes of the image's section."""
    return json.dumps([asdict(source) for source in sources], separators=(",", ":")).encode()


def parse_facts(data: bytes) -> tuple[SourceFacts, ...]:
    """Return the facts of an image's section. Raises ListError."""
    try:
        return tuple(_read_source(item) for item in json.loads(data))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ListError(f"the image's facts about its lists are broken: {error}") from None


def _read_source(item: dict[str, Any]) -> SourceFacts:
    examples = {
        reason: [Example(int(line), str(text)) for line, text in kept]
        for reason, kept in dict(item["examples"]).items()
    }
    return SourceFacts(**{**item, "examples": examples})
