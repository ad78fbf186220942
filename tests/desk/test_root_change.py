"""People come, go and lose keys: a router that was off since version 1 follows, and who has gone counts no more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tuf.api.exceptions import ExpiredMetadataError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata

from guardian.desk.online import load_password, make_key
from guardian.desk.people import add_person, change_key, end_person
from guardian.desk.review import approve
from guardian.desk.roles import SNAPSHOT, TIMESTAMP, key_id, sign_with
from guardian.desk.root_change import load_change
from guardian.desk.settings import load_settings
from guardian.errors import DeskError
from tests.desk.feed_desk import LIST, PASSWORD, FeedDesk, Router, found

MakeRouter = Callable[[], Router]


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> FeedDesk:
    return found(tmp_path_factory.mktemp("founded") / "desk", time.time())


@pytest.fixture
def desk(founded: FeedDesk, tmp_path: Path) -> FeedDesk:
    copied = founded.copy(tmp_path / "desk")
    copied.list_names(["listed-1.example"])
    copied.publish()
    return copied


@pytest.fixture
def make_router(desk: FeedDesk, tmp_path: Path) -> MakeRouter:
    count = iter(range(1000))
    root = desk.repository.roots()[0]
    return lambda: Router(f"file:{desk.folder}/public/default/", tmp_path / f"router-{next(count)}", root)


def test_a_revoked_person_can_do_nothing_and_routers_follow(desk: FeedDesk, make_router: MakeRouter) -> None:
    router = make_router()
    router.update()
    stolen = desk.signer("ion")
    end_person(desk.folder, desk.signer("ana"), "ion", "the stick was stolen", desk.now)
    # The lists don't wait for the root: at once ion's signature counts nothing on them.
    desk.prepare("ana")
    with pytest.raises(DeskError):
        desk.sign("ion")
    desk.release(desk.sign("maria"))
    assert router.update().versions["root"] == 1
    # The root, by three of the other four, on different days.
    for name in ("ana", "maria"):
        change = desk.change_root(name)
        assert change
        assert not change.is_signed
        desk.now += 86400
    change = desk.change_root("vasile")
    assert change
    assert change.is_signed
    assert desk.release().root == 2
    look = router.update()
    assert look.versions["root"] == 2
    assert look.blocks("listed-1.example")
    assert make_router().update().blocks("listed-1.example")
    _assert_worthless(desk, make_router, stolen.key)


def _assert_worthless(desk: FeedDesk, make_router: MakeRouter, stolen: object) -> None:
    """Whoever has the key and the web server, and one honest signature, still gets nothing past a router."""
    public = desk.repository.public("default") / "metadata"
    state = desk.repository.state("default")
    assert state
    role = Metadata.from_bytes(state.delegated[LIST].to_bytes())
    ana = key_id(desk.signer("ana").key.public_key().public_bytes_raw())
    role.signatures = {ana: role.signatures[ana]}
    sign_with(role, stolen)  # type: ignore[arg-type]
    path = public / f"{role.signed.version}.{LIST}.json"
    kept = path.read_bytes()
    # The snapshot has the honest file's hash; the list's own signatures would not do either.
    path.write_bytes(role.to_bytes())
    with pytest.raises(RepositoryError):
        make_router().update().index  # noqa: B018 - reading it fetches
    with pytest.raises(UnsignedMetadataError):
        state.targets.signed.verify_delegate(LIST, role.signed_bytes, role.signatures)
    path.write_bytes(kept)


def test_without_the_third_signature_there_is_no_new_root(desk: FeedDesk) -> None:
    end_person(desk.folder, desk.signer("ana"), "ion", "left", desk.now)
    change = desk.change_root("ana", "maria", "maria")
    assert change
    assert (len(change.by_old.signed), change.by_old.needed) == (2, 3)
    assert desk.release().root == 1


def test_who_is_not_in_the_root_can_not_sign_it(desk: FeedDesk) -> None:
    number = _let_in(desk, "dan", ["list"])
    approve(desk.desk, desk.signer("vasile"), number, desk.now)
    with pytest.raises(DeskError, match="not one of those that sign the root"):
        desk.change_root("dan")


def _let_in(desk: FeedDesk, name: str, roles: list[str]) -> int:
    add_person(desk.folder, name, roles, PASSWORD, proposer=desk.signer("ana"), now=desk.now)
    return max(proposal.id for proposal in desk.desk.proposals("open"))


def test_a_new_person_signs_lists_before_and_after_the_root(desk: FeedDesk, make_router: MakeRouter) -> None:
    router = make_router()
    approve(desk.desk, desk.signer("vasile"), _let_in(desk, "dan", ["list"]), desk.now)
    desk.publish("ana", "ion")  # names dan in the delegation
    desk.list_names(["listed-2.example"])
    desk.publish("ana", "dan")
    assert router.update().blocks("listed-2.example")
    change = desk.change_root("ana", "ion", "elena")
    assert change
    assert change.is_signed
    desk.release()
    desk.list_names(["listed-3.example"])
    desk.publish("dan", "maria")
    assert router.update().blocks("listed-3.example")


def test_a_person_changes_the_own_key(desk: FeedDesk, make_router: MakeRouter) -> None:
    router = make_router()
    old = desk.signer("maria")
    change_key(desk.folder, old, PASSWORD, desk.now)
    desk.forget_key("maria")
    assert desk.signer("maria").key != old.key
    change = desk.change_root("ana", "ion", "vasile")
    assert change
    assert change.is_signed
    desk.release()
    desk.publish("ana", "ion")
    desk.list_names(["listed-2.example"])
    desk.publish("maria", "ana")
    look = router.update()
    assert look.versions["root"] == 2
    assert look.blocks("listed-2.example")


def test_targets_that_the_leaver_signed_are_signed_anew_with_the_root(desk: FeedDesk, make_router: MakeRouter) -> None:
    """The first release has the signatures of all three; make it ana's and ion's alone, then ion goes."""
    desk.publish("ana", "ion", renew=True)
    router = make_router()
    router.update()
    end_person(desk.folder, desk.signer("ana"), "ion", "left", desk.now)
    change = desk.change_root("ana", "maria", "vasile")
    assert change
    assert change.is_signed
    with pytest.raises(DeskError, match="does not believe 'targets'"):
        desk.release()
    assert router.update().versions["root"] == 1
    released = desk.publish("ana", "maria")
    assert released.root == 2
    assert router.update().versions["root"] == 2
    assert make_router().update().blocks("listed-1.example")


def test_when_most_who_signed_lists_are_gone_the_new_root_comes_first(desk: FeedDesk, make_router: MakeRouter) -> None:
    """Nobody is left who could sign `targets` so that the old root believes it; three of the root still are."""
    router = make_router()
    router.update()
    for name in ("dan", "eva"):
        approve(desk.desk, desk.signer("vasile"), _let_in(desk, name, ["list", "root"]), desk.now)
    for name in ("ion", "maria"):
        end_person(desk.folder, desk.signer("ana"), name, "left", desk.now)
    change = desk.change_root("ana", "vasile", "elena")
    assert change
    assert change.is_signed
    standing = desk.prepare("ana")
    assert not standing.is_ready
    assert desk.release(desk.sign("dan")).root == 2
    assert router.update().blocks("listed-1.example")
    assert make_router().update().versions["root"] == 2


@pytest.mark.parametrize("roles", [[TIMESTAMP], [SNAPSHOT], [SNAPSHOT, TIMESTAMP]])
def test_new_online_keys(desk: FeedDesk, make_router: MakeRouter, roles: list[str]) -> None:
    router = make_router()
    before = router.update().versions
    for role in roles:
        make_key(desk.folder, role, load_password(desk.folder, load_settings(desk.folder)))
    desk.release()  # cron goes on with the old key until the root is signed
    change = desk.change_root("ana", "ion", "maria")
    assert change
    desk.release()
    assert router.update().versions["root"] == 2
    desk.release()
    after = router.update().versions
    assert after["timestamp"] == before["timestamp"] + 3
    assert make_router().update().versions == after
    assert not list((desk.folder / "online").glob("*.old.pem"))


def test_the_way_from_the_first_root_to_the_newest(desk: FeedDesk, make_router: MakeRouter) -> None:
    router = make_router()
    router.update()
    for _ in range(4):
        desk.change_root("ana", renew=True)
        desk.change_root("ion", "elena")
        desk.release()
    assert router.update().versions["root"] == 5
    assert make_router().update().versions["root"] == 5


def test_a_root_that_waits_survives_refreshes_and_publications(desk: FeedDesk) -> None:
    desk.change_root("ana", renew=True)
    desk.release()
    desk.list_names(["listed-2.example"])
    desk.publish()
    waiting = load_change(desk.repository)
    assert waiting
    assert len(waiting.by_old.signed) == 1


def test_an_expired_feed_is_refused_by_clients_and_mended_by_a_refresh(desk: FeedDesk, make_router: MakeRouter) -> None:
    desk.now -= 3 * 86400
    desk.release()  # as if nobody had refreshed for three days
    with pytest.raises(ExpiredMetadataError):
        make_router().update()
    desk.now += 3 * 86400
    desk.release()
    assert make_router().update().blocks("listed-1.example")


# Power cuts


def _count_writes(desk: FeedDesk, act: Callable[[FeedDesk], object], tmp_path: Path) -> int:
    copied = desk.copy(tmp_path / "counted")
    calls = []
    real = os.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda *places: (calls.append(places), real(*places))[1])
        act(copied)
    return len(calls)


def _run_until(desk: FeedDesk, act: Callable[[FeedDesk], object], number: int) -> None:
    """Act in a child process that is killed before its write of this number."""
    child = os.fork()
    if child == 0:
        real, calls = os.replace, iter(range(1 << 20))

        def replace(source: str, place: str) -> None:
            if next(calls) == number:
                os.kill(os.getpid(), 9)
            real(source, place)

        os.replace = replace  # type: ignore[assignment]
        try:
            act(desk)
        finally:
            os._exit(77)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the child ended by itself ({status}) before write {number}"


ACTS: dict[str, Callable[[FeedDesk], object]] = {
    "publication": lambda desk: desk.release(desk.sign("ion")),
    "root": lambda desk: desk.release(),
    "both": lambda desk: desk.release(desk.sign("ana")),
}


def _bring_to_the_edge(desk: FeedDesk, kind: str) -> None:
    """Everything is signed but for the last step."""
    if kind == "publication":
        desk.list_names(["listed-2.example"])
        desk.prepare("maria")
        return
    if kind == "both":
        end_person(desk.folder, desk.signer("ana"), "ion", "left", desk.now)
    for role in (SNAPSHOT, TIMESTAMP):
        make_key(desk.folder, role, load_password(desk.folder, load_settings(desk.folder)))
    desk.change_root("ana", "maria", "elena")
    assert desk.online  # unlocked here, and not in every child
    if kind == "both":
        desk.prepare("maria")


@pytest.mark.parametrize("kind", list(ACTS))
def test_killed_at_every_write_of_a_release(desk: FeedDesk, tmp_path: Path, kind: str) -> None:
    """An old and a new router find a whole state, wherever it dies; the next command ends what was begun."""
    desk.publish("ana", "ion", renew=True)
    _bring_to_the_edge(desk, kind)
    first, act = desk.repository.roots()[0], ACTS[kind]
    old = Router(_address(desk), tmp_path / "old-router", first).update().versions
    writes = _count_writes(desk, act, tmp_path)
    done = _read_all(tmp_path / "counted")
    seen = set()
    for number in range(writes):
        place = tmp_path / f"cut-{number}"
        copied = desk.copy(place / "desk")
        known = Router(_address(copied), place / "known", first)
        known.update()
        _run_until(copied, act, number)
        for router in (known, Router(_address(copied), place / "fresh", first)):
            look = router.update()
            assert look.blocks("listed-1.example")
            assert all(look.versions[role] >= version for role, version in old.items())
            seen.add(tuple(look.versions.values()))
        was_ready = (copied.folder / "release" / "ready.json").exists()
        with copied.repository.locked():
            pass  # any command
        if not was_ready and known.update().versions == old:
            act(copied)
        after = known.update().versions
        assert all(after[role] > version for role, version in old.items() if role in CHANGED[kind])
        assert load_change(copied.repository) is None
        assert _read_all(copied.folder) == done  # byte for byte as if nothing had happened
    assert writes > 10
    assert len(seen) >= 2


CHANGED = {
    "publication": {LIST, "snapshot", "timestamp"},
    "root": {"root", "snapshot", "timestamp"},
    "both": {"root", "targets", LIST, "snapshot", "timestamp"},
}


def _read_all(folder: Path) -> dict[str, bytes]:
    """Return what a release writes. When old files are swept is no part of it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for part in ("public", "feed", "builds")
        for path in (folder / part).rglob("*")
        if path.is_file() and path.name != "retired.json" and not path.name.endswith(".new")
    }


def _address(desk: FeedDesk) -> str:
    return f"file:{desk.folder}/public/default/"
