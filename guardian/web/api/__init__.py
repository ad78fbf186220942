"""The calls of the API, one module a subject; each has its ENDPOINTS."""

from __future__ import annotations

from guardian.web.api import activity, child, devices, household, live, profiles, reports, requests, session, settings
from guardian.web.routing import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *session.ENDPOINTS,
    *household.ENDPOINTS,
    *profiles.ENDPOINTS,
    *devices.ENDPOINTS,
    *activity.ENDPOINTS,
    *requests.ENDPOINTS,
    *child.ENDPOINTS,
    *reports.ENDPOINTS,
    *settings.ENDPOINTS,
    *live.ENDPOINTS,
)
