"""Whose helplines to show."""

from __future__ import annotations

import pytest

from guardian.blockpage.facts import country_of
from guardian.catalogue import load_catalogue


@pytest.mark.parametrize(
    ("timezone", "country"),
    [("Europe/Chisinau", "md"), ("Europe/Bucharest", "ro"), ("Europe/Kyiv", "ua"), ("EET-2EEST", ""), ("", "")],
)
def test_country_of_a_time_zone(timezone: str, country: str) -> None:
    assert country_of(timezone) == country
    assert not country or country in {line.country for line in load_catalogue(names=False).helplines}
