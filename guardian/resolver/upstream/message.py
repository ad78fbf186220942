"""What is sent to an upstream, and what counts as its answer.

Only the question and the DO and CD bits come from a client. Everything else is ours: no client subnet (RFC 7871), no
cookie (RFC 7873), no option that a client sent.
"""

from __future__ import annotations

import secrets
import struct
from typing import NamedTuple

from guardian.wire.dns import (
    EDNS_DO,
    FLAG_AD,
    FLAG_CD,
    FLAG_QR,
    FLAG_RD,
    FLAG_TC,
    HEADER_BYTES,
    MAX_UDP_PAYLOAD,
    OPCODE_MASK,
    OPTION_PADDING,
    RCODE_BADVERS,
    RCODE_FORMERR,
    RCODE_MASK,
    RCODE_NOERROR,
    RCODE_NOTIMP,
    RCODE_NXDOMAIN,
    RCODE_REFUSED,
    RCODE_SERVFAIL,
    TYPE_OPT,
    Message,
    parse_message,
)

PADDING_BLOCK = 128  # bytes; RFC 8467 section 4.1, queries
OPT_BYTES = 11  # an OPT record without options
OPTION_HEAD_BYTES = 4

_HEADER = struct.Struct(">6H")
_OPT = struct.Struct(">BHHIH")
_OPTION_HEAD = struct.Struct(">2H")
_FLAGS = struct.Struct(">2H")

# What the sender could not or would not say: another server may still know. YXDOMAIN and the like are answers.
_LAME_CODES = frozenset((RCODE_FORMERR, RCODE_SERVFAIL, RCODE_NOTIMP, RCODE_REFUSED, RCODE_BADVERS))
_EDNS_REFUSALS = frozenset((RCODE_FORMERR, RCODE_NOTIMP, RCODE_BADVERS))
_RCODE_NAMES = {
    RCODE_NOERROR: "NOERROR",
    RCODE_FORMERR: "FORMERR",
    RCODE_SERVFAIL: "SERVFAIL",
    RCODE_NXDOMAIN: "NXDOMAIN",
    RCODE_NOTIMP: "NOTIMP",
    RCODE_REFUSED: "REFUSED",
    RCODE_BADVERS: "BADVERS",
}


class Query(NamedTuple):
    """One question for an upstream: uncompressed QNAME, QTYPE, QCLASS as on the wire, and two bits."""

    question: bytes
    dnssec_ok: bool = False
    checking_disabled: bool = False
    edns: bool = True  # False for old servers that refuse EDNS


class Reply(NamedTuple):
    """A response that belongs to its query: the bytes as received, and the same taken apart.

    `parsed` is None when TC is set: such a message may end anywhere, and nothing in it is used.
    """

    message: bytes
    rcode: int  # 12 bits, RFC 6891 section 6.1.3
    parsed: Message | None

    @property
    def truncated(self) -> bool:
        """Whether TC is set."""
        return self.parsed is None

    @property
    def good(self) -> bool:
        """Whether this settles the question; otherwise another server may still do so."""
        return self.rcode not in _LAME_CODES

    @property
    def refuses_edns(self) -> bool:
        """Whether the sender may be one that does not know EDNS (RFC 6891 section 7)."""
        return self.rcode in _EDNS_REFUSALS


def draw_id() -> int:
    """Return an id that nobody can guess (RFC 5452 section 9.2)."""
    return secrets.randbits(16)


def name_rcode(rcode: int) -> str:
    """Return how people write a response code: `SERVFAIL`, `RCODE 17`."""
    return _RCODE_NAMES.get(rcode) or f"RCODE {rcode}"


def build_query(query: Query, ident: int, *, padded: bool = False) -> bytes:
    """Return the message to send: RD and AD set (RFC 6840 section 5.7), CD and DO as asked.

    `padded` fills up to a multiple of 128 bytes (RFC 7830, RFC 8467); only encrypted transports want that.
    """
    flags = FLAG_RD | FLAG_AD | (FLAG_CD if query.checking_disabled else 0)
    head = _HEADER.pack(ident, flags, 1, 0, 0, 1 if query.edns else 0) + query.question
    if not query.edns:
        return head
    extended = EDNS_DO if query.dnssec_ok else 0
    if not padded:
        return head + _OPT.pack(0, TYPE_OPT, MAX_UDP_PAYLOAD, extended, 0)
    fill = -(len(head) + OPT_BYTES + OPTION_HEAD_BYTES) % PADDING_BLOCK
    opt = _OPT.pack(0, TYPE_OPT, MAX_UDP_PAYLOAD, extended, OPTION_HEAD_BYTES + fill)
    return head + opt + _OPTION_HEAD.pack(OPTION_PADDING, fill) + bytes(fill)


def read_reply(message: bytes, ident: int, query: Query) -> Reply | None:
    """Return the reply to `query` that was sent with the id `ident`, or None when `message` is not one.

    A reply has QR set, opcode 0, our id and our question; the name is compared without case (RFC 4343). A FORMERR or
    NOTIMP may come without a question. Raises FormError when the message belongs to the query but is broken.
    """
    if len(message) < HEADER_BYTES:
        return None
    got, flags = _FLAGS.unpack_from(message)
    if got != ident or not flags & FLAG_QR or flags & OPCODE_MASK:
        return None
    question = query.question
    end = HEADER_BYTES + len(question)
    if message[4:6] != b"\x00\x01":
        if message[4:6] == b"\x00\x00" and flags & RCODE_MASK in _EDNS_REFUSALS:
            return Reply(message, flags & RCODE_MASK, parse_message(message))
        return None
    if message[HEADER_BYTES:end] != question and (
        message[HEADER_BYTES : end - 4].lower() != question[:-4].lower() or message[end - 4 : end] != question[-4:]
    ):
        return None
    if flags & FLAG_TC:
        return Reply(message, flags & RCODE_MASK, None)
    parsed = parse_message(message)
    return Reply(message, parsed.rcode, parsed)
