"""The feed's Makefiles, run by a stand-in of OpenWrt's build system, and what comes out: each file at its place."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

import guardian
from guardian.config import load_config
from tests.deploy.openwrt.buildroot import FEED, ROOT, SITE_PACKAGES, Buildroot, list_files, load_json
from tests.deploy.openwrt.python_split import PACKAGES
from tests.gateway.product import require

FILES = FEED / "guardian" / "files"
CODE = f"/{SITE_PACKAGES}/guardian"
PLACES = {
    "guardian.init": "/etc/init.d/guardian",
    "guardian.config": "/etc/config/guardian",
    "guardian.defaults": "/etc/uci-defaults/50_guardian",
    "guardian.hotplug": "/etc/hotplug.d/iface/90-guardian",
    "guardian.keep": "/lib/upgrade/keep.d/guardian",
    "capabilities-gateway.json": "/etc/capabilities/guardian-gateway.json",
    "capabilities-web.json": "/etc/capabilities/guardian-web.json",
    "seccomp.json": "/etc/seccomp/guardian.json",
    "dnsmasq-mode": "/usr/lib/guardian/dnsmasq-mode",
    "dns-watch": "/usr/lib/guardian/dns-watch",
    "find-interfaces": "/usr/lib/guardian/find-interfaces",
    "ubus-acl.json": "/usr/share/acl.d/guardian.json",
    "rpcd/guardian": "/usr/libexec/rpcd/guardian",
    "rpcd/acl.json": "/usr/share/rpcd/acl.d/guardian.json",
}
PROGRAMS = {
    name for name in PLACES if name in ("guardian.init", "guardian.defaults", "rpcd/guardian") or "." not in name
}
# What nft's words in our rules need of the kernel, by OpenWrt's package; firewall4 brings the first four.
KERNEL = {
    "kmod-nft-core": ("ct mark", "limit rate", "reject with", "meta mark", "type mark"),
    "kmod-nft-fib": ("fib saddr",),
    "kmod-nft-nat": ("redirect to", "dnat ip"),
    "kmod-nft-offload": ("flow add", "flowtable"),
    "kmod-nft-queue": ("queue ",),
}
OTHER_KERNEL = {  # words that would need a package that nobody brings yet
    "tproxy": "kmod-nft-tproxy", "socket ": "kmod-nft-socket", "table netdev": "kmod-nft-netdev",
    "table arp": "kmod-nft-arp", "table bridge": "kmod-nft-bridge",
}  # fmt: skip
FIREWALL4 = {"kmod-nft-core", "kmod-nft-fib", "kmod-nft-nat", "kmod-nft-offload", "nftables-json"}


def depends(built: Buildroot, package: str = "guardian") -> list[str]:
    return built.read_fields(package)["DEPENDS"].split()


def test_every_file_of_the_feed_is_installed_at_its_place(built: Buildroot) -> None:
    """A file that nobody installs is forgotten; a place that a script names and nobody fills does not work."""
    there = {str(path.relative_to(FILES)) for path in FILES.rglob("*") if path.is_file()}
    assert there == set(PLACES)
    root = built.files("guardian")
    for name, place in PLACES.items():
        assert (root / place.lstrip("/")).read_bytes() == (FILES / name).read_bytes(), name
        assert os.access(root / place.lstrip("/"), os.X_OK) == (name in PROGRAMS), name


def test_the_places_that_scripts_name_are_filled(built: Buildroot) -> None:
    installed = set(list_files(built.files("guardian")))
    named = set()
    for name in PLACES:
        text = (FILES / name).read_text()
        text = text.replace("$LIBRARY", "/usr/lib/guardian").replace("$PROGRAM", "/usr/bin/guardian")
        text = text.replace("guardian-$1.json", "guardian-gateway.json")
        named |= set(
            re.findall(r"(?<![\w$}])(/(?:usr/lib/guardian|usr/bin|etc/capabilities|etc/seccomp)/[\w.-]+)", text)
        )
    ours = {path for path in named if "guardian" in path}
    assert "/usr/bin/guardian" in ours and "/usr/lib/guardian/dnsmasq-mode" in ours
    assert ours <= installed


def test_the_package_holds_the_whole_product_and_nothing_else(built: Buildroot) -> None:
    root = built.files("guardian")
    installed = set(list_files(root))
    for path in (ROOT / "guardian").rglob("*.py"):
        name = str(path.relative_to(ROOT / "guardian").with_suffix(".pyc"))
        is_desk = name.startswith(("desk/", "cli/hotline/"))
        assert (f"{CODE}/{name}" in installed) != is_desk, name
    for folder, inside in ((ROOT / "guardian", CODE), (ROOT / "blocklists", f"{CODE}/blocklists")):
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc", ".gz"):
                assert f"{inside}/{path.relative_to(folder)}" in installed, path
    others = {path for path in installed if not path.startswith((f"{CODE}/", "/usr/lib/guardian/bundled/"))}
    assert others == {*PLACES.values(), "/usr/bin/guardian"}
    assert not [path for path in installed if "__pycache__" in path and "/anyio/" not in path]
    launcher = (root / "usr/bin/guardian").read_text()
    assert launcher.startswith("#!/usr/bin/python3 -I\n") and len(launcher.splitlines()) == 2


def test_the_two_packages_share_no_file(built: Buildroot) -> None:
    """opkg and apk refuse a file that another package owns."""
    both = set(list_files(built.files("guardian"))) & set(list_files(built.files("guardian-notify")))
    assert not both


def test_version_names_and_scripts(built: Buildroot) -> None:
    fields = built.read_fields("guardian")
    assert fields["PKG_VERSION"] == guardian.__version__
    assert re.fullmatch(r"[0-9]+(\.[0-9]+)*", fields["PKG_VERSION"]), "apk takes digits and dots only"
    assert fields["PKGARCH"] == "all" and fields["USERID"] == "guardian=1353:guardian=1353"
    assert built.read_script("guardian", "conffiles") == "/etc/config/guardian"
    assert len(fields["TITLE"]) <= 60
    for script in ("postinst", "postrm"):
        text = built.read_script("guardian", script)
        assert text.startswith('#!/bin/sh\n[ -z "${IPKG_INSTROOT}" ] || exit 0\n'), "an image is built elsewhere"
        check_shell(text)


def check_shell(text: str) -> None:
    for words in (["busybox", "ash", "-n"], ["sh", "-n"]):
        if shutil.which(words[0]):
            done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", sorted(FEED.rglob("test.sh")), ids=lambda path: str(path.relative_to(FEED)))
def test_the_checks_of_installed_packages_are_sound(script: Path) -> None:
    assert os.access(script, os.X_OK) and script.read_text().startswith("#!/bin/sh\n")
    check_shell(script.read_text())
    require("shellcheck")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_settings_that_are_installed_are_valid(built: Buildroot, tmp_path: Path) -> None:
    shutil.copy(built.files("guardian") / "etc/config/guardian", tmp_path / "guardian")
    config = load_config(str(tmp_path / "guardian"))
    assert config.state == "/etc/guardian" and config.filter.enabled


def test_downloads_are_pinned_and_come_from_the_build_systems_mirror(built: Buildroot, wheels: Path) -> None:
    downloads = built.read_downloads()
    assert {name for name, _, _ in downloads} == {path.name for path in wheels.iterdir()}
    for name, digest, address in downloads:
        assert hashlib.sha256((wheels / name).read_bytes()).hexdigest() == digest
        project = name.partition("-")[0]
        assert address == f"https://wheels.invalid/packages/py3/{project[0]}/{project}"


def test_the_kernel_modules_cover_the_rules(built: Buildroot) -> None:
    ruleset = (ROOT / "guardian" / "filter" / "ruleset.py").read_text()
    there = {word.removeprefix("+") for word in depends(built)}
    assert "firewall4" in there
    for package, words in KERNEL.items():
        if any(word in ruleset for word in words):
            assert package in there | FIREWALL4, f"{package}: {words}"
    for word, package in OTHER_KERNEL.items():
        assert word not in ruleset or package in there, package
    assert "kmod-nf-conntrack-netlink" in there, "running flows are judged again through ctnetlink"


def test_dependencies_are_names_of_packages(built: Buildroot) -> None:
    for word in depends(built) + depends(built, "guardian-notify"):
        assert re.fullmatch(r"[+@][A-Za-z0-9!_:-]+", word), word
    python = {word[1:] for word in depends(built) if word.startswith("+python3-")}
    assert python <= {*PACKAGES, "python3-light", "python3-yaml", "python3-msgspec"}
    assert "netfilterqueue" not in " ".join(depends(built)), "ADR 11: the filter speaks netlink itself"


# What goes wrong


def test_outside_of_its_tree_the_feed_says_what_to_do(feed_copy: Path, tmp_path: Path, wheels: Path) -> None:
    shutil.rmtree(feed_copy.parents[1] / "guardian")
    root = Buildroot(tmp_path / "top", feed_copy)
    root.add_downloads(wheels)
    done = root.make("guardian", "guardian")
    assert done.returncode != 0 and "use src-link or src-git of the whole" in done.stderr
    assert root.read_fields("guardian")["PKG_VERSION"] == "0", "the index of the feed is made all the same"


def test_without_pages_the_build_says_what_to_do(feed_copy: Path, tmp_path: Path, wheels: Path) -> None:
    shutil.rmtree(feed_copy.parents[1] / "guardian" / "web" / "static")
    root = Buildroot(tmp_path / "top", feed_copy)
    root.add_downloads(wheels)
    done = root.make("guardian", "guardian")
    assert done.returncode != 0 and "scripts/build-webui" in done.stderr


def test_a_tree_with_links_is_left_as_it_is(feed_copy: Path, tmp_path: Path, wheels: Path) -> None:
    """What the package leaves out (the desk) is taken out of a copy, never out of what a link leads to."""
    tree = feed_copy.parents[1]
    for name in ("guardian", "blocklists"):
        (tree / name).rename(tmp_path / name)
        (tree / name).symlink_to(tmp_path / name)
    before = list_files(tmp_path / "guardian") + list_files(tmp_path / "blocklists")
    root = Buildroot(tmp_path / "top", feed_copy)
    root.add_downloads(wheels)
    done = root.make("guardian", "guardian")
    assert done.returncode == 0, done.stderr
    assert list_files(tmp_path / "guardian") + list_files(tmp_path / "blocklists") == before
    assert not (root.files("guardian") / CODE.lstrip("/") / "desk").exists()
    assert (root.files("guardian") / CODE.lstrip("/") / "blocklists" / "starter.yaml").is_file()


def test_a_missing_file_ends_the_build(feed_copy: Path, tmp_path: Path, wheels: Path) -> None:
    (feed_copy / "guardian" / "files" / "seccomp.json").unlink()
    root = Buildroot(tmp_path / "top", feed_copy)
    root.add_downloads(wheels)
    assert root.make("guardian", "guardian").returncode != 0


def test_another_wheel_ends_the_build(feed_copy: Path, tmp_path: Path, wheels: Path) -> None:
    root = Buildroot(tmp_path / "top", feed_copy)
    root.add_downloads(wheels)
    (wheel,) = (root.top / "dl").glob("h11-*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    done = root.make("guardian", "guardian")
    assert done.returncode != 0 and "its SHA-256 is not the one" in done.stderr


# The other packages


def test_msgspecs_makefile_bends_its_pyproject_for_old_setuptools(feed_copy: Path, tmp_path: Path) -> None:
    """24.10's setuptools knows no SPDX licence; the recipe is run on the text as msgspec ships it."""
    root = Buildroot(tmp_path / "top", feed_copy)
    text = (
        '[build-system]\nrequires = [\n  "setuptools>=80",\n  "setuptools-scm>=8",\n]\n\n[project]\nname = "msgspec"\n'
        'license = "BSD-3-Clause"\nlicense-files = [\n  "LICENSE",\n]\nrequires-python = ">=3.10"\n'
    )
    with tarfile.open(root.top / "dl" / "msgspec-0.22.0.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("msgspec-0.22.0/pyproject.toml")
        info.size = len(text.encode())
        archive.addfile(info, io.BytesIO(text.encode()))
    done = root.make("python3-msgspec", "prepared")
    assert done.returncode == 0, done.stderr
    (made,) = root.top.glob("build_dir/pypi/msgspec-*/pyproject.toml")
    assert made.read_text() == (
        '[build-system]\nrequires = [\n  "setuptools",\n  "setuptools-scm",\n]\n\n[project]\nname = "msgspec"\n'
        'license = { text = "BSD-3-Clause" }\nrequires-python = ">=3.10"\n'
    )
    fields = root.read_fields("python3-msgspec")
    assert fields["PKG_SOURCE"] == "msgspec-0.22.0.tar.gz" and re.fullmatch("[0-9a-f]{64}", fields["PKG_HASH"])
    from importlib.metadata import version

    assert fields["PKG_VERSION"] == version("msgspec"), "the version that the tests run with"


def test_luci_app_is_named_for_its_package(tmp_path: Path) -> None:
    text = (FEED / "luci-app-guardian" / "Makefile").read_text()
    assert "LUCI_DEPENDS:=+luci-base +guardian\n" in text
    assert text.rstrip().endswith("# call BuildPackage - OpenWrt buildroot signature"), "the feed's scan looks for it"
    assert "include $(TOPDIR)/feeds/luci/luci.mk" in text


@pytest.mark.parametrize("path", sorted(FEED.rglob("*.json")), ids=lambda path: str(path.relative_to(FEED)))
def test_json_files_are_json(path: Path) -> None:
    assert isinstance(load_json(path), dict)


def test_time_zones_of_the_browsers_around_are_known_on_a_router(built: Buildroot) -> None:
    """OpenWrt has no zone database; the first visit brings the name of the browser's zone."""
    assert {"+zoneinfo-core", "+zoneinfo-europe"} <= set(depends(built))
