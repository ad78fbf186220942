"""The factory reset on a running gateway and console: nothing is left, and a kill at any step loses nobody."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from guardian.config import load_config
from guardian.home import EVERYONE
from guardian.policy.model import Action, Device, Household, Match, Profile, Rule
from guardian.store.accounts import is_claimed
from guardian.store.channels import add_channel
from guardian.store.console import ConsoleStore
from guardian.store.history_read import HistoryReader
from guardian.store.reports import queue_report
from guardian.store.requests import Wish, add_request
from guardian.store.settings import save_household
from guardian.web.claim import claim_path, make_claim_code
from tests.gateway.product import CHILD, Running, environment, running, wait_for
from tests.web.product import PASSWORD, Served, console

WORD = "wombat"  # in everything that the home tells the box
STEPS = (
    "erase_settings", "gateway.reload", "gateway.erase", "erase_console", "forget_claim_code", "make_claim_code",
    "erase_accounts",
)  # fmt: skip
SETTINGS = {"upstreams": {"servers": ["127.0.0.1:1"]}, "household": "", "history": {"flush_seconds": 0.1}}


def fill(folder: Path) -> None:
    """Put something into every place."""
    store = ConsoleStore(str(folder / "state" / "console.db"))
    rule = Rule(Action.BLOCK, f"{WORD}.example", Match.SUBDOMAINS)
    ana = Profile(f"{WORD}-ana", f"{WORD} Ana", age_band="10-12", rules=(rule,))
    devices = (Device(f"{WORD}-tablet", f"{WORD} tablet", ana.id, (), (CHILD,)),)
    household = Household("UTC", UTC, (ana,), devices, "", (), "en")
    save_household(str(folder / "state" / "settings.db"), household, f"{WORD} Mama", f"{WORD} made")
    add_request(store, Wish(ana.id, devices[0].id, "site", None, f"{WORD}.example", f"{WORD} please"), 1_795_000_000.0)
    queue_report(store, "1", f'{{"url": "{WORD}.example"}}', 1_795_000_000.0, 1_795_000_000.0)
    add_channel(store, f"{WORD} Tata", f"json://{WORD}.example/", requests=True, alerts=True, known=["x"])
    store.set_option("login_from_children", "yes")
    store.dismiss({f"{WORD}": 1}, 1_795_000_000.0)


def find_word(folder: Path) -> list[str]:
    """The files of the state directory in which the word stands."""
    return [
        path.name
        for path in sorted((folder / "state").rglob("*"))
        if path.is_file() and WORD.encode() in path.read_bytes()
    ]


def make_history(gateway: Running) -> None:
    gateway.control("reload")
    gateway.ask(f"{WORD}.example", source=CHILD)

    def is_written() -> bool:
        with HistoryReader(str(gateway.folder / "state" / "history.db")) as history:
            return bool(history.last_tries())

    wait_for(is_written)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with console(tmp_path, {}, SETTINGS) as made:
        yield made


def test_nothing_of_the_home_is_left(served: Served) -> None:
    fill(served.folder)
    make_history(served)
    token = served.token("read")
    helper = served.helper()
    mine, code_before = served.parent, served.folder / "state" / "claim-code"
    assert not code_before.exists()
    assert {path.partition("-")[0] for path in find_word(served.folder)} == {"console.db", "history.db", "settings.db"}

    assert mine.post("/factory-reset", {"password": PASSWORD}).status_code == 204

    assert find_word(served.folder) == []
    assert [caller.get("/session").status_code for caller in (mine, helper)] == [401, 401]
    assert token.get("/household").status_code == 401
    start = served.anonymous().get("/start").json()
    assert start["claimed"] is False
    assert served.control("whose", address=CHILD)["profile"] == EVERYONE  # the gateway's, too, is an open box
    with HistoryReader(str(served.folder / "state" / "history.db")) as history:
        assert history.last_tries() == []
        assert history.by_device() == []


def test_the_box_can_be_claimed_again_with_a_new_code(served: Served) -> None:
    first = served.parent
    assert first.post("/factory-reset", {"password": PASSWORD}).status_code == 204
    path = Path(claim_path(load_config(str(served.config))))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    again = served.claim("Tata", "another long password")
    household = again.get("/household").json()
    assert (household["revision"], household["set_up"]) == (0, False)
    assert [account["name"] for account in again.get("/accounts").json()] == ["Tata"]
    assert not path.exists()


def test_it_takes_the_password_of_a_parent(served: Served) -> None:
    fill(served.folder)
    helper, program = served.helper(), served.token("status", "read", "requests", "control", "manage")
    before = (served.folder / "state" / "settings.db").read_bytes()
    assert served.post("/factory-reset", {"password": "wrong password"}).json()["code"] == "wrong-password"
    assert served.post("/factory-reset", {"password": ""}).status_code == 403
    assert served.post("/factory-reset", {}).status_code == 422
    assert helper.post("/factory-reset", {"password": "staple of the helper"}).status_code == 403
    assert program.post("/factory-reset", {"password": PASSWORD}).status_code == 403
    assert served.anonymous().post("/factory-reset", {"password": PASSWORD}).status_code == 401
    assert served.child().post("/factory-reset", {"password": PASSWORD}).status_code in (401, 403)
    assert served.parent.http.post("/api/v1/factory-reset", json={"password": PASSWORD}).json()["code"] == "csrf"
    assert (served.folder / "state" / "settings.db").read_bytes() == before
    assert is_claimed(served.store)


def test_guessing_the_password_here_is_throttled(served: Served) -> None:
    codes = [served.post("/factory-reset", {"password": f"guess {number}"}).status_code for number in range(8)]
    assert codes[:5] == [403] * 5
    assert codes[-1] == 429
    assert served.post("/factory-reset", {"password": PASSWORD}).status_code == 429


def test_without_the_gateway_nothing_is_begun(served: Served) -> None:
    fill(served.folder)
    served.stop()
    answer = served.post("/factory-reset", {"password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (503, "not-now")
    assert find_word(served.folder) == ["console.db", "settings.db"]
    assert served.get("/session").status_code == 200
    served.start()
    assert served.post("/factory-reset", {"password": PASSWORD}).status_code == 204
    assert find_word(served.folder) == []


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("gateway"), SETTINGS) as made:
        yield made


_KILLED = """
import os, signal, sys
from guardian.config import load_config
from guardian.web import reset
from guardian.web.console import Console

path, step, when = sys.argv[1:]
console = Console(load_config(path), path)
owner = console.gateway if step.startswith("gateway.") else reset
name = step.removeprefix("gateway.")
real = getattr(owner, name, None)

def killed(*words):
    if when == "after":
        real(*words)
    os.kill(os.getpid(), signal.SIGKILL)

if real:
    setattr(owner, name, killed)
reset.reset_box(console)
"""


def reset(gateway: Running, step: str = "", when: str = "") -> int:
    command = [sys.executable, "-c", _KILLED, str(gateway.config), step or "nothing", when]
    return subprocess.run(command, env=environment(), check=False, timeout=60, stderr=subprocess.DEVNULL).returncode


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_can_be_done_again(gateway: Running, step: str, when: str) -> None:
    config = load_config(str(gateway.config))
    store = ConsoleStore(f"{config.state}/console.db")
    with store.writing() as connection:
        connection.execute("INSERT INTO accounts VALUES (1, 'Mama', 'mama', 'parent', 'scrypt$1$..', 1.0, NULL)")
    fill(gateway.folder)
    code = make_claim_code(config)

    assert reset(gateway, step, when) == -signal.SIGKILL
    is_last = (step, when) == ("erase_accounts", "after")
    assert is_claimed(store) is not is_last  # whoever could sign in still can, until all else is gone
    if is_last:
        assert find_word(gateway.folder) == []

    assert reset(gateway) == 0
    assert find_word(gateway.folder) == []
    assert not is_claimed(store)
    assert make_claim_code(config) != code
    assert gateway.control("whose", address=CHILD)["profile"] == EVERYONE
