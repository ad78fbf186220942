from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.blocklist import entry
from guardian.blocklist.parse import ListParser, ParsedList, parse_list, read_entries, sniff_format, unpack
from guardian.errors import ListError
from guardian.names import format_name, parse_name

COUNTS = Path(__file__).with_name("counts.tsv")


def contents(parsed: ParsedList) -> tuple[object, ...]:
    kinds = (parsed.block, parsed.block_exact, parsed.allow, parsed.allow_exact)
    return (parsed.facts, *[sorted(unpack(kind)) for kind in kinds], sorted(parsed.urls), sorted(parsed.urls_exact))


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (b"# x\nexample.com\nexample.org\n", "domains"),
        (b"0.0.0.0 example.com\n::1 localhost\n", "hosts"),
        (b"[Adblock Plus]\n! x\n||example.com^\n", "adblock"),
        (b"example.com##.ad\n||example.com^$third-party\n", "adblock"),
        (b"server=/example.com/\naddress=/example.org/\n", "dnsmasq"),
        (b"$TTL 60\n@ SOA a. b. 1 2 3 4 5\nexample.com CNAME .\n", "rpz"),
        (b"*.example.com\n*.example.org\nexample.net\n", "wildcard"),
        (b"example.com/a\nhttp://example.org/b/\nexample.net\n", "url"),
        (b"# nothing\n\n", ""),
    ],
)
def test_formats_are_told_apart(data: bytes, format_: str) -> None:
    assert sniff_format(data) == format_
    assert parse_list(data).facts.format == (format_ or "domains")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ListError, match="no list format; known are auto, domains"):
        parse_list(b"", "hostz")


def test_line_ends_marks_and_numbers() -> None:
    data = b"\xef\xbb\xbfa.example\r\n\r\n# x\r\nb.example\nnot a name\nc.example \r\n1.2.3.4\nd.example"
    parsed = parse_list(data)
    assert [format_name(name) for name in sorted(unpack(parsed.block))] == [f"{x}.example" for x in "abcd"]
    facts = parsed.facts
    assert (facts.lines, facts.content, facts.entries) == (8, 6, 4)
    assert facts.examples["not-a-name"] == [entry.Example(5, "not a name")]
    assert facts.examples["address"] == [entry.Example(7, "1.2.3.4")]


def test_refusals_keep_five_examples() -> None:
    facts = parse_list(b"com\n" * 50).facts
    assert facts.refused == {"single-label": 50}
    assert [example.line for example in facts.examples["single-label"]] == [1, 2, 3, 4, 5]


def test_bytes_that_are_not_utf8() -> None:
    facts = parse_list(b"# caf\xe9\ncaf\xe9.com\nexample.com\n").facts
    assert (facts.entries, dict(facts.refused)) == (1, {"encoding": 1})
    assert facts.examples["encoding"][0].text == "caf\\xe9.com"


@given(
    st.lists(st.sampled_from([b"a.example\n", b"com\n", b"b" * 5000 + b"\n", b"\r\n", b"\xef\xbb\xbf", b"x.y"])),
    st.data(),
)
def test_chunks_do_not_matter(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert contents(parse_list(chunks)) == contents(parse_list(whole))


def test_a_line_without_end_takes_bounded_memory_and_one_refusal() -> None:
    parser = ListParser()
    found = [b"before.example\n", *[b"x" * 100_000] * 50, b"\nafter.example\n", b"y" * 300_000]
    entries = [name for stretch in read_entries(parser, found) for name in stretch.block]
    assert entries == [parse_name("before.example"), parse_name("after.example")]
    assert parser.facts.refused == {"too-long": 2}
    assert parser.facts.lines == 4
    assert len(parser._pending) == 0


def test_an_error_page_is_no_list() -> None:
    page = b"<!DOCTYPE html>\n<html>\n<head><title>404 Not Found</title></head>\n<body>\n<h1>Not Found</h1>\n</html>\n"
    assert not parse_list(page).facts.is_list
    assert not parse_list(b"Forbidden\n").facts.is_list
    assert not parse_list(b"").facts.is_list
    # Lines that a name filter cannot carry out are still those of a list.
    assert parse_list(b"1.2.3.4\n1.2.3.5\na.example\n").facts.is_list


@pytest.mark.parametrize(
    "unit", [b"a.", b"||", b"*.", b"#", b"0.0.0.0 ", b"(", b"$ORIGIN ", b"/.", b"%2e/", b"-", b"\xc3\xbc", b"^"]
)
def test_hostile_repetition_stays_linear(unit: bytes) -> None:
    # A quadratic pattern would need hours for this.
    line = unit * (4000 // len(unit))
    data = (line + b"\n") * 20 + (unit + b"\n") * 2000 + unit * (1_000_000 // len(unit))
    for format_ in ("domains", "hosts", "adblock", "dnsmasq", "rpz", "url"):
        assert parse_list(data, format_).facts.lines >= 2000


def _rows() -> dict[str, list[str]]:
    rows = [line.split("\t") for line in COUNTS.read_text().splitlines()[1:]]
    return {row[0]: row[1:] for row in rows}


def test_real_lists_give_the_counts_of_the_committed_table(real_lists: Path) -> None:
    found = {}
    for file in sorted(real_lists.iterdir()):
        data = file.read_bytes()
        fast = parse_list(data)
        assert contents(fast) == contents(parse_list(data, careful=True)), file.name
        facts = fast.facts
        refused = json.dumps(dict(sorted(facts.refused.items())))
        found[file.name] = [facts.format, str(facts.lines), str(facts.entries), refused]
    assert found == _rows()
