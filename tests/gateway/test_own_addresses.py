"""The gateway's own addresses, and answers that point into the home."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
import yaml

from guardian.config import Config, parse_config
from guardian.gateway.own_addresses import find_own_addresses, is_rebinding
from guardian.names import parse_name


def config_of(**settings: Any) -> Config:
    return parse_config(yaml.safe_dump({"upstreams": {"servers": ["127.0.0.1:1"]}} | settings), "guardian.yaml")


def own(**settings: Any) -> list[str]:
    return [str(ipaddress.ip_address(packed)) for packed in find_own_addresses(config_of(**settings))]


@pytest.mark.parametrize(
    ("listen", "page", "expected"),
    [
        (["192.168.7.1:53", "127.0.0.1:53"], ["192.168.7.1:80"], ["192.168.7.1"]),
        (["127.0.0.1:53"], ["127.0.0.1:80"], ["127.0.0.1"]),  # nothing else is there
        (["[fd00::1]:53", "[fe80::1]:53"], ["[fd00::1]:80"], ["fd00::1"]),
    ],
)
def test_where_it_listens_but_not_on_loopback_where_there_is_more(
    listen: list[str], page: list[str], expected: list[str]
) -> None:
    assert own(dns={"listen": listen}, block={"page": page}) == expected


def test_what_is_written_down_comes_first() -> None:
    found = own(dns={"listen": ["192.168.7.1:53"]}, local={"addresses": ["192.168.7.9", "127.0.0.1"]})
    assert found == ["192.168.7.9", "127.0.0.1"]


def test_a_private_answer_is_for_trusted_names_only() -> None:
    private, public = bytes([192, 168, 0, 1]), bytes([192, 0, 2, 1])
    config = config_of(
        dns={"rebinding_allowed": ["nas.example"]}, forward=[{"domain": "work.example", "upstreams": ["127.0.0.1:1"]}]
    )
    assert is_rebinding(config, parse_name("evil.example"), private)
    assert not is_rebinding(config, parse_name("evil.example"), public)
    for name in ("nas.example", "my.nas.example", "host.work.example"):
        assert not is_rebinding(config, parse_name(name), private)
    off = config_of(dns={"rebinding_protection": False})
    assert not is_rebinding(off, parse_name("evil.example"), private)
