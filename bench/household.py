"""A large home for `bench/console.py`: eight children, thirty devices, ninety days of history."""

from __future__ import annotations

import random
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from guardian.store.history_file import open_file

DAYS = 90
CHILDREN = (  # profile, age band; the bands bring names, categories and counts
    ("ana", "7-9"), ("ion", "7-9"), ("maria", "10-12"), ("matei", "10-12"), ("elena", "10-12"), ("dan", "13-15"),
    ("vera", "13-15"), ("petru", "16-17"),
)  # fmt: skip
VISIBILITY = {"7-9": "names", "10-12": "names", "13-15": "categories", "16-17": "counts"}
EACH = 3  # devices of a child
ADULTS = 6
CATEGORIES = ("gambling", "ads", "tracking")  # more would be an alert for each device and day
SERVICES = (
    "youtube", "tiktok", "roblox", "instagram", "discord", "twitch", "snapchat", "facebook", "minecraft", "fortnite",
    "netflix", "spotify", "reddit",
)  # fmt: skip
USED = SERVICES[:5]
KINDS = 1 + len(CATEGORIES) + len(SERVICES)  # of rows that one device has each hour
NAMES, NAMES_AN_HOUR = 4000, 8
SIZE_CAP = 1 << 30
TRIES_A_DAY = 0.1  # chance that a device tries a way around the filter


def device_address(index: int) -> str:
    """Return the loopback address of device `index`, from 0."""
    return f"127.0.1.{index + 1}"


def make_household() -> dict[str, Any]:
    """Return the household as its YAML has it."""
    profiles: dict[str, Any] = {
        child: {"name": child.title(), "age": age, "minutes": 120, "offline": ["daily 21:30-07:00"]}
        for child, age in CHILDREN
    }
    profiles["parents"] = {"name": "Parents", "filtered": False}
    owners = [child for child, _ in CHILDREN for _ in range(EACH)] + ["parents"] * ADULTS
    devices = {
        f"device-{index}": {
            "name": f"Device {index}",
            "profile": owner,
            "macs": [f"02:00:5e:20:00:{index:02x}"],
            "addresses": [device_address(index)] + (["127.0.0.1"] if index == len(owners) - 1 else []),
        }
        for index, owner in enumerate(owners)
    }
    return {"timezone": "Europe/Chisinau", "language": "en", "profiles": profiles, "devices": devices}


def write_history(path: Path, household: dict[str, Any], now: float) -> int:
    """Write the history of such a home into a new file, through its own form; return the number of hourly rows."""
    chance = random.Random(4)  # the same home each time
    hour = int(now) // 3600
    hours = range(hour - DAYS * 24 + 1, hour + 1)
    ages = dict(CHILDREN)
    with closing(open_file(str(path), "", SIZE_CAP)) as history:
        history.execute("PRAGMA synchronous = OFF")
        history.execute("BEGIN")
        names = [f"site-{number}.example" for number in range(NAMES)]
        history.executemany("INSERT INTO name VALUES (?, ?)", enumerate(names, 1))
        for index, (device, parts) in enumerate(household["devices"].items()):
            shown = VISIBILITY.get(ages.get(parts["profile"], ""), "names")
            first = index * KINDS
            kinds = _kinds_of(device, shown)
            history.executemany(
                "INSERT INTO kind VALUES (?, ?, ?, ?, ?)",
                [(first + number, *kind) for number, kind in enumerate(kinds)],
            )
            history.executemany(
                "INSERT INTO hourly VALUES (?, ?, ?)",
                (
                    (at, first + number, chance.randrange(1, 5 if number else 300))  # a few blocked, of each kind
                    for at in hours
                    for number in range(len(kinds))
                ),
            )
            if shown == "names":
                history.executemany(
                    "INSERT OR IGNORE INTO visit VALUES (?, ?, ?, ?, ?, ?)", _visits(chance, hours, first)
                )
            mac = parts["macs"][0]
            history.execute(
                "INSERT INTO sighting VALUES (?, ?, ?, ?, ?, 1)",
                (mac, hours[0] * 3600.0, now, parts["addresses"][0], f"host-{index}"),
            )
        _write_days(history, chance, household, now)
        history.execute("COMMIT")
        (rows,) = history.execute("SELECT count(*) FROM hourly").fetchone()
    return int(rows)


def _kinds_of(device: str, shown: str) -> list[tuple[str, str, str, str]]:
    """Return the kinds of rows of one device: device, action, reason, tag. Each is there in each hour."""
    if shown == "counts":
        return [(device, "allow", "", ""), (device, "block", "", "")]
    kinds = [(device, "allow", "default", "")]
    kinds += [(device, "block", "category", f"category:{name}") for name in CATEGORIES]
    return kinds + [(device, "block", "service", f"service:{name}") for name in SERVICES]


def _visits(chance: random.Random, hours: range, first: int) -> list[tuple[int, int, int, int, int, int]]:
    return [
        (at, first + chance.randrange(1, KINDS), chance.randrange(1, NAMES + 1), chance.randrange(1, 9), 60, 3000)
        for at in hours
        for _ in range(NAMES_AN_HOUR)
    ]


def _write_days(history: Any, chance: random.Random, household: dict[str, Any], now: float) -> None:
    parts = ("", *USED, "group:video", "group:games", "group:social")
    for back in range(DAYS):
        day = (datetime.fromtimestamp(now, UTC) - timedelta(days=back)).date().isoformat()
        stamp = int(now) - back * 86400
        for child, _ in CHILDREN:
            history.executemany(
                "INSERT INTO used VALUES (?, ?, ?, ?)", [(day, child, part, chance.random() * 90) for part in parts]
            )
        for device in household["devices"]:
            history.executemany(
                "INSERT INTO used_by_device VALUES (?, ?, ?, ?)",
                [(day, device, part, chance.random() * 60) for part in ("", *USED)],
            )
            tried = [kind for kind in ("vpn", "canary") if chance.random() < TRIES_A_DAY]
            history.executemany(
                "INSERT INTO attempt VALUES (?, ?, '', ?, ?, ?, ?)",
                [(day, device, kind, chance.randrange(1, 9), stamp - 60, stamp - 30) for kind in tried],
            )
        history.execute("INSERT INTO mandatory VALUES (?, ?)", (day, back % 3))
