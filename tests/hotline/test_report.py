"""The report of a sync as a file: what is saved is loaded, whole or not at all, and what is broken is told."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.errors import ListError
from guardian.hotline.report import SourceReport, SourceState, SyncReport, format_report, load_report, save_report

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, 2**40)
moments = st.floats(0, 1e11)
sources = st.builds(
    SourceReport,
    id=texts,
    tags=st.lists(texts, max_size=2).map(tuple),
    state=st.sampled_from(SourceState),
    reason=texts,
    url=texts,
    licence=texts,
    entries=counts,
    size=counts,
    fetched=moments,
    checked=moments,
    dropped=st.lists(texts, max_size=2).map(tuple),
    etag=texts,
    last_modified=texts,
)
reports = st.builds(SyncReport, st.lists(sources, max_size=3).map(tuple), moments, texts, counts, counts, counts)
BETS = SourceReport("bets", ("category:gambling",), SourceState.OK, entries=100)
REPORT = SyncReport((BETS,), finished=1_790_000_000.0, image="/state/lists/guardian.image", names=100)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(report=reports)
def test_what_is_saved_is_loaded(tmp_path: Path, report: SyncReport) -> None:
    path = tmp_path / "state.json"
    save_report(path, report)
    assert load_report(path) == report
    assert os.listdir(tmp_path) == ["state.json"]


def test_before_the_first_sync_there_is_none(tmp_path: Path) -> None:
    assert load_report(tmp_path / "state.json") is None


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save_report(path, REPORT)
    with pytest.raises(TypeError):
        save_report(path, replace(REPORT, image=b"no text"))  # type: ignore[arg-type]
    assert load_report(path) == REPORT
    save_report(path, replace(REPORT, names=7))  # over what the failed one left
    assert load_report(path) == replace(REPORT, names=7)
    assert os.listdir(tmp_path) == ["state.json"]


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.pop("sources"),
        lambda made: made.update(sources=5),
        lambda made: made.update(sources=[5]),
        lambda made: made.update(unknown=1),
        lambda made: made["sources"][0].pop("id"),
        lambda made: made["sources"][0].pop("tags"),
        lambda made: made["sources"][0].update(state="well"),
        lambda made: made["sources"][0].update(colour="red"),
        lambda made: made["sources"][0].update(dropped=None),
    ],
)
def test_a_report_of_another_shape_is_told_with_its_path(tmp_path: Path, change: object) -> None:
    made = format_report(REPORT)
    change(made)  # type: ignore[operator]
    path = tmp_path / "state.json"
    path.write_text(json.dumps(made))
    with pytest.raises(ListError, match=r"state\.json: this is no report of a sync"):
        load_report(path)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_report_is_told_with_its_path(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(data)
    with pytest.raises(ListError, match=r"state\.json: this is no report of a sync"):
        load_report(path)


def test_a_file_that_cannot_be_read_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="Is a directory"):
        load_report(tmp_path)


def test_a_gap_is_a_list_without_any_copy() -> None:
    old_copy = replace(BETS, state=SourceState.FAILED)
    refused = replace(BETS, id="ads", state=SourceState.REFUSED)
    assert not SyncReport(()).has_gaps
    assert not SyncReport((BETS, old_copy, refused)).has_gaps
    assert SyncReport((BETS, replace(refused, entries=0))).has_gaps
    assert not replace(refused, entries=0).is_usable and refused.is_usable


def test_programs_read_the_same_words_as_the_next_sync(tmp_path: Path) -> None:
    """`guardian sync --json` prints what `format_report` makes."""
    source = replace(BETS, reason="недоступно", dropped=("apple.com",))
    save_report(tmp_path / "state.json", replace(REPORT, sources=(source,)))
    text = (tmp_path / "state.json").read_text("utf-8")
    assert "недоступно" in text  # people read it as well
    read = json.loads(text)
    assert read == json.loads(json.dumps(format_report(replace(REPORT, sources=(source,)))))
    assert (read["sources"][0]["state"], read["sources"][0]["dropped"]) == ("ok", ["apple.com"])
    assert math.isclose(read["finished"], REPORT.finished)


@pytest.mark.parametrize(("key", "value"), [("entries", "many"), ("fetched", None), ("url", 5), ("size", True)])
def test_a_report_of_the_right_shape_with_wrong_values_is_refused(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "state.json"
    save_report(path, SyncReport((SourceReport("bets", ("category:gambling",), SourceState.OK),), 5.0))
    made = json.loads(path.read_text())
    made["sources"][0][key] = value
    path.write_text(json.dumps(made))
    with pytest.raises(ListError, match=f"no report of a sync: '{key}'"):
        load_report(path)
