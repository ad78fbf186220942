"""TLS: the same hello in other records, other hellos, and what stands around them."""

from __future__ import annotations

import ssl
import time
from typing import Any

from tests.netns.evasion import packets
from tests.netns.evasion.attack import Attempt, Result, case
from tests.netns.evasion.cases_segments import BOTH, LOST, slice_up
from tests.netns.evasion.tls import padding, swap, unwrap
from tests.netns.evasion.wire import Connection
from tests.netns.lab import plan
from tests.wire import hellos
from tests.wire.hellos import assemble, build_hello, frame, key_share, make_extensions, record, server_name

ALERT = b"\x15\x03\x01\x00\x02\x01\x5a"  # a warning: user_canceled
CHANGE = b"\x14\x03\x03\x00\x01\x01"  # change_cipher_spec
SECRET = b"\x17\x03\x03\x00\x35" + bytes(53)  # a record of application data

RECORDS: dict[str, Any] = {
    "one-byte": lambda message, at: [1] * (len(message) - 1),
    "first-byte-alone": lambda message, at: [1],
    "message-head": lambda message, at: [4],
    "ten-bytes": lambda message, at: [10] * ((len(message) - 1) // 10),
    "in-name": lambda message, at: [at + 4],
    "around-name": lambda message, at: [at, 4],
    "last-byte": lambda message, at: [len(message) - 1],
}


@case(families=BOTH, variants=RECORDS, control=True)
def records(attempt: Attempt) -> Result:
    """The hello in several records, in one segment."""

    def deliver(connection: Connection, hello: bytes) -> None:
        message = unwrap(hello)
        sizes = attempt.variant(message, message.index(attempt.name.encode()))
        connection.send(frame(message, sizes))

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, control=True)
def records_and_segments(attempt: Attempt) -> Result:
    """Records of 7 bytes in segments of 11."""

    def deliver(connection: Connection, hello: bytes) -> None:
        message = unwrap(hello)
        connection.push(slice_up(frame(message, [7] * (len(message) // 7)), 11))

    return attempt.browse(attempt.connect(), deliver)


@case(variants=("first", "middle"), hello=True)
def empty_records(attempt: Attempt) -> Result:
    message = build_hello(attempt.name)
    empty = record(b"")
    stream = empty + frame(message) if attempt.variant == "first" else frame(message[:60]) + empty + frame(message[60:])
    return attempt.hail(attempt.connect(), stream)._replace(accepted=None)


VERSIONS = {"ssl3": 0x0300, "tls12": 0x0303, "unknown": 0x03FF}


@case(variants=VERSIONS, hello=True, control=True)
def record_version(attempt: Attempt) -> Result:
    return attempt.hail(attempt.connect(), record(build_hello(attempt.name), version=attempt.variant))


@case(families=BOTH, variants={"4k": 4000, "16k": 15_600}, hello=True, control=True)
def padded_hello(attempt: Attempt) -> Result:
    """Padding in front of the name (RFC 7685)."""
    message = assemble([padding(attempt.variant), *make_extensions(attempt.name)])
    return attempt.hail(attempt.connect(), frame(message))


@case(families=BOTH, hello=True, control=True)
def padded_hello_in_many_records(attempt: Attempt) -> Result:
    message = assemble([padding(9000), *make_extensions(attempt.name)])
    return attempt.hail(attempt.connect(), frame(message, [500] * 18))


@case(families=BOTH, hello=True, control=True)
def post_quantum_hello(attempt: Attempt) -> Result:
    """Two segments, as browsers send it today; the name may stand in either."""
    extensions = make_extensions(attempt.name, post_quantum=True, grease=True)
    name = extensions.pop(1)
    return attempt.hail(attempt.connect(), frame(assemble([*extensions[:-1], name, extensions[-1]])))


@case(families=BOTH, hello=True)
def long_session_id(attempt: Attempt) -> Result:
    """32 bytes that look like another server_name."""
    session = (b"\0\0\0\x0d\0\x0b\0\0\x08open.xyz" + bytes(32))[:32]
    return attempt.hail(attempt.connect(), frame(assemble(make_extensions(attempt.name), session=session)))


@case(dead="a session id has 32 bytes at most")
def too_long_session_id(attempt: Attempt) -> Result:
    stream = frame(assemble(make_extensions(attempt.name), session=bytes(200)))
    return attempt.hail(attempt.connect(), stream)._replace(accepted=None)


@case(families=BOTH, hello=True)
def no_name(attempt: Attempt) -> Result:
    """The server at this address serves what it serves."""
    return attempt.hail(attempt.connect(), frame(build_hello(None)))


@case(dead="OpenSSL has no certificate for such an old client")
def no_extensions(attempt: Attempt) -> Result:
    """TLS 1.2 of old; a server of then would show its only site."""
    return attempt.hail(attempt.connect(), frame(assemble(None)))


def named(attempt: Attempt, *names: str | bytes, **more: Any) -> bytes:
    extensions = swap(make_extensions("x"), hellos.SERVER_NAME, server_name(*names, **more))
    return frame(assemble(extensions))


NAMES: dict[str, Any] = {
    "upper-case": lambda name: name.upper(),
    "mixed-case": lambda name: name.replace("blocked", "BlocKed").replace("any", "aNy"),
    "final-dot": lambda name: name + ".",
}


@case(families=BOTH, variants=NAMES, hello=True, control=True)
def name_written(attempt: Attempt) -> Result:
    return attempt.hail(attempt.connect(), named(attempt, attempt.variant(attempt.name)))


ADDRESSES = {"literal": plan.wan4(90), "number": "3325256794", "short": "198.51.25690", "v6": "2001:db8:77::90"}


@case(variants=ADDRESSES, hello=True)
def address_for_a_name(attempt: Attempt) -> Result:
    return attempt.hail(attempt.connect(), named(attempt, attempt.variant))


STRANGE: dict[str, Any] = {
    "two-names": lambda real, fake: server_name(fake, real),
    "real-name-first": lambda real, fake: server_name(real, fake),
    "nul-and-open": lambda real, fake: server_name(real.encode() + b"\0.any.example"),
    "open-and-nul": lambda real, fake: server_name(fake.encode() + b"\0" + real.encode()),
    "other-kind": lambda real, fake: server_name(real, kind=1),
    "blank": lambda real, fake: server_name(f" {real}"),
    "line-end": lambda real, fake: server_name(f"{real}\n"),
}


@case(variants=STRANGE, dead="OpenSSL refuses such a name, or reads it as it stands")
def strange_name(attempt: Attempt) -> Result:
    extension = attempt.variant(attempt.name, attempt.decoy)
    stream = frame(assemble(swap(make_extensions("x"), hellos.SERVER_NAME, extension)))
    return attempt.hail(attempt.connect(), stream)._replace(accepted=None)


@case(variants=("open-first", "blocked-first"), dead="OpenSSL refuses an extension that comes twice")
def extension_twice(attempt: Attempt) -> Result:
    pair = [server_name(attempt.decoy), server_name(attempt.name)]
    extensions = swap(make_extensions("x"), 0, *(pair if attempt.variant == "open-first" else pair[::-1]))
    return attempt.hail(attempt.connect(), frame(assemble(extensions)))._replace(accepted=None)


@case(families=BOTH, control=True)
def only_tls_1_2(attempt: Attempt) -> Result:
    connection = attempt.connect()
    return attempt.browse(connection, lambda each, hello: each.send(hello), newest=ssl.TLSVersion.TLSv1_2)


@case(families=BOTH, hello=True, control=True)
def ech_grease(attempt: Attempt) -> Result:
    """As Chrome sends it to everybody; the outer name is the one that counts."""
    return attempt.hail(attempt.connect(), frame(build_hello(attempt.name, ech=True, grease=True)))


@case(dead="OpenSSL takes no bytes behind the message in its record")
def bytes_behind_the_message(attempt: Attempt) -> Result:
    stream = record(build_hello(attempt.decoy) + build_hello(attempt.name))
    return attempt.hail(attempt.connect(), stream)._replace(accepted=None)


@case(dead="a second hello that nobody asked for is an error")
def two_hellos(attempt: Attempt) -> Result:
    connection = attempt.connect()
    connection.send(frame(build_hello(attempt.decoy)) + frame(build_hello(attempt.name)))
    return attempt.hear(connection)._replace(accepted=None)


# What stands in front


@case(variants=("443", "8443"), dead="OpenSSL wants a hello first; other servers pass over a warning")
def alert_in_front(attempt: Attempt) -> Result:
    """A warning before the hello."""
    return attempt.hail(attempt.connect(int(attempt.variant)), ALERT + frame(build_hello(attempt.name)))


FRONTS = {
    "change": CHANGE,
    "secret": SECRET,
    "request": b"GET / HTTP/1.1\r\nHost: www.any.example\r\n\r\n",
    "blank-lines": b"\r\n\r\n",
    "proxy": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 443\r\n",
}


@case(variants=FRONTS, dead="a TLS server starts with a hello")
def something_in_front(attempt: Attempt) -> Result:
    stream = attempt.variant + frame(build_hello(attempt.name))
    return attempt.hail(attempt.connect(plan.TLS_ODD), stream)._replace(accepted=None)


# A second hello (RFC 8446 section 4.1.4)


def retry_hellos(attempt: Attempt, *, early: bool = False) -> tuple[bytes, bytes]:
    """A hello for an open name whose key share no server takes, and the one that answers the HelloRetryRequest."""
    extensions = make_extensions(attempt.other)
    if early:
        tail = [(42, b""), (41, _psk())]
        extensions = [*extensions, *tail]
    first = assemble(swap(extensions, hellos.KEY_SHARE, (hellos.KEY_SHARE, b"\0\0")))
    second_extensions = swap(make_extensions(attempt.name), hellos.KEY_SHARE, key_share(hellos.X25519))
    if early:
        second_extensions.append((41, _psk()))
    return frame(first), frame(assemble(second_extensions))


def _psk() -> bytes:
    """pre_shared_key with a ticket that no server knows (RFC 8446 section 4.2.11)."""
    identity = hellos.vector(bytes(100)) + bytes(4)
    return hellos.vector(identity) + hellos.vector(hellos.vector(bytes(32), 1))


def retry(connection: Connection, first: bytes) -> bool:
    """Send the first hello; return whether a HelloRetryRequest came."""
    connection.send(first)
    return connection.wait(lambda: len(connection.received) > 90)


def hear_again(connection: Connection, before: int) -> Result:
    """Wait for the answer to the second hello: a ServerHello and encrypted records."""
    connection.wait(lambda: len(connection.received) > before + 500 or connection.is_ended)
    return Result(b"", True if b"\x17\x03\x03" in connection.received[before:] else None)


@case(families=BOTH, control=True, hello=True, variants=("plain", "change", "split"))
def second_hello(attempt: Attempt) -> Result:
    """The server asks for another hello, and it has another name."""
    connection = attempt.connect()
    first, second = retry_hellos(attempt)
    if not retry(connection, first):
        return Result()
    before = len(connection.received)
    stream = CHANGE + second if attempt.variant == "change" else second
    connection.send(stream, 100 if attempt.variant == "split" else 1400)
    return hear_again(connection, before)


@case(families=BOTH, hello=True)
def second_hello_behind_early_data(attempt: Attempt) -> Result:
    """Records of early data stand between; the server passes over them."""
    return _hide_behind(attempt, [50] * 4)


@case(families=BOTH, variants={"1-byte": [1] * 3100, "17-bytes": [17] * 900}, hello=True)
def second_hello_behind_much_early_data(attempt: Attempt) -> Result:
    """A server counts the data, not the heads of the records: 16 KB of them may be 50 KB on the wire."""
    return _hide_behind(attempt, attempt.variant)


def _hide_behind(attempt: Attempt, sizes: list[int]) -> Result:
    connection = attempt.connect()
    first, second = retry_hellos(attempt, early=True)
    if not retry(connection, first):
        return Result()
    before = len(connection.received)
    connection.send(b"".join(record(bytes(size), 23, 0x0303) for size in sizes))
    connection.send(second)
    return hear_again(connection, before)


@case(families=BOTH, variants={"nothing": 0, "all-but-a-byte": -1}, hello=True)
def decoy_for_the_second_hello(attempt: Attempt) -> Result:
    """The answer that is acknowledged is the server's first, and looks like its answer to a decoy."""
    connection = attempt.prepare()
    connection.answers = False  # the HelloRetryRequest is not acknowledged yet
    assert connection.open()
    first, second = retry_hellos(attempt)
    start = connection.expected
    if not retry(connection, first):
        return Result()
    before = len(connection.received)
    late = start if not attempt.variant else connection.expected - 1
    other = Attempt(attempt.ground, attempt.case, is_attack=False)
    fake = retry_hellos(other)[1]
    at = len(first)
    connection.segment(b"", at, packets.ACK, acknowledgement=late)
    for data, offset in ((fake, at), (SECRET, at + len(fake))):
        connection.segment(data, offset, acknowledgement=late, looks=LOST)
    time.sleep(0.05)
    connection.answers = True
    connection.acknowledge()
    connection.segment(SECRET, at + len(fake), looks=LOST)  # acknowledges the HelloRetryRequest
    time.sleep(0.1)
    connection.send(second)
    return hear_again(connection, before)
