"""The child's own page and reports."""

from __future__ import annotations

from guardian.web.routing import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = ()
