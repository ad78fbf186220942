"""The people of a desk and their keys: one encrypted file each, `keys/NAME.pem`.

A new key is written to `keys/NAME.new.pem` first and gets its name when the desk knows it: so a power cut, or a person
who still waits for the consent of others, never leaves the desk without the key that counts. The file may live
somewhere else, such as a stick in a safe: `unlock(..., key_file=...)`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardian.desk.books import Person, TableBook
from guardian.desk.fold import NAME, ROLES, NewPerson, is_set_up
from guardian.desk.journal import Signer, sign_person
from guardian.desk.key_file import check_password, decrypt_key, encrypt_key
from guardian.desk.review import propose_person
from guardian.desk.store import KEYS, Desk, act
from guardian.errors import DeskError

__all__ = [
    "ROLES", "Person", "Signer", "add_person", "change_key", "end_person", "load_people", "unlock", "unlock_signer",
]  # fmt: skip
_MAX_KEY_BYTES = 1 << 16


def add_person(
    folder: str | os.PathLike[str],
    name: str,
    roles: Iterable[str],
    password: str,
    *,
    proposer: Signer | None = None,
    why: str = "",
    now: float | None = None,
) -> Person:
    """Make a key for a person and write `keys/NAME.pem`; return the person. Raises DeskError.

    Until the first proposal of entries is made, everybody is let in by the own signature. From then on a `proposer`
    with the role root or admin proposes the person, and it takes a second such person's approval (`review.approve`)
    before the key counts. The same way gives a new key to somebody who lost theirs.
    """
    desk = Desk.open(folder)
    moment = time.time() if now is None else now
    wanted = sorted(set(roles))
    if not NAME.fullmatch(name):
        raise DeskError(f"'{name[:40]}' is not a name here: 1 to 31 small letters, digits and -, like ana or ion-b")
    if not wanted or set(wanted) - set(ROLES):
        raise DeskError(f"the roles of {name} are some of {', '.join(ROLES)}")
    check_password(password, name)
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    details = {"name": name, "roles": wanted, "public_key": public.hex()}
    new = NewPerson(name, wanted, public.hex(), sign_person(key, details))
    with desk.changing() as connection:
        set_up = is_set_up(TableBook(connection))
        if not set_up and TableBook(connection).person(name) is not None:
            raise DeskError(f"there is somebody called {name} already")
        if set_up and proposer is None:
            raise DeskError("this desk works already: somebody with the role admin or root must propose a new person")
        _write(_place(desk, name, "new"), encrypt_key(key, password))
        if set_up and proposer is not None:
            propose_person(connection, proposer, new, why or f"{name} comes to work here", moment)
        else:
            act(connection, Signer(name, key), "person", {**details, "proof": new.proof}, moment)
    if not set_up:
        os.replace(_place(desk, name, "new"), _place(desk, name))
    return Person(name, frozenset(wanted), public, int(moment))


def load_people(folder: str | os.PathLike[str]) -> dict[str, Person]:
    """Return who works at the desk, by name. Raises DeskError."""
    return Desk.open(folder).people()


def unlock(folder: str | os.PathLike[str], name: str, password: str, key_file: str = "") -> Ed25519PrivateKey:
    """Return the key of a person who works here. Raises DeskError, also for a key that the desk does not know."""
    desk = Desk.open(folder)
    people = desk.people(all_=True)
    person = people.get(name)
    if person is None:
        known = ", ".join(each.name for each in people.values() if each.until is None) or "nobody yet"
        raise DeskError(f"nobody at this desk is called '{name[:40]}' (there are: {known})")
    if person.until is not None:
        raise DeskError(f"{name} does not work at this desk any more")
    if key_file:
        key = decrypt_key(_read(key_file), password, key_file)
        if key.public_key().public_bytes_raw() == person.public_key:
            return key
        raise DeskError(f"{key_file}: this is not the key of {name} at this desk")
    places = [place for place in (_place(desk, name), _place(desk, name, "new")) if os.path.exists(place)]
    if not places:
        raise DeskError(f"{_place(desk, name)} is missing: give the file that {name} keeps with --key FILE")
    refusal = DeskError(f"{places[0]}: this is not the key of {name} at this desk")
    for place in places:
        try:
            key = decrypt_key(_read(place), password, place)
        except DeskError as error:
            refusal = error  # the other file may be the one of this password
            continue
        if key.public_key().public_bytes_raw() == person.public_key:
            if place != _place(desk, name):
                os.replace(place, _place(desk, name))
            return key
    raise refusal


def unlock_signer(folder: str | os.PathLike[str], name: str, password: str, key_file: str = "") -> Signer:
    """Return a person with the unlocked key, who can act at the desk. Raises DeskError."""
    return Signer(name, unlock(folder, name, password, key_file))


def change_key(folder: str | os.PathLike[str], signer: Signer, password: str, now: float | None = None) -> Person:
    """Give a person a new key, vouched for with the old one; return the person. Raises DeskError.

    Who has lost the old key, or fears that somebody else has it, is proposed anew (`add_person`) instead.
    """
    desk = Desk.open(folder)
    check_password(password, signer.name)
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    with desk.changing() as connection:
        person = TableBook(connection).person(signer.name)
        if person is None:
            raise DeskError(f"nobody at this desk is called '{signer.name[:40]}'")
        details = {"name": signer.name, "roles": sorted(person.roles), "public_key": public.hex()}
        _write(_place(desk, signer.name, "new"), encrypt_key(key, password))
        moment = time.time() if now is None else now
        act(connection, signer, "rotate", {**details, "proof": sign_person(key, details)}, moment)
    os.replace(_place(desk, signer.name, "new"), _place(desk, signer.name))
    return person._replace(public_key=public)


def end_person(folder: str | os.PathLike[str], signer: Signer, name: str, why: str, now: float | None = None) -> None:
    """End a person's access at once: one person is enough, for it gives nobody a right. Raises DeskError.

    What the person proposed and nobody has approved yet can't be approved any more. Routers believe the key until the
    root of trust is published anew.
    """
    Desk.open(folder).act(signer, "end", {"name": name, "why": why}, now)


def _place(desk: Desk, name: str, state: str = "") -> str:
    return os.path.join(desk.folder, KEYS, f"{name}.{state}.pem" if state else f"{name}.pem")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise DeskError(f"{path} cannot be read: {error.strerror}") from None


def _write(path: str, data: bytes) -> None:
    """Write a file that is whole or not there, for nobody else."""
    aside = f"{path}.{os.getpid()}"
    try:
        with open(os.open(aside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise DeskError(f"{path} cannot be written: {error.strerror}") from None
