"""What a line of the journal does: the rules of four eyes, in one place.

The desk applies a line to its tables (`TableBook`) when it is written; `journal verify` applies all of them to an empty
`MemoryBook` and compares. So nothing can be in the tables by a way that the rules do not know. Every function raises
DeskError when a rule forbids the line.

Who may do what. Proposing needs the role list or analyst, approving too, and always another person than the author.
A suspension ends a block that may be wrong, so it must be quick: anybody who works at the desk may propose it and any
second person on duty may approve it. It still takes two: routers take a list with two signatures only, and one person
who could take entries off alone could empty the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from guardian.desk.books import Book, Person, Proposal
from guardian.desk.entries import DAY, MOST_DAYS, OVERRIDE_SECONDS, Entry, Facts, Scope, Second, make_key, read_target
from guardian.desk.journal import CLOCK, Line, check_person
from guardian.errors import DeskError
from guardian.feed import Line as ShortText
from guardian.feed import Text, Word
from guardian.versions import is_version

ROLES = ("root", "list", "bulk", "analyst", "admin")
REVIEWERS = frozenset({"list", "analyst"})
KEEPERS = frozenset({"root", "admin"})  # who may let people in, and end their access
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
Kind = Literal["add", "import", "suspend", "resume", "remove", "renew", "person", "minimum"]
_OF_NO_LIST = frozenset({"person", "minimum"})
Hex32 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Hex64 = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}$(?!\n)")]
Reason = Annotated[str, Meta(min_length=1, max_length=300)]
Id = Annotated[int, Meta(ge=1, le=1 << 40)]
Detail = TypeVar("Detail", bound=Struct)


class Added(Struct, frozen=True, forbid_unknown_fields=True):
    """New entries with the same facts: scope and value of each."""

    facts: Facts
    targets: list[tuple[Scope, str]]


class Renewed(Struct, frozen=True, forbid_unknown_fields=True):
    """Entries that somebody verified anew."""

    ids: list[Id]
    verified: Second
    expires: Second
    override: ShortText = ""


class Ended(Struct, frozen=True, forbid_unknown_fields=True):
    """Entries that are suspended, resumed or removed."""

    ids: list[Id]
    why: Reason


class NewPerson(Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants to work at the desk, with the proof of the key."""

    name: str
    roles: list[str]
    public_key: Hex32
    proof: Hex64

    def describe(self) -> dict[str, Any]:
        """Return what the proof is over."""
        return {"name": self.name, "roles": self.roles, "public_key": self.public_key}


class Minimum(Struct, frozen=True, forbid_unknown_fields=True):
    """Which version of Guardian routers are asked to have at least; "" = any. They show it, and do nothing else."""

    version: Annotated[str, Meta(max_length=23)]


class Body(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a proposal would change."""

    add: list[Added] = []
    renew: list[Renewed] = []
    suspend: list[Ended] = []
    resume: list[Ended] = []
    remove: list[Ended] = []
    person: NewPerson | None = None
    minimum: Minimum | None = None

    def count(self) -> int:
        """Return how many entries (or people, or the one version) it is about."""
        parts = [part.ids for part in self.renew]
        parts += [part.ids for part in (*self.suspend, *self.resume, *self.remove)]
        others = (self.person is not None) + (self.minimum is not None)
        return sum(len(part.targets) for part in self.add) + sum(map(len, parts)) + others

    def list_overrides(self) -> bool:
        """Tell whether it needs the second person's own override."""
        return any(part.facts.override for part in self.add) or any(part.override for part in self.renew)


class _ListDetails(Struct, forbid_unknown_fields=True):
    list: Word
    title: Text


class _ProposalDetails(Struct, forbid_unknown_fields=True):
    proposal: Id
    kind: Kind
    list: str
    why: Reason
    body: Hex32
    changes: Id
    override: ShortText


class _ApprovalDetails(Struct, forbid_unknown_fields=True):
    proposal: Id
    body: Hex32
    override: ShortText


class _RejectionDetails(Struct, forbid_unknown_fields=True):
    proposal: Id
    why: Reason


class _EndDetails(Struct, forbid_unknown_fields=True):
    name: str
    why: Reason


class _ClockDetails(Struct, forbid_unknown_fields=True):
    why: Reason


class _NoteDetails(Struct):
    what: Word


def apply_line(book: Book, line: Line, load: Callable[[str], bytes]) -> None:
    """Change the book as a line says. `load` returns a body by its hash. The line's signature is checked elsewhere."""
    act = _ACTS.get(line.kind)
    if act is None:
        raise DeskError(f"nobody knows what '{line.kind}' is")
    act(book, line, load)


def find_key(book: Book, line: Line) -> bytes:
    """Return the public key that must have signed a line. Raises DeskError when nobody may have."""
    if line.kind == "person":
        return bytes.fromhex(_read(line, NewPerson).public_key)
    return _require_person(book, line.person).public_key


def is_set_up(book: Book) -> bool:
    """Tell whether work has begun: from the first proposal on, letting somebody in takes two others."""
    return book.last_proposal() > 0


def read_body(data: bytes) -> Body:
    """Return a body. Raises DeskError."""
    try:
        return msgspec.json.decode(data, type=Body)
    except msgspec.MsgspecError as error:
        raise DeskError(f"the body of a proposal is not one: {error}") from None


def check_proposer(book: Book, name: str, kind: str) -> None:
    """Raise DeskError when a person may not propose this."""
    person = _require_person(book, name)
    allowed = KEEPERS if kind == "person" else frozenset(ROLES) if kind == "suspend" else REVIEWERS
    if not person.roles & allowed:
        raise DeskError(f"{name} may not propose this: it needs the role {' or '.join(sorted(allowed))}")


def check_approver(book: Book, name: str, proposal: Proposal, override: str, body: Body) -> None:
    """Raise DeskError when a person may not approve this proposal, or not in this way."""
    person = _require_person(book, name)
    if proposal.status != "open":
        raise DeskError(f"proposal {proposal.id} is {proposal.status} already, by {proposal.decided_by}")
    if name == proposal.author:
        raise DeskError(f"{name} made proposal {proposal.id}: a second person must look at it")
    author = book.person(proposal.author)
    if author is None or author.until is not None:
        raise DeskError(f"{proposal.author}, who made proposal {proposal.id}, has left: reject it and propose it anew")
    allowed = KEEPERS if proposal.kind == "person" else frozenset(ROLES) if proposal.kind == "suspend" else REVIEWERS
    if not person.roles & allowed:
        raise DeskError(f"{name} may not approve this: it needs the role {' or '.join(sorted(allowed))}")
    if body.list_overrides() and not override:
        raise DeskError(
            f"proposal {proposal.id} overrides a refusal ({proposal.override}): "
            "approve it with your own --override REASON, or reject it"
        )


def _read(line: Line, shape: type[Detail]) -> Detail:
    try:
        return msgspec.convert(line.details, shape)
    except msgspec.ValidationError as error:
        raise DeskError(f"the details of '{line.kind}' are wrong: {error}") from None


def _require_person(book: Book, name: str) -> Person:
    person = book.person(name)
    if person is None:
        raise DeskError(f"nobody at this desk is called '{name[:40]}'")
    if person.until is not None:
        raise DeskError(f"{name} does not work at this desk any more")
    return person


def _require_proposal(book: Book, id_: int) -> Proposal:
    proposal = book.proposal(id_)
    if proposal is None:
        raise DeskError(f"there is no proposal {id_}; 'guardian hotline pending' lists them")
    return proposal


def _admit(book: Book, new: NewPerson, at: int) -> None:
    if not NAME.fullmatch(new.name):
        raise DeskError(f"'{new.name[:40]}' is not a name here: 1 to 31 small letters, digits and -, like ana or ion-b")
    if not new.roles or set(new.roles) - set(ROLES) or sorted(set(new.roles)) != new.roles:
        raise DeskError(f"the roles of {new.name} are some of {', '.join(ROLES)}, each once and in order")
    check_person(new.describe(), new.proof)
    known = book.person(new.name)
    if book.has_key(bytes.fromhex(new.public_key)):
        raise DeskError(f"the key of {new.name} is known here already: each person has a key of their own")
    since = known.since if known is not None and known.until is None else at
    book.put_person(Person(new.name, frozenset(new.roles), bytes.fromhex(new.public_key), since))


def _add_person(book: Book, line: Line, load: Callable[[str], bytes]) -> None:
    new = _read(line, NewPerson)
    if is_set_up(book):
        raise DeskError("this desk works already: two others must let a new person in")
    if line.person != new.name or book.person(new.name) is not None:
        raise DeskError(f"{new.name} is here already, or did not sign this")
    _admit(book, new, line.at)


def _rotate_key(book: Book, line: Line, load: Callable[[str], bytes]) -> None:
    """Somebody vouches with the old key for the new one."""
    new = _read(line, NewPerson)
    person = _require_person(book, line.person)
    if new.name != line.person or frozenset(new.roles) != person.roles:
        raise DeskError("a person changes the own key, and nothing else")
    _admit(book, new, line.at)


def _end_person(book: Book, line: Line, load: Callable[[str], bytes]) -> None:
    """One is enough: it takes rights away and gives none."""
    details = _read(line, _EndDetails)
    who = _require_person(book, line.person)
    person = _require_person(book, details.name)
    if who.name != person.name and not who.roles & KEEPERS:
        raise DeskError(f"{who.name} may not end the access of others: it needs the role admin or root")
    book.put_person(person._replace(until=line.at))


def _add_list(book: Book, line: Line, load: Callable[[str], bytes]) -> None:
    details = _read(line, _ListDetails)
    _require_person(book, line.person)
    book.put_list(details.list, details.title)


def _note(book: Book, line: Line, load: Callable[[str], bytes]) -> None:
    _read(line, _NoteDetails)
    _require_person(book, line.person)


def _set_clock(book: Book, line: Line, load: Callable[[str], bytes]) -> None:
    """Times go back to what is right: without this a clock that was years ahead once would stop the desk for years."""
    who = _require_person(book, line.person)
    if not who.roles & KEEPERS:
        raise DeskError(f"{who.name} may not do this: it needs the role admin or root")
    _read(line, _ClockDetails)


def _propose(book: Book, line: Line, load: Callable[[str], bytes]) -> None:
    details = _read(line, _ProposalDetails)
    check_proposer(book, line.person, details.kind)
    if details.proposal != book.last_proposal() + 1:
        raise DeskError(f"proposal {details.proposal} is out of order")
    body = read_body(load(details.body))
    if (details.kind in _OF_NO_LIST) != (not details.list) or (details.list and not book.has_list(details.list)):
        raise DeskError(f"there is no list '{details.list[:40]}'")
    if body.count() != details.changes:
        raise DeskError(f"proposal {details.proposal} says {details.changes} changes and has {body.count()}")
    if body.list_overrides() != bool(details.override):
        raise DeskError(f"proposal {details.proposal} says something else of overrides than its body")
    _check_parts(details.kind, body)
    book.put_proposal(
        Proposal(
            details.proposal, details.kind, details.list, line.person, line.at, details.why, details.body,
            details.changes, details.override,
        )
    )  # fmt: skip


_PARTS = {
    "add": {"add"}, "import": {"add", "renew", "remove"}, "suspend": {"suspend"}, "resume": {"resume"},
    "remove": {"remove"}, "renew": {"renew"}, "person": {"person"},
    "minimum": {"minimum"},
}  # fmt: skip


def _check_parts(kind: str, body: Body) -> None:
    """A suspension takes any two people: so it must hold nothing else."""
    given = {name for name in body.__struct_fields__ if getattr(body, name)}
    if not given or given - _PARTS[kind]:
        raise DeskError(f"a proposal to {kind} holds {', '.join(sorted(given)) or 'nothing'}")


def _approve(book: Book, line: Line, load: Callable[[str], bytes]) -> None:
    details = _read(line, _ApprovalDetails)
    proposal = _require_proposal(book, details.proposal)
    if details.body != proposal.body:
        raise DeskError(f"what was approved is not what proposal {proposal.id} says")
    body = read_body(load(proposal.body))
    check_approver(book, line.person, proposal, details.override, body)
    _carry_out(book, proposal, body, line)
    book.put_proposal(
        proposal._replace(status="approved", decided_by=line.person, decided_at=line.at, decided_why=details.override)
    )


def _reject(book: Book, line: Line, load: Callable[[str], bytes]) -> None:
    """Anybody here may say no; the author takes it back by this."""
    details = _read(line, _RejectionDetails)
    _require_person(book, line.person)
    proposal = _require_proposal(book, details.proposal)
    if proposal.status != "open":
        raise DeskError(f"proposal {proposal.id} is {proposal.status} already, by {proposal.decided_by}")
    book.put_proposal(
        proposal._replace(status="rejected", decided_by=line.person, decided_at=line.at, decided_why=details.why)
    )


def _carry_out(book: Book, proposal: Proposal, body: Body, line: Line) -> None:
    id_ = book.last_entry()
    if body.person is not None:
        _admit(book, body.person, line.at)
    if body.minimum is not None:
        if body.minimum.version and not is_version(body.minimum.version):
            raise DeskError("a version of Guardian is one to four numbers with dots, like 1.2")
        book.put_minimum(body.minimum.version)
    for ended in body.remove:
        for entry in _find(book, proposal, ended.ids, ("active", "suspended")):
            book.put_entry(_change(entry, line, status="removed", removed_reason=ended.why))
    for ended in body.suspend:
        for entry in _find(book, proposal, ended.ids, ("active",)):
            book.put_entry(_change(entry, line, status="suspended", removed_reason=ended.why))
    for ended in body.resume:
        for entry in _find(book, proposal, ended.ids, ("suspended",)):
            book.put_entry(_change(entry, line, status="active", removed_reason=""))
    for renewed in body.renew:
        expires = _limit_expiry(renewed.verified, renewed.expires, renewed.override, line.at)
        for entry in _find(book, proposal, renewed.ids, ("active",)):
            if entry.override and not renewed.override:
                raise DeskError(f"entry {entry.id} stands by an override: renewing it needs --override as well")
            override = renewed.override or entry.override
            book.put_entry(_change(entry, line, verified=renewed.verified, expires=expires, override=override))
    for added in body.add:
        facts = added.facts
        expires = _limit_expiry(facts.verified, facts.expires, facts.override, line.at)
        for scope, value in added.targets:
            id_ += 1
            if read_target(scope, value).value != value:
                raise DeskError("an entry is not in its one spelling")
            if book.has_target(proposal.list_id, make_key(scope, value)):
                raise DeskError(f"{scope} {value} is on {proposal.list_id} already: reject this and propose it anew")
            book.put_entry(_make_entry(id_, proposal, scope, value, facts, expires, line))


def _make_entry(
    id_: int, proposal: Proposal, scope: Scope, value: str, facts: Facts, expires: int, line: Line
) -> Entry:
    return Entry(
        id=id_, list_id=proposal.list_id, scope=scope, value=value, listed=line.at, changed=line.at,
        reviewers=(proposal.author, line.person), severity=facts.severity, legal_basis=facts.legal_basis,
        authority=facts.authority, order_ref=facts.order_ref, verified=facts.verified, expires=expires,
        action=facts.action, message=facts.message, appeal=facts.appeal, licence_class=facts.licence_class,
        shared_host=facts.shared_host, override=facts.override, source=facts.source,
    )  # fmt: skip


def _limit_expiry(verified: int, expires: int, override: str, now: int) -> int:
    if verified > now + DAY:
        raise DeskError("an entry can't have been verified tomorrow")
    if expires > verified + MOST_DAYS * DAY:
        raise DeskError(f"an entry ends at most {MOST_DAYS} days after somebody verified it")
    expires = min(expires, now + OVERRIDE_SECONDS) if override else expires
    if expires <= now:
        raise DeskError("these entries would have ended by now: reject this and propose it anew")
    return expires


def _find(book: Book, proposal: Proposal, ids: Iterable[int], wanted: tuple[str, ...]) -> Iterator[Entry]:
    for id_ in ids:
        entry = book.entry(id_)
        if entry is None or entry.list_id != proposal.list_id:
            raise DeskError(f"there is no entry {id_} on {proposal.list_id}")
        if entry.status not in wanted:
            raise DeskError(f"entry {id_} is {entry.status} by now: reject this and propose it anew")
        yield entry


def _change(entry: Entry, line: Line, **changes: Any) -> Entry:
    return msgspec.structs.replace(entry, changed=line.at, **changes)


_ACTS: dict[str, Callable[[Book, Line, Callable[[str], bytes]], None]] = {
    "person": _add_person,
    "rotate": _rotate_key,
    "end": _end_person,
    "list": _add_list,
    "note": _note,
    CLOCK: _set_clock,
    "propose": _propose,
    "approve": _approve,
    "reject": _reject,
}
