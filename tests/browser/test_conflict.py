"""Two parents change the same child's rules at the same time; nobody's work is lost in silence."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.steps import Story


def test_both_changes_are_kept_when_the_second_parent_says_so(story: Story) -> None:
    t, parent = story.t, story.parent
    parent.goto(f"{story.box.console}/profiles/ana/rules")
    parent.get_by_label(t("profile.rules.site"), exact=True).fill("https://Example.ORG/some/page?x=1")
    parent.get_by_role("button", name=t("profile.rules.add_block")).click()
    story.change_profile(rules=[{"action": "allow", "pattern": "scratch.mit.edu"}])

    parent.get_by_role("button", name=t("common.save")).click()
    expect(parent.get_by_text(t("profile.conflict.title"))).to_be_visible()
    parent.get_by_role("button", name=t("profile.conflict.keep")).click()
    parent.get_by_role("button", name=t("common.save")).click()
    expect(parent.get_by_text(t("profile.saved"))).to_be_visible()
    (ana,) = [each for each in story.call("GET", "/household")["profiles"] if each["id"] == "ana"]
    assert {(rule["action"], rule["pattern"]) for rule in ana["rules"]} == {
        ("allow", "scratch.mit.edu"),
        ("block", "example.org"),
    }
    story.change_profile(rules=[])


def test_what_would_happen_is_told_while_typing(story: Story) -> None:
    t, parent = story.t, story.parent
    parent.goto(f"{story.box.console}/profiles/ana/rules")
    parent.get_by_label(t("profile.rules.site"), exact=True).fill("www.tiktok.com")
    # As it is now, and as it would be after saving.
    expect(parent.locator("p.hostile").filter(has_text=re.compile("tiktok", re.IGNORECASE))).to_have_count(2)
