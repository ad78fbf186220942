"""The fast path says of every line what the careful one says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.blocklist.parse import FORMATS, ParsedList, parse_list, unpack

NAMES = [
    "com", "co.uk", "ne.jp", "co.uk.example.com", "1.2.3.4", "xn--p1ai.xn--p1ai", "a..b", "a.b.", ".a.b",
    "A.Example",
    "пример.рф", "x.rpz-ip", "rpz-ip", "a" * 63 + ".com", "a" * 64 + ".com", ".".join(["a" * 49] * 5) + ".abc",
    ".".join(["a" * 49] * 5) + ".abcd", "*.example.com", "*.*.com", "ex*.com", "a.1b", "a.b-",
]  # fmt: skip
BEFORE = [
    "", "", "", " ", "\t", "||", "@@||", "|", "*.", "0.0.0.0 ", "127.0.0.1\t", "0.0.0.0", "::1 ", "10.0.0.1 ",
    "server=/",
    "local=/", "address=/", "address=/a.b/", "http://", "https://", "HTTP://", "#", "!", ";", "\ufeff",
    "0.0.0.0" + " " * 40,
]  # fmt: skip
AFTER = [
    "", "", "", " ", "\t", ".", "^", "^$important", "^$third-party", "^|", "/", "/#", "/0.0.0.0", "/::", "/1.2.3.4",
    "/:.#",
    " CNAME .", "\tIN\tCNAME\t.", " 60 CNAME .", " CNAME *.", " CNAME rpz-passthru.", " A 0.0.0.0", " cname .",
    " # x", "#x", "##.ad", "/path", "/Path/a.html", "/a//b", "/./x", "/..", "/a?b=c", "/%41", "/a*", "/*",
    ":8080/x",
    "\x00", " b.example", "(", ")", "$", "/" + "p" * 3000, "/" + "a/" * 70,
]  # fmt: skip
_NAME = st.from_regex(r"[a-z0-9_-]{1,12}(\.[a-z0-9_-]{1,12}){0,4}", fullmatch=True) | st.sampled_from(NAMES)
_LINES = st.tuples(st.sampled_from(BEFORE), _NAME, st.sampled_from(AFTER)).map(
    lambda parts: "".join(parts).encode()
) | st.binary(max_size=30)
_ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n", b" \n"])
_LISTS = st.lists(st.tuples(_LINES, _ENDS).map(b"".join), max_size=30).map(b"".join)


def contents(parsed: ParsedList) -> tuple[object, ...]:
    kinds = (parsed.block, parsed.block_exact, parsed.allow, parsed.allow_exact)
    return (parsed.facts, *[sorted(unpack(kind)) for kind in kinds], sorted(parsed.urls), sorted(parsed.urls_exact))


@settings(max_examples=400, deadline=None)
@given(_LISTS, st.sampled_from(("auto", *FORMATS)))
def test_fast_and_careful_agree_on_dirty_lines(data: bytes, format_: str) -> None:
    assert contents(parse_list(data, format_)) == contents(parse_list(data, format_, careful=True))


@pytest.mark.parametrize("format_", FORMATS)
def test_fast_and_careful_agree_on_every_combination(format_: str) -> None:
    # What carries over to the next line in a zone is the property's business: here each line counts by itself.
    after = [text for text in AFTER if not set(text) & set("()$")] if format_ == "rpz" else AFTER
    lines = [f"{start}{name}{end}" for start in dict.fromkeys(BEFORE) for name in NAMES for end in dict.fromkeys(after)]
    data = "\n".join(["plain.example", *lines]).encode()
    fast, careful = parse_list(data, format_), parse_list(data, format_, careful=True)
    assert contents(fast) == contents(careful)
    assert fast.facts.entries > 100
