"""Passwords: what is stored, what is checked, and that a stranger learns nothing from the time it takes."""

from __future__ import annotations

import statistics
import threading
import time

import pytest

from guardian.web import passwords
from guardian.web.passwords import check_password, hash_password, is_outdated
from guardian.web.routing import RefusalError


def test_the_right_one_and_no_other() -> None:
    stored = hash_password("correct horse")
    assert check_password(stored, "correct horse")
    for wrong in ("correct hors", "correct horse ", "Correct horse", "", "\ud800"):
        assert not check_password(stored, wrong)


def test_what_is_stored_tells_nothing_and_differs() -> None:
    one, two = hash_password("same password"), hash_password("same password")
    assert one != two and "same" not in one
    assert one.startswith("scrypt$16384$8$1$") and len(one.split("$")) == 6


def test_two_keyboards_write_the_same_letter() -> None:
    """ș as one character, and as s with a comma below it."""
    assert check_password(hash_password("parola mea\u0219i"), "parola meas\u0326i")
    assert check_password(hash_password("пароль й"), "пароль и\u0306")


def test_other_parameters_can_still_be_checked() -> None:
    """A line that an older or a newer Guardian has stored."""
    salt = b"0123456789abcdef"
    made = passwords._scrypt("old password", salt, 2**12, 8, 1)
    stored = "$".join(("scrypt", str(2**12), "8", "1", passwords._to_text(salt), passwords._to_text(made)))
    assert check_password(stored, "old password") and not check_password(stored, "another")
    assert is_outdated(stored) and not is_outdated(hash_password("new password"))


@pytest.mark.parametrize("stored", ["plain", "md5$1$1$1$AA==$AA==", f"scrypt${2**30}$8$1$AA==$AA==", "scrypt$16384$8"])
def test_a_line_that_is_not_ours_is_no_password(stored: str) -> None:
    with pytest.raises(ValueError):
        check_password(stored, "anything")


def test_nobody_has_no_password_and_takes_as_long() -> None:
    stored = hash_password("correct horse")

    def measure(line: str) -> float:
        took = []
        for _ in range(7):
            began = time.perf_counter()
            assert not check_password(line, "guess guess")
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    known, unknown = measure(stored), measure("")
    assert 0.6 < known / unknown < 1.7
    assert not check_password("", "")


def test_too_many_at_once_are_told_to_come_again() -> None:
    """Each takes 16 MB and a worker: the others must stay free for the page."""
    results: list[str] = []
    start = threading.Barrier(passwords.MOST_WAITING + 6)

    def hash_one() -> None:
        start.wait()
        try:
            hash_password("some password")
            results.append("made")
        except RefusalError as error:
            assert error.status == 503 and error.retry_after
            results.append("refused")

    threads = [threading.Thread(target=hash_one) for _ in range(passwords.MOST_WAITING + 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count("made") >= passwords.MOST_WAITING and results.count("refused") >= 1
    assert hash_password("works again")
