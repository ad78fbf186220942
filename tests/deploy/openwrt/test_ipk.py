"""A package file as opkg installs it, made by hand, and what the feed's own check says of it on a router's root."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

import guardian
from tests.deploy.openwrt.buildroot import FEED, Buildroot, list_files
from tests.deploy.openwrt.router_root import RouterRoot, why_not


def depends(built: Buildroot, package: str = "guardian") -> list[str]:
    return built.read_fields(package)["DEPENDS"].split()


def make_ipk(built: Buildroot, package: str) -> bytes:
    """Return what opkg installs: a tar of three files, two of them tars (OpenWrt's ipkg-build)."""
    fields = built.read_fields(package)
    names = ", ".join(word[1:] for word in depends(built, package) if word.startswith("+"))
    control = (
        f"Package: {package}\nVersion: {fields['PKG_VERSION']}-r{fields['PKG_RELEASE']}\nDepends: libc, {names}\n"
        f"License: {fields['PKG_LICENSE']}\nSection: {fields['SECTION']}\nArchitecture: all\n"
        f"Require-User: {fields['USERID']}\n"
    )
    scripts = {"control": control, "conffiles": built.read_script(package, "conffiles") + "\n"}
    scripts |= {"postinst-pkg": built.read_script(package, "postinst"), "postrm": built.read_script(package, "postrm")}
    parts = {"./debian-binary": b"2.0\n", "./data.tar.gz": pack_folder(built.files(package))}
    parts["./control.tar.gz"] = pack({f"./{name}": text.encode() for name, text in scripts.items()})
    return pack(parts)


def pack(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755 if name.startswith("./post") else 0o644
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(made.getvalue(), 6, mtime=0)


def pack_folder(folder: Path) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(folder, ".", filter=own_by_root)
    return gzip.compress(made.getvalue(), 6, mtime=0)


def own_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = "root"
    return info


def test_a_package_file_is_unpacked_by_busybox_and_passes_its_own_check(built: Buildroot, tmp_path: Path) -> None:
    """Unpacked by busybox's tar, as opkg does, into a root where the feed's test.sh runs under busybox's ash."""
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not there: apt-get install busybox")
    if reason := why_not():
        pytest.skip(reason)
    ipk = tmp_path / "guardian.ipk"
    ipk.write_bytes(make_ipk(built, "guardian"))
    unpacked, control = tmp_path / "unpacked", tmp_path / "control"
    for folder in (unpacked, control):
        folder.mkdir()
    unpack = 'busybox tar -xzOf "$1" ./data.tar.gz | busybox tar -xzf - -C "$2"'
    subprocess.run(["sh", "-ec", unpack, "sh", ipk, unpacked], check=True)
    subprocess.run(["sh", "-ec", unpack.replace("data", "control"), "sh", ipk, control], check=True)
    assert list_files(unpacked) == list_files(built.files("guardian"))
    assert "Require-User: guardian=1353:guardian=1353\n" in (control / "control").read_text()

    python = [word[1:] for word in depends(built) if word.startswith("+python3-")]
    root = RouterRoot(tmp_path / "root", [unpacked], python)
    root.add_busybox()
    shutil.copytree(FEED / "guardian", root.folder / "ci" / "guardian", ignore=shutil.ignore_patterns("files"))
    done = root.run("/bin/sh", "/ci/guardian/test.sh", "guardian", guardian.__version__)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"guardian {guardian.__version__} works\n")
    wrong = root.run("/bin/sh", "/ci/guardian/test.sh", "guardian", "9.9")
    assert wrong.returncode == 1 and "instead of version 9.9" in wrong.stderr
