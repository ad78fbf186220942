"""A box as a provider gives it: settings in UCI, the provider's file over them, gateway and console on both."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from guardian.errors import GuardianError
from tests.config.uci_writer import write_uci
from tests.gateway.product import CHILD, addresses, assert_clean, run_guardian, wait_for
from tests.web.product import Served

PROVISIONING = """\
provider: Telecom Plus
support: Telecom Plus, 1181
languages: [ru, ro]
claim_code: {policy: label, file: label}
upstreams: {servers: ["127.0.0.1:1"]}
lists:
  mandatory:
    - {name: national, file: national.txt}
"""


class Box(Served):
    """Settings are written as UCI."""

    def write(self) -> None:
        self.config.write_text(write_uci(self.settings))
        (self.folder / "home.yaml").write_text(yaml.safe_dump(self.household))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    (tmp_path / "isp").mkdir()
    (tmp_path / "isp" / "provisioning.yaml").write_text(PROVISIONING)
    (tmp_path / "isp" / "national.txt").write_text("illegal.example\n")
    (tmp_path / "isp" / "label").write_text("K7QF-29XW\n")
    settings: dict[str, Any] = {
        "provisioning": "isp/provisioning.yaml",
        "household": "",
        "block": {"support": "Uncle Bob"},
        "upstreams": {"servers": ["127.0.0.1:2"]},
    }
    box = Box(tmp_path, settings)
    del box.settings["language"]  # the provider's first choice
    box.write()
    try:
        yield box
    finally:
        box.close()
        codes = [box.stop_web() if box.web is not None else 0, box.stop() if box.process is not None else 0]
    assert codes == [0, 0], box.web_log() + box.log()
    for log in (box.web_log(), box.log()):
        assert_clean(log)


def page_of(box: Box, host: str, wish: str) -> httpx.Response:
    transport = httpx.HTTPTransport(local_address=CHILD)
    with httpx.Client(transport=transport, timeout=10) as client:
        address = f"http://127.0.0.1:{box.page_port}/"
        return client.get(address, headers={"Host": host, "Accept-Language": wish})


def test_a_box_as_from_the_carton(box: Box) -> None:
    done = run_guardian("sync", "--offline", "--config", str(box.config), cwd=box.folder)  # public lists are not here
    assert "mandatory-national       ok                 1" in done.stdout
    box.start()
    box.start_web()
    assert "event=setting-overruled" in box.log()
    assert (
        f"{box.config}:" in box.log() and f"Telecom Plus sets it in {box.folder}/isp/provisioning.yaml:2" in box.log()
    )
    start = box.anonymous().get("/start").json()
    assert (start["language"], start["languages"], start["provider"]) == ("ru", ["ru", "ro"], "Telecom Plus")
    assert start["support"] == "Telecom Plus, 1181"
    # The provider's list holds, its contact is on the page, and no language that it does not offer.
    assert addresses(box.ask("illegal.example")) == ["127.0.0.1"]
    page = page_of(box, "illegal.example", "en")
    assert page.status_code == 451 and page.headers["Content-Language"] == "ru"
    assert "Telecom Plus, 1181" in page.text and "Uncle Bob" not in page.text
    assert page_of(box, "illegal.example", "ro").headers["Content-Language"] == "ro"
    # The label's code makes the first parent; another one does not.
    stranger = box.anonymous()
    body = {"name": "Mama", "password": "correct horse battery", "language": "ro", "timezone": "Europe/Chisinau"}
    assert stranger.post("/claim", body | {"claim_code": "AAAA-AAAA"}).status_code == 403
    answer = stranger.post("/claim", body | {"claim_code": "k7qf 29xw"})
    assert answer.status_code == 201
    state = stranger.get("/status").json()
    assert state["provider_lists"] == ["national"]
    assert box.child().get("/child").json()["languages"] == ["ru", "ro"]


def test_the_settings_are_read_again(box: Box) -> None:
    box.start()
    box.start_web()
    assert box.web is not None
    (box.folder / "isp" / "provisioning.yaml").write_text(PROVISIONING.replace("1181", "14 33"))
    box.settings["dns"]["listen"] = [f"127.0.0.1:{box.port}"]
    box.write()
    box.control("reload")
    box.web.send_signal(signal.SIGHUP)
    wait_for(lambda: box.anonymous().get("/start").json()["support"] == "Telecom Plus, 14 33")
    assert box.status()["listen"] == [f"127.0.0.1:{box.port}"]
    box.config.write_text(box.config.read_text() + "\nconfig dnss\n")
    line = box.config.read_text().count("\n")
    with pytest.raises(
        GuardianError, match=f"guardian.yaml:{line}: unknown section 'config dnss', did you mean 'config dns'"
    ):
        box.control("reload")
    assert box.status()["listen"] == [f"127.0.0.1:{box.port}"]


def test_a_label_that_is_not_there_says_what_to_do(box: Box) -> None:
    (box.folder / "isp" / "label").unlink()
    (box.folder / "state").mkdir(mode=0o750)
    done = box.run("web")
    assert done.returncode == 2
    assert f"{box.folder}/isp/label: the code of the box's label is not there: write it into this file" in done.stderr
    assert "Traceback" not in done.stderr
