"""The floors of the house hold: imports go down only, pure code stays pure, the gateway stays small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "guardian"
FLOORS = {
    "errors": 0, "names": 0, "versions": 0, "__init__": 0,
    "wire": 1, "blocklist": 1, "policy": 1,
    "typed_yaml": 2, "config": 2, "catalogue": 2, "messages": 2, "neighbors": 2, "leases": 2, "devices": 2, "store": 2,
    "home": 2, "interfaces": 2, "links": 2, "rtnetlink": 2, "makers": 2, "feed": 2, "allocator": 2, "small_asyncio": 2,
    "supervisor": 2, "clock": 2, "bundled": 2,
    "resolver": 3, "filter": 3, "hotline": 3, "desk": 3,
    "control": 4, "blockpage": 4,
    "gateway": 5, "web": 5, "cli": 5, "__main__": 5,
}  # fmt: skip
PURE_FLOORS = (0, 1)
SEPARATE_FLOORS = (1, 3)  # siblings there never import each other
IMPURE = {
    "asyncio", "socket", "ssl", "os", "subprocess", "sqlite3", "time", "random", "secrets", "threading", "urllib",
    "http", "pathlib", "logging",
}  # fmt: skip
PURE_MODULES = ("resolver/answer.py", "resolver/cache.py", "resolver/local.py")
FORBIDDEN = {"web": ("resolver", "filter", "wire")}
AT_START = {"yaml", "_yaml", "guardian"}  # besides the standard library; yaml's C part brings cython's runtime


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.lineno, node.module or ""
            if node.module == "guardian":
                for alias in node.names:
                    yield node.lineno, f"guardian.{alias.name}"


def unit_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_imports_go_down_only() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        unit = unit_of(path)
        for line, name in imports_of(path):
            parts = name.split(".")
            if parts[0] != "guardian" or len(parts) < 2 or parts[1] not in FLOORS or parts[1] == unit:
                continue
            other = parts[1]
            where = f"{path.relative_to(ROOT)}:{line}: {unit} imports {other}"
            if FLOORS[other] > FLOORS[unit]:
                wrong.append(f"{where}, which is above it")
            if FLOORS[other] == FLOORS[unit] and FLOORS[unit] in SEPARATE_FLOORS:
                wrong.append(f"{where}, its sibling")
            if other in FORBIDDEN.get(unit, ()):
                wrong.append(f"{where}, which it may not know")
    assert not wrong, "\n".join(wrong)


def test_every_unit_has_a_floor() -> None:
    units = {unit_of(path) for path in PACKAGE.rglob("*.py")}
    assert units <= set(FLOORS)


def test_pure_code_touches_no_world() -> None:
    wrong = []
    pure = [path for path in PACKAGE.rglob("*.py") if FLOORS[unit_of(path)] in PURE_FLOORS]
    for path in (*pure, *(PACKAGE / name for name in PURE_MODULES)):
        wrong += [
            f"{path.relative_to(ROOT)}:{line}: pure code imports {name}"
            for line, name in imports_of(path)
            if name.split(".")[0] in IMPURE
        ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", ["guardian.gateway", "guardian.cli.gateway"])
def test_the_gateway_starts_with_the_standard_library_and_yaml(module: str) -> None:
    script = f"import sys; before = set(sys.modules); import {module}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stdout.split() if "cython" not in name}
    assert loaded - set(sys.stdlib_module_names) <= AT_START


def test_tests_mirror_the_package() -> None:
    missing = []
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        if path.name in ("__init__.py", "__main__.py") or not path.read_text(encoding="utf-8").count("def "):
            continue
        if not (ROOT / "tests" / inside.parent / f"test_{path.name}").exists():
            missing.append(str(inside))
    assert not missing, f"sources without a test file of their own: {missing}"
