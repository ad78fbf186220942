"""The keys of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian.desk.online import forget_old, is_private, load_password, load_public, make_key, make_password, unlock
from guardian.desk.roles import SNAPSHOT, TIMESTAMP
from guardian.desk.settings import DeskSettings
from guardian.errors import DeskError

SETTINGS = DeskSettings("x")


def test_keys_are_made_replaced_and_forgotten(tmp_path: Path) -> None:
    password = load_password(tmp_path, SETTINGS) if make_password(tmp_path, SETTINGS) else ""
    assert len(password) >= 32
    first = {role: make_key(tmp_path, role, password) for role in (SNAPSHOT, TIMESTAMP)}
    assert load_public(tmp_path) == first
    second = make_key(tmp_path, TIMESTAMP, password)
    found = {
        role: [key.public_key().public_bytes_raw() for key in keys] for role, keys in unlock(tmp_path, password).items()
    }
    assert found == {SNAPSHOT: [first[SNAPSHOT]], TIMESTAMP: [second, first[TIMESTAMP]]}
    forget_old(tmp_path)
    assert [len(keys) for keys in unlock(tmp_path, password).values()] == [1, 1]
    assert all(is_private(path) for path in (tmp_path / "online").iterdir())
    assert all(b"ENCRYPTED" in path.read_bytes() for path in (tmp_path / "online").glob("*.pem"))


def test_a_password_that_is_there_stays(tmp_path: Path) -> None:
    make_password(tmp_path, SETTINGS)
    before = load_password(tmp_path, SETTINGS)
    make_password(tmp_path, SETTINGS)
    assert load_password(tmp_path, SETTINGS) == before


def test_what_is_missing_or_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeskError, match=r"password: .*desk\.yaml"):
        load_password(tmp_path, SETTINGS)
    with pytest.raises(DeskError, match="rotate snapshot"):
        load_public(tmp_path)
    with pytest.raises(DeskError, match="rotate snapshot"):
        unlock(tmp_path, "x")
    make_password(tmp_path, SETTINGS)
    password = load_password(tmp_path, SETTINGS)
    for role in (SNAPSHOT, TIMESTAMP):
        make_key(tmp_path, role, password)
    with pytest.raises(DeskError, match=r"snapshot\.pem: the password is wrong"):
        unlock(tmp_path, "another password")
    (tmp_path / SETTINGS.online_password).write_text("\n")
    with pytest.raises(DeskError, match="is empty"):
        load_password(tmp_path, SETTINGS)
