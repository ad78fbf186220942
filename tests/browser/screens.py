"""Every screen there is, and a home with enough life in it that each has something to show."""

from __future__ import annotations

from typing import NamedTuple

from playwright.sync_api import Page

from tests.browser.steps import Story

SETTINGS = ("me", "people", "home", "messages", "programs", "journal", "backup", "report", "state", "about", "reset")


class Screen(NamedTuple):
    """One page: who opens it, and where. `name` is good for a file."""

    name: str
    path: str
    child: bool = False


SCREENS = (
    Screen("home", "/"),
    Screen("requests", "/requests"),
    Screen("alerts", "/alerts"),
    Screen("devices", "/devices"),
    Screen("activity", "/profiles/ana/activity"),
    Screen("profile", "/profiles/ana"),
    *(
        Screen(f"profile-{tab}", f"/profiles/ana/{tab}")
        for tab in ("apps", "kinds", "rules", "hours", "minutes", "more")
    ),
    Screen("new-child", "/profiles/new"),
    Screen("settings", "/settings"),
    *(Screen(f"settings-{part}", f"/settings/{part}") for part in SETTINGS),
    Screen("nowhere", "/nothing/is/here"),
    Screen("child", "/me", child=True),
    Screen("child-ask", "/ask?site=www.tiktok.com", child=True),
    Screen("child-report", "/me#report", child=True),
)


def live_a_day(story: Story) -> None:
    """Let the tablet do what tablets do: open sites, meet closed ones, try a VPN; a child asks; a stranger comes."""
    tablet = story.world.tablet
    for site in ("www.open.example", "news.open.example", "video.open.example"):
        tablet.fetch(f"http://{site}/")
    for _ in range(4):
        tablet.fetch("http://www.tiktok.com/")
        tablet.fetch("https://nordvpn.com/")
    for _ in range(25):
        tablet.fetch("http://category-adult.guardian.test/")
    story.world.stranger.fetch("http://www.open.example/")
    story.change_profile(
        offline=[
            {"days": [0, 1, 2, 3, 6], "start": 21 * 60, "end": 7 * 60, "label": "bedtime"},
            {"days": [4, 5], "start": 22 * 60 + 30, "end": 8 * 60, "label": "bedtime"},
            {"days": [0, 1, 2, 3, 4], "start": 15 * 60, "end": 16 * 60 + 30, "label": "homework"},
        ],
        minutes={"days": [120, 120, 120, 120, 150, 180, 180], "week": 840},
        minutes_for=[{"of": "youtube", "minutes": {"days": [60] * 7, "week": None}}],
        rules=[
            {"action": "allow", "pattern": "scratch.mit.edu", "note": "școală"},
            {"action": "block", "pattern": "example.org"},
        ],
    )


def ask(page: Page, kind: str, **parts: object) -> None:
    """Send a child's request as its page does."""
    page.evaluate(
        """async (body) => {
            const answer = await fetch('/api/v1/child/requests', {
                method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)})
            if (!answer.ok) throw new Error(await answer.text())
        }""",
        {"kind": kind, **parts},
    )


def settle(page: Page) -> None:
    """Wait until a page shows what it has to show: nothing loads any more."""
    page.wait_for_load_state("load")
    page.wait_for_function("() => !document.querySelector('main [role=status]')?.textContent?.includes('...')")
    page.locator("h1").first.wait_for()
    page.wait_for_timeout(300)
