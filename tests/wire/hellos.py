"""ClientHellos as browsers send them, for tests: whole messages, and the records that carry them.

`build_hello` and `frame` are all that most tests need. `make_extensions`, `assemble` and `server_name` are the parts,
for hellos that nobody honest sends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

Extension = tuple[int, bytes]

SERVER_NAME, GROUPS, SIGNATURES, ALPN, EARLY_DATA, VERSIONS, KEY_SHARE = 0, 10, 13, 16, 42, 43, 51
ECH = 0xFE0D
X25519, X25519_MLKEM768 = 0x001D, 0x11EC
MLKEM_SHARE_BYTES = 1216
GREASE = (0x0A0A, 0x1A1A, 0x2A2A, 0x3A3A)
SUITES = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x009C, 0x002F)


def filler(count: int, label: str = "") -> bytes:
    """Bytes that look random and are the same at each run."""
    return hashlib.shake_128(label.encode()).digest(count)


def vector(content: bytes, size: int = 2) -> bytes:
    """`content` with its length in front, in `size` bytes."""
    return len(content).to_bytes(size) + content


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(2) for number in numbers)


def server_name(*names: str | bytes, kind: int = 0) -> Extension:
    """The server_name extension with these names (one, in honest hellos)."""
    raw = (name if isinstance(name, bytes) else name.encode() for name in names)
    return SERVER_NAME, vector(b"".join(bytes((kind,)) + vector(name) for name in raw))


def alpn(*protocols: str) -> Extension:
    return ALPN, vector(b"".join(vector(protocol.encode(), 1) for protocol in protocols))


def key_share(*groups: int) -> Extension:
    """Key shares: GREASE has one byte, X25519MLKEM768 has 1216, X25519 has 32."""
    shares = b""
    for group in groups:
        size = 1 if group in GREASE else MLKEM_SHARE_BYTES if group == X25519_MLKEM768 else 32
        shares += words(group) + vector(filler(size, f"share {group}"))
    return KEY_SHARE, vector(shares)


def ech_outer() -> Extension:
    """encrypted_client_hello of type outer (RFC 9849 section 5): HKDF-SHA256 with AES-128-GCM; GREASE looks so too."""
    return ECH, b"\0" + words(1, 1) + b"\x2a" + vector(filler(32, "enc")) + vector(filler(208, "payload"))


def make_extensions(
    name: str | None,
    *,
    post_quantum: bool = False,
    ech: bool = False,
    grease: bool = False,
    protocols: Sequence[str] = ("h2", "http/1.1"),
) -> list[Extension]:
    """The extensions of `build_hello`, to change one or two."""
    groups = [*GREASE[1:2]] * grease + [X25519_MLKEM768] * post_quantum + [X25519, 0x0017, 0x0018]
    shares = [*GREASE[1:2]] * grease + [X25519_MLKEM768] * post_quantum + [X25519]
    versions = words(*[*GREASE[2:3]] * grease, 0x0304, 0x0303)
    extensions: list[Extension] = [(GREASE[0], b"")] * grease
    if name is not None:
        extensions.append(server_name(name))
    extensions += [(23, b""), (0xFF01, b"\0"), (GROUPS, vector(words(*groups))), (11, b"\1\0"), (35, b"")]
    if protocols:
        extensions.append(alpn(*protocols))
    extensions += [
        (5, b"\1\0\0\0\0"),
        (SIGNATURES, vector(words(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601))),
        (18, b""),
        key_share(*shares),
        (45, b"\1\1"),
        (VERSIONS, vector(versions, 1)),
        (27, b"\2\0\2"),
    ]
    if ech:
        extensions.append(ech_outer())
    return extensions + [(GREASE[3], b"\0")] * grease


def assemble(
    extensions: Iterable[Extension] | None,
    *,
    version: int = 0x0303,
    session: bytes | None = None,
    suites: Sequence[int] = SUITES,
) -> bytes:
    """The ClientHello message of some extensions; None: without the block of extensions."""
    body = words(version) + filler(32, "random") + vector(filler(32, "session") if session is None else session, 1)
    body += vector(words(*suites)) + b"\1\0"
    if extensions is not None:
        body += vector(b"".join(words(kind) + vector(value) for kind, value in extensions))
    return b"\1" + vector(body, 3)


def build_hello(
    name: str | None,
    *,
    post_quantum: bool = False,
    ech: bool = False,
    grease: bool = False,
    alpn: Sequence[str] = ("h2", "http/1.1"),
    extra: Iterable[Extension] = (),
) -> bytes:
    """Return a ClientHello message that TLS 1.2 and 1.3 servers take.

    `post_quantum`: with a key share of X25519MLKEM768, so that it fills two segments. `ech`: `name` is then the outer
    name. `extra`: (type, value) of more extensions, put at the end.
    """
    extensions = make_extensions(name, post_quantum=post_quantum, ech=ech, grease=grease, protocols=alpn)
    suites = [*GREASE[:1]] * grease + list(SUITES)
    return assemble([*extensions, *extra], suites=suites)


def record(payload: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    """One TLS record."""
    return bytes((kind,)) + words(version) + vector(payload)


def frame(handshake: bytes, sizes: list[int] | None = None) -> bytes:
    """Return the records of a handshake message: payloads of `sizes` bytes, the rest in a last one."""
    records = b""
    for size in sizes or []:
        records += record(handshake[:size])
        handshake = handshake[size:]
    return records + record(handshake) if handshake else records
