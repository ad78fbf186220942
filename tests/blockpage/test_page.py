"""What stands on the pages, and what never does."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.blockpage.facts import BlockInfo, DeviceInfo, LegalNotice, PageSettings
from guardian.blockpage.page import Pages, escape
from guardian.messages import LANGUAGES, Messages
from guardian.policy.model import Reason

Block = Callable[..., BlockInfo]
CONSOLE = "http://guardian.home.arpa:8080"
VOID = {"meta", "br", "path", "rect", "circle"}


class Reader(HTMLParser):
    """Checks that tags nest and collects what a page holds."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words = ""
        self.feed(page.decode())
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


@pytest.fixture
def pages(messages: Messages, settings: PageSettings) -> Pages:
    return Pages(messages, settings)


@pytest.fixture
def all_pages(pages: Pages, block: Block) -> Callable[[str], list[bytes]]:
    def make(language: str) -> list[bytes]:
        return [
            *(pages.blocked(language, "a.example", block(reason, "", 0.0)) for reason in Reason),
            *(pages.blocked(language, "a.example", block(reason, "", 0.0), CONSOLE) for reason in Reason),
            pages.mandatory(language, block(Reason.MANDATORY, "mandatory:national")),
            pages.open_again(language, "a.example"),
            pages.home(language, DeviceInfo(True, "Ana")),
            pages.error(language),
        ]

    return make


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_whole_and_asks_for_nothing(all_pages: Callable[[str], list[bytes]], language: str) -> None:
    for page in all_pages(language):
        reader = Reader(page)
        assert reader.tags.count("h1") == 1
        assert not {"script", "img", "link", "iframe", "form", "input", "object", "base"} & set(reader.tags)
        assert not [name for _, name, _ in reader.attributes if name.startswith("on") or name in ("src", "style")]
        assert ("html", "lang", language) in reader.attributes
        assert not re.search(r"[{}]|javascript:", reader.words)
        links = [value for tag, name, value in reader.attributes if (tag, name) == ("a", "href")]
        console = re.escape(CONSOLE) + r"/(ask\?(site=[\w.-]+|time=1)|me|me#report)$"
        assert all(re.match(rf"https://|tel:\d+$|$|{console}", link) for link in links)
        assert len(page) < 16384  # one round trip on any line


def test_site_page_says_what_why_and_what_to_do(pages: Pages, block: Block) -> None:
    words = Reader(pages.blocked("en", "casino.example", block(Reason.CATEGORY, "category:gambling"))).words
    for piece in ("casino.example", "Gambling en", "Show this page to a parent", "116 111", "Provider & Sons, 1181"):
        assert piece in words
    assert words.index("Moldovan line en") < words.index("Emergency en") < words.index("Only English")
    assert "Romanian line" not in words  # another country's
    assert "Worried" not in words
    assert "report.example" in words


def test_a_child_never_reads_of_guilt_at_bedtime(pages: Pages, block: Block) -> None:
    words = Reader(pages.blocked("en", "a.example", block(Reason.SCHEDULE, "schedule:bedtime"))).words
    assert "a.example" not in words  # everything is closed; the site is not to blame
    assert "wrong" not in words


def test_mandatory_page_names_the_authority_and_nothing_else(pages: Pages, block: Block) -> None:
    legal = LegalNotice({"en": "Court <1>"}, "Law 42", "https://appeal.example/?a=1&b=2")
    page = pages.mandatory("en", block(Reason.MANDATORY, "mandatory:secret-list", legal=legal))
    reader = Reader(page)
    for piece in ("Court <1>", "Law 42", "https://appeal.example/?a=1&b=2", "Worried en", "116 111", "report.example"):
        assert piece in reader.words
    assert "secret-list" not in page.decode()
    hostile = legal._replace(appeal="javascript:alert(1)")
    page = pages.mandatory("en", block(Reason.MANDATORY, "mandatory:x", legal=hostile))
    assert b"javascript" not in page


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (None, "does not know this device yet"),
        (DeviceInfo(True, "Ana <3"), "The rules of “Ana <3” apply"),
        (DeviceInfo(True), "rules for new devices"),
        (DeviceInfo(False, "Parents"), "No family rules"),
    ],
)
def test_home_page_tells_what_holds(pages: Pages, device: DeviceInfo | None, expected: str) -> None:
    assert expected in Reader(pages.home("en", device)).words


def test_without_helplines_no_empty_headings(messages: Messages, block: Block) -> None:
    reader = Reader(Pages(messages, PageSettings()).mandatory("en", block(Reason.MANDATORY, "mandatory:x")))
    assert "ul" not in reader.tags
    assert "h2" not in reader.tags


@given(st.text(max_size=60))
def test_values_stay_text(text: str) -> None:
    escaped = escape(text)
    assert not set("<>\"'") & set(escaped)
    reader = Reader(f"<p>{escaped}</p>".encode())
    assert reader.words == "".join(char for char in text if char.isprintable())
    assert reader.tags == ["p"]


def test_direction_and_control_characters_are_taken_out() -> None:
    assert escape("a\u202eb\u2066c\u200fd\x00e\nf\ufeffg") == "abcdefg"


def test_hostile_names_of_parents_and_lists_stay_text(pages: Pages, block: Block) -> None:
    hostile = '<script>alert(1)</script>" onload="x'
    page = pages.blocked("en", "a.example", block(Reason.SERVICE, "service:x", service=hostile))
    page += pages.blocked("en", "a.example", block(Reason.SCHEDULE, f"schedule:{hostile}", 0.0))
    page += pages.home("en", DeviceInfo(True, hostile))
    assert b"<script" not in page
    assert b'" onload' not in page


def links(page: bytes) -> list[str]:
    """Where a page leads that is ours."""
    found = [value for tag, name, value in Reader(page).attributes if (tag, name) == ("a", "href")]
    return [url.removeprefix(CONSOLE) for url in found if url.startswith(CONSOLE)]


ASKABLE = {
    Reason.RULE: "/ask?site=a.example",
    Reason.BYPASS: "/ask?site=a.example",
    Reason.SERVICE: "/ask?site=a.example",
    Reason.CATEGORY: "/ask?site=a.example",
    Reason.ALLOW_LIST_ONLY: "/ask?site=a.example",
    Reason.PAUSE: "/ask?time=1",
    Reason.SCHEDULE: "/ask?time=1",
    Reason.MINUTES: "/ask?time=1",
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("reason", [*ASKABLE, Reason.REBINDING, Reason.SAFE_SEARCH])  # what parents cannot open
def test_the_ways_to_the_console(pages: Pages, block: Block, language: str, reason: Reason) -> None:
    rules = {Reason.SCHEDULE: "schedule:bedtime", Reason.MINUTES: "minutes:60"}
    info = block(reason, rules.get(reason, ""), "2026-11-24 07:00")
    own = ["/me", "/me#report"]
    asked = [ASKABLE[reason]] if reason in ASKABLE else []
    assert links(pages.blocked(language, "a.example", info, CONSOLE)) == asked + own
    assert links(pages.blocked(language, "a.example", info._replace(is_named=False), CONSOLE)) == own
    assert links(pages.blocked(language, "a.example", info)) == []


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Ask my parents", "My rules and my time", "Report something that scared me")),
        ("ro", ("Cere-le părinților", "Regulile mele și timpul meu", "Vreau să spun ce m-a speriat")),
        ("ru", ("Попросить родителей", "Мои правила и моё время", "Рассказать о том, что меня напугало")),
    ],
)
def test_the_links_in_each_language(pages: Pages, block: Block, language: str, words: tuple[str, ...]) -> None:
    info = block(Reason.CATEGORY, "category:gambling")
    page, alone = (Reader(pages.blocked(language, "a.example", info, url)).words for url in (CONSOLE, ""))
    for text in words:
        assert text in page and text not in alone
    shown = {"en": "Show this page", "ro": "Arată pagina", "ru": "Покажи эту страницу"}[language]
    assert shown in alone and shown not in page


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_an_address_is_no_site_to_ask_for(pages: Pages, block: Block, host: str) -> None:
    assert links(pages.blocked("en", host, block(Reason.RULE), CONSOLE)) == ["/me", "/me#report"]


def test_a_hostile_name_stays_inside_its_link(pages: Pages, block: Block) -> None:
    host = 'a&time=1#"><script>alert(1)</script>.example'
    (asked, *_), reader = (
        links(pages.blocked("en", host, block(Reason.RULE), CONSOLE)),
        Reader(pages.blocked("en", host, block(Reason.RULE), CONSOLE)),
    )
    assert asked == "/ask?site=a%26time%3D1%23%22%3E%3Cscript%3Ealert%281%29%3C%2Fscript%3E.example"
    assert "script" not in reader.tags


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_of_the_law_leads_to_no_one_in_the_home(pages: Pages, block: Block, language: str) -> None:
    """Nobody learns of it: nothing to ask for, nothing that the home keeps."""
    legal = LegalNotice({"en": "Authority of Tests"}, "Law 1/2026", "https://appeal.example/")
    page = pages.mandatory(language, block(Reason.MANDATORY, "mandatory:national", legal=legal))
    assert links(page) == [] and b"guardian.home.arpa" not in page
    for text in ("Authority of Tests", "Law 1/2026", "https://appeal.example/", "116 111", "report.example"):
        assert text in page.decode()


def test_the_report_has_its_link_where_no_hotline_is_known(messages: Messages, block: Block) -> None:
    page = Pages(messages, PageSettings()).blocked("en", "a.example", block(Reason.RULE), CONSOLE)
    assert "/me#report" in links(page) and "Did you see something bad?" in Reader(page).words


def test_a_voluntary_list_does_not_speak_of_the_law(pages: Pages, block: Block) -> None:
    authority, message = {"en": "Hotline <1>", "ro": "Linia"}, {"en": "Ask <us>."}
    legal = LegalNotice(authority, "", "desk@hotline.example", "voluntary", message)
    words = Reader(pages.mandatory("en", block(Reason.MANDATORY, "mandatory:a:0", legal=legal))).words
    for piece in (
        "This page is closed",
        "Hotline <1>",
        "Ask <us>.",
        "desk@hotline.example",
        "An agreement of internet",
    ):
        assert piece in words
    assert "the law forbids" not in words and "closed by law" not in words
    romanian = Reader(pages.mandatory("ro", block(Reason.MANDATORY, "mandatory:a:0", legal=legal))).words
    assert "Linia" in romanian and "Ask <us>." in romanian, "where the list has no text in a language, its English one"


@pytest.mark.parametrize("basis", ["law_order", "court", "voluntary"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_basis_has_words_in_every_language(pages: Pages, block: Block, basis: str, language: str) -> None:
    page = pages.mandatory(language, block(Reason.MANDATORY, "x", legal=LegalNotice(ground="Order 7", basis=basis)))
    assert ", Order 7" in Reader(page).words and "law.basis" not in page.decode()


@pytest.mark.parametrize(
    "appeal", ["javascript:alert(1)", "http://a.example/", "mailto:a@b.example", "a b", "data:x@y"]
)
def test_only_a_safe_address_to_complain_is_shown(pages: Pages, block: Block, appeal: str) -> None:
    page = pages.mandatory("en", block(Reason.MANDATORY, "x", legal=LegalNotice(appeal=appeal)))
    assert appeal not in page.decode()
