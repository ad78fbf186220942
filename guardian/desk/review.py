"""Four eyes: one person proposes, a second one approves or rejects. `fold` has the rules of who may do what.

Both are checked against the refusals: the author's proposal, and the approval again, for the author's program may have
been another one, and what is popular or listed may have changed since.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import msgspec

from guardian import __version__
from guardian.desk.books import Proposal, TableBook
from guardian.desk.entries import Target
from guardian.desk.fold import Body, Minimum, NewPerson, check_approver, read_body
from guardian.desk.journal import Signer, encode_canonical, load_body, store_body
from guardian.desk.refusals import Refusal, Rules, ask_popular, judge_classes, judge_facts, load_rules, make_printable
from guardian.desk.store import Desk, act
from guardian.errors import DeskError
from guardian.versions import is_older, is_version

_MOST_TOLD = 10


def propose(
    desk: Desk,
    signer: Signer,
    kind: str,
    list_id: str,
    body: Body,
    why: str,
    now: float | None = None,
    *,
    override: str = "",
) -> int:
    """Write down a change that waits for a second person; return the number of the proposal.

    `kind` is add, suspend, resume, remove or renew. With an `override` what may be overridden stands for a day. Raises
    DeskError with what is refused.
    """
    moment = time.time() if now is None else now
    with desk.changing() as connection:
        rules = load_rules(desk.folder, ask_popular(connection))
        refused = find_refusals(connection, rules, list_id, body, moment)
        hard = [it for it in refused if not (it.can_override and override)]
        if hard:
            raise DeskError(tell_refusals(hard))
        if override and not refused and kind != "renew":
            raise DeskError("nothing here is refused: propose it without --override, and it can stand for longer")
        if override:
            body = mark_overridden(body, {it.value for it in refused}, override)
        return write_proposal(connection, signer, kind, list_id, body, why, moment, override)


def write_proposal(
    connection: sqlite3.Connection,
    signer: Signer,
    kind: str,
    list_id: str,
    body: Body,
    why: str,
    now: float,
    override: str = "",
) -> int:
    """Write down a proposal that was looked at already, within a transaction; return its number. Raises DeskError."""
    data: dict[str, Any] = msgspec.to_builtins(body)
    digest = store_body(connection, encode_canonical(data))
    number = TableBook(connection).last_proposal() + 1
    details = {
        "proposal": number,
        "kind": kind,
        "list": list_id,
        "why": why,
        "body": digest,
        "changes": body.count(),
        "override": override if body.list_overrides() else "",
    }
    act(connection, signer, "propose", details, now)
    return number


def propose_person(connection: sqlite3.Connection, signer: Signer, new: NewPerson, why: str, now: float) -> int:
    """Propose that somebody may work here; return the number of the proposal. Raises DeskError."""
    return write_proposal(connection, signer, "person", "", Body(person=new), why, now)


def propose_minimum(desk: Desk, signer: Signer, version: str, why: str, now: float | None = None) -> int:
    """Propose which version of Guardian routers are asked to have; "" = any. Return the number of the proposal.

    Raises DeskError for what is no version, is asked for already, or is newer than this desk's own: then nobody has it.
    """
    if version and not is_version(version):
        raise DeskError(f"'{make_printable(version[:40])}' is no version: one to four numbers with dots, like 1.2")
    if is_older(__version__, version):
        raise DeskError(
            f"this desk runs Guardian {__version__} itself: update it before routers are asked for {version}"
        )
    moment = time.time() if now is None else now
    with desk.changing() as connection:
        if TableBook(connection).minimum() == version:
            raise DeskError(f"routers are asked for {version or 'no version'} already")
        return write_proposal(connection, signer, "minimum", "", Body(minimum=Minimum(version)), why, moment)


def load_proposal(connection: sqlite3.Connection, number: int) -> tuple[Proposal, Body]:
    """Return a proposal and what it would change. Raises DeskError."""
    proposal = TableBook(connection).proposal(number)
    if proposal is None:
        raise DeskError(f"there is no proposal {number}; 'guardian hotline pending' lists them")
    return proposal, read_body(load_body(connection, proposal.body))


def approve(desk: Desk, signer: Signer, number: int, now: float | None = None, *, override: str = "") -> Proposal:
    """Approve a proposal as the second person; return it as it is then.

    It takes effect at once, and routers learn of it by the next publishing. What overrides a refusal needs the second
    person's own `override`. Raises DeskError.
    """
    moment = time.time() if now is None else now
    with desk.changing() as connection:
        proposal, body = load_proposal(connection, number)
        check_approver(TableBook(connection), signer.name, proposal, override, body)
        if body.add:
            rules = load_rules(desk.folder, ask_popular(connection))
            refused = find_refusals(connection, rules, proposal.list_id, body, moment)
            overridden = {value for part in body.add if part.facts.override for _, value in part.targets}
            hard = [it for it in refused if not (it.can_override and it.value in overridden)]
            if hard:
                raise DeskError(f"proposal {number} holds what is refused:\n{tell_refusals(hard)}")
        act(connection, signer, "approve", {"proposal": number, "body": proposal.body, "override": override}, moment)
        return load_proposal(connection, number)[0]


def reject(desk: Desk, signer: Signer, number: int, why: str, now: float | None = None) -> Proposal:
    """Reject a proposal, or take back one's own; return it as it is then. Raises DeskError."""
    with desk.changing() as connection:
        moment = time.time() if now is None else now
        act(connection, signer, "reject", {"proposal": number, "why": why}, moment)
        return load_proposal(connection, number)[0]


def find_refusals(connection: sqlite3.Connection, rules: Rules, list_id: str, body: Body, now: float) -> list[Refusal]:
    """Return what is refused of the entries that a body adds."""
    found = judge_classes(connection, list_id, [part.facts for part in body.add]) if body.add else []
    book = TableBook(connection)
    seen: set[str] = set()
    for part in body.add:
        found += judge_facts(part.facts, now)
        for scope, value in part.targets:
            target = Target(scope, value)
            found += rules.judge(target)
            if target.key in seen or book.has_target(list_id, target.key):
                found.append(Refusal(0, value, "duplicate", "it is on the list already", "renew the entry there is"))
            seen.add(target.key)
    return found


def mark_overridden(body: Body, values: set[str], override: str) -> Body:
    """Return a body in which the entries with these values, and all renewed ones, carry the override."""
    added = []
    for part in body.add:
        marked = [target for target in part.targets if target[1] in values]
        plain = [target for target in part.targets if target[1] not in values]
        facts = msgspec.structs.replace(part.facts, override=override)
        added += [msgspec.structs.replace(part, targets=plain)] if plain else []
        added += [msgspec.structs.replace(part, facts=facts, targets=marked)] if marked else []
    renewed = [msgspec.structs.replace(part, override=override) for part in body.renew]
    return msgspec.structs.replace(body, add=added, renew=renewed)


def tell_refusals(refused: list[Refusal]) -> str:
    """Return refusals as lines, the first ten."""
    lines = [str(it) for it in refused[:_MOST_TOLD]]
    if len(refused) > _MOST_TOLD:
        lines.append(f"... and {len(refused) - _MOST_TOLD} more")
    return "\n".join(lines)
