"""A parent opens the box for the first time: three steps with a phone in one hand, and the home is protected."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.box import Browsers, Texts, open_box
from tests.browser.steps import add_child, claim, name_devices, watch
from tests.netns.lab.home import World

NAMES = {"ro": "Ștefan", "ru": "Аня", "en": "Zoe"}


@pytest.mark.parametrize("language", ["ro", "ru", "en"])
def test_three_steps_and_the_home_is_protected(world: World, browsers: Browsers, tmp_path: Path, language: str) -> None:
    t, child = Texts(language), NAMES[language]
    with open_box(world, tmp_path) as box:
        assert world.tablet.fetch("https://www.tiktok.com/").ok  # a box out of the carton is no support call
        page = browsers.open("phone", language)
        wrong: list[str] = []
        watch(page, wrong)
        claim(page, box, t)
        add_child(page, t, child, "7-9")

        name_devices(page, t, child)
        page.get_by_role("link", name=t("setup.to_home")).click()
        expect(page.get_by_role("heading", name=child)).to_be_visible()
        assert not wrong

        blocked = world.tablet.fetch("http://www.tiktok.com/")
        assert blocked.status == 403
        assert not world.tablet.fetch("https://www.tiktok.com/").ok
        assert world.phone.fetch("https://www.tiktok.com/").ok  # the grown-up's own
