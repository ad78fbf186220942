"""The bits of marks: nothing overlaps, and verdicts are packet marks."""

from __future__ import annotations

from guardian.filter import marks


def test_bits_do_not_overlap() -> None:
    parts = (marks.STATE_MASK, marks.ALWAYS, marks.REDIRECTED, marks.SLOT_MASK)
    assert sum(parts) == marks.OWN_MASK
    assert marks.PACKET_MASK == marks.FLOW_MASK | marks.QUEUE
    assert marks.FLOW_MASK & marks.QUEUE == 0


def test_states_differ() -> None:
    states = {marks.UNDECIDED, marks.ALLOWED, marks.REFUSED, marks.WATCHED}
    assert states == set(range(marks.STATE_MASK + 1))
    assert marks.ANSWERED & marks.STATE_MASK == marks.REFUSED
    assert marks.PASS == marks.UNDECIDED
    assert marks.DROP < 0


def test_slots() -> None:
    assert marks.mark_of_slot(0) == 0
    assert marks.mark_of_slot(marks.UNKNOWN_SLOT) == marks.SLOT_MASK
    assert len({marks.mark_of_slot(slot) for slot in range(256)}) == 256
    assert all(marks.mark_of_slot(slot) & ~marks.SLOT_MASK == 0 for slot in range(256))
    assert marks.MAX_SLOTS < marks.UNKNOWN_SLOT
