"""A parent changes when the internet sleeps, by touch and by keyboard, and the tablet feels it at once."""

from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo

from playwright.sync_api import expect

from tests.browser.steps import Story
from tests.netns.lab.device import Fetched

SITE = "http://www.open.example/"


def wait_for(story: Story, *, open: bool) -> Fetched:
    """Fetch until the tablet is online, or is told that it is not; a fetch that runs meanwhile is cut."""
    deadline = time.monotonic() + 10
    while (found := story.world.tablet.fetch(SITE)).ok is not open or found.status == 0:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def test_a_bedtime_is_set_and_holds(story: Story) -> None:
    t, parent = story.t, story.parent
    wait_for(story, open=True)
    parent.goto(f"{story.box.console}/profiles/ana/hours")
    parent.get_by_role("button", name=t("profile.hours.add")).click()
    dialog = parent.get_by_role("dialog")
    # All day and night, so that the story is true at any hour.
    dialog.get_by_label(t("profile.window.from")).fill("00:00")
    dialog.get_by_label(t("profile.window.to")).fill("24:00")
    dialog.get_by_role("button", name=t("profile.window.done")).click()
    parent.get_by_role("button", name=t("common.save")).click()
    expect(parent.get_by_text(t("profile.saved"))).to_be_visible()

    blocked = wait_for(story, open=False)
    assert blocked.status == 403
    child = story.open_child("/me")
    expect(child.get_by_role("heading", name=t("child.hello", name="Ana"))).to_be_visible()
    assert child.locator("html.night").count() == 1

    parent.goto(story.box.console)
    story.change_profile(offline=[])
    wait_for(story, open=True)


def test_hours_are_painted_with_the_mouse(story: Story) -> None:
    t, parent = story.t, story.parent
    parent.set_viewport_size({"width": 1280, "height": 900})
    parent.goto(f"{story.box.console}/profiles/ana/hours")
    parent.get_by_role("button", name=t("words.label_bedtime"), exact=False).first.click()
    area = parent.get_by_label(t("profile.hours.picture"))
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    x, top = box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.3
    parent.mouse.move(x, top)
    parent.mouse.down()
    parent.mouse.move(x, top + box["height"] * 0.2, steps=8)
    parent.mouse.up()
    parent.get_by_role("button", name=t("common.save")).click()
    expect(parent.get_by_text(t("profile.saved"))).to_be_visible()
    (ana,) = [each for each in story.call("GET", "/household")["profiles"] if each["id"] == "ana"]
    (window,) = ana["offline"]
    assert window["label"] == "bedtime" and len(window["days"]) == 1
    assert window["start"] % 30 == window["end"] % 30 == 0 and 3 * 60 <= window["end"] - window["start"] <= 7 * 60
    story.change_profile(offline=[])


def test_one_tap_pauses_and_resumes(story: Story) -> None:
    t, parent = story.t, story.parent
    wait_for(story, open=True)
    card = parent.get_by_role("group", name=t("home.actions_of", name="Ana"))
    card.get_by_role("button", name=t("home.pause")).click()
    parent.get_by_role("button", name=t("home.pause_open")).click()
    assert wait_for(story, open=False).status == 403
    card.get_by_role("button", name=t("home.resume")).click()
    wait_for(story, open=True)


def test_thirty_minutes_longer(story: Story) -> None:
    t, parent = story.t, story.parent
    wait_for(story, open=True)
    try:
        # All day and night, and no minutes: one tap has to open both, at any hour.
        window = {"days": [0, 1, 2, 3, 4, 5, 6], "start": 0, "end": 1440, "label": "bedtime"}
        story.change_profile(offline=[window], minutes={"days": [0] * 7, "week": None})
        assert wait_for(story, open=False).status == 403
        card = parent.get_by_role("group", name=t("home.actions_of", name="Ana"))
        longer = card.get_by_role("button", name=t("home.awake", count=30))
        longer.click()
        wait_for(story, open=True)
        said = parent.get_by_role("status")
        (change, *_) = story.call("GET", "/changes")["changes"]
        assert change["kind"] == "awake" and 1740 < change["details"]["until"] - time.time() <= 1860
        until = datetime.fromtimestamp(change["details"]["until"], ZoneInfo("Europe/Chisinau")).strftime("%H:%M")
        words = t("words.until_time", time=until)
        expect(said).to_contain_text(t("home.said_awake", name="Ana", until=words))
        expect(longer).to_have_count(0)

        # The way back, and once more from the child's own page of settings; the journal tells it.
        said.get_by_role("button", name=t("common.undo")).click()
        wait_for(story, open=False)
        parent.goto(f"{story.box.console}/profiles/ana")
        parent.get_by_role("button", name=t("profile.now.awake", time=t("common.minutes_short", count=30))).click()
        expect(parent.get_by_role("status")).to_contain_text(t("profile.now.done_awake", until="").strip(" ."))
        wait_for(story, open=True)
        parent.goto(f"{story.box.console}/settings/journal")
        (change, *_) = story.call("GET", "/changes")["changes"]
        until = datetime.fromtimestamp(change["details"]["until"], ZoneInfo("Europe/Chisinau")).strftime("%H:%M")
        words = t("words.until_time", time=until)
        told = t("journal.awake", who="Ana", count=30, until=words)
        expect(parent.get_by_role("listitem").filter(has_text=told).first).to_be_visible()
    finally:
        story.change_profile(offline=[], exceptions=[], bonuses=[], minutes={"days": [], "week": None})
    wait_for(story, open=True)
