"""The router as a home has it: gateway, flow filter and console; devices are known by their MAC, and pages lead on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.product import ROOT, environment, wait_for
from tests.netns.lab import plan
from tests.netns.lab.home import Lab, World

BLOCKED = plan.SITES["blocked.example"]
PORT = 8080
CONSOLE = f"http://guardian.home.arpa:{PORT}"


@pytest.fixture(scope="module")
def lab(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    hosts = [plan.home4("router"), f"[{plan.home6('router')}]"]
    more = {"web": {"listen": [f"{host}:{PORT}" for host in hosts]}}
    with world.protected(tmp_path_factory.mktemp("router"), filter=True, more=more) as lab:
        yield lab


@pytest.fixture
def console(lab: Lab) -> Iterator[None]:
    """A running console on the router."""
    words = [sys.executable, "-m", "guardian", "web", "--config", str(lab.guardian.config)]
    command = ["ip", "netns", "exec", lab.network.name("router"), *words]
    with (lab.guardian.folder / "web.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(), cwd=ROOT
        )
    try:
        wait_for(lambda: lab.phone.fetch(f"http://{plan.home4('router')}:{PORT}/api/v1/start").ok, 20)
        yield
    finally:
        process.terminate()
        assert process.wait(10) == 0


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def seen(lab: Lab) -> dict[str, dict[str, Any]]:
    """What `presence` tells, by MAC."""
    return {entry["mac"]: entry for entry in lab.guardian.control("presence")["devices"]}


def blocked_page(lab: Lab, family: int) -> str:
    """The page that the flow filter sends in the name of a site whose address the child knew."""
    address = BLOCKED.four if family == 4 else BLOCKED.six
    fetched = lab.tablet.fetch("http://blocked.example/some/path?x=1", resolve={BLOCKED.name: address})
    assert fetched.status == 403, fetched
    return fetched.body


def test_addresses_are_known_by_the_mac_behind_them(lab: Lab, family: int) -> None:
    for device in lab.devices:
        assert device.fetch("https://www.open.example/", family=family).ok
    tablet, phone, stranger = (
        lab.guardian.control("whose", address=device.four if family == 4 else device.six) for device in lab.devices
    )
    assert (tablet["device"], tablet["name"], tablet["is_child"]) == ("tablet", "Ana's tablet", True)
    assert tablet["mac"] == lab.tablet.mac
    assert (phone["device"], phone["is_child"]) == ("phone", False)
    assert (stranger["device"], stranger["profile"], stranger["mac"]) == ("", "guests", lab.stranger.mac)


def test_presence_has_both_families_of_a_device(lab: Lab) -> None:
    for family in (4, 6):
        assert lab.tablet.fetch("https://www.open.example/", family=family).ok
    lab.tablet.run("dig", "+short", f"@{plan.home6('router')}", "www.open.example")
    found = wait_for(lambda: seen(lab).get(lab.tablet.mac))
    assert found["device"] == "tablet" and found["online"] is True
    assert set(found["addresses"]) >= {lab.tablet.four, lab.tablet.six}


def test_packets_without_any_question_are_a_sign_of_life(lab: Lab) -> None:
    """A long download by an address that was written down: the flow counters tell, within their quarter of a minute."""
    video = plan.SITES["video.open.example"]
    with lab.phone.download("https://video.open.example/stream", resolve={video.name: video.four}) as download:
        download.wait_for_more()
        time.sleep(1)
        before = seen(lab)[lab.phone.mac]["last_seen"]
        wait_for(lambda: seen(lab)[lab.phone.mac]["last_seen"] > before + 5, 40, 0.5)


def test_without_a_console_the_page_says_what_it_always_said(lab: Lab, family: int) -> None:
    page = blocked_page(lab, family)
    assert "Show this page to a parent" in page and CONSOLE not in page
    own = lab.tablet.fetch("http://guardian.home.arpa/", family=family)
    assert own.status == 200 and "does not answer" in own.body


@pytest.mark.usefixtures("console")
def test_a_page_from_the_flow_filter_leads_to_the_childs_own_page(lab: Lab, family: int) -> None:
    def linked() -> str:
        page = blocked_page(lab, family)
        return page if f'href="{CONSOLE}/ask?site=blocked.example"' in page else ""

    page = wait_for(linked)  # that there was none is remembered for some seconds
    assert f'href="{CONSOLE}/me"' in page and f'href="{CONSOLE}/me#report"' in page
    # The links lead where the child's browser can go, and the console knows whose it is.
    for path in ("/ask?site=blocked.example", "/me"):
        assert lab.tablet.fetch(CONSOLE + path, family=family).status in (200, 503)  # 503: its pages are not built
    told = json.loads(lab.tablet.fetch(f"{CONSOLE}/api/v1/child", family=family).body)
    assert (told["known"], told["name"]) == (True, "Ana")
    told = json.loads(lab.stranger.fetch(f"{CONSOLE}/api/v1/child", family=family).body)
    assert told["known"] is False


@pytest.mark.usefixtures("console")
def test_the_own_name_leads_to_the_console(lab: Lab, family: int) -> None:
    def led() -> bool:
        done = lab.phone.run(
            "curl", "-s", f"-{family}", "-o", "/dev/null", "-w", "%{redirect_url}", "http://guardian.home.arpa/"
        )
        return done.stdout == f"{CONSOLE}/"

    wait_for(led)
    by_address = lab.phone.run(
        "curl", "-s", "-o", "/dev/null", "-w", "%{redirect_url}", f"http://{plan.home4('router')}/"
    )
    assert by_address.stdout == f"http://{plan.home4('router')}:{PORT}/"


def test_the_law_has_no_way_into_the_home(lab: Lab, console: None) -> None:
    site = plan.SITES["mandatory.guardian.test"]
    for device in (lab.tablet, lab.phone):
        fetched = device.fetch(f"http://{site.name}/", resolve={site.name: site.four})
        assert fetched.status == 451
        assert "guardian.home.arpa" not in fetched.body and site.name not in fetched.body
