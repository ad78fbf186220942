"""The lab's hotline and the tour's steps with it: they work, and they find it when something is missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.lab.console import running_console, settings, write_leases
from tests.netns.lab.home import Lab, World
from tests.netns.lab.hotline import FEED, FEED_PORT, Hotline, fetch_feed, open_hotline
from tests.netns.lab.tour_hotline import SITE, list_site


@pytest.fixture(scope="module")
def hotline(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotline]:
    with open_hotline(world, tmp_path_factory.mktemp("hotline")) as hotline:
        yield hotline


@pytest.fixture(scope="module")
def lab(world: World, hotline: Hotline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A box with the hotline's feed, and without the flow filter."""
    folder = tmp_path_factory.mktemp("router")
    more = settings(write_leases(folder / "leases")) | {"hotline": hotline.settings()}
    with world.protected(folder, filter=False, more=more) as lab:
        lab.hotline = hotline
        assert "version 1" in fetch_feed(lab)
        with running_console(lab):
            yield lab


def test_the_feed_is_in_reach_of_the_box_by_its_name(lab: Lab) -> None:
    found = lab.on("router", "curl", "-s", f"http://{FEED.name}:{FEED_PORT}/default/metadata/timestamp.json").stdout
    assert '"_type"' in found and "signatures" in found


def test_without_the_filter_the_step_of_the_hotline_finds_it_missing(lab: Lab) -> None:
    """DNS refuses the site, but who knows its address gets there: the step must say so."""
    outcome = list_site(lab)
    assert "after the release DNS says 10.77.0.1, EDE 16" in outcome.happened, outcome.happened
    assert "with the authority and the law" in outcome.happened
    assert not outcome.ok and "by its written-down address: it opened" in outcome.happened
    assert lab.seen("tls-hello", SITE.name)
    assert "$ guardian hotline approve 1 --as ion" in outcome.typed and "password" not in outcome.typed


def test_a_desk_says_what_is_wrong(hotline: Hotline) -> None:
    with pytest.raises(AssertionError, match="there is no proposal 99"):
        hotline.approve("99", who="ion")
    with pytest.raises(AssertionError, match="nothing was released"):
        _ = hotline.run("status").released
