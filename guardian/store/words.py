"""How days, times, moments and addresses are written in household files and in settings.db. Readers raise TextError."""

from __future__ import annotations

import ipaddress
import math
import re
from datetime import UTC, date, datetime, timedelta, tzinfo

from guardian.errors import TextError
from guardian.policy.model import FOREVER
from guardian.typed_yaml import suggest

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
EVERY_DAY = frozenset(range(7))


class Days(frozenset[int]):
    """Some days of the week, 0 = Monday."""


def read_days(text: str) -> Days:
    """Return the days of `mon`, `mon-fri`, `sun-thu`, `mon,wed,fri-sun` or `daily`."""
    days: set[int] = set()
    for part in text.lower().split(","):
        word = part.strip()
        first, dash, last = word.partition("-")
        if word == "daily":
            days |= EVERY_DAY
        elif not dash:
            days.add(_read_day(word))
        else:
            start, end = _read_day(first.strip()), _read_day(last.strip())
            days |= {(start + step) % 7 for step in range((end - start) % 7 + 1)}
    return Days(days)


def _read_day(text: str) -> int:
    if text in DAYS:
        return DAYS.index(text)
    if text in DAY_NAMES:
        return DAY_NAMES.index(text)
    raise TextError(f"'{text[:80]}' is not a day: mon, mon-fri, 'sat,sun' or daily{suggest(text, DAYS + DAY_NAMES)}")


def format_days(days: frozenset[int]) -> str:
    """Return what `read_days` reads: `daily`, or runs such as `mon-thu,sat`; "" for no day."""
    if days >= EVERY_DAY:
        return "daily"
    parts = []
    for start in sorted(days):
        if (start - 1) % 7 in days:
            continue  # within a run, or in one that began on an earlier day
        length = next(length for length in range(1, 8) if (start + length) % 7 not in days)
        parts.append(f"{DAYS[start]}-{DAYS[(start + length - 1) % 7]}" if length > 1 else DAYS[start])
    return ",".join(parts)


def read_start(text: str) -> int:
    """Return the minutes after midnight of `21:00`, 0 to 1439."""
    minutes = read_end(text)
    if minutes == 1440:
        raise TextError("a window cannot begin at 24:00: write 00:00 and the next day")
    return minutes


def read_end(text: str) -> int:
    """Return the minutes after midnight of `07:00` or `24:00`, 0 to 1440."""
    found = re.fullmatch(r"(\d{1,2}):(\d\d)", text, re.ASCII)
    minutes = int(found[1]) * 60 + int(found[2]) if found else -1
    if not found or int(found[2]) > 59 or minutes > 1440:
        raise TextError(f"'{text[:80]}' is not a time of day like 21:30")
    return minutes


def format_time(minutes: int) -> str:
    """Return `21:30` for 1290."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def read_moment(text: str, zone: tzinfo) -> float:
    """Return epoch seconds of `2026-12-24T21:30` (local time of `zone`, or with an offset), of the end of the day
    `2026-12-24`, or FOREVER for `forever`.
    """
    if text.lower() == "forever":
        return FOREVER
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            moment = datetime.combine(date.fromisoformat(text) + timedelta(days=1), datetime.min.time())
        else:
            moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise TextError(f"'{text[:80]}' is not a moment like 2026-12-24T21:30, a day or 'forever'") from None


def format_moment(moment: float, zone: tzinfo) -> str:
    """Return what `read_moment` reads, with its offset; a part of a second is rounded up."""
    if math.isinf(moment):
        return "forever"
    try:
        return datetime.fromtimestamp(math.ceil(moment), zone).isoformat()
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return "forever" if moment > 0 else datetime.fromtimestamp(0, UTC).isoformat()


def read_mac(text: str) -> str:
    """Return `aa:bb:cc:dd:ee:ff` of a MAC address in any of its usual forms."""
    digits = re.sub(r"[:.-]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{12}", digits) or not re.fullmatch(r"[0-9A-Fa-f]+([:.-][0-9A-Fa-f]+)*", text):
        raise TextError(f"'{text[:80]}' is not a MAC address like aa:bb:cc:dd:ee:ff")
    if int(digits[1], 16) & 1:
        raise TextError(f"'{text}' is a group address: no single device has it")
    return ":".join(digits[start : start + 2] for start in range(0, 12, 2))


def read_device_address(text: str) -> str:
    """Return `192.168.1.7` or `fd00::/64`, shortest form."""
    if "%" in text:  # a scope may hold any text, and addresses go into the rules of the kernel
        raise TextError(f"'{text[:80]}' names an interface: write the address alone, or the device's MAC")
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        hint = f", did you mean '{ipaddress.ip_network(text, strict=False)}'?" if "host bits" in str(error) else ""
        raise TextError(f"'{text[:80]}' is not an address or prefix like 192.168.1.7 or fd00::/64{hint}") from None
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def read_country(text: str) -> str:
    """Return the ISO 3166 code of a country in lower case, `md`; "" stays."""
    if not re.fullmatch(r"([A-Za-z]{2})?", text, re.ASCII):
        raise TextError(f"'{text[:80]}' is not a country of two letters like md")
    return text.lower()


def read_timezone(text: str) -> tzinfo:
    """Return the zone of an IANA name (`Europe/Chisinau`) or of a POSIX TZ string (`EET-2EEST,M3.5.0/3,M10.5.0/4`)."""
    import zoneinfo

    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", text):
        try:
            return zoneinfo.ZoneInfo(text)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            if text in ("UTC", "Etc/UTC", "GMT"):  # what OpenWrt and our own first visit write, zone database or not
                return UTC
    from guardian.policy.posix_tz import parse_posix_tz

    try:  # `EET-2` looks like a name; a router without a zone database knows POSIX strings only
        return parse_posix_tz(text)
    except TextError:
        hint = suggest(text, zoneinfo.available_timezones())
        raise TextError(f"'{text[:80]}' is neither a time zone like Europe/Chisinau nor a POSIX one{hint}") from None
