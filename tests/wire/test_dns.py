"""DNS messages against dnspython and dnslib as oracles, and against mutated valid input."""

from __future__ import annotations

from contextlib import suppress

import dns.flags
import dns.message
import dns.rdatatype
import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import FormError
from guardian.names import ROOT, parse_name
from guardian.wire import dns as wire
from guardian.wire.dns import Edns, Message, Question, Record

labels = st.binary(min_size=1, max_size=20)
names = st.lists(labels, max_size=6).map(lambda parts: b"".join(bytes((len(p),)) + p for p in parts) + ROOT)
options = st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=20)), max_size=3).map(tuple)
edns = st.none() | st.builds(
    Edns, st.integers(0, 65535), st.integers(0, 255), st.booleans(), st.integers(0, 255), options
)
addresses = st.builds(
    Record, names, st.just(wire.TYPE_A), st.just(1), st.integers(0, 2**31 - 1), st.binary(min_size=4, max_size=4)
)
aliases = st.builds(Record, names, st.just(wire.TYPE_CNAME), st.just(1), st.integers(0, 2**31 - 1), names)
unknown = st.builds(
    Record, names, st.integers(1000, 60000), st.just(1), st.integers(0, 2**31 - 1), st.binary(max_size=40)
)
sections = st.lists(addresses | aliases | unknown, max_size=4).map(tuple)
messages = st.builds(
    Message,
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.none() | st.builds(Question, names, st.integers(0, 65535), st.integers(0, 65535)),
    sections,
    sections,
    sections,
    edns,
)


def lowered(message: Message) -> Message:
    """Compression may borrow the letters of an equal name in another case."""

    def lower(record: Record) -> Record:
        rdata = record.rdata.lower() if record.type == wire.TYPE_CNAME else record.rdata
        return record._replace(owner=record.owner.lower(), rdata=rdata)

    return message._replace(
        answers=tuple(map(lower, message.answers)),
        authority=tuple(map(lower, message.authority)),
        additional=tuple(map(lower, message.additional)),
    )


@given(messages)
def test_parse_of_build_is_the_message(message: Message) -> None:
    assert lowered(wire.parse_message(wire.build_message(message))) == lowered(message)


@given(messages, st.data())
def test_mutated_messages_raise_form_error_or_nothing(message: Message, data: st.DataObject) -> None:
    raw = bytearray(wire.build_message(message))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for sample in (bytes(raw), bytes(raw[:cut])):
        with suppress(FormError):
            wire.parse_query(sample)
        try:
            read = wire.parse_message(sample)
        except FormError:
            continue
        # What can be read can be written, and says the same again.
        assert lowered(wire.parse_message(wire.build_message(read))) == lowered(read)


@given(st.lists(st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), min_size=1, max_size=5), st.integers(1, 250), edns)
def test_queries_read_as_dnspython_reads_them(parts: list[str], qtype: int, opt: Edns | None) -> None:
    name = ".".join(parts)
    if qtype == wire.TYPE_OPT:
        return
    oracle = dns.message.make_query(name, dns.rdatatype.RdataType(qtype), want_dnssec=bool(opt and opt.dnssec_ok))
    if opt is None:
        oracle.use_edns(False)
    elif not opt.dnssec_ok:
        oracle.use_edns(0, payload=opt.payload)
    raw = oracle.to_wire()
    query = wire.parse_query(raw)
    assert (query.id, query.flags, query.name, query.type) == (oracle.id, int(oracle.flags), parse_name(name), qtype)
    assert (query.edns is not None) == (oracle.edns >= 0)
    if query.edns:
        assert query.edns.dnssec_ok == bool(oracle.ednsflags & dns.flags.DO)
        assert query.edns.payload == oracle.payload
    assert raw[12 : query.question_end] == raw[12 : 12 + len(query.name) + 4]


def test_answers_read_as_dnslib_and_dnspython_write_them() -> None:
    reply = dnslib.DNSRecord.question("Mail.Example.com", "MX").reply()
    for line in (
        "Mail.Example.com 300 IN CNAME mx.example.com",
        "mx.example.com 60 IN MX 10 a.mx.example.com",
        "mx.example.com 60 IN TXT hello",
        "mx.example.com 60 IN SRV 1 2 3 b.mx.example.com",
        "mx.example.com 60 IN AAAA 2001:db8::1",
    ):
        reply.add_answer(*dnslib.RR.fromZone(line))
    reply.add_auth(*dnslib.RR.fromZone("example.com 900 IN SOA ns.example.com host.example.com 1 2 3 4 5"))
    packed = bytes(reply.pack())
    for raw in (packed, dns.message.from_wire(packed).to_wire()):
        message = wire.parse_message(raw)
        assert [record.type for record in message.answers] == [5, 15, 16, 33, 28]
        assert message.answers[0].rdata.lower() == parse_name("mx.example.com")
        assert message.answers[1].rdata.lower() == b"\x00\x0a" + parse_name("a.mx.example.com")
        assert (
            message.authority[0].rdata.lower().startswith(parse_name("ns.example.com") + parse_name("host.example.com"))
        )
        again = dns.message.from_wire(wire.build_message(message))
        assert again.answer == dns.message.from_wire(raw).answer


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "shorter"),
        (bytes(11), "shorter"),
        (bytes(12), "one question"),
        (b"\0\0\1\0\0\2\0\0\0\0\0\0" + b"\0\0\1\0\1" * 2, "one question"),
        (b"\0\0\1\0\0\1\0\1\0\0\0\0" + b"\0\0\1\0\1", "one question"),
        (b"\0\0\1\0\0\1\0\0\0\0\0\0" + b"\xc0\x0c\0\1\0\1", "compressed"),
        (b"\0\0\1\0\0\1\0\0\0\0\0\0" + b"\x40\0\0\1\0\1", "compressed or unknown"),
        (b"\0\0\1\0\0\1\0\0\0\0\0\0" + b"\3abc\0\0\1\0", "truncated"),
        (b"\0\0\1\0\0\1\0\0\0\0\0\0" + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1", "255"),
        (b"\0\0\1\0\0\1\0\0\0\0\0\0" + b"\0\0\1\0\1x", "behind"),
        (b"\0\0\1\0\0\1\0\0\0\0\0\2" + b"\0\0\1\0\1" + b"\0\0\x29\4\0\0\0\0\0\0\0" * 2, "one OPT"),
        (b"\0\0\1\0\0\1\0\0\0\0\0\1" + b"\0\0\1\0\1" + b"\1x\0\0\x29\4\0\0\0\0\0\0\0", "one with a name"),
        (b"\0\0\1\0\0\1\0\0\0\0\0\1" + b"\0\0\1\0\1" + b"\0\0\x29\4\0\0\0\0\0\0\4\0\x0a\0\xff", "option"),
    ],
)
def test_broken_questions_say_why(raw: bytes, why: str) -> None:
    with pytest.raises(FormError, match=why):
        wire.parse_query(raw)


def test_pointers_that_loop_or_point_ahead_are_refused() -> None:
    head = b"\0\0\x81\x80\0\1\0\1\0\0\0\0\0\0\1\0\1"
    for owner in (b"\xc0\x11", b"\xc0\x40", b"\1a\xc0\x11"):
        with pytest.raises(FormError, match="point"):
            wire.parse_message(head + owner + b"\0\1\0\1\0\0\0\0\0\4\1\2\3\4")


def test_a_message_of_pointer_chains_costs_linear_time() -> None:
    """Each pointer points to the one before it: without a bound every name would walk the whole message."""
    chain = bytearray(b"\0" * 12)
    chain += b"\0\0\1\0\1"
    start = len(chain) + 11
    rdata = bytearray(b"\0")
    while len(rdata) < 16000:
        rdata += (0xC000 | (start + len(rdata) - (1 if len(rdata) == 1 else 2))).to_bytes(2)
    chain += b"\0" + b"\xff\0\0\1\0\0\0\0" + len(rdata).to_bytes(2) + rdata
    last = len(chain) - 2
    record = (0xC000 | last).to_bytes(2) + b"\0\1\0\1\0\0\0\0\0\4\1\2\3\4"
    chain[0:12] = b"\0\0\x81\x80\0\1\0\2\0\0\0\0"
    with pytest.raises(FormError, match="pointer"):
        wire.parse_message(bytes(chain) + record)


def test_a_long_answer_is_cut_with_tc_and_keeps_its_opt() -> None:
    owner = parse_name("example.com")
    records = tuple(Record(owner, wire.TYPE_A, 1, 60, bytes((10, 0, 0, n))) for n in range(100))
    message = Message(1, wire.FLAG_QR, Question(owner, 1, 1), records, edns=Edns())
    raw = wire.build_message(message, 512)
    parsed = wire.parse_message(raw)
    assert len(raw) <= 512
    assert parsed.flags & wire.FLAG_TC
    assert parsed.answers == records[: len(parsed.answers)]
    assert parsed.edns == Edns()


def test_additional_records_go_without_tc() -> None:
    owner = parse_name("example.com")
    answer = Record(owner, wire.TYPE_A, 1, 60, bytes(4))
    message = Message(1, wire.FLAG_QR, Question(owner, 1, 1), (answer,), (), (answer,) * 100)
    parsed = wire.parse_message(wire.build_message(message, 512))
    assert not parsed.flags & wire.FLAG_TC
    assert parsed.answers == (answer,)


def test_names_in_answers_are_those_it_leads_to() -> None:
    target, binding = parse_name("cdn.example.net"), parse_name("svc.example.net")
    records = (
        Record(parse_name("a.example"), wire.TYPE_CNAME, 1, 1, target),
        Record(target, wire.TYPE_HTTPS, 1, 1, b"\0\1" + binding),
        Record(target, wire.TYPE_HTTPS, 1, 1, b"\0\1\0"),
        Record(target, wire.TYPE_A, 1, 1, bytes(4)),
    )
    assert wire.names_in(records) == [target, binding]


def test_the_mac_option_needs_six_bytes() -> None:
    for value, found in ((b"\1\2\3\4\5\6", b"\1\2\3\4\5\6"), (b"\1\2", None)):
        message = Message(1, 256, Question(ROOT, 1, 1), edns=Edns(options=((wire.OPTION_MAC, value),)))
        assert wire.read_mac(wire.parse_query(wire.build_message(message))) == found
