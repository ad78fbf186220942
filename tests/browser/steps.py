"""What people do on the pages, step by step, as a person finds the way: by what stands on the screen."""

from __future__ import annotations

import json
import re
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.box import Box, Browsers, Texts
from tests.netns.lab import plan
from tests.netns.lab.home import World

PASSWORD = "a warm cup of tea"


def watch(page: Page, wrong: list[str]) -> None:
    """Collect what goes wrong in a page: exceptions, refused scripts and styles. A test ends with an empty list."""
    page.on("pageerror", lambda error: wrong.append(f"exception: {error}"))
    page.on("console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None)


def claim(page: Page, box: Box, t: Texts, name: str = "Mama") -> None:
    """The first step of the first visit: code, name, password."""
    page.goto(box.console)
    page.get_by_label(t("setup.code")).fill(box.claim_code().lower().replace("-", " "))
    page.get_by_role("textbox", name=t("setup.your_name")).fill(name)
    page.get_by_label(t("common.password"), exact=True).fill(PASSWORD)
    page.get_by_role("button", name=t("common.next")).click()


def add_child(page: Page, t: Texts, name: str, band: str) -> None:
    """The second step: one child."""
    expect(page.get_by_role("heading", name=t("setup.title_2"))).to_be_visible()
    page.get_by_label(t("setup.child_name"), exact=True).fill(name)
    page.get_by_role("radio", name=t(f"age.{band}")).check()
    page.get_by_role("button", name=t("common.next")).click()


def name_devices(page: Page, t: Texts, owner: str) -> None:
    """The third step: the parent's own device is known by itself, the other one is `owner`'s."""
    expect(page.get_by_role("heading", name=t("setup.title_3"))).to_be_visible()
    mine = page.get_by_role("listitem").filter(has_text=t("setup.this_device"))
    expect(mine.get_by_role("radio", name=t("setup.grown_ups"))).to_be_checked()
    others = page.get_by_role("listitem").filter(has_not_text=t("setup.this_device"))
    expect(others).to_have_count(1)
    others.get_by_role("radio", name=owner).check()
    page.get_by_role("button", name=t("common.done")).click()
    expect(page.get_by_role("heading", name=t("setup.title_4"))).to_be_visible()


def sign_in(page: Page, box: Box, t: Texts, name: str = "Mama", password: str = PASSWORD) -> None:
    """Come back another day."""
    page.goto(f"{box.console}/login")
    page.get_by_role("textbox", name=t("common.name")).fill(name)
    page.get_by_label(t("common.password"), exact=True).fill(password)
    page.get_by_role("button", name=t("session.enter")).click()


class Story:
    """A home, its box, the parent's page and (when asked for) the child's."""

    def __init__(self, world: World, box: Box, t: Texts, cookies: dict[str, str]) -> None:
        self.world = world
        self.box = box
        self.t = t
        self._cookies = cookies
        self.wrong: list[str] = []

    def begin(self, browsers: Browsers) -> None:
        """Open the parent's phone on the first page, signed in, and put the household as it was."""
        self.browsers = browsers
        self.parent = self._open("phone")
        self.parent.context.add_cookies(
            [{"name": name, "value": value, "url": self.box.console} for name, value in self._cookies.items()]
        )
        self.parent.goto(self.box.console)
        expect(self.parent.get_by_role("heading", name="Ana", exact=True)).to_be_visible()

    def open_child(self, path: str = "") -> Page:
        """Open a page on the child's tablet."""
        page = self._open("tablet")
        if path:
            page.goto(path if "://" in path else f"{self.box.console}{path}")
        return page

    def open_phone(self) -> Page:
        """Open a page on the phone, where nobody has signed in."""
        return self._open("phone")

    def _open(self, role: str, **more: Any) -> Page:
        page = self.browsers.open(role, self.t.language, **more)
        watch(page, self.wrong)
        return page

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API as the parent's page does."""
        return call(self.parent, method, path, body)

    def change_profile(self, **parts: Any) -> None:
        """Change parts of Ana's profile behind the pages' back, as the other parent's phone would."""
        profiles = {profile["id"]: profile for profile in self.call("GET", "/household")["profiles"]}
        self.call("PUT", "/profiles/ana", {**profiles["ana"], **parts})

    def end(self) -> None:
        """Nothing went wrong in any page."""
        assert self.wrong == []
        self.wrong.clear()


# Online all day and without limits, so that a story does not depend on the hour in which it is told.
OPEN_ALL_DAY: dict[str, Any] = {"offline": [], "minutes": {"days": [], "week": None}, "visibility": "names"}


def claim_and_name_home(world: World, box: Box, t: Texts) -> Story:
    """Do the first visit by the API, as its own test does it on the page."""
    code = box.claim_code()
    made = world.phone.run(
        "curl", "-si", f"{box.console}/api/v1/claim", "--json",
        json.dumps({"claim_code": code, "name": "Mama", "password": PASSWORD, "language": t.language,
                    "timezone": "Europe/Chisinau"}),
    )  # fmt: skip
    head, _, body = made.stdout.partition("\n\n")
    cookie = re.search(r"guardian_session=([^;]+)", head)
    assert cookie, made.stdout + made.stderr
    csrf = json.loads(body)["csrf"]

    def send(method: str, path: str, value: Any = None) -> Any:
        words = ["-X", method, "-b", f"guardian_session={cookie[1]}", "-H", f"X-CSRF-Token: {csrf}"]
        words += ["--json", json.dumps(value)] if value is not None else []
        done = world.phone.run("curl", "-sf", *words, f"{box.console}/api/v1{path}")
        assert done.returncode == 0, done.stdout + done.stderr + box.log()
        return json.loads(done.stdout)

    profile = send("POST", "/profiles", {"name": "Ana", "age_band": "10-12"})
    send("PUT", "/profiles/ana", {**profile, **OPEN_ALL_DAY})
    (adults,) = [each["id"] for each in send("GET", "/household")["profiles"] if not each["filtered"]]
    send(
        "POST",
        "/devices/naming",
        {
            "devices": [
                {"name": "Tableta Anei", "profile": "ana", "mac": plan.MACS["tablet"]},
                {"name": "Telefonul mamei", "profile": adults, "mac": plan.MACS["phone"]},
            ]
        },
    )
    return Story(world, box, t, {"guardian_session": cookie[1]})


def call(page: Page, method: str, path: str, body: Any = None) -> Any:
    """Call the API as the signed-in page does."""
    return page.evaluate(
        """async ([method, path, body]) => {
            const session = await (await fetch('/api/v1/session')).json()
            const headers = {'Content-Type': 'application/json', 'X-CSRF-Token': session.csrf}
            if (body !== null) body = JSON.stringify(body)
            const answer = await fetch('/api/v1' + path, {method, headers, body: body ?? undefined})
            const text = await answer.text()
            if (!answer.ok) throw new Error(answer.status + ' ' + text)
            return text ? JSON.parse(text) : null
        }""",
        [method, path, body],
    )
