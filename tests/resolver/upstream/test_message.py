from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import FormError
from guardian.resolver.upstream.message import Query, build_query, draw_id, read_reply

labels = st.binary(min_size=1, max_size=20)
questions = st.builds(
    lambda parts, kind: b"".join(bytes((len(part),)) + part for part in parts) + b"\0" + struct.pack(">2H", kind, 1),
    st.lists(labels, max_size=6),
    st.integers(1, 65535).filter(lambda kind: kind not in (41, 249, 250)),
)
queries = st.builds(Query, questions, st.booleans(), st.booleans(), st.booleans())


@given(queries, st.integers(0, 65535), st.booleans())
def test_a_query_carries_the_question_and_two_bits_only(query: Query, ident: int, padded: bool) -> None:
    wire = build_query(query, ident, padded=padded)
    message = dns.message.from_wire(wire)
    assert message.id == ident
    expected = dns.flags.RD | dns.flags.AD | (dns.flags.CD if query.checking_disabled else 0)
    assert message.flags == expected
    assert wire[12 : 12 + len(query.question)] == query.question
    if not query.edns:
        assert message.edns == -1
        return
    assert (message.edns, message.payload) == (0, 1232)
    assert bool(message.ednsflags & dns.flags.DO) is query.dnssec_ok
    assert [option.otype for option in message.options] == ([12] if padded else [])
    if padded:
        assert len(wire) % 128 == 0


def answer(query: Query, ident: int, **change: bytes) -> bytes:
    parts = {"id": ident.to_bytes(2), "flags": b"\x81\x80", "counts": b"\0\1\0\0\0\0\0\0", "question": query.question}
    parts.update(change)
    return b"".join(parts.values())


QUERY = Query(b"\x03wWw\x04teSt\0\0\x41\0\1")  # type 65: the letter A


@pytest.mark.parametrize(
    ("change", "matches"),
    [
        ({}, True),
        ({"question": b"\x03WWW\x04test\0\0\x41\0\1"}, True),  # RFC 4343
        ({"question": b"\x03www\x04test\0\0\x61\0\1"}, False),  # 0x61 is not a lower-case type 65
        ({"question": b"\x03www\x04test\0\0\x41\0\3"}, False),
        ({"question": b"\x03xww\x04test\0\0\x41\0\1"}, False),
        ({"question": b"\x03www\x04tes"}, False),
        ({"id": b"\0\2"}, False),
        ({"flags": b"\1\0"}, False),  # a query
        ({"flags": b"\xa9\x80"}, False),  # opcode UPDATE
        ({"counts": b"\0\2\0\0\0\0\0\0"}, False),
        ({"counts": b"\0\0\0\0\0\0\0\0", "question": b""}, False),
        ({"flags": b"\x81\x81", "counts": b"\0\0\0\0\0\0\0\0", "question": b""}, True),  # FORMERR of an old server
    ],
)
def test_what_counts_as_the_answer(change: dict[str, bytes], matches: bool) -> None:
    assert (read_reply(answer(QUERY, 1, **change), 1, QUERY) is not None) is matches


def test_the_code_of_a_reply_is_the_extended_one() -> None:
    badvers = answer(QUERY, 7, counts=b"\0\1\0\0\0\0\0\1") + b"\0\0\x29\x04\xd0\1\0\0\0\0\0"
    reply = read_reply(badvers, 7, QUERY)
    assert reply is not None
    assert (reply.rcode, reply.good, reply.refuses_edns) == (16, False, True)


@given(st.binary(max_size=60), st.binary(max_size=80))
def test_bytes_are_a_reply_or_not_or_broken(head: bytes, tail: bytes) -> None:
    for data in (head, answer(QUERY, 1, counts=b"\0\1\0\1\0\0\0\1") + tail):
        try:
            reply = read_reply(data, 1, QUERY)
        except FormError:
            continue
        assert reply is None or reply.message == data


def test_ids_are_spread() -> None:
    assert len({draw_id() for _ in range(1000)}) > 950
