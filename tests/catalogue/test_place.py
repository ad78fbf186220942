"""The names that people may try, and where the starter data lies."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from guardian.catalogue import place


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("category:adult", "category-adult.guardian.test"),
        ("category:social_networks", "category-social-networks.guardian.test"),
        ("helpline", "helpline.guardian.test"),
        (place.MANDATORY_TEST, "mandatory.guardian.test"),
        ("mandatory:national", "mandatory-national.guardian.test"),
    ],
)
def test_a_tag_has_a_harmless_name(tag: str, name: str) -> None:
    assert place.make_test_name(tag) == name


def test_installed_data_is_taken_before_that_of_a_checkout(tmp_path: Path) -> None:
    package = tmp_path / "guardian"
    (package / "catalogue").mkdir(parents=True)
    copy = shutil.copy(place.__file__, package / "catalogue")
    spec = importlib.util.spec_from_file_location("place_elsewhere", copy)
    assert spec is not None and spec.loader is not None
    elsewhere = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(elsewhere)
    assert elsewhere.find_data() == str(tmp_path / "blocklists")
    (package / "blocklists").mkdir()
    assert elsewhere.find_data() == str(package / "blocklists")
