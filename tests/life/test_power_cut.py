"""The power goes at every write of everything that Guardian keeps.

Invariant: what was acknowledged is there afterwards, whole; what was not is there whole or not at all; and whoever
reads it next starts, without a person who repairs something.

Each story is one traced run of the real program; `tests.life.trace` then makes the folder as a disk may hold it after
each of its calls, in three ways of losing what was not synced.
"""

from __future__ import annotations

import copy
import os
import shutil
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from guardian.catalogue import load_catalogue
from guardian.config import Config, load_config
from guardian.hotline.report import load_report
from guardian.policy.model import Household
from guardian.store import accounts
from guardian.store.addresses import address_file, load_addresses
from guardian.store.console import ConsoleStore
from guardian.store.history import HistoryWriter
from guardian.store.household import load_household_file
from guardian.store.images import map_image
from guardian.store.settings import list_changes, load_household, set_pause
from guardian.store.slots import load_slots, save_slots
from guardian.web.certificate import certificate_files
from guardian.web.claim import make_claim_code
from tests.gateway.product import HOUSEHOLD, require, run_guardian
from tests.life.trace import MODES, Run, record

Check = Callable[[Path, bool], None]  # the state directory after a cut, and whether the change had been acknowledged


class Box:
    """A settings file and a state directory, and the commands that write it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir()
        self.settings: dict[str, object] = {"state": "state", "upstreams": {"servers": ["192.0.2.1"]}}
        self.write()

    def write(self, **more: object) -> Config:
        self.settings |= more
        (self.folder / "guardian.yaml").write_text(yaml.safe_dump(self.settings))
        return load_config(str(self.folder / "guardian.yaml"))

    def guardian(self, *words: str, stdin: str = "") -> None:
        done = run_guardian(*words, "--config", str(self.folder / "guardian.yaml"), cwd=self.folder, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr

    def traced(self, *words: str, stdin: str = "") -> Run:
        """Run a command of Guardian under the eyes of strace."""
        command = (sys.executable, "-m", "guardian", *words, "--config", str(self.folder / "guardian.yaml"))
        return record(self.state, *command, log=self.folder / "strace.log", stdin=stdin)

    def traced_script(self, script: str) -> Run:
        """Run a few lines of Python that are done when they print something; `state` is the state directory."""
        head = f"state = {str(self.state)!r}\nsettings = {str(self.folder / 'guardian.yaml')!r}\n"
        return record(self.state, sys.executable, "-c", head + script, log=self.folder / "strace.log")

    def household_file(self, name: str, **changes: object) -> tuple[Path, Household]:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(copy.deepcopy(HOUSEHOLD) | changes))
        return path, load_household_file(str(path), load_catalogue(names=False))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    require("strace")
    # In memory where there is such a folder: thousands of files are made anew.
    place = Path("/dev/shm") / f"guardian-life-{os.getpid()}" if os.path.isdir("/dev/shm") else tmp_path / "box"
    place.mkdir()
    try:
        yield Box(place)
    finally:
        shutil.rmtree(place)


def cut_everywhere(box: Box, run: Run, check: Check, least: int, modes: tuple[str, ...] = MODES) -> None:
    """Check the state directory after every cut."""
    assert len(run.steps) >= least, f"only {len(run.steps)} calls were seen: is the trace whole?"
    for mode in modes:
        for count in range(len(run.steps) + 1):
            shutil.rmtree(box.state)
            run.cut(count, mode, box.state)
            try:
                check(box.state, count >= run.told)
            except BaseException as error:
                done = run.steps[count - 1] if count else None
                raise AssertionError(f"{mode}, after {count} of {len(run.steps)}: {done!r:.200}: {error!r}") from error


def test_a_household_that_is_imported(box: Box) -> None:
    """The old household or the new one, never another and never none; the list of changes tells the same."""
    old_file, old = box.household_file("old", language="en")
    new_file, new = box.household_file("new", language="ru", timezone="Europe/Chisinau")
    box.guardian("household", "import", str(old_file))
    config = load_config(str(box.folder / "guardian.yaml"))

    def check(state: Path, is_told: bool) -> None:
        found = load_household(config.settings)
        assert found == new if is_told else found in (old, new)
        assert len(list_changes(config.settings)) == (2 if found == new else 1)
        set_pause(config.settings, profile="ana", until=0)  # and it can be written
        assert not list(state.glob("*.damaged"))

    cut_everywhere(box, box.traced("household", "import", str(new_file)), check, 50)


def test_the_first_household(box: Box) -> None:
    """Before it is acknowledged the box is as out of the carton; never damaged, never half a family."""
    file, wanted = box.household_file("first")
    config = load_config(str(box.folder / "guardian.yaml"))

    def check(state: Path, is_told: bool) -> None:
        found = load_household(config.settings)
        assert found == wanted if is_told else found in (None, wanted)

    cut_everywhere(box, box.traced("household", "import", str(file)), check, 100)


def test_a_pause(box: Box) -> None:
    """Internet is off for this child when the parent was told so, whatever happens next."""
    file, _ = box.household_file("home")
    box.guardian("household", "import", str(file))
    config = load_config(str(box.folder / "guardian.yaml"))

    def check(state: Path, is_told: bool) -> None:
        household = load_household(config.settings)
        assert household is not None
        paused = {profile.id for profile in household.profiles if profile.paused_until}
        assert paused == {"ana"} if is_told else paused in (set(), {"ana"})

    cut_everywhere(box, box.traced("household", "pause", "--profile", "ana"), check, 10)


def test_an_account(box: Box) -> None:
    """Who could sign in still can; who was added can when that was said."""
    box.guardian("account", "add", "Mama", stdin="correct horse battery\n")
    store = ConsoleStore(str(box.state / "console.db"))

    def check(state: Path, is_told: bool) -> None:
        names = [account.name for account in accounts.list_accounts(store)]
        assert names == ["Mama", "Bunica"] if is_told else names in (["Mama"], ["Mama", "Bunica"])
        secret, _ = accounts.open_session(store, 1, 1000.0)
        assert accounts.find_session(store, accounts.hash_secret(secret), 1001.0) is not None
        assert not store.unsaved_sessions

    run = box.traced("account", "add", "Bunica", "--role", "helper", stdin="staple of the helper\n")
    cut_everywhere(box, run, check, 10)


def test_the_claim_code(box: Box) -> None:
    """There is always a code; the one that was read aloud holds."""
    config = load_config(str(box.folder / "guardian.yaml"))
    run = box.traced("web", "--claim-code")
    told = run.output.strip()

    def check(state: Path, is_told: bool) -> None:
        code = make_claim_code(config)
        assert len(code) == 11 and code == make_claim_code(config)
        assert not is_told or code == told
        assert not list(state.glob("*.damaged"))

    cut_everywhere(box, run, check, 5)


def test_the_certificate(box: Box) -> None:
    """Key and certificate belong together at the next start, made anew where they must be."""
    require("openssl")
    box.write(web={"listen": ["192.0.2.7:8443"], "tls": {"enabled": True}})
    script = (
        "from guardian.config import load_config\n"
        "from guardian.web.certificate import certificate_files\n"
        "print(certificate_files(load_config(settings)))\n"
    )
    run = box.traced_script(script)
    config = load_config(str(box.folder / "guardian.yaml"))
    content: set[bytes] = set()

    def check(state: Path, is_told: bool) -> None:
        before = (state / "web" / "certificate.pem").read_bytes() if is_told else b""
        certificate, key = certificate_files(config)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        if is_told:
            assert Path(certificate).read_bytes() == before, "what phones have learned to trust stays"
            content.add(before)

    cut_everywhere(box, run, check, 10, ("torn", "lost"))
    assert len(content) == 1


def test_the_slots_of_devices(box: Box) -> None:
    """Running flows carry slots in the kernel: a file of half a home would give them to others."""
    path = box.state / "slots.json"
    old, new = {"tablet": 1, "phone": 2}, {"phone": 2, "console": 3, "laptop": 4}
    save_slots(str(path), old)
    script = f"from guardian.store.slots import save_slots\nsave_slots({str(path)!r}, {new!r})\nprint('saved')\n"

    def check(state: Path, is_told: bool) -> None:
        found = load_slots(str(path))
        assert found == new if is_told else found in (old, new)

    cut_everywhere(box, box.traced_script(script), check, 5)


HISTORY = """
from guardian.store.history import HistoryWriter
from tests.store.history_home import Clock, one_batch
writer = HistoryWriter(f"{state}/history.db", f"{state}/copy.db", clock=Clock())
writer.start()
writer.submit(one_batch("secret.example", "other.example"))
writer.drain()
"""


def test_the_history_and_its_copy(box: Box) -> None:
    """The history always opens. Its last seconds may be lost; the copy is the old one or the new one."""
    writer = HistoryWriter(str(box.state / "history.db"), str(box.state / "copy.db"))
    writer.start()
    writer.close()
    run = box.traced_script(HISTORY + "writer.close()\nprint('closed')\n")

    def check(state: Path, is_told: bool) -> None:
        again = HistoryWriter(str(state / "history.db"), str(state / "copy.db"))
        again.start()
        again.drain()
        status = again.status()
        again.close()
        assert status.running and status.error == ""
        assert not (state / "history.db.corrupt").exists()

    cut_everywhere(box, run, check, 40)


def test_a_history_that_parents_erase(box: Box) -> None:
    """What they were told is gone comes back from no copy and no log."""
    writer = HistoryWriter(str(box.state / "history.db"), str(box.state / "copy.db"))
    writer.start()
    writer.close()
    box.traced_script(HISTORY + "writer.close()\n")  # now the copy tells of it as well
    assert b"secret.example" in (box.state / "copy.db").read_bytes()
    run = box.traced_script(HISTORY + "writer.erase_all().result(10)\nprint('erased')\nimport os\nos._exit(0)\n")

    def check(state: Path, is_told: bool) -> None:
        if not is_told:
            return
        for path in state.iterdir():
            assert b"secret.example" not in path.read_bytes(), path.name
        again = HistoryWriter(str(state / "history.db"), str(state / "copy.db"))
        again.start()
        again.drain()
        assert again.status().error == ""
        again.close()

    cut_everywhere(box, run, check, 40)


def test_lists_that_are_compiled(box: Box) -> None:
    """The image and the addresses are the old ones or the new ones, and the next update works."""
    listed = box.folder / "national.txt"
    listed.write_text("".join(f"one-{number}.example\n" for number in range(50)))
    sources = box.folder / "sources.yaml"
    sources.write_text("sources: {}\n")
    config = box.write(lists={"mandatory": [{"name": "national", "file": str(listed)}], "sources": str(sources)})
    box.guardian("sync", "--offline")
    old = map_image(config.lists.image).created
    listed.write_text("".join(f"two-{number}.example\n" for number in range(50)))
    run = box.traced("sync", "--offline")
    new = map_image(config.lists.image).created
    assert new > old
    seen: list[float] = []

    def check(state: Path, is_told: bool) -> None:
        image = map_image(config.lists.image)
        image.verify()
        assert image.created == new if is_told else image.created in (old, new)
        load_addresses(address_file(config.state))
        load_report(state / "lists" / "state.json")
        seen.append(image.created)

    cut_everywhere(box, run, check, 15)
    assert set(seen) == {old, new}
    box.guardian("sync", "--offline")


def test_the_disk_of_these_tests_forgets(box: Box) -> None:
    """The control: a program that syncs nothing loses all of it, or the tests above would show nothing."""
    import sqlite3

    path = box.state / "careless.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE things (name TEXT)")
    script = (
        "import sqlite3\n"
        "connection = sqlite3.connect(f'{state}/careless.db', isolation_level=None)\n"
        "connection.execute('PRAGMA synchronous = FULL')\n"  # the journal's removal is not synced
        "connection.execute('INSERT INTO things VALUES (1)')\n"
        "open(f'{state}/note', 'w').write('x' * 5000)\n"
        "print('saved')\n"
    )
    run = box.traced_script(script)
    found = {}
    for mode in MODES:
        shutil.rmtree(box.state)
        run.cut(run.told, mode, box.state)
        with closing(sqlite3.connect(path)) as connection:
            (rows,) = connection.execute("SELECT count(*) FROM things").fetchone()
        note = box.state / "note"
        found[mode] = (rows, note.stat().st_size if note.exists() else None)
    assert found == {"killed": (1, 5000), "torn": (1, 0), "lost": (0, None)}
