from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardian.blocklist.entry import make_printable


@given(st.binary(max_size=600))
def test_a_refused_line_is_safe_to_print(text: bytes) -> None:
    shown = make_printable(text)
    assert shown.isprintable()
    assert len(shown) <= 80


def test_terminal_codes_and_direction_marks_are_shown_as_codes() -> None:
    assert make_printable("\x1b[31mred\u202etxt.exe".encode()) == "\\x1b[31mred\\u202etxt.exe"
    assert make_printable(b"caf\xe9.com") == "caf\\xe9.com"
