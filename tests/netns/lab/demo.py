"""`scripts/demo`: the lab with Guardian, a tour through it, and then time for playing."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from guardian.cli import COMMANDS, paint
from tests.gateway.product import ROOT
from tests.netns.lab import plan
from tests.netns.lab.console import ADDRESS, call, running_console, settings, write_leases
from tests.netns.lab.home import Lab, open_world
from tests.netns.lab.hotline import fetch_feed, open_hotline
from tests.netns.lab.tour import PARENT, PASSWORD, STEPS, Outcome, Step, claim, session_of

WORDS = 12  # width of the first column
ALERT_SECONDS = 5.0  # after which an alert is missing


class Tally(NamedTuple):
    """How many steps went as expected, otherwise, or could not be tried."""

    fine: int
    wrong: int
    skipped: int


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="end after the tour")
    what.add_argument(
        "--first-visit", action="store_true", help="no tour: a box as it comes out of the carton, for your own visit"
    )
    what.add_argument(
        "--check", action="store_true", help="the same, with exit code 1 unless every step went as expected"
    )
    args = parser.parse_args(words)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    try:
        with tempfile.TemporaryDirectory(prefix="guardian-demo-") as folder:
            return run(Path(folder), args)
    except KeyboardInterrupt:
        say("\nremoved")
        return 0


def leave(number: int, frame: FrameType | None) -> None:
    """End by the first signal; later ones must not disturb the cleaning up."""
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def run(folder: Path, args: argparse.Namespace) -> int:
    """Start all, make the tour, stay unless told otherwise; return the exit code."""
    started = time.monotonic()
    for name in ("world", "router", "hotline"):
        (folder / name).mkdir()
    more = settings(write_leases(folder / "leases"))
    with contextlib.ExitStack() as running:
        world = running.enter_context(open_world(folder / "world"))
        hotline = running.enter_context(open_hotline(world, folder / "hotline"))
        more["hotline"] = hotline.settings()
        lab = running.enter_context(world.protected(folder / "router", filter=True, more=more))
        lab.hotline = hotline
        fetched = fetch_feed(lab)
        running.enter_context(running_console(lab))
        has_filter = lab.has_filter()
        state = "on" if has_filter else "not in force: its steps are left out"
        say(
            "A home with Ana's tablet, mother's phone and a stranger's laptop. Guardian and the parents' console "
            f"are on the router, the flow filter is {state}."
        )
        say(
            "In the internet: servers of all kinds, and a national hotline: a desk of three people, a web server with "
            "its signed files, a broker for hints. `guardian sync --feed` on the router said:"
        )
        for line in fetched.splitlines():
            say(f"  {line}")
        say(f"Up after {time.monotonic() - started:.1f} s.\n")
        if args.first_visit:
            tally = Tally(0, 0, 0)
            begin_anew(lab)
        else:
            tally = make_tour(lab, has_filter=has_filter)
        if not (args.once or args.check):
            invite(lab, is_claimed=not args.first_visit)
            while True:
                signal.pause()
    return 1 if args.check and (tally.wrong or tally.skipped) else 0


def make_tour(lab: Lab, *, has_filter: bool) -> Tally:
    """Do and print all steps."""
    counts = {"fine": 0, "wrong": 0, "skipped": 0}
    known: set[str] = set()
    for number, step in enumerate(STEPS, 1):
        say(paint(f"{number:2}. {step.title}", "bold"))
        row("tried", step.tried)
        if (missing := what_is_missing(step, has_filter)) != "":
            row("left out", paint(missing, "yellow"))
            counts["skipped"] += 1
            continue
        lab.seen.forget()
        outcome = try_step(step, lab)
        for line in outcome.typed.splitlines():
            row("desk", line)
        for line in outcome.happened.splitlines():
            row("happened", line)
        alerts = wait_for_alerts(lab, known) if step.alerts else new_alerts(lab, known)
        for line in filter(str.strip, outcome.parent.splitlines() + alerts):
            row("parent sees", line)
        if step.alerts and not alerts:
            row("parent sees", paint("no alert", "red"))
            outcome = outcome._replace(ok=False)
        if outcome.ok:
            row("", paint("as expected", "green"))
        else:
            row("", paint(f"MISMATCH, expected: {step.expected}", "red"))
        counts["fine" if outcome.ok else "wrong"] += 1
    tally = Tally(**counts)
    left_out = f", {tally.skipped} left out" if tally.skipped else ""
    say(f"\n{len(STEPS)} steps: {tally.fine} as expected, {tally.wrong} otherwise{left_out}.")
    return tally


def what_is_missing(step: Step, has_filter: bool) -> str:
    """Return why a step cannot be tried, "" when it can."""
    if step.needs_filter and not has_filter:
        return "needs the flow filter"
    return f"needs `guardian {step.command}`" if step.command and step.command not in COMMANDS else ""


def try_step(step: Step, lab: Lab) -> Outcome:
    """Do a step; one that breaks is a mismatch, and the tour goes on."""
    try:
        return step.act(lab)
    except (AssertionError, OSError) as error:
        return Outcome(False, f"it broke: {str(error).splitlines()[0] if str(error) else type(error).__name__}")


def new_alerts(lab: Lab, known: set[str]) -> list[str]:
    """Return the lines of `guardian alerts` that were not in it before."""
    if "alerts" not in COMMANDS:
        return []
    told = lab.command("alerts").stdout.splitlines()
    new = [line for line in told if line.startswith(" ") and line not in known]  # those without are days
    known.update(told)
    return [f"alert: {line.strip()}" for line in new]


def wait_for_alerts(lab: Lab, known: set[str]) -> list[str]:
    """Return new alerts as soon as there are some: the gateway writes them every few moments. [] when none comes."""
    deadline = time.monotonic() + ALERT_SECONDS
    while not (new := new_alerts(lab, known)) and "alerts" in COMMANDS and time.monotonic() < deadline:
        time.sleep(0.1)
    return new


def begin_anew(lab: Lab) -> None:
    """Make the box as it comes out of the carton, by its own factory reset, and let all devices be seen."""
    code = lab.command("web", "--claim-code").stdout.strip()
    claimed = claim(lab, "phone", code)
    reset = call(lab.phone, "POST", "/factory-reset", {"password": PASSWORD}, session_of(lab))
    assert (claimed.status, reset.status) == (201, 204), (claimed, reset)
    for device in lab.devices:
        device.fetch("https://www.open.example/")


def invite(lab: Lab, *, is_claimed: bool) -> None:
    """Print how to play."""
    config = lab.guardian.config
    say("\nIt stays up. Be a device (each in a terminal of its own, as root):\n")
    for role in (*plan.DEVICES, "router", "internet"):
        say(f"  ip netns exec {lab.network.name(role)} bash")
    hotline = lab.hotline
    assert hotline is not None
    say("\nAt the hotline's desk (ana and ion sign lists, maria agrees with large changes; `sign --urgent` hurries):\n")
    say(f"  ip netns exec {lab.network.name('internet')} env GUARDIAN_DESK={hotline.desk} bash; cd {ROOT}")
    say("  .venv/bin/guardian hotline status; .venv/bin/guardian hotline list")
    say(f"  Passwords: --password-file {hotline.folder}/NAME.password")
    say("\nOn a device:\n")
    say(f"  export CURL_CA_BUNDLE={lab.world.ca}")
    say("  curl https://www.open.example/; curl http://blocked.example/; dig news.open.example")
    say(f"  curl --resolve blocked.example:443:{plan.SITES['blocked.example'].four} https://blocked.example/")
    say("\nAs a parent, in a browser on the phone (and as the child, with `tablet` in place of `phone`):\n")
    browser = lab.guardian.folder / "browser-phone"
    say(f"  ip netns exec {lab.network.name('phone')} chromium --no-sandbox --user-data-dir={browser} {ADDRESS}/")
    if is_claimed:
        say(f"  Sign in as {PARENT}, password: {PASSWORD}")
    else:
        say(f"  The code of the box: {lab.command('web', '--claim-code').stdout.strip()}")
    say("\nAs a parent, by commands, anywhere on this machine:\n")
    say(f"  export GUARDIAN_CONFIG={config}; cd {ROOT}")
    say("  .venv/bin/guardian status" + ("; .venv/bin/guardian household pause --device tablet" if is_claimed else ""))
    say(f"\nWhat the servers accepted: {lab.world.folder / 'seen'}; Guardian's log: {config.parent / 'log'}")
    say("Sites: " + " ".join(sorted(plan.SITES)))
    say("\nCtrl-C removes everything.")


def row(label: str, text: str) -> None:
    say(f"      {label:{WORDS}}{text}")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("scripts/demo makes network namespaces, which needs root: sudo scripts/demo")
    sys.exit(main())
