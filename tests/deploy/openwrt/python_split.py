"""How OpenWrt splits Python's standard library into packages, as facts: what of it is not in python3-light.

From the files lang/python/python3/files/python3-package-*.mk of the packages feed (24.10 to main). What is named
nowhere here is in python3-base or python3-light.
"""

from __future__ import annotations

from collections.abc import Iterable

# Package -> its modules at the top level, compiled ones too.
PACKAGES: dict[str, tuple[str, ...]] = {
    "python3-asyncio": ("asyncio",),
    "python3-cgi": ("cgi",),
    "python3-cgitb": ("cgitb",),
    "python3-codecs": (
        "_codecs_cn", "_codecs_hk", "_codecs_iso2022", "_codecs_jp", "_codecs_kr", "_codecs_tw", "unicodedata",
    ),
    "python3-ctypes": ("ctypes", "_ctypes"),
    "python3-dbm": ("dbm", "_dbm", "_gdbm"),
    "python3-decimal": ("decimal", "_decimal", "_pydecimal"),
    "python3-distutils": ("distutils",),
    "python3-email": ("email",),
    "python3-lib2to3": ("lib2to3",),
    "python3-logging": ("logging",),
    "python3-lzma": ("lzma", "_lzma"),
    "python3-multiprocessing": ("multiprocessing", "_multiprocessing"),
    "python3-ncurses": ("curses", "_curses", "_curses_panel"),
    "python3-openssl": ("_hashlib", "_ssl"),
    "python3-pydoc": ("doctest", "pydoc", "pydoc_data"),
    "python3-readline": ("readline",),
    "python3-sqlite3": ("sqlite3", "_sqlite3"),
    "python3-unittest": ("unittest",),
    "python3-urllib": ("urllib",),
    "python3-uuid": ("uuid", "_uuid"),
    "python3-venv": ("ensurepip", "venv"),
    "python3-webbrowser": ("webbrowser",),
    "python3-xml": ("xml", "xmlrpc", "_elementtree", "pyexpat"),
}  # fmt: skip
NEEDED_BY = {"python3-urllib": ("python3-email",)}  # what a package brings along
NOWHERE = ("idlelib", "test", "tkinter", "turtle", "turtledemo", "_tkinter", "pip", "setuptools", "pkg_resources")


def with_dependencies(packages: Iterable[str]) -> set[str]:
    """Return packages and what they bring along."""
    wanted = set(packages)
    return wanted | {more for package in wanted for more in NEEDED_BY.get(package, ())}


def absent_modules(packages: Iterable[str]) -> set[str]:
    """Return the standard library's modules that a router with python3-light and `packages` lacks."""
    there = with_dependencies(packages)
    missing = {module for package, modules in PACKAGES.items() if package not in there for module in modules}
    return missing | set(NOWHERE)


def package_of(module: str) -> str:
    """Return the package that holds a module of the standard library, given by its full name."""
    top = module.partition(".")[0]
    return next((package for package, modules in PACKAGES.items() if top in modules), "python3-light")
