"""The zone for ISPs: what is in it and what may not be, read back by our own parser, by unbound and by BIND."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dns.rcode
import dns.zone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.blocklist import entry as kinds
from guardian.blocklist.rpz import RpzReader
from guardian.desk.rpz import (
    FOR_EVERYBODY,
    FOR_ISPS,
    MAX_SERIAL,
    ZoneCount,
    ZoneHead,
    next_serial,
    read_mode,
    read_serial,
    read_zone_name,
    write_zone,
)
from guardian.errors import DeskError
from guardian.names import format_name, parse_name
from tests.desk.resolvers import Ask, bind, check_zone, unbound
from tests.gateway.product import Upstream

ZONE = "csam-md.rpz.invalid"
OPEN = "192.0.2.7"
HEAD = ZoneHead(ZONE, "csam-md", 1795309200)


class Entry(NamedTuple):
    scope: str
    value: str
    licence_class: str = "public"


ENTRIES = [
    Entry("domain", "listed-1.example"),
    Entry("host", "www.listed-2.example"),
    Entry("domain", "xn--bcher-kva.example"),
    Entry("url", "http://listed-3.example/page"),
    Entry("url", "https://listed-3.example/page"),
    Entry("url_prefix", "http://listed-3.example/pages/"),
    Entry("domain", "listed-4.example", "hashed_ok"),
    Entry("domain", "listed-5.example", "isp_only"),
    Entry("url", "http://listed-6.example/x", "isp_only"),
]


def records_of(text: str) -> set[str]:
    """Owners without the zone, by an independent reader of zone files."""
    zone = dns.zone.from_text(text, origin=ZONE, relativize=True)
    assert {str(node) for node in zone if str(node) == "@"} == {"@"}  # SOA and NS
    return {str(name) for name in zone} - {"@"}


def test_names_with_what_is_below_them_and_names_alone() -> None:
    made = write_zone(ENTRIES, HEAD, ".")
    assert records_of(made.text) == {
        "listed-1.example",
        "*.listed-1.example",
        "www.listed-2.example",
        "xn--bcher-kva.example",
        "*.xn--bcher-kva.example",
    }
    assert made.counted == ZoneCount(domains=2, hosts=1, pages=3, hashed_only=1, isp_only=2, too_long=0)


def test_for_an_isp_there_is_more_but_never_what_is_for_hashes_only() -> None:
    made = write_zone(ENTRIES, HEAD, ".", FOR_ISPS)
    assert {"listed-5.example", "*.listed-5.example"} <= records_of(made.text)
    assert "listed-4" not in made.text
    assert made.counted == ZoneCount(domains=3, hosts=1, pages=4, hashed_only=1, isp_only=0, too_long=0)


def test_a_page_never_becomes_its_host() -> None:
    pages = [entry for entry in ENTRIES if entry.scope.startswith("url")]
    assert records_of(write_zone(pages, HEAD, ".", FOR_ISPS).text) == set()


@pytest.mark.parametrize(
    "entry",
    [
        Entry("domain", "listed-1.example", "secret"),
        Entry("address", "192.0.2.1"),
        Entry("domain", "a..example"),
        Entry("host", ""),
    ],
)
def test_what_is_not_understood_stops_the_export(entry: Entry) -> None:
    """A zone that lacks entries without a word would be believed to be whole."""
    with pytest.raises(DeskError):
        write_zone([*ENTRIES, entry], HEAD, ".")


def test_the_licences() -> None:
    assert sorted(FOR_EVERYBODY) == ["public"]
    assert sorted(FOR_ISPS) == ["isp_only", "public"]


@pytest.mark.parametrize(
    ("mode", "target", "answer"),
    [("nxdomain", "", "."), ("nodata", "", "*."), ("cname", "Blocked.ISP.example.", "blocked.isp.example.")],
)
def test_modes(mode: str, target: str, answer: str) -> None:
    assert read_mode(mode, target) == answer
    assert f"listed-1.example CNAME {answer}\n" in write_zone(ENTRIES, HEAD, answer).text


@pytest.mark.parametrize(
    ("mode", "target"),
    [("drop", ""), ("nxdomain", "x.example"), ("cname", ""), ("cname", "a..b"), ("cname", "single"), ("cname", ".")],
)
def test_modes_that_cannot_be(mode: str, target: str) -> None:
    with pytest.raises(DeskError):
        read_mode(mode, target)


@pytest.mark.parametrize("name", ["", ".", "rpz", "a..b", "x" * 64 + ".example", "a b.example\n"])
def test_zones_that_have_no_name(name: str) -> None:
    with pytest.raises(DeskError):
        write_zone([], ZoneHead(name, "csam-md", 1), ".")


def test_a_name_without_room_before_the_zone_is_counted_not_cut() -> None:
    room = 255 - len(parse_name(ZONE))
    labels = ["x" * 59, "x" * 60, "x" * 60]
    longest = ".".join([*labels, "x" * (room - len(parse_name(".".join(labels))))])
    assert len(parse_name(longest)) - 1 == room
    made = write_zone([Entry("host", longest), Entry("domain", longest), Entry("host", "x" + longest)], HEAD, ".")
    assert made.counted == ZoneCount(hosts=1, too_long=2)
    assert records_of(made.text) == {longest}


def test_what_a_note_says_stays_a_comment() -> None:
    text = write_zone([], HEAD._replace(notes=("journal\nevil.example CNAME .", "\u0219")), ".").text
    assert text.startswith("; journal?evil.example CNAME .\n; ?\n$ORIGIN ")
    assert records_of(text) == set()


labels = st.text('abcdefghij0123456789-_;"()\\$@ *\t\x00é', min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(labels, min_size=2, max_size=4), max_size=6), st.sampled_from([".", "*.", "p.isp.example."]))
def test_no_name_breaks_out_of_its_line(names: list[list[str]], answer: str) -> None:
    wires = []
    for parts in names:
        encoded = [part.lower().encode() for part in parts]
        wires.append(b"".join(bytes((len(part),)) + part for part in encoded) + b"\0")
    made = write_zone([Entry("host", format_name(wire)) for wire in wires], HEAD, answer)
    zone = dns.zone.from_text(made.text, origin=ZONE, relativize=True)
    found = {
        b"".join(bytes((len(label),)) + label.lower() for label in name.labels) + b"\0" for name in zone if name.labels
    }
    assert found == set(wires)


@settings(deadline=None)
@given(st.sets(st.from_regex(r"[a-z0-9]{1,8}\.[a-z]{2,6}", fullmatch=True), max_size=20), st.booleans())
def test_our_own_reader_reads_it_back(names: set[str], below: bool) -> None:
    scope = "domain" if below else "host"
    text = write_zone([Entry(scope, name) for name in names], HEAD, ".").text
    reader = RpzReader()
    items = [item for line in text.splitlines() for item in reader.read(line)]
    assert not [item for item in items if isinstance(item, str)]
    exact = {format_name(item[1]) for item in items if item[0] == kinds.BLOCK_EXACT}  # type: ignore[index]
    whole = {format_name(item[1]) for item in items if item[0] == kinds.BLOCK}  # type: ignore[index]
    assert exact == names
    assert whole == (names if below else set())


def write(serial: int, entries: list[Entry] = ENTRIES, note: str = "") -> str:
    return write_zone(entries, HEAD._replace(serial=serial, notes=(note,)), ".").text


def test_the_serial_grows_when_records_change_and_only_then() -> None:
    assert next_serial("", write, 1000.5) == (1000, True)
    before = write(1000)
    assert read_serial(before) == 1000
    assert next_serial(before, write, 2000.0) == (1000, False)
    assert next_serial(before, lambda serial: write(serial, note="another journal"), 2000.0) == (1000, False)
    assert next_serial(before, lambda serial: write(serial, ENTRIES[:1]), 2000.0) == (2000, True)
    # A clock that was set back: resolvers would take a smaller serial for an older zone.
    assert next_serial(before, lambda serial: write(serial, ENTRIES[:1]), 500.0) == (1001, True)


@pytest.mark.parametrize("serial", [0, -1, MAX_SERIAL + 1])
def test_serials_that_do_not_fit(serial: int) -> None:
    with pytest.raises(DeskError, match="does not fit"):
        write(serial)


@pytest.mark.parametrize("text", ["", "listed-1.example\n", "@ SOA a. b. x 1 1 1 1\n", "@ SOA\n"])
def test_what_is_no_zone_of_ours_has_no_serial(text: str) -> None:
    assert read_serial(text) == 0


def test_zone_names() -> None:
    assert read_zone_name("RPZ.hotline.example.") == parse_name("rpz.hotline.example")


@pytest.fixture(params=[unbound, bind], ids=["unbound", "bind"])
def resolver(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """The resolver behind: what it is asked, an owner of a site could see."""
    names = ["listed-1.example", "www.listed-1.example", "a.b.listed-1.example", "notlisted-1.example"]
    names += ["listed-2.example", "www.listed-2.example", "sub.www.listed-2.example", "listed-3.example"]
    names += ["listed-4.example", "listed-5.example", "fine.example", "blocked.isp.example"]
    made = Upstream("".join(f"{name} A {OPEN}\n" for name in names) + "alias.example CNAME www.listed-1.example.\n")
    yield made
    made.close()


@contextlib.contextmanager
def serve(
    resolver: Any, folder: Path, upstream: Upstream, answer: str = ".", licences: frozenset[str] = FOR_EVERYBODY
) -> Iterator[Ask]:
    file = folder / "csam-md.rpz"
    file.write_text(write_zone(ENTRIES, HEAD, answer, licences).text)
    assert check_zone(ZONE, file) == ""
    with resolver(folder, ZONE, file, upstream.port) as ask:
        yield ask


def outcome(ask: Ask, name: str) -> str:
    answer = ask(name)
    if answer.rcode() != dns.rcode.NOERROR:
        return dns.rcode.to_text(answer.rcode())
    return " ".join(rdata.to_text() for rrset in answer.answer for rdata in rrset) or "NODATA"


def test_a_real_resolver_answers_listed_names_with_nxdomain(resolver: Any, tmp_path: Path, upstream: Upstream) -> None:
    with serve(resolver, tmp_path, upstream) as ask:
        for name in ("listed-1.example", "www.listed-1.example", "a.b.listed-1.example", "www.listed-2.example"):
            assert outcome(ask, name) == "NXDOMAIN", name
        assert upstream.names() & {entry.value for entry in ENTRIES} == set()  # the owner of a site learns nothing
        assert outcome(ask, "alias.example") == "NXDOMAIN"  # another name for a listed one
        # Neighbours, what is below and above a single name, pages, and what the licence leaves out.
        for name in (
            "fine.example", "notlisted-1.example", "listed-2.example", "sub.www.listed-2.example", "listed-3.example",
            "listed-4.example", "listed-5.example",
        ):  # fmt: skip
            assert outcome(ask, name) == OPEN, name


def test_a_real_resolver_of_an_isp_has_isp_only_entries(resolver: Any, tmp_path: Path, upstream: Upstream) -> None:
    with serve(resolver, tmp_path, upstream, licences=FOR_ISPS) as ask:
        assert outcome(ask, "listed-5.example") == "NXDOMAIN"
        assert outcome(ask, "listed-4.example") == OPEN


def test_a_real_resolver_answers_nodata(resolver: Any, tmp_path: Path, upstream: Upstream) -> None:
    with serve(resolver, tmp_path, upstream, "*.") as ask:
        assert outcome(ask, "www.listed-1.example") == "NODATA"
        assert outcome(ask, "fine.example") == OPEN


def test_a_real_resolver_sends_people_to_the_page_that_explains(
    resolver: Any, tmp_path: Path, upstream: Upstream
) -> None:
    with serve(resolver, tmp_path, upstream, read_mode("cname", "blocked.isp.example")) as ask:
        assert outcome(ask, "www.listed-1.example") == f"blocked.isp.example. {OPEN}"
        assert outcome(ask, "fine.example") == OPEN
