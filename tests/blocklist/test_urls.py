from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.blocklist.urls import MAX_SEGMENTS, normalize_path, prefixes


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"", b"/"),
        (b"/", b"/"),
        (b"x", b"/x"),
        (b"/a/./b/../c", b"/a/c"),
        (b"/a/..", b"/"),
        (b"/../../a", b"/a"),
        (b"/%2e%2E/a", b"/a"),
        (b"/%61%2f%7e", b"/a%2F~"),
        (b"/%2561", b"/%2561"),
        (b"/%", b"/%25"),
        (b"/a b\xff", b"/a%20b%FF"),
        (b"/a//b/", b"/a/b/"),
        (b"//a", b"/a"),
        (b"/a//", b"/a/"),
        (b"/b/..//a", b"/a"),
        (b"/a?b/../c#d", b"/a?b/../c"),
        (b"/A", b"/A"),
    ],
)
def test_one_spelling(path: bytes, normal: bytes) -> None:
    assert normalize_path(path) == normal


_PATHS = st.text("/.%2eEaA?#~ \x00é", max_size=40).map(str.encode) | st.binary(max_size=60)


@given(_PATHS)
def test_a_spelling_is_final_and_safe(path: bytes) -> None:
    normal = normalize_path(path)
    assert normal.startswith(b"/")
    assert normalize_path(normal) == normal
    assert not {b".", b".."} & set(normal.partition(b"?")[0].split(b"/"))


def test_prefixes_end_at_segments() -> None:
    assert prefixes(b"/a/bc?d/e") == [b"/a", b"/a/", b"/a/bc"]
    assert prefixes(b"/a/") == [b"/a", b"/a/"]
    assert prefixes(b"/") == []


def test_a_path_of_many_slashes_has_bounded_prefixes_and_no_entry_is_beyond_them() -> None:
    deepest = b"/x" * MAX_SEGMENTS
    assert deepest in prefixes(deepest)
    assert deepest in prefixes(deepest + b"/y" * 100)
    assert len(prefixes(b"/" * 4000)) <= 2 * MAX_SEGMENTS
