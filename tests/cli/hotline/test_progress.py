"""The line that is shown while slow keys are worked out."""

from __future__ import annotations

import time

import pytest

from guardian.cli.hotline.progress import KeyProgress


def test_short_work_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with KeyProgress() as progress:
        progress.show("default", 1, 2, 3.0)
    assert capsys.readouterr().err == ""


def test_long_work_shows_how_long(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 3.0, 4.0, 40.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with KeyProgress() as progress:
        progress.show("default", 1000, 100_000, 3600.0)
        progress.show("default", 1001, 100_000, 3600.0)  # a second later: no second line in a log
        progress.show("isp-one", 99_999, 100_000, 7.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "1,000 of 100,000, 60 minutes left" in lines[0]
    assert "isp-one" in lines[1]
    assert "7 seconds" in lines[1]
