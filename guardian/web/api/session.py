"""First visit, sign-in, accounts, tokens."""

from __future__ import annotations

from guardian.web.routing import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = ()
