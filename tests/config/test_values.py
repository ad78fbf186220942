"""The defaults are what a home wants."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from guardian.config import BlockMode, DnsConfig, FilterConfig, LocalConfig, OnFailure, QuicMode, UpstreamConfig
from guardian.config.text import read_upstream
from guardian.config.values import BlockConfig, Config
from guardian.names import parse_name


@pytest.mark.parametrize(
    ("address", "is_home"),
    [
        ("127.0.0.1", True),
        ("192.168.1.7", True),
        ("172.31.255.255", True),
        ("172.32.0.1", False),
        ("100.64.0.1", False),  # a provider's NAT: the neighbours
        ("fe80::1", True),
        ("fd12::1", True),
        ("2001:db8::1", False),
        ("8.8.8.8", False),
    ],
)
def test_clients_are_the_home(address: str, is_home: bool) -> None:
    assert any(ip_address(address) in network for network in DnsConfig().clients) is is_home


def test_names_and_modes() -> None:
    assert LocalConfig().name == parse_name("guardian.home.arpa")
    assert LocalConfig().zone == parse_name("home.arpa")
    assert BlockConfig().mandatory is BlockMode.PAGE


def test_the_filter_is_off_until_somebody_names_its_interfaces() -> None:
    config = FilterConfig()
    assert (config.enabled, config.lan, config.wan) == (False, (), ())
    assert (config.on_failure, config.quic, config.queue) == (OnFailure.OPEN, QuicMode.REFUSE, 53)


def test_settings_live_in_the_state_directory() -> None:
    config = Config(UpstreamConfig((read_upstream("192.0.2.1"),)), state="/s")
    assert config.settings == "/s/settings.db"
