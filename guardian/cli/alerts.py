"""Tell which devices tried to get around the filter, and which devices came that nobody has named.

  guardian alerts                      the last seven days, the newest first
  guardian alerts --days 1 --json

One line stands for all that one device tried in one way on one day. Apps and browsers do such things by themselves:
an alert is a reason to ask, not a proof.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from guardian.cli import OK, paint
from guardian.config import load_config
from guardian.errors import GuardianError
from guardian.policy.model import Household
from guardian.policy.schedule import local_date
from guardian.store.history_read import Attempt, HistoryError, HistoryReader
from guardian.store.history_record import HELPLINE_BLOCKED

MOST_DAYS = 366

_WORDS = {
    "doh": "asked a DNS server of its own over HTTPS (DoH)",
    "dot": "asked a DNS server of its own over TLS (DoT)",
    "dns": "asked a DNS server other than the home's",
    "dns-first": "went to an address that it had not asked the home's DNS for",
    "vpn": "tried to open a VPN",
    "proxy": "tried to use a proxy",
    "tor": "tried to use Tor",
    "relay": "tried to use a private relay",
    "canary": "asked whether it may use a DNS server of its own",
    "ech": "hid the name of a site (ECH)",
    "unreadable": "opened connections that do not tell their site",
    "conflict": "sent packets that contradict each other, as tools against filters do",
    "safe-search": "went around the safe search, by its address",
    "unknown-device": "is new in the home: nobody has named it",
    HELPLINE_BLOCKED: "cannot open a helpline: its name leads to what a mandatory list blocks; tell the hotline",
    "other": "tried another way around the filter",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--days", type=_days, default=7, metavar="N", help="today and the days before (default: 7)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """Print the alerts; return the exit code."""
    from guardian.catalogue import load_catalogue
    from guardian.home import find_household

    config = load_config(args.config)
    household = find_household(config, load_catalogue(names=False))
    first_day = date.fromordinal(local_date(household.tz, time.time()).toordinal() - args.days + 1).isoformat()
    try:
        with HistoryReader(config.history.path) as history:
            attempts = [attempt for attempt in history.attempts() if attempt.day >= first_day]
            hosts = {device.mac.hex(":"): device.hostname for device in history.known_devices()}
    except HistoryError as error:
        raise GuardianError(f"the alerts cannot be read: {error}; the gateway writes them while it runs") from None
    if args.json:
        rows = [_as_json(attempt, name_device(attempt, household, hosts)) for attempt in attempts]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return OK
    print("\n".join(describe(attempts, household, hosts)) or f"no attempts in {_count(args.days, 'day')}")
    return OK


def _days(text: str) -> int:
    if not text.isdigit() or not 0 < int(text[:6]) <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of days (1 to {MOST_DAYS})")
    return int(text)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def describe(attempts: list[Attempt], household: Household, hosts: dict[str, str]) -> Iterator[str]:
    """Yield the lines that a person reads, a head for each day."""
    day = ""
    for attempt in attempts:
        if attempt.day != day:
            yield from [""] * bool(day)
            day = attempt.day
            yield f"{date.fromisoformat(day):%A %Y-%m-%d}"
        first, last = (f"{datetime.fromtimestamp(at, household.tz):%H:%M}" for at in (attempt.first, attempt.last))
        times = f"{_count(attempt.times, 'time')}, " + (last if first == last else f"{first} to {last}")
        name = paint(name_device(attempt, household, hosts), "bold")
        # Who looked for help, and when, nobody has noted.
        yield f"  {name} {tell(attempt.kind)}" + ("" if attempt.kind == HELPLINE_BLOCKED else f" ({times})")


def name_device(attempt: Attempt, household: Household, hosts: dict[str, str]) -> str:
    """Return what parents call the device, else what is known of it. `hosts` are host names by MAC."""
    if attempt.kind == HELPLINE_BLOCKED:
        return "this home"
    if attempt.device:
        names = {device.id: device.name for device in household.devices}
        return names.get(attempt.device, attempt.device)
    mac = attempt.mac
    named = next((device.name for device in household.devices if mac and mac in device.macs), "")
    return named or " ".join(filter(None, ["unnamed device", hosts.get(mac, ""), mac]))


def tell(kind: str) -> str:
    """Return a kind of attempt in words."""
    return _WORDS.get(kind, f"tried to get around the filter: {kind}")


def _as_json(attempt: Attempt, name: str) -> dict[str, Any]:
    return {**attempt._asdict(), "name": name, "words": tell(attempt.kind)}
