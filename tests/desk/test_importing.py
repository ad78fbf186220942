"""Files of other hotlines: what each format says, what is refused and where, what a file can not do by accident."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from guardian.desk.entries import DAY
from guardian.desk.fold import Body, Ended
from guardian.desk.importing import Preview, Reading, preview_import, propose_import, read_moment, read_rows
from guardian.desk.journal import Signer
from guardian.desk.review import approve, propose
from guardian.desk.store import Desk
from guardian.desk.verify import verify_desk
from guardian.errors import DeskError
from tests.desk.desks import LIST, make_desk, make_facts, put_on_list

NOW = 1_800_000_000.0
ROOT = Path(__file__).parents[2]
People = dict[str, Signer]


@pytest.fixture
def desk(tmp_path: Path) -> tuple[Desk, People]:
    return make_desk(tmp_path, NOW)


def preview(desk: Desk, text: str | bytes, name: str = "list.txt", now: float = NOW, **given: Any) -> Preview:
    reading = given.pop("reading", Reading())
    facts = given.pop("facts", None) or make_facts(now, source=given.pop("source", ""))
    data = text.encode() if isinstance(text, str) else text
    return preview_import(desk, LIST, data, name, reading, facts, now, **given)


def targets(found: Preview) -> list[tuple[str, str]]:
    return [target for part in found.body.add for target in part.targets]


def refused(found: Preview) -> list[tuple[int, str]]:
    return [(it.line, it.rule) for it in found.refusals]


def carry_out(desk: Desk, who: People, found: Preview, now: float = NOW, override: str = "") -> None:
    number = propose_import(desk, who["ana"], LIST, found, "today's file", now)
    approve(desk, who["ion"], number, now, override=override)


NAMES = """# the worst of, 2026
listed-1.example
LISTED-2.example   # a remark
*.listed-3.example

listed-1.example
10.0.0.1
com.md
facebook.com
listed 4.example
https://listed-5.example/page
"""


def test_a_list_of_names(desk: tuple[Desk, People]) -> None:
    found = preview(desk[0], NAMES, "worst-of.txt")
    assert found.format == "names" and found.lines == 11
    assert targets(found) == [("domain", f"listed-{n}.example") for n in (1, 2, 3)]
    assert refused(found) == [
        (6, "duplicate-in-file"), (7, "address"), (8, "public-suffix"), (9, "shared-host"), (10, "unreadable"),
        (11, "url-as-name"),
    ]  # fmt: skip
    assert all(it.why and it.advice and it.value for it in found.refusals)
    assert found.count_rules()["address"] == 1
    hosts = preview(desk[0], "listed-1.example\n*.listed-2.example\n", reading=Reading(scope="host"))
    assert targets(hosts) == [("host", "listed-1.example")] and refused(hosts) == [(2, "pattern")]


RPZ = """$TTL 60
$ORIGIN rpz.hotline.example.
@ IN SOA ns.hotline.example. a.hotline.example. 1 60 60 600 60
  IN NS ns.hotline.example.
listed-1.example CNAME .
*.listed-1.example CNAME .
listed-2.example CNAME *.
*.listed-3.example CNAME .
listed-4.example CNAME rpz-passthru.
listed-5.example A 192.0.2.1
24.0.0.0.10.rpz-ip CNAME .
listed-6.example.rpz.hotline.example. CNAME rpz-drop.
com.md CNAME .
"""


def test_a_response_policy_zone(desk: tuple[Desk, People]) -> None:
    found = preview(desk[0], RPZ, "zone.db")
    assert found.format == "rpz"
    assert sorted(targets(found)) == [
        ("domain", "listed-1.example"),
        ("host", "listed-2.example"),
        ("host", "listed-6.example"),
    ]
    assert refused(found) == [
        (8, "below-only"),
        (9, "allow"),
        (10, "redirect"),
        (11, "unsupported"),
        (13, "public-suffix"),
    ]


CSV = """\ufeffURL,Date Added,Last verified,Severity,Ref
http://listed-1.example/a,2026-01-01,2027-01-10,baseline,17
"https://listed-2.example/b,c",,2027-01-10T10:00,,18
listed-3.example/d/*,,,national,19
listed-4.example,,,,20
https://listed-5.example/,,,,21
http://listed-1.example/a#x,,,,22
http://listed-6.example/a,,yesterday,,23
http://listed-7.example/a,,,grave,24
,,,,25
http://listed-8.example:8080/a,,,,26
"""


def test_a_csv_of_urls(desk: tuple[Desk, People]) -> None:
    found = preview(desk[0], CSV, "iwf.csv")
    assert found.format == "csv" and found.unused == ("Date Added", "Ref")
    assert sorted(targets(found)) == [
        ("url", "http://listed-1.example/a"),
        ("url", "https://listed-2.example/b,c"),
        ("url_prefix", "https://listed-3.example/d/"),
    ]
    facts = {part.targets[0][1]: part.facts for part in found.body.add}
    first = facts["http://listed-1.example/a"]
    assert first.severity == "baseline" and first.verified == read_moment("2027-01-10")
    assert first.expires == first.verified + 14 * DAY
    assert facts["https://listed-2.example/b,c"].verified == read_moment("2027-01-10T10:00Z")
    assert refused(found) == [
        (5, "grows-to-host"), (6, "grows-to-host"), (7, "duplicate-in-file"), (8, "bad-field"), (9, "bad-field"),
        (10, "empty"), (11, "port"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bare", "expected"),
    [
        ("url", [("url", "https://listed-1.example/"), ("url", "http://listed-2.example/")]),
        ("host", [("host", "listed-1.example"), ("host", "listed-2.example")]),
        ("domain", [("domain", "listed-1.example"), ("domain", "listed-2.example")]),
    ],
)
def test_a_url_without_a_path_is_what_somebody_says(desk: tuple[Desk, People], bare: Any, expected: list[Any]) -> None:
    text = "url\nlisted-1.example\nhttp://listed-2.example/\n"
    assert sorted(targets(preview(desk[0], text, reading=Reading(bare=bare)))) == sorted(expected)
    assert targets(preview(desk[0], text)) == []


def test_other_columns_and_delimiters(desk: tuple[Desk, People]) -> None:
    semicolons = (
        "Adresse;Scope\nlisted-1.example;domain\nlisted-2.example;host\nlisted-3.example/a;url\nx.example;all\n"
    )
    found = preview(desk[0], semicolons, "a.csv", reading=Reading(columns={"url": "Adresse"}))
    assert targets(found) == [
        ("domain", "listed-1.example"),
        ("host", "listed-2.example"),
        ("url", "https://listed-3.example/a"),
    ]
    assert refused(found) == [(5, "bad-field")]
    assert targets(preview(desk[0], "domain\thost\nlisted-1.example\t\n\twww.listed-2.example\n")) == [
        ("domain", "listed-1.example"),
        ("host", "www.listed-2.example"),
    ]
    assert targets(preview(desk[0], "listed-1.example/a\nlisted-2.example/b\n")) == [
        ("url", "https://listed-1.example/a"),
        ("url", "https://listed-2.example/b"),
    ]
    lines = 'url,appeal\n"http://listed-1.example/a","write to\nus"\nhttp://listed-2.example/a,\n,x\n'
    assert refused(preview(desk[0], lines, "a.csv")) == [(5, "empty")]  # the number of the line, not of the row


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "x.txt", "nothing in it"),
        ("# only a remark\n", "x.txt", "nothing in it"),
        ("url\n", "x.csv", "nothing in it"),
        (b"listed-1.example\nlisted-\xff.example\n", "x.txt", "x.txt:2: not UTF-8"),
        (b"\xff\xfeu\0r\0l\0", "x.csv", "x.csv:1: not UTF-8"),
        ("listed-1.example\0", "x.txt", "no text file"),
        ("a,b\n1,2\n", "x.csv", "no column says what is listed"),
        ("value\nlisted-1.example\n", "x.csv", "needs a column 'scope'"),
        ('url\n"listed-1.example/a\nlisted-2.example/b\n', "x.csv", "x.csv:2: damaged CSV"),
        ('url\n"a"b,c\n', "x.csv", "x.csv:2: damaged CSV"),
        ("url\n" + "a" * 200_000 + "\n", "x.csv", "x.csv:2: damaged CSV"),
        ("||listed-1.example^\n||listed-2.example^\n", "x.txt", "a list of the form 'adblock'"),
        ("x\n" * 500_001, "x.txt", "more than 500000 lines"),
        (b"x" * (64 << 20) + b"xx", "x.txt", "more than 64 MB"),
    ],
)
def test_files_that_are_damaged_as_a_whole_change_nothing(
    desk: tuple[Desk, People], text: str | bytes, name: str, message: str
) -> None:
    with pytest.raises(DeskError) as caught:
        preview(desk[0], text, name)
    assert message in str(caught.value)


def test_columns_that_are_not_there_are_told(desk: tuple[Desk, People]) -> None:
    with pytest.raises(DeskError, match=r"x\.csv: there is no column 'Link' \(there are: url, b\)"):
        preview(desk[0], "url,b\nx.example/a,1\n", "x.csv", reading=Reading(columns={"url": "Link"}))
    with pytest.raises(DeskError, match="--map: 'adress' is no field"):
        preview(desk[0], "url,b\nx.example/a,1\n", "x.csv", reading=Reading(columns={"adress": "url"}))
    with pytest.raises(DeskError, match="there is no list 'other'"):
        preview_import(desk[0], "other", b"listed-1.example", "x", Reading(), make_facts(NOW), NOW)


def test_a_file_is_proposed_by_one_and_approved_by_another(desk: tuple[Desk, People]) -> None:
    at, who = desk
    found = preview(at, NAMES)
    number = propose_import(at, who["ana"], LIST, found, "today's file", NOW)
    assert list(at.entries()) == []
    with pytest.raises(DeskError, match="a second person"):
        approve(at, who["ana"], number, NOW)
    approve(at, who["ion"], number, NOW)
    assert [entry.value for entry in at.entries()] == [f"listed-{n}.example" for n in (1, 2, 3)]
    again = preview(at, NAMES)
    assert not again.body.count() and again.count_rules()["duplicate"] == 3
    with pytest.raises(DeskError, match="nothing of this file would change the list"):
        propose_import(at, who["ana"], LIST, again, "again", NOW)


def test_overridden_lines_end_within_a_day(desk: tuple[Desk, People]) -> None:
    at, who = desk
    found = preview(at, "listed-1.example\nfacebook.com\ncaptive.apple.com\n", override="order 1")
    assert refused(found) == [(3, "protected")]
    number = propose_import(at, who["ana"], LIST, found, "x", NOW)
    with pytest.raises(DeskError, match="with your own --override"):
        approve(at, who["ion"], number, NOW)
    approve(at, who["ion"], number, NOW, override="seen")
    ends = {entry.value: entry.expires - NOW for entry in at.entries()}
    assert ends == {"listed-1.example": 14 * DAY, "facebook.com": DAY}
    found = preview(at, "facebook.com\n", source="", override="")
    assert refused(found) == [(1, "shared-host")]


def test_a_source_renews_and_takes_off_its_own_entries_only(desk: tuple[Desk, People]) -> None:
    at, who = desk
    put_on_list(at, who, "own.example", now=NOW)
    names = [f"listed-{n}.example" for n in range(1, 6)]
    carry_out(at, who, preview(at, "\n".join(names), source="iwf"))
    later = NOW + DAY
    text = "\n".join([*names[:4], "new.example", "own.example"])
    found = preview(at, text, now=later, source="iwf", complete=True)
    assert [ids for part in found.body.renew for ids in part.ids] == [2, 3, 4, 5]
    assert [ids for part in found.body.remove for ids in part.ids] == [6]
    assert refused(found) == [(6, "duplicate")] and "source ''" in found.refusals[0].why
    carry_out(at, who, found, later)
    state = {entry.value: (entry.status, entry.expires - NOW) for entry in at.entries()}
    assert state["listed-1.example"] == ("active", 15 * DAY)
    assert state["listed-5.example"] == ("removed", 14 * DAY)
    assert state["own.example"] == ("active", 14 * DAY) and state["new.example"][0] == "active"
    with pytest.raises(DeskError, match="--complete needs --source"):
        preview(at, text, complete=True)


def test_a_file_that_was_cut_off_opens_nothing(desk: tuple[Desk, People]) -> None:
    """Denmark 2012 the other way round: half a file must not take half a list off."""
    at, who = desk
    names = [f"listed-{n}.example" for n in range(10)]
    carry_out(at, who, preview(at, "\n".join(names), source="iwf"))
    found = preview(at, "\n".join(names[:5]), source="iwf", complete=True)
    assert not found.body.remove and refused(found) == [(0, "shrunk")]
    assert "5 of the 10 entries of 'iwf'" in found.refusals[0].why
    found = preview(at, "\n".join(names[:5]), source="iwf", complete=True, may_shrink=True)
    assert [len(part.ids) for part in found.body.remove] == [5]
    # A line that became refused is still there: it is not taken off for that.
    at.replace_popular(who["maria"], [b"\x08listed-0\x07example\x00"], "0" * 64, NOW)
    found = preview(at, "\n".join(names), source="iwf", complete=True)
    assert refused(found) == [(1, "popular")] and not found.body.remove


def test_a_file_does_not_end_a_suspension(desk: tuple[Desk, People]) -> None:
    at, who = desk
    carry_out(at, who, preview(at, "listed-1.example\nlisted-2.example", source="iwf"))
    body = Body(suspend=[Ended([1], "cleaned")])
    approve(at, who["ion"], propose(at, who["ana"], "suspend", LIST, body, "x", NOW), NOW)
    found = preview(at, "listed-1.example\nlisted-2.example", source="iwf", complete=True)
    assert refused(found) == [(1, "suspended")]
    assert [part.ids for part in found.body.renew] == [[2]]


def test_renewing_an_override_by_a_file_needs_one(desk: tuple[Desk, People]) -> None:
    at, who = desk
    facts = make_facts(NOW, source="iwf")
    found = preview(at, "facebook.com", facts=facts, override="order")
    carry_out(at, who, found, override="seen")
    found = preview(at, "facebook.com", source="iwf", override="order")
    assert [part.override for part in found.body.renew] == ["order"] and not found.refusals
    assert refused(preview(at, "facebook.com", source="iwf")) == [(1, "shared-host")]


@pytest.mark.parametrize("sample", [NAMES, RPZ, CSV])
def test_mutated_files_are_refused_or_read_and_never_crash(desk: tuple[Desk, People], sample: str) -> None:
    """The invariant: every target comes back as itself, and nothing is an address or a public suffix."""
    chance = random.Random(11)
    whole = sample.encode()
    pieces = [b"\n", b",", b'"', b"\0", b"\xff", b"*.", b"/", b".", b"10.0.0.1", b"(", b"$ORIGIN", b" ", b"\r", b"com"]
    for _ in range(120):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(4)] = chance.choice([*pieces, bytes([chance.randrange(256)])])
        try:
            found = preview(desk[0], bytes(data), chance.choice(["x.csv", "x.txt"]))
        except DeskError:
            continue
        for scope, value in targets(found):
            host = value.partition("://")[2].partition("/")[0] if "://" in value else value
            assert "." in host and not host.replace(".", "").isdigit(), value
            assert scope in ("url", "url_prefix") or "/" not in value
        assert all(it.why and it.advice for it in found.refusals)


def test_dates() -> None:
    assert read_moment("2026-05-01") == read_moment("2026-05-01T00:00Z") == read_moment("2026-05-01T02:00+02:00")
    for text in ("", "1.5.2026", "yesterday", "05/01/2026"):
        with pytest.raises(ValueError, match="Invalid isoformat"):
            read_moment(text)


def test_rows_have_the_lines_of_the_file() -> None:
    format_, lines, rows, refusals, unused = read_rows(
        b"# a\r\nlisted-1.example\r\n\r\nlisted-2.example", Reading(), "x"
    )
    assert (format_, lines, refusals, unused) == ("names", 4, [], ())
    assert [(row.line, row.text) for row in rows] == [(2, "listed-1.example"), (4, "listed-2.example")]


IMPORT = """
import sys, time
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from guardian.desk.importing import Reading, preview_import, propose_import
from guardian.desk.journal import Signer
from guardian.desk.review import approve
from guardian.desk.store import Desk
from tests.desk.desks import LIST, make_facts
folder, ana, ion, count = sys.argv[1:]
desk, now = Desk.open(folder), time.time()
raw = {"ana": ana, "ion": ion}
ana, ion = (Signer(name, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(raw[name]))) for name in raw)
data = "".join(f"listed-{number}.example\\n" for number in range(int(count))).encode()
start = time.monotonic()
preview = preview_import(desk, LIST, data, "names.txt", Reading(), make_facts(now), now)
print("previewed", time.monotonic() - start, flush=True)
start = time.monotonic()
number = propose_import(desk, ana, LIST, preview, "file", now)
print("proposed", time.monotonic() - start, flush=True)
start = time.monotonic()
approve(desk, ion, number, now)
print("approved", time.monotonic() - start, flush=True)
"""


def start_import(desk: Desk, who: People, count: int) -> subprocess.Popen[str]:
    keys = [who[name].key.private_bytes_raw().hex() for name in ("ana", "ion")]
    return subprocess.Popen(
        [sys.executable, "-c", IMPORT, desk.folder, *keys, str(count)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_an_import_that_is_killed_is_there_or_not(tmp_path: Path) -> None:
    desk, who = make_desk(tmp_path)
    seen = set()
    for delay in (0.0, 0.05, 0.2, 0.4, 0.7):
        importing = start_import(desk, who, 6000)
        assert importing.stdout is not None and importing.stdout.readline().startswith("previewed")
        time.sleep(delay)
        importing.send_signal(signal.SIGKILL)
        importing.communicate(timeout=60)
        count = len(list(desk.entries()))
        assert count in (0, 6000)
        waiting = desk.proposals("open")
        assert all(it.changes == 6000 for it in waiting)
        seen.add((count, len(waiting) > 0))
        with desk.reading() as connection:
            assert verify_desk(connection).problems == ()
        if count:
            break
    print("states seen after a kill:", sorted(seen))


def test_a_hundred_thousand_lines(tmp_path: Path) -> None:
    desk, who = make_desk(tmp_path)
    importing = start_import(desk, who, 100_000)
    output, _ = importing.communicate(timeout=300)
    assert importing.returncode == 0
    assert sum(1 for _ in desk.entries(LIST)) == 100_000
    start = time.monotonic()
    with desk.reading() as connection:
        assert verify_desk(connection).problems == ()
    print(f"{output}verified {time.monotonic() - start}")
