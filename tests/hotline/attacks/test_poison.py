"""Attacks by people whose signatures are valid: floods, and what may never be blocked.

Each leaves the list in force as it is, says why, and the next honest update works.
"""

from __future__ import annotations

from typing import Any

import pytest

from guardian.catalogue.load import load_protected
from guardian.feed import BulkConsent, bulk_path, bulk_role, encode
from guardian.hotline.feed_state import DAMAGED, GROWTH, read_current
from guardian.hotline.listed import GuardedNames, Keys, open_listed
from guardian.names import format_name, parse_name
from tests.hotline.feed_maker import DAY, LIST, Scene, listed

FLOOD = [*listed(range(20)), *listed(range(600), "flood")]


def consent(scene: Scene, **changes: Any) -> None:
    """Have the second role agree with what the list is now."""
    maker = scene.maker
    serial = maker.serials[LIST]
    whole = maker.targets[LIST][f"lists/{LIST}/{serial}.tags"].hashes["sha256"]
    fields = {"list_id": LIST, "serial": serial, "sha256": whole, "reason": "test"}
    maker.add_target(bulk_role(LIST), bulk_path(LIST, serial), encode(BulkConsent(**{**fields, **changes})))
    maker.publish_role(bulk_role(LIST))
    maker.publish_online()


def test_bulk_poisoning_with_valid_signatures(scene: Scene) -> None:
    """A whole catalogue of harmless sites, signed by two people (Denmark, 2012)."""
    scene.maker.next(FLOOD)
    assert "600 entries were added where 500 may be" in scene.withstand(GROWTH, LIST)
    scene.recover()


def test_bulk_poisoning_in_small_steps(scene: Scene) -> None:
    """Each step is allowed by itself; the day is not over, and who only waits gets nothing through."""
    scene.maker.next(FLOOD[:420])
    assert not scene.update().troubles()
    scene.maker.next(FLOOD)
    for after in (3600, DAY):
        assert "200 entries were added where 100 may be" in scene.withstand(GROWTH, LIST, after=after)
    scene.maker.next(FLOOD)
    state = scene.update()
    assert not state.troubles() and scene.holds("flood-599.example"), "signed a day later it is another day's growth"


@pytest.mark.parametrize("lie", [[400.0], [-400.0, 0.0], [30.0, 60.0]], ids=["ahead", "back and now", "ahead and on"])
def test_bulk_poisoning_with_a_forged_date(scene: Scene, lie: list[float]) -> None:
    """Who signs a list says when; the day does not get longer by that."""
    maker, size = scene.maker, 20
    for days in lie:
        honest, maker.now = maker.now, maker.now + days * DAY
        size += 200
        whole = maker.make_tags(
            [*listed(range(20)), *listed(range(size - 20), "flood")], serial=maker.serials[LIST] + 1
        )
        maker.now = honest
        maker.next([], whole=whole, entries=size)
        assert not scene.update().troubles(), "not more than a day's growth"
    maker.states[LIST].clear()
    maker.next([*listed(range(20)), *listed(range(size - 20 + 520 - 200 * len(lie)), "flood")])
    assert f"{520 - 200 * len(lie)} entries were added where" in scene.withstand(GROWTH, LIST)


def test_bulk_poisoning_from_the_future(scene: Scene) -> None:
    """A flood whose date says that a month has gone by since the last one."""
    maker = scene.maker
    honest, maker.now = maker.now, maker.now + 30 * DAY
    whole = maker.make_tags(FLOOD, serial=2)
    maker.now = honest
    maker.next([], whole=whole, entries=len(FLOOD))
    assert "600 entries were added where 500 may be" in scene.withstand(GROWTH, LIST)
    maker.states[LIST].clear()
    scene.recover()


def test_a_large_change_with_the_consent_of_others(scene: Scene) -> None:
    """The control: what a second role agreed to is taken."""
    scene.maker.next(FLOOD)
    consent(scene)
    assert not scene.update().troubles() and scene.holds("flood-599.example")
    scene.recover()


@pytest.mark.parametrize(
    "changes", [{"sha256": "0" * 64}, {"serial": 1}, {"list_id": "list-b"}], ids=["file", "serial", "list"]
)
def test_bulk_poisoning_with_a_consent_for_something_else(scene: Scene, changes: dict[str, Any]) -> None:
    scene.maker.next(FLOOD)
    consent(scene, **changes)
    scene.withstand(GROWTH, LIST)
    scene.recover()


def test_bulk_poisoning_with_a_consent_by_the_same_people(scene: Scene) -> None:
    """Who signs the list signs the consent too: as a target of the list's role, and in the other role's name."""
    maker = scene.maker
    maker.next(FLOOD)
    holders = maker.holders[bulk_role(LIST)]
    maker.holders[bulk_role(LIST)] = maker.holders[LIST]
    consent(scene)
    told = scene.withstand("not-signed", LIST)
    assert "signed by 0/1 keys" in told
    maker.holders[bulk_role(LIST)] = holders
    maker.targets[LIST][bulk_path(LIST, 2)] = maker.targets[bulk_role(LIST)].pop(bulk_path(LIST, 2))
    maker.publish_role(bulk_role(LIST))
    maker.publish_role(LIST)
    maker.publish_online()
    scene.withstand(GROWTH, LIST)
    scene.recover()


def test_bulk_poisoning_with_a_consent_that_is_none(scene: Scene) -> None:
    maker = scene.maker
    maker.next(FLOOD)
    maker.add_target(bulk_role(LIST), bulk_path(LIST, 2), b'{"list": "list-a", "serial": "2"}')
    maker.publish_role(bulk_role(LIST))
    maker.publish_online()
    scene.withstand(DAMAGED, LIST)
    scene.recover()


def test_a_box_that_was_off_may_make_up_for_it_but_not_without_end(scene: Scene) -> None:
    maker = scene.maker
    for _ in range(50):
        maker.now += 2 * DAY - 60
        maker.publish_online()
    for role in ("targets", LIST, bulk_role(LIST)):
        maker.publish_role(role)
    maker.publish_online()
    maker.next([*listed(range(20)), *listed(range(16_000), "flood")])
    assert "may be" in scene.withstand(GROWTH, LIST)
    maker.next([*listed(range(20)), *listed(range(2_000), "flood")])
    assert not scene.update().troubles() and scene.holds("flood-1999.example")


def test_bulk_poisoning_by_a_new_salt(scene: Scene) -> None:
    """With a new salt every tag is new, and nobody can tell which entries were there before: all count."""
    maker = scene.maker
    maker.new_base("2026q4")
    maker.publish_list(FLOOD)
    maker.publish_feed()
    maker.publish_online()
    assert "620 entries were added" in scene.withstand(GROWTH, LIST)
    maker.publish_list(listed(range(25)))
    maker.publish_online()
    state = scene.update()
    assert not state.troubles() and state.epoch == "2026q4" and scene.holds("listed-24.example")
    scene.recover()


def test_bulk_poisoning_by_a_new_salt_that_exchanges_the_list(scene: Scene) -> None:
    """As many entries as before, all of them others: that needs the other people too."""
    maker = scene.maker
    maker.next(FLOOD)
    consent(scene)
    assert not scene.update().troubles() and scene.holds("flood-1.example")
    maker.new_base("2026q4")
    maker.publish_list(listed(range(620), "poison"))
    maker.publish_feed()
    maker.publish_online()
    assert "620 entries were added" in scene.withstand(GROWTH, LIST)
    consent(scene)
    state = scene.update()
    assert not state.troubles() and scene.holds("poison-619.example")


def test_protected_name_with_valid_signatures(scene: Scene) -> None:
    """The right people sign that a helpline, a captive portal check and the system's updates are to be blocked."""
    below, exact = load_protected()
    key_domain = scene.maker.base.key_domain
    protected = sorted({name for name in below if key_domain(name) == name})[:8]
    above = sorted({found for name in below | exact if (found := key_domain(name)) and found != name})[:8]
    assert len(protected) == 8 and above, "the catalogue protects something"
    scene.maker.real_keys = True
    scene.maker.next(["listed-1.example", *map(format_name, (*protected, *above))])
    assert not scene.update().troubles(), "by its signatures it is a list like others"
    current = read_current(scene.box.folder)
    assert current

    def blocked(name: bytes, guarded: GuardedNames) -> bool:
        listed = open_listed(current, (), guarded, Keys())
        listed.settle_now(name)
        return bool(listed.look(name))

    nobody, guarded = GuardedNames((), ()), GuardedNames(below, exact)
    deep = [parse_name(f"www.{format_name(name)}") for name in protected]
    for name in (*protected, *deep, *above):
        assert blocked(name, nobody), "the control: the list does have it"
        assert not blocked(name, guarded), format_name(name)
    assert blocked(parse_name("listed-1.example"), guarded)
