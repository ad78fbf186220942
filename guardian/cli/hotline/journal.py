"""The journal of the desk: who did what, in lines that follow from each other and that each person signed.

  guardian hotline journal show --last 20
  guardian hotline journal verify                        every line, every signature, and the tables against them
  guardian hotline journal verify --head HASH            a published list names the head: is it a line of this journal?
  guardian hotline journal export journal.jsonl          to keep elsewhere
  guardian hotline journal verify --file journal.jsonl   without the desk

exit codes: 0 all is well; 1 something was changed by another way than by the rules
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import IO, TYPE_CHECKING

from guardian.cli import FAILED, OK
from guardian.cli.hotline.at_desk import (
    add_signing,
    open_desk,
    print_json,
    print_table,
    say_confidential,
    show_time,
    sign_in,
)
from guardian.errors import DeskError

if TYPE_CHECKING:
    from guardian.desk.verify import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print lines")
    show.add_argument("--last", type=int, default=30, metavar="N", help="how many (default: 30); 0 = all")
    show.add_argument("--json", action="store_true", help="for programs")
    verify = actions.add_parser("verify", help="compute every line and signature again, and compare the tables")
    verify.add_argument("--head", action="append", default=[], metavar="HASH", help="that was published")
    verify.add_argument("--file", metavar="FILE", help="an exported journal instead of the desk's")
    clock = actions.add_parser("set-clock", help="go back to the right time, after this machine's clock was ahead")
    clock.add_argument("--why", required=True, metavar="TEXT")
    add_signing(clock)
    export = actions.add_parser("export", help="write all lines and bodies as JSON lines")
    export.add_argument("file", metavar="FILE", help="what to write; '-' = standard output")


def run(args: argparse.Namespace) -> int:
    """Do what the action says; return the exit code. Raises GuardianError."""
    match args.action:
        case "show":
            return _show(args)
        case "verify":
            return _verify(args)
        case "set-clock":
            desk = open_desk(args)
            line = desk.act(sign_in(args, desk), "clock", {"why": args.why})
            print(f"the journal goes on at {show_time(line.at)} UTC; look through what was listed with the wrong time")
            return OK
        case _:
            return _export(args)


def _show(args: argparse.Namespace) -> int:
    from guardian.desk.journal import read_lines

    desk = open_desk(args)
    with desk.reading() as connection:
        (count,) = connection.execute("SELECT count(*) FROM journal").fetchone()
        lines = list(read_lines(connection, max(0, count - args.last) if args.last > 0 else 0))
    say_confidential()
    if args.json:
        print_json([{**line._asdict(), "signature": line.signature.hex()} for line in lines])
        return OK
    rows = [(line.n, show_time(line.at), line.person, line.kind, _tell(line.details), line.hash[:12]) for line in lines]
    print_table(("no", "when", "who", "what", "details", "hash"), rows)
    return OK


def _tell(details: dict[str, object]) -> str:
    shown = {name: value for name, value in details.items() if name not in ("body", "proof", "public_key") and value}
    return ", ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in shown.items()
    )


def _verify(args: argparse.Namespace) -> int:
    from guardian.desk.verify import verify_desk, verify_file

    if args.file:
        try:
            with open(args.file, encoding="ascii", errors="replace") as file:
                return _tell_report(verify_file(file, args.head), args.file)
        except OSError as error:
            raise DeskError(f"{args.file} cannot be read: {error.strerror}") from None
    desk = open_desk(args)
    with desk.reading() as connection:
        return _tell_report(verify_desk(connection, args.head), desk.path)


def _tell_report(report: Report, name: str) -> int:
    for problem in report.problems:
        print(f"{name}: {problem}", file=sys.stderr)
    for person in report.book.people.values():
        state = "works here" if person.until is None else f"left {show_time(person.until)}"
        print(f"{person.name:16}key {person.fingerprint}  {state}")
    active = sum(entry.status == "active" for entry in report.book.entries.values())
    print(f"{report.lines} lines are right, {active} active entries follow from them; head {report.head}")
    print("compare the keys above with those that the people keep: a whole journal could be made anew with others")
    return FAILED if report.problems else OK


def _export(args: argparse.Namespace) -> int:
    from guardian.desk.verify import export_journal

    desk = open_desk(args)
    say_confidential()

    def write(file: IO[str]) -> int:
        with desk.reading() as connection:
            return export_journal(connection, file)

    if args.file == "-":
        write(sys.stdout)
        return OK
    aside = f"{args.file}.new"
    try:
        with open(os.open(aside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
            count = write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, args.file)
    except OSError as error:
        raise DeskError(f"{args.file} cannot be written: {error.strerror}") from None
    print(f"{count} lines")
    return OK
