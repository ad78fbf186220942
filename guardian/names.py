"""Domain names: the wire form that travels through Guardian, and the text that people write.

A *wire name* is RFC 1035 wire format: length-prefixed labels, lower case, uncompressed, with the final zero byte
(`b"\\x03www\\x07example\\x03com\\x00"`). Every parent of a name is then a suffix slice of the same bytes, and
`bytes.lower()` is right on it, because length bytes (0-63) are no letters.
"""

from __future__ import annotations

from collections.abc import Iterator

from guardian.errors import TextError

MAX_NAME_BYTES = 255  # RFC 1035 section 2.3.4, with the final zero
MAX_LABEL_BYTES = 63
ROOT = b"\x00"

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")


def parse_name(text: str) -> bytes:
    """Return the wire name of a presentation-format name; a final dot is optional, U-labels become A-labels.

    Backslash escapes (`\\.`, `\\046`) are read as in RFC 1035 section 5.1. Raises TextError.
    """
    if text == ".":
        return ROOT
    if not text.isascii():
        text = to_ascii(text)
    text = text.lower()
    labels = _split_escaped(text) if "\\" in text else [label.encode() for label in text.removesuffix(".").split(".")]
    wire = bytearray()
    for label in labels:
        if not label:
            raise TextError(f"{text!r} has an empty label")
        if len(label) > MAX_LABEL_BYTES:
            raise TextError(f"{text[:80]!r} has a label of more than {MAX_LABEL_BYTES} bytes")
        wire.append(len(label))
        wire += label
    wire.append(0)
    if len(wire) > MAX_NAME_BYTES:
        raise TextError(f"{text[:80]!r}... is longer than {MAX_NAME_BYTES} bytes")
    return bytes(wire)


def to_ascii(text: str) -> str:
    """Return `text` with its U-labels as A-labels (UTS 46, as browsers do). Raises TextError."""
    import idna  # only lists and settings hold U-labels; the gateway never needs it

    try:
        return idna.encode(text, uts46=True, transitional=False).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise TextError(f"{text[:80]!r} is not an internationalised name: {error}") from None


def _split_escaped(text: str) -> list[bytes]:
    labels = [bytearray()]
    index = 0
    while index < len(text):
        char = text[index]
        index += 1
        if char == ".":
            if index < len(text):  # a final dot names the root, not one more label
                labels.append(bytearray())
            continue
        if char == "\\":
            digits = text[index : index + 3]
            if len(digits) == 3 and digits.isdigit():
                if int(digits) > 255:
                    raise TextError(f"{text[:80]!r}: \\{digits} is not a byte")
                labels[-1].append(int(digits))
                index += 3
                continue
            if index == len(text):
                raise TextError(f"{text[:80]!r} ends in a backslash")
            char = text[index]
            index += 1
        labels[-1] += char.encode()
    return [bytes(label).lower() for label in labels]


def format_name(wire: bytes) -> str:
    """Return the presentation format of a wire name, without the final dot; odd bytes are escaped, so it is ASCII.

    Bytes outside letters, digits, `-`, `_` become `\\DDD` or `\\.`; the root is `.`.
    """
    labels = []
    position = 0
    while length := wire[position]:
        label = wire[position + 1 : position + 1 + length]
        position += 1 + length
        lowered = label.lower()
        if _PLAIN.issuperset(lowered):
            labels.append(lowered.decode("ascii"))
        else:
            labels.append("".join(_escape(byte) for byte in lowered))
    return ".".join(labels) or "."


def _escape(byte: int) -> str:
    if byte in _PLAIN:
        return chr(byte)
    if 0x21 <= byte <= 0x7E:
        return "\\" + chr(byte)
    return f"\\{byte:03d}"


def suffixes(wire: bytes) -> Iterator[bytes]:
    """Yield the wire name and each of its parents, without the root."""
    position = 0
    while length := wire[position]:
        yield wire[position:]
        position += 1 + length


def count_labels(wire: bytes) -> int:
    """Return the number of labels, the root not counted."""
    return sum(1 for _ in suffixes(wire))


def is_below(wire: bytes, parent: bytes) -> bool:
    """Tell whether `wire` is `parent` or a name below it."""
    return parent == ROOT or any(suffix == parent for suffix in suffixes(wire))


def reverse_name(address: bytes) -> bytes:
    """Return the wire name under in-addr.arpa or ip6.arpa of a packed IPv4 or IPv6 address."""
    if len(address) == 4:
        return parse_name(".".join(str(byte) for byte in reversed(address)) + ".in-addr.arpa")
    return parse_name(".".join(reversed(address.hex())) + ".ip6.arpa")
