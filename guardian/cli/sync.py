"""Bring the hotline's feed and the public lists up to date.

The feed comes first: what is new there is verified, put in force, and a running gateway takes it over at once. Then the
public lists are fetched, checked, and compiled with the starter data and the mandatory lists. A list that cannot be
fetched or believed keeps its last good copy, and the others go on.
"""

from __future__ import annotations

import argparse
import enum
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from guardian.cli import paint
from guardian.config import Config, load_config
from guardian.errors import ConfigError, GuardianError, Problem
from guardian.hotline.feed_state import FeedState, feed_folder, format_state
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


class _Gateway(enum.Enum):
    """What a running gateway did with new lists."""

    TOOK = "the gateway has taken it over"
    ABSENT = "no gateway is running here"
    REFUSED = "the gateway did not take it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian sync`."""
    parser.add_argument("--feed", action="store_true", help="look at the hotline's feed only")
    parser.add_argument("--offline", action="store_true", help="fetch nothing: compile the copies that are there")
    parser.add_argument("--only", metavar="ID", action="append", default=[], help="fetch this source only (repeatable)")
    parser.add_argument(
        "--force", action="store_true", help="believe a list even if it lost nine tenths of its entries"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print the report as JSON")
    how.add_argument("--quiet", action="store_true", help="print one line, and only when something went wrong")


def run(args: argparse.Namespace) -> int:
    """Run `guardian sync`; return 1 when a wanted list is in force neither new nor old, 0 otherwise.

    With `--feed`: 1 when the feed or one of its lists could not be brought up to date.
    """
    if not args.feed:
        return _sync(args, offline=args.offline, only=args.only, force=args.force)
    config = load_config(args.config)
    if not config.hotline.url:
        raise ConfigError([Problem(args.config, "there is no feed: 'hotline' needs 'url' and 'root'")])
    if args.offline:
        return OK
    state, gateway = _update_feed(config)
    if args.json:
        print(json.dumps({"feed": format_state(state), "reloaded": gateway is _Gateway.TOOK}, ensure_ascii=False))
    elif args.quiet:
        _print_feed_trouble(state)
    else:
        _print_feed(state, gateway)
    return FAILED if state.troubles() else OK


def run_fetch(args: argparse.Namespace) -> int:
    """Run `guardian lists fetch`: the same as `guardian sync` without options."""
    return _sync(args, offline=False, only=(), force=False)


def _sync(args: argparse.Namespace, *, offline: bool, only: Sequence[str], force: bool) -> int:
    from guardian.hotline.sync import SyncOptions, sync_lists  # the parser and compiler; --help needs none of it

    config = load_config(args.config)
    quiet = getattr(args, "quiet", False)
    feed: FeedState | None = None
    if config.hotline.url and not offline and not only:
        feed, taken = _update_feed(config)
        if quiet:
            _print_feed_trouble(feed)
        elif not args.json:
            _print_feed(feed, taken)
    bar = _Bar()
    try:
        report = sync_lists(config, SyncOptions(offline=offline, only=tuple(only), force=force), bar.show)
    finally:
        bar.clear()
    gateway = _tell_gateway(config)
    if quiet:
        _print_trouble(report, offline)
    elif args.json:
        print(json.dumps(_format(report, feed, gateway), ensure_ascii=False))
    else:
        _print_report(report, gateway)
    return FAILED if report.has_gaps or (feed and _has_gaps(feed)) else OK


def _update_feed(config: Config) -> tuple[FeedState, _Gateway | None]:
    """Update the feed; return how it stands, and what the gateway did when there was anything new for it."""
    try:
        from guardian.hotline.trust import FeedClient  # tuf and its keys: megabytes that nothing else needs
    except ModuleNotFoundError as error:
        raise GuardianError(f"the hotline's feed needs the package '{error.name}': install guardian[feed]") from None
    told: list[_Gateway] = []

    def announce() -> bool:
        told.append(_tell_gateway(config))
        return told[0] is not _Gateway.REFUSED

    state = FeedClient(config.hotline, feed_folder(config.state)).update(time.time(), announce)
    return state, told[0] if told else None


def _has_gaps(feed: FeedState) -> bool:
    """Tell whether a wanted list of the feed is not in force at all."""
    return not feed.lists or any(not one.serial for one in feed.lists.values())


def _format(report: SyncReport, feed: FeedState | None, gateway: _Gateway) -> dict[str, Any]:
    made = {**format_report(report), "reloaded": gateway is _Gateway.TOOK}
    for source in made["sources"]:
        source["signed"] = False  # no list of sources.yaml is; those of the feed all are
    return made | ({"feed": format_state(feed)} if feed else {})


def _tell_gateway(config: Config) -> _Gateway:
    """Have a running gateway take the new lists; return whether one did."""
    from guardian.control import NotRunningError, send

    try:
        send(config.control.socket, "reload")
    except NotRunningError:
        return _Gateway.ABSENT
    except GuardianError as error:
        print(f"guardian sync: the gateway did not take the new lists: {error}", file=sys.stderr)
        return _Gateway.REFUSED
    return _Gateway.TOOK


def _print_feed(state: FeedState, gateway: _Gateway | None) -> None:
    """Tell how the feed stands, in lines like those of the other lists."""
    width = max((len(list_id) for list_id in state.lists), default=0)
    for list_id, one in state.lists.items():
        word, style = ("current", "green") if not one.code else ("kept" if one.serial else "missing", "yellow")
        parts = [f"serial {one.serial}, {_format_age(state.checked - one.created)} old"] if one.serial else []
        parts += [one.error] if one.error else []
        print(f"{list_id:{width}}  {paint(f'{word:9}', style)}  {one.entries:>9,}  {'; '.join(parts)}".rstrip())
    if state.code:
        print(paint(f"the hotline's feed: {state.error}; what is in force stays", "red"))
    if state.clock_behind > 0:
        print(f"this box's clock is {_format_age(state.clock_behind)} behind: it is no measure for the feed")
    if state.needs_update:
        print(f"the hotline asks for Guardian {state.minimum_version} or newer")
    if state.version:
        end = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.expires))
        news = f"new lists are in force, {gateway.value}" if gateway else "nothing new"
        print(f"{state.name or state.url}: version {state.version}, signed until {end}; {news}")


def _print_feed_trouble(state: FeedState) -> None:
    """One line for the log of a service."""
    if troubles := state.troubles():
        list_id, code, why = troubles[0]
        print(f"guardian sync: the hotline's feed{f', {list_id}' if list_id else ''}: {code}: {why}", file=sys.stderr)


def _print_trouble(report: SyncReport, offline: bool) -> None:
    """One line for the log of a service; without a network nothing was asked for."""
    failed = [source for source in report.sources if source.state in (SourceState.FAILED, SourceState.REFUSED)]
    if failed and not offline:
        why = f"the first is {failed[0].id}: {failed[0].reason}"
        print(f"guardian sync: {len(failed)} of {len(report.sources)} lists had trouble ({why})", file=sys.stderr)


def _print_report(report: SyncReport, gateway: _Gateway) -> None:
    width = max((len(source.id) for source in report.sources), default=0)
    for source in report.sources:
        state = paint(f"{source.state.value:9}", _STYLES[source.state])
        print(f"{source.id:{width}}  {state}  {source.entries:>9,}  {_describe(source, report.finished)}".rstrip())
    failed = sum(source.state in (SourceState.FAILED, SourceState.REFUSED) for source in report.sources)
    found = f"{report.names:,} names and {report.addresses:,} addresses from {len(report.sources)} lists"
    print(f"{found}, {failed} with trouble, all unsigned; {report.image}; {gateway.value}")


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
