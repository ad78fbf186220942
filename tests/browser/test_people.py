"""Two parents and a helper: each signs in by name, sees what is theirs, and the journal tells who did what."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.steps import Story, sign_in

HELPER, SECOND = "a long walk by the river", "an old wooden boat"


def add_person(story: Story, name: str, role: str, password: str) -> None:
    """Add somebody in the settings."""
    t, parent = story.t, story.parent
    parent.goto(f"{story.box.console}/settings/people")
    parent.get_by_role("button", name=t("settings.people_add")).click()
    dialog = parent.get_by_role("dialog")
    dialog.get_by_label(t("common.name"), exact=True).fill(name)
    dialog.get_by_role("radio", name=re.compile("^" + re.escape(t(f"settings.role_{role}")))).check()
    dialog.get_by_label(t("common.password"), exact=True).fill(password)
    dialog.get_by_role("button", name=t("common.add")).click()
    expect(parent.get_by_text(t("settings.people_added", name=name))).to_be_visible()


def open_and_sign_in(story: Story, name: str, password: str) -> Page:
    page = story.open_phone()
    sign_in(page, story.box, story.t, name, password)
    return page


def test_a_helper_answers_requests_and_sees_nothing_else(story: Story) -> None:
    t = story.t
    add_person(story, "Bunica", "helper", HELPER)
    child = story.open_child("/me")
    child.get_by_role("button", name=t("child.ask_time")).click()
    child.get_by_role("button", name=t("child.send_ask")).click()
    expect(child.get_by_text(t("child.state_open"))).to_be_visible()

    helper = open_and_sign_in(story, "Bunica", HELPER)
    expect(helper.get_by_role("heading", name=t("requests.title"), level=1)).to_be_visible()
    expect(helper.get_by_role("link", name=t("devices.title"))).to_have_count(0)
    helper.get_by_role("button", name=t("requests.minutes", count=15), exact=True).click()
    expect(helper.get_by_text(t("requests.said_yes", name="Ana"))).to_be_visible()
    expect(child.get_by_text(t("child.state_granted_minutes", count=15))).to_be_visible(timeout=20_000)

    story.parent.goto(f"{story.box.console}/settings/journal")
    expect(story.parent.get_by_text("Bunica").first).to_be_visible()


def test_the_second_parent_signs_in_and_out(story: Story) -> None:
    t = story.t
    add_person(story, "Tata", "parent", SECOND)
    page = open_and_sign_in(story, "tata", "not the password at all")
    expect(page.get_by_text(t("error.wrong-password"))).to_be_visible()
    page.get_by_label(t("common.password"), exact=True).fill(SECOND)
    page.get_by_role("button", name=t("session.enter")).click()
    expect(page.get_by_role("heading", name="Ana", exact=True)).to_be_visible()
    page.goto(f"{story.box.console}/settings/me")
    page.get_by_role("button", name=t("settings.me_out")).click()
    expect(page.get_by_role("button", name=t("session.enter"))).to_be_visible()
    page.goto(f"{story.box.console}/devices")
    expect(page.get_by_role("button", name=t("session.enter"))).to_be_visible()


def test_a_childs_device_cannot_sign_in(story: Story) -> None:
    t = story.t
    page = story.open_child("/")
    expect(page.get_by_role("heading", name=t("child.hello", name="Ana"))).to_be_visible()
    page.get_by_role("link", name=t("child.parent")).click()
    expect(page.get_by_role("heading", name=t("session.child_title"))).to_be_visible()
