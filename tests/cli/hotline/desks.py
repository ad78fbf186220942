"""A desk with files of keys, for the commands: ana (analyst), ion (list, admin), maria (root); the list csam-md."""

from __future__ import annotations

import os
from pathlib import Path

from guardian.cli import main
from guardian.desk.people import add_person, unlock_signer
from guardian.desk.store import Desk
from tests.desk.desks import LIST, TITLE

PASSWORD = "four plain words here"
LAW = ["--legal-basis", "law_order", "--order-ref", "Law 1/2026", "--authority", "Hotline"]


def make_desk_with_keys(folder: Path) -> Path:
    """Return the folder of a new desk; the password is in `password` beside it."""
    desk = Desk.create(folder / "desk")
    for name, roles in {"ana": ["analyst"], "ion": ["list", "admin"], "maria": ["root"]}.items():
        add_person(desk.folder, name, roles, PASSWORD)
    desk.add_list(unlock_signer(desk.folder, "ion", PASSWORD), LIST, TITLE)
    password = folder / "password"
    password.write_text(PASSWORD + "\n")
    os.chmod(password, 0o600)
    return Path(desk.folder)


def call(folder: Path, *words: str, who: str = "") -> int:
    """Run `guardian hotline ...` in this process, as a person if one is named; return the exit code."""
    signing = ["--as", who, "--password-file", str(folder.parent / "password")] if who else []
    return main(["hotline", "--desk", str(folder), *words, *signing])
