"""The two keys that a machine holds: for `snapshot` and `timestamp`. They say what is newest, never what is on a list.

`DIR/online/ROLE.pem`, encrypted as people's keys are; the password is a file that cron can read (`online_password` of
desk.yaml). While a key is being replaced, the old one stays beside it as `ROLE.old.pem`, so that both can sign.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardian.desk.key_file import decrypt_key, encrypt_key
from guardian.desk.repository import write_file
from guardian.desk.roles import ONLINE
from guardian.desk.settings import FILE, DeskSettings
from guardian.errors import DeskError

_FOLDER = "online"
_PASSWORD_BYTES = 24


def make_password(folder: Path, settings: DeskSettings) -> Path:
    """Write a random password to the file that the settings name, unless there is one; return the file."""
    path = folder / settings.online_password
    if not path.exists():
        write_file(path, secrets.token_urlsafe(_PASSWORD_BYTES).encode() + b"\n")
    return path


def load_password(folder: Path, settings: DeskSettings) -> str:
    """Return the password of the online keys. Raises DeskError with what to do."""
    path = folder / settings.online_password
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DeskError(f"{path}: {error}; '{FILE}' says where the online keys' password is") from None
    if not text:
        raise DeskError(f"{path}: is empty; put the online keys' password in")
    return text


def make_key(folder: Path, role: str, password: str) -> bytes:
    """Write a new key for a role, keep the one before as the old one, and return the public key (32 bytes)."""
    key = Ed25519PrivateKey.generate()
    place = _place(folder, role)
    if place.exists():
        write_file(_place(folder, role, old=True), place.read_bytes())
    write_file(place, encrypt_key(key, password))
    public = key.public_key().public_bytes_raw()
    write_file(_public_place(folder, role), public.hex().encode() + b"\n")
    return public


def load_public(folder: Path) -> dict[str, bytes]:
    """Return the public key of each online role. Raises DeskError."""
    found = {}
    for role in ONLINE:
        path = _public_place(folder, role)
        try:
            found[role] = bytes.fromhex(path.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise DeskError(f"{path}: {error}; 'guardian hotline rotate {role}' makes a new key") from None
    return found


def unlock(folder: Path, password: str) -> dict[str, list[Ed25519PrivateKey]]:
    """Return the keys of each online role, the old one too while it is there. Raises DeskError."""
    keys = {}
    for role in ONLINE:
        places = [_place(folder, role), _place(folder, role, old=True)]
        try:
            keys[role] = [
                decrypt_key(path.read_bytes(), password, str(path))
                for path in places
                if path.exists() or path is places[0]
            ]
        except OSError as error:
            raise DeskError(
                f"{places[0]}: {error.strerror}; 'guardian hotline rotate {role}' makes a new one"
            ) from None
    return keys


def forget_old(folder: Path) -> None:
    """Remove old keys: the root of trust knows them no more."""
    for role in ONLINE:
        _place(folder, role, old=True).unlink(missing_ok=True)


def _place(folder: Path, role: str, *, old: bool = False) -> Path:
    return folder / _FOLDER / (f"{role}.old.pem" if old else f"{role}.pem")


def _public_place(folder: Path, role: str) -> Path:
    return folder / _FOLDER / f"{role}.pub"


def is_private(path: Path) -> bool:
    """Tell whether nobody but the owner can read a file."""
    return not os.stat(path).st_mode & 0o077
