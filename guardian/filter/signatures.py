"""First bytes of clients that only tunnels and proxies send. Pure.

A wrong alarm costs a game or a call, so each protocol is checked by its exact shape; what merely looks like one is let
through. WebRTC (STUN, DTLS, RTP) and QUIC match none of them.
"""

from __future__ import annotations

import struct
from typing import Final

PROXY: Final = "bypass:proxy"
VPN: Final = "bypass:vpn"

_RESET_V2, _RESET_V3 = 7 << 3, 10 << 3  # OpenVPN's opcodes of a client's first packet, with key id 0
_PLAIN_RESET_BYTES = 14
_CRYPT_RESET_BYTES = 54
_HMAC_BYTES = (16, 20, 28, 32, 48, 64)  # MD5, SHA-1, SHA-2: what tls-auth can be set to
_MIN_WRAPPED_KEY_BYTES = 290  # tag, 2048 bits of key, length
_EARLY_NEGOTIATION = (0x0F000000, 0x0F000001)
_EARLIEST, _LATEST = 0x5A000000, 0xA0000000  # 2017 to 2055, Unix seconds

_MAX_RESET_BYTES = 1200  # with the largest wrapped key
_SOCKS5_REQUEST_BYTES = 262
_SOCKS4_BYTES = 8 + 256 + 256

_WIREGUARD_BYTES = 148
_ISAKMP = struct.Struct(">8s8sBBBBII")
_NON_ESP_MARKER = b"\0\0\0\0"  # RFC 3948 section 2.2
_IKE_EXCHANGES = {0x10: (2, 4), 0x20: (34,)}  # version -> main and aggressive mode (RFC 2408); IKE_SA_INIT (RFC 7296)
_IKE_FIRST_PAYLOAD = {0x10: (1,), 0x20: (33, 41)}  # security association; version 2 may put a notify (cookie) first
_SCCRQ_AVP = b"\x80\x08\0\0\0\0\0\x01"  # RFC 2661 section 4.4.1: Message Type, Start-Control-Connection-Request


def tcp_greeting(data: bytes) -> str | None:
    """Return the tag of a tunnel or proxy whose greeting `data` is, or None.

    `data` are all bytes that the client sent before it heard from the server. None also means "needs more bytes":
    `may_become_greeting` tells.
    """
    if len(data) < 3:
        return None
    if (data[0] == 5 and _is_socks5(data)) or (data[0] == 4 and _is_socks4(data)):
        return PROXY
    if int.from_bytes(data[:2]) == len(data) - 2 and _is_openvpn_reset(data[2:]):
        return VPN
    return None


def may_become_greeting(data: bytes) -> bool:
    """Tell whether `tcp_greeting` may find one when more bytes come: a greeting can be sent byte by byte."""
    if not data:
        return True
    if data[0] == 5:
        end = 2 + data[1] if len(data) > 1 else 3
        return end > 2 and data[end : end + 1] in (b"", b"\5") and len(data) < end + _SOCKS5_REQUEST_BYTES
    if data[0] == 4:
        return len(data) < 3 or (data[1] in (1, 2) and data[8:].count(0) < 2 and len(data) < _SOCKS4_BYTES)
    if len(data) < 3:
        return data[0] <= _MAX_RESET_BYTES >> 8
    return len(data) - 2 < int.from_bytes(data[:2]) <= _MAX_RESET_BYTES and data[2] in (_RESET_V2, _RESET_V3)


def udp_greeting(data: bytes, port: int) -> str | None:
    """Return the tag of a tunnel that the first datagram of a flow to `port` begins, or None.

    IKE is also how phones reach the operator's gateway for calls over Wi-Fi: the caller lets those addresses through.
    """
    if len(data) < _PLAIN_RESET_BYTES:
        return None
    first = data[0]
    if first == 1:
        found = _is_wireguard_initiation(data)
    elif first in (_RESET_V2, _RESET_V3) and _is_openvpn_reset(data):
        found = True
    elif port == 500:
        found = _is_ike_start(data)
    elif port == 4500:
        found = data.startswith(_NON_ESP_MARKER) and _is_ike_start(data[4:])
    elif port == 1701:
        found = _is_l2tp_start(data)
    else:
        found = False
    return VPN if found else None


def _is_socks5(data: bytes) -> bool:
    """RFC 1928 section 3: version, number of methods, methods; some clients send the request at once."""
    end = 2 + data[1]
    methods = data[2:end]
    if len(methods) != data[1] or not methods or len(set(methods)) != len(methods) or 0xFF in methods:
        return False
    return len(data) == end or _is_socks5_request(data[end:])


def _is_socks5_request(data: bytes) -> bool:
    """RFC 1928 section 4."""
    if len(data) < 5 or data[0] != 5 or not 1 <= data[1] <= 3 or data[2]:
        return False
    sizes = {1: 10, 3: 7 + data[4], 4: 22}
    return len(data) == sizes.get(data[3])


def _is_socks4(data: bytes) -> bool:
    """SOCKS 4: command, port, address, user, zero; in 4a with an address 0.0.0.x a host name follows."""
    if len(data) < 9 or data[1] not in (1, 2) or data[-1] or data[2:4] == b"\0\0":
        return False
    user, *host = data[8:-1].split(b"\0")
    if not _is_word(user) or data[4] >= 224:
        return False
    if data[4:7] == b"\0\0\0":
        return data[7] != 0 and len(host) == 1 and len(host[0]) > 0 and _is_word(host[0])
    return data[4] != 0 and not host


def _is_word(data: bytes) -> bool:
    return len(data) < 256 and all(0x21 <= byte <= 0x7E for byte in data)


def _is_openvpn_reset(data: bytes) -> bool:
    """A client's hard reset: opcode, session id, then one of four shapes (bare, tls-auth, tls-crypt, tls-crypt-v2)."""
    size = len(data)
    if size < _PLAIN_RESET_BYTES or not _looks_random(data[1:9], 6):
        return False
    if data[0] == _RESET_V3:
        wrapped = int.from_bytes(data[-2:])
        number = int.from_bytes(data[9:13])
        is_numbered = number in _EARLY_NEGOTIATION or _is_numbered(data, 9)
        return wrapped >= _MIN_WRAPPED_KEY_BYTES and size == _CRYPT_RESET_BYTES + wrapped and is_numbered
    if data[0] != _RESET_V2:
        return False
    if size == _CRYPT_RESET_BYTES and _is_numbered(data, 9):
        return True
    if any(data[-5:]):  # nothing to acknowledge, message number 0
        return False
    hmac = size - 22
    return size == _PLAIN_RESET_BYTES or (hmac in _HMAC_BYTES and _is_numbered(data, 9 + hmac))


def _is_numbered(data: bytes, at: int) -> bool:
    """The number of a first packet, and the time at which it was made."""
    return 1 <= int.from_bytes(data[at : at + 4]) <= 16 and _EARLIEST <= int.from_bytes(data[at + 4 : at + 8]) < _LATEST


def _looks_random(data: bytes, distinct: int) -> bool:
    return len(set(data)) >= distinct


def _is_wireguard_initiation(data: bytes) -> bool:
    """Type 1, index, a Curve25519 point (below 2^255), two sealed fields and a MAC: nothing in them is plain."""
    if len(data) != _WIREGUARD_BYTES or data[:4] != b"\1\0\0\0" or data[39] & 0x80:
        return False
    return _looks_random(data[8:132], 70)  # 124 random bytes have 98 different ones, give or take 4


def _is_ike_start(data: bytes) -> bool:
    """RFC 7296 section 3.1, RFC 2408 section 3.1: the initiator's first message."""
    if len(data) < 28:
        return False
    initiator, responder, payload, version, exchange, flags, number, size = _ISAKMP.unpack_from(data)
    return (
        any(initiator)
        and not any(responder)
        and payload in _IKE_FIRST_PAYLOAD.get(version, ())
        and exchange in _IKE_EXCHANGES[version]
        and flags == (0x08 if version == 0x20 else 0)
        and not number
        and size == len(data)
    )


def _is_l2tp_start(data: bytes) -> bool:
    """RFC 2661 section 3.1: a control message of version 2 for no tunnel yet, and it opens one."""
    return (
        data[:2] == b"\xc8\x02"
        and int.from_bytes(data[2:4]) == len(data)
        and not any(data[4:12])
        and data[12:20] == _SCCRQ_AVP
    )
