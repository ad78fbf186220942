"""Greetings of tunnels and proxies are told, and nothing else is: games and calls go on."""

from __future__ import annotations

import hashlib
import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.filter.signatures import may_become_greeting, tcp_greeting, udp_greeting
from tests.wire.hellos import build_hello, frame

SESSION = bytes.fromhex("b0a8a680154c9803")
NUMBERED = struct.pack(">II", 1, 1_795_000_000)


def sealed(count: int, label: str = "x") -> bytes:
    return hashlib.shake_128(label.encode()).digest(count)


def make_ike(version: int = 0x20, exchange: int = 34, payload: int = 33, flags: int = 8, body: int = 200) -> bytes:
    return struct.pack(">8s8sBBBBII", SESSION, bytes(8), payload, version, exchange, flags, 0, 28 + body) + sealed(body)


WIREGUARD = b"\1\0\0\0" + sealed(35, "w") + b"\x55" + sealed(92, "v") + bytes(16)
OPENVPN = {
    "bare": b"\x38" + SESSION + bytes(5),
    "tls-auth with MD5": b"\x38" + SESSION + sealed(16) + NUMBERED + bytes(5),
    "tls-auth with SHA-1": b"\x38" + SESSION + sealed(20) + NUMBERED + bytes(5),
    "tls-auth with SHA-512": b"\x38" + SESSION + sealed(64) + NUMBERED + bytes(5),
    "tls-crypt": b"\x38" + SESSION + NUMBERED + sealed(37),
    "tls-crypt-v2": b"\x50" + SESSION + NUMBERED + sealed(37) + sealed(297) + (299).to_bytes(2),
    "tls-crypt-v2, 2.6": b"\x50" + SESSION + b"\x0f\0\0\1" + NUMBERED[4:] + sealed(37 + 297) + (299).to_bytes(2),
}
L2TP = b"\xc8\x02\0\x20" + bytes(8) + b"\x80\x08\0\0\0\0\0\1" + b"\x80\x08\0\0\0\2\1\0" + b"ABCD"
SOCKS5_REQUEST = b"\5\1\0\3\x0bbet.example\1\xbb"
PROXIES = {
    "SOCKS 5": b"\5\1\0",
    "SOCKS 5, several methods": b"\5\3\0\1\2",
    "SOCKS 5 with the request": b"\5\1\0" + SOCKS5_REQUEST,
    "SOCKS 5 with a request for an address": b"\5\2\0\2\5\1\0\1\xc0\0\2\1\0\x50",
    "SOCKS 5 with a request for an IPv6 address": b"\5\1\0\5\1\0\4" + bytes(16) + b"\0\x50",
    "SOCKS 4": b"\4\1\0\x50\xc0\0\2\1\0",
    "SOCKS 4 with a user": b"\4\1\0\x50\xc0\0\2\1ana\0",
    "SOCKS 4a": b"\4\1\1\xbb\0\0\0\1\0bet.example\0",
}


@pytest.mark.parametrize("case", PROXIES)
def test_proxies(case: str) -> None:
    assert tcp_greeting(PROXIES[case]) == "bypass:proxy"
    for end in range(len(PROXIES[case])):
        part = PROXIES[case][:end]
        assert tcp_greeting(part) in (None, "bypass:proxy")  # a greeting may stand alone in front of the request
        assert may_become_greeting(part)
    assert tcp_greeting(PROXIES[case] + b"x") is None


@pytest.mark.parametrize("case", OPENVPN)
def test_openvpn_over_udp_and_tcp(case: str) -> None:
    data = OPENVPN[case]
    assert udp_greeting(data, 1194) == udp_greeting(data, 443) == "bypass:vpn"
    assert udp_greeting(data[:-1], 1194) is None
    assert udp_greeting(data + b"\0", 1194) is None
    framed = len(data).to_bytes(2) + data
    assert tcp_greeting(framed) == "bypass:vpn"
    for end in range(len(framed)):
        assert tcp_greeting(framed[:end]) is None
        assert may_become_greeting(framed[:end])
    assert tcp_greeting(framed + b"x") is None


def test_other_openvpn_packets_begin_no_flow() -> None:
    for opcode in (0x20, 0x28, 0x30, 0x39, 0x40, 0x48):
        assert udp_greeting(bytes((opcode,)) + OPENVPN["bare"][1:], 1194) is None


def test_wireguard() -> None:
    assert len(WIREGUARD) == 148
    assert udp_greeting(WIREGUARD, 51820) == udp_greeting(WIREGUARD, 53) == "bypass:vpn"
    for other in (
        WIREGUARD[:-1],
        WIREGUARD + b"\0",
        b"\2" + WIREGUARD[1:],
        b"\1\0\0\1" + WIREGUARD[4:],
        WIREGUARD[:39] + b"\x80" + WIREGUARD[40:],
        b"\1\0\0\0" + bytes(144),
        b"\1\0\0\0" + b"player=12;x=1.25;y=7.5;" * 6 + bytes(6),
    ):
        assert udp_greeting(other, 51820) is None


def test_ike() -> None:
    main = make_ike(0x10, 2, 1, 0)
    for data in (make_ike(), main, make_ike(0x10, 4, 1, 0)):
        assert udp_greeting(data, 500) == "bypass:vpn"
        assert udp_greeting(bytes(4) + data, 4500) == "bypass:vpn"
        assert udp_greeting(data, 4500) is None
        assert udp_greeting(data, 27015) is None
        assert udp_greeting(data + b"x", 500) is None
    for data in (make_ike(0x30), make_ike(exchange=35), make_ike(flags=0x28), make_ike(payload=0), b"\xff" * 14):
        assert udp_greeting(data, 500) is None
    assert udp_greeting(b"\xff", 4500) is None  # a keep-alive of NAT traversal


def test_l2tp() -> None:
    assert len(L2TP) == 32
    assert udp_greeting(L2TP, 1701) == "bypass:vpn"
    assert udp_greeting(L2TP, 1702) is None
    assert udp_greeting(L2TP[:-1], 1701) is None
    assert udp_greeting(L2TP[:12] + b"\x80\x08\0\0\0\0\0\2" + L2TP[20:], 1701) is None


HELLO = build_hello("www.example.com", post_quantum=True)
HONEST_DATAGRAMS = {
    "STUN binding": b"\0\1\0\x08\x21\x12\xa4\x42" + sealed(12) + b"\x80\x22\0\4abcd",
    "STUN indication": b"\0\x11\0\0\x21\x12\xa4\x42" + sealed(12),
    "DTLS ClientHello": b"\x16\xfe\xff" + bytes(8) + (len(HELLO) + 8).to_bytes(2) + HELLO,
    "RTP": b"\x80\x60" + sealed(170),
    "RTCP": b"\x80\xc8\0\x06" + sealed(24),
    "QUIC Initial": b"\xc3\0\0\0\1\x08" + SESSION + b"\0\0\x44\x9e" + sealed(1182),
    "QUIC short header": b"\x45" + sealed(60),
    "DNS": b"\x12\x34\1\0\0\1\0\0\0\0\0\0\3www\7example\3com\0\0\1\0\1",
    "NTP": b"\x23" + bytes(47),
    "Source engine query": b"\xff\xff\xff\xffTSource Engine Query\0",
    "RakNet ping": b"\1" + bytes(8) + b"\0\xff\xff\0\xfe\xfe\xfe\xfe\xfd\xfd\xfd\xfd\x12\x34\x56\x78" + SESSION,
    "RakNet open": b"\5\0\xff\xff\0\xfe\xfe\xfe\xfe\xfd\xfd\xfd\xfd\x12\x34\x56\x78\x0b" + bytes(1400),
    "BitTorrent ping": b"d1:ad2:id20:" + sealed(20) + b"e1:q4:ping1:t2:aa1:y1:qe",
    "counter": b"\x38" + bytes(13),
    "padded counter": b"\x38\0\0\0\1\0\0\0\2" + bytes(5),
}
HONEST_STREAMS = {
    "TLS": frame(HELLO),
    "HTTP": b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "MS-RPC bind": b"\5\0\x0b\3\x10\0\0\0\x48\0\0\0\1\0\0\0" + bytes(56),
    "Minecraft": b"\x10\0\xfb\5\x09localhost\x63\xdd\1",
    "MQTT": b"\x10\x0e\0\4MQTT\4\2\0\x3c\0\2id",
    "DNS over TCP": b"\0\x1d" + HONEST_DATAGRAMS["DNS"],
    "small message with its length": b"\0\x0e\x38" + bytes(13),
    "little-endian length 260": b"\4\1\0\0" + bytes(260),
    "empty": b"",
}


@pytest.mark.parametrize("port", [443, 500, 1194, 1701, 3478, 4500, 27015, 51820])
@pytest.mark.parametrize("case", HONEST_DATAGRAMS)
def test_honest_datagrams(case: str, port: int) -> None:
    assert udp_greeting(HONEST_DATAGRAMS[case], port) is None


@pytest.mark.parametrize("case", HONEST_STREAMS)
def test_honest_streams(case: str) -> None:
    for end in range(len(HONEST_STREAMS[case]) + 1):
        assert tcp_greeting(HONEST_STREAMS[case][:end]) is None
    assert not may_become_greeting(HONEST_STREAMS[case][:64] or b"x")


def test_random_datagrams_are_not_flagged() -> None:
    random = Random(7)
    sizes = (*range(64), 86, 148, 148, 148, 200, 512, 1200)
    heads = (b"", b"\1", b"\1\0\0\0", b"\x38", b"\x50", b"\5", b"\4\1", b"\0\x0e\x38", bytes(4))
    plain = shaped = 0
    for _ in range(60_000):
        body = random.randbytes(random.choice(sizes))
        port = random.choice((500, 4500, 1701, 443, 3478))
        plain += udp_greeting(body, port) is not None or (tcp_greeting(body) is not None and len(body) > 3)
        head = random.choice(heads)
        if head != b"\1\0\0\0" or len(body) != 144:  # that one is a WireGuard packet, as far as anybody can see
            shaped += udp_greeting(head + body, port) is not None
    assert (plain, shaped) == (0, 0)


@given(st.binary(max_size=400), st.sampled_from([443, 500, 1194, 1701, 4500]))
def test_nothing_is_raised(data: bytes, port: int) -> None:
    assert udp_greeting(data, port) in (None, "bypass:vpn")
    assert tcp_greeting(data) in (None, "bypass:vpn", "bypass:proxy")
    assert may_become_greeting(data) in (True, False)


@given(st.binary(min_size=1300, max_size=1400))
def test_nothing_is_waited_for_long(data: bytes) -> None:
    for head in (b"", b"\5\1\0\5", b"\5", b"\4\1\0\x50", b"\0\xff\x38", b"\4\xff\x50"):
        assert not may_become_greeting(head + data)


@given(st.sampled_from([*OPENVPN.values(), WIREGUARD, L2TP, make_ike()]), st.data())
def test_nothing_is_raised_by_what_is_almost_one(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data)))
    changed = data[:at] + draw.draw(st.binary(max_size=3)) + data[at + draw.draw(st.integers(0, 3)) :]
    for port in (500, 1701, 4500):
        assert udp_greeting(changed, port) in (None, "bypass:vpn")
    assert tcp_greeting(len(changed).to_bytes(2) + changed) in (None, "bypass:vpn")
