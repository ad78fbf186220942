"""Which version of Guardian routers are asked to have at least. They say so to parents and to their provider's support,
and do nothing else: lists come to older ones all the same, and updates come by the provider's images and packages.

  guardian hotline minimum                                          what is asked for now
  guardian hotline minimum 0.2 --why 'older ones miss pages' --as ion      proposes it; a second person approves
  guardian hotline minimum any --why 'all have it' --as ion                takes it back
"""

from __future__ import annotations

import argparse

from guardian.cli.hotline.at_desk import add_signing, open_desk, sign_in
from guardian.errors import DeskError

ANY = "any"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("version", nargs="?", metavar="VERSION", help="like 0.2; 'any' takes it back")
    parser.add_argument("--why", default="", metavar="TEXT", help="for the second person and the journal")
    add_signing(parser, required=False)


def run(args: argparse.Namespace) -> int:
    """Do what the command says; return the exit code. Raises GuardianError."""
    from guardian.desk.review import propose_minimum

    desk = open_desk(args)
    if args.version is None:
        print(f"routers are asked for Guardian {desk.minimum_version() or 'of any version'}")
        return 0
    if not args.person or not args.why:
        raise DeskError("who proposes it, and why? Give --as NAME and --why TEXT")
    version = "" if args.version == ANY else args.version
    number = propose_minimum(desk, sign_in(args, desk), version, args.why)
    print(f"proposal {number}: Guardian {version or 'of any version'}; nothing has changed yet")
    print(f"next: a second person runs 'guardian hotline approve {number} --as NAME'")
    return 0
