"""The queue of reports: who may do what, what stays, what goes, and what a hand in the file gives away."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from guardian.desk.journal import Signer
from guardian.desk.report_store import (
    APPEAL_RESULTS,
    DAY,
    MIGRATIONS,
    RESULTS,
    ReportCount,
    ReportStore,
    check_trail,
    clear_closed,
    close_report,
    count_reports,
    keep_report,
    list_reports,
    read_keep_days,
    read_queued,
    reopen_report,
    set_keep_days,
    take_report,
)
from guardian.errors import DeskError
from tests.desk.reports import HOUR, NOW, filled, make_id, make_signer, public_key, received

ANA, ION = make_signer("ana"), make_signer("ion")
KEYS = {"ana": [public_key(make_signer("ana")), public_key(ANA)], "ion": [public_key(ION)]}


def test_a_report_is_kept_once(tmp_path: Path) -> None:
    store = ReportStore(str(tmp_path))
    assert keep_report(store, received(note="first"), NOW) == "kept"
    assert keep_report(store, received(note="second"), NOW + 60) == "known"
    (found,) = list_reports(store)
    assert (found.number, found.note, found.state) == (1, "first", "open")
    assert (found.received, found.created) == (HOUR, HOUR)  # never the minute


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    filled(tmp_path, {})
    assert stat.S_IMODE(os.stat(tmp_path / "reports.db").st_mode) == 0o600


def test_a_full_queue_takes_no_more_until_something_is_closed(tmp_path: Path) -> None:
    store = filled(tmp_path, {}, {})
    assert keep_report(store, received(make_id(3)), NOW, most=2) == "full"
    take_report(store, 1, ANA, NOW)
    assert keep_report(store, received(make_id(3)), NOW, most=2) == "full"
    close_report(store, 1, ANA, "listed", NOW)
    assert keep_report(store, received(make_id(3)), NOW, most=2) == "kept"


def test_the_contact_is_in_no_list(tmp_path: Path) -> None:
    store = filled(tmp_path, {"contact": "me@example.org"})
    assert "me@example.org" not in repr(list_reports(store))
    _, contact, lines = read_queued(store, 1)
    assert (contact, lines) == ("me@example.org", [])


def test_states_and_types_choose(tmp_path: Path) -> None:
    store = filled(tmp_path, {"type": "grooming"}, {"type": "other"}, {"type": "unblock_request"})
    take_report(store, 2, ANA, NOW)
    assert [found.number for found in list_reports(store, ("open",))] == [1, 3]
    assert [found.number for found in list_reports(store, types=("other", "unblock_request"))] == [2, 3]
    assert [found.number for found in list_reports(store, ("closed",))] == []


def test_one_takes_and_closes(tmp_path: Path) -> None:
    store = filled(tmp_path, {})
    take_report(store, 1, ANA, NOW)
    close_report(store, 1, ANA, "not-illegal", NOW + 60)
    report, _, lines = read_queued(store, 1)
    assert (report.state, report.person, report.result, report.closed) == (
        "closed",
        "ana",
        "not-illegal",
        int(NOW) + 60,
    )
    assert [(line.person, line.action, line.detail, line.at) for line in lines] == [
        ("ana", "take", "", int(NOW)),
        ("ana", "close", "not-illegal", int(NOW) + 60),
    ]
    assert check_trail(store, KEYS) == 2


def test_two_do_not_work_on_one_without_knowing(tmp_path: Path) -> None:
    store = filled(tmp_path, {})
    with pytest.raises(DeskError, match="nobody has taken it"):
        close_report(store, 1, ANA, "listed", NOW)
    take_report(store, 1, ANA, NOW)
    with pytest.raises(DeskError, match="yours already"):
        take_report(store, 1, ANA, NOW)
    with pytest.raises(DeskError, match="ana has taken report 1"):
        take_report(store, 1, ION, NOW)
    with pytest.raises(DeskError, match="ana has taken it"):
        close_report(store, 1, ION, "listed", NOW)
    take_report(store, 1, ION, NOW, anyway=True)
    close_report(store, 1, ION, "listed", NOW)
    with pytest.raises(DeskError, match="is closed"):
        take_report(store, 1, ANA, NOW, anyway=True)
    with pytest.raises(DeskError, match="it is closed"):
        close_report(store, 1, ION, "other", NOW)
    assert check_trail(store, KEYS) == 3


def test_of_two_who_take_at_the_same_time_one_gets_it(tmp_path: Path) -> None:
    store = filled(tmp_path, {})
    told: list[str] = []

    def take(signer: Signer) -> None:
        try:
            take_report(store, 1, signer, NOW)
        except DeskError as error:
            told.append(str(error))

    threads = [threading.Thread(target=take, args=(make_signer(f"a{number}"),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 7
    assert all("has taken report 1" in text for text in told)


def test_appeals_have_results_of_their_own(tmp_path: Path) -> None:
    store = filled(tmp_path, {"type": "unblock_request"}, {"type": "other"})
    take_report(store, 1, ANA, NOW)
    take_report(store, 2, ANA, NOW)
    with pytest.raises(DeskError, match="unblocked, upheld"):
        close_report(store, 1, ANA, "listed", NOW)
    with pytest.raises(DeskError, match="no result of other"):
        close_report(store, 2, ANA, "unblocked", NOW)
    close_report(store, 1, ANA, "unblocked", NOW)
    close_report(store, 2, ANA, "forwarded", NOW)
    assert not {"unblocked", "upheld"} & set(RESULTS)
    assert set(APPEAL_RESULTS) >= {"unblocked", "upheld"}


def test_a_closed_report_can_be_opened_again(tmp_path: Path) -> None:
    store = filled(tmp_path, {})
    with pytest.raises(DeskError, match="not closed"):
        reopen_report(store, 1, ANA, NOW)
    take_report(store, 1, ANA, NOW)
    close_report(store, 1, ANA, "duplicate", NOW)
    reopen_report(store, 1, ION, NOW)
    (found,) = list_reports(store, ("open",))
    assert (found.person, found.result, found.closed) == ("", "", None)
    assert check_trail(store, KEYS) == 3


def test_a_report_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeskError, match="there is no report 7"):
        read_queued(filled(tmp_path, {}), 7)


def test_words_go_after_their_time_and_from_the_bytes_of_the_file(tmp_path: Path) -> None:
    words = {"url": "https://zebra-1.example/", "note": "zebra-2", "found_via": "zebra-3", "contact": "zebra-4"}
    store = filled(tmp_path, words, {"note": "stays-open", "contact": "stays-too"})
    take_report(store, 1, ANA, NOW)
    close_report(store, 1, ANA, "listed", NOW)
    assert clear_closed(store, NOW + 30 * DAY) == 0
    assert clear_closed(store, NOW + 30 * DAY + 1) == 1
    assert clear_closed(store, NOW + 30 * DAY + 1) == 0
    report, contact, _ = read_queued(store, 1)
    assert (report.url, report.note, report.found_via, contact, report.cleared) == ("", "", "", "", True)
    assert b"zebra" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert read_queued(store, 2)[1] == "stays-too"
    assert count_reports(store, 0, NOW) == [
        ReportCount("csam_suspected", "closed", "listed", 1),
        ReportCount("csam_suspected", "open", "", 1),
    ]
    assert keep_report(store, received(make_id(1)), NOW) == "known"  # a late second try is still known
    assert check_trail(store, KEYS) == 2


def test_how_long_words_stay_can_be_set(tmp_path: Path) -> None:
    store = filled(tmp_path, {})
    take_report(store, 1, ANA, NOW)
    close_report(store, 1, ANA, "listed", NOW)
    assert read_keep_days(store) == 30
    set_keep_days(store, 5)
    assert read_keep_days(store) == 5
    assert clear_closed(store, NOW + 5 * DAY + 1) == 1
    for days in (0, -1, 3651):
        with pytest.raises(DeskError, match="between 1 and 3650"):
            set_keep_days(store, days)


def worked(folder: Path) -> ReportStore:
    """Three reports: one closed by Ana, one taken by Ion, one open."""
    store = filled(folder, {}, {}, {})
    take_report(store, 1, ANA, NOW)
    close_report(store, 1, ANA, "listed", NOW)
    take_report(store, 2, ION, NOW)
    assert check_trail(store, KEYS) == 3
    return store


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE trail SET person = 'ion' WHERE number = 2", "line 2 of the trail was changed"),
        ("UPDATE trail SET detail = 'not-illegal' WHERE number = 2", "line 2 of the trail was changed"),
        ("UPDATE trail SET at = at + 1 WHERE number = 1", "line 1 of the trail was changed"),
        ("UPDATE trail SET report = 3 WHERE number = 1", "line 1 of the trail was changed"),
        ("UPDATE trail SET action = 'reopen' WHERE number = 1", "line 1 of the trail was changed"),
        ("UPDATE trail SET hash = '00' WHERE number = 1", "line 1 of the trail was changed"),
        ("UPDATE trail SET signature = zeroblob(64) WHERE number = 3", "line 3 of the trail was not signed by ion"),
        ("DELETE FROM trail WHERE number = 2", "line 2 of the trail is missing"),
        ("DELETE FROM trail WHERE number = 3", "report 2 is taken ion , but nobody has signed that"),
        ("UPDATE reports SET result = 'other' WHERE number = 1", "report 1 is closed ana other"),
        ("UPDATE reports SET state = 'closed' WHERE number = 3", "report 3 is closed"),
        ("DELETE FROM reports WHERE number = 2", "about report 2, which is missing"),
    ],
)
def test_a_hand_in_the_file_is_found(tmp_path: Path, change: str, told: str) -> None:
    store = worked(tmp_path)
    with sqlite3.connect(store.path) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(change)
    connection.close()
    with pytest.raises(DeskError, match=told):
        check_trail(store, KEYS)


@pytest.mark.parametrize(
    "change",
    ["UPDATE trail SET at = 0", "DELETE FROM trail", "DELETE FROM reports", "DELETE FROM reports WHERE number = 3"],
)
def test_the_database_refuses_to_forget(tmp_path: Path, change: str) -> None:
    store = worked(tmp_path)
    connection = sqlite3.connect(store.path)
    with pytest.raises(sqlite3.IntegrityError, match=r"kept|stay"):
        connection.execute(change)
    connection.close()


def test_somebody_who_is_not_of_the_desk_signs_nothing(tmp_path: Path) -> None:
    with pytest.raises(DeskError, match="line 1 of the trail was not signed by ana"):
        check_trail(worked(tmp_path), {"ion": KEYS["ion"]})


def test_a_kill_leaves_the_report_whole_or_not_there(tmp_path: Path) -> None:
    """Killed at a random moment again and again: each report that was acknowledged is there afterwards."""
    script = """
import sys
from guardian.desk.report_store import ReportStore, keep_report
from tests.desk.reports import NOW, make_id, received
store = ReportStore(sys.argv[1])
for number in range(int(sys.argv[2]), 10**6):
    assert keep_report(store, received(make_id(number), note=f"words of {number}"), NOW) == "kept"
    print(number, flush=True)
"""
    known: set[int] = set()
    for round_ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), str(round_ * 1000)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(3 + round_):
            known.add(int(process.stdout.readline()))
        process.kill()
        known |= {int(line) for line in process.stdout.read().split("\n")[:-1]}
        process.wait()
        process.stdout.close()
    notes = {found.report_id: found.note for found in list_reports(ReportStore(str(tmp_path)))}
    assert {make_id(number) for number in known} <= set(notes)
    assert all(note == f"words of {int(report_id[-12:], 16)}" for report_id, note in notes.items())


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "reports.db").write_bytes(b"no database at all, but long enough to look at" * 40)
    with pytest.raises(DeskError, match=r"reports\.db: cannot be used"):
        list_reports(ReportStore(str(tmp_path)))
    with pytest.raises(DeskError, match="cannot be used: Not a directory"):
        list_reports(ReportStore(str(tmp_path / "reports.db" / "deeper")))


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    store = filled(tmp_path, {})
    connection = sqlite3.connect(store.path)
    connection.execute("INSERT INTO migrations VALUES (?, 'later', 0)", (MIGRATIONS[-1].version + 1,))
    connection.commit()
    connection.close()
    with pytest.raises(DeskError, match="newer Guardian"):
        list_reports(store)
