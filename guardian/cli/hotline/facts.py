"""The arguments that say what holds for entries: who blocks by which law, until when, what people read."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from guardian.errors import DeskError

if TYPE_CHECKING:
    from guardian.desk.entries import Facts
    from guardian.desk.store import Desk

_LANGUAGES = ("ro", "ru")


def add_facts(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to a parser."""
    group = parser.add_argument_group("what holds for the entries")
    group.add_argument("--like", type=int, metavar="ID", help="all of this as entry ID has it, but for what is given")
    group.add_argument("--legal-basis", choices=("law_order", "court", "voluntary"), help="why it is blocked")
    group.add_argument(
        "--severity", choices=("baseline", "national"), help="baseline: illegal everywhere (default: national)"
    )
    group.add_argument("--authority", metavar="TEXT", help="who blocks, as people read it (English)")
    group.add_argument(
        "--order-ref", metavar="TEXT", help="the law or order; public, so never a case number of a person"
    )
    group.add_argument("--message", metavar="TEXT", help="what the block page says besides (English)")
    for language in _LANGUAGES:
        group.add_argument(f"--authority-{language}", metavar="TEXT", help=f"the same in '{language}'")
        group.add_argument(f"--message-{language}", metavar="TEXT", help=f"the same in '{language}'")
    group.add_argument("--appeal", metavar="TEXT", help="where an owner of a site complains")
    group.add_argument(
        "--licence-class", choices=("public", "hashed_ok", "isp_only"),
        help="hashed_ok (default): leaves as tags only; isp_only: in zones of ISPs only",
    )  # fmt: skip
    group.add_argument(
        "--days", type=int, metavar="N", help="how long it stands without being verified anew (default: 14)"
    )
    group.add_argument("--verified", metavar="DATE", help="when somebody looked last (default: now)")


def read_facts(args: argparse.Namespace, desk: Desk, now: float, source: str = "") -> Facts:
    """Return what the arguments say. Raises DeskError for what is missing."""
    import msgspec

    from guardian.desk.entries import DAY, DEFAULT_DAYS, Facts
    from guardian.feed import Text

    like = None
    if args.like is not None:
        like = desk.entry(args.like)
        if like is None:
            raise DeskError(f"--like {args.like}: there is no such entry")
    if like is None and not args.legal_basis:
        raise DeskError("no legal basis: give --legal-basis (law_order, court, voluntary), or --like ID")
    if like is None and not args.authority:
        raise DeskError("nobody is named who blocks: give --authority, or --like ID")
    verified = read_date(args.verified) if args.verified else int(now)
    days = DEFAULT_DAYS if args.days is None else args.days

    def text(name: str, before: Text | None) -> Text | None:
        english = getattr(args, name)
        others = {language: getattr(args, f"{name}_{language}") for language in _LANGUAGES}
        if english is None and before is None:
            if any(others.values()):
                raise DeskError(f"--{name} is missing beside --{name}-ro and --{name}-ru")
            return None
        base = Text(english, english, english) if english is not None else before
        assert base is not None
        return msgspec.structs.replace(base, **{language: given for language, given in others.items() if given})

    plain = {
        "severity": args.severity or (like.severity if like else "national"),
        "legal_basis": args.legal_basis or (like.legal_basis if like else ""),
        "authority": msgspec.to_builtins(text("authority", like.authority if like else None)),
        "message": msgspec.to_builtins(text("message", like.message if like else None)),
        "order_ref": args.order_ref if args.order_ref is not None else like.order_ref if like else "",
        "appeal": args.appeal if args.appeal is not None else like.appeal if like else "",
        "licence_class": args.licence_class or (like.licence_class if like else "hashed_ok"),
        "verified": verified,
        "expires": max(0, verified + days * DAY),
        "source": source,
    }
    try:
        return msgspec.convert(plain, Facts)
    except msgspec.ValidationError as error:
        raise DeskError(f"what was given of the entries can't stand: {error}") from None


def read_date(text: str) -> int:
    """Return the epoch seconds of a date such as 2026-05-01. Raises DeskError."""
    from guardian.desk.importing import read_moment

    try:
        return read_moment(text)
    except ValueError:
        raise DeskError(f"'{text[:40]}' is no date like 2026-05-01 or 2026-05-01T10:30") from None
