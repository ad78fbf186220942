"""The documents tell the truth: tests, commands, texts and files that they name are there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from guardian.policy.model import FOREVER, Action, Decision, Reason
from guardian.resolver.answer import explain

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
CONFORMANCE = ROOT / "docs" / "conformance.md"
_TEST = re.compile(r"`(tests/[\w/.]+\.py)::(\w+)`")
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
_CODE = re.compile(r"```.*?```", re.DOTALL)
_NEVER_BLOCKED = {Reason.HELPLINE, Reason.SAFE_SEARCH, Reason.DEFAULT}
# The RFCs that the first half of the product promises to follow.
_PROMISED = [1034, 1035, 2181, 2308, 3597, 4035, 5358, 6761, 6762, 6840, 6891, 7686, 7766, 7858, 7871, 7873, 8020]
_PROMISED += [8109, 8375, 8482, 8484, 8767, 8914, 9460, 9520]


@cache
def read_tests(path: str) -> frozenset[str]:
    file = ROOT / path
    if not file.exists():
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_and_files_that_a_document_names_are_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    missing = [f"{path}::{name}" for path, name in _TEST.findall(text) if name not in read_tests(path)]
    missing += [link for link in _LINK.findall(_CODE.sub("", text)) if not (document.parent / link).exists()]
    assert not missing, f"{document.name} names what is not there: {missing}"


def test_every_row_of_the_conformance_table_has_its_test() -> None:
    rows = 0
    section = ""
    for line in CONFORMANCE.read_text(encoding="utf-8").splitlines():
        section = line[3:] if line.startswith("## ") else section
        if not line.startswith("| ") or section == "Extended DNS Errors" or line.startswith(("| RFC |", "| section |")):
            continue
        rows += 1
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 3, line
        assert _TEST.search(cells[2]), line
    assert rows > 40


@pytest.mark.parametrize("number", _PROMISED)
def test_every_promised_rfc_is_told(number: int) -> None:
    assert re.search(rf"\b{number}\b", CONFORMANCE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "reason", [r for r in Reason if r not in (Reason.HELPLINE, Reason.SAFE_SEARCH, Reason.DEFAULT)]
)
def test_every_text_that_a_client_is_told_is_documented(reason: Reason) -> None:
    placeholder = "LABEL" if reason is Reason.SCHEDULE else "NAME"
    text = explain(Decision(Action.BLOCK, reason, f"{reason.value}:{placeholder}", FOREVER))
    told = CONFORMANCE.read_text(encoding="utf-8") + (ROOT / "docs" / "block-page.md").read_text(encoding="utf-8")
    assert f"`{text}`" in told


def test_every_command_is_in_the_documents() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "guardian", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    commands = re.findall(r"^  ([a-z]+)  +\S", done.stdout, re.MULTILINE)
    assert {"run", "gateway", "check", "explain", "lists"} <= set(commands)
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    missing = [
        command for command in commands if not re.search(rf"guardian {command}\b|`[a-z ]*\b{command}\b[a-z ]*`", text)
    ]
    assert not missing, f"no document speaks of these commands: {missing}"
