"""Print the public numbers of the hotline: how much is blocked, on what ground, for how long; complaints and reports.

  guardian hotline transparency --from 2026-01-01 --to 2026-06-30 > numbers.txt

Days are whole and in UTC; both named ones are counted. No name of the list, no person and no report is in it.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from guardian.cli.hotline.at_desk import open_desk
from guardian.errors import DeskError

if TYPE_CHECKING:
    from guardian.desk.transparency import Duration, ListNumbers, Numbers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian hotline transparency`."""
    parser.add_argument("--from", dest="first", metavar="DAY", help="first day, like 2026-01-01 (default: the desk's)")
    parser.add_argument("--to", dest="last", metavar="DAY", help="last day (default: today, up to now)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the numbers; return 0. Raises DeskError."""
    from guardian.desk.report_store import ReportStore, count_reports
    from guardian.desk.transparency import count_all, encode_numbers, read_journal

    desk = open_desk(args)
    now = int(time.time())
    start = _read_day(args.first) if args.first else 0
    end = min(now + 1, _read_day(args.last) + 86400) if args.last else now + 1
    with read_journal(desk) as (lines, load, first_line):
        start = max(start, first_line)
        if start >= end:
            raise DeskError("there is nothing to count: the period ends before it begins, or before this desk did")
        numbers = count_all(lines, load, count_reports(ReportStore(desk.folder), start, end), start, end)
    print(encode_numbers(numbers).decode() if args.json else describe(numbers))
    return 0


def _read_day(text: str) -> int:
    try:
        return int(datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC).timestamp())
    except ValueError:
        raise DeskError(f"'{text[:40]}' is no day like 2026-01-31") from None


def describe(numbers: Numbers) -> str:
    """Return the numbers as text for people."""
    last = datetime.fromtimestamp(numbers.end, UTC) - timedelta(seconds=1)
    lines = [f"Public numbers from {datetime.fromtimestamp(numbers.start, UTC):%Y-%m-%d} to {last:%Y-%m-%d} (UTC)"]
    for found in numbers.lists:
        lines += ["", *_describe_list(found)]
    appeals = numbers.appeals
    lines += ["", f"Reports received: {sum(numbers.reports.values())}", *_indent(numbers.reports)]
    if numbers.results:
        lines += ["  what came of them:", *_indent(numbers.results, 4)]
    lines += [
        "",
        f"Requests to unblock: {appeals.received}, of which {appeals.waiting} wait",
        *_indent(appeals.results),
    ]
    return "\n".join([*lines, "", f"Journal: {numbers.journal}"])


def _describe_list(found: ListNumbers) -> list[str]:
    changes = found.changes
    return [
        f"{found.id}: {found.in_force} entries in force",
        *_indent(found.by_ground),
        *_indent(found.by_scope),
        f"  not enforceable (pages over HTTPS, never widened to their site): {found.not_enforceable}",
        f"  for resolvers of internet providers only: {found.isp_only}",
        f"  suspended: {found.suspended}",
        f"  on the list: {_describe_duration(found.age)}",
        "  within the period:",
        f"    {changes.added} added, {changes.renewed} renewed, {changes.removed} removed",
        f"    {changes.expired} ended because nobody verified them anew",
        f"    {changes.suspended} suspended, {changes.resumed} resumed",
        f"    {changes.overridden} against a rule of the desk (two people each; they end within a day)",
        f"    ended after: {_describe_duration(found.duration)}",
    ]


def _describe_duration(duration: Duration) -> str:
    if not duration.count:
        return "none"
    return f"median {duration.median_days} days, longest {duration.longest_days} days"


def _indent(numbers: dict[str, int], by: int = 2) -> list[str]:
    return [f"{'':{by}}{name}: {number}" for name, number in numbers.items()]
