"""Ids from names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.web.naming import make_id


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("Ana", "ana"),
        ("Аня", "anya"),
        ("Ștefăniță Țurcanu", "stefanita-turcanu"),
        ("Şerban", "serban"),
        ("Îngrid", "ingrid"),
        ("Щедрый Юрьевич", "shchedryi-yurevich"),
        ("Ёжик и Ïвась", "yozhik-i-ivas"),
        ("Телефон Ани (Samsung)", "telefon-ani-samsung"),
        ("Ana's iPhone №2", "ana-s-iphone-no2"),
        ("  --  ", "profile"),
        ("李雷", "profile"),
        ("<script>alert(1)</script>", "script-alert-1-script"),
        ("\u202e../../etc", "etc"),
        ("STRAẞE", "strasse"),
        ("New", "new-2"),
        ("x" * 200, "x" * 40),
    ],
)
def test_make_id(name: str, made: str) -> None:
    assert make_id(name, (), "profile") == made


def test_taken() -> None:
    assert make_id("Ana", {"ana"}, "profile") == "ana-2"
    assert make_id("Ana", {"ana", "ana-2"}, "profile") == "ana-3"
    assert make_id("", {"device"}, "device") == "device-2"


@given(st.text(max_size=200), st.sets(st.sampled_from(["ana", "profile", "a", "1"])))
def test_always_an_id(name: str, taken: set[str]) -> None:
    made = make_id(name, taken, "profile")
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", made)
    assert made not in taken
