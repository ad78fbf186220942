from __future__ import annotations

import pytest

from guardian.blocklist.entry import Example
from guardian.blocklist.facts import SourceFacts, format_facts, parse_facts
from guardian.errors import ListError


def test_facts_come_back_as_they_were() -> None:
    facts = SourceFacts(
        "ut1", "category:games", "block", "domains", 9, 8, 7, {"address": 1}, {"address": [Example(3, "1.2.3.4")]},
        {"url": "https://lists.example/x", "licence": "CC BY-SA 4.0", "fetched": 1.5, "signed": False},
    )  # fmt: skip
    assert parse_facts(format_facts([facts, facts])) == (facts, facts)


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"[{}]", b'[{"examples":[[1]]}]', b"\xff", b"[" * 100_000])
def test_broken_facts_are_one_error(data: bytes) -> None:
    with pytest.raises(ListError):
        parse_facts(data)
