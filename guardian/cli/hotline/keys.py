"""Whose keys routers believe.

root show               who signs what, and what a waiting root of trust would change
root sign --as NAME     signs the root of trust that waits; people may do it on different days
root renew --as NAME    the same keys for another year
root export FILE        all roots up to the newest, to check a feed by hand
rotate NAME --as NAME   a new key for a person (NAME herself, or somebody else when it is lost), snapshot or timestamp
revoke NAME --as WHO    a key is lost or somebody leaves: it counts no more
add-person NAME --roles list,analyst --as WHO
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from guardian.cli import OK, paint
from guardian.cli.hotline.at_desk import add_signing, open_desk, read_password, sign_in
from guardian.errors import DeskError

if TYPE_CHECKING:
    from guardian.desk.journal import Signer
    from guardian.desk.repository import Repository
    from guardian.desk.root_change import RootChange
    from guardian.desk.store import Desk


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command that the frame has chosen."""
    command = parser.get_default("command")
    if command == "root":
        parser.add_argument("what", choices=("show", "sign", "renew"))
        parser.add_argument("--as", dest="person", metavar="NAME", help="who you are (sign, renew)")
        parser.add_argument("--password-file", metavar="FILE", help="the password of your key")
        parser.add_argument("--key", metavar="FILE", default="", help="your key, if it is not in the desk's folder")
        return
    add_signing(parser)
    parser.add_argument("name", metavar="NAME", help="whose key")
    if command in ("rotate", "add-person"):
        parser.add_argument("--new-password-file", metavar="FILE", help="the password of the new key")
    if command == "add-person":
        parser.add_argument("--roles", required=True, metavar="A,B", help="of root, list, bulk, analyst, admin")
    if command in ("revoke", "add-person"):
        parser.add_argument("--why", default="", help="a line for the journal")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code. Raises GuardianError."""
    return _RUNS[args.command](args)


def _root(args: argparse.Namespace) -> int:
    from guardian.desk.repository import Repository
    from guardian.desk.root_change import sign_root

    desk = open_desk(args)
    repository = Repository(Path(desk.folder))
    if args.what == "show":
        with repository.locked():
            _show_root(desk, repository)
        return OK
    if not args.person:
        raise DeskError(f"who are you? root {args.what} --as NAME")
    signer = sign_in(args, desk)
    with repository.locked():
        change = _propose(desk, repository, renew=args.what == "renew")
        if change is None:
            raise DeskError("the root of trust has the keys of the desk's people; nothing waits for a signature")
        _show_change(desk, repository, change)
        change = sign_root(repository, signer)
        desk.note(signer, "sign-root", time.time(), version=change.metadata.signed.version)
        _go_on(desk, repository, change)
    return OK


def _propose(desk: Desk, repository: Repository, *, renew: bool = False) -> RootChange | None:
    from guardian.desk.root_change import make_circle, propose_root, thresholds_of

    root = repository.root()
    circle = make_circle(repository.folder, desk.people())
    return propose_root(repository, circle, thresholds_of(root.signed if root else None), time.time(), renew=renew)


def _names(desk: Desk) -> dict[str, str]:
    from guardian.desk.roles import key_id

    return {key_id(person.public_key): name for name, person in desk.people(all_=True).items()}


def _show_root(desk: Desk, repository: Repository) -> None:
    from guardian.desk.root_change import load_change

    root, names = repository.root(), _names(desk)
    if root is None:
        raise DeskError("there is no root of trust yet")
    print(f"root of trust, version {root.signed.version}, until {root.signed.expires:%Y-%m-%d}")
    for role, keys in root.signed.roles.items():
        people = ", ".join(sorted(names.get(key, f"key {key[:8]}") for key in keys.keyids))
        print(f"  {role}: {keys.threshold} of {people}")
    change = load_change(repository)
    if change:
        _show_change(desk, repository, change)
        _show_missing(desk, change)


def _show_change(desk: Desk, repository: Repository, change: RootChange) -> None:
    from guardian.desk.root_change import describe_change

    current = repository.root()
    new = change.metadata.signed
    print(f"Root {new.version} waits for signatures. It changes:")
    for line in describe_change(current.signed if current else None, new, _names(desk)):
        print(paint(f"  {line}", "yellow"))


def _show_missing(desk: Desk, change: RootChange) -> None:
    names = _names(desk)
    for count, whose in ((change.by_old, "the root before"), (change.by_new, "the new root")):
        free = sorted(names.get(key, key[:8]) for key in count.possible - count.signed)
        missing = max(0, count.needed - len(count.signed))
        print(
            f"  by {whose}: {len(count.signed)} of {count.needed} have signed"
            + (f"; {missing} more of {', '.join(free)}" if missing else "")
        )


def _go_on(desk: Desk, repository: Repository, change: RootChange) -> None:
    """Release a root that is signed, or say what comes first. The repository is locked."""
    from guardian.desk.online import load_password, unlock
    from guardian.desk.publish import release
    from guardian.desk.roles import TARGETS, count_signatures
    from guardian.desk.settings import load_settings

    if not change.is_signed:
        _show_missing(desk, change)
        print("Next: root sign --as NAME, on any day")
        return
    states = [repository.state(build) for build in repository.builds()]
    root = change.metadata.signed
    if not all(state and count_signatures(root, TARGETS, state.targets).is_enough for state in states):
        print("The root is signed. What the lost key had signed is signed anew now, and both are released together:")
        print("  publish --renew --as NAME, then sign --as NAME")
        return
    folder = repository.folder
    released = release(repository, None, unlock(folder, load_password(folder, load_settings(folder))), time.time())
    print(paint(f"Released: root {released.root}, version {released.timestamp}.", "green"))
    print("If people who sign lists have changed: publish --as NAME, then sign --as NAME")


def _after(desk: Desk, repository: Repository) -> None:
    """Say what is left to do after people or keys have changed. The repository is locked."""
    change = _propose(desk, repository)
    if change:
        _show_change(desk, repository, change)
        _show_missing(desk, change)
        print("Next: root sign --as NAME by these people, on any day")
    print("And for the lists: publish --as NAME, then sign --as NAME. That need not wait for the root.")


def _rotate(args: argparse.Namespace) -> int:
    from guardian.desk.online import load_password, make_key
    from guardian.desk.people import add_person, change_key
    from guardian.desk.repository import Repository
    from guardian.desk.roles import ONLINE
    from guardian.desk.settings import load_settings

    desk = open_desk(args)
    repository = Repository(Path(desk.folder))
    signer = sign_in(args, desk)
    with repository.locked():
        if args.name in ONLINE:
            folder = repository.folder
            make_key(folder, args.name, load_password(folder, load_settings(folder)))
            desk.note(signer, "rotate-online", time.time(), role=args.name)
        elif args.name == signer.name:
            change_key(desk.folder, signer, read_password(args.name, args.new_password_file, new=True))
            print(f"{args.name} has a new key: {desk.folder}/keys/{args.name}.pem. Keep it as the old one.")
        else:
            person = desk.people().get(args.name)
            if person is None:
                raise DeskError(f"nobody at this desk is called {args.name}")
            password = read_password(args.name, args.new_password_file, new=True)
            add_person(desk.folder, args.name, person.roles, password, proposer=signer, why="a new key")
            _say_proposed(args.name)
            return OK
        _after(desk, repository)
    return OK


def _say_proposed(name: str) -> None:
    print(f"{name} waits for a second person with the role root or admin: pending, then approve N --as NAME")
    print("Then: root sign --as NAME")


def _revoke(args: argparse.Namespace) -> int:
    from guardian.desk.people import end_person
    from guardian.desk.repository import Repository
    from guardian.desk.roles import make_delegations, make_root
    from guardian.desk.root_change import make_circle, thresholds_of

    desk = open_desk(args)
    repository = Repository(Path(desk.folder))
    signer = sign_in(args, desk)
    with repository.locked():
        people = desk.people()
        if args.name not in people:
            raise DeskError(f"nobody at this desk is called {args.name}")
        rest = {name: person for name, person in people.items() if name != args.name}
        root = repository.root()
        thresholds = thresholds_of(root.signed if root else None)
        circle = make_circle(repository.folder, rest)
        make_root(circle, thresholds, time.time())  # too few people are told before anything has changed
        make_delegations(circle, thresholds, list(desk.lists()))
        end_person(desk.folder, signer, args.name, args.why or "the key counts no more")
        print(
            f"{args.name} can't approve or sign at this desk any more. Routers believe the key until the next release."
        )
        _after(desk, repository)
    return OK


def _add_person(args: argparse.Namespace) -> int:
    from guardian.desk.people import add_person
    from guardian.desk.repository import Repository

    desk = open_desk(args)
    repository = Repository(Path(desk.folder))
    signer: Signer = sign_in(args, desk)
    roles = [role.strip() for role in args.roles.split(",") if role.strip()]
    with repository.locked():
        password = read_password(args.name, args.new_password_file, new=True)
        add_person(desk.folder, args.name, roles, password, proposer=signer, why=args.why)
        if args.name not in desk.people():
            _say_proposed(args.name)
            return OK
        _after(desk, repository)
    return OK


_RUNS = {"root": _root, "rotate": _rotate, "revoke": _revoke, "add-person": _add_person}
