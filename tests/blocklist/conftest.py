"""The folder of real lists, which lies beside the checkout and is never committed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guardian.blocklist.compile import Source, compile_image


@pytest.fixture(scope="session")
def real_lists() -> Path:
    root = Path(os.environ.get("GUARDIAN_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    folder = root / "lists"
    if not folder.is_dir():
        pytest.skip(f"no real lists at {folder} (set GUARDIAN_DATA)")
    return folder


@pytest.fixture(scope="session")
def small_image() -> bytes:
    """An image with names, pages, an allow list and facts: every section holds something."""
    listed = b"".join(b"name%d.example.com\n" % number for number in range(300)) + b"1.2.3.4\n"
    sources = [
        Source("category:games", "names", lambda: listed, notes={"licence": "CC0"}),
        Source("category:games", "pages", lambda: b"example.org/games\nexample.org/x?y\nexample.net/\n"),
        Source("category:games", "but", lambda: b"name7.example.com\n", action="allow"),
        Source("helpline", "ready", names=(b"\x04help\x07example\x00",)),
    ]
    return compile_image(sources, bytes(range(16)), 1_700_000_000.0).to_bytes()
