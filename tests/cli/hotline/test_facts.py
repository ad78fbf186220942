"""The arguments that say what holds for entries."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from guardian.cli import Parser
from guardian.cli.hotline.facts import add_facts, read_date, read_facts
from guardian.desk.entries import DAY, Facts
from guardian.desk.store import Desk
from guardian.errors import DeskError
from guardian.feed import Text
from tests.desk.desks import make_desk, put_on_list

LAW = ["--legal-basis", "law_order", "--order-ref", "Law 1/2026", "--authority", "Hotline"]


def read(desk: Desk, *words: str, now: float = 1_800_000_000.0) -> Facts:
    parser = Parser(prog="x")
    add_facts(parser)
    return read_facts(parser.parse_args(list(words)), desk, now, "iwf")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_desk(tmp_path)[0]


def test_defaults_are_those_of_the_design(desk: Desk) -> None:
    facts = read(desk, *LAW)
    assert facts.expires - facts.verified == 14 * DAY and facts.verified == 1_800_000_000
    assert (facts.severity, facts.licence_class, facts.action, facts.source) == (
        "national",
        "hashed_ok",
        "block",
        "iwf",
    )
    assert facts.authority == Text("Hotline", "Hotline", "Hotline") and facts.message is None


def test_texts_have_their_languages(desk: Desk) -> None:
    facts = read(desk, *LAW, "--authority-ro", "Linia", "--message", "See x", "--message-ru", "См. x", "--days", "3")
    assert facts.authority == Text("Hotline", "Linia", "Hotline")
    assert facts.message == Text("See x", "See x", "См. x") and facts.expires - facts.verified == 3 * DAY
    assert read(desk, *LAW, "--verified", "2027-01-10").verified == 1_799_539_200


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no legal basis"),
        (["--legal-basis", "court"], "nobody is named who blocks"),
        ([*LAW, "--message-ro", "x"], "--message is missing beside"),
        ([*LAW, "--verified", "yesterday"], "'yesterday' is no date like 2026-05-01"),
        ([*LAW, "--order-ref", "x" * 301], "can't stand: .*300"),
        (["--like", "77"], "--like 77: there is no such entry"),
    ],
)
def test_what_is_missing_or_wrong_is_told(desk: Desk, words: list[str], message: str) -> None:
    with pytest.raises(DeskError, match=message):
        read(desk, *words)


def test_an_entry_is_like_another(tmp_path: Path) -> None:
    desk, who = make_desk(tmp_path / "like")
    put_on_list(desk, who, "listed-1.example", severity="baseline", appeal="a@hotline.example")
    now = time.time()
    facts = read(desk, "--like", "1", "--order-ref", "Law 2", now=now)
    like = desk.entry(1)
    assert like is not None and facts.authority == like.authority
    assert (facts.severity, facts.appeal, facts.order_ref) == ("baseline", "a@hotline.example", "Law 2")
    assert facts.verified == int(now)  # what somebody else verified is not verified by this one


def test_dates() -> None:
    assert read_date("2027-01-15T08:00") == 1_800_000_000
    with pytest.raises(DeskError, match="no date"):
        read_date("15.1.2027")
