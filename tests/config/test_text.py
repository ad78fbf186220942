"""The words of guardian.yaml: endpoints, upstreams, networks, durations, sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.config.text import (
    Endpoint,
    Transport,
    Upstream,
    read_address_of_reports,
    read_broker,
    read_choice,
    read_duration,
    read_endpoint,
    read_feed_address,
    read_host,
    read_interface,
    read_line,
    read_listener,
    read_network,
    read_number,
    read_seconds,
    read_size,
    read_upstream,
    read_word,
)
from guardian.errors import TextError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", Endpoint("127.0.0.1", 53)),
        ("127.0.0.1:5300", Endpoint("127.0.0.1", 5300)),
        ("::1", Endpoint("::1", 53)),
        ("[::1]", Endpoint("::1", 53)),
        ("[0:0::1]:5300", Endpoint("::1", 5300)),
        ("[fe80::1%eth0]:53", Endpoint("fe80::1%eth0", 53)),
    ],
)
def test_endpoints(text: str, expected: Endpoint) -> None:
    assert read_endpoint(53)(text) == expected
    assert read_endpoint(1)(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "127.0.0.1:", "127.0.0.1:0", "1.2.3.4:65536", "1.2.3.4:-1", "[::1", "[::1]5", ":53", "٣.1.1.1:٣"],
)
def test_bad_endpoints(text: str) -> None:
    with pytest.raises(TextError):
        read_endpoint(53)(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("br-lan:53", Endpoint("br-lan", 53)),
        ("br-lan", Endpoint("br-lan", 53)),
        ("eth0.20:5300", Endpoint("eth0.20", 5300)),
        ("192.168.1.1", Endpoint("192.168.1.1", 53)),
        ("[::1]:54", Endpoint("::1", 54)),
    ],
)
def test_listeners(text: str, expected: Endpoint) -> None:
    assert read_listener(53)(text) == expected
    assert read_listener(1)(str(expected)) == expected
    assert expected.is_interface is (expected.host[0] in "be")


@pytest.mark.parametrize(
    "text",
    ["", ":53", "localhost", "lo", "lo:53", "1.2.3", "1.2.3.4.5", "br lan", "br-lan:", "br-lan:0", "a" * 16, "a/b"],
)
def test_bad_listeners(text: str) -> None:
    with pytest.raises(TextError):
        read_listener(53)(text)


def test_lines_for_people() -> None:
    assert read_line(" Telecom „Plus”, 1181 ") == "Telecom „Plus”, 1181"
    assert read_line("") == ""
    for text in ("a\nb", "a\x1b[31m", "a\u202eb", "a\x00", "x" * 201):
        with pytest.raises(TextError):
            read_line(text)


UDP, TCP, TLS, HTTPS = Transport.UDP, Transport.TCP, Transport.TLS, Transport.HTTPS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.168.1.1", Upstream(UDP, "192.168.1.1", 53)),
        ("192.168.1.1:5353", Upstream(UDP, "192.168.1.1", 5353)),
        ("2001:db8::1", Upstream(UDP, "2001:db8::1", 53)),
        ("udp://192.168.1.1", Upstream(UDP, "192.168.1.1", 53)),
        ("tcp://[2001:db8::1]:54", Upstream(TCP, "2001:db8::1", 54)),
        (
            "tls://dns.quad9.net@9.9.9.9,149.112.112.112",
            Upstream(TLS, "dns.quad9.net", 853, "", ("9.9.9.9", "149.112.112.112")),
        ),
        ("tls://DNS.Quad9.net.:8853@[2620:fe::fe]", Upstream(TLS, "dns.quad9.net", 8853, "", ("2620:fe::fe",))),
        ("tls://9.9.9.9", Upstream(TLS, "9.9.9.9", 853)),
        ("https://dns.quad9.net/dns-query@9.9.9.9", Upstream(HTTPS, "dns.quad9.net", 443, "/dns-query", ("9.9.9.9",))),
        ("https://dns.quad9.net", Upstream(HTTPS, "dns.quad9.net", 443, "/dns-query")),
        ("https://a.example:8443/x/y@::1", Upstream(HTTPS, "a.example", 8443, "/x/y", ("::1",))),
        ("tls://a.example@1.2.3.4?ca=/a@b/c.pem", Upstream(TLS, "a.example", 853, "", ("1.2.3.4",), "/a@b/c.pem")),
    ],
)
def test_upstreams(text: str, expected: Upstream) -> None:
    assert read_upstream(text) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("tsl://a.example", "unknown upstream scheme 'tsl', did you mean 'tls'?"),
        ("quic://a.example", "unknown upstream scheme 'quic'"),
        ("dns.quad9.net", "plain DNS needs one"),
        ("udp://9.9.9.9@1.1.1.1", "plain DNS takes"),
        ("udp://9.9.9.9/x", "plain DNS takes"),
        ("tls://a.example/x", "only https://"),
        ("tls://", "neither"),
        ("tls://a b", "neither"),
        ("tls://1.2.3", "neither"),
        ("tls://a.example@", "not an IP address"),
        ("tls://a.example@b.example", "not an IP address"),
        ("tls://a..example@1.1.1.1", "empty label"),
        ("tls://a.example:x@1.1.1.1", "not a port"),
        ("tls://a.example@1.1.1.1?cert=x", "only [?]ca="),
        ("https://[::1", "not an address"),
    ],
)
def test_bad_upstreams(text: str, part: str) -> None:
    with pytest.raises(TextError, match=part):
        read_upstream(text)


def test_labels() -> None:
    assert read_upstream("tls://dns.quad9.net@9.9.9.9").label == "tls://dns.quad9.net:853"
    assert read_upstream("2001:db8::1").label == "udp://[2001:db8::1]:53"
    assert read_upstream("https://a.example").label == "https://a.example:443/dns-query"


def test_networks() -> None:
    assert str(read_network("10.0.0.0/8")) == "10.0.0.0/8"
    assert str(read_network("::1")) == "::1/128"
    with pytest.raises(TextError, match=r"did you mean '192.168.1.0/24'"):
        read_network("192.168.1.1/24")


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (read_duration(0, 100), "1.5", 1.5),
        (read_duration(0, 100), "1m", 60),
        (read_seconds(0, 604800), "1d", 86400),
        (read_seconds(0, 604800), "12 h", 43200),
        (read_size, "8MB", 8 * 2**20),
        (read_size, "512k", 512 * 1024),
        (read_size, "123", 123),
        (read_number(0, 10), "10", 10),
        (read_choice("ro", "en"), "RO", "ro"),
        (read_word, "br-lan", "br-lan"),
    ],
)
def test_quantities(read: Callable[[str], Any], text: str, expected: object) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_duration(1, 100), "0.5"),
        (read_duration(1, 100), "2m"),
        (read_duration(1, 100), "-1"),
        (read_duration(1, 100), "inf"),
        (read_duration(1, 100), "5y"),
        (read_size, "8 bytes"),
        (read_number(0, 10), "11"),
        (read_number(0, 10), "1e1"),
        (read_choice("ro", "en"), "de"),
        (read_word, "a b"),
        (read_word, ""),
    ],
)
def test_refused_quantities(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(TextError):
        read(text)


@pytest.mark.parametrize("text", ["eth0", "br-lan", "wlan0.20", "_x", "a" * 15, "lo0", "..."])
def test_interfaces(text: str) -> None:
    assert read_interface(text) == text


@pytest.mark.parametrize(
    "text", ["", "a" * 16, "lo", ".", "..", "a b", "eth+", "eth*", "e/0", 'e"0', "-i", "e\n", "é0", "a:1", "@x", "a\0b"]
)
def test_bad_interfaces(text: str) -> None:
    with pytest.raises(TextError):
        read_interface(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [("guardian.lan", "guardian.lan"), ("Box.", "box"), ("my_box-1.a", "my_box-1.a"), ("a" * 63, "a" * 63)],
)
def test_hosts(text: str, host: str) -> None:
    assert read_host(text) == host


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "-a", "a-", "a b", "a:80", "http://a", "a/b", "[::1]", "a" * 64, "ș.lan", "a\n", "*.lan"]
)
def test_bad_hosts(text: str) -> None:
    with pytest.raises(TextError):
        read_host(text)


@pytest.mark.parametrize("text", ["", "https://hotline.example/reports", "http://127.0.0.1:8000/x", "http://[::1]/"])
def test_addresses_of_reports(text: str) -> None:
    assert read_address_of_reports(text) == text


@pytest.mark.parametrize(
    "text",
    ["hotline.example", "http://hotline.example/", "ftp://127.0.0.1/", "https://", "https://[x/", "https://a:x/"],
)
def test_bad_addresses_of_reports(text: str) -> None:
    with pytest.raises(TextError):
        read_address_of_reports(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mqtts://push.example", "mqtts://push.example:8883"),
        ("mqtts://[2001:db8::1]:99/", "mqtts://[2001:db8::1]:99"),
        ("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883"),
    ],
)
def test_brokers(text: str, shown: str) -> None:
    assert str(read_broker(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "push.example",
        "mqtt://push.example",
        "mqtts://",
        "mqtts://a:x",
        "mqtts://u:p@a",
        "mqtts://a/t",
        "mqtts://[x",
    ],
)
def test_bad_brokers(text: str) -> None:
    with pytest.raises(TextError):
        read_broker(text)


@pytest.mark.parametrize("text", ["https://feed.example/guardian", "http://192.0.2.1:8000/guardian/"])
def test_addresses_of_feeds(text: str) -> None:
    assert read_feed_address(text) == text.rstrip("/") + "/"


@pytest.mark.parametrize(
    "text", ["", "feed.example", "ftp://a/", "https://", "https://[x/", "https://u:p@a/", "http://a/?x"]
)
def test_bad_addresses_of_feeds(text: str) -> None:
    with pytest.raises(TextError):
        read_feed_address(text)


@given(st.text(max_size=60) | st.text(alphabet="tls:/[]@?.=1a,%\0", max_size=40))
def test_any_text_is_a_value_or_a_text_error(text: str) -> None:
    for read in (
        read_upstream,
        read_endpoint(53),
        read_network,
        read_size,
        read_duration(0, 9),
        read_number(0, 9),
        read_interface,
        read_line,
        read_listener,
        read_host,
        read_address_of_reports,
    ):
        try:
            read(text)
        except TextError as error:
            assert len(str(error)) < 400
