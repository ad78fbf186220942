"""A child meets a closed site and asks; a parent answers with one tap; the child sees it, and the site opens."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.steps import Story

SITE = "www.tiktok.com"


def ask_for_site(story: Story) -> Page:
    """From the block page to the question, as a child finds the way."""
    t = story.t
    child = story.open_child(f"http://{SITE}/")
    child.locator("a[href*='/ask?site=']").click()
    expect(child.get_by_label(t("child.which_site"))).to_have_value(SITE)
    child.get_by_label(t("child.word")).fill("Pentru proiectul de la școală <b>te rog</b>")
    child.get_by_role("button", name=t("child.send_ask")).click()
    expect(child.get_by_text(t("child.asked"))).to_be_visible()
    expect(child.get_by_text(t("child.state_open"))).to_be_visible()
    return child


def test_a_site_is_asked_for_and_opened(story: Story) -> None:
    t, parent = story.t, story.parent
    assert story.world.tablet.fetch(f"http://{SITE}/").status == 403
    child = ask_for_site(story)

    # The first page shows it by itself, without a reload, with the child's words as text.
    expect(parent.get_by_text("<b>te rog</b>")).to_be_visible()
    parent.get_by_role("button", name=t("requests.today"), exact=True).click()
    expect(parent.get_by_text(t("requests.said_yes", name="Ana"))).to_be_visible()

    expect(child.get_by_text(t("child.state_granted"), exact=True)).to_be_visible(timeout=20_000)
    assert story.world.tablet.fetch(f"http://{SITE}/").ok
    parent.goto(f"{story.box.console}/requests")
    expect(parent.get_by_role("article").filter(has_text=SITE).get_by_text("Mama")).to_be_visible()


def test_a_no_with_a_word_reaches_the_child(story: Story) -> None:
    t, parent = story.t, story.parent
    child = story.open_child("/me")
    child.get_by_role("button", name=t("child.ask_time")).click()
    child.get_by_role("radio", name=t("child.minutes", count=30)).check()
    child.get_by_role("button", name=t("child.send_ask")).click()
    expect(child.get_by_text(t("child.state_open"))).to_be_visible()

    parent.goto(f"{story.box.console}/requests")
    parent.get_by_role("button", name=t("requests.note_add")).click()
    parent.get_by_label(t("requests.note"), exact=True).fill("După cină")
    parent.get_by_role("button", name=t("requests.no"), exact=True).click()
    expect(child.get_by_text("După cină")).to_be_visible(timeout=20_000)
    expect(child.get_by_text(t("child.state_refused"))).to_be_visible()
