"""SVCB and HTTPS RDATA (RFC 9460): read the SvcParams, and build the RDATA again without some of them."""

from __future__ import annotations

import struct
from typing import NamedTuple

from guardian.errors import FormError
from guardian.names import MAX_NAME_BYTES

KEY_MANDATORY, KEY_ALPN, KEY_IPV4HINT, KEY_ECH, KEY_IPV6HINT = 0, 1, 4, 5, 6
_PARAM_HEAD = struct.Struct(">2H")


class ServiceBinding(NamedTuple):
    """One SVCB or HTTPS RDATA. `target` is a wire name; `params` are (key, value), in rising order of keys."""

    priority: int
    target: bytes
    params: tuple[tuple[int, bytes], ...]


def parse_service_binding(rdata: bytes) -> ServiceBinding:
    """Return the RDATA's parts (RFC 9460 section 2.2). Raises FormError."""
    position = 2
    while True:
        if position >= len(rdata):
            raise FormError("truncated SVCB target")
        length = rdata[position]
        if length > 63:
            raise FormError("compressed SVCB target")
        position += 1 + length
        if not length:
            break
    target = rdata[2:position]
    if len(target) > MAX_NAME_BYTES:  # RDATA may be 64 KiB, and a target is looked up with all its parents
        raise FormError("SVCB target longer than 255 bytes")
    params = []
    last = -1
    while position < len(rdata):
        if position + 4 > len(rdata):
            raise FormError("truncated SvcParam")
        key, size = _PARAM_HEAD.unpack_from(rdata, position)
        position += 4
        if key <= last or position + size > len(rdata):
            raise FormError("SvcParams out of order or too long")
        params.append((key, rdata[position : position + size]))
        position += size
        last = key
    return ServiceBinding(int.from_bytes(rdata[:2]), target, tuple(params))


def build_service_binding(binding: ServiceBinding) -> bytes:
    """Return the RDATA of a binding."""
    params = b"".join(_PARAM_HEAD.pack(key, len(value)) + value for key, value in binding.params)
    return binding.priority.to_bytes(2) + binding.target + params


def strip_ech(rdata: bytes) -> bytes:
    """Return the RDATA without the `ech` SvcParam, also taken out of `mandatory` (RFC 9460 section 8)."""
    binding = parse_service_binding(rdata)
    params = []
    for key, value in binding.params:
        kept = value
        if key == KEY_MANDATORY:
            keys = [value[i : i + 2] for i in range(0, len(value), 2)]
            kept = b"".join(entry for entry in keys if int.from_bytes(entry) != KEY_ECH)
        if key != KEY_ECH and (kept or key != KEY_MANDATORY):
            params.append((key, kept))
    return build_service_binding(binding._replace(params=tuple(params)))


def read_hints(rdata: bytes) -> list[bytes]:
    """Return the packed addresses in `ipv4hint` and `ipv6hint`. Raises FormError."""
    addresses = []
    for key, value in parse_service_binding(rdata).params:
        size = {KEY_IPV4HINT: 4, KEY_IPV6HINT: 16}.get(key)
        if size:
            if len(value) % size:
                raise FormError("address hint of the wrong size")
            addresses += [value[i : i + size] for i in range(0, len(value), size)]
    return addresses
