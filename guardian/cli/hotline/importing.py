"""Look through a file of entries and tell what it would change; propose it with --propose.

  guardian hotline import iwf.csv --list csam-md --legal-basis voluntary --authority IWF --source iwf
  guardian hotline import iwf.csv ... --propose --why 'IWF, this morning' --as ana
  guardian hotline import worst-of.txt --list csam-md --format names --source interpol --complete ...
  guardian hotline import zone.rpz --list csam-md --format rpz ...

A CSV has a head line: url, domain, host or (with scope) value says what is listed; severity, legal_basis, order_ref,
licence_class, verified, expires, appeal may stand beside it; --map url=COLUMN names others. Nothing is widened: a page
stays a page, and a URL without a path is refused until --bare says what it is. Refused lines are left out.
With --source, entries of the same source are renewed; --complete also takes off what the file does not have any more.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from guardian.cli import FAILED, OK
from guardian.cli.hotline.at_desk import add_signing, open_desk, print_json, say_confidential, sign_in
from guardian.cli.hotline.facts import add_facts, read_facts
from guardian.errors import DeskError

if TYPE_CHECKING:
    from guardian.desk.importing import Preview

_MOST_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("file", metavar="FILE", help="'-' = standard input")
    parser.add_argument("--list", required=True, dest="list_id", metavar="LIST")
    parser.add_argument("--format", choices=("auto", "csv", "names", "rpz"), default="auto")
    parser.add_argument(
        "--map", action="append", default=[], metavar="FIELD=COLUMN", help="a column of the CSV by its head"
    )
    parser.add_argument("--scope", choices=("domain", "host"), default="domain", help="of a list of names")
    parser.add_argument("--bare", choices=("url", "host", "domain"), help="what a URL without a path is")
    parser.add_argument("--scheme", choices=("https", "http"), default="https", help="of URLs without one")
    parser.add_argument(
        "--source", default="", metavar="WORD", help="who gave the file: its entries are renewed next time"
    )
    parser.add_argument("--complete", action="store_true", help="entries of the source that the file lacks are removed")
    parser.add_argument("--may-shrink", action="store_true", help="even if these are more than 30 in 100")
    parser.add_argument("--override", default="", metavar="REASON", help="in spite of refusals, for 24 hours")
    parser.add_argument("--propose", action="store_true", help="propose what is shown")
    parser.add_argument("--why", default="", metavar="TEXT", help="for the second person and the journal")
    parser.add_argument("--refused", metavar="OUT", help="write all refusals to this file")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_facts(parser)
    add_signing(parser, required=False)


def run(args: argparse.Namespace) -> int:
    """Show the preview, and propose it when asked; return 1 when every line is refused. Raises GuardianError."""
    from guardian.desk.importing import Reading, preview_import, propose_import

    desk = open_desk(args)
    if args.propose and not (args.person and args.why):
        raise DeskError("--propose needs --as NAME and --why TEXT")
    now = time.time()
    columns = dict(_read_mapping(text) for text in args.map)
    reading = Reading(args.format, columns, args.scope, args.bare, args.scheme)
    facts = read_facts(args, desk, now, args.source)
    preview = preview_import(
        desk, args.list_id, _read_file(args.file), args.file, reading, facts, now,
        override=args.override, complete=args.complete, may_shrink=args.may_shrink,
    )  # fmt: skip
    if args.refused:
        _write_refusals(args.refused, preview)
    number = 0
    if args.propose:
        number = propose_import(desk, sign_in(args, desk), args.list_id, preview, args.why, now)
    say_confidential()
    if args.json:
        _print_for_programs(preview, number)
    else:
        _print_preview(preview, args)
        if number:
            print(f"\nproposal {number}: nothing has changed yet; next: 'guardian hotline approve {number}' by another")
    return OK if preview.body.count() or not preview.refusals else FAILED


def _read_mapping(text: str) -> tuple[str, str]:
    field, mark, column = text.partition("=")
    if not mark or not column.strip():
        raise DeskError(f"--map {text[:80]}: write it like url=Web address")
    return field.strip(), column


def _read_file(path: str) -> bytes:
    from guardian.desk.importing import MAX_FILE_BYTES

    try:
        if path == "-":
            return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DeskError(f"{path} cannot be read: {error.strerror}") from None


def _write_refusals(path: str, preview: Preview) -> None:
    import os

    try:
        with open(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.writelines(f"{it}\n" for it in preview.refusals)
    except OSError as error:
        raise DeskError(f"{path} cannot be written: {error.strerror}") from None


def _count(preview: Preview) -> dict[str, int]:
    body = preview.body
    return {
        "lines": preview.lines,
        "new": sum(len(part.targets) for part in body.add),
        "renewed": sum(len(part.ids) for part in body.renew),
        "removed": sum(len(part.ids) for part in body.remove),
        "not enforceable (https pages)": sum(
            value.startswith("https:") for part in body.add for _, value in part.targets
        ),
        "overridden": sum(len(part.targets) for part in body.add if part.facts.override),
        "refused": len(preview.refusals),
    }


def _print_for_programs(preview: Preview, number: int) -> None:
    print_json(
        {
            "format": preview.format,
            "counts": _count(preview),
            "rules": dict(preview.count_rules()),
            "unused_columns": preview.unused,
            "refusals": [it._asdict() for it in preview.refusals],
            "proposal": number or None,
        }
    )


def _print_preview(preview: Preview, args: argparse.Namespace) -> None:
    for name, count in _count(preview).items():
        if count or name in ("lines", "new", "refused"):
            print(f"{count:>8}  {name}")
    for rule, count in preview.count_rules().most_common():
        print(f"{'':10}{count:>8}  {rule}")
    if preview.unused:
        print(f"columns that are not used: {', '.join(preview.unused)[:300]}")
    for it in preview.refusals[:_MOST_SHOWN]:
        print(f"  {it}")
    if len(preview.refusals) > _MOST_SHOWN:
        print(f"  ... and {len(preview.refusals) - _MOST_SHOWN} more: --refused OUT writes all of them")
    if not args.propose:
        print("nothing was changed or proposed: --propose does")
