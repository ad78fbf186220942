"""ubus: what is built is read back, hostile bytes are refused, and calls go through a bus on a real socket."""

from __future__ import annotations

import asyncio
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import FormError
from guardian.supervisor import ubus
from guardian.supervisor.ubus import UbusError, Value, call
from tests.supervisor import bus as other_side

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
PLAIN: st.SearchStrategy[Value] = st.one_of(TEXTS, NUMBERS, st.booleans(), st.floats(allow_nan=False))
VALUES: st.SearchStrategy[Value] = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
TABLES = st.dictionaries(NAMES, VALUES, max_size=5)


@given(TABLES)
def test_a_table_comes_back(values: dict[str, Value]) -> None:
    data = ubus.build_table(values)
    assert len(data) % 4 == 0
    assert ubus.read_table(data) == values


@given(st.integers(0, 255), st.integers(0, 65535), st.integers(0, (1 << 32) - 1), st.dictionaries(
    st.integers(0, 127), st.binary(max_size=20), max_size=5))  # fmt: skip
def test_a_message_comes_back(kind: int, sequence: int, peer: int, attributes: dict[int, bytes]) -> None:
    inner = b"".join(ubus.build_attribute(number, value) for number, value in attributes.items())
    data = ubus.build_message(kind, sequence, peer, inner)
    assert ubus.read_message(data) == (kind, sequence, peer, attributes)


def test_the_bytes_are_those_of_libubox() -> None:
    """The same values as laid out by hand after blob.h and blobmsg.h."""
    by_hand = other_side.named(3, "name", b"guardian\0") + other_side.named(5, "timeout", struct.pack(">L", 30))
    assert ubus.build_table({"name": "guardian", "timeout": 30}) == by_hand
    assert by_hand[:4] == bytes.fromhex("83000015")  # named, a string, 4 + 8 + 9 bytes
    assert ubus.read_table(by_hand + other_side.named(7, "on", b"\1") + other_side.named(6, "x", b"\xff\xfe")) == {
        "name": "guardian",
        "timeout": 30,
        "on": True,
        "x": -2,
    }


@given(TABLES, st.randoms(use_true_random=False))
def test_hostile_bytes_are_refused_or_read_but_nothing_else(values: dict[str, Value], chance: random.Random) -> None:
    """The invariant of fuzzing: a table, or FormError, whatever the bytes are."""
    data = bytearray(ubus.build_message(2, 1, 1, ubus.build_attribute(7, ubus.build_table(values))))
    for _ in range(chance.randint(1, 4)):
        match chance.randrange(4):
            case 0:
                data[chance.randrange(len(data))] = chance.randrange(256)
            case 1:
                del data[chance.randrange(len(data)) :]
                data += bytes(1)
            case 2:
                data[chance.randrange(len(data)) : 0] = chance.randbytes(chance.randint(1, 8))
            case 3:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    try:
        message = ubus.read_message(bytes(data))
        table = ubus.read_table(message.attributes.get(7, b""))
    except FormError:
        return
    assert sum(map(len, message.attributes.values())) <= len(data)
    assert all(isinstance(name, str) for name in table)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for read in (ubus.read_message, ubus.read_table, ubus.read_attributes, ubus.read_length):
        try:
            read(data)
        except FormError:
            continue


def test_a_table_that_is_nested_without_end_is_refused() -> None:
    data = b""
    for _ in range(200):
        data = other_side.named(2, "a", data)
    with pytest.raises(FormError, match="nested"):
        ubus.read_table(data)


def test_a_length_that_lies_is_refused_before_its_bytes_are_awaited() -> None:
    with pytest.raises(FormError, match="16777215 bytes"):
        ubus.read_length(bytes(8) + b"\0\xff\xff\xff")
    with pytest.raises(FormError, match="2 bytes"):
        ubus.read_length(bytes(8) + b"\0\0\0\2")


@pytest.mark.parametrize("is_big_endian", [True, False], ids=["a new ubusd", "an old ubusd"])
def test_a_call_brings_its_answer(tmp_path: Path, is_big_endian: bool) -> None:
    async def run() -> None:
        async with other_side.running(tmp_path) as bus:
            bus.is_big_endian = is_big_endian
            said = await call(bus.path, "service", "watchdog", {"name": "guardian", "instance": "gateway"}, 10)
            assert said == {"name": "guardian", "instance": "gateway", "mode": 2, "timeout": 30}
            expected = other_side.named(3, "name", b"guardian\0") + other_side.named(3, "instance", b"gateway\0")
            assert bus.calls == [expected]

    asyncio.run(run())


def test_refusals_have_words(tmp_path: Path) -> None:
    async def run() -> None:
        async with other_side.running(tmp_path) as bus:
            with pytest.raises(UbusError, match="nothing-here: not found"):
                await call(bus.path, "nothing-here", "watchdog", {}, 10)
            bus.status = 6
            with pytest.raises(UbusError, match="service watchdog: permission denied"):
                await call(bus.path, "service", "watchdog", {}, 10)
            bus.status = 4711
            with pytest.raises(UbusError, match="status 4711"):
                await call(bus.path, "service", "watchdog", {}, 10)

    asyncio.run(run())


def test_a_bus_that_is_not_there_silent_or_mad_is_an_error_in_time(tmp_path: Path) -> None:
    async def run() -> None:
        with pytest.raises(UbusError, match="No such file"):
            await call(str(tmp_path / "gone"), "service", "watchdog", {}, 10)
        async with other_side.running(tmp_path) as bus:
            bus.is_silent = True
            with pytest.raises(UbusError, match="no answer to service watchdog"):
                await call(bus.path, "service", "watchdog", {}, 0.2)
            bus.is_silent = False
            bus.change = lambda message: message[:-1] if message[1] == 0 else message
            with pytest.raises(UbusError):
                await call(bus.path, "service", "watchdog", {}, 0.5)
            bus.change = lambda message: b"HTTP/1.1 400 Bad Request\r\n\r\n"
            with pytest.raises(UbusError, match="not a message of ubus"):
                await call(bus.path, "service", "watchdog", {}, 10)

    asyncio.run(run())


def test_every_damaged_answer_is_an_error_or_an_answer(tmp_path: Path) -> None:
    """Bits flipped in what a bus sends: never another exception, never a wait beyond the time."""
    chance = random.Random(6)

    def damage(message: bytes) -> bytes:
        changed = bytearray(message)
        if chance.random() < 0.5:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        return bytes(changed)

    async def run() -> int:
        failures = 0
        async with other_side.running(tmp_path) as bus:
            bus.change = damage
            for _ in range(150):
                try:
                    await call(bus.path, "service", "watchdog", {"name": "guardian"}, 0.05)
                except UbusError:
                    failures += 1
                except AssertionError as error:  # a lookup that was damaged makes our client ask for another object
                    raise AssertionError("the client sent what it should not") from error
        return failures

    assert 20 < asyncio.run(run()) < 150
