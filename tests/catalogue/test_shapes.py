"""The words of the starter files: what each means, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from guardian.blocklist.addresses import parse_network
from guardian.catalogue.shapes import (
    TAG_KINDS,
    read_bytes,
    read_names,
    read_networks,
    read_tags,
    read_window,
    read_words,
)
from guardian.errors import TextError
from guardian.names import parse_name
from guardian.policy.model import Window

WEEK_NIGHTS = frozenset({6, 0, 1, 2, 3})
EVERY_KIND = tuple(f"{kind}:some_name" for kind in TAG_KINDS)


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        (read_names, "", ()),
        (read_names, "  A.Example\n b.example ", (parse_name("a.example"), parse_name("b.example"))),
        (read_networks, "", ()),
        (read_networks, "8.8.8.8\n 2a00::/32 ", (parse_network("8.8.8.8"), parse_network("2a00::/32"))),
        (read_words, "", ()),
        (read_words, "adult\n self_harm\tfile-hosts", ("adult", "self_harm", "file-hosts")),
        (read_window, "sun-thu 21:30-07:00", Window(WEEK_NIGHTS, 21 * 60 + 30, 7 * 60, "bedtime")),
        (read_window, " sat 13:00 - 24:00 ", Window(frozenset({5}), 13 * 60, 1440, "bedtime")),
        (read_bytes, "500K", 500 * 1024),
        (read_bytes, "16M", 16 * 1024 * 1024),
        (read_tags, " ".join(EVERY_KIND), EVERY_KIND),
    ],
)
def test_what_a_text_means(reader: Callable[[str], Any], text: str, value: object) -> None:
    assert reader(text) == value


@pytest.mark.parametrize(
    ("reader", "text", "message"),
    [
        (read_names, "a.example b..example", "empty label"),
        (read_names, "a.example A.example", "'a.example' is given twice"),
        (read_networks, "8.8.8.8 dns.google", "'dns.google' is not an address"),
        (read_networks, "192.168.1.1", "no public address"),
        (read_networks, "8.8.8.8 8.8.8.8/32", "'8.8.8.8/32' is given twice"),
        (read_words, "Adult", "'Adult' is not an id"),
        (read_words, "adult ../passwd", "'../passwd' is not an id"),
        (read_words, "-adult", "not an id"),
        (read_words, "x" * 1000 + "!", "'" + "x" * 80 + "' is not an id"),
        (read_window, "mon-sun 19:30", "not a window"),
        (read_window, "", "not a window"),
        (read_window, "mun 19:30-20:00", "'mun' is not a day"),
        (read_window, "mon 24:00-07:00", "24:00"),
        (read_bytes, "5G", "not a size"),
        (read_bytes, "16", "not a size"),
        (read_bytes, "-1M", "not a size"),
        (read_bytes, "1234567K", "not a size"),
        (read_bytes, "١K", "not a size"),  # a digit, but not one of ours
        (read_tags, "adult", "'adult' is not a tag"),
        (read_tags, "category:", "not a tag"),
        (read_tags, "category:adult bypas:doh", "'bypas:doh' is not a tag"),
    ],
)
def test_what_is_refused(reader: Callable[[str], Any], text: str, message: str) -> None:
    with pytest.raises(TextError) as caught:
        reader(text)
    assert message in str(caught.value)
