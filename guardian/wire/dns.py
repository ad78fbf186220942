"""DNS messages (RFC 1035, RFC 6891): numbers of the protocol, whole messages, and the light view of a query.

`parse_message` takes a whole message apart: for what upstreams answer. `parse_query` reads only what a decision needs,
by offsets: for what clients send. Names are wire names (`guardian.names`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from guardian.errors import FormError
from guardian.names import MAX_NAME_BYTES
from guardian.wire.svcb import parse_service_binding

HEADER_BYTES = 12
FLAG_QR, FLAG_AA, FLAG_TC, FLAG_RD, FLAG_RA, FLAG_AD, FLAG_CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
OPCODE_MASK, RCODE_MASK = 0x7800, 0x000F

RCODE_NOERROR, RCODE_FORMERR, RCODE_SERVFAIL, RCODE_NXDOMAIN, RCODE_NOTIMP, RCODE_REFUSED = range(6)
RCODE_BADVERS = 16

TYPE_A, TYPE_NS, TYPE_CNAME, TYPE_SOA, TYPE_PTR, TYPE_HINFO, TYPE_MX, TYPE_TXT = 1, 2, 5, 6, 12, 13, 15, 16
TYPE_AAAA, TYPE_SRV, TYPE_DNAME, TYPE_OPT, TYPE_DS = 28, 33, 39, 41, 43
TYPE_RRSIG, TYPE_NSEC, TYPE_DNSKEY, TYPE_NSEC3, TYPE_SVCB, TYPE_HTTPS = 46, 47, 48, 50, 64, 65
TYPE_TKEY, TYPE_TSIG, TYPE_IXFR, TYPE_AXFR, TYPE_MAILB, TYPE_MAILA, TYPE_ANY = 249, 250, 251, 252, 253, 254, 255
CLASS_IN = 1

# Extended DNS Errors, RFC 8914 section 4
EDE_OTHER, EDE_STALE_ANSWER, EDE_FORGED_ANSWER, EDE_DNSSEC_BOGUS = 0, 3, 4, 6
EDE_NOT_READY, EDE_BLOCKED, EDE_CENSORED, EDE_FILTERED = 14, 15, 16, 17
EDE_PROHIBITED, EDE_STALE_NXDOMAIN = 18, 19
EDE_NOT_SUPPORTED, EDE_NO_REACHABLE_AUTHORITY, EDE_NETWORK_ERROR = 21, 22, 23

OPTION_ECS, OPTION_COOKIE, OPTION_KEEPALIVE, OPTION_PADDING, OPTION_EDE, OPTION_MAC = 8, 10, 11, 12, 15, 65001
EDNS_DO = 0x8000
MAX_UDP_PAYLOAD = 1232  # DNS flag day 2020: no fragments
MIN_UDP_PAYLOAD = 512
MAX_POINTERS = 32  # in one name; honest compression nests a few
MAX_RECORDS = 1024  # in one message: together with MAX_POINTERS the bound on the work for a hostile one
ROOT_POINTER = 0xC00C  # a compression pointer to the QNAME

_HEADER = struct.Struct(">6H")
_QUESTION_TAIL = struct.Struct(">2H")
_RECORD_HEAD = struct.Struct(">HHIH")
_OPTION_HEAD = struct.Struct(">2H")
_PLAIN_OPT = b"\x00" + TYPE_OPT.to_bytes(2)

# RDATA with names that may be compressed (RFC 3597 section 4): bytes before the names, number of names.
_NAMES_IN_RDATA = {
    TYPE_NS: (0, 1),
    TYPE_CNAME: (0, 1),
    TYPE_PTR: (0, 1),
    TYPE_SOA: (0, 2),
    TYPE_MX: (2, 1),
    TYPE_SRV: (6, 1),
    TYPE_DNAME: (0, 1),
    3: (0, 1),  # MD
    4: (0, 1),  # MF
    7: (0, 1),  # MB
    8: (0, 1),  # MG
    9: (0, 1),  # MR
    14: (0, 2),  # MINFO
    17: (0, 2),  # RP
    18: (2, 1),  # AFSDB
    21: (2, 1),  # RT
    26: (2, 2),  # PX
    36: (2, 1),  # KX
}


class Question(NamedTuple):
    """One question; `name` keeps the case in which it was sent (0x20)."""

    name: bytes
    type: int
    class_: int


class Record(NamedTuple):
    """One resource record; names inside `rdata` are uncompressed."""

    owner: bytes
    type: int
    class_: int
    ttl: int  # seconds
    rdata: bytes


class Edns(NamedTuple):
    """The OPT pseudo-record (RFC 6891); `rcode_high` are the upper eight bits of the RCODE."""

    payload: int = MAX_UDP_PAYLOAD
    version: int = 0
    dnssec_ok: bool = False
    rcode_high: int = 0
    options: tuple[tuple[int, bytes], ...] = ()


class Message(NamedTuple):
    """A whole message. `flags` is the 16-bit word of the header, with the low four bits of the RCODE."""

    id: int
    flags: int
    question: Question | None
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    edns: Edns | None = None

    @property
    def rcode(self) -> int:
        """The 12-bit RCODE (RFC 6891 section 6.1.3)."""
        return (self.flags & RCODE_MASK) | ((self.edns.rcode_high << 4) if self.edns else 0)


class Query(NamedTuple):
    """What a client asks, by offsets. `name` is lower case; the question's own bytes are `data[12:question_end]`."""

    id: int
    flags: int
    name: bytes
    type: int
    class_: int
    question_end: int
    edns: Edns | None


def parse_query(data: bytes) -> Query:
    """Return the light view of a client's message. Raises FormError.

    Only the sections that a query may have are accepted: one question, no answer or authority, and in the additional
    section at most one OPT; other additional records (TSIG) are passed over.
    """
    if len(data) < HEADER_BYTES:
        raise FormError("shorter than a header")
    ident, flags, questions, answers, authority, additional = _HEADER.unpack_from(data)
    if questions != 1 or answers or authority:
        raise FormError("not exactly one question")
    name, position = _read_question_name(data)
    qtype, qclass = _QUESTION_TAIL.unpack_from(data, position)
    end = position + 4
    edns = None
    if additional == 1 and len(data) == end + 11 and data[end : end + 3] == _PLAIN_OPT and data[-2:] == b"\0\0":
        _, payload, ttl, _ = _RECORD_HEAD.unpack_from(data, end + 1)  # an OPT without options, as most clients send
        edns = Edns(payload, (ttl >> 16) & 0xFF, bool(ttl & EDNS_DO), ttl >> 24)
    elif additional:
        edns = _read_query_edns(data, end, additional)
    elif len(data) != end:
        raise FormError("bytes behind the message")
    return Query(ident, flags, name, qtype, qclass, end, edns)


def read_mac(query: Query) -> bytes | None:
    """Return the MAC that dnsmasq put into EDNS option 65001 (`--add-mac`), six bytes, or None."""
    if query.edns is not None:
        for code, value in query.edns.options:
            if code == OPTION_MAC and len(value) == 6:
                return value
    return None


def _read_question_name(data: bytes) -> tuple[bytes, int]:
    """The lower-case QNAME at offset 12, and where QTYPE begins, which is inside the data."""
    position = HEADER_BYTES
    limit = len(data) - 4
    while True:
        if position >= limit:
            raise FormError("truncated question")
        length = data[position]
        if length == 0:
            break
        if length > 63:
            raise FormError("compressed or unknown label in a question")
        position += 1 + length
    position += 1
    if position - HEADER_BYTES > MAX_NAME_BYTES:
        raise FormError("name longer than 255 bytes")
    return data[HEADER_BYTES:position].lower(), position


def _read_query_edns(data: bytes, position: int, count: int) -> Edns | None:
    edns = None
    for _ in range(count):
        owner, position = _read_name(data, position)
        kind, class_, ttl, size = _unpack_record_head(data, position)
        position += 10
        rdata = data[position : position + size]
        position += size
        if kind == TYPE_OPT:
            if edns is not None or owner != b"\x00":
                raise FormError("more than one OPT, or one with a name")
            edns = _read_edns(class_, ttl, rdata)
    if position != len(data):
        raise FormError("bytes behind the message")
    return edns


def _unpack_record_head(data: bytes, position: int) -> tuple[int, int, int, int]:
    if position + 10 > len(data):
        raise FormError("truncated record")
    kind, class_, ttl, size = _RECORD_HEAD.unpack_from(data, position)
    if position + 10 + size > len(data):
        raise FormError("RDATA longer than the message")
    return kind, class_, ttl, size


def _read_edns(class_: int, ttl: int, rdata: bytes) -> Edns:
    options = []
    position = 0
    while position < len(rdata):
        if position + 4 > len(rdata):
            raise FormError("truncated EDNS option")
        code, size = _OPTION_HEAD.unpack_from(rdata, position)
        position += 4
        if position + size > len(rdata):
            raise FormError("EDNS option longer than its record")
        options.append((code, rdata[position : position + size]))
        position += size
    return Edns(class_, (ttl >> 16) & 0xFF, bool(ttl & EDNS_DO), ttl >> 24, tuple(options))


def _read_name(data: bytes, position: int) -> tuple[bytes, int]:
    """The uncompressed name at `position`, case kept, and where the next field begins (RFC 1035 section 4.1.4)."""
    labels = []
    total = 1
    end = 0
    lowest = position
    jumps = 0
    size = len(data)
    while True:
        if position >= size:
            raise FormError("truncated name")
        length = data[position]
        if length == 0:
            position += 1
            break
        if length < 64:
            label_end = position + 1 + length
            if label_end > size:
                raise FormError("truncated label")
            labels.append(data[position:label_end])
            total += 1 + length
            if total > MAX_NAME_BYTES:
                raise FormError("name longer than 255 bytes")
            position = label_end
        elif length >= 0xC0:
            if position + 1 >= size:
                raise FormError("truncated pointer")
            target = ((length & 0x3F) << 8) | data[position + 1]
            jumps += 1
            if target >= lowest or jumps > MAX_POINTERS:  # pointers only go back: no loops
                raise FormError("compression pointer that does not point back")
            end = end or position + 2
            position = lowest = target
        else:
            raise FormError("unknown label type")
    labels.append(b"\x00")
    return b"".join(labels), end or position


def parse_message(data: bytes) -> Message:
    """Return a whole message with its names uncompressed. Raises FormError.

    Bytes behind the last record are an error: nothing hides in a message.
    """
    if len(data) < HEADER_BYTES:
        raise FormError("shorter than a header")
    ident, flags, questions, answers, authority, additional = _HEADER.unpack_from(data)
    if questions > 1:
        raise FormError("more than one question")
    if answers + authority + additional > MAX_RECORDS:
        raise FormError("too many records")
    position = HEADER_BYTES
    question = None
    if questions:
        name, position = _read_name(data, position)
        if position + 4 > len(data):
            raise FormError("truncated question")
        question = Question(name, *_QUESTION_TAIL.unpack_from(data, position))
        position += 4
    answer_records, position, _ = _read_section(data, position, answers)
    authority_records, position, _ = _read_section(data, position, authority)
    additional_records, position, edns = _read_section(data, position, additional, allow_opt=True)
    if position != len(data):
        raise FormError("bytes behind the message")
    return Message(ident, flags, question, answer_records, authority_records, additional_records, edns)


def _read_section(
    data: bytes, position: int, count: int, allow_opt: bool = False
) -> tuple[tuple[Record, ...], int, Edns | None]:
    records = []
    edns = None
    for _ in range(count):
        owner, position = _read_name(data, position)
        kind, class_, ttl, size = _unpack_record_head(data, position)
        position += 10
        if kind == TYPE_OPT:
            if not allow_opt or edns is not None or owner != b"\x00":
                raise FormError("OPT in the wrong place")
            edns = _read_edns(class_, ttl, data[position : position + size])
        else:
            rdata = _read_rdata(data, position, size, kind)
            # RFC 2181 section 8: a TTL with the top bit set is zero.
            records.append(Record(owner, kind, class_, ttl if ttl < 0x80000000 else 0, rdata))
        position += size
    return tuple(records), position, edns


def _read_rdata(data: bytes, position: int, size: int, kind: int) -> bytes:
    layout = _NAMES_IN_RDATA.get(kind)
    end = position + size
    if layout is None:
        return data[position:end]
    fixed, names = layout
    parts = [data[position : position + fixed]]
    position += fixed
    for _ in range(names):
        if position >= end:
            raise FormError("RDATA too short for its names")
        name, position = _read_name(data, position)
        parts.append(name)
    if position > end or (kind == TYPE_SOA and end - position != 20) or (kind != TYPE_SOA and position != end):
        raise FormError("RDATA of the wrong size")
    parts.append(data[position:end])
    return b"".join(parts)


def build_message(message: Message, limit: int = 65535) -> bytes:
    """Return the wire form with compressed owner names, at most `limit` bytes.

    What does not fit is left out from the end: additional records first; the rest with TC set (RFC 2181
    section 9).
    """
    opt = build_edns(message.edns) if message.edns else b""
    head = bytearray(HEADER_BYTES)
    offsets: dict[bytes, int] = {}
    if message.question:
        write_name(head, message.question.name, offsets)
        head += _QUESTION_TAIL.pack(message.question.type, message.question.class_)
    flags = message.flags
    counts = [0, 0, 0]
    full = False
    for index, section in enumerate((message.answers, message.authority, message.additional)):
        for record in section:
            start = len(head)
            write_record(head, record, offsets)
            if len(head) + len(opt) > limit:
                del head[start:]
                full = True
                break
            counts[index] += 1
        if full:
            if index < 2:
                flags |= FLAG_TC
            break
    head += opt
    total = counts[2] + (1 if opt else 0)
    _HEADER.pack_into(head, 0, message.id, flags, 1 if message.question else 0, counts[0], counts[1], total)
    return bytes(head)


def write_name(out: bytearray, name: bytes, offsets: dict[bytes, int] | None) -> None:
    """Append `name`, with a pointer to a suffix that stands in `offsets` (lower case -> position); learn new ones."""
    if offsets is None:
        out += name
        return
    position = 0
    lowered = name.lower()
    while length := name[position]:
        suffix = lowered[position:]
        known = offsets.get(suffix)
        if known is not None:
            out += (0xC000 | known).to_bytes(2)
            return
        if len(out) < 0x4000:
            offsets[suffix] = len(out)
        out += name[position : position + 1 + length]
        position += 1 + length
    out.append(0)


def write_record(out: bytearray, record: Record, offsets: dict[bytes, int]) -> None:
    """Append a record with its owner compressed, and the target of NS, CNAME and PTR as well."""
    write_name(out, record.owner, offsets)
    start = len(out)
    out += _RECORD_HEAD.pack(record.type, record.class_, record.ttl, len(record.rdata))
    if record.type in (TYPE_CNAME, TYPE_NS, TYPE_PTR):
        write_name(out, record.rdata, offsets)
        struct.pack_into(">H", out, start + 8, len(out) - start - 10)
    else:
        out += record.rdata


def build_edns(edns: Edns) -> bytes:
    """Return the OPT record of `edns`."""
    options = b"".join(_OPTION_HEAD.pack(code, len(value)) + value for code, value in edns.options)
    ttl = (edns.rcode_high << 24) | (edns.version << 16) | (EDNS_DO if edns.dnssec_ok else 0)
    return b"\x00" + _RECORD_HEAD.pack(TYPE_OPT, edns.payload, ttl, len(options)) + options


def build_extended_error(code: int, text: str = "") -> tuple[int, bytes]:
    """Return the EDNS option of an Extended DNS Error (RFC 8914 section 2)."""
    return OPTION_EDE, code.to_bytes(2) + text.encode()


def names_in(records: Iterable[Record]) -> list[bytes]:
    """Return the lower-case wire names that answers lead to: targets of CNAME, DNAME, SVCB and HTTPS records.

    Raises FormError for a broken SVCB or HTTPS record.
    """
    names = []
    for record in records:
        if record.type in (TYPE_CNAME, TYPE_DNAME):
            names.append(record.rdata.lower())
        elif record.type in (TYPE_SVCB, TYPE_HTTPS):
            target = parse_service_binding(record.rdata).target
            if target != b"\x00":  # "." is the owner itself
                names.append(target.lower())
    return names
