"""`docs/console.md` tells the truth: the words that it quotes are on the pages, and ages set what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from guardian.catalogue import load_catalogue
from guardian.policy.model import Visibility
from tests.gateway.product import ROOT

DOCS = ROOT / "docs"
DOCUMENT = (DOCS / "console.md").read_text(encoding="utf-8")
MOST_PICTURES, MOST_BYTES = 10, 60_000
# Words in bold that are no words of a page.
OWN_WORDS = {
    "<http://guardian.home.arpa>", "It is a reason to ask, not a proof", "Your child's own page says which",
    "Do not save such images and do not send them on", "Lost the password?",
}  # fmt: skip
SEEN = {"sites": Visibility.NAMES, "kinds of sites": Visibility.CATEGORIES, "numbers only": Visibility.COUNTS}


def page_texts() -> Iterator[str]:
    for file in sorted((ROOT / "webui" / "src" / "locale" / "en").glob("*.json")):
        for text in json.loads(file.read_text(encoding="utf-8")).values():
            yield from [text] if isinstance(text, str) else text.values()


def test_words_in_bold_and_quotes_are_on_the_pages() -> None:
    texts = [text.replace("{count}", "30").replace("{time}", "30 min").lower() for text in page_texts()]
    text = re.sub(r"\s+", " ", DOCUMENT)
    named = {word.rstrip(".:") for word in re.findall(r"\*\*(.+?)\*\*", text)} - OWN_WORDS
    named |= set(re.findall(r'"([A-Z][^"]+?)"', text.replace(' alt="', " ")))
    assert len(named) > 25
    assert {word for word in named if not any(word.lower() in each for each in texts)} == set()


def test_ages_set_what_the_table_says() -> None:
    rows = re.findall(r"^\| (\d+) (?:to|and) (\d+) \| (\S+) \| ([^|]+) \| ([^|]+) \|$", DOCUMENT, re.MULTILINE)
    presets = load_catalogue(names=False).presets
    assert {f"{low}-{high}" for low, high, *_ in rows} == set(presets)
    for low, high, asleep, minutes, seen in rows:
        preset = presets[f"{low}-{high}"]
        (window,) = [window for window in preset.schedule.windows if 0 in window.days]
        assert f"{window.start // 60:02}:{window.start % 60:02}" == asleep
        told = str(preset.minutes[0]) if preset.minutes else "no limit"
        assert minutes.split(",")[0] == told
        assert preset.allow_list_only == ("only sites known to be good" in minutes)
        assert preset.visibility is SEEN[seen]


def test_pictures_are_few_small_and_shown() -> None:
    pictures = sorted((DOCS / "images").glob("*.png"))
    shown = {
        DOCS / path if document.parent == DOCS else ROOT / path
        for document in (DOCS / "console.md", ROOT / "README.md")
        for path in re.findall(r'<img src="([^"]+)"', document.read_text(encoding="utf-8"))
    }
    assert shown == set(pictures)
    assert 0 < len(pictures) <= MOST_PICTURES
    assert [file.name for file in pictures if file.stat().st_size > MOST_BYTES] == []
    assert len(re.findall(r"<img ", DOCUMENT)) == len(re.findall(r'<img [^>]*alt="[^"]{20,}"', DOCUMENT))
