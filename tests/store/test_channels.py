from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from guardian.store.channels import (
    MOST_CHANNELS,
    add_channel,
    choose_undelivered,
    list_channels,
    mark_delivered,
    note_error,
    remove_channel,
)
from guardian.store.console import ConsoleStore

SECRET = "s3cret-tok3n"
ADDRESS = f"ntfys://{SECRET}@ntfy.example/family"


@pytest.fixture
def store(tmp_path: Path) -> ConsoleStore:
    return ConsoleStore(str(tmp_path / "console.db"))


def add(store: ConsoleStore, name: str = "Tata", address: str = ADDRESS, **more: object) -> int | None:
    return add_channel(store, name, address, requests=True, alerts=False, **more)  # type: ignore[arg-type]


def test_a_channel_is_kept_whole(store: ConsoleStore) -> None:
    key = add(store)
    (channel,) = list_channels(store)
    assert channel == (key, "Tata", ADDRESS, True, False, "")
    assert channel.service == "ntfys"


def test_a_channel_that_is_printed_shows_no_secret(store: ConsoleStore) -> None:
    add(store)
    (channel,) = list_channels(store)
    assert SECRET not in repr(channel)
    assert SECRET not in f"{channel} {[channel]}"


def test_there_are_ten_at_most(store: ConsoleStore) -> None:
    assert all(add(store) for _ in range(MOST_CHANNELS))
    assert add(store) is None
    assert len(list_channels(store)) == MOST_CHANNELS


def test_a_removed_address_is_gone_from_the_file(store: ConsoleStore) -> None:
    key = add(store)
    assert key is not None
    assert SECRET.encode() in Path(store.path).read_bytes()
    assert remove_channel(store, key)
    assert SECRET.encode() not in Path(store.path).read_bytes()
    assert not remove_channel(store, key)


def test_each_channel_gets_each_thing_once(store: ConsoleStore) -> None:
    one, two = add(store), add(store)
    assert one is not None
    assert two is not None
    assert choose_undelivered(store, one, ["request:1", "request:2"]) == {"request:1", "request:2"}
    mark_delivered(store, one, ["request:1"], 1000.0)
    assert choose_undelivered(store, one, ["request:1", "request:2"]) == {"request:2"}
    assert choose_undelivered(store, two, ["request:1"]) == {"request:1"}


def test_a_new_channel_is_not_told_what_is_known(store: ConsoleStore) -> None:
    key = add(store, known=["request:1"], now=1000.0)
    assert key is not None
    assert choose_undelivered(store, key, ["request:1", "request:2"]) == {"request:2"}


def test_a_number_that_is_given_again_inherits_nothing(store: ConsoleStore) -> None:
    keys = [add(store) for _ in range(10)]
    first, tenth = keys[0], keys[9]
    assert (first, tenth) == (1, 10)
    mark_delivered(store, 1, ["request:1"], 1000.0)
    mark_delivered(store, 10, ["request:1"], 1000.0)
    remove_channel(store, 10)
    assert choose_undelivered(store, 1, ["request:1"]) == set()  # 1 is no prefix of 10
    assert add(store) == 10
    assert choose_undelivered(store, 10, ["request:1"]) == {"request:1"}


def test_a_channel_removed_meanwhile_leaves_nothing(store: ConsoleStore) -> None:
    key = add(store)
    assert key is not None
    remove_channel(store, key)
    mark_delivered(store, key, ["request:1"], 1000.0)
    note_error(store, key, "not-reached")
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("SELECT count(*) FROM delivered").fetchone() == (0,)


def test_what_was_delivered_long_ago_is_forgotten(store: ConsoleStore) -> None:
    key = add(store)
    assert key is not None
    mark_delivered(store, key, ["alert:old"], 1000.0)
    mark_delivered(store, key, ["alert:new"], 1000.0 + 101 * 86400)
    assert choose_undelivered(store, key, ["alert:old", "alert:new"]) == {"alert:old"}


def test_the_last_error_is_noted_and_cleared(store: ConsoleStore) -> None:
    key = add(store)
    assert key is not None
    note_error(store, key, "not-reached")
    assert list_channels(store)[0].last_error == "not-reached"
    note_error(store, key, "")
    assert list_channels(store)[0].last_error == ""
