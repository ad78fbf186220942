"""Ask the running gateway how it is: queries, lists with their age, the hotline's feed, upstreams, cache, history, ...

guardian status
guardian status --json | jq .queries
guardian status --health                 how the box is, and nothing of the home: for a provider's support

Exit code 0: a gateway runs. 1: none does. 2: the settings cannot be read.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from guardian.cli import FAILED, OK, USAGE, paint
from guardian.cli.health import NOT_RUNNING, SETTINGS, SILENT, ask_health, make_health
from guardian.clock import State
from guardian.config import Config, load_config
from guardian.control import NotRunningError, SilentError, send
from guardian.errors import ConfigError, GuardianError

OLD_LIST_DAYS = 7
REPLY_SECONDS = 10.0
HEALTH_REPLY_SECONDS = 2.5  # bbfdm waits 5 seconds for an answer of ubus, and Python begins slowly on a router
HEALTH_SECONDS = 10  # then the process is ended: who asks a whole fleet waits for no box whose flash hangs
SHOWN_TAGS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian status`."""
    parser.add_argument("--json", action="store_true", help="one JSON object for programs")
    parser.add_argument("--health", action="store_true", help="only its `health`, which names nothing of the home")


def run(args: argparse.Namespace) -> int:
    """Print the status; exit 1 when no gateway runs."""
    if args.health:
        return _tell_health(args.config)
    try:
        config = load_config(args.config)
    except ConfigError as error:
        if not args.json:
            raise
        return _tell_none(None, error)
    try:
        status = send(config.control.socket, "status", reply_seconds=REPLY_SECONDS)
    except (NotRunningError, SilentError) as error:
        if args.json:
            return _tell_none(config, error)
        print(f"guardian: {error}", file=sys.stderr)
        return FAILED
    status["running"] = status.pop("ok")
    status["last_day"] = read_last_day(config.history.path, status["now"])
    status["feed"] = read_feed(config, status["now"])
    if args.json:
        status["health"] = make_health(config, status, status["now"])
        print(json.dumps(status, indent=2))
    else:
        print("\n".join(describe(status)))
    return OK


def _tell_health(path: str) -> int:
    signal.alarm(HEALTH_SECONDS)
    try:
        health = ask_health(path, HEALTH_REPLY_SECONDS)
    finally:
        signal.alarm(0)
    print(json.dumps(health, indent=2))
    if health["running"]:
        return OK
    return USAGE if SETTINGS in health["problems"] else FAILED


def _tell_none(config: Config | None, error: GuardianError) -> int:
    """Print what can be said without a gateway's answer."""
    now = time.time()
    why = SETTINGS if config is None else SILENT if isinstance(error, SilentError) else NOT_RUNNING
    feed = read_feed(config, now) if config is not None else None
    health = make_health(config, None, now, why)
    print(json.dumps({"running": False, "error": str(error), "feed": feed, "health": health}, indent=2))
    return USAGE if config is None else FAILED


def describe(status: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that a person reads."""
    now = status["now"]
    queries, cache, lists, home = status["queries"], status["cache"], status["lists"], status["household"]
    up = format_age(now - status["started"])
    yield f"{paint('Guardian', 'bold')} {status['version']}, up {up}, listening on {', '.join(status['listen'])}"
    yield from describe_clock(status.get("clock"))
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
    if status["feed"] is not None:
        yield from describe_feed(status["feed"], status.get("hotline", {}), now)
    yield from describe_filter(status["filter"])
    seen = f"{home['devices_seen']} seen on the network"
    yield f"household  {home['profiles']} profiles, {home['devices']} devices, {seen}"
    if code := status.get("reloads", {}).get("code"):
        yield f"reload     {paint(f'the last one changed nothing: {code}', 'red')} (`guardian check` says more)"
    history = status["history"]
    trouble = paint(history["error"], "red") if history["error"] else "ok"
    yield f"history    {trouble}, {format_bytes(history['file_bytes'])}"
    yield from describe_last_day(status["last_day"])
    memory = status["memory"]
    yield f"memory     {format_bytes(memory['private'])} private, {format_bytes(memory['resident'])} resident"


def describe_clock(clock: dict[str, Any] | None) -> Iterator[str]:
    """Yield a line when the time is not known for sure."""
    if clock is None or clock["state"] == State.SET.value:
        return
    if clock["state"] == State.WAITING.value:
        yield f"clock      {paint('nobody has set it yet', 'yellow')}: what has hours or minutes is closed until then"
        return
    moment = datetime.fromtimestamp(clock["now"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield f"clock      {paint('no time comes from the internet', 'red')}: by memory it is {moment}"


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


def read_feed(config: Config, now: float) -> dict[str, Any] | None:
    """Return how the hotline's feed stands as JSON values, None where none is set.

    `health` is ok, stale, never or refused; `age` seconds since all of it was verified; `push` whether the broker is
    connected, None when there is none or that cannot be seen.
    """
    hotline = config.hotline
    if not hotline.url:
        return None
    from guardian.cli.doctor_feed import find_push
    from guardian.hotline.feed_health import read_health
    from guardian.hotline.feed_state import FeedState, format_state

    state, health = read_health(config.state, now)
    made = format_state(state or FeedState(url=hotline.url))
    for inner in ("floors", "accepted", "etag", "timestamp", "reload_due"):  # of the next update only
        del made[inner]
    broker = hotline.push.broker
    made |= {"health": health.state, "problem": health.code, "age": health.age, "is_stale": health.is_stale}
    made["needs_update"] = state is not None and state.needs_update
    return made | {"error": health.error, "broker": str(broker or ""), "push": broker and find_push(broker.port)}


def describe_feed(feed: dict[str, Any], in_force: dict[str, Any], now: float) -> Iterator[str]:
    """Yield the lines about the hotline's feed; `in_force` is what the gateway says of it."""
    style = {"ok": "green", "refused": "red"}.get(feed["health"], "yellow")
    parts = [f"{feed['name'] or feed['url']}: {paint(feed['health'], style)}"]
    if feed["age"] is not None:
        parts.append(f"verified {format_age(feed['age'])} ago")
    if feed["checked"]:
        parts.append(f"looked at {format_age(now - feed['checked'])} ago")
    yield f"hotline    {', '.join(parts)}"
    if feed["name"]:
        yield f"           {feed['url']}"
    if feed["version"]:
        end = time.strftime("%Y-%m-%d %H:%M", time.localtime(feed["expires"]))
        over = paint(" (over)", "yellow") if now > feed["expires"] else ""
        signed = "" if feed["problem"] == "not-signed" else "signatures ok, "
        push = {None: "", True: ", push connected", False: ", push not connected"}[feed["push"]]
        yield f"           version {feed['version']}, {signed}valid until {end}{over}{push}"
    if feed["problem"]:
        yield "           " + paint(f"{feed['problem']}: {feed['error']}", "red" if style == "red" else "yellow")
    for list_id, one in feed["lists"].items():
        if one["serial"]:
            age = format_age(now - one["created"])
            yield f"           {list_id}: {one['entries']:,} entries, serial {one['serial']}, made {age} ago"
    serials = {one["id"]: one["serial"] for one in in_force.get("lists", ())}
    if in_force.get("error"):
        yield "           " + paint(f"the gateway refuses what is newer: {in_force['error']}", "red")
    elif serials != {key: one["serial"] for key, one in feed["lists"].items() if one["serial"]}:
        yield "           " + paint("the gateway has not taken these yet: `guardian gateway --reload`", "red")
    if feed["needs_update"]:
        yield "           " + paint(f"it asks for Guardian {feed['minimum_version']} or newer", "yellow")


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
