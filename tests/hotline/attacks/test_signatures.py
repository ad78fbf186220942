"""Attacks with signatures: old ones, too few, the wrong people's, and what belongs elsewhere.

Each leaves the list in force as it is, says why, and the next honest update works.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Delegations

from guardian.hotline.feed_state import CLOCK, DAMAGED, EXPIRED, NOT_SIGNED, ROLLBACK
from guardian.hotline.trust import FeedClient
from tests.hotline.feed_maker import DAY, LIST, START, Box, Scene, listed


def test_rollback(scene: Scene) -> None:
    old = scene.keep_site()
    scene.recover()
    scene.server.folder = old
    assert "older" in scene.withstand(ROLLBACK)
    scene.maker.serials[LIST] += 1
    scene.recover()


@pytest.mark.parametrize("lost", ["timestamp.json", "snapshot.json", "everything"])
def test_rollback_after_a_power_cut_that_lost_what_was_seen(scene: Scene, lost: str) -> None:
    """ngclient keeps its versions in files that it does not sync; state.json remembers them too."""
    old = scene.keep_site()
    scene.recover()
    if lost == "everything":
        shutil.rmtree(scene.box.folder / "tuf")
    else:
        (scene.box.folder / "tuf" / lost).write_bytes(b"")
    scene.server.folder = old
    assert "was believed before" in scene.withstand(ROLLBACK) or lost != "everything"
    scene.recover()


def test_rollback_of_one_list_by_whoever_has_the_online_key(scene: Scene) -> None:
    """A newer snapshot that says that an older list is the newest."""
    old = scene.maker.meta[f"{LIST}.json"]
    scene.recover()
    for name in ("snapshot.json", f"{LIST}.json"):
        (scene.box.folder / "tuf" / name).unlink()
    scene.maker.meta[f"{LIST}.json"] = old
    scene.maker.publish_online()
    scene.withstand(ROLLBACK, LIST)
    scene.recover()


def test_rollback_of_the_serial_with_valid_signatures(scene: Scene) -> None:
    scene.maker.next(listed(range(20)), serial=7)
    assert not scene.update().troubles()
    scene.maker.next(listed(range(19)), serial=6)
    assert "serial 6 is older than 7" in scene.withstand(ROLLBACK, LIST)
    scene.maker.serials[LIST] = 7
    scene.recover()


def test_freeze(scene: Scene) -> None:
    """The server goes on with what it has, until the timestamp ends: the list is enforced, and people are told."""
    assert not scene.update(after=1.5 * DAY).troubles()
    assert "too old" in scene.withstand(EXPIRED, after=DAY)
    state = scene.update()
    assert state.is_expired(scene.maker.now) and state.succeeded < scene.maker.now - DAY
    assert scene.holds("listed-1.example")
    scene.recover()


def test_freeze_of_one_list(scene: Scene) -> None:
    """The online key goes on signing, and a list's people are silent for more than 30 days."""
    for _ in range(16):
        scene.maker.now += 2 * DAY - 60
        scene.maker.publish_online()
        state = scene.update()
    assert [(place, code) for place, code, _ in state.troubles()] == [(LIST, EXPIRED)]
    assert scene.holds("listed-1.example")
    scene.recover()


def test_mix_and_match(scene: Scene) -> None:
    """Each file is signed by the right people; together they were never published."""
    old = scene.keep_site()
    scene.maker.next(listed(range(30)))
    for file in ("2.snapshot.json", "2.list-a.json"):
        place = scene.maker.folder / "metadata" / file
        right = place.read_bytes()
        place.write_bytes((old / "metadata" / file.replace("2.", "1.")).read_bytes())
        list_id = LIST if LIST in file else ""
        scene.withstand(DAMAGED, list_id)
        place.write_bytes(right)
    scene.recover()


def test_wrong_roles_key(scene: Scene) -> None:
    online = scene.maker.holders["timestamp"][0]
    bulk = scene.maker.holders[f"{LIST}-bulk"][0]
    targets = scene.maker.holders["targets"][0]
    for signed_by in (online, bulk, targets):
        scene.maker.next(listed(range(30)), signed_by=signed_by)
        scene.withstand(NOT_SIGNED, LIST)
    scene.maker.publish_snapshot(signed_by=targets)
    scene.maker.publish_timestamp()
    scene.withstand(NOT_SIGNED)
    scene.maker.publish_snapshot()
    scene.maker.publish_timestamp(signed_by=scene.maker.holders["root"][0])
    scene.withstand(NOT_SIGNED)
    scene.recover()


def test_wrong_lists_key(tmp_path: Path) -> None:
    """Who signs one list can't sign another, nor put its files there."""
    scene = Scene(tmp_path, ("list-a", "list-b"))
    try:
        scene.maker.publish_all({"list-a": listed(range(20)), "list-b": listed(range(20))})
        assert not scene.update().troubles() and scene.holds("listed-1.example", "list-b")
        scene.maker.publish_list(listed(range(30)), signed_by=scene.maker.holders["list-b"][0])
        before = scene.in_force()
        scene.maker.next(listed(range(21)), "list-b")
        state = scene.update()
        assert [(place, code) for place, code, _ in state.troubles()] == [("list-a", NOT_SIGNED)]
        assert scene.holds("listed-20.example", "list-b"), "the other list goes on"
        assert {name: data for name, data in scene.in_force().items() if "list-a" in name}.items() <= before.items()
        # list-b's people sign a path of list-a in their own role: nobody looks for it there.
        scene.maker.targets["list-b"]["lists/list-a/index.json"] = scene.maker.targets["list-a"][
            "lists/list-a/index.json"
        ]
        scene.maker.next(listed(range(22)), "list-b")
        assert [place for place, _, _ in scene.update().troubles()] == ["list-a"]
        scene.recover()
    finally:
        scene.server.close()


@pytest.mark.parametrize("role", ["list", "targets", "root"])
def test_one_signature_short_of_the_threshold(scene: Scene, role: str) -> None:
    maker = scene.maker
    if role == "list":
        maker.next(listed(range(30)), signed_by=maker.holders[LIST][0][:1])
    elif role == "targets":
        maker.publish_role("targets", maker.holders["targets"][0][:1])
        maker.publish_online()
    else:
        maker.publish_root(maker.holders["root"][0][:2])
    scene.withstand(NOT_SIGNED, LIST if role == "list" else "")
    if role == "root":
        maker.versions["root"] -= 1
        maker.publish_root()
    elif role == "targets":
        maker.publish_role("targets")
    scene.recover()


def test_one_person_signs_twice(scene: Scene) -> None:
    maker = scene.maker
    maker.publish_list(listed(range(30)), signed_by=maker.holders[LIST][0][:1])
    path = maker.folder / "metadata" / "2.list-a.json"
    made = json.loads(path.read_bytes())
    made["signatures"] *= 2
    path.write_text(json.dumps(made))
    maker.meta[f"{LIST}.json"].length = None
    maker.meta[f"{LIST}.json"].hashes = None
    maker.publish_online()
    scene.withstand(DAMAGED, LIST)
    scene.recover()


def test_revoked_key(scene: Scene) -> None:
    maker = scene.maker
    maker.holders[LIST] = ([f"{LIST}/list-1", f"{LIST}/list-4", f"{LIST}/list-5"], 2)
    maker.publish_role(LIST)
    maker.publish_feed()
    maker.publish_online()
    assert not scene.update().troubles()
    maker.next(listed(range(30)), signed_by=[f"{LIST}/list-1", f"{LIST}/list-2"])
    scene.withstand(NOT_SIGNED, LIST)
    scene.recover()


def test_revoked_root_key_on_a_mirror_that_hides_the_new_root(scene: Scene) -> None:
    """The box has seen root 2; somebody with keys of root 1 serves a feed that never heard of it, to a wiped disk."""
    old = scene.keep_site()
    maker = scene.maker
    maker.holders["timestamp"] = (["online-2"], 1)
    maker.publish_root()
    scene.recover()
    shutil.rmtree(scene.box.folder / "tuf")
    shutil.copy(maker.folder / "metadata" / "timestamp.json", old / "metadata")
    scene.server.folder = old
    scene.withstand(NOT_SIGNED)
    maker.holders["timestamp"] = (["online"], 1)
    maker.publish_timestamp()
    for path in (maker.folder / "metadata").iterdir():
        if path.name != "2.root.json":
            shutil.copy(path, old / "metadata")
    scene.withstand(ROLLBACK)
    maker.holders["timestamp"] = (["online-2"], 1)
    scene.recover()


def test_fast_forward_recovery(scene: Scene) -> None:
    """Stolen keys push all versions and the serial to their ends; new keys begin anew, and the box follows."""
    maker = scene.maker
    maker.versions |= {LIST: 10**9, "snapshot": 10**9, "timestamp": 10**9}
    maker.next(listed(range(10, 30)), serial=4_000_000_000)
    assert not scene.update().troubles()
    maker.versions |= {LIST: 5, "snapshot": 5, "timestamp": 5}
    maker.next(listed(range(20)), serial=5)
    scene.withstand(ROLLBACK)  # without new keys nobody comes back from there
    for role in ("snapshot", "timestamp", LIST, "targets"):
        names, threshold = maker.holders[role]
        maker.holders[role] = ([f"{name}, new" for name in names], threshold)
    maker.publish_root()
    maker.publish_list(listed(range(20)), serial=6)
    maker.publish_feed()
    maker.publish_online()
    state = scene.update()
    assert not state.troubles(), state.troubles()
    assert state.lists[LIST].serial == 6 and state.root_version == 2 and scene.holds("listed-0.example")
    scene.recover()


def test_clock_set_back(scene: Scene) -> None:
    """A timestamp that was good for an hour, kept by somebody, and a box whose clock begins in 1970."""
    maker = scene.maker
    end = datetime.fromtimestamp(maker.now + 3600, UTC)
    kept = maker.publish_timestamp(expires=end).to_bytes()
    honest = maker.versions["timestamp"]
    maker.versions["timestamp"] = 1
    (maker.folder / "metadata" / "timestamp.json").unlink()
    scene.recover()  # the box's clock is past that hour when it believes something
    maker.versions["timestamp"] = honest
    scene.maker.now += DAY
    maker.publish_timestamp()
    assert not scene.update().troubles()
    (maker.folder / "metadata" / "timestamp.json").write_bytes(kept)
    before = scene.in_force()
    for name in ("timestamp.json", "snapshot.json"):
        (scene.box.folder / "tuf" / name).unlink()
    state = scene.box.client.update(0.0)
    assert state.code == EXPIRED and state.clock_behind > DAY and scene.in_force() == before
    maker.publish_timestamp()
    state = scene.box.client.update(10.0)
    assert not state.troubles() and state.clock_behind > DAY, "a clock at 1970 keeps nobody from what is new"
    scene.recover()


def test_clock_set_back_before_the_first_update(scene: Scene) -> None:
    """A box that has seen nothing yet knows at least when it was made."""
    fresh = Box(scene.folder / "fresh", scene.server.url, scene.root)
    made = START + 5 * DAY
    state = FeedClient(fresh.config, fresh.folder, released=made, limits=fresh.limits).update(0.0)
    assert state.code == EXPIRED and state.clock_behind == made
    assert FeedClient(fresh.config, fresh.folder, released=START, limits=fresh.limits).update(0.0).code == ""


def test_clock_far_ahead_is_told_and_deletes_nothing(scene: Scene) -> None:
    """By a clock in 2036 all signatures have ended; the server's own clock tells which of the two it is."""
    page = scene.server.pages.get("/metadata/timestamp.json")

    def answer(exchange: Any) -> None:
        exchange.answer(scene.maker.folder.joinpath("metadata/timestamp.json").read_bytes(), Date=date)

    date = datetime.fromtimestamp(scene.maker.now, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert page
    scene.server.pages["/metadata/timestamp.json"] = answer
    now, scene.maker.now = scene.maker.now, scene.maker.now + 3650 * DAY
    assert "by this box's clock it is 2036" in scene.withstand(CLOCK)
    scene.maker.now = now
    scene.recover()


def test_malicious_mirror_with_a_valid_old_state(scene: Scene) -> None:
    """Nothing on the mirror has expired, all is signed; it is only not the newest, and lacks an entry."""
    old = scene.keep_site()
    scene.maker.next(listed(range(30)))
    assert not scene.update().troubles() and scene.holds("listed-29.example")
    mirror = Box(scene.box.folder.parent, f"{scene.server.url}/mirror", scene.root)
    shutil.copytree(old, scene.maker.folder / "mirror")
    honest, scene.box = scene.box, mirror
    scene.withstand(ROLLBACK)
    assert scene.holds("listed-29.example")
    scene.box = honest
    scene.recover()


@pytest.mark.parametrize(
    "path",
    [
        "lists/list-a/../../../../../evil.tags",
        "lists/list-b/2.tags",
        "lists/list-a/3.tags",
        "lists/list-a/2.tags.gz",
        "base/2.tags",
    ],
)
def test_path_traversal_in_target_names(scene: Scene, path: str) -> None:
    """The names of a list's files come from its index, with valid signatures."""
    maker = scene.maker
    made = maker.make_tags(listed(range(30)), serial=2)
    file = maker.add_target(LIST, path, made)
    maker.deltas[LIST].clear()
    maker.states[LIST].clear()
    maker.next(listed(range(30)), whole=made)
    assert maker.targets[LIST][path]
    maker.versions[LIST] -= 1
    rewrite_index(maker, whole={"path": path, "size": file.size, "sha256": file.sha256})
    told = scene.withstand(DAMAGED, LIST)
    assert "is no state of the list" in told or "$.whole.path" in told
    scene.recover()


@pytest.mark.parametrize("path", ["base/../../../../2026q3-1.base", "base/2026q3-1.base/x", "2026q3-9.base"])
def test_path_traversal_in_the_name_of_the_base(scene: Scene, path: str) -> None:
    maker = scene.maker
    right = maker.base_file
    maker.base_file = maker.add_target(
        "targets", path, bytes(scene.in_force()["2026q3-1." + right.sha256[:8] + ".base"])
    )
    maker.publish_feed()
    maker.publish_online()
    told = scene.withstand(DAMAGED)
    assert "is no base of epoch" in told or "$.base.path" in told
    maker.base_file = right
    maker.publish_feed()
    scene.recover()


@pytest.mark.parametrize("list_id", ["../../evil", "..", "a/b", "UPPER", "", "a" * 40])
def test_path_traversal_in_the_name_of_a_list(scene: Scene, list_id: str) -> None:
    maker = scene.maker
    place = {"en": "x", "ro": "x", "ru": "x"}
    rewrite(maker, "targets", "feed.json", lists=[{"id": list_id, "title": place}])
    maker.publish_online()
    assert "feed.json" in scene.withstand(DAMAGED)
    maker.publish_feed()
    scene.recover()


def test_path_traversal_in_the_name_of_a_role(scene: Scene) -> None:
    """A delegation whose name would lead out of the folder, with valid signatures of the targets' people."""
    maker = scene.maker
    made = json.loads((maker.folder / "metadata" / f"{maker.versions['targets']}.targets.json").read_bytes())
    roles = made["signed"]["delegations"]["roles"]
    evil = {**roles[0], "name": "../../../evil", "terminating": False}
    delegations = Delegations.from_dict({"keys": made["signed"]["delegations"]["keys"], "roles": [evil, *roles]})
    maker.publish_role("targets", delegations=delegations)
    maker.publish_online()
    before = scene.disk()
    scene.update()
    assert scene.disk() == before
    maker.publish_role("targets")
    scene.recover()


def rewrite(maker: Any, role: str, path: str, **changes: Any) -> None:
    """Change fields of a JSON target, however wrong, and have its role sign that."""
    made = json.loads(maker.place(path).read_bytes())
    maker.add_target(role, path, json.dumps(made | changes).encode())
    maker.publish_role(role)


def rewrite_index(maker: Any, **changes: Any) -> None:
    rewrite(maker, LIST, f"lists/{LIST}/index.json", **changes)
    maker.publish_online()
