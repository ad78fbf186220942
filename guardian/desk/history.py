"""What happened to one entry: who proposed and who approved, from the journal's proposals."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from guardian.desk.books import Proposal
from guardian.desk.entries import Entry, make_key
from guardian.desk.fold import Body, read_body
from guardian.desk.journal import load_body


class Step(NamedTuple):
    """One thing that happened to an entry. `at` is in epoch seconds."""

    at: int
    kind: str
    author: str
    approver: str
    why: str
    proposal: int


def find_history(connection: sqlite3.Connection, entry: Entry) -> list[Step]:
    """Return what happened to an entry, in order. Raises DeskError when a proposal's body is missing or changed."""
    steps = []
    for row in connection.execute(
        "SELECT * FROM proposals WHERE status = 'approved' AND list_id = ? ORDER BY decided_at, id", (entry.list_id,)
    ):
        proposal = Proposal(*row)
        if proposal.decided_at < entry.listed:
            continue
        kind = _find_kind(read_body(load_body(connection, proposal.body)), entry, proposal)
        if kind:
            steps.append(
                Step(proposal.decided_at, kind, proposal.author, proposal.decided_by, proposal.why, proposal.id)
            )
    return steps


def _find_kind(body: Body, entry: Entry, proposal: Proposal) -> str:
    for kind, parts in (("suspend", body.suspend), ("resume", body.resume), ("remove", body.remove)):
        if any(entry.id in part.ids for part in parts):
            return kind
    if any(entry.id in part.ids for part in body.renew):
        return "renew"
    if proposal.decided_at == entry.listed and (proposal.author, proposal.decided_by) == entry.reviewers:
        key = make_key(entry.scope, entry.value)
        if any(make_key(scope, value) == key for part in body.add for scope, value in part.targets):
            return "add"
    return ""
