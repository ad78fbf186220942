"""The running console against its own OpenAPI document: schemathesis sends what the document allows and what it does
not, and looks whether the answers are the ones that are promised.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian.web.api import ENDPOINTS
from guardian.web.routing import PREFIX
from guardian.web.security import COOKIE
from tests.gateway.product import environment
from tests.web.product import Served, console

# A signed-in parent stays one: what could end the session comes last, against a console that is thrown away.
ENDING = {("DELETE", "/session"), ("DELETE", "/accounts/{account}"), ("POST", "/factory-reset")}
ENDLESS = {("GET", "/events")}
EXAMPLES = 20
SECONDS = 240

SETTINGS = """\
suppress-health-check = ["all"]
[generation]
deterministic = true
database = "none"
[checks]
# 422: what no schema can say, such as two windows that overlap or a zone that is none. 503: no gateway for an errand.
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429", "503"]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]
# There is no page of ours behind a path with a wrong parameter: 404 for each.
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "405", "409", "413", "415", "422", "429"]
"""


@pytest.fixture
def thrown_away(tmp_path: Path) -> Iterator[Served]:
    with console(tmp_path) as running:
        yield running


def run_schemathesis(served: Served, chosen: set[tuple[str, str]], folder: Path, more: str = "") -> str:
    """Run it as the parent on some calls; return what it printed. Fails with that when it found something."""
    session = f'[auth.openapi.session]\napi_key = "{served.parent.http.cookies[COOKIE]}"\n'
    (folder / "schemathesis.toml").write_text(SETTINGS + session + more)
    names = "|".join(re.escape(f"{method} {PREFIX}{path}") for method, path in sorted(chosen))
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml"), "run",
        f"{served.base}{PREFIX}/openapi.json", "--url", served.base, "--no-color",
        "--header", f"X-CSRF-Token: {served.parent.csrf}",
        "--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1", "--continue-on-failure",
        "--include-name-regex", f"^({names})$", "--workers", "2", "--request-timeout", "20",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=folder, env=environment()
    )
    assert done.returncode == 0, done.stdout[-30000:] + done.stderr[-3000:]
    return done.stdout


def test_answers_are_those_of_the_document(served: Served, tmp_path: Path) -> None:
    chosen = {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS} - ENDING - ENDLESS
    printed = run_schemathesis(served, chosen, tmp_path)
    assert re.search(rf"\b{len(chosen)} (passed|selected)|Selected: {len(chosen)}/", printed), printed
    session = served.get("/session")  # the parent is signed in; their device may have become a child's meanwhile
    assert session.status_code == 200 or session.json()["code"] == "child-device", session.text
    assert "event=bug" not in served.web_log()


def test_things_that_are_there(thrown_away: Served, tmp_path: Path) -> None:
    """The same on a child and a device that exist, so that the calls get to their real work."""
    inner = {
        (endpoint.method, endpoint.path)
        for endpoint in ENDPOINTS
        if endpoint.method != "DELETE" and ("{profile}" in endpoint.path or "{device}" in endpoint.path)
    }
    assert len(inner) >= 8
    there = '[parameters]\n"path.profile" = "ana"\n"path.device" = "tablet"\n'
    run_schemathesis(thrown_away, inner, tmp_path, there)
    profiles = {profile["id"] for profile in thrown_away.get("/household").json()["profiles"]}
    assert "ana" in profiles and thrown_away.get("/home").status_code == 200
    assert "event=bug" not in thrown_away.web_log()


def test_calls_that_end_something(thrown_away: Served, tmp_path: Path) -> None:
    run_schemathesis(thrown_away, ENDING, tmp_path)
    assert "event=bug" not in thrown_away.web_log()
