"""Files of other hotlines -> what they would change here: a CSV of URLs (as the IWF's), names (as INTERPOL's), an RPZ.

Reading makes rows and refusals, each with its line; `look_through` compares rows with the desk and makes a preview;
`propose_import` proposes it. Nothing is widened on the way: a page stays a page.
"""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from guardian.blocklist import entry as words
from guardian.blocklist.parse import sniff_format
from guardian.blocklist.rpz import RpzReader
from guardian.desk.entries import BadValueError, Facts, Scope, Target, read_target
from guardian.desk.fold import Added, Body, Ended, Renewed
from guardian.desk.journal import Signer
from guardian.desk.refusals import Refusal, Rules, ask_popular, judge_classes, judge_facts, load_rules
from guardian.desk.review import write_proposal
from guardian.desk.store import Desk
from guardian.errors import DeskError
from guardian.names import format_name

FORMATS = ("csv", "names", "rpz")
MAX_FILE_BYTES = 64 << 20
MAX_ROWS = 500_000
SHRINK_LIMIT = 0.3  # of a source's entries that one file may take away
_SNIFF_BYTES = 1 << 16
_COMMENT = re.compile(r"\s*(?:[#;]|$)")

# What columns are called. A reference of another hotline is not taken by itself: `order_ref` is public.
HEADS: Mapping[str, str] = {
    "url": "url", "uri": "url", "link": "url", "web_address": "url", "page": "url", "page_url": "url",
    "domain": "domain", "domain_name": "domain", "fqdn": "host", "host": "host", "hostname": "host", "value": "value",
    "scope": "scope", "severity": "severity", "legal_basis": "legal_basis", "order_ref": "order_ref",
    "licence_class": "licence_class", "license_class": "licence_class", "verified": "verified",
    "last_verified": "verified", "expires": "expires", "appeal": "appeal",
}  # fmt: skip
FIELDS = frozenset(HEADS.values())
_PLACES = ("url", "domain", "host", "value")
_DIRECT = ("severity", "legal_basis", "order_ref", "licence_class", "appeal")


class Row(NamedTuple):
    """A line that asks for an entry. `fields` are what it says besides, by the names of `HEADS`."""

    line: int
    scope: Scope
    text: str
    fields: tuple[tuple[str, str], ...] = ()


class Reading(NamedTuple):
    """How a file is to be read."""

    format: str = "auto"
    columns: Mapping[str, str] = {}  # field -> the column's head, beside those of `HEADS`
    scope: Scope = "domain"  # of a list of names
    bare: Scope | None = None  # what a URL without a path is; None = refused, for a page must not become a host
    scheme: str = "https"  # of a URL without one


class Preview(NamedTuple):
    """What a file would change, and what of it is refused."""

    format: str
    lines: int
    body: Body
    refusals: tuple[Refusal, ...]
    unused: tuple[str, ...]  # columns that nobody reads
    override: str = ""

    def count_rules(self) -> Counter[str]:
        """Return how many lines each rule refuses."""
        return Counter(it.rule for it in self.refusals)


_Items = tuple[Iterator[Row | Refusal], tuple[str, ...]]  # and the columns that nobody reads


def read_rows(data: bytes, reading: Reading, name: str) -> tuple[str, int, list[Row], list[Refusal], tuple[str, ...]]:
    """Return the format, the number of lines, rows, refusals and unused columns of a file.

    Raises DeskError, which names the file and the line, for one that is damaged as a whole.
    """
    if len(data) > MAX_FILE_BYTES:
        raise DeskError(f"{name}: more than {MAX_FILE_BYTES >> 20} MB: split the file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DeskError(f"{name}:{line}: not UTF-8: save the file as 'CSV UTF-8' or as plain text in UTF-8") from None
    if "\0" in text:
        raise DeskError(f"{name}: this is no text file")
    format_ = _find_format(data, name) if reading.format == "auto" else reading.format
    items, unused = {"csv": _read_csv, "names": _read_names, "rpz": _read_rpz}[format_](text, reading, name)
    rows: list[Row] = []
    refusals: list[Refusal] = []
    for item in items:
        if isinstance(item, Row):
            rows.append(item)
        else:
            refusals.append(item)
        if len(rows) + len(refusals) > MAX_ROWS:
            raise DeskError(f"{name}: more than {MAX_ROWS} lines: split the file")
    if not rows and not refusals:
        raise DeskError(f"{name}: nothing in it; an empty file changes nothing")
    return format_, text.count("\n") + (not text.endswith("\n")), rows, refusals, unused


def _find_format(data: bytes, name: str) -> str:
    start = data[:_SNIFF_BYTES]
    if name.lower().endswith(".csv") or _find_heads(start.decode("utf-8-sig", "replace").partition("\n")[0]):
        return "csv"
    found = sniff_format(start.removeprefix(b"\xef\xbb\xbf"))
    known = {"": "names", "domains": "names", "wildcard": "names", "rpz": "rpz", "url": "csv"}
    if found not in known:
        raise DeskError(f"{name}: this looks like a list of the form '{found}'; the desk reads {', '.join(FORMATS)}")
    return known[found]


def _find_heads(line: str) -> bool:
    """Tell whether a first line names a column that says what is listed."""
    cells = re.split(r"[,;\t]", line)
    return any(HEADS.get(_spell_head(cell)) in _PLACES for cell in cells)


def _spell_head(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.strip().strip('"').lower()).strip("_")


def _read_names(text: str, reading: Reading, name: str) -> _Items:
    def read() -> Iterator[Row | Refusal]:
        for number, line in enumerate(text.splitlines(), 1):
            if not _COMMENT.match(line):
                yield Row(number, reading.scope, re.split(r"\s[#;]", line, maxsplit=1)[0].strip())

    return read(), ()


_RPZ_REASONS = {
    words.ADDRESS: ("address", "an IP address: many sites share one", "list the name or the page"),
    words.PUBLIC_SUFFIX: ("public-suffix", "a whole registry of names", "list the names below it one by one"),
    words.SINGLE_LABEL: ("public-suffix", "a whole registry of names", "list the names below it one by one"),
    words.REDIRECT: ("redirect", "an answer of the zone's own choice", "the desk lists what is blocked, not where to"),
}


def _read_rpz(text: str, reading: Reading, name: str) -> _Items:
    """A name with `*.` below it is a domain; alone it is a host; `*.` alone would be widened, so it is refused."""
    reader = RpzReader()
    exact: dict[bytes, int] = {}
    below: dict[bytes, int] = {}
    refusals: list[Refusal] = []
    for number, line in enumerate(text.splitlines(), 1):
        for item in reader.read(line):
            if isinstance(item, str):
                rule, why, advice = _RPZ_REASONS.get(
                    item, ("unsupported", f"a record that blocks no name ({item})", "leave it out")
                )
                refusals.append(Refusal(number, line, rule, why, advice))
            elif item[0] in (words.ALLOW, words.ALLOW_EXACT):
                refusals.append(Refusal(number, line, "allow", "a record that lets a name pass", "leave it out"))
            elif item[0] in (words.BLOCK, words.BLOCK_EXACT):
                (exact if item[0] == words.BLOCK_EXACT else below).setdefault(item[1], number)

    def read() -> Iterator[Row | Refusal]:
        yield from refusals
        for wire, number in exact.items():
            yield Row(number, "domain" if wire in below else "host", format_name(wire))
        for wire, number in below.items():
            if wire not in exact:
                why, advice = "only what is below it is blocked", "block the name itself as well, or list hosts"
                yield Refusal(number, f"*.{format_name(wire)}", "below-only", why, advice)

    return read(), ()


def _read_csv(text: str, reading: Reading, name: str) -> _Items:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = _number_rows(reader, name)
    number, head = next(rows, (0, []))
    columns, unused = _find_columns(head, reading, name)
    return _read_csv_rows(rows, (number, head), columns, reading), unused


def _number_rows(reader: Any, name: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, with the line on which each begins."""
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DeskError(f"{name}:{start}: damaged CSV ({error}): look for a quote that is not closed") from None
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield start, row


def _find_columns(head: Sequence[str], reading: Reading, name: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the index of each field, and the heads that nobody reads. `{}` = one column without a head."""
    spelled = [_spell_head(cell) for cell in head]
    columns: dict[str, int] = {}
    for field, wanted in reading.columns.items():
        if field not in FIELDS:
            raise DeskError(f"--map: '{field}' is no field; there are {', '.join(sorted(FIELDS))}")
        if _spell_head(wanted) not in spelled:
            raise DeskError(f"{name}: there is no column '{wanted}' (there are: {', '.join(head)[:300]})")
        columns[field] = spelled.index(_spell_head(wanted))
    for index, cell in enumerate(spelled):
        if cell in HEADS and HEADS[cell] not in columns and index not in columns.values():
            columns[HEADS[cell]] = index
    if not any(place in columns for place in _PLACES):
        if len(head) == 1:
            return {}, ()
        raise DeskError(
            f"{name}: no column says what is listed: name one in the first line ({', '.join(_PLACES)}), "
            f"or say which with --map url=COLUMN"
        )
    if "value" in columns and "scope" not in columns:
        raise DeskError(f"{name}: a column 'value' needs a column 'scope' beside it (domain, host, url, url_prefix)")
    used = set(columns.values())
    return columns, tuple(cell.strip() for index, cell in enumerate(head) if index not in used)


def _read_csv_rows(
    rows: Iterator[tuple[int, list[str]]], first: tuple[int, list[str]], columns: dict[str, int], reading: Reading
) -> Iterator[Row | Refusal]:
    if not columns and first[0]:
        yield _place_url(first[0], first[1][0], reading, ())
    for number, cells in rows:
        if not columns:
            yield _place_url(number, cells[0], reading, ())
            continue
        found = {field: cells[index].strip() for field, index in columns.items() if index < len(cells)}
        yield _place_row(number, {field: cell for field, cell in found.items() if cell}, reading)


def _place_row(number: int, found: dict[str, str], reading: Reading) -> Row | Refusal:
    place = next((place for place in _PLACES if place in found), "")
    if not place:
        return Refusal(number, "", "empty", "nothing says what is listed", "fill the column, or take the line out")
    text, scope = found[place], found.get("scope", "").lower()
    fields = tuple((field, cell) for field, cell in found.items() if field not in (*_PLACES, "scope"))
    if scope:
        for known in ("domain", "host", "url", "url_prefix"):
            if scope == known:
                return Row(number, known, text, fields)
        return Refusal(number, text, "bad-field", f"scope '{scope}'", "domain, host, url or url_prefix")
    if place == "domain":
        return Row(number, "domain", text, fields)
    if place == "host":
        return Row(number, "host", text, fields)
    return _place_url(number, text, reading, fields)


def _place_url(number: int, text: str, reading: Reading, fields: tuple[tuple[str, str], ...]) -> Row | Refusal:
    text = text.strip()
    rest = re.sub(r"^(?:https?:)?//", "", text, count=1, flags=re.IGNORECASE)
    path = rest.partition("/")[2]
    if rest.endswith("/*") and path != "*":
        return Row(number, "url_prefix", text, fields)
    if path not in ("", "*") or "?" in rest:
        return Row(number, "url", text, fields)
    if reading.bare is None:
        return Refusal(
            number, text, "grows-to-host", "a URL without a path: the front page, or the whole host?",
            "a column 'scope' says which, or --bare url (the front page alone), host or domain",
        )  # fmt: skip
    if reading.bare == "url":
        return Row(number, "url", text.removesuffix("*"), fields)
    return Row(number, reading.bare, rest.partition("/")[0].partition(":")[0], fields)


def read_moment(text: str) -> int:
    """Return the epoch seconds of `2026-05-01` or `2026-05-01T10:30` (UTC by default). Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _merge_facts(facts: Facts, row: Row) -> Facts | Refusal:
    """What the line itself says goes before what holds for the file."""
    changes: dict[str, Any] = {}
    for field, cell in row.fields:
        if field in _DIRECT:
            changes[field] = cell.lower() if field in ("severity", "legal_basis", "licence_class") else cell
            continue
        try:
            changes[field] = read_moment(cell)
        except ValueError:
            advice = "write it like 2026-05-01 or 2026-05-01T10:30"
            return Refusal(row.line, row.text, "bad-field", f"{field} '{cell[:40]}' is no date", advice)
    if "verified" in changes and "expires" not in changes:
        changes["expires"] = changes["verified"] + facts.expires - facts.verified
    merged = msgspec.structs.replace(facts, **changes)
    try:
        return msgspec.convert(msgspec.to_builtins(merged), Facts)
    except msgspec.ValidationError as error:
        return Refusal(row.line, row.text, "bad-field", f"{error}", "write one of the known words, or a shorter text")


class _Known(NamedTuple):
    id: int
    status: str
    source: str
    override: str


class _Counting:
    """Collects what a file comes to. One line after the other."""

    def __init__(self, known: Mapping[str, _Known], rules: Rules, facts: Facts, now: float, override: str) -> None:
        self._known, self._rules, self._facts, self._now, self._override = known, rules, facts, now, override
        self._merged: dict[tuple[tuple[str, str], ...], Facts] = {(): facts}
        self._refused_facts: dict[Facts, list[Refusal]] = {}
        self.seen: dict[str, int] = {}
        self.added: dict[Facts, list[tuple[Scope, str]]] = {}
        self.renewed: dict[tuple[int, int, str], list[int]] = {}
        self.refusals: list[Refusal] = []

    def take(self, row: Row, scheme: str) -> None:
        """Take one row."""
        try:
            target = read_target(row.scope, row.text, scheme)
        except BadValueError as error:
            self.refusals.append(Refusal(row.line, row.text, error.rule, error.why, error.advice))
            return
        before = self.seen.setdefault(target.key, row.line)
        if before != row.line:
            why = f"the same as line {before}"
            self.refusals.append(Refusal(row.line, target.value, "duplicate-in-file", why, "take one of them out"))
            return
        merged = self._merged.get(row.fields)
        if merged is None:
            found = _merge_facts(self._facts, row)
            if isinstance(found, Refusal):
                self.refusals.append(found)
                return
            merged = self._merged[row.fields] = found
        self._place(row, target, merged)

    def _place(self, row: Row, target: Target, facts: Facts) -> None:
        if facts not in self._refused_facts:
            self._refused_facts[facts] = judge_facts(facts, self._now)
        refused = [it._replace(line=row.line, value=target.value) for it in self._refused_facts[facts]]
        refused += self._rules.judge(target, row.line)
        hard = [it for it in refused if not (it.can_override and self._override)]
        if hard:
            self.refusals += hard
            return
        override = self._override if refused else ""
        known = self._known.get(target.key)
        if known is not None:
            self._renew(row, target, facts, known, override)
            return
        kept = msgspec.structs.replace(facts, override=override, shared_host=self._rules.is_shared(target))
        self.added.setdefault(kept, []).append((target.scope, target.value))

    def _renew(self, row: Row, target: Target, facts: Facts, known: _Known, override: str) -> None:
        if known.status == "suspended":
            why, advice = f"entry {known.id} is suspended", "a file can't end that: look into it, then 'resume'"
            self.refusals.append(Refusal(row.line, target.value, "suspended", why, advice))
        elif known.source != facts.source or not facts.source:
            why = f"it is on the list already, entry {known.id} of the source '{known.source}'"
            self.refusals.append(
                Refusal(row.line, target.value, "duplicate", why, f"'renew {known.id}' gives it a new end")
            )
        elif known.override and not override:
            why, advice = f"entry {known.id} stands by an override", "import with --override REASON"
            self.refusals.append(Refusal(row.line, target.value, "override-ends", why, advice))
        else:
            self.renewed.setdefault((facts.verified, facts.expires, override), []).append(known.id)


def look_through(
    connection: sqlite3.Connection,
    rules: Rules,
    list_id: str,
    rows: Iterable[Row],
    facts: Facts,
    now: float,
    *,
    scheme: str = "https",
    override: str = "",
    complete: bool = False,
    may_shrink: bool = False,
) -> tuple[Body, list[Refusal]]:
    """Return what rows would change, and what of them is refused.

    Entries of the same `facts.source` that are on the list already are renewed. With `complete` those of the source
    that the file does not have are removed; not, when they are many and `may_shrink` is not given: a file that was cut
    off must not open what was blocked.
    """
    known = {
        target: _Known(id_, status, source, override_)
        for id_, target, status, source, override_ in connection.execute(
            "SELECT id, target, status, source, override FROM entries WHERE list_id = ? AND status <> 'removed'",
            (list_id,),
        )
    }
    counting = _Counting(known, rules, facts, now, override)
    for row in rows:
        counting.take(row, scheme)
    refusals = counting.refusals
    removed: list[int] = []
    if complete:
        if not facts.source:
            raise DeskError("--complete needs --source: only entries of the same source are taken off")
        ours = [(target, it.id) for target, it in known.items() if it.source == facts.source]
        removed = sorted(id_ for target, id_ in ours if target not in counting.seen)
        if len(removed) > len(ours) * SHRINK_LIMIT and not may_shrink:
            why = f"the file lacks {len(removed)} of the {len(ours)} entries of '{facts.source}'"
            advice = "is it whole? if so, --may-shrink"
            refusals.append(Refusal(0, facts.source, "shrunk", why, advice))
            removed = []
    refusals += judge_classes(connection, list_id, counting.added)
    body = Body(
        add=[Added(kept, targets) for kept, targets in counting.added.items()],
        renew=[
            Renewed(ids, verified, expires, reason) for (verified, expires, reason), ids in counting.renewed.items()
        ],
        remove=[Ended(removed, f"no longer in the list of {facts.source}")] if removed else [],
    )
    return body, refusals


def preview_import(
    desk: Desk,
    list_id: str,
    data: bytes,
    name: str,
    reading: Reading,
    facts: Facts,
    now: float,
    *,
    override: str = "",
    complete: bool = False,
    may_shrink: bool = False,
) -> Preview:
    """Return what a file would change, and every refusal with its line. Raises DeskError for a damaged file."""
    if list_id not in desk.lists():
        raise DeskError(f"there is no list '{list_id[:40]}' (there are: {', '.join(desk.lists()) or 'none'})")
    format_, lines, rows, refusals, unused = read_rows(data, reading, name)
    with desk.reading() as connection:
        rules = load_rules(desk.folder, ask_popular(connection))
        body, more = look_through(
            connection, rules, list_id, rows, facts, now,
            scheme=reading.scheme, override=override, complete=complete, may_shrink=may_shrink,
        )  # fmt: skip
    refusals = sorted([*refusals, *more], key=lambda it: it.line)
    return Preview(format_, lines, body, tuple(refusals), unused, override)


def propose_import(desk: Desk, signer: Signer, list_id: str, preview: Preview, why: str, now: float) -> int:
    """Propose what a preview would change; return the number of the proposal. Raises DeskError.

    The refused lines are left out; the second person's approval looks at the rest again.
    """
    if not preview.body.count():
        raise DeskError("nothing of this file would change the list: there is nothing to propose")
    with desk.changing() as connection:
        return write_proposal(connection, signer, "import", list_id, preview.body, why, now, preview.override)
