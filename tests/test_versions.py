"""Versions: which is older, and what is none. The minimum comes from a feed, so any text may stand there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian import __version__
from guardian.versions import is_older, is_version

NUMBERS = st.lists(st.integers(0, 99999), min_size=1, max_size=4)
SAID = NUMBERS.map(lambda numbers: ".".join(map(str, numbers)))


@pytest.mark.parametrize(
    ("version", "minimum", "older"),
    [
        ("0.1.0", "0.1", False), ("0.1", "0.1.0", False), ("0.1.0", "0.1.0.1", True), ("0.9.0", "0.10", True),
        ("0.10", "0.9.0", False), ("1.2.0rc1", "1.2", False), ("1.2.0.dev3", "1.3", True), ("1", "2", True),
        ("0.1.0", "", False), ("unknown", "1.0", False), ("0.1.0", "99999.99999.99999.99999", True),
    ],
)  # fmt: skip
def test_which_is_older(version: str, minimum: str, older: bool) -> None:
    assert is_older(version, minimum) is older


@pytest.mark.parametrize(
    "text",
    [
        "", "soon", "v1.0", "1.0\n", "\n1.0", " 1.0", "1_0.0", "١.٢", "1.2.3.4.5", "1..2", ".1", "1.", "-1", "1.0-beta",
        "123456", "9" * 300, "1.0\x1b[2J", "1.0; reboot", "\u202e1.0", "1.0 <b>",
    ],
)  # fmt: skip
def test_what_is_no_version_asks_for_nothing(text: str) -> None:
    assert not is_version(text) and not is_older("0.0.1", text)


@given(text=st.text() | SAID)
def test_what_is_a_version_is_fit_to_be_shown(text: str) -> None:
    if is_version(text):
        assert len(text) <= 23 and set(text) <= set("0123456789.")
    is_older(__version__, text)
    is_older(text, __version__)


@given(one=SAID, other=SAID, third=SAID)
def test_older_is_an_order(one: str, other: str, third: str) -> None:
    assert not is_older(one, one)
    assert not (is_older(one, other) and is_older(other, one))
    if is_older(one, other) and is_older(other, third):
        assert is_older(one, third)
