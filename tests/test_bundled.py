"""Bundled packages: found where an installation has them, behind the standard library, before what else is there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from guardian import bundled

STDLIB = "/usr/lib/python3.11"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose `/usr/lib` is a folder of the test."""
    monkeypatch.setattr(bundled, "_SYSTEM", f"{tmp_path}/usr/lib/")
    monkeypatch.setattr(bundled, "ROUTER_FOLDER", f"{tmp_path}/usr/lib/guardian/bundled")
    return tmp_path / "usr" / "lib"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "guardian").mkdir(parents=True)
    monkeypatch.setattr(bundled, "__file__", str(folder / "guardian" / "bundled.pyc"))


def test_a_checkout_has_none() -> None:
    assert bundled.find_bundled() is None
    path = [STDLIB, "/x/site-packages"]
    bundled.add_bundled(path)
    assert path == [STDLIB, "/x/site-packages"]


def test_a_router_has_it_at_its_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(place / "python3.11" / "site-packages", monkeypatch)
    assert bundled.find_bundled() is None, "the package without the folder"
    (place / "guardian" / "bundled").mkdir(parents=True)
    assert bundled.find_bundled() == str(place / "guardian" / "bundled")


def test_debian_has_it_beside_the_package(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(place / "guardian", monkeypatch)
    (place / "guardian" / "bundled").mkdir()
    assert bundled.find_bundled() == str(place / "guardian" / "bundled")


def test_a_virtual_environment_takes_nothing_of_the_system(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor a folder `bundled` in its own site-packages: that is somebody else's package."""
    (place / "guardian" / "bundled").mkdir(parents=True)
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    install(packages, monkeypatch)
    (packages / "bundled").mkdir()
    assert bundled.find_bundled() is None


@pytest.mark.parametrize("last", ["site-packages", "dist-packages"])
def test_it_stands_behind_the_standard_library_and_before_what_else_is_installed(
    place: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    install(place / "python3.11" / "site-packages", monkeypatch)
    folder = place / "guardian" / "bundled"
    folder.mkdir(parents=True)
    path = ["/usr/bin", STDLIB, f"{STDLIB}/lib-dynload", f"{STDLIB}/{last}", "/opt/more"]
    bundled.add_bundled(path)
    bundled.add_bundled(path)
    assert path == ["/usr/bin", STDLIB, f"{STDLIB}/lib-dynload", str(folder), f"{STDLIB}/{last}", "/opt/more"]
    alone = [STDLIB]
    bundled.add_bundled(alone)
    assert alone == [STDLIB, str(folder)]


def test_the_process_itself_gets_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(place / "guardian", monkeypatch)
    folder = place / "guardian" / "bundled"
    folder.mkdir()
    (folder / "only_in_the_bundle_of_a_test.py").write_text("HERE = True\n")
    path = list(sys.path)
    monkeypatch.setattr("sys.path", path)
    bundled.add_bundled()
    import only_in_the_bundle_of_a_test  # type: ignore[import-not-found]

    assert only_in_the_bundle_of_a_test.HERE
