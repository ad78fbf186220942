"""What waits for a second person, and the second person's answer.

  guardian hotline pending                  what waits
  guardian hotline pending 7                all that proposal 7 would change
  guardian hotline approve 7 --as ion       it takes effect, and routers learn of it by the next publishing
  guardian hotline reject 7 --why 'the page is gone' --as ion

The author of a proposal can't approve it, only take it back (reject). A suspension may be approved by anybody on duty.
"""

from __future__ import annotations

import argparse
from typing import Any

from guardian.cli.hotline.at_desk import (
    add_signing,
    open_desk,
    print_json,
    print_table,
    say_confidential,
    show_time,
    sign_in,
)
from guardian.desk.fold import Body

_MOST_SHOWN = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command that the parser is for."""
    match parser.get_default("command"):
        case "pending":
            parser.add_argument("number", nargs="?", type=int, metavar="N", help="show all of this proposal")
            parser.add_argument("--all", action="store_true", help=f"of a long proposal too (else {_MOST_SHOWN} lines)")
            parser.add_argument("--json", action="store_true", help="for programs")
        case "approve":
            parser.add_argument("number", type=int, metavar="N")
            parser.add_argument("--override", default="", metavar="REASON", help="your own, where the author has one")
            add_signing(parser)
        case _:
            parser.add_argument("number", type=int, metavar="N")
            parser.add_argument("--why", required=True, metavar="TEXT")
            add_signing(parser)


def run(args: argparse.Namespace) -> int:
    """Do what the command says; return the exit code. Raises GuardianError."""
    from guardian.desk.review import approve, reject

    desk = open_desk(args)
    match args.command:
        case "pending":
            return _show(args)
        case "approve":
            done = approve(desk, sign_in(args, desk), args.number, override=args.override)
            print(f"proposal {done.id} of {done.author} ({done.kind}, {done.changes}) is approved by {done.decided_by}")
            if done.kind != "person":
                print("next: 'guardian hotline publish' brings it to the routers")
        case _:
            done = reject(desk, sign_in(args, desk), args.number, args.why)
            print(f"proposal {done.id} of {done.author} is rejected by {done.decided_by}")
    return 0


def _show(args: argparse.Namespace) -> int:
    import msgspec

    from guardian.desk.review import load_proposal

    desk = open_desk(args)
    if args.number is None:
        waiting = desk.proposals("open")
        if args.json:
            print_json([proposal._asdict() for proposal in waiting])
        elif not waiting:
            print("nothing waits for a second person")
        else:
            waiting_rows = [
                (it.id, it.kind, it.list_id or "-", it.changes, it.author, show_time(it.at), it.override or "-", it.why)
                for it in waiting
            ]
            print_table(("no", "kind", "list", "changes", "author", "since", "overrides", "why"), waiting_rows)
        return 0
    say_confidential()
    with desk.reading() as connection:
        proposal, body = load_proposal(connection, args.number)
    if args.json:
        print_json({**proposal._asdict(), "body": msgspec.to_builtins(body)})
        return 0
    for name, value in proposal._asdict().items():
        if name != "body" and value not in ("", 0):
            print(f"{name:12}{show_time(value) if name in ('at', 'decided_at') else value}")
    print()
    rows = list(_list_changes(desk, body))
    print_table(("change", "entry", "scope", "value", "ends or why"), rows if args.all else rows[:_MOST_SHOWN])
    if len(rows) > _MOST_SHOWN and not args.all:
        print(f"... and {len(rows) - _MOST_SHOWN} more: 'pending {args.number} --all' shows them")
    return 0


def _list_changes(desk: Any, body: Body) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for added in body.add:
        ends = show_time(added.facts.expires) + (f" (override: {added.facts.override})" if added.facts.override else "")
        rows += [("add", "new", scope, value, ends) for scope, value in added.targets]
    groups = [("renew", part.ids, show_time(part.expires)) for part in body.renew]
    for kind in ("suspend", "resume", "remove"):
        groups += [(kind, part.ids, part.why) for part in getattr(body, kind)]
    wanted = {id_ for _, ids, _ in groups for id_ in ids}
    known = {entry.id: entry for entry in desk.entries() if entry.id in wanted} if wanted else {}
    for kind, ids, text in groups:
        for id_ in ids:
            entry = known.get(id_)
            rows.append((kind, id_, entry.scope if entry else "?", entry.value if entry else "?", text))
    if body.person is not None:
        key = body.person.public_key[:16]
        rows.append(("person", "-", ",".join(body.person.roles), body.person.name, f"key {key}"))
    if body.minimum is not None:
        rows.append(("minimum", "-", "routers", body.minimum.version or "any version", "a notice, nothing else"))
    return rows
