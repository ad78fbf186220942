"""The gate between two rings: what makes it stop, and that nothing else does."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.cli.health import NOT_RUNNING, SCHEMA, make_health

SCRIPT = Path(__file__).parents[3] / "deploy" / "isp" / "gate.py"
_spec = importlib.util.spec_from_file_location("gate", SCRIPT)
assert _spec is not None and _spec.loader is not None
gate: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gate)
SHARES = st.integers(0, 40)


def box(*problems: str, running: bool = True, version: str = "0.2.0", private_kb: int = 30_000) -> dict[str, Any]:
    """The health of a box, as the product makes it, with what counts here set."""
    health = make_health(None, None, 2e9, NOT_RUNNING)
    health["gateway"] = health["gateway"] | {"version": version if running else "", "private_kb": private_kb}
    return health | {"running": running, "problems": list(problems)}


def write(path: Path, boxes: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(each) + "\n" for each in boxes))
    return str(path)


def decide(folder: Path, boxes: list[dict[str, Any]], *words: str, asked: int | None = None) -> int:
    ring = write(folder / "ring", boxes)
    count = str(len(boxes) if asked is None else asked)
    code: int = gate.main([ring, "--asked", count, "--version", "0.2.0", *words])
    return code


def test_the_shape_is_the_products() -> None:
    assert gate.SCHEMA == SCHEMA


def test_a_ring_that_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert decide(tmp_path, [box()] * 199 + [box("lists-old")]) == 0
    assert capsys.readouterr().out == "200 of 200 boxes answered; lists-old 1\ngo on\n"


@pytest.mark.parametrize(
    ("bad", "good", "asked", "words"),
    [
        ([], 190, 200, "10 of 200 boxes did not answer"),
        ([box("gateway-down", running=False)] * 2, 198, 200, "2 gateways do not run"),
        ([box(version="0.1.0")] * 11, 189, 200, "189 of 200 boxes run 0.2.0"),
        ([box("upstreams-down")] * 3, 197, 200, "upstreams-down on 3 boxes (1.5%, 0.0% before)"),
        ([box(private_kb=60_000)] * 11, 189, 200, "one gateway in twenty needs 58 MB or more"),
        ([], 19, 19, "19 boxes say nothing"),
    ],
)
def test_what_stops_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: list[dict[str, Any]], good: int, asked: int, words: str
) -> None:
    assert decide(tmp_path, bad + [box()] * good, asked=asked) == 1
    said = capsys.readouterr().out
    assert f"stop: {words}" in said and "go on" not in said


def test_what_was_there_before_is_not_the_new_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = [box("feed-stale")] * 40 + [box()] * 160
    before = write(tmp_path / "before", [box("feed-stale", version="0.1.0")] * 40 + [box(version="0.1.0")] * 160)
    assert decide(tmp_path, boxes) == 1 and "feed-stale on 40 boxes (20.0%, 0.0% before)" in capsys.readouterr().out
    assert decide(tmp_path, boxes, "--before", before) == 0
    assert decide(tmp_path, [*boxes[:-9], *[box("feed-stale")] * 9], "--before", before) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [("{}", 1), ("\n[]", 2), ("half", 1), ('{"schema": 2}', 1), ("null", 1), ('{"schema": 1, "running": true}', 1)],
)
def test_files_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, line: int) -> None:
    (tmp_path / "ring").write_text(text)
    assert gate.main([str(tmp_path / "ring"), "--asked", "1", "--version", "1"]) == 2
    assert f"{tmp_path}/ring:{line}: this is no health of a box" in capsys.readouterr().err
    assert gate.main([str(tmp_path / "none"), "--asked", "1", "--version", "1"]) == 2


@given(bad=SHARES, more=st.integers(1, 40))
def test_more_trouble_never_opens_it(bad: int, more: int) -> None:
    """The invariant: a ring that stops does not go on when another box of it is broken."""

    def stops(count: int) -> list[str]:
        boxes = [box("filter-behind")] * count + [box()] * (100 - count)
        ring = gate.Ring(
            [{"running": True, "version": "0.2.0", "private_kb": 1, "problems": b["problems"]} for b in boxes]
        )
        return list(gate.find_stops(ring, 100, "0.2.0", None))

    if stops(bad):
        assert stops(bad + more)
