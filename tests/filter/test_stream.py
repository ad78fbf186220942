"""The client's stream: against a map from place to byte, and the bounds of what is held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.filter.stream import MAX_SEGMENTS, MAX_STREAM_BYTES, MERGED_BYTES, Placement, Stream

ROOM = MAX_STREAM_BYTES + MERGED_BYTES


@given(
    initial=st.sampled_from([0, 1000, 0xFFFFFFF0, 0x7FFFFFF8]),
    pieces=st.lists(st.tuples(st.integers(-3, 40), st.binary(min_size=1, max_size=12)), max_size=20),
    honest=st.booleans(),
)
def test_a_stream_is_a_map_of_its_bytes(initial: int, pieces: list[tuple[int, bytes]], honest: bool) -> None:
    stream, seen = Stream(initial), dict[int, int]()
    truth = bytes(range(60))
    for offset, piece in pieces:
        if honest:
            piece = (b"\xff" * 3 + truth)[offset + 3 : offset + 3 + len(piece)]
        placed = {place: byte for place, byte in enumerate(piece, offset) if place >= 0}
        agrees = all(seen.get(place, byte) == byte for place, byte in placed.items())
        sequence = initial + offset & 0xFFFFFFFF
        assert stream.agrees(sequence, piece) is agrees
        before = stream.end
        placement = stream.place(sequence, piece)
        assert (placement is Placement.CONFLICT) is not agrees
        assert not (honest and placement is Placement.CONFLICT)
        if not agrees:
            break
        seen |= placed
        whole = next(place for place in range(len(seen) + 1) if place not in seen)
        assert stream.end == whole
        assert bytes(stream.data) == bytes(seen[place] for place in range(whole))
        assert (placement is Placement.NEW) is (whole > before)
        assert stream.size >= len(seen)


def test_bytes_once_seen_are_final() -> None:
    stream = Stream(100)
    assert stream.place(100, b"abcdef") is Placement.NEW
    assert stream.place(102, b"cd") is Placement.NOTHING
    assert stream.place(102, b"cX") is Placement.CONFLICT
    assert stream.place(110, b"xyz") is Placement.NOTHING
    assert stream.place(111, b"yZ") is Placement.CONFLICT
    assert stream.place(106, b"ghijXy") is Placement.CONFLICT
    assert stream.place(106, b"ghijxy") is Placement.NEW
    assert bytes(stream.data) == b"abcdefghijxyz"


def test_two_tails_behind_a_gap() -> None:
    stream = Stream(0)
    assert stream.place(5, b"first") is Placement.NOTHING
    assert stream.place(5, b"other") is Placement.CONFLICT
    assert not stream.agrees(8, b"xx")


def test_sequence_numbers_wrap_and_streams_go_on() -> None:
    stream = Stream(0xFFFFFFFE)
    assert stream.place(0xFFFFFFFE, b"abcd") is Placement.NEW
    assert stream.place(2, b"ef") is Placement.NEW
    assert stream.place(0, b"cd") is Placement.NOTHING
    assert stream.offset_of(0xFFFFFFFD) == -1
    stream.base = (1 << 32) + 10
    stream.data.clear()
    assert stream.offset_of(0xFFFFFFFE + 10 & 0xFFFFFFFF) == stream.base
    assert stream.place(0xFFFFFFFE + 10 & 0xFFFFFFFF, b"x") is Placement.NEW


def test_what_is_forgotten_cannot_be_said_again() -> None:
    stream = Stream(0)
    stream.place(0, b"abcdefgh")
    stream.forget(4)
    assert (stream.base, stream.end, bytes(stream.data)) == (4, 8, b"efgh")
    for sequence, payload in ((0, b"abcd"), (0, b"XXXX"), (2, b"cdef"), (2, b"XXefgh-more"), (3, b"d")):
        assert stream.place(sequence, payload) is Placement.FORGOTTEN, "its first bytes could be others"
    assert stream.place(4, b"efgh") is Placement.NOTHING
    assert stream.place(4, b"efgX") is Placement.CONFLICT
    stream.forget(100)
    assert (stream.base, stream.end) == (8, 8)


def test_before_the_first_byte_there_is_nothing() -> None:
    stream = Stream(100)
    assert stream.place(99, b"\0") is Placement.NOTHING, "a keep-alive"
    assert stream.place(98, b"\0\0ab") is Placement.NEW
    assert bytes(stream.data) == b"ab"


@pytest.mark.parametrize("step", [1, 1448, MERGED_BYTES])
def test_what_is_held_has_a_bound(step: int) -> None:
    in_order, ahead, twice = Stream(0), Stream(0), Stream(0)
    for at in range(0, 300_000, step):
        if at >= 2000 * step:
            break
        in_order.place(at, bytes(step))
        ahead.place(at + 1, bytes(step))
        twice.place(10, bytes(step))
    assert in_order.size <= 2 * ROOM
    assert ahead.size <= ROOM
    assert twice.size == step
    assert len(ahead._ahead or ()) <= MAX_SEGMENTS
    assert ahead.place(300_000, b"far") is Placement.TOO_MUCH


def test_what_is_too_much_can_come_again() -> None:
    stream = Stream(0)
    assert stream.place(ROOM, b"x") is Placement.TOO_MUCH
    assert stream.place(0, b"a") is Placement.NEW
    assert stream.place(ROOM, b"y") is Placement.NOTHING, "nothing was taken in before"
