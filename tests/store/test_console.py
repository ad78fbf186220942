from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from guardian.errors import ConfigError
from guardian.store.console import ConsoleStore


@pytest.fixture
def store(tmp_path: Path) -> ConsoleStore:
    return ConsoleStore(str(tmp_path / "console.db"))


def test_only_its_owner_may_read_it(store: ConsoleStore) -> None:
    store.set_option("language", "ro")
    assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o600


def test_options_are_kept(store: ConsoleStore) -> None:
    assert store.option("language") == ""
    assert store.option("language", "en") == "en"
    store.set_option("language", "ro")
    store.set_option("language", "ru")
    assert ConsoleStore(store.path).option("language", "en") == "ru"


def test_an_alert_stays_away_with_how_often_it_had_happened(store: ConsoleStore) -> None:
    store.dismiss({"bypass:ana:vpn": 3, "burst:ana:gambling": 37}, now=1000.0)
    store.dismiss({"bypass:ana:vpn": 9}, now=2000.0)
    assert store.dismissed() == {"bypass:ana:vpn": 9, "burst:ana:gambling": 37}


def test_what_was_put_away_can_be_taken_back(store: ConsoleStore) -> None:
    store.dismiss({"bypass:ana:vpn": 3, "burst:ana:gambling": 37}, now=1000.0)
    store.take_back(["bypass:ana:vpn", "nothing", "' OR 1 --"])
    assert store.dismissed() == {"burst:ana:gambling": 37}
    store.take_back([])
    assert store.dismissed() == {"burst:ana:gambling": 37}


def test_alerts_of_long_ago_are_forgotten(store: ConsoleStore) -> None:
    store.dismiss({"old": 1}, now=1000.0)
    store.dismiss({"new": 1}, now=1000.0 + 101 * 86400)
    assert store.dismissed() == {"new": 1}


def test_a_change_that_fails_leaves_nothing(store: ConsoleStore) -> None:
    with pytest.raises(ZeroDivisionError), store.writing() as connection:
        connection.execute("INSERT INTO options VALUES ('half', '1')")
        raise ZeroDivisionError
    assert store.option("half") == ""


def test_threads_may_write_at_once(store: ConsoleStore) -> None:
    threads = [threading.Thread(target=store.set_option, args=(f"o{n}", str(n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.option(f"o{n}") for n in range(8)] == [str(n) for n in range(8)]


def test_a_file_that_is_no_database_is_named(store: ConsoleStore) -> None:
    Path(store.path).write_text("this is no database, but long enough to look like one to nobody " * 20)
    with pytest.raises(ConfigError, match=r"console\.db: the settings cannot be used"):
        store.option("language")
