"""Requests of children and their answers."""

from __future__ import annotations

from guardian.web.routing import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = ()
