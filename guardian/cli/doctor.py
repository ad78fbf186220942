"""Look for what goes wrong on networks, and say what to do: settings, ports, upstreams, lists, the hotline's
feed, clock, memory, and what the flow filter needs of this machine.

  guardian doctor                   one line a finding, with what to do
  guardian doctor --json            for programs
  guardian doctor --support         codes and counts that name nothing of the home, for a provider's support
  sudo guardian doctor              also sees which program holds a port, and the packet filter

Exit code 0: nothing is broken (warnings may be there). 1: something is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import guardian
from guardian.cli import FAILED, OK, paint
from guardian.cli.doctor_feed import check_enforced, check_feed
from guardian.cli.doctor_filter import check_filter
from guardian.cli.doctor_machine import (
    FAIL,
    WARN,
    Finding,
    check_clock,
    check_gateway_clock,
    check_memory,
    check_port,
    check_resolved,
    check_routers,
)
from guardian.cli.doctor_machine import OK as FINE
from guardian.cli.doctor_support import make_report
from guardian.cli.health import ask_health
from guardian.config import Config, Endpoint, Upstream, load_settings
from guardian.errors import ConfigError, FormError, GuardianError, ListError, UpstreamError
from guardian.interfaces import fit_to_interfaces, list_absent
from guardian.names import parse_name

OLD_IMAGE = 7 * 86400  # seconds
LITTLE_SPACE, TOO_LITTLE_SPACE = 16 << 20, 4 << 20  # bytes: a router has little, and lists are made aside
QUERY_SECONDS = 3.0
SUPPORT_SECONDS = 3.0
TEST_NAME = "example.com"
_START = "start it: `systemctl start guardian-gateway`, `/etc/init.d/guardian start`, or `guardian run` to try"

_COLOURS = {FINE: "green", WARN: "yellow", FAIL: "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian doctor`."""
    parser.add_argument("--json", action="store_true", help="one JSON object for programs")
    parser.add_argument("--support", action="store_true", help="the same without a name, for a provider's support")


def run(args: argparse.Namespace) -> int:
    """Look at everything and print what was found; exit 1 when something is broken."""
    findings = []
    for finding in examine(args.config, time.time()):
        findings.append(finding)
        if not (args.json or args.support):
            _print(finding)
    broken = [finding for finding in findings if finding.level == FAIL]
    if args.support:
        health = ask_health(args.config, SUPPORT_SECONDS)
        print(json.dumps(make_report(findings, health), indent=2))
    elif args.json:
        checks = [finding._asdict() for finding in findings]
        print(json.dumps({"ok": not broken, "checks": checks}, ensure_ascii=False, indent=2))
    else:
        warnings = sum(finding.level == WARN for finding in findings)
        print(f"\n{len(findings)} checks: {len(broken)} broken, {warnings} to look at")
    return FAILED if broken else OK


def _print(finding: Finding) -> None:
    print(f"{paint(f'{finding.level:4}', _COLOURS[finding.level])}  {finding.check:16}  {finding.message}")
    if finding.advice:
        print(f"{'':24}{paint('do: ' + finding.advice, 'bold')}")


def examine(path: str, now: float) -> Iterator[Finding]:
    """Yield what there is to say of the gateway whose settings are at `path`, the most basic first."""
    try:
        settings = load_settings(path)
    except ConfigError as error:
        first = error.problems[0]
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        yield Finding("settings", FAIL, f"{first}{more}", "correct it; `guardian check` lists every problem")
        yield check_memory()
        yield check_clock(now, _built(), "the day when this program was made")
        return
    yield Finding("settings", FINE, path)
    for note in settings.notes:
        yield Finding("settings", WARN, str(note), "take the line out: the provider's file holds")
    yield from check_interfaces(settings.config)
    config = fit_to_interfaces(settings.config, link_local=False)
    yield from check_household(config)
    yield from check_state(config)
    yield from check_image(config, now)
    yield from check_feed(config, now)
    yield from check_gateway(config)
    yield from check_resolved(config.dns.listen)
    yield from asyncio.run(check_upstreams(config))
    yield check_memory()
    yield from check_routers(config.dns.listen, config.filter.wan)
    yield from check_filter(config)


def check_interfaces(config: Config) -> Iterator[Finding]:
    """Tell which interfaces that Guardian should listen on have no address."""
    for name in list_absent((*config.dns.listen, *config.block.page, *config.web.listen)):
        yield Finding(
            "interface",
            FAIL,
            f"'{name}' is not there, or has no address to listen on",
            "see `ip address`; Guardian listens there as soon as it has one, without a restart",
        )


def _built() -> float:
    return os.stat(guardian.__file__).st_mtime


def check_household(config: Config) -> Iterator[Finding]:
    """Look at what parents set, and at its time zone."""
    from guardian.catalogue import load_catalogue
    from guardian.home import find_household
    from guardian.store.settings import load_household

    try:
        household = find_household(config, load_catalogue(names=False))
        is_saved = load_household(config.settings) is not None
    except ConfigError as error:
        advice = "correct it; `guardian check` lists every problem"
        if error.problems[0].where == config.settings:
            advice = "see docs/life.md; `guardian household import FILE` puts a backup in its place"
        yield Finding("household", FAIL, str(error.problems[0]), advice)
        if "time zone" in str(error):
            yield Finding(
                "time zone", FAIL, "a time zone cannot be read", "install tzdata, or write it as in POSIX: EET-2EEST"
            )
        return
    if not is_saved and not config.household:
        yield Finding(
            "household",
            WARN,
            "nobody has set up this home: all devices are open but for mandatory lists",
            "`guardian household import FILE` (examples/household.yaml is one to start from)",
        )
        return
    filtered = sum(profile.filtered for profile in household.profiles)
    message = f"{len(household.profiles)} profiles ({filtered} filtered), {len(household.devices)} devices"
    if filtered:
        yield Finding("household", FINE, message)
    else:
        yield Finding("household", WARN, f"{message}: no profile is filtered", "give a child a profile")
    yield Finding("time zone", FINE, household.timezone)


def check_state(config: Config) -> Iterator[Finding]:
    """Look at the folders that Guardian writes to."""
    from guardian.store.room import FULL, READ_ONLY, look_at_room

    for folder in dict.fromkeys(map(os.path.dirname, (config.settings, config.lists.image, config.history.path))):
        existing = folder
        while not os.path.exists(existing):
            existing = os.path.dirname(existing)
        room = look_at_room(existing)
        if room.state:
            what = "is read-only" if room.state == READ_ONLY else f"has no room left ({room.free >> 10} KB)"
            advice = "make room" if room.state == FULL else "restart the machine; if it stays, its storage is worn out"
            yield Finding("state", FAIL, f"the disk of {folder} {what}: nothing can be saved", advice)
            continue
        if not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):
            advice = f"give it to the user of the service (`chown`); this check ran as user {os.geteuid()}"
            yield Finding("state", FAIL, f"{existing} cannot be written", advice)
            continue
        free = shutil.disk_usage(existing).free
        message = f"{folder} can be written, {free >> 20:,} MB are free"
        if free < LITTLE_SPACE:
            advice = "make room, or lower 'history.size_mb'"
            yield Finding("state", FAIL if free < TOO_LITTLE_SPACE else WARN, message, advice)
        else:
            yield Finding("state", FINE, message)


def check_image(config: Config, now: float) -> Iterator[Finding]:
    """Look at the compiled lists, and at the clock: it cannot be before the day when they were made."""
    from guardian.store.images import map_image

    path = config.lists.image
    floor, what = _built(), "the day when this program was made"
    try:
        image = map_image(path)
        image.verify()
    except ListError as error:
        if os.path.exists(path):
            yield Finding("lists", FAIL, str(error), "`guardian sync` makes it anew")
        else:
            yield Finding("lists", WARN, "no lists yet: only the built-in names are blocked", "run `guardian sync`")
    else:
        floor, what = max((floor, what), (image.created, "the day when the lists were made"))
        days = int((now - image.created) // 86400)
        message = f"{image.name_count:,} names, made {days} days ago" if days > 1 else f"{image.name_count:,} names"
        if now - image.created > OLD_IMAGE:
            yield Finding("lists", WARN, message, "let `guardian sync` run once a day; its output says what fails")
        else:
            yield Finding("lists", FINE, message)
    yield check_clock(now, floor, what)


def check_gateway(config: Config) -> Iterator[Finding]:
    """Look whether a gateway runs and answers; if none does, whether its ports could be taken."""
    from guardian.control import NotRunningError, send

    try:
        status = send(config.control.socket, "status")
    except NotRunningError as error:
        yield Finding("gateway", FAIL, str(error), _START)
        for endpoint in config.dns.listen:
            yield check_port(endpoint, "udp", "dns.listen")
            yield check_port(endpoint, "tcp", "dns.listen")
        for endpoint in config.block.page:
            yield check_port(endpoint, "tcp", "block.page")
        return
    except GuardianError as error:
        yield Finding("gateway", FAIL, str(error), "restart it; if that does not help, run this check as its user")
        return
    yield Finding("gateway", FINE, f"version {status.get('version', '?')} runs")
    for endpoint in config.dns.listen:
        yield ask_gateway(endpoint, config.local.name)
    yield from check_gateway_clock(status.get("clock"))
    yield from check_enforced(config, status)


def ask_gateway(endpoint: Endpoint, name: bytes) -> Finding:
    """Ask the gateway for its own name: that needs no upstream."""
    from guardian.wire.dns import CLASS_IN, FLAG_RD, RCODE_REFUSED, TYPE_A, Message, Question, build_message
    from guardian.wire.dns import parse_message as parse

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(endpoint.host, endpoint.host)  # noqa: S104
    query = build_message(Message(secrets.randbits(16), FLAG_RD, Question(name, TYPE_A, CLASS_IN)))
    advice = "see its log; a firewall rule may drop the port, or 'dns.clients' may leave out this machine"
    where = f"{endpoint.host} port {endpoint.port}"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(QUERY_SECONDS)
        try:
            asker.connect((host, endpoint.port))
            asker.send(query)
            answer = parse(asker.recv(65535))
        except TimeoutError:
            return Finding("answers", FAIL, f"{where} does not answer within {QUERY_SECONDS:.0f} seconds", advice)
        except (OSError, FormError) as error:
            return Finding("answers", FAIL, f"{where}: {error}", advice)
    if answer.rcode == RCODE_REFUSED:
        return Finding("answers", WARN, f"{where} refuses this machine", "add it to 'dns.clients' if it should ask")
    return Finding("answers", FINE, f"{where} answers")


async def check_upstreams(config: Config) -> list[Finding]:
    """Ask every upstream a real question."""
    general = dict.fromkeys((config.upstreams.servers, config.upstreams.bootstrap))
    asked = [(upstream, parse_name(TEST_NAME)) for group in general for upstream in group]
    asked += [(upstream, forward.domain) for forward in config.forward for upstream in forward.upstreams]
    findings = await asyncio.gather(*(_ask_upstream(config, upstream, name) for upstream, name in dict.fromkeys(asked)))
    servers = findings[: len(config.upstreams.servers)]
    if any(finding.level == FINE for finding in servers):
        # One that works is enough to be online; the others are no reason to be alarmed.
        return [f._replace(level=WARN) if f.level == FAIL else f for f in findings]
    return list(findings)


async def _ask_upstream(config: Config, upstream: Upstream, name: bytes) -> Finding:
    from guardian.resolver.upstream import Upstreams
    from guardian.wire.dns import CLASS_IN, RCODE_NOERROR, RCODE_NXDOMAIN, TYPE_SOA

    check = "upstream"
    try:
        upstreams = Upstreams(replace(config.upstreams, servers=(upstream,)))
    except ConfigError as error:
        return Finding(check, FAIL, f"{upstream.label}: {error}", "correct the certificate file of this upstream")
    try:
        answer = await upstreams.resolve(name + TYPE_SOA.to_bytes(2, "big") + CLASS_IN.to_bytes(2, "big"))
    except UpstreamError as error:
        return Finding(
            check,
            FAIL,
            f"{upstream.label} does not answer: {error}",
            "is this machine online, and does the provider let this kind of DNS out? try another in 'upstreams'",
        )
    finally:
        await upstreams.close()
    if answer.parsed.rcode not in (RCODE_NOERROR, RCODE_NXDOMAIN):
        return Finding(
            check, FAIL, f"{upstream.label} answers with error {answer.parsed.rcode}", "try another in 'upstreams'"
        )
    return Finding(check, FINE, f"{upstream.label} answers in {answer.seconds * 1000:.0f} ms")
