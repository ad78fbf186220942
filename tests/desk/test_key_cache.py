"""Slow keys are worked out once, and kept for as long as their salt."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from guardian.blocklist import feed_base
from guardian.blocklist.feed_base import Cost, derive_key
from guardian.desk import key_cache
from guardian.desk.key_cache import KeyCache
from guardian.errors import DeskError
from guardian.names import parse_name

COST = Cost(12, 8, 1)
SALT, OTHER = bytes(range(32)), bytes(32)
DOMAINS = [parse_name(f"listed-{number}.example") for number in range(5)]


@pytest.fixture
def worked_out(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    done: list[bytes] = []
    monkeypatch.setattr(
        key_cache, "derive_key", lambda domain, *rest: (done.append(domain), derive_key(domain, *rest))[1]
    )
    return done


def test_keys_are_right_and_worked_out_once(tmp_path: Path, worked_out: list[bytes]) -> None:
    seen = []
    with closing(KeyCache(tmp_path / "keys.db")) as cache:
        keys = cache.derive(DOMAINS[:3], SALT, COST, lambda *progress: seen.append(progress[:2]))
    assert keys == {domain: feed_base.derive_key(domain, SALT, COST) for domain in DOMAINS[:3]}
    assert seen == [(3, 3)]
    with closing(KeyCache(tmp_path / "keys.db")) as cache:
        assert set(cache.derive(DOMAINS, SALT, COST)) == set(DOMAINS)
        assert cache.derive(DOMAINS[:1], OTHER, COST)[DOMAINS[0]] != keys[DOMAINS[0]]
    assert len(worked_out) == 6
    assert (tmp_path / "keys.db").stat().st_mode & 0o777 == 0o600


def test_what_was_done_before_an_interruption_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_cache, "_BATCH", 2)

    def interrupt(done: int, all_: int, left: float) -> None:
        raise KeyboardInterrupt

    with closing(KeyCache(tmp_path / "keys.db")) as cache, pytest.raises(KeyboardInterrupt):
        cache.derive(DOMAINS, SALT, COST, interrupt)
    seen = []
    with closing(KeyCache(tmp_path / "keys.db")) as cache:
        cache.derive(DOMAINS, SALT, COST, lambda *progress: seen.append(progress[:2]))
    assert seen == [(2, 3), (3, 3)]


def test_keys_of_old_salts_leave_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    with closing(KeyCache(path)) as cache:
        old = cache.derive(DOMAINS[:2], SALT, COST)
        new = cache.derive(DOMAINS[:2], OTHER, COST)
        assert cache.forget_other_salts([OTHER]) == 2
    data = path.read_bytes()
    assert not any(key in data for key in old.values())
    assert all(key in data for key in new.values())


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(DeskError, match="may be deleted"):
        KeyCache(tmp_path / "keys.db")
