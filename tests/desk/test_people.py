"""People and their keys: who is let in by whom, new keys, ended access, and files after a power cut."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from guardian.desk import people
from guardian.desk.books import Person
from guardian.desk.journal import Signer
from guardian.desk.people import add_person, change_key, end_person, load_people, unlock, unlock_signer
from guardian.desk.review import approve, propose
from guardian.desk.store import Desk
from guardian.errors import DeskError
from tests.desk.desks import LIST, TITLE, make_body

PASSWORD = "four plain words here"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A desk with files of keys, made once."""
    folder = tmp_path_factory.mktemp("people") / "desk"
    Desk.create(folder)
    for name, roles in {"ana": ["analyst"], "ion": ["list", "admin"], "maria": ["root"]}.items():
        add_person(folder, name, roles, PASSWORD)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "desk"))


@pytest.fixture
def working(folder: Path) -> Path:
    """A desk where entries were proposed already."""
    desk, ion = Desk.open(folder), unlock_signer(folder, "ion", PASSWORD)
    desk.add_list(ion, LIST, TITLE)
    propose(desk, ion, "add", LIST, make_body("listed-1.example"), "report")
    return folder


def test_a_person_has_a_file_for_nobody_else(folder: Path) -> None:
    found = load_people(folder)
    assert {name: sorted(person.roles) for name, person in found.items()} == {
        "ana": ["analyst"],
        "ion": ["admin", "list"],
        "maria": ["root"],
    }
    for name in found:
        path = folder / "keys" / f"{name}.pem"
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert unlock(folder, name, PASSWORD).public_key().public_bytes_raw() == found[name].public_key
    assert sorted(os.listdir(folder / "keys")) == ["ana.pem", "ion.pem", "maria.pem"]
    assert os.stat(folder / "keys").st_mode & 0o777 == 0o700
    assert isinstance(found["ana"], Person) and len(found["ana"].fingerprint) == 19


def test_who_is_unknown_or_has_another_password_is_refused(folder: Path) -> None:
    with pytest.raises(DeskError, match=r"nobody at this desk is called 'anna'.*ana, ion, maria"):
        unlock(folder, "anna", PASSWORD)
    with pytest.raises(DeskError, match=r"ana\.pem: the password is wrong"):
        unlock(folder, "ana", "another password")
    with pytest.raises(DeskError, match="no desk"):
        unlock(folder / "nowhere", "ana", PASSWORD)


@pytest.mark.parametrize("name", ["", "Ana", "ana maria", "../ana", "1ana", "a" * 32, "ană", "a/b", "a\nb"])
def test_a_name_that_could_be_another_file_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(DeskError, match="is not a name here"):
        add_person(folder, name, ["list"], PASSWORD)
    assert len(os.listdir(folder / "keys")) == 3


@pytest.mark.parametrize("roles", [[], ["boss"], ["list", "boss"]])
def test_roles_are_those_there_are(folder: Path, roles: list[str]) -> None:
    with pytest.raises(DeskError, match="the roles of vera are some of"):
        add_person(folder, "vera", roles, PASSWORD)


def test_the_same_name_twice_is_refused_and_keeps_the_key(folder: Path) -> None:
    before = (folder / "keys" / "ana.pem").read_bytes()
    with pytest.raises(DeskError, match="there is somebody called ana already"):
        add_person(folder, "ana", ["list"], PASSWORD)
    assert (folder / "keys" / "ana.pem").read_bytes() == before


def test_somebody_elses_key_file_does_not_pass(folder: Path) -> None:
    shutil.copy(folder / "keys" / "ion.pem", folder / "keys" / "ana.pem")
    with pytest.raises(DeskError, match="this is not the key of ana"):
        unlock(folder, "ana", PASSWORD)
    with pytest.raises(DeskError, match="this is not the key of maria"):
        unlock(folder, "maria", PASSWORD, str(folder / "keys" / "ion.pem"))


def test_a_damaged_key_file_never_passes(folder: Path) -> None:
    path = folder / "keys" / "ana.pem"
    whole = path.read_bytes()
    for at in range(190, 260, 5):  # the key's own bytes and those before them
        path.write_bytes(whole[:at] + (b"A" if whole[at : at + 1] != b"A" else b"B") + whole[at + 1 :])
        try:
            key = unlock(folder, "ana", PASSWORD)
        except DeskError:
            continue
        assert key.public_key().public_bytes_raw() == load_people(folder)["ana"].public_key


def test_a_key_may_be_kept_elsewhere(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "keys" / "ana.pem", tmp_path / "stick.pem")
    with pytest.raises(DeskError, match="--key FILE"):
        unlock(folder, "ana", PASSWORD)
    assert unlock(folder, "ana", PASSWORD, str(tmp_path / "stick.pem"))
    with pytest.raises(DeskError, match="cannot be read"):
        unlock(folder, "ana", PASSWORD, str(tmp_path / "lost.pem"))


def test_letting_somebody_in_takes_two_once_work_has_begun(working: Path) -> None:
    desk = Desk.open(working)
    with pytest.raises(DeskError, match="admin or root must propose"):
        add_person(working, "vera", ["list"], PASSWORD)
    with pytest.raises(DeskError, match="ana may not propose this"):
        add_person(working, "vera", ["list"], PASSWORD, proposer=unlock_signer(working, "ana", PASSWORD))
    ion, maria = (unlock_signer(working, name, PASSWORD) for name in ("ion", "maria"))
    add_person(working, "vera", ["list"], PASSWORD, proposer=ion)
    assert "vera" not in load_people(working)
    with pytest.raises(DeskError, match="nobody at this desk is called 'vera'"):
        unlock(working, "vera", PASSWORD)
    (proposal,) = [it for it in desk.proposals("open") if it.kind == "person"]
    with pytest.raises(DeskError, match="a second person must look at it"):
        approve(desk, ion, proposal.id)
    with pytest.raises(DeskError, match="ana may not approve this"):
        approve(desk, unlock_signer(working, "ana", PASSWORD), proposal.id)
    approve(desk, maria, proposal.id)
    assert unlock_signer(working, "vera", PASSWORD).name == "vera"
    assert "vera.new.pem" not in os.listdir(working / "keys")


def test_who_lost_a_key_is_let_in_anew_by_two(working: Path) -> None:
    desk = Desk.open(working)
    before = load_people(working)["ana"].public_key
    add_person(working, "ana", ["analyst"], "another good password", proposer=unlock_signer(working, "ion", PASSWORD))
    assert unlock(working, "ana", PASSWORD)  # the old key counts until the second person agrees
    approve(desk, unlock_signer(working, "maria", PASSWORD), desk.proposals("open")[-1].id)
    assert load_people(working)["ana"].public_key != before
    assert unlock(working, "ana", "another good password")
    with pytest.raises(DeskError):
        unlock(working, "ana", PASSWORD)


def test_a_new_key_is_vouched_for_with_the_old_one(folder: Path) -> None:
    desk, ana = Desk.open(folder), unlock_signer(folder, "ana", PASSWORD)
    change_key(folder, ana, "another good password")
    with pytest.raises(DeskError, match="this is not the key of ana"):
        desk.note(ana, "hello")  # the old one, still in memory
    desk.note(unlock_signer(folder, "ana", "another good password"), "hello")
    assert os.listdir(folder / "keys").count("ana.pem") == 1


def test_a_power_cut_before_the_new_key_has_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ana = unlock_signer(folder, "ana", PASSWORD)

    def cut(old: str, new: str) -> None:
        if old.endswith(".new.pem"):
            raise KeyboardInterrupt
        os.rename(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(people.os, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            change_key(folder, ana, "another good password")
    assert unlock(folder, "ana", "another good password")
    assert sorted(os.listdir(folder / "keys")) == ["ana.pem", "ion.pem", "maria.pem"]


def test_a_power_cut_before_the_desk_knows_the_new_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ana = unlock_signer(folder, "ana", PASSWORD)

    def cut(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(people, "act", cut)
        with pytest.raises(KeyboardInterrupt):
            change_key(folder, ana, "another good password")
    assert unlock(folder, "ana", PASSWORD)
    with pytest.raises(DeskError, match=r"not the key of ana|password is wrong"):
        unlock(folder, "ana", "another good password")


def test_an_ended_access_ends_at_once(working: Path) -> None:
    desk = Desk.open(working)
    ana, ion, maria = (unlock_signer(working, name, PASSWORD) for name in ("ana", "ion", "maria"))
    with pytest.raises(DeskError, match="ana may not end the access of others"):
        end_person(working, ana, "maria", "because")
    end_person(working, maria, "ion", "has left")
    with pytest.raises(DeskError, match="ion does not work at this desk any more"):
        unlock(working, "ion", PASSWORD)
    with pytest.raises(DeskError, match="ion does not work at this desk any more"):
        approve(desk, ion, 1)
    with pytest.raises(DeskError, match="ion, who made proposal 1, has left"):
        approve(desk, ana, 1)
    assert "ion" not in load_people(working) and desk.people(all_=True)["ion"].until is not None


def test_nobody_gets_a_key_that_was_in_use(folder: Path) -> None:
    desk, ana = Desk.open(folder), unlock_signer(folder, "ana", PASSWORD)
    change_key(folder, ana, "another good password")
    details = {"name": "eve", "roles": ["list"], "public_key": ana.key.public_key().public_bytes_raw().hex()}
    proof = people.sign_person(ana.key, details)
    with pytest.raises(DeskError, match="known here already"):
        desk.act(Signer("eve", ana.key), "person", {**details, "proof": proof})
