"""The life of a feed, watched by routers that are TUF's own stock client: an oracle without a line of the desk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guardian.blocklist.tag_table import TagTable
from guardian.desk.publish import consent, load_publication
from guardian.errors import DeskError
from guardian.feed import BulkConsent, bulk_path, decode
from tests.desk.feed_desk import LIST, TEST_NAME, FeedDesk, Look, Router, found, serve

MakeRouter = Callable[..., Router]


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> FeedDesk:
    return found(tmp_path_factory.mktemp("founded") / "desk", time.time())


@pytest.fixture
def desk(founded: FeedDesk, tmp_path: Path) -> FeedDesk:
    return founded.copy(tmp_path / "desk")


@pytest.fixture
def make_router(desk: FeedDesk, tmp_path: Path) -> Iterator[MakeRouter]:
    with serve(desk) as url:
        count = iter(range(100))

        def make(build: str = "default") -> Router:
            return Router(f"{url}{build}/", tmp_path / f"router-{next(count)}", desk.repository.roots()[0])

        yield make


def test_a_new_desk_has_a_feed_with_the_test_name_only(make_router: MakeRouter) -> None:
    look = make_router().update()
    assert look.blocks(TEST_NAME)
    assert not look.blocks("listed-1.example")
    assert look.index.serial == 1


def test_two_people_publish_and_routers_block_and_no_longer_block(desk: FeedDesk, make_router: MakeRouter) -> None:
    router = make_router()
    before = router.update()
    desk.list_names(["listed-1.example", "listed-2.example"])
    head = desk.desk.journal_head()
    desk.publish()
    look = router.update()
    assert look.blocks("listed-1.example")
    assert look.blocks("www.listed-2.example")
    assert not look.blocks("other.example")
    assert look.follow(before.tags) == look.tags
    assert look.index.journal == head
    desk.suspend("listed-1.example")
    desk.publish("maria", "ana")
    after = router.update()
    assert not after.blocks("listed-1.example")
    assert after.blocks("listed-2.example")
    assert after.follow(before.tags) == after.tags


def test_one_signature_is_not_enough(desk: FeedDesk, make_router: MakeRouter) -> None:
    router = make_router()
    before = router.update().versions
    desk.list_names(["listed-1.example"])
    standing = desk.prepare("ana")
    assert not standing.is_ready
    with pytest.raises(DeskError, match="not signed by enough"):
        desk.release(standing)
    standing = desk.sign("ana")  # the same person again
    assert [len(need.signatures.signed) for need in standing.needs] == [1]
    with pytest.raises(DeskError, match="not signed by enough"):
        desk.release(standing)
    assert router.update().versions == before


def test_who_signs_other_things_can_not_sign_a_list(desk: FeedDesk) -> None:
    desk.list_names(["listed-1.example"])
    with pytest.raises(DeskError, match="none of those that sign"):
        desk.prepare("vasile")
    desk.prepare("ana")
    with pytest.raises(DeskError, match="none of those that sign"):
        desk.sign("vasile")


def test_nothing_new_is_not_published(desk: FeedDesk) -> None:
    with pytest.raises(DeskError, match="nothing has changed"):
        desk.prepare()
    assert load_publication(desk.repository) is None


def test_what_was_changed_meanwhile_is_not_signed(desk: FeedDesk) -> None:
    desk.list_names(["listed-1.example"])
    desk.prepare("ana")
    desk.list_names(["listed-2.example"])
    with pytest.raises(DeskError, match="is not what the desk holds now"):
        desk.sign("ion")


def test_a_tampered_publication_is_not_signed(desk: FeedDesk) -> None:
    desk.list_names(["listed-1.example"])
    desk.prepare("ana")
    place = desk.folder / "pending" / "publication.json"
    text = place.read_text()
    created = load_publication(desk.repository)
    assert created is not None
    place.write_text(text.replace(str(int(created.created)), str(int(created.created) + 1)))
    with pytest.raises(DeskError, match="is not what the desk holds now"):
        desk.sign("ion")


def test_a_large_change_waits_for_other_people(
    desk: FeedDesk, make_router: MakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardian.desk.growth.LEAST", 3)
    desk.list_names([f"listed-{number}.example" for number in range(5)])
    desk.prepare("ana")
    standing = desk.sign("ion")
    assert standing.waits_for_consent == (LIST,)
    with pytest.raises(DeskError, match="not signed by enough"):
        desk.release(standing)
    with desk.repository.locked(), pytest.raises(DeskError, match="none of those"):
        consent(desk.repository, desk.desk, desk.signer("maria"), "a new source", desk.now)
    with desk.repository.locked():
        standing = consent(desk.repository, desk.desk, desk.signer("vasile"), "a new source", desk.now)
    assert standing.is_ready
    desk.release(standing)
    look = make_router().update()
    path = bulk_path(LIST, look.index.serial)
    given = decode(look.read(path), BulkConsent, path)
    assert (given.sha256, given.reason) == (look.index.whole.sha256, "a new source")
    assert look.blocks("listed-4.example")


def test_builds_share_lists_and_versions_but_no_salt(desk: FeedDesk, make_router: MakeRouter) -> None:
    from guardian.desk.builds import encode_build, make_build, place_of
    from guardian.desk.repository import write_file

    other = make_build("isp-one", desk.now, 12)
    other.canaries.append("canary-1.example")
    write_file(desk.folder / place_of("isp-one"), encode_build(other))
    desk.list_names(["listed-1.example"])
    desk.prepare()
    assert [need.role for need in desk.sign().needs] == [f"{LIST}-bulk"]  # a new build has none yet
    released = desk.release(desk.sign("elena"))
    assert released.builds == ("default", "isp-one")
    ours, theirs = make_router().update(), make_router("isp-one").update()
    assert ours.base.salt != theirs.base.salt
    assert not set(TagTable(ours.tags).values()) & set(TagTable(theirs.tags).values())
    assert ours.blocks("listed-1.example")
    assert theirs.blocks("listed-1.example")
    assert (ours.blocks("canary-1.example"), theirs.blocks("canary-1.example")) == (False, True)
    assert ours.versions == theirs.versions
    assert ours.index.serial == theirs.index.serial
    desk.list_names(["listed-2.example"])
    desk.publish()
    assert make_router("isp-one").update().follow(theirs.tags)


def test_a_new_epoch_makes_everything_anew(desk: FeedDesk, make_router: MakeRouter) -> None:
    from guardian.desk.builds import begin_epoch, encode_build, load_builds, place_of
    from guardian.desk.repository import write_file

    desk.list_names(["listed-1.example"])
    desk.publish()
    router = make_router()
    old = router.update()
    build = begin_epoch(load_builds(desk.folder)["default"], desk.now)
    write_file(desk.folder / place_of("default"), encode_build(build))
    desk.publish()
    new = router.update()
    assert new.base.salt != old.base.salt
    assert new.base.epoch != old.base.epoch
    assert new.index.deltas == []
    assert new.index.serial == old.index.serial + 1
    assert new.blocks("listed-1.example")
    with pytest.raises(DeskError, match="nothing has changed"):
        desk.prepare()


def test_a_listed_popular_name_gets_a_new_base(desk: FeedDesk, make_router: MakeRouter) -> None:
    desk.desk.replace_popular(desk.signer("ana"), [b"\x07popular\x07example\0"], "0" * 64, desk.now)
    standing = desk.prepare()
    assert [build.base_reason for build in standing.draft.builds.values()] == [
        "popular names or public suffixes have changed"
    ]
    desk.release(desk.sign())
    router = make_router()
    assert router.update().base.is_known_good(b"\x07popular\x07example\0")
    desk.desk.replace_popular(desk.signer("ana"), [], "0" * 64, desk.now)
    desk.list_names(["popular.example"])
    desk.publish()
    assert router.update().blocks("popular.example")


def test_pages_over_https_are_counted_and_not_widened(desk: FeedDesk, make_router: MakeRouter) -> None:
    desk.list_names(["https://host.example/a/page", "http://host.example/b"], "url")
    standing = desk.prepare()
    assert [change.not_enforceable for change in standing.draft.changes] == [1]
    desk.release(desk.sign())
    assert not make_router().update().blocks("host.example")


def test_expired_entries_leave_with_the_next_publication(desk: FeedDesk, make_router: MakeRouter) -> None:
    desk.list_names(["listed-1.example"], days=2)
    desk.list_names(["listed-2.example"], days=20)
    desk.publish()
    router = make_router()
    assert router.update().blocks("listed-1.example")
    desk.now += 3 * 86400
    desk.publish()
    look: Look = router.update()
    assert not look.blocks("listed-1.example")
    assert look.blocks("listed-2.example")


def test_refresh_renews_what_the_machine_signs_and_nothing_else(desk: FeedDesk, make_router: MakeRouter) -> None:
    router = make_router()
    before = router.update().versions
    desk.now += 3600
    desk.release()
    after = router.update().versions
    assert after == {**before, "timestamp": before["timestamp"] + 1}
    desk.now += 4 * 86400
    desk.release()
    later = router.update().versions
    assert later == {**after, "timestamp": after["timestamp"] + 1, "snapshot": after["snapshot"] + 1}
