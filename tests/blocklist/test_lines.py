from __future__ import annotations

import pytest

from guardian.blocklist import entry
from guardian.blocklist.entry import ALLOW, ALLOW_EXACT, BLOCK, BLOCK_EXACT, URL, URL_EXACT
from guardian.blocklist.lines import read_dnsmasq, read_mixed, read_url
from guardian.names import parse_name


def block(*names: str) -> list[tuple[int, bytes]]:
    return [(BLOCK, parse_name(name)) for name in names]


MIXED = [
    # plain domains
    ("example.com", block("example.com")),
    ("  Example.COM.  ", block("example.com")),
    ("a_b.-x-.example.com", block("a_b.-x-.example.com")),
    ("bücher.example", block("xn--bcher-kva.example")),
    ("пример.рф # remark", block("xn--e1afmkfd.xn--p1ai")),
    ("example.com # remark", block("example.com")),
    ("example.com#remark", block("example.com")),
    ("*.example.com", block("example.com")),
    ("# remark", []),
    ("####### heading", []),
    ("! remark", []),
    ("", []),
    ("com", [entry.SINGLE_LABEL]),
    ("localhost", [entry.SINGLE_LABEL]),
    ("*.com", [entry.SINGLE_LABEL]),
    (".", [entry.NOT_A_NAME]),
    ("*", [entry.PATTERN]),
    ("*.*", [entry.PATTERN]),
    ("co.uk", [entry.PUBLIC_SUFFIX]),
    ("CO.UK.", [entry.PUBLIC_SUFFIX]),
    ("co.uk.example.com", block("co.uk.example.com")),
    ("ac.example", block("ac.example")),
    ("1.2.3.4", [entry.ADDRESS]),
    ("1.2.3.0/24", [entry.ADDRESS]),
    ("2001:db8::1", [entry.ADDRESS]),
    ("[2001:db8::1]", [entry.ADDRESS]),
    ("1.2.3.456", [entry.NOT_A_NAME]),
    ("a..b.com", [entry.NOT_A_NAME]),
    (".example.com", [entry.NOT_A_NAME]),
    ("x" * 64 + ".com", [entry.NOT_A_NAME]),
    ("x" * 63 + ".com", block("x" * 63 + ".com")),
    (".".join(["a" * 49] * 5) + ".abc", block(".".join(["a" * 49] * 5) + ".abc")),  # 253 characters
    (".".join(["a" * 49] * 5) + ".abcd", [entry.NOT_A_NAME]),
    ("exa\x00mple.com", [entry.NOT_A_NAME]),
    ("<html><body>404</body>", [entry.NOT_A_NAME]),
    ("<a href='x$y'>", [entry.NOT_A_NAME]),
    ("example.com/path", [entry.URL_IN_NAMES]),
    ("https://example.com/", [entry.URL_IN_NAMES]),
    ("ad*.example.com", [entry.PATTERN]),
    # hosts
    ("0.0.0.0 a.example", block("a.example")),
    ("127.0.0.1\ta.example b.example # both", block("a.example", "b.example")),
    (":: a.example", block("a.example")),
    ("::1 localhost ip6-localhost", [entry.SINGLE_LABEL, entry.SINGLE_LABEL]),
    ("fe80::1%lo0 localhost", [entry.SINGLE_LABEL]),
    ("255.255.255.255 broadcasthost", [entry.SINGLE_LABEL]),
    ("0.0.0.0 0.0.0.0", [entry.ADDRESS]),
    ("192.0.2.7 bank.example", [entry.REDIRECT]),
    ("0.0.0.0 good.example bad..example", [*block("good.example"), entry.NOT_A_NAME]),
    ("not found", [entry.NOT_A_NAME]),
    # Adblock-style
    ("[Adblock Plus 2.0]", []),
    ("||example.com^", block("example.com")),
    ("||Example.com^|", block("example.com")),
    ("||example.com", block("example.com")),
    ("||*.example.com^", block("example.com")),
    ("|example.com^", [(BLOCK_EXACT, parse_name("example.com"))]),
    ("|https://example.com^", [(BLOCK_EXACT, parse_name("example.com"))]),
    ("@@||example.com^", [(ALLOW, parse_name("example.com"))]),
    ("@@|example.com^", [(ALLOW_EXACT, parse_name("example.com"))]),
    ("@@example.com", [(ALLOW, parse_name("example.com"))]),
    ("||example.com^$important", block("example.com")),
    ("||example.com^$all,document", block("example.com")),
    ("@@||example.com^$important", [(ALLOW, parse_name("example.com"))]),
    ("@@||example.com^$document", [entry.MODIFIER]),
    ("||example.com^$third-party", [entry.MODIFIER]),
    ("||example.com^$important,dnstype=A", [entry.MODIFIER]),
    ("||example.com^$badfilter", [entry.MODIFIER]),
    ("||example.com^$", [entry.MODIFIER]),
    ("||example.com/banner^", [entry.URL_IN_NAMES]),
    ("||example.com^path", [entry.URL_IN_NAMES]),
    ("||ads.*^", [entry.PATTERN]),
    ("||^", [entry.PATTERN]),
    ("||", [entry.PATTERN]),
    ("|||example.com^", [entry.PATTERN]),
    ("example.com^", [entry.PATTERN]),  # also matches notexample.com
    ("/ads[0-9]+/", [entry.PATTERN]),
    ("/ads$/$important", [entry.PATTERN]),
    ("||com^", [entry.SINGLE_LABEL]),
    ("||1.2.3.4^", [entry.ADDRESS]),
    ("example.com##.banner", [entry.COSMETIC]),
    ("##.banner", [entry.COSMETIC]),
    ("example.com#@#.banner", [entry.COSMETIC]),
    ("example.com#?#div:has(x)", [entry.COSMETIC]),
]


@pytest.mark.parametrize(("line", "items"), MIXED)
def test_lines_of_name_lists(line: str, items: list[entry.Item]) -> None:
    assert read_mixed(line) == items


DNSMASQ = [
    ("address=/example.com/", block("example.com")),
    ("address=/example.com/0.0.0.0", block("example.com")),
    ("address=/example.com/::", block("example.com")),
    ("address=/example.com/#", block("example.com")),
    ("address=/a.example/b.example/127.0.0.1", block("a.example", "b.example")),
    ("server=/example.com/", block("example.com")),
    ("local=/example.com/", block("example.com")),
    ("--local=/example.com/", block("example.com")),
    ("server=/example.com/#", [(ALLOW, parse_name("example.com"))]),
    ("server=/example.com/192.0.2.1", [entry.REDIRECT]),
    ("address=/example.com/192.0.2.1", [entry.REDIRECT]),
    ("address=/#/", [entry.PATTERN]),
    ("address=/*.example.com/", block("example.com")),
    ("local=/com/", [entry.SINGLE_LABEL]),
    ("server=192.0.2.1", [entry.UNSUPPORTED]),
    ("bogus-nxdomain=192.0.2.1", [entry.UNSUPPORTED]),
    ("example.com", [entry.NOT_A_NAME]),
    ("# remark", []),
]


@pytest.mark.parametrize(("line", "items"), DNSMASQ)
def test_lines_of_dnsmasq(line: str, items: list[entry.Item]) -> None:
    assert read_dnsmasq(line) == items


HOST = parse_name("example.com")
URLS = [
    ("example.com/games", [(URL, HOST + b"/games")]),
    ("http://Example.com/Games/", [(URL, HOST + b"/Games/")]),
    ("//example.com/a/../b", [(URL, HOST + b"/b")]),
    ("example.com:80/x", [(URL, HOST + b"/x")]),
    ("example.com/caf%c3%a9/%7Euser", [(URL, HOST + b"/caf%C3%A9/~user")]),
    ("example.com/café", [(URL, HOST + b"/caf%C3%A9")]),
    ("example.com/x?id=3", [(URL_EXACT, HOST + b"/x?id=3")]),
    ("example.com/x#part", [(URL, HOST + b"/x")]),
    # never the host
    ("example.com", [(URL_EXACT, HOST + b"/")]),
    ("example.com/", [(URL_EXACT, HOST + b"/")]),
    ("example.com/.", [(URL_EXACT, HOST + b"/")]),
    ("example.com?q", [(URL_EXACT, HOST + b"/?q")]),
    ("example.com/*", [entry.PATTERN]),
    ("example.com/x/*", [(URL, HOST + b"/x/")]),
    ("example.com/x*y", [entry.PATTERN]),
    ("*.example.com/x", [entry.NOT_A_NAME]),
    ("192.0.2.1/x", [entry.ADDRESS]),
    ("[2001:db8::1]/x", [entry.ADDRESS]),
    ("example.com:8080/x", [entry.UNSUPPORTED]),
    ("user@example.com/x", [entry.BAD_URL]),
    ("ftp://example.com/x", [entry.UNSUPPORTED]),
    ("example.com/a b", [entry.BAD_URL]),
    ("example.com/" + "a/" * 65, [entry.BAD_URL]),
    ("example.com/" + "a" * 2048, [entry.TOO_LONG]),
    ("# remark", []),
]


@pytest.mark.parametrize(("line", "items"), URLS)
def test_lines_of_url_lists(line: str, items: list[entry.Item]) -> None:
    assert read_url(line) == items
