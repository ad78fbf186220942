"""Which names are time servers', and that the box itself finds them whatever holds for devices without a name."""

from __future__ import annotations

import pytest

from guardian.names import parse_name
from guardian.resolver.time_servers import is_time_server


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0.openwrt.pool.ntp.org", True),
        ("2.debian.pool.ntp.org", True),
        ("pool.ntp.org", True),
        ("time.cloudflare.com", True),
        ("cloudflare.com", False),
        ("notpool.ntp.org.example", False),
        ("time.google.com.example", False),
        ("www.google.com", False),
        ("ntp.provider.example", False),
    ],
)
def test_known_names(name: str, expected: bool) -> None:
    assert is_time_server(parse_name(name)) is expected


def test_a_providers_own_names() -> None:
    own = frozenset({parse_name("ntp.provider.example")})
    assert is_time_server(parse_name("ntp.provider.example"), own)
    assert is_time_server(parse_name("a.ntp.provider.example"), own)
    assert not is_time_server(parse_name("provider.example"), own)
