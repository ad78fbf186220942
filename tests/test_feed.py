"""The JSON of a feed: what is written is read back, what is odd is refused with its place, what is new is let pass."""

from __future__ import annotations

import json

import pytest

from guardian.errors import ListError
from guardian.feed import (
    BulkConsent,
    Delta,
    Feed,
    FeedList,
    Hint,
    ListedFile,
    ListIndex,
    TagClass,
    Target,
    Text,
    bulk_path,
    bulk_role,
    decode,
    encode,
    index_path,
)

FILE = ListedFile("lists/csam-md/42.tags", 800_000, "ab" * 32)
TEXT = Text(en="Police", ro="Poliția", ru="Полиция")
FEED = Feed(name="Test", epoch="2026q4", base=FILE, lists=[FeedList("csam-md", TEXT)], test_name="listed.test")
INDEX = ListIndex(
    list_id="csam-md", serial=42, epoch="2026q4", created=1.5, entries=3, whole=FILE, deltas=[Delta(41, 42, FILE)]
)


@pytest.mark.parametrize(
    "target",
    [FEED, INDEX, BulkConsent(list_id="csam-md", serial=42, sha256="ab" * 32, reason="a new source"), Hint(version=7)],
)
def test_there_and_back(target: Target) -> None:
    data = encode(target)
    assert decode(data, type(target), "x.json") == target and data == encode(target) and data.endswith(b"\n")


def test_what_a_newer_desk_says_is_let_pass() -> None:
    told = json.loads(encode(FEED)) | {"colour": "blue"}
    assert decode(json.dumps(told).encode(), Feed, "feed.json") == FEED


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": 2}, "feed.json: Expected `int` <= 1 - at `$.schema`"),
        ({"epoch": "../x"}, "$.epoch"),
        ({"epoch": "UPPER"}, "$.epoch"),
        ({"epoch": "2026q4\n"}, "$.epoch"),
        ({"base": {"path": "base/x\n", "size": 1, "sha256": "ab" * 32}}, "$.base.path"),
        ({"lists": [{"id": "x/y", "title": {"en": "", "ro": "", "ru": ""}}]}, "$.lists[0].id"),
        ({"base": {"path": "/etc/passwd", "size": 1, "sha256": "ab" * 32}}, "$.base.path"),
        ({"base": {"path": "base/../x", "size": 1, "sha256": "ab" * 32}}, "$.base.path"),
        ({"base": {"path": "base//x", "size": 1, "sha256": "ab" * 32}}, "$.base.path"),
        ({"base": {"path": "base/x" * 30, "size": 1, "sha256": "ab" * 32}}, "$.base.path"),
        ({"base": {"path": "base/x", "size": 1 << 40, "sha256": "ab" * 32}}, "$.base.size"),
        ({"base": {"path": "base/x", "size": 0, "sha256": "ab" * 32}}, "$.base.size"),
        ({"base": {"path": "base/x", "size": 1, "sha256": "AB" * 32}}, "$.base.sha256"),
        ({"test_name": "x" * 301}, "$.test_name"),
    ],
)
def test_odd_fields_are_refused_with_their_place(change: dict[str, object], why: str) -> None:
    told = json.loads(encode(FEED)) | change
    with pytest.raises(ListError) as caught:
        decode(json.dumps(told).encode(), Feed, "feed.json")
    assert why in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"null", b'{"schema": 1}', b"[" * 100_000])
def test_what_is_no_target(data: bytes) -> None:
    with pytest.raises(ListError, match=r"feed\.json: "):
        decode(data, Feed, "feed.json")


@pytest.mark.parametrize(("basis", "error"), [("law_order", 16), ("court", 16), ("voluntary", 15)])
def test_the_extended_error(basis: str, error: int) -> None:
    assert TagClass(severity="national", legal_basis=basis, authority=TEXT).error == error


def test_places() -> None:
    assert index_path("csam-md") == "lists/csam-md/index.json"
    assert bulk_path("csam-md", 7) == "bulk/csam-md/7.json" and bulk_role("csam-md") == "csam-md-bulk"
