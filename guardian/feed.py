"""What desk and router say to each other, as values: the JSON targets of a feed, the hint, the state of a router.

docs/feed.md tells the whole format. Times are epoch seconds, sizes bytes, digests lower-case hex. Decoding is strict in
types and lets unknown fields pass: a newer desk serves an older router.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from guardian.errors import ListError

SCHEMA = 1
MAX_TARGET_BYTES = 64 << 20
MAX_DELTAS = 30
SPREAD_SECONDS = 300
FEED = "feed.json"

Schema = Annotated[int, Meta(ge=1, le=SCHEMA)]
Word = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$(?!\n)")]  # of lists, epochs and builds
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Count = Annotated[int, Meta(ge=0, le=1 << 32)]
Size = Annotated[int, Meta(ge=1, le=MAX_TARGET_BYTES)]
Line = Annotated[str, Meta(max_length=300)]
Shape = TypeVar("Shape", bound="Target")


class Text(Struct, frozen=True):
    """A text in every language of the product."""

    en: Line
    ro: Line
    ru: Line


class Target(Struct, frozen=True, kw_only=True):
    """What every JSON target begins with."""

    schema: Schema = SCHEMA


class ListedFile(Struct, frozen=True):
    """A file of the feed, by its place below `targets/`."""

    path: Annotated[str, Meta(pattern=r"^[a-z0-9]+([./-][a-z0-9]+)*$(?!\n)", max_length=120)]
    size: Size
    sha256: Digest


class FeedList(Struct, frozen=True):
    """A list of the feed."""

    id: Word
    title: Text


class Feed(Target, frozen=True, kw_only=True):
    """`feed.json`: what there is. `test_name` is a listed name that everybody may look up; "" = none."""

    name: Line
    epoch: Word
    base: ListedFile
    lists: Annotated[list[FeedList], Meta(max_length=16)]
    test_name: Line = ""
    minimum_version: Line = ""  # of Guardian: older ones should be updated


class Delta(Struct, frozen=True):
    """The way from the serial before to this one."""

    start: Count
    end: Count
    file: ListedFile


class ListIndex(Target, frozen=True, kw_only=True):
    """`lists/LIST/index.json`: the newest state of a list, and the ways there."""

    list_id: Word = msgspec.field(name="list")
    serial: Count
    epoch: Word
    created: float
    entries: Count
    whole: ListedFile
    deltas: Annotated[list[Delta], Meta(max_length=MAX_DELTAS)] = []
    journal: str = ""  # hash of the desk's journal when this was published


class BulkConsent(Target, frozen=True, kw_only=True):
    """`bulk/LIST/SERIAL.json`: other people agree with a large change, for exactly this file."""

    list_id: Word = msgspec.field(name="list")
    serial: Count
    sha256: Digest  # of the whole list
    reason: Line


class Hint(Target, frozen=True, kw_only=True):
    """A push message: there may be something new."""

    version: Count  # of timestamp.json
    urgent: bool = False
    spread: Annotated[int, Meta(ge=0, le=SPREAD_SECONDS)] = SPREAD_SECONDS


class TagClass(Struct, frozen=True, kw_only=True):
    """Who blocks, by which law: public, the same for many entries. `error` is the Extended DNS Error (RFC 8914)."""

    severity: Annotated[str, Meta(pattern=r"^(baseline|national)$(?!\n)")]
    legal_basis: Annotated[str, Meta(pattern=r"^(law_order|court|voluntary)$(?!\n)")]
    authority: Text
    order_ref: Line = ""
    message: Text | None = None
    appeal: Line = ""  # where an owner of a site complains

    @property
    def error(self) -> int:
        """16 Censored for an order, 15 Blocked for a voluntary list."""
        return 15 if self.legal_basis == "voluntary" else 16


def decode(data: bytes, shape: type[Shape], name: str) -> Shape:
    """Return a JSON target. Raises ListError with the target's name, the field and what is wrong."""
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.MsgspecError, RecursionError) as error:  # the latter: a thousand brackets in an unknown field
        raise ListError(f"{name}: {error}") from None


def encode(target: Struct) -> bytes:
    """Return a target's bytes: the same for the same values, a line feed at the end."""
    plain: Any = msgspec.to_builtins(target)
    return msgspec.json.format(msgspec.json.encode(plain, order="sorted"), indent=1) + b"\n"


def index_path(list_id: str) -> str:
    """Return the place of a list's index below `targets/`."""
    return f"lists/{list_id}/index.json"


def bulk_path(list_id: str, serial: int) -> str:
    """Return the place of the consent to a large change below `targets/`."""
    return f"bulk/{list_id}/{serial}.json"


def bulk_role(list_id: str) -> str:
    """Return the TUF role of those who agree with large changes."""
    return f"{list_id}-bulk"
