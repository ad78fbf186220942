"""A child's device tries a way around the rules; the parent reads it in plain words and does the one thing there is."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.steps import Story


def test_an_alert_is_read_and_answered(story: Story) -> None:
    t, parent = story.t, story.parent
    for _ in range(4):
        assert not story.world.tablet.fetch("https://nordvpn.com/").ok
    parent.goto(f"{story.box.console}/alerts")
    alert = parent.get_by_role("article").filter(has_text="Tableta Anei").filter(has_text=t("alerts.kind_vpn"))
    expect(alert).to_be_visible(timeout=15_000)
    expect(alert.get_by_text(t("alerts.kind_vpn_about"))).to_be_visible()
    expect(alert.get_by_role("button")).to_have_count(2)  # the one thing to do, and to put it away
    away = alert.get_by_role("button", name=t("alerts.dismiss_which", title=t("alerts.kind_vpn")))
    away.click()
    expect(alert).to_have_count(0)
    parent.get_by_role("button", name=t("common.undo")).click()
    expect(alert).to_be_visible()
    away.click()
    expect(alert).to_have_count(0)


def test_a_new_device_is_named_from_its_alert(story: Story) -> None:
    t, parent = story.t, story.parent
    story.world.stranger.fetch("http://www.open.example/")
    parent.goto(f"{story.box.console}/alerts")
    alert = parent.get_by_role("article").filter(has_text=t("alerts.new-device"))
    expect(alert).to_be_visible(timeout=15_000)
    alert.get_by_text(t("alerts.act_name-device")).click()
    expect(parent).to_have_url(f"{story.box.console}/devices?mac=02%3A00%3A5e%3A77%3A00%3A30")
