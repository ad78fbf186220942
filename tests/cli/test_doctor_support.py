"""`guardian doctor --support`: codes and counts. No sentence of a finding leaves the home, whatever it says."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.cli.doctor_machine import FAIL, OK, WARN, Finding
from guardian.cli.doctor_support import CHECKS, OTHER, make_report, name_check
from tests.gateway.product import Running, running

ROOT = Path(__file__).parents[2]
HEALTH_SCHEMA = json.loads((ROOT / "deploy" / "isp" / "health.schema.json").read_text())


def test_counts() -> None:
    findings = [
        Finding("upstream", OK, "tls://ana@192.0.2.1 answers"), Finding("upstream", FAIL, "secret", "do secret"),
        Finding("port 53/udp", FAIL, "192.0.2.9 is taken by ana (process 7)"), Finding("port 80/tcp", OK, "free"),
        Finding("time zone", WARN, "Mars/Ana"), Finding("of ana's tablet", FAIL, "secret"),
    ]  # fmt: skip
    report = make_report(findings, {"state": "ok"})
    assert report == {
        "schema": 1, "ok": False, "health": {"state": "ok"},
        "findings": [
            {"code": "other", "ok": 0, "warn": 0, "fail": 1}, {"code": "port", "ok": 1, "warn": 0, "fail": 1},
            {"code": "time-zone", "ok": 0, "warn": 1, "fail": 0}, {"code": "upstream", "ok": 1, "warn": 0, "fail": 1},
        ],
    }  # fmt: skip
    assert make_report([Finding("lists", WARN, "old")], {})["ok"]


@given(check=st.text() | st.text().map(lambda text: f"port {text}"), message=st.text(min_size=20))
def test_whatever_a_check_is_called_only_known_words_leave(check: str, message: str) -> None:
    report = make_report([Finding(check, FAIL, message, message)], {})
    (found,) = report["findings"]
    assert found["code"] in CHECKS | {OTHER} and set(found) == {"code", "ok", "warn", "fail"}


def list_words() -> set[str]:
    """The words of all checks, from the source: the first argument of each Finding, and what `check` is set to."""
    words = set()
    for path in (ROOT / "guardian" / "cli").glob("doctor*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            value: ast.expr | None = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                value = node.args[0]
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("check", "CHECK"):
                value = node.value
            if isinstance(value, ast.Constant):
                words.add(str(value.value))
            elif isinstance(value, ast.JoinedStr):
                words.add("".join(str(part.value) for part in value.values if isinstance(part, ast.Constant)))
    return words


def test_every_check_has_its_word_and_the_document_tells_it() -> None:
    words = list_words()
    assert len(words) > 20 and {name_check(word) for word in words} == CHECKS
    told = (ROOT / "docs" / "isp.md").read_text(encoding="utf-8")
    assert [code for code in sorted(CHECKS) if f"`{code}`" not in told] == []


SECRETS = ("ana", "mihai", "tablet", "secret", "192.0.2", "127.0.0", "02:00:5e", "chisinau", "/tmp", "example")


@pytest.fixture
def household() -> dict[str, object]:
    return {
        "timezone": "Europe/Chisinau",
        "profiles": {"ana": {"name": "Ana Secret", "age": "10-12", "offline": []}},
        "devices": {"tablet": {"name": "Tablet of Mihai", "profile": "ana", "macs": ["02:00:5e:10:00:01"]}},
    }


def test_a_real_home(tmp_path: Path, household: dict[str, object]) -> None:
    settings = {"upstreams": {"servers": ["127.0.0.1:1"]}}
    with running(tmp_path, settings, household) as gateway:
        done = gateway.run("doctor", "--support")
        plain = gateway.run("doctor", "--json").stdout.lower()
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr, report["ok"]) == (1, "", False)  # its upstream is nobody
    jsonschema_rs.validate(HEALTH_SCHEMA, report["health"])
    assert {"code": "upstream", "ok": 0, "warn": 0, "fail": 1} in report["findings"]
    assert "127.0.0.1" in plain and "chisinau" in plain
    assert [secret for secret in SECRETS if secret in done.stdout.lower()] == []


def test_settings_and_a_household_with_names_in_their_mistakes(tmp_path: Path, household: dict[str, object]) -> None:
    gateway = Running(tmp_path, {"upstreams": {"servers": ["127.0.0.1:1"]}}, household | {"secret of ana": 1})
    done = gateway.run("doctor", "--support")
    assert {"code": "household", "ok": 0, "warn": 0, "fail": 1} in json.loads(done.stdout)["findings"]
    assert [secret for secret in SECRETS if secret in done.stdout.lower()] == []
    gateway.config.write_text("secret of ana: 1\n")
    done = gateway.run("doctor", "--support")
    report = json.loads(done.stdout)
    assert report["health"]["problems"] == ["settings-broken"] and not report["ok"]
    assert [secret for secret in SECRETS if secret in done.stdout.lower()] == []
