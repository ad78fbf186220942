"""Every screen for everybody: screen readers, small phones, the dark, the keyboard, a slow router."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.screens import SCREENS, Screen, ask, live_a_day, settle
from tests.browser.steps import Story
from tests.gateway.product import ROOT

AXE = ROOT / "webui" / "node_modules" / "axe-core" / "axe.min.js"
FIRST_LOAD_BYTES = 150 * 1024


@pytest.fixture(scope="module")
def lived(story_of_module: Story, browsers_of_module) -> Story:  # type: ignore[no-untyped-def]
    """A home with some life in it."""
    story_of_module.begin(browsers_of_module)
    child = story_of_module.open_child("/me")
    settle(child)
    ask(child, "site", site="www.tiktok.com", message="Te rog <script>alert(1)</script>")
    ask(child, "time", minutes=30)
    live_a_day(story_of_module)
    browsers_of_module.close_pages()
    return story_of_module


def visit(story: Story, screen: Screen) -> Page:
    if screen.child:
        page = story.open_child(screen.path)
    else:
        page = story.parent
        page.goto(f"{story.box.console}{screen.path}")
    settle(page)
    return page


def find_violations(page: Page) -> list[str]:
    """What axe finds against WCAG 2.2 A and AA, and its best practices."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    result = page.evaluate("async () => await axe.run(document)")
    assert len(result["passes"]) > 5  # it has looked
    found = result["violations"]
    return [f"{rule['id']}: {rule['help']}: {[node['html'][:120] for node in rule['nodes']][:3]}" for rule in found]


@pytest.mark.parametrize("screen", SCREENS, ids=[screen.name for screen in SCREENS])
def test_nobody_is_left_out(lived: Story, story: Story, screen: Screen) -> None:
    wrong = []
    page = visit(story, screen)
    # What axe looks at is the same in all languages.
    for scheme in ("light", "dark") if story.t.language == "ro" else ():
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        wrong += [f"{scheme}: {violation}" for violation in find_violations(page)]
    for width in (320, 768, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        beyond = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        if beyond > 0:
            wrong.append(f"at {width} px the page is {beyond} px wider")
    assert not wrong, "\n".join(wrong)
    untranslated = [key for key in page.locator("body").inner_text().split() if key in story.t.keys]
    assert not untranslated


def test_the_first_page_is_small(story: Story) -> None:
    page = story.parent
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    loaded: list[float] = []
    session.on("Network.loadingFinished", lambda event: loaded.append(event["encodedDataLength"]))
    page.goto(story.box.console)
    settle(page)
    assert 10_000 < sum(loaded) <= FIRST_LOAD_BYTES, f"{sum(loaded)} bytes"


def test_the_keyboard_reaches_everything(story: Story) -> None:
    t, page = story.t, story.parent
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_attribute("href", "#main")
    page.keyboard.press("Enter")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.innerText.trim()"))
    longer = t("home.awake", count=30)  # at night, when the story before has set a bedtime
    assert t("home.pause") in reached and reached & {t("home.bedtime"), longer}


def test_files_of_the_pages_hold_no_other_address() -> None:
    static = ROOT / "guardian" / "web" / "static"
    for file in [*static.rglob("*.js"), *static.rglob("*.css"), *static.rglob("*.html")]:
        text = file.read_text(encoding="utf-8")
        for place in _addresses(text):
            assert place.startswith(("http://www.w3.org/", "https://svelte.dev/e/")), f"{file.name}: {place}"


def _addresses(text: str) -> list[str]:
    return re.findall(r"https?://[a-z0-9.-]+/[^\s\"'`)]*", text)


def test_the_pages_were_built() -> None:
    assert (ROOT / "guardian" / "web" / "static" / "index.html").exists()
    assert Path(AXE).exists()
