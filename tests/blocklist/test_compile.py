from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian.blocklist.compile import Compiled, Source, compile_image
from guardian.blocklist.image import Image
from guardian.blocklist.parse import parse_list, unpack
from guardian.errors import ListError
from guardian.names import parse_name

RANDOM = bytes(range(100, 116))


def compile_sources(*sources: Source) -> tuple[Compiled, Image]:
    compiled = compile_image(sources, RANDOM, 12.0)
    return compiled, Image(compiled.to_bytes())


def text(*lines: str) -> Source:
    tag, *rest = lines
    return Source(tag, tag, lambda: "\n".join(rest).encode())


def held(image: Image, name: str) -> set[str]:
    mask = image.lookup(parse_name(name))
    return {tag for bit, tag in enumerate(image.tags) if mask >> bit & 1}


def test_duplicates_fall_together_and_a_name_has_all_its_tags() -> None:
    compiled, image = compile_sources(
        text("a", "x.example", "x.example", "y.example"), text("b", "x.example"), text("a", "X.example.", "z.example")
    )
    assert image.tags == ("a", "b")
    assert image.name_count == compiled.name_count == 3
    assert held(image, "x.example") == {"a", "b"}
    assert held(image, "z.example") == {"a"}


def test_allow_wins_within_its_tag_only() -> None:
    blocked = text("a", "x.example")
    allowed = Source("a", "but", lambda: b"x.example\n@@||y.example^\n", action="allow")
    for order in ((blocked, allowed), (allowed, blocked)):
        _, image = compile_sources(*order, text("b", "x.example", "y.example"))
        assert held(image, "x.example") == held(image, "www.x.example") == {"b"}
        assert held(image, "y.example") == {"b"}


def test_more_tags_than_a_machine_word_has_bits() -> None:
    sources = [text(f"category:c{n}", f"n{n}.example", "all.example") for n in range(150)]
    _, image = compile_sources(*sources)
    assert held(image, "all.example") == {f"category:c{n}" for n in range(150)}
    assert held(image, "www.n149.example") == {"category:c149"}
    image.verify()


def test_facts_and_notes_travel_in_the_image() -> None:
    source = Source(
        "a", "ut1", lambda: b"# x\nx.example\n1.2.3.4\n", names=(parse_name("r.example"),), notes={"url": "u"}
    )
    compiled, image = compile_sources(source)
    (facts,) = image.sources
    assert image.sources == compiled.sources
    assert (facts.name, facts.tag, facts.action, facts.format) == ("ut1", "a", "block", "domains")
    assert (facts.lines, facts.content, facts.entries) == (3, 2, 2)
    assert facts.refused == {"address": 1}
    assert facts.examples["address"][0].line == 3
    assert facts.notes == {"url": "u"}
    assert image.created == 12.0


def test_sources_are_read_one_at_a_time_and_progress_is_told() -> None:
    events: list[str] = []

    def reader(name: str) -> Iterator[bytes]:
        events.append(f"open {name}")
        yield b"a.example\n"
        events.append(f"end {name}")

    sources = [Source("t", name, lambda name=name: reader(name)) for name in ("one", "two")]  # type: ignore[misc]
    shares: list[float] = []
    compile_image(sources, RANDOM, 0.0, lambda share, what: shares.append(share))
    assert events == ["open one", "end one", "open two", "end two"]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] <= 1


def test_the_key_decides_the_hash_so_that_nobody_can_aim_at_it() -> None:
    source = Source("t", "t", lambda: b"a.example\nb.example\n")
    images = [compile_image([source], bytes([n]) * 16, 0.0).to_bytes() for n in (1, 1, 2)]
    assert images[0] == images[1]
    prints = [Image(image)._header.sections["name_prints"] for image in images]
    cut = [image[p.start : p.start + p.length] for image, p in zip(images, prints, strict=True)]
    assert cut[0] != cut[2]


def test_an_error_page_is_refused_by_name_and_example() -> None:
    page = Source("t", "lists/games.txt", lambda: b"<html>\n<h1>Not Found</h1>\n</html>\n")
    with pytest.raises(ListError, match=r"lists/games\.txt: this does not look like a list.*line 1: <html>"):
        compile_sources(page)


@pytest.mark.parametrize("name", [b"\x00", b"\x03com\x00", b""])
def test_a_ready_name_of_one_label_is_refused(name: bytes) -> None:
    with pytest.raises(ListError, match="two labels"):
        compile_sources(Source("t", "starter", names=(name,)))


def test_an_unknown_action_is_refused() -> None:
    with pytest.raises(ListError, match="neither block nor allow"):
        compile_sources(Source("t", "t", action="deny"))


def test_too_many_combinations_of_tags_are_refused() -> None:
    # Every name in its own set of lists: 17 tags make 131,071 combinations.
    names = [b"\x06%06d\x07example\x00" % number for number in range(1 << 17)]
    tagged = ([name for number, name in enumerate(names) if number >> bit & 1] for bit in range(17))
    sources = [Source(f"t{bit}", "x", names=listed) for bit, listed in enumerate(tagged)]
    with pytest.raises(ListError, match="overlap in more ways"):
        compile_sources(*sources)


def test_real_lists_hold_all_their_names(real_lists: Path) -> None:
    files = ("ut1-games.domains", "sinfonietta-pornography.hosts", "blp-tiktok.adblock", "blp-youtube.dnsmasq")
    _, image = compile_sources(*[Source(file, file, (real_lists / file).read_bytes) for file in files])
    for bit, file in enumerate(files):
        names = list(unpack(parse_list((real_lists / file).read_bytes()).block))
        assert len(names) > 3000
        assert all(image.lookup(name) >> bit & 1 for name in names)
    popular = (real_lists.parent / "popular-names.txt").read_text().split()[:200]
    assert sum(image.lookup(parse_name(name)) >> 2 & 1 for name in popular) <= 2  # tiktok's list: hosts, no sites


def test_a_mandatory_list_leaves_no_line_in_the_facts() -> None:
    secret = b"secret.example\nsecret.example/page\n1.2.3.4\n"
    compiled, image = compile_sources(Source("mandatory:test", "national", lambda: secret))
    assert image.sources[0].refused == {"url": 1, "address": 1}
    assert image.sources[0].examples == {}
    assert b"secret" not in compiled.to_bytes()
    with pytest.raises(ListError) as raised:
        compile_sources(Source("mandatory:test", "national", lambda: b"secret secret\n"))
    assert "secret" not in str(raised.value)
