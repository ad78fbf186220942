"""The policy at the socket: what a child, an adult and an unknown device get, and what never leaves the home."""

from __future__ import annotations

import dns.rdatatype
import pytest

from tests.gateway.product import (
    ADULT,
    CHILD,
    STRANGER,
    TEEN,
    Running,
    Upstream,
    addresses,
    extended_errors,
    rcode,
)


def test_open(home: Running) -> None:
    for source in (CHILD, ADULT):
        assert addresses(home.ask("www.open.example", source=source)) == ["192.0.2.10"]
