"""Entries: one spelling for each value, nothing widened, rows that come back as they were."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.blocklist.urls import normalize_path
from guardian.desk.entries import (
    INSERT,
    NAME_SCOPES,
    SCOPES,
    BadValueError,
    Entry,
    RowReader,
    Scope,
    Target,
    host_of,
    make_key,
    make_row,
    path_of,
    read_target,
)
from guardian.errors import DeskError
from guardian.feed import Text
from guardian.names import format_name, parse_name
from tests.desk.desks import make_facts

ENTRY = Entry(
    **{name: getattr(make_facts(1_800_000_000), name) for name in make_facts().__struct_fields__},
    id=7, list_id="csam-md", scope="url", value="https://listed-1.example/a?b=1", listed=1_800_000_100,
    changed=1_800_000_200, reviewers=("ana", "ion"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "text", "value"),
    [
        ("domain", "Listed-1.Example", "listed-1.example"),
        ("domain", "listed-1.example.", "listed-1.example"),
        ("domain", "*.listed-1.example", "listed-1.example"),
        ("host", "WWW.listed-1.example", "www.listed-1.example"),
        ("domain", "пример.example", "xn--e1afmkfd.example"),
        ("url", "http://Listed-1.example/A/b", "http://listed-1.example/A/b"),
        ("url", "listed-1.example/a/../b#part", "https://listed-1.example/b"),
        ("url", "//listed-1.example/a", "https://listed-1.example/a"),
        ("url", "HTTP://listed-1.example:80/a%7Eb", "http://listed-1.example/a~b"),
        ("url", "https://listed-1.example:443/a", "https://listed-1.example/a"),
        ("url", "https://listed-1.example", "https://listed-1.example/"),
        ("url", "https://listed-1.example?x=1", "https://listed-1.example/?x=1"),
        ("url", "https://listed-1.example/ă", "https://listed-1.example/%C4%83"),
        ("url_prefix", "https://listed-1.example/a/*", "https://listed-1.example/a/"),
        ("url_prefix", "https://listed-1.example/a", "https://listed-1.example/a"),
    ],
)
def test_values_have_one_spelling(scope: Scope, text: str, value: str) -> None:
    target = read_target(scope, text)
    assert target == (scope, value)
    assert read_target(scope, value) == target


@pytest.mark.parametrize(
    ("scope", "text", "rule"),
    [
        ("domain", "", "unreadable"),
        ("domain", "listed-1 .example", "unreadable"),
        ("url", "https://listed-1.example/a\u202eb", "unreadable"),
        ("url", "https://listed-1.example/" + "a" * 5000, "unreadable"),
        ("domain", "https://listed-1.example/a", "url-as-name"),
        ("host", "listed-1.example/a", "url-as-name"),
        ("domain", "a.*.example", "pattern"),
        ("host", "*.listed-1.example", "pattern"),
        ("url", "https://listed-1.example/*/b", "pattern"),
        ("domain", "10.0.0.1", "address"),
        ("host", "[2001:db8::1]", "address"),
        ("domain", "10.0.0.0/8", "address"),
        ("domain", "2130706433", "address"),
        ("domain", "0x7f.1", "address"),
        ("url", "http://10.0.0.1/a", "address"),
        ("url", "http://[2001:db8::1]/a", "address"),
        ("url", "http://[2001:db8::1]:8080/a", "address"),
        ("domain", "com", "public-suffix"),
        ("domain", "com.md", "public-suffix"),
        ("domain", "co.uk", "public-suffix"),
        ("domain", "listed_.-..example", "not-a-name"),
        ("url", "ftp://listed-1.example/a", "scheme"),
        ("url", "javascript://listed-1.example/a", "scheme"),
        ("url", "https://user:word@listed-1.example/a", "userinfo"),
        ("url", "https://listed-1.example:8443/a", "port"),
        ("url", "http://listed-1.example:443/a", "port"),
        ("url_prefix", "https://listed-1.example/", "grows-to-host"),
        ("url_prefix", "https://listed-1.example/*", "grows-to-host"),
        ("url_prefix", "https://listed-1.example/?a", "grows-to-host"),
        ("url_prefix", "https://listed-1.example/a/../*", "grows-to-host"),
        ("url_prefix", "https://listed-1.example/a?b", "query"),
        ("url", "https://listed-1.example/" + "a/" * 70, "too-long"),
    ],
)
def test_what_can_not_be_listed_is_refused_with_advice(scope: Scope, text: str, rule: str) -> None:
    with pytest.raises(BadValueError) as caught:
        read_target(scope, text)
    assert caught.value.rule == rule
    assert caught.value.advice


@given(
    st.sampled_from(SCOPES), st.text(max_size=60) | st.from_regex(r"(https?://)?[a-z0-9.-]{1,20}(/[\x20-\x7e]{0,20})?")
)
def test_any_text_is_refused_or_read_into_its_one_spelling(scope: Scope, text: str) -> None:
    try:
        target = read_target(scope, text)
    except BadValueError:
        return
    assert target.scope == scope
    assert read_target(scope, target.value) == target
    if scope in NAME_SCOPES:
        assert format_name(parse_name(target.value)) == target.value
    else:
        path = path_of(target.value)
        assert normalize_path(path) == path
        assert read_target("host", host_of(scope, target.value)).value == host_of(scope, target.value)
        assert scope != "url_prefix" or path.partition(b"?")[0] != b"/"


def test_a_page_is_the_same_with_http_and_https() -> None:
    assert Target("url", "http://listed-1.example/a").key == Target("url", "https://listed-1.example/a").key
    keys = {make_key(scope, value) for scope in ("domain", "host") for value in ("a.example", "b.example")}
    assert len(keys | {make_key(scope, "https://a.example/x") for scope in ("url", "url_prefix")}) == 6


def test_an_entry_says_what_routers_need() -> None:
    assert ENTRY.name == parse_name("listed-1.example") and ENTRY.path == b"/a?b=1"
    assert not ENTRY.is_enforceable and ENTRY.error == 16 and ENTRY.tag_class.error == 16
    name = msgspec.structs.replace(ENTRY, scope="domain", value="listed-1.example", legal_basis="voluntary")
    assert name.path == b"" and name.is_enforceable and name.error == 15
    assert name.tag_class.order_ref == "Law 1/2026" and name.tag_class.authority == ENTRY.authority


def test_a_row_comes_back_as_its_entry() -> None:
    rows = RowReader()
    for entry in (ENTRY, msgspec.structs.replace(ENTRY, message=Text("a", "b", "c"), shared_host=True)):
        assert rows.read(make_row(entry)) == entry
    assert INSERT.count("?") == len(make_row(ENTRY))


def test_a_damaged_row_is_told() -> None:
    row = list(make_row(ENTRY))
    for broken in ("", "{", '{"en": 1}'):
        row[7] = broken
        with pytest.raises(DeskError, match=r"entry 7.*journal verify"):
            RowReader().read(row)
