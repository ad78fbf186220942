"""Pictures of every screen: phone and desktop, light and dark. Run by `scripts/screenshots`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.browser.box import Browsers, Texts, open_box
from tests.browser.screens import SCREENS, Screen, ask, live_a_day, settle
from tests.browser.steps import Story, claim_and_name_home
from tests.gateway.product import ROOT
from tests.netns.lab.home import open_world

SIZES = {"phone": (390, 844), "desktop": (1280, 900)}


def take_all(folder: Path, languages: list[str]) -> None:
    """Take every picture in every language, as FOLDER/LANGUAGE/SCREEN-SIZE-SCHEME.png."""
    with tempfile.TemporaryDirectory() as scratch, open_world(Path(scratch)) as world:
        browsers = Browsers(world, Path(scratch))
        for language in languages:
            (folder / language).mkdir(parents=True, exist_ok=True)
            (Path(scratch) / language).mkdir()
            with open_box(world, Path(scratch) / language) as box:
                page = browsers.open("phone", language)
                page.goto(box.console)
                settle(page)
                page.screenshot(path=folder / language / "first-visit-phone-light.png", full_page=True)
                story = claim_and_name_home(world, box, Texts(language))
                story.begin(browsers)
                child = story.open_child("/me")
                settle(child)
                ask(child, "site", site="www.tiktok.com", message="❤")
                ask(child, "time", minutes=30)
                live_a_day(story)
                blocked = Screen("blocked", "http://www.tiktok.com/", child=True)
                law = Screen("blocked-by-law", "http://mandatory.guardian.test/", child=True)
                for screen in (*SCREENS, blocked, law):
                    _take(story, screen, folder / language)
                browsers.close_pages()
        browsers.close()


def _take(story: Story, screen: Screen, folder: Path) -> None:
    page = story.open_child(screen.path) if screen.child else story.parent
    if not screen.child:
        page.goto(f"{story.box.console}{screen.path}")
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            settle(page)
            page.screenshot(path=folder / f"{screen.name}-{size}-{scheme}.png", full_page=True)
    if screen.child:
        page.context.close()


def main() -> None:
    """Take the pictures that the command line asks for."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".bench" / "screenshots"
    take_all(folder, sys.argv[2:] or ["ro", "ru", "en"])
    print(f"pictures are in {folder}")


if __name__ == "__main__":
    main()
