"""When a clock is believed, what the time is until then, and what is written down for the next start."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian import clock
from guardian.clock import MARK_FILE, PATIENCE, RELEASED, TOLERANCE, ClockWatch, Doubt, Signs, State, find_doubt

DAY = 86400.0
NOW = RELEASED + 300 * DAY


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    clock.follow(State.SET, 0.0)


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> Steady:
    """A monotonic and a system clock that stand still until they are moved."""
    made = Steady()
    monkeypatch.setattr(clock.time, "monotonic", lambda: made.monotonic)
    monkeypatch.setattr(clock.time, "time", lambda: made.wall)
    return made


class Steady:
    monotonic = 50.0
    wall = NOW

    def pass_seconds(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds

    def signs(self, synchronized: bool | None = None, runs_without_power: bool = False) -> Signs:
        return Signs(self.wall, self.monotonic, synchronized, runs_without_power)


@pytest.mark.parametrize(
    ("signs", "newest", "expected"),
    [
        (Signs(NOW, 9e9, None, True), 0.0, None),
        (Signs(0.0, 9e9, None, True), 0.0, Doubt.BEFORE_RELEASE),
        (Signs(RELEASED - 1, 9e9, True, True), 0.0, Doubt.BEFORE_RELEASE),  # whatever anybody says
        (Signs(NOW, 9e9, None, True), NOW + TOLERANCE + 1, Doubt.BEFORE_KNOWN),
        (Signs(NOW, 9e9, None, True), NOW + TOLERANCE - 1, None),
        (Signs(NOW, 9e9, True, True), NOW + 9e9, None),  # what was written down is from a clock that ran ahead
        (Signs(NOW, 30.0, False, False), NOW - 60, Doubt.NOT_SET),
        (Signs(NOW, 30.0, True, False), NOW - 60, None),
        (Signs(NOW, 30.0, None, False), NOW - 60, None),  # nobody can tell
        (Signs(NOW, 30.0, False, True), NOW - 60, None),  # a battery
        (Signs(NOW, PATIENCE + 1, False, False), NOW - 60, None),
    ],
)
def test_why_a_clock_is_not_believed(signs: Signs, newest: float, expected: Doubt | None) -> None:
    assert find_doubt(signs, newest) is expected


@given(
    st.builds(Signs, st.floats(0, 5e9), st.floats(0, 1e8), st.sampled_from([True, False, None]), st.booleans()),
    st.floats(0, 5e9),
)
def test_no_time_before_the_release_is_ever_told(signs: Signs, newest: float) -> None:
    """The invariant: whatever the signs are, `tell_time` is never before the release nor before what was known."""
    watch = ClockWatch("/nonexistent", newest, signs)
    try:
        if watch.state is not State.SET:
            assert clock.tell_time() >= max(RELEASED, newest) - 1
            assert not clock.is_confirmed()
        else:
            assert signs.now >= RELEASED
    finally:
        clock.follow(State.SET, 0.0)


def test_a_box_that_starts_in_1970_goes_on_from_what_it_knows(tmp_path: Path, steady: Steady) -> None:
    steady.wall = 7.0
    watch = ClockWatch(str(tmp_path), NOW, steady.signs())
    assert (watch.state, watch.doubt) == (State.WAITING, Doubt.BEFORE_RELEASE)
    assert clock.tell_time() == NOW
    steady.pass_seconds(30)
    assert not watch.look(True, steady.signs())
    assert clock.tell_time() == NOW + 30
    steady.wall = NOW + 5 * DAY  # the time has come
    assert watch.look(True, steady.signs())
    assert (watch.state, watch.doubt) == (State.SET, None)
    assert clock.tell_time() == NOW + 5 * DAY
    assert clock.is_confirmed()
    assert not watch.look(True, steady.signs())


def test_the_time_is_missed_only_while_the_internet_works(tmp_path: Path, steady: Steady) -> None:
    steady.wall = 7.0
    watch = ClockWatch(str(tmp_path), NOW, steady.signs())
    for _ in range(2000):
        steady.pass_seconds(1)
        watch.look(False, steady.signs())
    assert watch.state is State.WAITING
    for _ in range(int(PATIENCE) - 1):
        steady.pass_seconds(1)
        watch.look(True, steady.signs())
    assert watch.state is State.WAITING
    steady.pass_seconds(1)
    assert watch.look(True, steady.signs())
    assert watch.state is State.BY_MEMORY
    assert clock.tell_time() == NOW + 2000 + PATIENCE
    assert not clock.is_confirmed()
    steady.wall = NOW + 9 * DAY
    assert watch.look(True, steady.signs())
    assert watch.state is State.SET


def test_by_memory_a_restart_loses_minutes_not_hours(tmp_path: Path, steady: Steady) -> None:
    """Whoever pulls the plug again and again gets no evening back: each start costs more than it brings."""
    steady.wall = 7.0
    watch = ClockWatch(str(tmp_path), NOW, steady.signs())
    for _ in range(int(PATIENCE) + 3600):
        steady.pass_seconds(1)
        watch.look(True, steady.signs())
    reached = clock.tell_time()
    assert reached == NOW + PATIENCE + 3600
    steady.monotonic, steady.wall = 1.0, 7.0  # the plug
    again = ClockWatch(str(tmp_path), 0.0, steady.signs())
    assert again.state is State.WAITING
    assert reached - clock.MARK_SECONDS_BY_MEMORY <= clock.tell_time() <= reached
    assert clock.MARK_SECONDS_BY_MEMORY < PATIENCE


def test_where_the_last_start_left_it_is_waited_for_the_internet(tmp_path: Path, steady: Steady) -> None:
    """OpenWrt and systemd start with a moment of the past that looks like any other."""
    watch = ClockWatch(str(tmp_path), NOW - 60, steady.signs(synchronized=False))
    assert (watch.state, watch.doubt) == (State.WAITING, Doubt.NOT_SET)
    steady.pass_seconds(5)
    assert not watch.look(True, steady.signs(synchronized=False))
    assert watch.look(True, steady.signs(synchronized=True))
    assert watch.state is State.SET


def test_a_step_is_somebody_who_knows_the_time(tmp_path: Path, steady: Steady) -> None:
    watch = ClockWatch(str(tmp_path), NOW - 60, steady.signs(synchronized=False))
    steady.pass_seconds(5)
    steady.wall += 7200
    assert watch.look(True, steady.signs(synchronized=False))
    assert watch.state is State.SET


def test_a_clock_that_is_set_back_to_the_beginning_is_believed_no_more(tmp_path: Path, steady: Steady) -> None:
    watch = ClockWatch(str(tmp_path), 0.0, steady.signs(runs_without_power=True))
    assert watch.state is State.SET
    steady.pass_seconds(100)
    steady.wall = 3.0
    assert watch.look(True, steady.signs(runs_without_power=True))
    assert watch.state is State.WAITING
    assert clock.tell_time() == NOW + 100
    steady.pass_seconds(10)
    assert clock.tell_time() == NOW + 110


def test_set_back_by_a_person_is_believed(tmp_path: Path, steady: Steady) -> None:
    watch = ClockWatch(str(tmp_path), 0.0, steady.signs(runs_without_power=True))
    steady.wall -= 200 * DAY
    assert watch.look(True, steady.signs(runs_without_power=True))
    assert watch.state is State.SET
    assert clock.tell_time() == NOW - 200 * DAY


def test_what_a_clock_that_ran_ahead_wrote_down_is_forgotten(tmp_path: Path, steady: Steady) -> None:
    mark = tmp_path / MARK_FILE
    mark.touch()
    os.utime(mark, (NOW + 900 * DAY, NOW + 900 * DAY))
    watch = ClockWatch(str(tmp_path), 0.0, steady.signs(synchronized=True))
    assert watch.state is State.SET
    watch.look(True, steady.signs(synchronized=True))
    assert os.stat(mark).st_mtime == NOW
    watch.close()
    assert ClockWatch(str(tmp_path), 0.0, steady.signs()).state is State.SET


def test_marks_are_seldom(tmp_path: Path, steady: Steady, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[float] = []
    mark = ClockWatch.mark
    monkeypatch.setattr(ClockWatch, "mark", lambda self: (written.append(steady.wall), mark(self)))
    watch = ClockWatch(str(tmp_path), 0.0, steady.signs(runs_without_power=True))
    for _ in range(24 * 60):
        steady.pass_seconds(60)
        watch.look(True, steady.signs(runs_without_power=True))
    assert len(written) == 24
    watch.close()
    assert os.stat(tmp_path / MARK_FILE).st_mtime == steady.wall


def test_a_disk_that_takes_no_mark_is_told_of_once(
    tmp_path: Path, steady: Steady, caplog: pytest.LogCaptureFixture
) -> None:
    watch = ClockWatch(str(tmp_path / "gone"), 0.0, steady.signs(runs_without_power=True))
    for _ in range(5):
        steady.pass_seconds(clock.MARK_SECONDS)
        watch.look(True, steady.signs(runs_without_power=True))
    watch.close()
    assert [record.message.split()[0] for record in caplog.records] == ["event=clock-not-marked"]


# What this machine says


def test_the_battery_is_a_clock_that_did_not_begin_anew(tmp_path: Path) -> None:
    assert not clock.has_battery_clock(str(tmp_path))
    for number, text in enumerate(["12345\n", "nonsense\n"]):
        folder = tmp_path / f"sys/class/rtc/rtc{number}"
        folder.mkdir(parents=True)
        (folder / "since_epoch").write_text(text)
    assert not clock.has_battery_clock(str(tmp_path))
    (tmp_path / "sys/class/rtc/rtc0/since_epoch").write_text(f"{int(NOW)}\n")
    assert clock.has_battery_clock(str(tmp_path))


def test_timesyncd_leaves_a_file_when_the_time_has_come(tmp_path: Path) -> None:
    folder = tmp_path / "run/systemd/timesync"
    folder.mkdir(parents=True)
    assert clock.read_synchronized(str(tmp_path)) is False
    (folder / "synchronized").touch()
    assert clock.read_synchronized(str(tmp_path)) is True


def test_the_kernel_tells_here(tmp_path: Path) -> None:
    assert clock.read_synchronized(str(tmp_path)) in (True, False, None)
    signs = clock.read_signs()
    assert abs(signs.now - time.time()) < 5
    assert signs.uptime >= time.monotonic() - 1
