"""The packages that came with Guardian: where a router's or Debian's packages lack them, ours bring them along.

They stand behind the standard library and before what else is installed: a library of the system's, years older, that
some other package brought must not end up in the console.
"""

from __future__ import annotations

import os
import sys

ROUTER_FOLDER = "/usr/lib/guardian/bundled"
_SYSTEM = "/usr/lib/"
_INSTALLED = ("site-packages", "dist-packages")


def find_bundled() -> str | None:
    """Return the folder of bundled packages, None where there is none: a checkout, a virtual environment, a wheel.

    It lies beside this package (Debian: /usr/lib/guardian/{guardian,bundled}), or at its fixed place on a router, where
    this package lies in the system's site-packages.
    """
    parent = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = [os.path.join(parent, "bundled")] if os.path.basename(parent) not in _INSTALLED else []
    if parent.startswith(_SYSTEM):
        folders.append(ROUTER_FOLDER)
    return next((folder for folder in folders if os.path.isdir(folder)), None)


def add_bundled(path: list[str] | None = None) -> None:
    """Let imports find the bundled packages, once. `path` is `sys.path`."""
    path = sys.path if path is None else path
    folder = find_bundled()
    if folder is None or folder in path:
        return
    installed = (index for index, entry in enumerate(path) if os.path.basename(entry) in _INSTALLED)
    path.insert(next(installed, len(path)), folder)
