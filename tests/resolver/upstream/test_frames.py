from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import FormError, UpstreamError
from guardian.resolver.upstream.frames import MOST_STRAYS, FrameDialog
from guardian.resolver.upstream.message import Query, Reply


def ask(dialog: FrameDialog, number: int) -> tuple[int, bytes]:
    name = f"{number:05}".encode()
    key, data = dialog.ask(Query(bytes((len(name),)) + name + b"\0\0\1\0\1"))
    message = data[2:]
    assert int.from_bytes(data[:2]) == len(message)
    end = message.index(b"\0", 12) + 5
    answer = message[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + message[12:end]
    return key, len(answer).to_bytes(2) + answer


@given(st.permutations(range(12)), st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_any_order_in_any_pieces(order: list[int], sizes: list[int]) -> None:
    dialog = FrameDialog(padded=False)
    asked = [ask(dialog, number) for number in range(12)]
    stream = b"".join(asked[number][1] for number in order)
    got: list[int] = []
    turn = 0
    while stream:
        size = sizes[turn % len(sizes)]
        outcomes, out = dialog.receive(stream[:size])
        stream = stream[size:]
        turn += 1
        assert out == b""
        for key, outcome in outcomes:
            assert isinstance(outcome, Reply)
            assert outcome.rcode == 3
            got.append(key)
    assert got == [asked[number][0] for number in order]
    assert dialog.heard == 12


@given(st.binary(max_size=400))
def test_garbage_settles_nothing_well_and_is_bounded(garbage: bytes) -> None:
    dialog = FrameDialog(padded=True)
    ask(dialog, 1)
    try:
        outcomes, _ = dialog.receive(garbage)
    except FormError:
        return
    assert all(isinstance(outcome, UpstreamError) for _, outcome in outcomes)


def test_ids_of_queries_that_wait_are_all_different() -> None:
    dialog = FrameDialog(padded=False)
    keys = [ask(dialog, number)[0] for number in range(3000)]
    assert len(set(keys)) == 3000
    assert not dialog.full
    for number in range(1096):
        ask(dialog, number)
    assert dialog.full
    dialog.forget(keys[0])
    assert not dialog.full


def test_late_answers_are_fine_and_a_flood_of_them_is_not() -> None:
    dialog = FrameDialog(padded=False)
    key, late = ask(dialog, 1)
    dialog.forget(key)
    for _ in range(MOST_STRAYS):
        assert dialog.receive(late) == ([], b"")
    with pytest.raises(FormError):
        dialog.receive(late)


def test_a_wrong_question_and_truncation_settle_the_query_badly() -> None:
    dialog = FrameDialog(padded=False)
    key, answer = ask(dialog, 1)
    outcomes, _ = dialog.receive(answer.replace(b"00001", b"00002"))
    assert [(found, str(error)) for found, error in outcomes] == [(key, "an answer to another question")]
    key, answer = ask(dialog, 1)
    outcomes, _ = dialog.receive(answer[:4] + bytes((answer[4] | 2,)) + answer[5:])
    assert [(found, str(error)) for found, error in outcomes] == [(key, "a truncated answer over a stream")]
