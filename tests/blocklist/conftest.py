"""The folder of real lists, which lies beside the checkout and is never committed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_lists() -> Path:
    root = Path(os.environ.get("GUARDIAN_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    folder = root / "lists"
    if not folder.is_dir():
        pytest.skip(f"no real lists at {folder} (set GUARDIAN_DATA)")
    return folder
