"""A desk where two people work, at times that the test chooses."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from guardian.desk.entries import DAY, Facts, Scope
from guardian.desk.fold import Added, Body, Ended, Renewed
from guardian.desk.journal import Signer
from guardian.desk.people import add_person, unlock_signer
from guardian.desk.review import load_proposal, write_proposal
from guardian.desk.store import Desk, act
from guardian.feed import Text

START = 1788220800  # 2026-09-01
PASSWORDS = {"ana": "copper lamp seven rivers", "ion": "yellow chair nine doors"}
TITLE = Text("List", "Listă", "Список")
AUTHORITY = Text("Police", "Poliția", "Полиция")


class WorkedDesk:
    """A desk with the list csam-md, Ana who proposes and Ion who approves. `now` is what the clock shows."""

    def __init__(self, folder: Path) -> None:
        """Copy the first such desk of this process: making keys takes a second."""
        self.folder = folder
        self.now = START
        model, self.ana, self.ion = _make_model()
        shutil.copytree(model, folder, dirs_exist_ok=True)
        self.desk = Desk.open(folder)

    def add_list(self, list_id: str) -> None:
        self.desk.add_list(self.ana, list_id, TITLE, self.now)

    def change(self, kind: str, body: Body, override: str = "", list_id: str = "csam-md") -> list[int]:
        """Propose and approve at once; return the ids of all entries of the list."""
        with self.desk.changing() as connection:
            number = write_proposal(connection, self.ana, kind, list_id, body, "seen", self.now, override)
            details = {"proposal": number, "body": load_proposal(connection, number)[0].body, "override": override}
            act(connection, self.ion, "approve", details, self.now)
        return [entry.id for entry in self.desk.entries(list_id)]

    def add(self, *targets: tuple[Scope, str], days: float = 14, list_id: str = "csam-md", **facts: Any) -> list[int]:
        """Add entries that end after so many days; return their ids."""
        given = {"severity": "national", "legal_basis": "law_order", "authority": AUTHORITY, "licence_class": "public"}
        made = Facts(**(given | {"verified": self.now, "expires": int(self.now + days * DAY)} | facts))
        ids = self.change("add", Body(add=[Added(made, list(targets))]), made.override, list_id)
        return ids[-len(targets) :]

    def renew(self, ids: Iterable[int], days: float = 14) -> None:
        self.change("renew", Body(renew=[Renewed(list(ids), self.now, int(self.now + days * DAY))]))

    def end(self, kind: str, ids: Iterable[int]) -> None:
        """Suspend, resume or remove."""
        self.change(kind, Body(**{kind: [Ended(list(ids), "why")]}))

    def wait(self, days: float) -> None:
        self.now += int(days * DAY)


@functools.cache
def _make_model() -> tuple[Path, Signer, Signer]:
    place = tempfile.mkdtemp(prefix="guardian-desk-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    folder = Path(place) / "desk"
    desk = Desk.create(folder)
    for name, password in PASSWORDS.items():
        add_person(folder, name, ["analyst", "list"], password, now=START)
    ana, ion = (unlock_signer(folder, name, PASSWORDS[name]) for name in ("ana", "ion"))
    desk.add_list(ana, "csam-md", TITLE, START)
    return folder, ana, ion
