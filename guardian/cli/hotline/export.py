"""Write a list as a Response Policy Zone, for the resolvers of an internet provider (docs/rpz.md).

  guardian hotline export-rpz --list csam-md --out csam-md.rpz --for isp
  guardian hotline export-rpz --list csam-md --out csam-md.rpz --for isp --mode cname --target blocked.isp.example

Only entries with the licence `public` are in it; with --for isp those with `isp_only` too. `hashed_ok` may leave the
desk as a hash only, so it is never in a zone. Pages (`url`, `url_prefix`) are left out: DNS knows no pages, and a page
never becomes its whole site. What two people have approved is in it, whether published yet or not.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING

from guardian.cli.hotline.at_desk import open_desk, say_confidential
from guardian.cli.hotline.reports import write_aside
from guardian.errors import DeskError

if TYPE_CHECKING:
    from guardian.desk.rpz import ZoneCount

MAX_ZONE_BYTES = 256 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian hotline export-rpz`."""
    parser.add_argument("--list", dest="list_id", metavar="LIST", required=True, help="which list")
    parser.add_argument("--out", metavar="FILE", required=True, help="the zone file (mode 600)")
    parser.add_argument("--for", dest="reader", choices=("everybody", "isp"), default="everybody", help="who gets it")
    parser.add_argument("--mode", choices=("nxdomain", "nodata", "cname"), default="nxdomain", help="the answer")
    parser.add_argument("--target", metavar="NAME", default="", help="for cname: the page that explains")
    parser.add_argument("--zone", metavar="NAME", default="", help="name of the zone (default: LIST.rpz.invalid)")


def run(args: argparse.Namespace) -> int:
    """Write the zone, unless its records are what the file has already; return 0. Raises DeskError."""
    from guardian.desk.rpz import FOR_EVERYBODY, FOR_ISPS, Zone, ZoneHead, next_serial, read_mode, write_zone

    desk = open_desk(args)
    answer = read_mode(args.mode, args.target)
    licences = FOR_ISPS if args.reader == "isp" else FOR_EVERYBODY
    name = args.zone or f"{args.list_id}.rpz.invalid"
    now = time.time()
    entries = list(desk.list_active(args.list_id, now, isp_only=True))
    notes = (f"Guardian list {args.list_id}, for {args.reader}; journal {desk.journal_head()}", "Confidential.")

    def write(serial: int) -> Zone:
        return write_zone(entries, ZoneHead(name, args.list_id, serial, notes), answer, licences)

    before = _read_before(args.out)
    serial, is_new = next_serial(before, lambda number: write(number).text, now)
    zone = write(serial)
    if is_new:
        write_aside(args.out, zone.text)
    print(f"{args.out}: zone {name}, serial {serial}" + ("" if is_new else ", as it was: nothing has changed"))
    print("\n".join(f"  {line}" for line in _describe(zone.counted, args.reader)))
    say_confidential()
    return 0


def _read_before(path: str) -> str:
    """Return the zone that is there, "" when there is none. Raises DeskError for a file that is no zone of ours."""
    from guardian.desk.rpz import read_serial

    if not os.path.exists(path):
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_ZONE_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise DeskError(f"{path} cannot be read: {error}") from None
    if text and not read_serial(text):
        raise DeskError(f"{path} is there, and is no zone that this command has written: name another file")
    return text


def _describe(counted: ZoneCount, reader: str) -> list[str]:
    lines = [f"{counted.domains} sites with all below them, {counted.hosts} single names"]
    if counted.pages:
        lines.append(f"{counted.pages} pages left out: DNS knows no pages, and a page never becomes its site")
    if counted.hashed_only:
        lines.append(f"{counted.hashed_only} left out by their licence: they may leave as a hash only (hashed_ok)")
    if counted.isp_only:
        lines.append(f"{counted.isp_only} left out: they are for internet providers only (--for isp)")
    if counted.too_long:
        lines.append(f"{counted.too_long} left out: their names have no room before the zone's; take a shorter --zone")
    return lines
