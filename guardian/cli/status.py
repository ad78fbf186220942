"""Ask the running gateway how it is: queries, lists with their age, upstreams, cache, flow filter, history, memory.

guardian status
guardian status --json | jq .queries
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from guardian.cli import paint
from guardian.config import load_config
from guardian.control import NotRunningError, send

OLD_LIST_DAYS = 7
SHOWN_TAGS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian status`."""
    parser.add_argument("--json", action="store_true", help="one JSON object for programs")


def run(args: argparse.Namespace) -> int:
    """Print the status; exit 1 when no gateway runs."""
    config = load_config(args.config)
    try:
        status = send(config.control.socket, "status")
    except NotRunningError as error:
        if args.json:
            print(json.dumps({"running": False, "error": str(error)}))
        else:
            print(f"guardian: {error}", file=sys.stderr)
        return 1
    status["running"] = status.pop("ok")
    status["last_day"] = read_last_day(config.history.path, status["now"])
    if args.json:
        print(json.dumps(status, indent=2))
    else:
        print("\n".join(describe(status)))
    return 0


def describe(status: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that a person reads."""
    now = status["now"]
    queries, cache, lists, home = status["queries"], status["cache"], status["lists"], status["household"]
    up = format_age(now - status["started"])
    yield f"{paint('Guardian', 'bold')} {status['version']}, up {up}, listening on {', '.join(status['listen'])}"
    share = f" ({100 * queries['blocked'] / queries['total']:.1f} %)" if queries["total"] else ""
    yield f"queries    {queries['total']:,}, blocked {queries['blocked']:,}{share}, made safe {queries['rewritten']:,}"
    if queries["reasons"]:
        yield "           " + ", ".join(f"{name} {count:,}" for name, count in sorted(queries["reasons"].items()))
    if queries["refused"] or queries["rate_limited"]:
        limited = f"over the limit {queries['rate_limited']:,}"
        yield f"           refused {queries['refused']:,} (not from this home), {limited}"
    used = f"{format_bytes(cache['bytes'])} of {format_bytes(cache['max_bytes'])}"
    yield f"cache      {cache['entries']:,} answers in {used}, {cache['ready']:,} ready of {cache['max_ready']:,}"
    for upstream in status["upstreams"]:
        mark = paint("ok", "green") if upstream["healthy"] else paint("down", "red")
        rtt = f"{upstream['rtt']:.0f} ms" if upstream["rtt"] is not None else "not asked yet"
        error = f", last error: {upstream['last_error']}" if upstream["last_error"] else ""
        failures = f"{upstream['queries']:,} asked, {upstream['failures']:,} failed{error}"
        yield f"upstream   {upstream['label']}: {mark}, {rtt}, {failures}"
    yield from describe_lists(lists, now)
    yield from describe_filter(status["filter"])
    seen = f"{home['devices_seen']} seen on the network"
    yield f"household  {home['profiles']} profiles, {home['devices']} devices, {seen}"
    history = status["history"]
    trouble = paint(history["error"], "red") if history["error"] else "ok"
    yield f"history    {trouble}, {format_bytes(history['file_bytes'])}"
    yield from describe_last_day(status["last_day"])
    memory = status["memory"]
    yield f"memory     {format_bytes(memory['private'])} private, {format_bytes(memory['resident'])} resident"


def read_last_day(path: str, now: float) -> dict[str, Any] | None:
    """Return what the history tells of the last 24 hours, None when it cannot be read."""
    from guardian.store.history_read import HistoryError, HistoryReader

    since = int(now) // 3600 - 23
    try:
        with HistoryReader(path) as history:
            totals = history.totals(since)
            tags = [row for row in history.by_category(since) if row.action == "block" and row.tag]
    except HistoryError:
        return None
    blocked = {row.tag: row.queries for row in tags[:SHOWN_TAGS]}
    return {"allowed": totals.allowed, "blocked": totals.blocked, "most_blocked": blocked}


def describe_last_day(day: dict[str, Any] | None) -> Iterator[str]:
    """Yield the line about the last 24 hours."""
    if day is None:
        yield "           the last day cannot be read here"
        return
    most = ", ".join(f"{tag.replace(':', ' ')} {count:,}" for tag, count in day["most_blocked"].items())
    total = day["allowed"] + day["blocked"]
    yield f"last day   {total:,} asked, {day['blocked']:,} blocked" + (f": {most}" if most else "")


def describe_lists(lists: dict[str, Any], now: float) -> Iterator[str]:
    """Yield the lines about the lists in force."""
    age = now - lists["created"]
    line = f"lists      {lists['names']:,} names, {lists['urls']:,} URLs, compiled {format_age(age)} ago"
    if lists["error"]:
        line += paint(f" (the newer image is refused: {lists['error']})", "red")
    elif lists["starter_only"]:
        line += paint(" (only the built-in names: run `guardian sync`)", "yellow")
    elif age > OLD_LIST_DAYS * 86400:
        line += paint(" (old: is `guardian sync` running?)", "yellow")
    yield line
    addresses = lists["addresses"]
    line = f"           {addresses['entries']:,} addresses and networks"
    if addresses["error"]:
        line += paint(f" (the newer table is refused: {addresses['error']})", "red")
    yield line
    shown = [source for source in lists["sources"] if source.get("url")]
    for source in shown:
        fetched = source.get("fetched")
        when = f", fetched {format_age(now - fetched)} ago" if fetched else ""
        yield f"           {source['name']} ({source['tag']}): {source['entries']:,} entries{when}"


def describe_filter(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about the flow filter."""
    if not found["enabled"]:
        yield "filter     off: only DNS is filtered (see filter.enabled in docs/configuration.md)"
        return
    line = f"filter     {format_count(found['running'], 'running flow')}, {found['undecided']:,} undecided"
    if found["stopped"]:
        line += f", stopped now: {format_count(found['stopped'], 'device')}"
    yield line
    refused = f"{found['refused']:,} refused, {found['dropped']:,} dropped"
    malformed = f" ({found['malformed']:,} malformed)" if found["malformed"] else ""
    judged = format_count(found["packets"], "packet")
    yield f"           {judged} judged: {found['allowed']:,} allowed, {refused}{malformed}"
    if found["problem"]:
        yield "           " + paint(f"behind the policy: {found['problem']} (it tries again every second)", "red")
    if found["repairs"]:
        times = format_count(found["repairs"], "time")
        yield "           " + paint(f"others changed its rules, loaded again {times}", "yellow")
    queue = found["queue"]
    if missed := sum(queue.get(key, 0) for key in ("lost", "kernel_dropped", "user_dropped")):
        yield "           " + paint(
            f"too busy for {format_count(missed, 'packet')}: they had to be sent again", "yellow"
        )
    if queue.get("errors"):
        yield "           " + paint(f"{format_count(queue['errors'], 'error')} while judging: see the log", "red")


def format_count(count: int, thing: str) -> str:
    """Return `1 packet` or `1,234 packets`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def format_age(seconds: float) -> str:
    """Return a length of time as a person says it."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{max(0, int(seconds))} seconds"


def format_bytes(count: float) -> str:
    """Return a size in the unit that reads best."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"
