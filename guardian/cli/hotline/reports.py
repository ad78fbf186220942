"""Receive reports from homes, and work through them.

  guardian hotline reports serve --listen 127.0.0.1:8001 --proxy 127.0.0.1
  guardian hotline reports list
  guardian hotline reports take 12 --as ana
  guardian hotline reports close 12 --as ana --result forwarded

What analysts do is signed with their key and kept (`verify` checks it). The words of a report are wiped some weeks
after it was closed (`keep`). No picture, no address and no device is ever received.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from guardian.cli.hotline.at_desk import (
    add_signing,
    open_desk,
    print_json,
    print_table,
    say_confidential,
    show_time,
    sign_in,
)
from guardian.config.text import read_endpoint
from guardian.errors import DeskError, TextError

if TYPE_CHECKING:
    from guardian.desk.report_store import QueuedReport, ReportStore

OK = 0
_DEFAULT_PORT = 8001
_WIDE = 48  # characters of an address in a table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `guardian hotline reports`."""
    below = parser.add_subparsers(dest="reports_command", metavar="COMMAND", required=True)

    def command(name: str, brief: str) -> argparse.ArgumentParser:
        return below.add_parser(name, help=brief, description=brief, allow_abbrev=False)

    serve = command("serve", "receive reports until told to stop")
    serve.add_argument("--listen", metavar="ADDRESS:PORT", default=f"127.0.0.1:{_DEFAULT_PORT}")
    serve.add_argument("--certificate", metavar="FILE", default="", help="for TLS without a reverse proxy: PEM")
    serve.add_argument("--key", metavar="FILE", default="", help="its private key: PEM")
    proxy = "address or network of your reverse proxy, whose X-Forwarded-For is believed (for the limits only)"
    serve.add_argument("--proxy", metavar="ADDRESS", action="append", default=[], help=proxy)

    listing = command("list", "the queue")
    listing.add_argument("--state", choices=("open", "taken", "closed", "all"), help="default: open and taken")
    listing.add_argument("--type", action="append", default=[], help="of this type only; may be repeated")
    listing.add_argument("--json", action="store_true", help="print JSON")

    show = command("show", "one report with its contact and its history")
    show.add_argument("number", metavar="N", type=int)
    show.add_argument("--json", action="store_true", help="print JSON")

    take = command("take", "work on a report")
    take.add_argument("number", metavar="N", type=int)
    take.add_argument("--anyway", action="store_true", help="although somebody else has taken it")
    add_signing(take)
    close = command("close", "say what came of a report")
    close.add_argument("number", metavar="N", type=int)
    close.add_argument("--result", required=True, metavar="RESULT", help=_list_results())
    add_signing(close)
    reopen = command("reopen", "open a closed report again")
    reopen.add_argument("number", metavar="N", type=int)
    add_signing(reopen)

    export = command("export", "write reports for other tools; contacts are never in it")
    export.add_argument("file", metavar="FILE")
    export.add_argument("--format", choices=("scart", "json"), default="scart")
    export.add_argument("--state", choices=("open", "taken", "closed", "all"), help="default: open and taken")
    export.add_argument("--type", action="append", default=[], help="default for SCART: csam_suspected")
    export.add_argument("--work-user", metavar="MAIL", default="", help="SCART: whose work it becomes")
    export.add_argument("--source", default="webform", help="SCART: code of the source")
    export.add_argument("--site-type", default="website", help="SCART: code of the type")

    keep = command("keep", "show or set how long the words of closed reports are kept")
    keep.add_argument("days", metavar="DAYS", type=int, nargs="?")
    command("verify", "check that everything in the queue was signed by who did it")


def _list_results() -> str:
    from guardian.desk.report_store import APPEAL_RESULTS, RESULTS

    return f"{', '.join(RESULTS)}; of an unblock_request: {', '.join(APPEAL_RESULTS)}"


def run(args: argparse.Namespace) -> int:
    """Run the command that the arguments name; return 0. Raises DeskError."""
    commands: dict[str, Callable[[argparse.Namespace], None]] = {
        "serve": _serve,
        "list": _list,
        "show": _show,
        "take": _take,
        "close": _close,
        "reopen": _reopen,
        "export": _export,
        "keep": _keep,
        "verify": _verify,
    }
    commands[args.reports_command](args)
    return OK


def _serve(args: argparse.Namespace) -> None:
    from guardian.cli.hotline.reports_serve import ServeOptions, check_options, serve, start_logging

    desk = open_desk(args)
    try:
        listen = read_endpoint(_DEFAULT_PORT)(args.listen)
        proxies = tuple(ip_network(text) for text in args.proxy)
    except TextError as error:
        raise DeskError(f"--listen: {error}") from None
    except ValueError as error:
        raise DeskError(f"--proxy: {error}") from None
    options = ServeOptions(listen, args.certificate, args.key, proxies)
    check_options(options)
    start_logging()
    asyncio.run(serve(desk.folder, options))


def _open_store(args: argparse.Namespace) -> ReportStore:
    """Return the queue of the desk; words whose time is over go first."""
    from guardian.desk.report_store import ReportStore, clear_closed

    store = ReportStore(open_desk(args).folder)
    clear_closed(store, time.time())
    return store


def _find(args: argparse.Namespace, store: ReportStore, types: list[str]) -> list[QueuedReport]:
    from guardian.desk.report_shape import TYPES
    from guardian.desk.report_store import STATES, list_reports

    for type_ in types:
        if type_ not in TYPES:
            raise DeskError(f"'{type_}' is no type of reports: {', '.join(TYPES)}")
    states = STATES if args.state == "all" else (args.state,) if args.state else ("open", "taken")
    return list_reports(store, states, types)


def _list(args: argparse.Namespace) -> None:
    from guardian.desk.scart import write_json

    found = _find(args, _open_store(args), args.type)
    say_confidential()
    if args.json:
        print(write_json(found), end="")
        return
    print_table(
        ("N", "received", "type", "state", "who", "address"),
        [
            (it.number, show_time(it.received), it.type, it.result or it.state, it.person or "-", _shorten(it))
            for it in found
        ],
    )


def _shorten(report: QueuedReport) -> str:
    if report.cleared:
        return "(wiped)"
    return report.url if len(report.url) <= _WIDE else f"{report.url[: _WIDE - 3]}..."


def _show(args: argparse.Namespace) -> None:
    from guardian.desk.report_store import read_queued

    report, contact, lines = read_queued(_open_store(args), args.number)
    say_confidential()
    history = [
        {"at": _moment(line.at), "person": line.person, "action": line.action, "detail": line.detail} for line in lines
    ]
    plain: dict[str, Any] = report._asdict() | {
        "received": _moment(report.received),
        "created": _moment(report.created),
        "closed": None if report.closed is None else _moment(report.closed),
        "contact": contact,
        "history": history,
    }
    if args.json:
        print_json(plain)
        return
    for name, value in plain.items():
        if name not in ("history", "note") and value not in ("", None):
            print(f"{name:10} {value}")
    if report.note:
        print("note")
        print("\n".join(f"    {text}" for text in report.note.splitlines()))
    for line in lines:
        print(f"{show_time(line.at)}  {line.person}: {line.action} {line.detail}".rstrip())


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _take(args: argparse.Namespace) -> None:
    from guardian.desk.report_store import take_report

    store = _open_store(args)
    take_report(store, args.number, sign_in(args, open_desk(args)), time.time(), anyway=args.anyway)
    print(f"Report {args.number} is yours. 'reports show {args.number}' shows it whole.")


def _close(args: argparse.Namespace) -> None:
    from guardian.desk.report_store import close_report, read_keep_days

    store = _open_store(args)
    close_report(store, args.number, sign_in(args, open_desk(args)), args.result, time.time())
    print(f"Report {args.number} is closed: {args.result}. Its words are wiped in {read_keep_days(store)} days.")


def _reopen(args: argparse.Namespace) -> None:
    from guardian.desk.report_store import reopen_report

    store = _open_store(args)
    reopen_report(store, args.number, sign_in(args, open_desk(args)), time.time())
    print(f"Report {args.number} is open again.")


def _export(args: argparse.Namespace) -> None:
    from guardian.desk.scart import write_json, write_scart

    store = _open_store(args)
    if args.format == "json":
        found = _find(args, store, args.type)
        write_aside(args.file, write_json(found))
        print(f"{args.file}: {len(found)} reports")
    else:
        made = write_scart(
            _find(args, store, args.type or ["csam_suspected"]), args.work_user, args.source, args.site_type
        )
        write_aside(args.file, made.text)
        print(f"{args.file}: {made.lines} reports for SCART")
        if made.without_url:
            print(f"without an address, so not in it: {', '.join(map(str, made.without_url))}")
    say_confidential()


def write_aside(path: str, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all. Raises DeskError."""
    aside = f"{path}.{os.getpid()}.new"
    try:
        with open(
            os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline=""
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise DeskError(f"cannot write {path}: {error.strerror}") from None


def _keep(args: argparse.Namespace) -> None:
    from guardian.desk.report_store import ReportStore, read_keep_days, set_keep_days

    store = ReportStore(open_desk(args).folder)
    if args.days is not None:
        set_keep_days(store, args.days)
    print(f"The words of closed reports are kept for {read_keep_days(store)} days.")


def _verify(args: argparse.Namespace) -> None:
    from guardian.desk.report_store import ReportStore, check_trail, load_keys

    desk = open_desk(args)
    lines = check_trail(ReportStore(desk.folder), load_keys(desk))
    print(f"All {lines} lines of the trail are signed by who they name, and the queue is what they say.")
