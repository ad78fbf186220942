"""Where the starter data lies, and the names that people may try."""

from __future__ import annotations

import os

MANDATORY_TEST = "mandatory:test"


def find_data() -> str:
    """Return the folder of the starter data: inside the installed package, or beside it in a checkout."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    packaged = os.path.join(here, "blocklists")
    return packaged if os.path.isdir(packaged) else os.path.join(os.path.dirname(here), "blocklists")


def make_test_name(tag: str) -> str:
    """Return the harmless name that anybody may look up to see a tag at work: `category-adult.guardian.test`."""
    words = "mandatory" if tag == MANDATORY_TEST else tag.replace(":", "-").replace("_", "-")
    return f"{words}.guardian.test"
