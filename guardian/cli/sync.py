"""Fetch the public lists, check them, compile them with the starter data and the mandatory lists, replace the image.

A list that cannot be fetched or believed keeps its last good copy, and the others go on. A running gateway takes the
new image over at once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from guardian.cli import paint
from guardian.config import Config, load_config
from guardian.errors import GuardianError
from guardian.hotline.report import SourceReport, SourceState, SyncReport, format_report

OK, FAILED = 0, 1
_BAR_AFTER = 2.0  # seconds
_BAR_CELLS = 30
_STYLES = {
    SourceState.OK: "green",
    SourceState.UNCHANGED: "dim",
    SourceState.FAILED: "red",
    SourceState.REFUSED: "yellow",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian sync`."""
    parser.add_argument("--offline", action="store_true", help="fetch nothing: compile the copies that are there")
    parser.add_argument("--only", metavar="ID", action="append", default=[], help="fetch this source only (repeatable)")
    parser.add_argument(
        "--force", action="store_true", help="believe a list even if it lost nine tenths of its entries"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print the report as JSON")
    how.add_argument("--quiet", action="store_true", help="print one line, and only when something went wrong")


def run(args: argparse.Namespace) -> int:
    """Run `guardian sync`; return 1 when a wanted list is in force neither new nor old, 0 otherwise."""
    return _sync(args, offline=args.offline, only=args.only, force=args.force)


def run_fetch(args: argparse.Namespace) -> int:
    """Run `guardian lists fetch`: the same as `guardian sync` without options."""
    return _sync(args, offline=False, only=(), force=False)


def _sync(args: argparse.Namespace, *, offline: bool, only: Sequence[str], force: bool) -> int:
    from guardian.hotline.sync import SyncOptions, sync_lists  # the parser and compiler; --help needs none of it

    config = load_config(args.config)
    bar = _Bar()
    try:
        report = sync_lists(config, SyncOptions(offline=offline, only=tuple(only), force=force), bar.show)
    finally:
        bar.clear()
    reloaded = _tell_gateway(config)
    if getattr(args, "quiet", False):
        _print_trouble(report, offline)
    elif args.json:
        print(json.dumps({**format_report(report), "reloaded": reloaded}, ensure_ascii=False))
    else:
        _print_report(report, reloaded)
    return FAILED if report.has_gaps else OK


def _tell_gateway(config: Config) -> bool:
    """Have a running gateway take the new image; return whether one did."""
    from guardian.control import NotRunningError, send

    try:
        send(config.control.socket, "reload")
    except NotRunningError:
        return False
    except GuardianError as error:
        print(f"guardian sync: the gateway did not take the new lists: {error}", file=sys.stderr)
        return False
    return True


def _print_trouble(report: SyncReport, offline: bool) -> None:
    """One line for the log of a service; without a network nothing was asked for."""
    failed = [source for source in report.sources if source.state in (SourceState.FAILED, SourceState.REFUSED)]
    if failed and not offline:
        why = f"the first is {failed[0].id}: {failed[0].reason}"
        print(f"guardian sync: {len(failed)} of {len(report.sources)} lists had trouble ({why})", file=sys.stderr)


def _print_report(report: SyncReport, reloaded: bool) -> None:
    width = max((len(source.id) for source in report.sources), default=0)
    for source in report.sources:
        state = paint(f"{source.state.value:9}", _STYLES[source.state])
        print(f"{source.id:{width}}  {state}  {source.entries:>9,}  {_describe(source, report.finished)}".rstrip())
    failed = sum(source.state in (SourceState.FAILED, SourceState.REFUSED) for source in report.sources)
    gateway = "the gateway has taken it over" if reloaded else "no gateway is running here"
    found = f"{report.names:,} names and {report.addresses:,} addresses from {len(report.sources)} lists"
    print(f"{found}, {failed} with trouble; {report.image}; {gateway}")


def _describe(source: SourceReport, now: float) -> str:
    parts = []
    if source.reason:
        parts.append(source.reason)
        if source.is_usable:
            parts.append(f"the copy of {_format_age(now - source.fetched)} ago stays")
    elif source.state is SourceState.UNCHANGED:
        parts.append(f"{_format_age(now - source.fetched)} old")
    if source.dropped:
        parts.append(f"protected, and left out: {', '.join(source.dropped[:5])}")
    return "; ".join(parts)


def _format_age(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} seconds"


class _Bar:
    """A progress bar on a terminal's stderr, from the second second on."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._shown = False

    def show(self, share: float, what: str) -> None:
        if not sys.stderr.isatty() or time.monotonic() - self._begin < _BAR_AFTER:
            return
        filled = int(share * _BAR_CELLS)
        print(f"\r\x1b[K[{'#' * filled:{_BAR_CELLS}}] {share:4.0%} {what[:40]}", end="", file=sys.stderr, flush=True)
        self._shown = True

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
