"""The frame that base, tags and deltas share: what does not add up is refused with a clear word."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.blocklist import feed_file
from guardian.blocklist.feed_file import (
    MAX_HEADER_BYTES,
    open_file,
    pack_file,
    pack_numbers,
    read_numbers,
    take_array,
    take_digest,
    take_int,
    take_line,
    take_object,
    take_time,
    take_word,
)
from guardian.errors import ListError

MAGIC = b"GKTEST01"
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", max_size=3), _VALUES, max_size=5), st.binary(max_size=40))
def test_what_is_packed_is_read_again(header: dict[str, Any], sections: bytes) -> None:
    data = pack_file(MAGIC, header, sections, "it")
    found, rest = open_file(data, MAGIC, "it")
    assert found == header
    assert rest == sections
    assert (len(data) - len(sections)) % 8 == 0
    assert pack_file(MAGIC, dict(reversed(header.items())), sections, "it") == data


def frame(head: bytes, sections: bytes = b"", *, size: int | None = None, length: int | None = None) -> bytes:
    start = -(-(20 + len(head)) // 8) * 8
    whole = start + len(sections)
    front = struct.pack("<8sQI", MAGIC, whole if size is None else size, len(head) if length is None else length)
    return (front + head).ljust(start, b"\0") + sections


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin with GKTEST01"),
        (b"GKTEST02" + bytes(40), "does not begin with GKTEST01"),
        (MAGIC + bytes(5), "13 bytes do not hold its header"),
        (frame(b"{}", size=23), "24 bytes where 23 belong"),
        (frame(b"{}") + b"\0", "25 bytes where 24 belong"),
        (frame(b"{}", length=0xFFFFFFFF), "header does not fit"),
        (frame(b"{}", length=5), "header does not fit"),
        (frame(b"{}", length=1), "between header and sections"),
        (frame(b"{} " + b" " * MAX_HEADER_BYTES), "header does not fit"),
        (frame(b"{"), "no JSON"),
        (frame(b"\xff\xfe{\0}\0"), "no JSON"),
        (frame(b"\xef\xbb\xbf{}"), "no JSON"),
        (frame(b"[" * 100_000), "no JSON"),
        (frame(b'{"a":' + b"9" * 5000 + b"}"), "no JSON"),
        (frame(b"[1]"), "no object"),
    ],
)
def test_a_broken_frame_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ListError, match=f"the thing: .*{message}"):
        open_file(data, MAGIC, "the thing")


def test_a_file_that_would_be_too_large_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_file, "MAX_FILE_BYTES", 64)
    assert len(pack_file(MAGIC, {}, bytes(40), "it")) == 64
    with pytest.raises(ListError, match="72 bytes are more"):
        pack_file(MAGIC, {}, bytes(48), "it")
    with pytest.raises(ListError, match="72 bytes where 72 belong"):
        open_file(frame(b"{}", bytes(48)), MAGIC, "it")


@pytest.mark.parametrize("header", [{"a": float("nan")}, {"a": "\ud800"}, {"a": b""}, {"a": "x" * MAX_HEADER_BYTES}])
def test_a_header_that_cannot_be_written_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(ListError, match="its header"):
        pack_file(MAGIC, header, b"", "it")


@pytest.mark.parametrize("code", ["H", "I", "Q"])
def test_numbers_are_little_endian_and_not_copied(code: str) -> None:
    numbers = array(code, [1, 2, 255, 256])
    width = numbers.itemsize
    data = pack_numbers(numbers)
    assert data == b"".join(number.to_bytes(width, "little") for number in numbers)
    view = memoryview(b"abc" + data)
    found = read_numbers(view, 3, 4, code, "it")
    assert list(found) == [1, 2, 255, 256]
    assert isinstance(found, memoryview) == (sys.byteorder == "little")
    with pytest.raises(ListError, match="end too soon"):
        read_numbers(view, 4, 4, code, "it")


def test_on_a_big_endian_machine_numbers_are_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")  # the bytes are swapped once too often here, which shows that they are
    assert list(read_numbers(memoryview(b"\1\0\0\2"), 0, 2, "H", "it")) == [0x0100, 0x0002]
    numbers = array("H", [0x0100])
    assert pack_numbers(numbers) == b"\1\0"
    assert numbers[0] == 0x0100


BAD: list[tuple[Callable[..., Any], tuple[Any, ...], list[Any]]] = [
    (take_int, (0, 9), [None, -1, 10, 10**400, True, 1.0, "1"]),
    (take_time, (), [None, -1, 1 << 41, 10**400, float("inf"), float("nan"), True, "1"]),
    (take_word, (), [None, "", "A", "-a", "a-", "a" * 33, "a\n", "a/b", "..", 1]),
    (take_digest, (4,), [None, "abc", "abcde", "ABCD", "abc\n", "ghij", 1]),
    (take_object, (), [None, [], "a"]),
    (take_array, (2,), [None, {}, [1, 2, 3], "ab"]),
    (take_line, (3,), [None, "abcd", 1, "a\ud800", []]),
]


@pytest.mark.parametrize(("take", "arguments", "values"), BAD)
def test_a_field_that_is_not_what_it_should_be_is_named(
    take: Callable[..., Any], arguments: tuple[Any, ...], values: list[Any]
) -> None:
    for value in values:
        with pytest.raises(ListError, match="it: 'field' must"):
            take({"field": value}, "field", *arguments, "it")
    with pytest.raises(ListError, match="it: 'field' must"):
        take({}, "field", *arguments, "it")


def test_good_fields() -> None:
    header = {"int": 9, "time": 5, "word": "csam-md", "digest": "0a1f", "object": {}, "array": [1, 2], "line": "абв"}
    assert take_int(header, "int", 0, 9, "it") == 9
    assert take_time(header, "time", "it") == 5.0
    assert take_word(header, "word", "it") == "csam-md"
    assert take_digest(header, "digest", 4, "it") == "0a1f"
    assert take_object(header, "object", "it") == {}
    assert take_array(header, "array", 2, "it") == [1, 2]
    assert take_line(header, "line", 3, "it") == "абв"
    assert take_line(header, "none", 3, "it", "") == ""
