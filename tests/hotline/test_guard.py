"""What is believed of a list, and what it may never block."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.blocklist.address_lists import AddressFacts
from guardian.blocklist.addresses import build_table, parse_network
from guardian.errors import ListError
from guardian.hotline.guard import (
    NO_PROTECTION,
    Protection,
    check_shrinking,
    inspect_addresses,
    inspect_list,
    keep_unshared,
    leave_out,
)
from guardian.names import parse_name, suffixes

BELOW = ("captive.apple.com", "gov.md", "telefonulcopilului.md", "bt.ro")
EXACT = ("google.com", "www.google.com", "amazonaws.com")
PROTECTION = Protection(frozenset(map(parse_name, BELOW)), frozenset(map(parse_name, EXACT)))


@pytest.mark.parametrize(
    "name",
    ["captive.apple.com", "apple.com", "x.captive.apple.com", "gov.md", "a.b.gov.md", "google.com", "bt.ro", "com"],
)
def test_protected_names_are_found(name: str) -> None:
    assert PROTECTION.find([parse_name(name)]) == [parse_name(name)]


@pytest.mark.parametrize(
    "name", ["ads.google.com", "www.apple.com", "agov.md", "gov.mdx", "abt.ro", "s3.amazonaws.com", "md.gov"]
)
def test_their_neighbours_are_not(name: str) -> None:
    assert PROTECTION.find([parse_name(name)]) == []
    assert NO_PROTECTION.find([parse_name(name)]) == []


LABELS = st.sampled_from(["a", "gov", "md", "com", "google", "apple", "captive", "bt", "ro", "xbt", "www"])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(lambda labels: parse_name(".".join(labels)))


@given(st.lists(NAMES, max_size=30), st.frozensets(NAMES, max_size=4), st.frozensets(NAMES, max_size=4))
def test_the_quick_search_is_the_plain_one(
    names: list[bytes], below: frozenset[bytes], exact: frozenset[bytes]
) -> None:
    def is_protected(name: bytes) -> bool:
        under = any(suffix in below for suffix in suffixes(name))
        over = any(name in list(suffixes(kept)) for kept in below | exact)
        return under or over

    assert Protection(below, exact).find(names) == [name for name in names if is_protected(name)]


FORMATS = {
    "domains": "google.com\nads.google.com\nwww.gov.md.\nGOOGLE.com\nevil.example\n",
    "hosts": "0.0.0.0 google.com\n0.0.0.0 ads.google.com\n0.0.0.0 www.gov.md # oops\n0.0.0.0 evil.example\n",
    "adblock": "||google.com^\n||ads.google.com^\n||www.gov.md^\n@@||good.gov.md^\n||evil.example^\n",
    "dnsmasq": "local=/google.com/\nlocal=/ads.google.com/\naddress=/www.gov.md/0.0.0.0\nlocal=/evil.example/\n",
    "rpz": "google.com CNAME .\nads.google.com CNAME .\n*.www.gov.md CNAME .\nevil.example CNAME .\n",
    "wildcard": "*.google.com\n*.ads.google.com\n*.www.gov.md\n*.evil.example\n",
}


@pytest.mark.parametrize("format_", FORMATS)
def test_protected_names_are_taken_out_of_every_format(format_: str, tmp_path: Path) -> None:
    path, kept = tmp_path / "list", tmp_path / "kept"
    path.write_text(FORMATS[format_])
    facts = inspect_list(path, format_, PROTECTION)
    assert set(facts.dropped) == {"google.com", "www.gov.md"}
    leave_out(path, facts.dropped, kept)
    left = inspect_list(kept, format_, PROTECTION)
    assert left.dropped == ()
    text = kept.read_text()
    assert "ads.google.com" in text and "evil.example" in text
    assert "@@||good.gov.md^" in text or format_ != "adblock"  # lists may allow what they like


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("<p>Sorry, we moved!</p>\nsecret-page.example extra\nplease come again\n")
    with pytest.raises(ListError, match=r"no list: .* make no sense, for example"):
        inspect_list(path, "domains", PROTECTION)
    with pytest.raises(ListError, match="no list") as caught:
        inspect_list(path, "domains", PROTECTION, confidential=True)
    assert "Sorry" not in str(caught.value) and "secret" not in str(caught.value)
    path.write_text("# only a comment\n\n")
    with pytest.raises(ListError, match="nothing in it"):
        inspect_list(path, "domains", PROTECTION)
    path.write_bytes(bytes(range(256)) * 100)
    with pytest.raises(ListError):
        inspect_list(path, "auto", PROTECTION)


def test_half_a_list_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("a.example\nb.example\n???\n!!!x\n<oops>\n")
    assert inspect_list(path, "domains", PROTECTION).entries == 2


@pytest.mark.parametrize(
    ("entries", "before", "is_fine"), [(10, 100, True), (9, 100, False), (0, 19, True), (1, 20, False)]
)
def test_shrinking(entries: int, before: int, is_fine: bool) -> None:
    if is_fine:
        check_shrinking(entries, before)
    else:
        with pytest.raises(ListError, match=f"from {before} to {entries}"):
            check_shrinking(entries, before)


SHARED = build_table(
    (owner, parse_network(text))
    for owner, text in (("cdn", "104.16.0.0/13"), ("cdn", "2606:4700::/32"), ("phones", "17.0.0.0/8"))
)


def test_addresses_that_many_sites_share_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("8.8.8.8\n104.16.1.1\n104.0.0.0/8\n2606:4700::1\n17.1.2.3 443\n10.0.0.1\n9.9.9.0/24\n")
    facts = inspect_addresses(path, SHARED)
    assert (facts.content, facts.entries, facts.dropped) == (7, 2, ("3 of cdn", "1 of phones"))
    seen = AddressFacts()
    assert [str(network) for network in keep_unshared(path, SHARED, seen)] == ["8.8.8.8/32", "9.9.9.0/24"]
    assert seen.refused == {"not-public": 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing in it"),
        ("# only this\n", "nothing in it"),
        ("ads.example.com\n0.0.0.0 more.example.com\n8.8.8.8\n", "no list: 2 of 3 lines .* 'ads.example.com'"),
        ("".join(f"{first}.0.0.0/8\n" for first in range(50, 59)), "3.5 % of all IPv4 addresses"),
        ("2a00::/16\n2a01::/16\n2a02::/16\n2a03::/16\n2a04::/16\n", "0.0076 % of all IPv6 addresses"),
    ],
)
def test_what_is_no_list_of_addresses_or_takes_too_much(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "list"
    path.write_text(text)
    with pytest.raises(ListError, match=why):
        inspect_addresses(path, SHARED)
