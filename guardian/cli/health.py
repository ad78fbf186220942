"""How a box is, in counters, versions, ages and yes or no: what a provider's support may see of a home (docs/isp.md).

Nothing of it names a device, a person, a site or a setting, and nothing tells what people do: no count of what was
asked or blocked. Every field is always there, so that a mapping (TR-181) never meets a hole; -1 = not known.
deploy/isp/health.schema.json describes it; a change that its readers would notice makes `SCHEMA` another.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import guardian
from guardian.cli.doctor_machine import LAST_CLOCK, read_lines
from guardian.clock import RELEASED, TOLERANCE
from guardian.config import Config, load_config
from guardian.control import NotRunningError, SilentError, send
from guardian.errors import ConfigError
from guardian.hotline.feed_health import NEVER, REFUSED, STALE, read_health
from guardian.hotline.feed_state import CODES, FeedState

SCHEMA = 1
UNKNOWN = -1
OK, ATTENTION, DOWN = "ok", "attention", "down"
NO_FEED = "none"

# Why there is no answer of a gateway.
SETTINGS, NOT_RUNNING, SILENT = "settings-broken", "gateway-down", "gateway-silent"

OLD_LISTS = 7 * 86400  # seconds
OPENING_SECONDS = 60  # the history is opened beside the first answers
LEAST_QUESTIONS = 50  # of upstreams: a rate of fewer says nothing
FAILING_PERMILLE = 200
LITTLE_MEMORY_KB = 16 * 1024
LITTLE_FLASH_KB = 4 * 1024  # less than a base, a list and settings need aside
_RELOAD_CODES = frozenset({"settings", "lists", "system", "refused"})

Section = dict[str, Any]


def ask_health(path: str, reply_seconds: float) -> dict[str, Any]:
    """Return the health of the box whose settings are at `path`, whether a gateway answers in time or not.

    Raises GuardianError when this user may not ask it.
    """
    now = time.time()
    try:
        config = load_config(path)
    except ConfigError:
        return make_health(None, None, now, SETTINGS)
    try:
        status = send(config.control.socket, "status", reply_seconds=reply_seconds)
    except (NotRunningError, SilentError) as error:
        return make_health(config, None, now, SILENT if isinstance(error, SilentError) else NOT_RUNNING)
    return make_health(config, status, status["now"])


def make_health(
    config: Config | None, status: Mapping[str, Any] | None, now: float, why: str = NOT_RUNNING, proc: str = "/proc"
) -> dict[str, Any]:
    """Return the health object. `config` is None where the settings can't be read, `status` where no gateway answers.

    `why` then says so with one of the three codes above. `now` is epoch seconds.
    """
    feed, state = _make_feed(config, status, now)
    health: dict[str, Any] = {
        "schema": SCHEMA,
        "state": OK,
        "problem": "",
        "problems": [],
        "version": guardian.__version__,
        "minimum_version": state.minimum_version,
        "needs_update": state.needs_update,
        "running": status is not None,
        "gateway": _make_gateway(status, now),
        "dns": _make_dns(status),
        "upstreams": _make_upstreams(config, status),
        "filter": _make_filter(config, status),
        "lists": _make_lists(status, now),
        "feed": feed,
        "reload": _make_reload(status, now),
        "history": _make_history(status),
        "machine": _make_machine(config, status, state, now, proc),
    }
    health["problems"] = ([] if status is not None else [why]) + list(_find_problems(health))
    if health["problems"]:
        health["problem"] = health["problems"][0]
        health["state"] = ATTENTION if status is not None else DOWN
    return health


def _make_gateway(status: Mapping[str, Any] | None, now: float) -> Section:
    if status is None:
        return {"version": "", "uptime_seconds": UNKNOWN, "private_kb": UNKNOWN, "resident_kb": UNKNOWN}
    memory = status["memory"]
    return {
        "version": str(status["version"]),
        "uptime_seconds": _age(now, status["started"]),
        "private_kb": memory["private"] >> 10,
        "resident_kb": memory["resident"] >> 10,
    }


def _make_dns(status: Mapping[str, Any] | None) -> Section:
    if status is None:
        return dict.fromkeys(("asked", "failed", "failed_permille", "refused", "limited", "lost"), UNKNOWN)
    queries = status["queries"]
    asked, failed = int(queries["asked_upstream"]), int(queries["failed_upstream"])
    return {
        "asked": asked,
        "failed": failed,
        "failed_permille": min(1000, 1000 * failed // asked) if asked else 0,
        "refused": int(queries["refused"]),
        "limited": int(queries["rate_limited"]),
        "lost": int(queries["lost"]),
    }


def _make_upstreams(config: Config | None, status: Mapping[str, Any] | None) -> Section:
    if status is None:
        return {"configured": UNKNOWN if config is None else len(config.upstreams.servers), "healthy": UNKNOWN}
    found = status["upstreams"]
    return {"configured": len(found), "healthy": sum(bool(upstream["healthy"]) for upstream in found)}


def _make_filter(config: Config | None, status: Mapping[str, Any] | None) -> Section:
    found = status["filter"] if status is not None else {}
    queue = found.get("queue", {})
    running = bool(found.get("enabled"))
    return {
        "enabled": running or (status is None and config is not None and config.filter.enabled),
        "in_force": running and not found["problem"],
        "form": found["form"] if running else "none",
        "repairs": int(found["repairs"]) if running else UNKNOWN,
        "missed": sum(queue.get(key, 0) for key in ("lost", "kernel_dropped", "user_dropped")) if running else UNKNOWN,
        "errors": int(queue.get("errors", 0)) if running else UNKNOWN,
    }


def _make_lists(status: Mapping[str, Any] | None, now: float) -> Section:
    if status is None:
        return {"ok": False, "starter_only": False, "entries": UNKNOWN, "age_seconds": UNKNOWN}
    lists = status["lists"]
    return {
        "ok": not (lists["error"] or lists["addresses"]["error"]),
        "starter_only": bool(lists["starter_only"]),
        "entries": int(lists["names"]),
        "age_seconds": _age(now, lists["created"]),
    }


def _make_feed(config: Config | None, status: Mapping[str, Any] | None, now: float) -> tuple[Section, FeedState]:
    configured = config is not None and bool(config.hotline.url)
    state, word, problem, age = FeedState(), NO_FEED, "", None
    if config is not None and configured:
        found, health = read_health(config.state, now)
        state, word, problem, age = found or state, health.state, health.code, health.age
    chosen = config.hotline.lists if config is not None else ()
    installed = {key: one for key, one in state.lists.items() if one.serial and (not chosen or key in chosen)}
    serials = {key: one.serial for key, one in installed.items()}
    in_force = {one["id"]: one["serial"] for one in status["hotline"].get("lists", ())} if status is not None else {}
    section = {
        "configured": configured,
        "state": word,
        "problem": problem if problem in CODES or not problem else "other",
        "version": state.version,
        "root_version": state.root_version,
        "age_seconds": UNKNOWN if age is None else int(age),
        "expires_seconds": int(state.expires - now) if state.expires else UNKNOWN,
        "lists": len(installed),
        "entries": sum(one.entries for one in installed.values()),
        "oldest_seconds": max((_age(now, one.created) for one in installed.values()), default=UNKNOWN),
        "enforced": configured and bool(serials) and in_force == serials,
        "serials": serials,
    }
    return section, state


def _make_reload(status: Mapping[str, Any] | None, now: float) -> Section:
    if status is None:
        return {"ok": False, "code": "", "age_seconds": UNKNOWN, "refused": UNKNOWN}
    found = status.get("reloads", {"code": "", "at": 0.0, "refused": 0})  # a gateway from before an upgrade
    code = found["code"] if found["code"] in _RELOAD_CODES or not found["code"] else "refused"
    return {
        "ok": not code,
        "code": code,
        "age_seconds": _age(now, found["at"]) if found["at"] else UNKNOWN,
        "refused": int(found["refused"]),
    }


def _make_history(status: Mapping[str, Any] | None) -> Section:
    if status is None:
        return {"ok": False, "size_kb": UNKNOWN}
    found = status["history"]
    is_opening = status["now"] - status["started"] < OPENING_SECONDS
    return {
        "ok": not found["error"] and (bool(found["running"]) or is_opening),
        "size_kb": int(found["file_bytes"]) >> 10,
    }


def _make_machine(
    config: Config | None, status: Mapping[str, Any] | None, state: FeedState, now: float, proc: str
) -> Section:
    free, writable = UNKNOWN, False
    if config is not None and (folder := _find_existing(config.state)):
        found = os.statvfs(folder)
        free = found.f_bavail * found.f_frsize >> 10
        writable = not found.f_flag & os.ST_RDONLY
    clock = status.get("clock") if status is not None else None
    if clock is not None:
        clock_ok = clock["state"] == "set"
    else:  # nobody watches it: it is wrong where it is before what is known
        clock_ok = max(RELEASED, state.accepted - TOLERANCE) <= now < LAST_CLOCK
    return {
        "clock_ok": clock_ok,
        "memory_available_kb": read_available_memory(proc),
        "flash_free_kb": free,
        "flash_writable": writable,
    }


def read_available_memory(proc: str = "/proc") -> int:
    """Return how much memory programs could still have, in kB; -1 where the kernel does not tell."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", "\n".join(read_lines(f"{proc}/meminfo")), re.MULTILINE)
    return int(match[1]) if match else UNKNOWN


def _find_existing(folder: str) -> str:
    """Return a folder, or the nearest one above it that is there."""
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


def _age(now: float, then: float) -> int:
    return max(0, int(now - then))


def _find_problems(health: Mapping[str, Any]) -> Iterator[str]:
    """Yield the codes of docs/isp.md, the gravest first. That an update is asked for is none: it is a notice."""
    machine, feed = health["machine"], health["feed"]
    if health["running"]:
        yield from _find_running_problems(health)
    if feed["configured"]:
        if word := {NEVER: "feed-never", REFUSED: "feed-refused", STALE: "feed-stale"}.get(feed["state"]):
            yield word
        if health["running"] and feed["lists"] and not feed["enforced"]:
            yield "feed-not-enforced"
    if not machine["clock_ok"]:
        yield "clock-unset"
    if 0 <= machine["memory_available_kb"] < LITTLE_MEMORY_KB:
        yield "memory-low"
    if machine["flash_free_kb"] != UNKNOWN:
        if not machine["flash_writable"]:
            yield "flash-read-only"
        elif machine["flash_free_kb"] < LITTLE_FLASH_KB:
            yield "flash-low"


def _find_running_problems(health: Mapping[str, Any]) -> Iterator[str]:
    dns, upstreams, lists = health["dns"], health["upstreams"], health["lists"]
    if upstreams["configured"] and not upstreams["healthy"]:
        yield "upstreams-down"
    if dns["asked"] >= LEAST_QUESTIONS and dns["failed_permille"] >= FAILING_PERMILLE:
        yield "answers-failing"
    if health["filter"]["enabled"] and not health["filter"]["in_force"]:
        yield "filter-behind"
    if not lists["ok"]:
        yield "lists-refused"
    elif lists["starter_only"]:
        yield "lists-starter"
    elif lists["age_seconds"] > OLD_LISTS:
        yield "lists-old"
    if not health["reload"]["ok"]:
        yield "reload-refused"
    if not health["history"]["ok"]:
        yield "history-off"
    if health["gateway"]["version"] != health["version"]:
        yield "restart-needed"
