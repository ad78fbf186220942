"""A stand-in for OpenWrt's build system: enough of its make rules, in our own words, to run a feed's Makefile for real.

As there, the recipes are expanded twice, files are installed by `$(INSTALL_DIR)` and the like, and downloads are asked
for by name, file and hash. What is downloaded there is laid into `dl/` here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
FEED = ROOT / "deploy" / "openwrt"
SITE_PACKAGES = f"usr/lib/python3.{sys.version_info.minor}/site-packages"

_RULES = """\
INCLUDE_DIR:=$(TOPDIR)/include
DL_DIR:=$(TOPDIR)/dl
BUILD_DIR:=$(TOPDIR)/build_dir
STAGING_DIR:=$(TOPDIR)/staging_dir
INSTALL_DIR:=install -d -m0755
INSTALL_BIN:=install -m0755
INSTALL_DATA:=install -m0644
INSTALL_CONF:=install -m0600
CP:=cp -fpR
FIND:=find
SED:=sed -i -e
"""
_PACKAGE = r"""
PKG_BUILD_DIR?=$(BUILD_DIR)/$(PKG_NAME)-$(PKG_VERSION)
define Download
$(eval $(Download/$(1)))
$(file >>$(TOPDIR)/downloads,$(FILE) $(HASH) $(URL))
endef
define Build/Prepare/Default
tar -xzf $(DL_DIR)/$(PKG_SOURCE) -C $(PKG_BUILD_DIR) --strip-components=1
endef
define fields
$(foreach field,TITLE DEPENDS USERID PKGARCH SECTION CATEGORY URL,$(file >>$(TOPDIR)/fields,$(1)|$(field)|$($(field))))
$(foreach field,NAME VERSION RELEASE LICENSE MAINTAINER HASH SOURCE SOURCE_URL,\
	$(file >>$(TOPDIR)/fields,$(1)|PKG_$(field)|$(PKG_$(field))))
$(foreach script,conffiles description preinst postinst prerm postrm,\
	$(file >$(TOPDIR)/$(1).$(script),$(Package/$(1)/$(script))))
endef
define BuildPackage
$(eval TITLE:=)$(eval DEPENDS:=)$(eval USERID:=)$(eval PKGARCH:=)$(eval URL:=)
$(eval $(Package/$(1)))
$(call fields,$(1))
$(1): prepared
	rm -rf $(TOPDIR)/ipkg/$(1)
	mkdir -p $(TOPDIR)/ipkg/$(1)
	$(call Package/$(1)/install,$$(TOPDIR)/ipkg/$(1))
endef
define CoreTargets
prepared:
	rm -rf $(PKG_BUILD_DIR)
	mkdir -p $(PKG_BUILD_DIR)
	$(Build/Prepare)
	$(Build/Compile)
endef
.DEFAULT_GOAL:=all
all: prepared
.PHONY: prepared all
"""
_PYPI = """\
ifneq ($(strip $(PYPI_NAME)),)
  PKG_SOURCE?=$(PYPI_NAME)-$(PKG_VERSION).tar.gz
  PKG_SOURCE_URL?=https://wheels.invalid/packages/source/$(shell printf %.1s $(PYPI_NAME))/$(PYPI_NAME)
  PKG_BUILD_DIR:=$(BUILD_DIR)/pypi/$(PYPI_NAME)-$(PKG_VERSION)
endif
"""
_PYTHON = f"""\
HOST_PYTHON3_BIN:={sys.executable}
PYTHON3_PKG_DIR:=/{SITE_PACKAGES}
define Py3Package
endef
"""


class Buildroot:
    """One `TOPDIR`. `make` a package of the feed; then its files are in `files(name)`, and its fields in `fields`."""

    def __init__(self, folder: Path, feed: Path = FEED) -> None:
        self.top, self._feed = folder, feed
        python = folder / "feeds" / "packages" / "lang" / "python"
        for place in (folder / "include", folder / "dl", python):
            place.mkdir(parents=True)
        (folder / "rules.mk").write_text(_RULES)
        (folder / "include" / "package.mk").write_text(_PACKAGE)
        (python / "pypi.mk").write_text(_PYPI)
        (python / "python3-package.mk").write_text(_PYTHON)

    def add_downloads(self, wheels: Path) -> None:
        """Put files where the build system keeps what it has fetched."""
        for path in wheels.iterdir():
            shutil.copy(path, self.top / "dl")

    def make(self, folder: str, *targets: str) -> subprocess.CompletedProcess[str]:
        """Run make in a package's folder, as the build system does: with nothing of our environment."""
        for name in ("downloads", "fields"):
            (self.top / name).unlink(missing_ok=True)
        return subprocess.run(
            ["make", "-C", str(self._feed / folder), "--no-print-directory", f"TOPDIR={self.top}",
             "-f", "Makefile", "-f", str(self._core()), *targets],
            capture_output=True, text=True, check=False, timeout=120,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    def _core(self) -> Path:
        """The rules that come behind the Makefile: what is built is known then."""
        core = self.top / "core.mk"
        core.write_text("$(eval $(call CoreTargets))\n")
        return core

    def read_fields(self, package: str) -> dict[str, str]:
        """Return what the Makefile says of a package, white space made one."""
        lines = (line.split("|", 2) for line in (self.top / "fields").read_text().replace("\t", " ").splitlines())
        return {words[1]: " ".join(words[2].split()) for words in lines if len(words) == 3 and words[0] == package}

    def read_downloads(self) -> list[tuple[str, str, str]]:
        """Return what the Makefile wants to have fetched: file, hash, address."""
        lines = (self.top / "downloads").read_text().splitlines()
        return [(words[0], words[1], words[2]) for words in (line.split() for line in lines)]

    def read_script(self, package: str, script: str) -> str:
        """Return a maintainer script or list of a package ("" when it has none)."""
        return (self.top / f"{package}.{script}").read_text().strip()

    def files(self, package: str) -> Path:
        """Return the root of what a package installs."""
        return self.top / "ipkg" / package


def list_files(root: Path) -> list[str]:
    """Return the paths of all files and links below a root, with a leading slash."""
    return sorted(f"/{path.relative_to(root)}" for path in root.rglob("*") if not path.is_dir() or path.is_symlink())


def find_wheels(tmp: Path, *lists: str) -> Path:
    """Fetch the wheels of the feed's lists through pip; return their folder. Raises what pip says."""
    folder = tmp / "wheels"
    for name in lists:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps", "--dest", folder,
             "--only-binary=:all:", "--platform", "any", "--implementation", "py", "--abi", "none", "-r",
             FEED / "guardian" / name],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
    return folder


def load_json(path: Path) -> Any:
    """Return what a JSON file of the feed holds."""
    return json.loads(path.read_text(encoding="utf-8"))
