"""Slots in the kernel's marks: a running flow must mean the same device before and after a restart."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.errors import GuardianError
from guardian.store.slots import assign_slots, load_slots, save_slots

MOST = 6
DEVICES = st.lists(st.sampled_from("abcdefghij"), max_size=12)
BEFORE = st.lists(st.sampled_from("abcdefghijxyz"), unique=True, max_size=8).flatmap(
    lambda names: st.permutations(range(-1, 12)).map(lambda slots: dict(zip(names, slots, strict=False)))
)


@given(DEVICES, BEFORE)
def test_everybody_keeps_a_slot_and_no_two_share_one(devices: list[str], before: dict[str, int]) -> None:
    slots = assign_slots(devices, before, MOST)
    assert set(slots) <= set(devices)
    assert len(set(slots.values())) == len(slots)
    assert all(1 <= slot <= MOST for slot in slots.values())
    assert len(slots) == min(len(set(devices)), MOST)
    for device, slot in before.items():
        if device in devices and 1 <= slot <= MOST:
            assert slots[device] == slot


@given(DEVICES, BEFORE)
def test_assigning_again_changes_nothing(devices: list[str], before: dict[str, int]) -> None:
    slots = assign_slots(devices, before, MOST)
    assert assign_slots(devices, slots, MOST) == slots


def test_a_slot_of_somebody_who_left_is_taken_last() -> None:
    """His flows may still run, and must not become another's."""
    before = {"gone": 1, "stays": 2}
    assert assign_slots(["stays", "new"], before, MOST) == {"stays": 2, "new": 3}
    crowd = [f"new{number}" for number in range(MOST - 1)]
    slots = assign_slots(["stays", *crowd], before, MOST)
    assert slots[crowd[-1]] == 1


def test_the_first_devices_have_slots_when_there_are_too_many() -> None:
    devices = [f"device{number}" for number in range(MOST + 3)]
    assert list(assign_slots(devices, {}, MOST)) == devices[:MOST]


@settings(deadline=None)  # the disk is asked to keep each of them
@given(st.dictionaries(st.text(max_size=5), st.integers(1, 254), max_size=5))
def test_what_is_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, slots: dict[str, int]) -> None:
    path = str(tmp_path_factory.mktemp("slots") / "slots.json")
    unique = {name: number for number, name in enumerate(slots, 1)}
    save_slots(path, unique)
    assert load_slots(path) == unique
    assert os.listdir(os.path.dirname(path)) == ["slots.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "3", "null", '{"a": "1"}', '{"a": 1.5}', '{"a": null}', '{"a": [1]}', "\udcff", "[" * 5000]
)
def test_a_file_that_makes_no_sense_is_no_slots(tmp_path: Path, text: str) -> None:
    """Then running flows are judged anew, which is safe."""
    path = tmp_path / "slots.json"
    path.write_text(text, errors="surrogateescape")
    assert load_slots(str(path)) == {}


def test_two_devices_with_one_slot_are_no_slots(tmp_path: Path) -> None:
    path = tmp_path / "slots.json"
    path.write_text(json.dumps({"a": 1, "b": 1}))
    assert load_slots(str(path)) == {}
    path.write_text(json.dumps({"a": True, "b": 2}))
    assert load_slots(str(path)) == {"b": 2}


def test_no_file_is_no_slots(tmp_path: Path) -> None:
    assert load_slots(str(tmp_path / "slots.json")) == {}
    assert load_slots(str(tmp_path)) == {}


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GuardianError, match=r"cannot write .*file/slots.json: Not a directory"):
        save_slots(str(tmp_path / "file" / "slots.json"), {"a": 1})
    (tmp_path / "slots.json").mkdir()
    with pytest.raises(GuardianError, match="cannot write"):
        save_slots(str(tmp_path / "slots.json"), {"a": 1})
