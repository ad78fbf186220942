"""The hotline's desk: entries that two people agree on, published as signed lists, and reports from homes.

The desk is a folder: --desk DIR in front of or behind the command, else $GUARDIAN_DESK. Who acts says so with --as NAME
and gives the password of the own key: it is asked for, or read from --password-file FILE; never on the command line.
"""

from __future__ import annotations

import argparse
import importlib
import os
from typing import NamedTuple

from guardian.cli import OK, USAGE, Parser


class Command(NamedTuple):
    """A command: the module that has `add_arguments(parser)` and `run(args) -> int`, and what it does in a line."""

    module: str
    brief: str


# A module that serves several commands finds which one in `parser.get_default("command")` and `args.command`.
COMMANDS = {
    "init": Command("init", "make a desk: its people, their keys, its lists"),
    "add": Command("entries", "propose an entry"),
    "import": Command("importing", "look through a file of entries (CSV, names, RPZ), and propose them"),
    "suspend": Command("entries", "propose to stop a block at once, while it is looked into"),
    "resume": Command("entries", "propose to end a suspension"),
    "remove": Command("entries", "propose to take entries off the list"),
    "renew": Command("entries", "propose a new end for entries that somebody verified again"),
    "pending": Command("deciding", "what waits for a second person"),
    "approve": Command("deciding", "agree with a proposal, as the second person"),
    "reject": Command("deciding", "refuse a proposal, or take back one's own"),
    "show": Command("entries", "one entry with its history, or those with a text in them"),
    "list": Command("entries", "the entries of a list"),
    "minimum": Command("minimum", "propose which version of Guardian routers are asked to have"),
    "popular": Command("entries", "take a file of popular names, which are never listed without an override"),
    "journal": Command("journal", "show, verify and export the journal"),
    "people": Command("people", "who works here; new keys, and an end to somebody's access"),
    "publish": Command("publish", "build the lists of what is approved, and sign as the first person"),
    "sign": Command("publish", "sign as the second person, and release"),
    "bulk-consent": Command("publish", "agree with a large change, as one of the other people"),
    "refresh": Command("publish", "sign snapshot and timestamp anew (for cron)"),
    "status": Command("publish", "what was published, and what ends when"),
    "epoch": Command("publish", "begin a new epoch: a new salt"),
    "build": Command("publish", "list and add builds: each ISP has its own salt and canaries"),
    "hint": Command("publish", "send the push hint of the last release again"),
    "serve": Command("publish", "serve the published files, for trying"),
    "root": Command("keys", "sign a new root of trust"),
    "rotate": Command("keys", "give a person a new key in the root of trust"),
    "revoke": Command("keys", "take a person's key out of the root of trust"),
    "add-person": Command("keys", "let a new person in"),
    "reports": Command("reports", "receive, list and export reports of homes"),
    "export-rpz": Command("export", "write a zone for ISPs' own resolvers"),
    "transparency": Command("transparency", "print the public numbers"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments: each command has its own, which `run` reads."""
    width = max(map(len, COMMANDS))
    parser.epilog = "commands:\n" + "\n".join(f"  {name:{width}}  {it.brief}" for name, it in COMMANDS.items())
    _add_desk(parser, os.environ.get("GUARDIAN_DESK", ""))
    parser.add_argument("words", nargs=argparse.PARSER, metavar="COMMAND", help="one of those below, and its arguments")


def run(args: argparse.Namespace) -> int:
    """Run one command of the desk; return the exit code. Raises GuardianError."""
    name, *words = args.words
    command = COMMANDS.get(name)
    top = Parser(prog="guardian hotline", add_help=False)
    if command is None:
        import difflib

        near = difflib.get_close_matches(name[:64], COMMANDS, n=1)
        hint = f", did you mean '{near[0]}'?" if near else f" (commands: {', '.join(COMMANDS)})"
        try:
            top.error(f"unknown command '{name[:64]}'{hint}")
        except SystemExit:
            return USAGE
    module = importlib.import_module(f"guardian.cli.hotline.{command.module}")
    parser = Parser(
        prog=f"guardian hotline {name}",
        description=(module.__doc__ or command.brief).strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=name)
    _add_desk(parser, args.desk)
    module.add_arguments(parser)
    try:
        below = parser.parse_args(words)
    except SystemExit as leave:  # --help, or wrong usage that argparse has explained
        return USAGE if leave.code else OK
    below.config, below.config_given = args.config, args.config_given
    return int(module.run(below))


def _add_desk(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--desk", metavar="DIR", default=default, help="the desk's folder (default: $GUARDIAN_DESK)")
