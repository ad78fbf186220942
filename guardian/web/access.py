"""Who calls: a signed-in person, a program with a token, or a device of the home."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

ALL_SCOPES = ("status", "read", "requests", "control", "manage", "accounts")
ROLE_SCOPES = {"parent": frozenset(ALL_SCOPES), "helper": frozenset({"requests"})}


class Whose(NamedTuple):
    """Whose device an address is, as the gateway says. Empty parts are not known."""

    device: str = ""
    profile: str = ""
    name: str = ""  # of the device
    is_child: bool = False  # a filtered profile with an age band
    mac: str = ""
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, from which address. `who` is how the journal names them."""

    address: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    account: int = 0  # 0 = no signed-in person
    who: str = ""
    session: bytes = b""  # the hash of the session's secret
    csrf: str = ""
    token: int = 0  # 0 = no program
