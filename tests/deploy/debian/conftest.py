"""A package built from this checkout, and machines that it is installed on."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.debian.container import CACHE, Container, machine, prepare_base, require
from tests.deploy.debian.document import read_sections, type_section
from tests.deploy.debian.street import PI, ROUTER_ADDRESS, Street, street

ROOT = Path(__file__).parents[3]
MADE_OF = ("guardian", "blocklists", "deploy", "docs", "examples", "scripts", "pyproject.toml", "README.md")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("vm") and not os.environ.get("GUARDIAN_VM"):
            item.add_marker(pytest.mark.skip(reason="takes two minutes: scripts/test --vm"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A failed test shows the machine's journal."""
    report = yield
    for value in getattr(item, "funcargs", {}).values() if report.failed else ():
        if isinstance(value, Container):
            report.sections.append(("journal of the machine", value.log()[-8000:]))
    return report


def _name_sources() -> str:
    """Return a name for what the package is made of: the same sources make the same package."""
    digest = hashlib.sha256()
    for top in MADE_OF:
        path = ROOT / top
        files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
        for file in files:
            if "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)} {file.stat().st_mode:o}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .deb of this checkout, built anew when anything in it has changed. GUARDIAN_DEB names a ready one."""
    require()
    if ready := os.environ.get("GUARDIAN_DEB"):
        return Path(ready)
    for program in ("dpkg-buildpackage", "dh", "pybuild", "python3-config"):
        if shutil.which(program) is None:
            pytest.skip(f"needs the program '{program}' to build the package (scripts/setup test)")
    kept = CACHE / "packages" / _name_sources()
    found = sorted(kept.glob("guardian_*.deb"))
    if not found:
        out = tmp_path_factory.mktemp("package")
        done = subprocess.run([ROOT / "scripts" / "build-deb", out], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-4000:]
        shutil.rmtree(kept.parent, ignore_errors=True)  # the one before is of other sources
        kept = CACHE / "packages" / _name_sources()  # the build has made the console's pages anew, perhaps
        shutil.copytree(out, kept)
        found = sorted(kept.glob("guardian_*.deb"))
    (deb,) = found
    return deb


@pytest.fixture(scope="session")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same package as a higher version."""
    tree = tmp_path_factory.mktemp("newer") / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    for path, before, after in (
        ("DEBIAN/control", "Version: 0.1.0", "Version: 0.2.0"),
        ("usr/lib/guardian/guardian/__init__.py", '"0.1.0"', '"0.2.0"'),
    ):
        text = (tree / path).read_text()
        assert before in text, path
        (tree / path).write_text(text.replace(before, after))
    made = tree.with_name("guardian_0.2.0.deb")
    subprocess.run(["dpkg-deb", "-Znone", "--build", tree, made], check=True, capture_output=True)
    return made


@pytest.fixture(scope="session")
def base() -> Path:
    """The disk of a bare machine."""
    require()
    return prepare_base()


def lay_certificate(made: Container, road: Street) -> None:
    """Let the machine know the authority of the internet's resolver, and who it asks for names."""
    authorities = made.root / "usr/local/share/ca-certificates"
    authorities.mkdir(parents=True, exist_ok=True)
    road.authority.cert_pem.write_to_path(str(authorities / "lab.crt"))
    (made.root / "etc/resolv.conf").write_text(f"nameserver {ROUTER_ADDRESS}\n")


def start(made: Container, road: Street) -> None:
    """Boot a machine and plug it in."""
    lay_certificate(made, road)
    made.boot()
    road.connect()
    made.run("update-ca-certificates")


@pytest.fixture(scope="session")
def installed(base: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What installing leaves on the disk of a bare machine: the document's words, typed. A layer over `base`."""
    folder = tmp_path_factory.mktemp("installed")
    with street(folder / "street") as road, machine("gd-install", PI, [base], folder / "machine", boot=False) as made:
        shutil.copy(package, made.root / "home/pi")
        start(made, road)
        # This machine's kernel may have no `queue` of nft; then the filter uses that of iptables.
        made.run("DEBIAN_FRONTEND=noninteractive apt-get -qq install -y iptables >/dev/null")
        assert resolves(made), "the bare machine has no names"
        type_section(made, road, read_sections()["Install"])
        assert resolves(made), "installing took the machine's names away"
        assert not made.run("ss -Hlntu 'sport = :53'").stdout, (
            "something listens on port 53 before anybody asked for it"
        )
        made.run("sync; rm -f /home/pi/guardian_*.deb")
        written = made.written
        layer = folder / "layer"
        subprocess.run(["cp", "-a", written, layer], check=True)
    (layer / "etc/machine-id").unlink(missing_ok=True)
    yield layer
    shutil.rmtree(layer)


def resolves(made: Container) -> bool:
    """Tell whether the machine itself gets names."""
    return not made.run("getent hosts example.com", check=False).returncode
