"""Which names have a safe twin for a profile."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from guardian.names import parse_name
from guardian.policy.model import Catalogue, SafeSearch, YouTube
from guardian.policy.rewrite import rewrites_of

GOOGLE, YOUTUBE = parse_name("www.google.com"), parse_name("www.youtube.com")


@pytest.mark.parametrize(
    ("wish", "google", "youtube"),
    [
        (SafeSearch(), None, None),
        (SafeSearch(True, YouTube.OFF), "forcesafesearch.google.com", None),
        (SafeSearch(True, YouTube.STRICT), "forcesafesearch.google.com", "restrict.youtube.com"),
        (SafeSearch(False, YouTube.MODERATE), None, "restrictmoderate.youtube.com"),
    ],
)
def test_each_wish_has_its_names(
    parts: SimpleNamespace, wish: SafeSearch, google: str | None, youtube: str | None
) -> None:
    rewrites = rewrites_of(parts.catalogue, wish)
    for name, twin in ((GOOGLE, google), (YOUTUBE, youtube)):
        found = rewrites.get(name)
        assert (found and found.target) == (twin and parse_name(twin))


def test_a_missing_mode_becomes_another_and_a_twin_of_itself_is_left_alone() -> None:
    strict = parse_name("restrict.youtube.com")
    catalogue = Catalogue({}, {}, {GOOGLE: GOOGLE}, {YOUTUBE: {YouTube.STRICT: strict}}, {})
    rewrites = rewrites_of(catalogue, SafeSearch(True, YouTube.MODERATE))
    assert {name: rewrite.target for name, rewrite in rewrites.items()} == {YOUTUBE: strict}
