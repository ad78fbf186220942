"""What our code and the bundle import: all of it is on a router, and nothing asks for what bytecode does not have."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.openwrt.buildroot import ROOT, Buildroot
from tests.deploy.openwrt.python_split import PACKAGES, absent_modules, package_of, with_dependencies
from tests.deploy.openwrt.router_root import RouterRoot, why_not

PACKAGE = ROOT / "guardian"
NOT_ON_ROUTERS = (PACKAGE / "desk", PACKAGE / "cli" / "hotline")
FROM_FEEDS = {"yaml", "msgspec", "guardian"}
OPTIONAL = {"apprise"}  # guardian-notify


def ours() -> list[Path]:
    """The sources that are on routers."""
    return sorted(path for path in PACKAGE.rglob("*.py") if not any(path.is_relative_to(one) for one in NOT_ON_ROUTERS))


def python_packages(built: Buildroot, package: str = "guardian") -> list[str]:
    return [word[1:] for word in built.read_fields(package)["DEPENDS"].split() if word.startswith("+python3-")]


class _Imports(ast.NodeVisitor):
    """Collects what a source imports wherever it does; not for type checkers only."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.names |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module and not node.level:
            self.names.add(node.module)


def imports_of(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    for path in paths:
        visitor = _Imports()
        visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
        yield from ((path, name) for name in sorted(visitor.names))


@pytest.fixture(scope="module")
def bundle(built: Buildroot) -> Path:
    """The bundle as sources."""
    return next((built.top / "build_dir").glob("guardian-*")) / "bundled"


def test_our_code_imports_only_what_a_router_has(built: Buildroot, bundle: Path) -> None:
    bundled = {path.stem for path in bundle.iterdir()}
    there = bundled | FROM_FEEDS | OPTIONAL | (set(sys.stdlib_module_names) - absent_modules(python_packages(built)))
    missing = [
        f"{path.relative_to(ROOT)}: {name}" for path, name in imports_of(ours()) if name.split(".")[0] not in there
    ]
    assert not missing, missing


def test_what_our_code_imports_brings_nothing_else(built: Buildroot, tmp_path: Path) -> None:
    """Modules import modules: each that our code names, also deep in a function, is loaded on a router's root."""
    if reason := why_not():
        pytest.skip(reason)
    root = RouterRoot(tmp_path / "root", [built.files("guardian")], python_packages(built))
    named = {name for _, name in imports_of(ours()) if name.split(".")[0] in sys.stdlib_module_names}
    assert {"asyncio", "sqlite3", "ctypes", "http.client", "email.utils"} <= named
    script = (
        f"import importlib, sys; [importlib.import_module(name) for name in {sorted(named)!r}]; print(*sys.modules)"
    )
    done = root.run("/usr/bin/python3", "-I", "-c", script)
    assert done.returncode == 0, done.stderr
    there = with_dependencies([*python_packages(built), "python3-light"])
    assert {package_of(name) for name in done.stdout.split()} <= there


@pytest.mark.parametrize(
    "package", sorted({"python3-ctypes", "python3-decimal", "python3-email", "python3-uuid", "python3-codecs"})
)
def test_the_root_lacks_what_is_not_depended_on(built: Buildroot, package: str) -> None:
    """So that the tests above can fail: without the package its modules are away."""
    without = [name for name in python_packages(built) if name != package]
    gone = absent_modules(without)
    if package != "python3-email":  # urllib brings it
        assert set(PACKAGES[package]) <= gone
    assert "asyncio" not in gone and "xml" in gone and "multiprocessing" in gone


def test_no_code_of_ours_reads_sources() -> None:
    """`inspect.getsource` and friends, a search for `*.py`, a version from a distribution's metadata."""
    wrong = []
    for path in ours():
        text = path.read_text(encoding="utf-8")
        for word in ("getsource", "findsource", "linecache", "importlib.metadata", "pkg_resources", "*.py", '".py"'):
            if word in text:
                wrong.append(f"{path.relative_to(ROOT)}: {word}")
    assert not wrong, wrong


def test_the_bundle_reads_sources_only_where_they_are_kept(bundle: Path) -> None:
    found = {
        str(path.relative_to(bundle))
        for path in bundle.rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in ("getsource", "findsource", "metadata.version("))
    }
    # anyio's lazy importer reads the two files that scripts/bundle-openwrt keeps as source.
    assert found == {"anyio/_lazyimport.py"}
    users = {
        str(path.relative_to(bundle)) for path in bundle.rglob("*.py") if "install_lazy_importer()" in path.read_text()
    }
    assert users - {"anyio/_lazyimport.py"} == {"anyio/__init__.py", "anyio/abc/__init__.py"}


def test_no_bundled_package_has_a_name_of_the_standard_library(bundle: Path) -> None:
    """It would be shadowed: the standard library comes first."""
    assert not {path.stem for path in bundle.iterdir()} & set(sys.stdlib_module_names)


def test_the_gateway_imports_nothing_of_the_bundle(bundle: Path) -> None:
    script = "import sys, guardian.cli.gateway, guardian.gateway, guardian.filter.engine; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    bundled = {path.stem for path in bundle.iterdir()} | {"msgspec"}
    assert not {name.split(".")[0] for name in done.stdout.split()} & bundled
