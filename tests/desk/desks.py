"""A desk for tests: four people with keys in memory (files of keys take a quarter of a second each), one list."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardian.desk.entries import DAY, Facts, Scope, read_target
from guardian.desk.fold import Added, Body
from guardian.desk.journal import Signer, sign_person
from guardian.desk.review import approve, propose
from guardian.desk.store import Desk
from guardian.feed import Text

LIST = "csam-md"
TITLE = Text("The hotline's list", "Lista", "Список")
AUTHORITY = Text("Hotline", "Linia", "Линия")
ROLES = {"ana": ["analyst"], "ion": ["list"], "maria": ["admin", "list"], "vera": ["bulk"], "olga": ["root"]}


def describe_person(name: str, roles: list[str], key: Ed25519PrivateKey) -> dict[str, Any]:
    """Return the details of a person's line, with the proof."""
    details = {"name": name, "roles": sorted(roles), "public_key": key.public_key().public_bytes_raw().hex()}
    return {**details, "proof": sign_person(key, details)}


def make_desk(folder: Path, now: float | None = None) -> tuple[Desk, dict[str, Signer]]:
    """Return a new desk and its people: ana (analyst), ion (list), maria (admin, list), vera (bulk), olga (root)."""
    desk = Desk.create(folder / "desk")
    signers = {}
    for name, roles in ROLES.items():
        key = Ed25519PrivateKey.generate()
        signers[name] = Signer(name, key)
        desk.act(signers[name], "person", describe_person(name, roles, key), now)
    desk.add_list(signers["maria"], LIST, TITLE, now)
    return desk, signers


def make_facts(now: float | None = None, **changes: Any) -> Facts:
    """Return what is said of an entry by default."""
    moment = int(time.time() if now is None else now)
    given: dict[str, Any] = {
        "severity": "national", "legal_basis": "law_order", "authority": AUTHORITY, "order_ref": "Law 1/2026",
        "verified": moment, "expires": moment + 14 * DAY,
    }  # fmt: skip
    return Facts(**{**given, **changes})


def make_body(*values: str, now: float | None = None, scope: Scope = "domain", **changes: Any) -> Body:
    """Return a body that adds values, a URL as the page alone."""
    targets = [read_target("url" if "://" in value else scope, value) for value in values]
    return Body(add=[Added(make_facts(now, **changes), [tuple(target) for target in targets])])


def put_on_list(desk: Desk, signers: dict[str, Signer], *values: str, now: float | None = None, **changes: Any) -> None:
    """Put values on the list, by ana and ion."""
    number = propose(desk, signers["ana"], "add", LIST, make_body(*values, now=now, **changes), "report", now)
    approve(desk, signers["ion"], number, now)
