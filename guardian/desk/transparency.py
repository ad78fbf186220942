"""The public numbers of a hotline: how much is blocked, on what ground, for how long, and what became of complaints.

Counted from the journal, so nobody can publish other numbers than what was done; never a name, a person or a report's
words. The head of the journal stands beside them, and in every published list: who keeps the lists can compare.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from guardian.desk.books import MemoryBook
from guardian.desk.entries import Entry
from guardian.desk.fold import apply_line
from guardian.desk.journal import START, Line, load_body, read_lines
from guardian.desk.report_store import APPEAL, DAY, ReportCount
from guardian.desk.store import Desk

SCHEMA = 1


class Change(Struct, frozen=True):
    """What happened to the entries of a list within the period. An entry may be counted in several."""

    added: int = 0
    renewed: int = 0  # looked at again, and still what it was
    suspended: int = 0
    resumed: int = 0
    removed: int = 0  # before they ended by themselves
    expired: int = 0  # nobody verified them anew
    overridden: int = 0  # added or renewed although a rule refuses it; they end within a day


class Duration(Struct, frozen=True):
    """How long `count` entries were listed."""

    count: int = 0
    median_days: float = 0.0
    longest_days: float = 0.0


class ListNumbers(Struct, frozen=True):
    """The numbers of a list, at the end of the period where nothing else is said."""

    id: str
    in_force: int
    by_ground: dict[str, int]  # `SEVERITY, LEGAL BASIS`
    by_scope: dict[str, int]
    not_enforceable: int  # pages over HTTPS: counted, never widened to their host
    isp_only: int  # not in what routers get
    suspended: int
    changes: Change
    age: Duration  # of those in force
    duration: Duration  # of those that ended within the period, from listing to end


class Appeals(Struct, frozen=True):
    """Requests to unblock a site that came within the period."""

    received: int
    waiting: int
    results: dict[str, int]


class Numbers(Struct, frozen=True):
    """All of it. Times are epoch seconds; `end` is not included."""

    start: int
    end: int
    journal: str  # hash of the last line that was counted
    lists: list[ListNumbers]
    reports: dict[str, int]  # received, by type
    results: dict[str, int]  # of those, by result; without appeals
    appeals: Appeals
    schema: int = SCHEMA


class _Watched(MemoryBook):
    """A book that counts what happens to entries."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self._start = start
        self.events: Counter[tuple[str, str]] = Counter()  # (list, field of Change)
        self.ended: dict[int, int] = {}  # entry -> when

    def put_entry(self, entry: Entry) -> None:
        """Count the change of an entry, then make it."""
        before = self.entries.get(entry.id)
        if before is not None and before.status != "removed":
            self._end_in_time(before, entry.changed)
        at = entry.changed
        if before is None:
            self._count(entry, "added", at)
        elif before.status != entry.status:
            self._move(before, entry)
        else:
            self._count(entry, "renewed", at)
            self.ended.pop(entry.id, None)
        if entry.override and (before is None or before.status == entry.status):
            self._count(entry, "overridden", at)
        super().put_entry(entry)

    def _move(self, before: Entry, entry: Entry) -> None:
        if entry.status == "removed":
            if entry.id in self.ended:  # it had expired: only its line is tidied away
                return
            self.ended[entry.id] = entry.changed
            self._count(entry, "removed", entry.changed)
        else:
            self._count(entry, "suspended" if entry.status == "suspended" else "resumed", entry.changed)

    def _end_in_time(self, entry: Entry, now: int) -> None:
        """Count an entry that ended by itself before `now`."""
        if entry.id not in self.ended and entry.expires <= now:
            self.ended[entry.id] = entry.expires
            self._count(entry, "expired", entry.expires)

    def _count(self, entry: Entry, what: str, at: int) -> None:
        if at >= self._start:
            self.events[entry.list_id, what] += 1

    def finish(self, end: int) -> None:
        """Count what has ended by itself up to `end`."""
        for entry in self.entries.values():
            if entry.status != "removed":
                self._end_in_time(entry, end - 1)


def count_all(
    lines: Iterable[Line], load: Callable[[str], bytes], reports: Iterable[ReportCount], start: int, end: int
) -> Numbers:
    """Return the numbers from `start` up to `end` (epoch seconds, not included).

    `lines` is the whole journal in order, `load` returns the body of a proposal by its hash, `reports` are those of the
    same time. Raises DeskError for a journal that its own rules do not allow.
    """
    book, head = _Watched(start), START
    for line in lines:
        if line.at >= end:
            break
        apply_line(book, line, load)
        head = line.hash
    book.finish(end)
    found = list(reports)
    return Numbers(
        start=start,
        end=end,
        journal=head,
        lists=[_count_list(book, list_id, start, end) for list_id in sorted(book.lists)],
        reports=_sum((count.type, count.number) for count in found),
        results=_sum((count.result, count.number) for count in found if count.result and count.type != APPEAL),
        appeals=_count_appeals(found),
    )


def _sum(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for name, number in pairs:
        total[name] += number
    return dict(sorted(total.items()))


def _count_appeals(reports: list[ReportCount]) -> Appeals:
    appeals = [count for count in reports if count.type == APPEAL]
    return Appeals(
        received=sum(count.number for count in appeals),
        waiting=sum(count.number for count in appeals if count.state != "closed"),
        results=_sum((count.result, count.number) for count in appeals if count.result),
    )


def _count_list(book: _Watched, list_id: str, start: int, end: int) -> ListNumbers:
    mine = [entry for entry in book.entries.values() if entry.list_id == list_id]
    in_force = [entry for entry in mine if entry.status == "active" and entry.id not in book.ended]
    return ListNumbers(
        id=list_id,
        in_force=len(in_force),
        by_ground=_sum((f"{entry.severity}, {entry.legal_basis}", 1) for entry in in_force),
        by_scope=_sum((entry.scope, 1) for entry in in_force),
        not_enforceable=sum(1 for entry in in_force if not entry.is_enforceable),
        isp_only=sum(1 for entry in in_force if entry.licence_class == "isp_only"),
        suspended=sum(1 for entry in mine if entry.status == "suspended" and entry.id not in book.ended),
        changes=Change(**{what: number for (name, what), number in book.events.items() if name == list_id}),
        age=_measure(end - entry.listed for entry in in_force),
        duration=_measure(
            book.ended[entry.id] - entry.listed for entry in mine if book.ended.get(entry.id, -1) >= start
        ),
    )


def _measure(seconds: Iterable[int]) -> Duration:
    days = [found / DAY for found in seconds]
    return Duration(len(days), round(statistics.median(days), 1), round(max(days), 1)) if days else Duration()


def encode_numbers(numbers: Numbers) -> bytes:
    """Return the numbers as JSON."""
    return msgspec.json.format(msgspec.json.encode(numbers), indent=1)


@contextmanager
def read_journal(desk: Desk) -> Iterator[tuple[Iterator[Line], Callable[[str], bytes], int]]:
    """Hand out one moment of a desk's journal: its lines, what returns bodies, and when it began (0 = it is empty)."""
    with desk.reading() as connection:
        first = next(read_lines(connection), None)
        yield read_lines(connection), lambda digest: load_body(connection, digest), first.at if first else 0
