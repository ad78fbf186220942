from __future__ import annotations

import pytest

from guardian.catalogue import load_catalogue
from guardian.policy.model import Catalogue


@pytest.fixture(scope="package")
def catalogue() -> Catalogue:
    """The packaged starter data, with the names that an image is compiled of."""
    return load_catalogue()
