"""`docs/api.md` tells the truth: its examples run, its tables have every call in its scope, and every code."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from guardian.web.access import ALL_SCOPES
from guardian.web.api import ENDPOINTS
from guardian.web.routing import CHILD, PUBLIC
from tests.gateway.product import ROOT, require
from tests.web.product import Served

DOCUMENT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
PEOPLE = "people"
_HEADS = {
    "Public: no key.": PUBLIC,
    "For devices of the home, no key; the address tells which device it is:": CHILD,
    "For signed-in people only:": PEOPLE,
} | {f"`{scope}`:": scope for scope in ALL_SCOPES}


def told_calls() -> dict[str, str]:
    """The calls of the tables, with the scope above each."""
    scope, found = "", {}
    for line in DOCUMENT.split("## Calls")[1].split("\n## ")[0].splitlines():
        scope = _HEADS.get(line, scope)
        if call := re.match(r"\| `([A-Z]+ /\S+)` \|", line):
            found[call[1]] = scope
    return found


def test_every_call_is_told_with_its_scope() -> None:
    real = {
        f"{endpoint.method} {endpoint.path}": PEOPLE
        if endpoint.people_only or endpoint.scope == "accounts"
        else endpoint.scope
        for endpoint in ENDPOINTS
    }
    assert told_calls() == real


def test_every_code_is_told_with_its_status() -> None:
    sources = "\n".join(
        file.read_text(encoding="utf-8")
        for file in (ROOT / "guardian" / "web").rglob("*.py")
        if "shapes" not in file.parts
    )
    real = set(re.findall(r'\b(?:RefusalError|Problem)\(\s*(\d{3}),\s*"([a-z-]+)"', sources))
    assert len(real) > 30
    told = {
        (status, code)
        for statuses, codes in re.findall(r"^\| ([\d, ]+) \| (`[^|]+`) \|", DOCUMENT, re.MULTILINE)
        for status in statuses.split(", ")
        for code in re.findall(r"`([a-z-]+)`", codes)
    }
    assert real - told == set()
    assert {code for _, code in told} == {code for _, code in real}


def test_the_examples_run(served: Served, tmp_path: Path) -> None:
    require("bash", "curl", "python3")
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    asked = served.child().post("/child/requests", {"kind": "site", "site": "www.tiktok.com"})
    assert (asked.status_code, asked.json()["id"]) == (201, 1)
    scopes = ["status", "read", "requests", "control", "manage"]
    token = served.post("/tokens", {"name": "The provider's app", "scopes": scopes}).json()["secret"]
    # Else an error of HTTP would look like an answer.
    script = 'set -euo pipefail\ncurl() { command curl --fail-with-body "$@"; }\n' + "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "BOX": served.base, "TOKEN": token},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ana = next(each for each in served.get("/household").json()["profiles"] if each["id"] == "ana")
    assert "scratch.mit.edu" in {rule["pattern"] for rule in ana["rules"]}
    assert ana["bonuses"][0]["minutes"] == 30 and ana["pause"] is None
    answered = served.get("/requests").json()["requests"][0]
    assert (answered["state"], answered["note"]) == ("granted", "Have fun!")
    assert "event:" in done.stdout or "retry:" in done.stdout
