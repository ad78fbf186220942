"""Who works at the desk.

  guardian hotline people list                       names, roles and the fingerprints of their keys
  guardian hotline people add NAME --roles list,analyst --new-password-file FILE
  guardian hotline people new-key --as ana           a new key, vouched for with the old one
  guardian hotline people end ion --why 'has left' --as maria

Before the first proposal of entries everybody is let in at once; later 'add' needs --as (role admin or root), and a
second such person approves. What routers believe is the root of trust: 'add-person', 'rotate' and 'revoke' change it.
"""

from __future__ import annotations

import argparse

from guardian.cli.hotline.at_desk import (
    add_signing,
    open_desk,
    print_json,
    print_table,
    read_password,
    show_time,
    sign_in,
)
from guardian.errors import DeskError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="who works here")
    listing.add_argument("--all", action="store_true", help="and who has left")
    listing.add_argument("--json", action="store_true", help="for programs")
    add = actions.add_parser("add", help="make a key for a person")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--roles", required=True, metavar="ROLE,...", help="root, list, bulk, analyst, admin")
    add.add_argument("--why", default="", metavar="TEXT")
    add_signing(add, required=False)
    key = actions.add_parser("new-key", help="a new key for yourself")
    add_signing(key)
    for each in (add, key):
        each.add_argument("--new-password-file", metavar="FILE", help="the password of the new key is its first line")
    end = actions.add_parser("end", help="end a person's access at once")
    end.add_argument("name", metavar="NAME")
    end.add_argument("--why", required=True, metavar="TEXT")
    add_signing(end)


def run(args: argparse.Namespace) -> int:
    """Do what the action says; return the exit code. Raises GuardianError."""
    from guardian.desk.people import add_person, change_key, end_person

    desk = open_desk(args)
    match args.action:
        case "list":
            return _list(args)
        case "add":
            roles = [role for role in args.roles.split(",") if role]
            password = read_password(args.name, args.new_password_file, new=True)
            proposer = sign_in(args, desk) if args.person else None
            person = add_person(desk.folder, args.name, roles, password, proposer=proposer, why=args.why)
            print(f"{person.name} has the key {person.fingerprint}")
            waiting = [it for it in desk.proposals("open") if it.kind == "person"]
            if args.name not in desk.people() and waiting:
                print(f"next: a second person with the role admin or root approves proposal {waiting[-1].id}")
        case "new-key":
            signer = sign_in(args, desk)
            password = read_password(args.person, args.new_password_file, new=True)
            person = change_key(desk.folder, signer, password)
            print(f"{person.name} has the new key {person.fingerprint}; next: 'guardian hotline rotate {person.name}'")
        case _:
            if args.name not in desk.people():
                raise DeskError(f"nobody who works here is called '{args.name[:40]}'")
            end_person(desk.folder, sign_in(args, desk), args.name, args.why)
            print(f"{args.name} can't do anything here any more; next: 'guardian hotline revoke {args.name}'")
    return 0


def _list(args: argparse.Namespace) -> int:
    people = open_desk(args).people(all_=args.all).values()
    if args.json:
        print_json(
            [
                {
                    "name": person.name,
                    "roles": sorted(person.roles),
                    "public_key": person.public_key.hex(),
                    "since": person.since,
                    "until": person.until,
                }
                for person in people
            ]
        )
        return 0
    rows = [
        (
            person.name,
            ", ".join(sorted(person.roles)),
            person.fingerprint,
            show_time(person.since),
            show_time(person.until) if person.until is not None else "-",
        )
        for person in people
    ]
    print_table(("name", "roles", "key", "since", "until"), rows)
    return 0
