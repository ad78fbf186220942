"""MQTT packets: beside paho-mqtt, which is another implementation, and with bytes that nobody should send."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from guardian.errors import FormError
from guardian.web import mqtt
from guardian.web.mqtt import (
    Granted,
    Message,
    Packet,
    Splitter,
    Welcome,
    check_pong,
    decode_connack,
    decode_disconnect,
    decode_publish,
    decode_suback,
    encode_connect,
    encode_disconnect,
    encode_ping,
    encode_puback,
    encode_subscribe,
)

LIMIT = 4096
WORD = st.text(st.characters(codec="ascii", min_codepoint=32), max_size=30)


def split(data: bytes, limit: int = LIMIT) -> list[Packet]:
    return list(Splitter(limit).feed(data))


def one(data: bytes) -> Packet:
    (packet,) = split(data)
    return packet


def pack(kind: int, flags: int, body: bytes) -> bytes:
    """A packet, with the length written by the recipe of the standard's section 1.5.5."""
    length, size = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        size += bytes([digit | (128 if length else 0)])
        if not length:
            return bytes([kind << 4 | flags]) + size + body


def properties(kind: int, values: dict[str, Any]) -> bytes:
    """Properties as paho packs them."""
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made.pack()


def test_connect_is_what_the_standard_says() -> None:
    packet = encode_connect("r1", 300, 4096, "home", b"pa\xff")
    assert packet == (
        b"\x10\x22\x00\x04MQTT\x05\xc2\x01\x2c"  # version 5; user, password, clean start; 300 s
        b"\x08\x21\x00\x08\x27\x00\x00\x10\x00"  # receive maximum 8, largest packet 4096
        b"\x00\x02r1\x00\x04home\x00\x03pa\xff"
    )
    assert encode_connect("r1", 300, 4096)[9] == 0x02, "without a user only a clean start"
    assert encode_subscribe(1, "a/b") == b"\x82\x09\x00\x01\x00\x00\x03a/b\x01"
    assert encode_puback(258) == b"\x40\x02\x01\x02"
    assert (encode_ping(), encode_disconnect()) == (b"\xc0\x00", b"\xe0\x00")


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_packets_are_the_same_however_they_are_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pack(3, index % 16, body) for index, body in enumerate(bodies))
    splitter, found, at = Splitter(LIMIT), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 400))
        found += splitter.feed(stream[at : at + size])
        at += size
    assert found == [Packet(3, index % 16, body) for index, body in enumerate(bodies)]
    assert not splitter.is_midway


def test_a_length_over_the_limit_ends_it_before_its_bytes_come() -> None:
    assert len(one(pack(3, 0, bytes(LIMIT))).body) == LIMIT
    for claim in (b"\x30\x81\x20", b"\x30\xff\xff\xff\x7f", b"\x30\xff\xff"):
        with pytest.raises(FormError, match="more than 4096 bytes"):
            split(claim)
    with pytest.raises(FormError, match="more than four bytes"):
        split(b"\x30\x80\x80\x80\x80")
    assert split(b"\x30\x80\x80\x80") == [], "it may still become a length"


@given(
    st.integers(0, 255),
    st.fixed_dictionaries(
        {},
        optional={
            "ServerKeepAlive": st.integers(0, 65535),
            "ReceiveMaximum": st.integers(1, 65535),
            "MaximumPacketSize": st.integers(1, 268_435_455),
            "SessionExpiryInterval": st.integers(0, 2**32 - 1),
            "TopicAliasMaximum": st.integers(0, 65535),
            "AssignedClientIdentifier": WORD,
            "ReasonString": WORD,
            "ResponseInformation": WORD,
            "ServerReference": WORD,
            "AuthenticationMethod": WORD,
            "AuthenticationData": st.binary(max_size=20),
            "MaximumQoS": st.integers(0, 1),
            "RetainAvailable": st.integers(0, 1),
            "WildcardSubscriptionAvailable": st.integers(0, 1),
            "SubscriptionIdentifierAvailable": st.integers(0, 1),
            "SharedSubscriptionAvailable": st.integers(0, 1),
            "UserProperty": st.lists(st.tuples(WORD, WORD), min_size=1, max_size=3),
        },
    ),
)
def test_a_welcome_with_every_property(reason: int, values: dict[str, Any]) -> None:
    body = bytes([0, reason]) + properties(PacketTypes.CONNACK, values)
    assert decode_connack(one(pack(2, 0, body))) == Welcome(reason, values.get("ServerKeepAlive"))


@given(
    topic=st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    payload=st.binary(max_size=500),
    packet_id=st.integers(0, 65535),
    is_retained=st.booleans(),
    values=st.fixed_dictionaries(
        {},
        optional={
            "PayloadFormatIndicator": st.integers(0, 1),
            "MessageExpiryInterval": st.integers(0, 2**32 - 1),
            "ContentType": WORD,
            "ResponseTopic": WORD,
            "CorrelationData": st.binary(max_size=30),
            "TopicAlias": st.integers(1, 65535),
            "SubscriptionIdentifier": st.lists(st.integers(1, 268_435_455), min_size=1, max_size=2),
            "UserProperty": st.lists(st.tuples(WORD, WORD), min_size=1, max_size=2),
        },
    ),
)
def test_a_message_with_every_property(
    topic: str, payload: bytes, packet_id: int, is_retained: bool, values: dict[str, Any]
) -> None:
    name = topic.encode()
    body = struct.pack("!H", len(name)) + name + (struct.pack("!H", packet_id) if packet_id else b"")
    body += properties(PacketTypes.PUBLISH, values) + payload
    flags = (2 if packet_id else 0) | is_retained
    assert decode_publish(one(pack(3, flags, body))) == Message(topic, payload, packet_id, is_retained)


def test_the_other_answers() -> None:
    assert decode_suback(one(b"\x90\x04\x00\x07\x00\x01")) == Granted(7, 1)
    assert decode_disconnect(one(b"\xe0\x00")) == 0
    assert decode_disconnect(one(b"\xe0\x02\x8b\x00")) == 0x8B
    check_pong(one(b"\xd0\x00"))


@pytest.mark.parametrize(
    ("decode", "data", "why"),
    [
        (decode_connack, b"\x20\x03\x01\x00\x00", "session"),
        (decode_connack, b"\x20\x02\x00\x00", "too soon"),
        (decode_connack, b"\x20\x04\x00\x00\x00\x00", "goes on"),
        (decode_connack, b"\x21\x03\x00\x00\x00", "flags"),
        (decode_connack, b"\x30\x03\x00\x00\x00", "packet 3"),
        (decode_connack, b"\x20\x09\x00\x00\x06\x13\x00\x05\x13\x00\x05", "twice"),
        (decode_connack, b"\x20\x05\x00\x00\x02\x7e\x00", "which is none"),
        (decode_connack, b"\x20\x05\x00\x00\x01\x13\x00", "too soon"),
        (decode_connack, b"\x20\x06\x00\x00\x01\x13\x00\x05", "longer"),
        (decode_connack, b"\x20\x07\x00\x00\xff\xff\xff\xff\x01", "more than four"),
        (decode_suback, b"\x90\x05\x00\x07\x00\x01\x01", "goes on"),
        (decode_publish, b"\x34\x04\x00\x00\x00\x01", "QoS 2"),
        (decode_publish, b"\x36\x04\x00\x00\x00\x01", "QoS 3"),
        (decode_publish, b"\x32\x05\x00\x00\x00\x00\x00", "without an id"),
        (decode_publish, b"\x30\x04\x00\x01\xff\x00", "UTF-8"),
        (decode_publish, b"\x30\x02\x00\x09", "too soon"),
        (check_pong, b"\xd0\x01\x00", "goes on"),
    ],
)
def test_what_no_broker_should_send(decode: Any, data: bytes, why: str) -> None:
    with pytest.raises(FormError, match=why):
        decode(one(data))


VALID = [
    pack(2, 0, b"\x00\x00" + properties(PacketTypes.CONNACK, {"ServerKeepAlive": 60, "ReasonString": "yes"})),
    pack(3, 3, b"\x00\x03a/b\x00\x07" + properties(PacketTypes.PUBLISH, {"ContentType": "x"}) + b'{"version": 3}'),
    pack(9, 0, b"\x00\x01\x00\x01"),
    pack(14, 0, b"\x8b\x00"),
    pack(13, 0, b""),
]


@settings(max_examples=500)
@given(st.sampled_from(VALID), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4), st.data())
def test_changed_bytes_are_refused_or_understood(valid: bytes, changes: list[tuple[int, int]], data: Any) -> None:
    """Whatever comes: FormError or a value, and never more than the limit is kept."""
    mutated = bytearray(valid)
    for at, byte in changes:
        mutated[at % len(mutated)] = byte
    cut = data.draw(st.integers(0, len(mutated)))
    splitter = Splitter(LIMIT)
    try:
        packets = [*splitter.feed(bytes(mutated[:cut])), *splitter.feed(bytes(mutated[cut:]) + valid)]
    except FormError:
        return
    assert sum(len(packet.body) for packet in packets) <= 2 * len(valid)
    for packet in packets:
        for decode in (decode_connack, decode_publish, decode_suback, decode_disconnect, check_pong):
            try:
                decode(packet)
            except FormError as error:
                assert str(error)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_waited_for(noise: bytes) -> None:
    try:
        packets = split(noise)
    except FormError:
        return
    assert sum(2 + len(packet.body) for packet in packets) <= len(noise)
    assert all(packet.body in noise for packet in packets)


def test_all_properties_of_the_standard_are_known() -> None:
    """Table 2-4, as paho has it."""
    known = Properties(PacketTypes.PUBLISH)
    kinds = {0: "byte", 1: "short", 2: "long", 3: "variable", 4: "binary", 5: "binary", 6: "pair"}
    assert {number: kinds[kind] for number, (kind, _) in known.properties.items()} == mqtt._PROPERTIES
