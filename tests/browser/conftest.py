"""A home with a box, and browsers on its devices."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.browser.box import CHROMIUM, Browsers, Texts, open_box
from tests.browser.steps import Story, claim_and_name_home
from tests.netns.lab.fixtures import world
from tests.netns.lab.home import World

__all__ = ["browsers", "story", "world"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A failed test shows what the box logged, and leaves pictures of its pages."""
    report = yield
    for value in getattr(item, "funcargs", {}).values() if report.failed else ():
        if isinstance(value, Story):
            report.sections.append(("log of the box", value.box.log()[-8000:]))
            report.sections.append(("pictures", "\n".join(value.browsers.take_pictures(item.name))))
    return report


@pytest.fixture(scope="module")
def browsers_of_module(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browsers]:
    """All browsers. They end with their module: Playwright keeps an asyncio loop running in the tests' thread, and
    other tests run loops of their own.
    """
    if not os.path.exists(CHROMIUM):
        pytest.skip("Chromium is not installed (scripts/setup test)")
    browsers = Browsers(world, tmp_path_factory.mktemp("browsers"))
    yield browsers
    browsers.close()


@pytest.fixture
def browsers(browsers_of_module: Browsers) -> Iterator[Browsers]:
    """Browsers without cookies of an earlier test."""
    yield browsers_of_module
    browsers_of_module.close_pages()


@pytest.fixture(scope="module", params=["ro", "ru", "en"])
def story_of_module(
    request: pytest.FixtureRequest, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    language: str = request.param
    with open_box(world, tmp_path_factory.mktemp("box")) as box:
        yield claim_and_name_home(world, box, Texts(language))


@pytest.fixture
def story(story_of_module: Story, browsers: Browsers) -> Iterator[Story]:
    """A home where Mama has set up Ana's tablet, in each language; her phone shows the first page."""
    story_of_module.begin(browsers)
    yield story_of_module
    story_of_module.end()
