"""Sites as people paste them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.errors import TextError
from guardian.names import parse_name
from guardian.web.sites import read_site, show_site


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.com", "example.com"),
        ("  WWW.Example.COM.  ", "www.example.com"),
        ("https://user:secret@www.example.com:8443/a?b=c#d", "www.example.com"),
        ("//example.com/path", "example.com"),
        ("example.com/path?x", "example.com"),
        ("example.com:443", "example.com"),
        ("HTTP://EXAMPLE.com\\@evil.example", "example.com"),
        ("https://good.example@evil.example/", "evil.example"),
        ("Uite ce fain: https://www.youtube.com/watch?v=1 !", "www.youtube.com"),
        ("(https://example.com)", "example.com"),
        ("view-source:https://example.com/x", "example.com"),
        ("=example.com", "example.com"),
        ("*.example.com", "example.com"),
        ("exam\u200bple.com\ufeff", "example.com"),
        ("https://пример.рф/путь", "xn--e1afmkfd.xn--p1ai"),
        ("ÎNVĂȚĂ.ro", "xn--nv-dla0jb7f.ro"),
        ("_dns.example.com", "_dns.example.com"),
    ],
)
def test_read_site(text: str, name: str) -> None:
    if name.startswith("xn--nv"):
        name = "învăță.ro".encode("idna").decode()
    assert read_site(text) == parse_name(name)


@given(st.text(max_size=300) | st.from_regex(r"[a-z]{1,5}://[^\s]{0,40}", fullmatch=True))
@settings(max_examples=300)
def test_any_text_is_a_name_or_words_for_people(text: str) -> None:
    try:
        name = read_site(text)
    except TextError:
        return
    assert len(name) <= 255
    assert "." in show_site(name)


def test_show_site() -> None:
    assert show_site(parse_name("xn--e1afmkfd.xn--p1ai")) == "пример.рф"
    # What is not well made is shown as it is: nothing can hide in it.
    assert show_site(parse_name("xn--a.example")) == "xn--a.example"
    assert show_site(b"\x06<b>\xe2\x80\xae\x07example\x00") == "\\<b\\>\\226\\128\\174.example"


def test_what_is_no_site_is_refused_with_words() -> None:
    for text in ("", "youtube", "1.2.3.4", "https://[::1]:80/", "ads*.example", "a..b", "<i>.example"):
        with pytest.raises(TextError):
            read_site(text)
