"""Propose, look up and list entries. A proposal changes nothing until a second person approves it.

  guardian hotline add --list csam-md --domain listed-1.example --legal-basis law_order --order-ref 'Law 1/2024' \\
      --authority 'National hotline' --why 'report 17' --as ana
  guardian hotline add --list csam-md --url - --like 12 --why 'reports of today' --as ana   (from standard input)
  guardian hotline suspend 12 --why 'the owner has cleaned it' --as ion
  guardian hotline renew 12 13 --days 14 --why 'still there' --as ana
  guardian hotline show 12
  guardian hotline list --list csam-md --state ending
  guardian hotline popular top-sites.txt --as ana

What a value on a command line says can be seen by other users of this machine: '-' reads values from standard input.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
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
from guardian.cli.hotline.facts import add_facts, read_date, read_facts
from guardian.errors import DeskError

if TYPE_CHECKING:
    from guardian.desk.entries import Entry
    from guardian.desk.store import Desk

_ENDING_DAYS = 3
_STATES = ("active", "suspended", "removed", "expired", "ending")
_MAX_POPULAR_BYTES = 64 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command that the parser is for."""
    command = parser.get_default("command")
    match command:
        case "add":
            parser.add_argument("--list", required=True, dest="list_id", metavar="LIST")
            for scope in ("domain", "host", "url", "url-prefix"):
                parser.add_argument(
                    f"--{scope}", action="append", default=[], metavar="VALUE", help="'-' = standard input"
                )
            parser.add_argument("--scheme", choices=("https", "http"), default="https", help="of URLs without one")
            add_facts(parser)
        case "suspend" | "resume" | "remove" | "renew":
            parser.add_argument("ids", nargs="+", type=int, metavar="ID")
            if command == "renew":
                parser.add_argument(
                    "--days", type=int, default=14, metavar="N", help="from the verification on (default: 14)"
                )
                parser.add_argument("--verified", metavar="DATE", help="when somebody looked (default: now)")
        case "show":
            parser.add_argument("what", metavar="ID|TEXT", help="an entry, or a part of values")
        case "popular":
            parser.add_argument(
                "file", metavar="FILE", help="names, the most popular first; lines like 'name' or '17,name'"
            )
        case _:
            parser.add_argument("--list", default="", dest="list_id", metavar="LIST")
            parser.add_argument("--state", choices=_STATES, help=f"ending: within {_ENDING_DAYS} days")
    if command in ("add", "renew"):
        parser.add_argument("--override", default="", metavar="REASON", help="in spite of a refusal, for 24 hours")
    if command in ("add", "suspend", "resume", "remove", "renew"):
        parser.add_argument("--why", required=True, metavar="TEXT", help="for the second person and the journal")
    if command in ("show", "list"):
        parser.add_argument("--json", action="store_true", help="for programs")
    else:
        add_signing(parser)


def run(args: argparse.Namespace) -> int:
    """Do what the command says; return the exit code. Raises GuardianError."""
    desk = open_desk(args)
    match args.command:
        case "add":
            return _add(args, desk)
        case "show":
            return _show(desk, args.what, args.json)
        case "list":
            return _list(desk, args.list_id, args.state, args.json)
        case "popular":
            return _popular(args, desk)
        case _:
            return _change(args, desk)


def _add(args: argparse.Namespace, desk: Desk) -> int:
    from guardian.desk.entries import SCOPES, BadValueError, read_target
    from guardian.desk.fold import Added, Body
    from guardian.desk.refusals import make_printable
    from guardian.desk.review import propose

    now = time.time()
    targets = []
    for scope in SCOPES:
        for text in _read_values(getattr(args, scope)):
            try:
                targets.append(read_target(scope, text, args.scheme))
            except BadValueError as error:
                raise DeskError(f"{make_printable(text)}: {error.why} [{error.rule}]; {error.advice}") from None
    if not targets:
        raise DeskError("what is to be listed? Give --domain, --host, --url or --url-prefix")
    facts = read_facts(args, desk, now)
    groups = _group_shared(desk, targets)
    body = Body(
        add=[Added(_share(facts, shared), list(map(tuple, group))) for shared, group in groups.items() if group]
    )
    signer = sign_in(args, desk)
    number = propose(desk, signer, "add", args.list_id, body, args.why, now, override=args.override)
    return _say_proposed(number, body.count(), args.override)


def _group_shared(desk: Desk, targets: Iterable[Any]) -> dict[bool, list[Any]]:
    from guardian.desk.refusals import ask_popular, load_rules

    groups: dict[bool, list[Any]] = {False: [], True: []}
    with desk.reading() as connection:
        rules = load_rules(desk.folder, ask_popular(connection))
        for target in targets:
            groups[rules.is_shared(target)].append(target)
    return groups


def _share(facts: Any, shared: bool) -> Any:
    import msgspec

    return msgspec.structs.replace(facts, shared_host=shared)


def _read_values(given: list[str]) -> Iterator[str]:
    for text in given:
        if text == "-":
            yield from (line.strip() for line in sys.stdin if line.strip())
        else:
            yield text


def _change(args: argparse.Namespace, desk: Desk) -> int:
    from guardian.desk.entries import DAY
    from guardian.desk.fold import Body, Ended, Renewed
    from guardian.desk.review import propose

    now = time.time()
    found = {id_: desk.entry(id_) for id_ in args.ids}
    missing = [str(id_) for id_, entry in found.items() if entry is None]
    if missing:
        raise DeskError(f"there is no entry {', '.join(missing)}; 'guardian hotline list' has the numbers")
    lists = {entry.list_id for entry in found.values() if entry is not None}
    if len(lists) > 1:
        raise DeskError(f"these entries are on {len(lists)} lists: propose for each list on its own")
    ids = sorted(found)
    if args.command == "renew":
        verified = read_date(args.verified) if args.verified else int(now)
        body = Body(renew=[Renewed(ids, verified, verified + args.days * DAY, args.override)])
    else:
        ended = [Ended(ids, args.why)]
        body = {"suspend": Body(suspend=ended), "resume": Body(resume=ended), "remove": Body(remove=ended)}[
            args.command
        ]
    override = getattr(args, "override", "")
    number = propose(desk, sign_in(args, desk), args.command, lists.pop(), body, args.why, now, override=override)
    return _say_proposed(number, body.count(), override, urgent=args.command == "suspend")


def _say_proposed(number: int, count: int, override: str, *, urgent: bool = False) -> int:
    print(f"proposal {number}: {count} {'entry' if count == 1 else 'entries'}; nothing has changed yet")
    again = " --override REASON" if override else ""
    who = "anybody else on duty" if urgent else "a second person"
    print(f"next: {who} runs 'guardian hotline approve {number} --as NAME{again}'")
    return 0


def _popular(args: argparse.Namespace, desk: Desk) -> int:
    import hashlib

    try:
        with open(args.file, "rb") as file:
            data = file.read(_MAX_POPULAR_BYTES + 1)
    except OSError as error:
        raise DeskError(f"{args.file} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_POPULAR_BYTES:
        raise DeskError(f"{args.file}: more than {_MAX_POPULAR_BYTES >> 20} MB")
    names = list(_read_popular(data, args.file))
    if not names:
        raise DeskError(f"{args.file}: no name in it; the popular names stay as they are")
    count = desk.replace_popular(sign_in(args, desk), names, hashlib.sha256(data).hexdigest())
    print(f"{count} popular names: none of them is listed without an override")
    return 0


def _read_popular(data: bytes, name: str) -> Iterator[bytes]:
    """Public rankings hold addresses and whole registries as well: these are left out, they are never listed anyway."""
    from guardian.blocklist.entry import NOT_A_NAME
    from guardian.blocklist.lines import read_name

    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        text = line.decode("utf-8", "replace").strip()
        if not text or text.startswith("#"):
            continue
        wire = read_name(text.rpartition(",")[2].strip())
        if isinstance(wire, bytes):
            yield wire
        elif wire == NOT_A_NAME:
            raise DeskError(f"{name}:{number}: no domain name; one name a line, or 'rank,name'")


def _show(desk: Desk, what: str, as_json: bool) -> int:
    from guardian.desk.history import find_history

    say_confidential()
    if not what.isdigit():
        found = list(desk.entries(contains=what))
        if not found:
            raise DeskError("no entry has this in it")
        return _print_entries(found, as_json)
    entry = desk.entry(int(what))
    if entry is None:
        raise DeskError(f"there is no entry {what}; 'guardian hotline list' has the numbers")
    with desk.reading() as connection:
        history = find_history(connection, entry)
    if as_json:
        print_json({**_plain(entry), "history": [it._asdict() for it in history]})
        return 0
    plain = _plain(entry)
    for moment in ("listed", "verified", "expires", "changed"):
        plain[moment] = show_time(plain[moment])
    for name in ("authority", "message"):
        if plain[name]:
            plain[name] = " / ".join(dict.fromkeys(plain[name].values()))
    plain["reviewers"] = " and ".join(plain["reviewers"])
    for name, value in plain.items():
        print(f"{name:15}{value if value not in (None, '') else '-'}")
    print("\nhistory")
    print_table(
        ("when", "what", "proposed by", "approved by", "why"),
        [(show_time(it.at), it.kind, it.author, it.approver, it.why) for it in history],
    )
    return 0


def _list(desk: Desk, list_id: str, state: str | None, as_json: bool) -> int:
    now = time.time()
    status = state if state in ("suspended", "removed") else "active" if state else ""
    found: Iterable[Entry] = desk.entries(list_id, "", status)
    if list_id and list_id not in desk.lists():
        raise DeskError(f"there is no list '{list_id[:40]}' (there are: {', '.join(desk.lists()) or 'none'})")
    match state:
        case "active":
            found = (entry for entry in found if entry.expires > now)
        case "expired":
            found = (entry for entry in found if entry.expires <= now)
        case "ending":
            found = (entry for entry in found if now < entry.expires <= now + _ENDING_DAYS * 86400)
    say_confidential()
    return _print_entries(list(found), as_json)


def _print_entries(entries: list[Entry], as_json: bool) -> int:
    if as_json:
        print_json([_plain(entry) for entry in entries])
        return 0
    now = time.time()
    rows = []
    for entry in entries:
        state = "expired" if entry.status == "active" and entry.expires <= now else entry.status
        ends = show_time(entry.expires) + (" (override)" if entry.override else "")
        rows.append((entry.id, entry.list_id, state, entry.scope, entry.value, ends))
    print_table(("id", "list", "state", "scope", "value", "ends"), rows)
    return 0


def _plain(entry: Entry) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(entry)
    first = ("id", "list_id", "scope", "value", "status")
    return {**{name: plain[name] for name in first}, **plain, "error": entry.error, "enforceable": entry.is_enforceable}
