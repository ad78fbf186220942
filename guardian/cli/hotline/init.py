"""Make a desk: its people and their keys, its lists, the root of trust, and a first, empty release.

Everybody sits at one table once. Each person types a password for the own key (or reads it from a file). At the end the
command says who keeps what where, and what ISPs put on routers.

examples:
  guardian hotline init /srv/desk --name "Hotline of Example" --root ana,ion,maria,vasile,elena \\
      --list ana,ion,maria --bulk vasile,elena --lists csam-md
  guardian hotline init /tmp/desk --trial --name "A trial" --password-file ana=a.txt --password-file ion=i.txt \\
      --password-file maria=m.txt
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from guardian.cli.hotline.at_desk import read_password
from guardian.cli.hotline.progress import KeyProgress
from guardian.desk.founding import FULL_ROOT, Plan, check_plan, found_desk
from guardian.desk.repository import DEFAULT_BUILD, Repository
from guardian.desk.roles import FULL, TRIAL
from guardian.desk.settings import FILE
from guardian.errors import DeskError
from guardian.feed import Text

OK = 0
_TITLE = Text(en="The hotline's list", ro="Lista liniei de raportare", ru="Список горячей линии")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian hotline init`."""
    parser.add_argument("folder", metavar="DIR", nargs="?", help="a new folder on an encrypted disk (default: --desk)")
    parser.add_argument("--name", required=True, help="of the hotline, as routers show it")
    parser.add_argument("--root", metavar="A,B,...", help="five people who sign the root of trust; three of them must")
    parser.add_argument("--list", dest="signers", metavar="A,B,...", help="people who sign lists; two of them must")
    parser.add_argument("--bulk", metavar="A,B", help="other people, one of whom agrees with large changes")
    parser.add_argument("--lists", metavar="ID,...", default="csam-md", help="lists to make (default: csam-md)")
    parser.add_argument(
        "--title", metavar="ID=EN|RO|RU", action="append", default=[], help="of a list, in three languages (repeatable)"
    )
    parser.add_argument(
        "--test-name", metavar="NAME", default="", help="a registered, empty name that is always listed"
    )
    parser.add_argument(
        "--password-file", metavar="NAME=FILE", action="append", default=[], help="a person's password (repeatable)"
    )
    parser.add_argument("--trial", action="store_true", help="fewer people, for trying out on one machine")
    parser.add_argument("--log2-n", type=int, default=14, help=argparse.SUPPRESS)  # a cheaper hash, for tests


def run(args: argparse.Namespace) -> int:
    """Run `guardian hotline init`; return the exit code. Raises DeskError."""
    if not (args.folder or args.desk):
        raise DeskError("where? Give a folder: guardian hotline init DIR")
    folder = Path(args.folder or args.desk).absolute()
    plan = _read_plan(args)
    warnings = check_plan(plan, trial=args.trial)
    files = dict(_split(text, "--password-file NAME=FILE") for text in args.password_file)
    now = time.time()
    with KeyProgress() as progress:
        found_desk(folder, plan, lambda name: read_password(name, files.get(name), new=True), now, progress.show)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    _explain(folder, plan, trial=args.trial)
    return OK


def _read_plan(args: argparse.Namespace) -> Plan:
    defaults = ("ana,ion,maria", "ana,ion", "maria") if args.trial else (None, None, None)
    chosen = [given or default for given, default in zip((args.root, args.signers, args.bulk), defaults, strict=True)]
    if None in chosen:
        raise DeskError("who signs? Give --root, --list and --bulk (or --trial)")
    root, signers, bulk = ([name.strip() for name in str(names).split(",") if name.strip()] for names in chosen)
    titles = {list_id.strip(): _TITLE for list_id in args.lists.split(",") if list_id.strip()}
    for text in args.title:
        list_id, title = _split(text, "--title ID=EN|RO|RU")
        parts = title.split("|")
        if len(parts) != 3 or list_id not in titles:
            raise DeskError(
                f"--title {text}: must be a list of --lists, then three texts: csam-md=English|română|русский"
            )
        titles[list_id] = Text(*parts)
    thresholds = FULL if len(root) >= FULL_ROOT else TRIAL
    return Plan(args.name, root, signers, bulk, titles, args.test_name, thresholds, args.log2_n)


def _split(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise DeskError(f"'{text}' is not {form}")
    return name, value


def _explain(folder: Path, plan: Plan, *, trial: bool) -> None:
    public = Repository(folder).public(DEFAULT_BUILD)
    print(f"""
The desk is made: {folder}

Who keeps what
  Everybody takes the own key, {folder}/keys/NAME.pem, to a stick of the own and a second copy to a safe. Then
  the file is deleted here; commands take it with --key FILE. Nobody tells the password to anybody.
  Root of trust: {_names(plan.root)}. {plan.thresholds.root} of them sign, about once a year; offline else.
  Lists: {_names(plan.lists)}. {plan.thresholds.lists} of them sign each publication.
  Large changes: {_names(plan.bulk)}. {plan.thresholds.bulk} of them must agree; they do not make the lists.
  This machine keeps {folder}/online/: it signs, every six hours, that nothing newer exists. Give it to cron:
    17 */6 * * *  guardian hotline --desk {folder} refresh --quiet
  The password of these two keys is a file that '{FILE}' names: best on another disk.
  Back up the whole folder, encrypted, each day. It holds the list in plain text.

When somebody leaves, or a key is lost
  guardian hotline revoke NAME --as WHO      at once; then root sign, publish and sign, as it says
  guardian hotline rotate NAME --as NAME     for a new key
  guardian hotline add-person NAME --roles list --as WHO

What ISPs put on routers
  {public}/metadata/1.root.json   as hotline.root: it is public, but must come from you and not from the web server
  the address of a web server that shows {public}/   as hotline.url
Compare the fingerprint of that file by phone before it goes into firmware:
  {_fingerprint(public / "metadata" / "1.root.json")}

Next: guardian hotline --desk {folder} popular FILE --as NAME, so that popular names are never listed by mistake;
then add or import.""")
    if trial:
        print("This is a trial: keys and passwords of all people are on one machine. Nothing secret belongs here.")


def _names(names: list[str] | tuple[str, ...] | object) -> str:
    found = [str(name) for name in names] if isinstance(names, (list, tuple)) else [str(names)]
    return ", ".join(found[:-1]) + (" and " if len(found) > 1 else "") + found[-1]


def _fingerprint(path: Path) -> str:
    import hashlib

    digits = hashlib.sha256(path.read_bytes()).hexdigest()
    return " ".join(digits[place : place + 4] for place in range(0, 64, 4))
