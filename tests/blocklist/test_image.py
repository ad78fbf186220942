"""The image answers as a plain Python dict of the same entries does."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.blocklist.compile import Source, compile_image
from guardian.blocklist.image import Entry, Image
from guardian.names import parse_name, suffixes

TAGS = ("category:a", "category:b", "service:c")
# Few labels, so that parents, children and duplicates meet often.
_NAMES = st.lists(st.sampled_from(["a", "b", "www", "xn--p1ai", "_x"]), min_size=1, max_size=4).map(
    lambda labels: ".".join([*labels, "example"])
)
_RULES = st.lists(
    st.tuples(st.sampled_from(TAGS), st.sampled_from(["||{}^", "|{}^", "@@||{}^", "@@|{}^"]), _NAMES), max_size=25
)
# Random bytes as `secrets` gives them: the hash is only as good as its key, and hypothesis loves zeros.
_RANDOM = st.integers(0, 1 << 32).map(lambda seed: random.Random(seed).randbytes(16))


def oracle(rules: Sequence[tuple[str, str, str]], name: bytes) -> dict[str, bytes]:
    """The tags that hold for a name and the entry of each, the slow and plain way."""
    found = {}
    for tag in TAGS:
        for suffix in suffixes(name):
            patterns = {p for t, p, listed in rules if t == tag and parse_name(listed) == suffix}
            if suffix != name:
                patterns &= {"||{}^", "@@||{}^"}
            if patterns:
                if not any(pattern.startswith("@@") for pattern in patterns):
                    found[tag] = suffix
                break
    return found


@settings(max_examples=150, deadline=None)
@given(_RULES, st.lists(_NAMES, max_size=10), _RANDOM)
def test_the_image_is_the_dict(rules: list[tuple[str, str, str]], asked: list[str], random_bytes: bytes) -> None:
    sources = []
    for tag in TAGS:
        text = "\n".join(["[Adblock]", *[pattern.format(name) for t, pattern, name in rules if t == tag]]).encode()
        sources.append(Source(tag, tag, lambda text=text: text, format="adblock"))  # type: ignore[misc]
    image = Image(compile_image(sources, random_bytes, 0.0).to_bytes())
    assert image.tags == TAGS
    image.verify()
    for text in asked + [name for _, _, name in rules] + [f"sub.{name}" for _, _, name in rules]:
        name = parse_name(text)
        expected = oracle(rules, name)
        assert image.lookup(name) == sum(1 << TAGS.index(tag) for tag in expected), text
        assert dict(image.matches(name)) == expected


def test_every_listed_name_is_found_and_no_other() -> None:
    rng = random.Random(9)
    listed = {f"{rng.getrandbits(40):x}.{rng.choice(('com', 'co.uk', 'md'))}" for _ in range(20_000)}
    data = "\n".join(listed).encode()
    image = Image(compile_image([Source("category:x", "x", lambda: data)], rng.randbytes(16), 0.0).to_bytes())
    assert image.name_count == len(listed)
    assert all(image.lookup(parse_name(name)) == 1 for name in listed)
    assert all(image.lookup(parse_name(f"www.{name}")) == 1 for name in listed)
    # 60,000 labels at 32 / 2**32 each: a hit by accident would be a wonder, two a bug.
    assert sum(image.lookup(parse_name(f"{name}x")) for name in listed) <= 1
    assert image.lookup(parse_name("com")) == image.lookup(parse_name("co.uk")) == image.lookup(b"\0") == 0


def test_names_of_every_length_are_looked_up() -> None:
    deepest = ".".join(["a"] * 127)
    long = ".".join(["b" * 49] * 5) + ".abc"
    names = (parse_name("a.a"), parse_name(long))
    image = Image(compile_image([Source("t", "t", names=names)], bytes(16), 0.0).to_bytes())
    assert image.lookup(parse_name(deepest)) == 1
    assert image.lookup(parse_name(long)) == 1
    assert image.lookup(parse_name(long.removesuffix("c"))) == 0


def test_an_empty_image_answers_nothing() -> None:
    image = Image(compile_image([], bytes(16), 5.0).to_bytes())
    image.verify()
    assert (image.tags, image.created, image.sources) == ((), 5.0, ())
    assert image.lookup(parse_name("www.example.com")) == 0
    assert image.lookup_url(parse_name("www.example.com"), b"/") == 0
    assert image.matches(parse_name("www.example.com")) == []


def test_explanations_name_the_entries(small_image: bytes) -> None:
    image = Image(small_image)
    listed, spared = parse_name("name8.example.com"), parse_name("name7.example.com")
    assert image.matches(b"\x03www" + listed) == [("category:games", listed)]
    assert image.entries(b"\x03www" + spared) == [
        Entry("category:games", spared, allow=True, exact=False),
        Entry("category:games", spared, allow=False, exact=False),
    ]
    assert image.lookup(spared) == 0
    assert image.matches(parse_name("a.help.example")) == [("helpline", parse_name("help.example"))]


def test_pages_cover_what_is_below_them_and_never_the_host(small_image: bytes) -> None:
    image = Image(small_image)
    host = parse_name("example.org")
    assert image.url_count == 3
    for path in (b"/games", b"/games/", b"/games?x", b"/games/chess/1", b"/%67ames/x", b"/x/../games", b"//../games"):
        assert image.lookup_url(host, path) == 1, path
    for path in (b"/", b"", b"/gamesroom", b"/Games", b"/other/games", b"/x", b"/x?y=1", b"/x?yz"):
        assert image.lookup_url(host, path) == 0, path
    assert image.lookup_url(host, b"/x?y") == 1
    assert image.lookup_url(parse_name("www.example.org"), b"/games") == 0
    assert image.lookup_url(parse_name("example.net"), b"/") == 1
    assert image.lookup_url(parse_name("example.net"), b"/any") == 0
    assert image.lookup(host) == image.lookup(parse_name("example.net")) == 0
    assert image.lookup_url(host, b"/games/" + b"a/" * 100_000) == 1


def test_an_allowed_page_below_a_blocked_one() -> None:
    sources = [
        Source("c", "block", lambda: b"example.org/a\nexample.org/a/b/c\n"),
        Source("c", "allow", lambda: b"example.org/a/b\n", action="allow"),
    ]
    image = Image(compile_image(sources, bytes(16), 0.0).to_bytes())
    host = parse_name("example.org")
    paths = (b"/a", b"/a/x", b"/a/b", b"/a/b/x", b"/a/b/c", b"/a/b/c/d")
    assert [image.lookup_url(host, path) for path in paths] == [1, 1, 0, 0, 1, 1]


def test_four_bytes_across_two_fingerprints_are_no_match() -> None:
    names = tuple(parse_name(f"n{number}.example") for number in range(4))
    data = bytearray(compile_image([Source("t", "t", names=names)], bytes(range(16)), 0.0).to_bytes())
    header = Image(bytes(data))._header
    start = header.sections["name_prints"].start
    asked = names[0]
    mark = (int.from_bytes(asked) * header.key.multiplier % header.key.prime & 0xFFFFFFFF).to_bytes(4, "little")
    assert mark in data[start : start + 16]
    data[start : start + 16] = b"\0" + mark + bytes(11)
    assert Image(bytes(data)).lookup(asked) == 0
    assert Image(bytes(data)).matches(asked) == []
    data[start : start + 16] = b"\0" + mark + bytes(3) + mark + bytes(4)
    assert Image(bytes(data)).lookup(asked) == 1
    assert Image(bytes(data)).matches(asked) == [("t", asked)]
