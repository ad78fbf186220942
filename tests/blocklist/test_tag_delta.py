"""Deltas lead to exactly the state that was signed, are small, and cost a bounded price whatever their bytes are."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.blocklist.feed_file import open_file, pack_file
from guardian.blocklist.tag_delta import MAGIC, apply_delta, count_growth, find_missing, make_delta
from guardian.blocklist.tag_table import MAGIC as TAGS_MAGIC
from guardian.blocklist.tag_table import TagTable, pack_tags
from guardian.errors import ListError
from tests.blocklist.feeds import CLASSES, listed, small_tags

_VALUES = st.sets(st.integers(0, (1 << 64) - 1) | st.integers(0, 2000), max_size=60)


def tags(values: set[int] | list[int], serial: int = 1, **changes: Any) -> bytes:
    header, _ = open_file(small_tags([]), TAGS_MAGIC, "it")
    return pack_tags(header | {"serial": serial} | changes, array("Q", sorted(values)))


@settings(max_examples=200, deadline=None)
@given(_VALUES, _VALUES, _VALUES, st.booleans())
def test_a_delta_leads_to_the_next_state(kept: set[int], gone: set[int], come: set[int], other: bool) -> None:
    old = tags(kept | gone)
    new = tags(kept | come, 2, created=1.9e9, classes=CLASSES[:2] if other else CLASSES)
    delta = make_delta(old, new)
    assert apply_delta(old, delta) == new
    assert make_delta(old, new) == delta
    grown = {value >> 8 for value in kept | come} - {value >> 8 for value in kept | gone}
    assert count_growth(TagTable(old), TagTable(new)) == len([v for v in sorted(kept | come) if v >> 8 in grown])


def test_a_changed_class_goes_and_comes_and_is_no_growth() -> None:
    old = small_tags([listed("listed-1.example", number=0), listed("listed-2.example")])
    new = small_tags([listed("listed-1.example", number=1), listed("listed-2.example")], serial=2)
    delta = make_delta(old, new)
    header, _ = open_file(delta, MAGIC, "it")
    assert (header["removed"], header["added"]) == (1, 1)
    assert apply_delta(old, delta) == new
    assert count_growth(TagTable(old), TagTable(new)) == 0


def test_a_new_salt_makes_everything_new() -> None:
    old = tags({1 << 8, 2 << 8})
    new = tags({1 << 8, 2 << 8, 3 << 8}, 2, salt_digest="0" * 16)
    assert count_growth(TagTable(old), TagTable(new)) == 3
    with pytest.raises(ListError, match="not of one list, epoch and salt"):
        make_delta(old, new)


def test_the_delta_of_a_day_is_small() -> None:
    rng = random.Random(1)
    before = [rng.getrandbits(64) for _ in range(10_000)]
    after = before[50:] + [rng.getrandbits(64) for _ in range(50)]
    delta = make_delta(tags(before), tags(after, 2, created=1.9e9))
    assert len(delta) < 50 * (1.3 + 7.6) + 350
    assert b"authority" not in delta  # what has not changed is not sent


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (tags({1}, 2), tags({1}, 2), "serial 2 does not come after 2"),
        (tags({1}, 3), tags({1}, 2), "serial 2 does not come after 3"),
        (tags({1}), tags({1}, 2, list="list-2"), "not of one list"),
        (tags({1}), tags({1}, 2, epoch="2027q2"), "not of one list"),
        (tags({1}, 1, later=5), tags({1}, 2), "does not lead to the signed result"),
        (tags({1}), b"", "does not begin"),
    ],
)
def test_no_delta_between_what_does_not_belong_together(old: bytes, new: bytes, message: str) -> None:
    with pytest.raises(ListError, match=message):
        make_delta(old, new)


OLD, NEW = tags(set(range(0, 100_000, 97))), tags(set(range(291, 120_000, 97)) | {1 << 60}, 2)
DELTA = make_delta(OLD, NEW)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"list": "list-2"}, "is for another list"),
        ({"from": 2}, "does not start at serial 1"),
        ({"from": None}, "'from'"),
        ({"to": 1}, "'to'"),
        ({"to": 3}, "leads to serial 2 instead of 3"),
        ({"result": "0" * 64}, "does not lead to the signed result"),
        ({"result": ""}, "'result'"),
        ({"removed": 1 << 60}, "'removed'"),
        ({"removed": -1}, "'removed'"),
        ({"added": 1 << 60}, "'added'"),
        ({"added_rice": 64}, "'added_rice'"),
        ({"removed_rice": -1}, "'removed_rice'"),
        ({"added_rice": 63}, "do not fit|out of bounds|too soon"),
        ({"header": []}, "'header' must be an object"),
        ({"header": {"serial": 3}}, "does not lead"),
        ({"header": {"serial": 2, "classes": 5}}, "does not lead"),
    ],
)
def test_a_delta_that_lies_is_refused(changes: dict[str, Any], message: str) -> None:
    header, sections = open_file(DELTA, MAGIC, "it")
    with pytest.raises(ListError, match=message):
        apply_delta(OLD, pack_file(MAGIC, header | changes, bytes(sections), "it"))


def test_a_delta_for_another_state_is_refused() -> None:
    assert apply_delta(OLD, DELTA) == NEW
    for old in (NEW, tags({5}), tags(set(range(0, 100_000, 97)) - {9700} | {9701})):
        with pytest.raises(ListError):
            apply_delta(old, DELTA)


def test_a_header_that_no_file_can_hold_is_refused() -> None:
    header, sections = open_file(DELTA, MAGIC, "it")
    header["header"]["later"] = "SIGNED"
    delta = pack_file(MAGIC, header, bytes(sections), "it").replace(b"SIGNED", rb"\ud800")
    with pytest.raises(ListError, match="its header cannot be written"):
        apply_delta(OLD, delta)


def test_a_result_that_is_of_another_epoch_is_refused() -> None:
    moved = tags({1}, 2, epoch="2027q2")
    header, sections = open_file(make_delta(tags({1}), tags({1}, 2)), MAGIC, "it")
    header |= {"header": header["header"] | {"epoch": "2027q2"}, "result": hashlib.sha256(moved).hexdigest()}
    with pytest.raises(ListError, match="leads to another list or epoch"):
        apply_delta(tags({1}), pack_file(MAGIC, header, bytes(sections), "it"))


def test_every_single_flipped_bit_is_refused_or_leads_to_the_same() -> None:
    old, new = tags(set(range(0, 1000, 97))), tags(set(range(300, 1200, 97)), 2)
    delta = make_delta(old, new)
    for at in range(8 * len(delta)):
        broken = bytearray(delta)
        broken[at // 8] ^= 1 << at % 8
        try:
            assert apply_delta(old, bytes(broken)) == new
        except ListError:
            continue


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\xaa", None])
@pytest.mark.parametrize("parameter", [0, 1, 8, 47, 63])
def test_hostile_bytes_cost_no_more_than_their_size(fill: bytes | None, parameter: int) -> None:
    old = tags(set(range(0, 1 << 40, 1 << 30)))
    size = 50_000
    stream = random.Random(parameter).randbytes(size) if fill is None else fill * size
    header, _ = open_file(make_delta(old, tags({1}, 2)), MAGIC, "it")
    for added in (0, 1, size // 2, size):
        lie = header | {"removed": 1000, "added": added, "added_rice": parameter, "removed_rice": parameter}
        delta = pack_file(MAGIC, lie, stream, "it")
        tracemalloc.start()
        try:
            with pytest.raises(ListError):
                apply_delta(old, delta)
            assert tracemalloc.get_traced_memory()[1] < 40 * (len(old) + len(delta))
        finally:
            tracemalloc.stop()


@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)))
def test_missing_numbers(old: set[int], new: set[int]) -> None:
    assert list(find_missing(sorted(old), sorted(new))) == sorted(new - old)
