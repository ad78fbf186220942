"""Publish what two people agreed on.

publish --as NAME       works out the next lists from the approved entries, and signs them as the first person
sign --as NAME          works them out again, shows what changes, signs as the second person, and releases
bulk-consent --as NAME  agrees with a large change, as one of the people who do not make the lists
refresh                 signs anew that nothing newer exists, for cron every six hours; needs no person
status                  what is in force, what waits for whom, what ends when (exit code 1: somebody must act)
epoch show|new          a new salt each quarter; each domain's slow key is then worked out anew, an hour per 100,000
build list|add NAME     an ISP's own build, with its own salt and canary names
hint                    sends the push hint again
serve                   a small web server of the public folder, for trying
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardian.cli import FAILED, OK, paint
from guardian.cli.hotline.at_desk import add_signing, open_desk, print_json, print_table, show_time, sign_in
from guardian.cli.hotline.progress import KeyProgress
from guardian.errors import DeskError
from guardian.feed import SPREAD_SECONDS, bulk_role

if TYPE_CHECKING:
    from guardian.desk.publish import Released, Standing
    from guardian.desk.store import Desk


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command that the frame has chosen."""
    command = parser.get_default("command")
    if command in ("publish", "sign", "bulk-consent"):
        add_signing(parser)
        parser.add_argument("--urgent", action="store_true", help="routers look at once, without a random pause")
        parser.add_argument(
            "--spread", type=int, default=SPREAD_SECONDS, metavar="SECONDS", help="over which routers look (0 to 300)"
        )
        parser.add_argument(
            "--no-hint", action="store_true", help="for web servers elsewhere: copy the files first, then send it: hint"
        )
    if command == "publish":
        parser.add_argument("--renew", action="store_true", help="sign everything anew, even if nothing has changed")
    elif command == "sign":
        parser.add_argument("--yes", action="store_true", help="sign without being asked")
    elif command == "bulk-consent":
        parser.add_argument(
            "--reason", required=True, help="public: why so many entries come at once; no names of sites"
        )
    elif command == "refresh":
        parser.add_argument("--quiet", action="store_true", help="print only what went wrong")
    elif command == "status":
        parser.add_argument("--json", action="store_true", help="print it for programs")
    elif command == "epoch":
        parser.add_argument("what", choices=("show", "new"))
    elif command == "build":
        parser.add_argument("what", choices=("list", "add"))
        parser.add_argument("name", nargs="?", metavar="NAME", help="of the build, such as the ISP's")
        parser.add_argument("--canary-suffix", metavar="SUFFIX", help="make three canary names below it, such as md")
        parser.add_argument(
            "--canary", metavar="NAME", action="append", help="a canary name that you chose (repeatable)"
        )
    elif command == "hint":
        parser.add_argument("--urgent", action="store_true", help="routers look at once")
        parser.add_argument("--spread", type=int, default=SPREAD_SECONDS, metavar="SECONDS", help="0 to 300")
    elif command == "serve":
        parser.add_argument("--listen", default="127.0.0.1:8000", metavar="HOST:PORT")
        parser.add_argument("--quiet", action="store_true", help="no line for each request")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code. Raises GuardianError."""
    return _RUNS[args.command](args)


def _publish(args: argparse.Namespace) -> int:
    from guardian.desk.publish import prepare
    from guardian.desk.repository import Repository

    desk = open_desk(args)
    repository = Repository(Path(desk.folder))
    signer = sign_in(args, desk)
    with repository.locked(), KeyProgress() as progress:
        standing = prepare(repository, desk, signer, time.time(), progress.show, renew=args.renew)
        _show(standing, desk)
        return _go_on(args, desk, standing)


def _sign(args: argparse.Namespace) -> int:
    from guardian.desk.publish import look, sign
    from guardian.desk.repository import Repository

    desk = open_desk(args)
    repository = Repository(Path(desk.folder))
    signer = sign_in(args, desk)
    with repository.locked(), KeyProgress() as progress:
        _show(look(repository, desk, progress.show), desk)
        if not args.yes and sys.stdin.isatty() and input("Is this what you agreed to? Sign it? [y/N] ").lower() != "y":
            print("Nothing was signed.")
            return FAILED
        standing = sign(repository, desk, signer, time.time(), progress.show)
        return _go_on(args, desk, standing)


def _consent(args: argparse.Namespace) -> int:
    from guardian.desk.publish import consent
    from guardian.desk.repository import Repository

    desk = open_desk(args)
    repository = Repository(Path(desk.folder))
    signer = sign_in(args, desk)
    with repository.locked(), KeyProgress() as progress:
        standing = consent(repository, desk, signer, args.reason, time.time(), progress.show)
        _show(standing, desk)
        return _go_on(args, desk, standing)


def _show(standing: Standing, desk: Desk) -> None:
    """What changes, in plain numbers."""
    publication, draft = standing.publication, standing.draft
    print(f"Prepared by {publication.author} at {show_time(publication.created)} UTC")
    for change in draft.changes:
        if change.is_new:
            print(
                f"  {change.list_id}: serial {change.serial}, {change.entries:,} entries ({change.before:,} before); "
                f"{change.added:,} tags come, {change.removed:,} go"
            )
        else:
            print(f"  {change.list_id}: stays at serial {change.serial}, {change.entries:,} entries")
        if change.not_enforceable:
            print(
                f"    {change.not_enforceable:,} are pages served over HTTPS: no router can tell them from their site"
            )
        if change.merged_classes:
            print(f"    {change.merged_classes:,} kinds of order lost their reference: a list has at most 255 kinds")
        if change.consent_reason:
            print(f"    consent of other people is needed: {change.consent_reason}")
    for name, build in draft.builds.items():
        if build.base_reason:
            print(f"  build {name}: a new base, because {build.base_reason}")
    for line in draft.key_changes:
        print(paint(f"  keys: {line}", "yellow"))
    for line in draft.notices:
        print(paint(f"  notice: {line}", "yellow"))
    print(
        f"  to be signed: {', '.join(draft.required)}; digest {draft.digest[:16]}; journal {publication.journal[:16]}"
    )


def _go_on(args: argparse.Namespace, desk: Desk, standing: Standing) -> int:
    """Release what is signed by enough people, else say who is asked next. The repository is locked."""
    from guardian.desk.online import load_password, unlock
    from guardian.desk.publish import release
    from guardian.desk.repository import Repository
    from guardian.desk.settings import load_settings

    if not standing.is_ready:
        _show_needs(standing, desk)
        return OK
    folder = Path(desk.folder)
    settings = load_settings(folder)
    released = release(Repository(folder), standing, unlock(folder, load_password(folder, settings)), time.time())
    _show_release(released, folder)
    return OK if args.no_hint else _hint(args, desk, released.timestamp)


def _show_needs(standing: Standing, desk: Desk) -> None:
    from guardian.desk.roles import key_id

    names = {key_id(person.public_key): name for name, person in desk.people().items()}
    for list_id in standing.waits_for_consent:
        print(f"{list_id} waits for bulk-consent --as NAME, by one of the people who agree with large changes")
    for role, count in standing.needs:
        signed = sorted(names.get(key, key[:8]) for key in count.signed)
        free = sorted(names.get(key, key[:8]) for key in count.possible - count.signed)
        waits = any(role == bulk_role(list_id) for list_id in standing.waits_for_consent)
        print(
            f"{role}: signed by {', '.join(signed) or 'nobody'}; {count.needed - len(count.signed)} more of "
            f"{', '.join(free)}: {'bulk-consent' if waits else 'sign'} --as NAME"
        )


def _show_release(released: Released, folder: Path) -> None:
    builds = ", ".join(released.builds)
    print(paint(f"Released: version {released.timestamp}, root {released.root}, builds {builds}.", "green"))
    print(f"Copy {folder}/public/ to the web server: targets/ first, then metadata/, timestamp.json last.")


def _hint(args: argparse.Namespace, desk: Desk, version: int) -> int:
    from guardian.desk.hints import send_hint
    from guardian.desk.settings import load_settings
    from guardian.feed import Hint

    folder = Path(desk.folder)
    push = load_settings(folder).push
    if push.broker is None:
        return OK
    if not 0 <= args.spread <= SPREAD_SECONDS:
        raise DeskError(f"--spread {args.spread}: 0 to {SPREAD_SECONDS} seconds")
    try:
        send_hint(folder, push, Hint(version=version, urgent=args.urgent, spread=args.spread))
    except DeskError as error:
        print(f"guardian hotline: the release is in force, but the hint was not sent: {error}", file=sys.stderr)
        return FAILED
    print(f"Hint sent to {push.broker}, topic {push.topic}.")
    return OK


def _send_hint(args: argparse.Namespace) -> int:
    from guardian.desk.repository import Repository
    from guardian.desk.settings import load_settings

    desk = open_desk(args)
    repository = Repository(Path(desk.folder))
    states = [repository.state(build) for build in repository.builds()]
    versions = [state.timestamp.signed.version for state in states if state]
    if not versions:
        raise DeskError("nothing has been released yet")
    if load_settings(Path(desk.folder)).push.broker is None:
        raise DeskError("no broker is set: 'push' in desk.yaml names one")
    return _hint(args, desk, max(versions))


def _refresh(args: argparse.Namespace) -> int:
    from guardian.desk.online import load_password, unlock
    from guardian.desk.publish import release
    from guardian.desk.repository import Repository
    from guardian.desk.settings import load_settings

    desk = open_desk(args)
    folder = Path(desk.folder)
    repository = Repository(folder)
    keys = unlock(folder, load_password(folder, load_settings(folder)))
    with repository.locked():
        released = release(repository, None, keys, time.time())
    if not args.quiet:
        _show_release(released, folder)
    return OK


def _status(args: argparse.Namespace) -> int:
    from guardian.desk.expiry import list_ends
    from guardian.desk.publish import load_publication
    from guardian.desk.repository import Repository
    from guardian.desk.root_change import load_change

    desk = open_desk(args)
    repository = Repository(Path(desk.folder))
    now = time.time()
    with repository.locked():
        ends = list_ends(repository)
        publication, change = load_publication(repository), load_change(repository)
        found = [_describe_build(repository, build) for build in repository.builds()]
    due = [end for end in ends if end.is_due(now)]
    if args.json:
        print_json(
            {
                "builds": found,
                "ends": [
                    {"role": end.role, "version": end.version, "ends": end.ends, "due": end in due} for end in ends
                ],
                "waiting": {"publication": publication.author if publication else None, "root": bool(change)},
            }
        )
        return FAILED if due else OK
    for build in found:
        lists = ", ".join(f"{name} serial {serial}" for name, serial in build["lists"].items())
        print(f"build {build['build']}: epoch {build['epoch']}, version {build['version']}; {lists}")
    print_table(
        ("role", "version", "ends (UTC)", "", "what to do"),
        [
            (end.role, end.version, show_time(end.ends), end.say_left(now), end.advice if end in due else "")
            for end in ends
        ],
    )
    if publication:
        print(f"A publication of {publication.author} ({show_time(publication.created)} UTC) waits: sign --as NAME")
    if change:
        missing = max(0, change.by_old.needed - len(change.by_old.signed))
        print(f"Root {change.metadata.signed.version} waits for {missing} more signatures: root sign --as NAME")
    return FAILED if due else OK


def _describe_build(repository: Any, build: str) -> dict[str, Any]:
    from guardian.desk.builds import load_builds
    from guardian.feed import ListIndex, decode, index_path

    state = repository.state(build)
    lists = {}
    for role, metadata in state.delegated.items():
        if not role.endswith("-bulk"):
            path = index_path(role)
            lists[role] = decode(repository.read_target(build, metadata, path), ListIndex, path).serial
    return {
        "build": build,
        "version": state.timestamp.signed.version,
        "epoch": load_builds(repository.folder)[build].epoch.name,
        "lists": lists,
    }


def _epoch(args: argparse.Namespace) -> int:
    from guardian.desk.builds import begin_epoch, encode_build, load_builds, place_of
    from guardian.desk.repository import Repository, write_file

    desk = open_desk(args)
    repository = Repository(Path(desk.folder))
    with repository.locked():
        for build in load_builds(repository.folder).values():
            begun = begin_epoch(build, time.time()) if args.what == "new" else build
            if begun != build:
                write_file(repository.folder / place_of(build.name), encode_build(begun))
            coming = f"; {begun.coming.name} begins with the next publication" if begun.coming else ""
            print(f"build {begun.name}: epoch {begun.epoch.name}{coming}")
    if args.what == "new":
        print("Now: publish --as NAME. All slow keys are worked out anew: an hour per 100,000 domains on two cores.")
    return OK


def _build(args: argparse.Namespace) -> int:
    from guardian.desk.builds import (
        check_canaries,
        encode_build,
        load_builds,
        make_bare_base,
        make_build,
        make_canaries,
        place_of,
    )
    from guardian.desk.repository import Repository, write_file
    from guardian.desk.settings import load_settings, load_suffix_rules

    desk = open_desk(args)
    repository = Repository(Path(desk.folder))
    builds = load_builds(repository.folder)
    if args.what == "list":
        released = set(repository.builds())
        rows = [
            (name, build.epoch.name, len(build.canaries), "yes" if name in released else "with the next publication")
            for name, build in builds.items()
        ]
        print_table(("build", "epoch", "canaries", "released"), rows)
        return OK
    if not args.name:
        raise DeskError("which? build add NAME")
    if args.name in builds:
        raise DeskError(f"there is a build called {args.name} already")
    if bool(args.canary_suffix) == bool(args.canary):
        raise DeskError(
            "canary names tell from which build a list leaked: give --canary-suffix md, or three --canary NAME"
        )
    folder = repository.folder
    log2_n = next(iter(builds.values())).log2_n
    build = make_build(args.name, time.time(), log2_n)
    bare = make_bare_base(build.epoch, build.cost, load_suffix_rules(folder, load_settings(folder)))
    names = make_canaries(args.canary_suffix, bare) if args.canary_suffix else check_canaries(args.canary, bare)
    build.canaries.extend(names)
    with repository.locked():
        write_file(folder / place_of(build.name), encode_build(build))
    print(f"Build {build.name} is made; its routers get {repository.public(build.name)}/ after the next publication.")
    print(f"Canary names, which nobody else may know: {', '.join(names)}")
    print("Register them, and leave them empty: who asks for one has read this build's list.")
    return OK


def _serve(args: argparse.Namespace) -> int:
    from guardian.config.text import read_endpoint
    from guardian.desk.serving import make_server

    desk = open_desk(args)
    endpoint = read_endpoint(8000)(args.listen)
    server = make_server(Path(desk.folder) / "public", endpoint.host, endpoint.port, quiet=args.quiet)
    host, port = server.server_address[:2]
    print(f"Serving the public folder at http://{host!s}:{port}/default/ (for trying; stop it with Ctrl-C)", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()
    return OK


_RUNS = {
    "publish": _publish,
    "sign": _sign,
    "bulk-consent": _consent,
    "refresh": _refresh,
    "status": _status,
    "epoch": _epoch,
    "build": _build,
    "hint": _send_hint,
    "serve": _serve,
}
