from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from guardian.config import load_config
from guardian.policy.model import Household
from guardian.store.settings import ConflictError, Entry, list_changes
from guardian.web.console import Console
from tests.gateway.product import compile_starter_image

SETTINGS = """
state: state
language: en
upstreams: {servers: [127.0.0.1:1]}
household: home.yaml
"""
HOME = """
timezone: Europe/Chisinau
profiles:
  ana: {name: Ana, age: 10-12}
"""


@pytest.fixture
def console(tmp_path: Path) -> Console:
    (tmp_path / "guardian.yaml").write_text(SETTINGS)
    (tmp_path / "home.yaml").write_text(HOME)
    (tmp_path / "state").mkdir()
    config = load_config(str(tmp_path / "guardian.yaml"))
    return Console(config, str(tmp_path / "guardian.yaml"))


def pause(household: Household) -> Household:
    first, *others = household.profiles
    return dataclasses.replace(household, profiles=(dataclasses.replace(first, paused_until=99.0), *others))


def test_a_change_is_in_force_and_in_the_journal(console: Console) -> None:
    assert console.home()[1] == 0
    revision = console.edit(Entry("Mama", "ana paused", "pause", {"profile": "Ana"}), pause)
    assert revision == 1
    assert console.home()[1] == 1
    assert console.household().profiles[0].paused_until == 99.0
    assert [change[1:3] for change in list_changes(console.config.settings)] == [("Mama", "ana paused")]


def test_the_second_of_two_parents_who_saw_the_same_is_told(console: Console) -> None:
    console.edit(Entry("Mama", "first"), pause, if_match=0)
    with pytest.raises(ConflictError, match="changed meanwhile"):
        console.edit(Entry("Tata", "second"), lambda household: household, if_match=0)
    assert console.home()[1] == 1


def test_a_change_that_raises_leaves_everything(console: Console) -> None:
    def fail(household: Household) -> Household:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        console.edit(Entry("Mama", "no"), fail)
    assert console.home()[1] == 0
    assert list_changes(console.config.settings) == []


def test_a_change_from_outside_is_seen(console: Console) -> None:
    other = Console(console.config, console.config_path)
    other.edit(Entry("guardian household", "paused"), pause)
    assert console.household().profiles[0].paused_until == 99.0


def test_the_policy_follows_the_household(console: Console) -> None:
    now = time.time()
    before = console.policy(now)
    assert console.policy(now) is before
    console.edit(Entry("Mama", "paused"), pause)
    assert console.policy(now).profiles["ana"].profile.paused_until == 99.0


def test_a_draft_changes_nothing(console: Console) -> None:
    draft = console.draft_policy(pause(console.household()), time.time())
    assert draft.profiles["ana"].profile.paused_until == 99.0
    assert console.policy(time.time()).profiles["ana"].profile.paused_until == 0.0


def test_new_lists_are_in_force_at_once(console: Console) -> None:
    image = Path(console.config.lists.image)
    before = console.policy(time.time())
    assert "category:adult" in before.tags
    image.parent.mkdir(parents=True)
    aside = image.with_name("new")
    aside.write_bytes(compile_starter_image())
    aside.rename(image)
    after = console.policy(time.time())
    assert after is not before
    assert after.lists is not before.lists
    assert console.policy(time.time()) is after
