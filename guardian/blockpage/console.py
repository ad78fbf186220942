"""The way from the block page to the console: its address for a device, while it answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from ipaddress import ip_address

from guardian.config import Endpoint

KNOWN_SECONDS = 5.0  # for which an answer, or none, is remembered
CONNECT_SECONDS = 0.5  # the console is on this machine
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a console listens -> where it is tried
_PORTS = {"http": 80, "https": 443}


class ConsoleDoor:
    """Finds the console for devices of the home."""

    def __init__(
        self,
        endpoints: tuple[Endpoint, ...],
        name: str,
        *,
        is_encrypted: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`endpoints` is where it should listen (none: there is no console), `name` what the home calls this box."""
        self._endpoints = endpoints
        self._name = name
        self._scheme = "https" if is_encrypted else "http"
        self._clock = clock
        self._known: dict[Endpoint, tuple[float, bool]] = {}
        self._probing = asyncio.Lock()

    async def find(self, client: str, asked: str = "") -> str:
        """Return the console's URL, without a final slash, for a device at a text address, or "".

        "" when nobody answers there, or when the console is for this machine alone and the device another one. `asked`
        is the address of ours that the device has reached, where it used no name: then the URL does without one too.
        """
        is_here = ip_address(client).is_loopback
        for endpoint in self._endpoints:
            if (is_here or not ip_address(endpoint.host).is_loopback) and await self._answers(endpoint):
                return f"{self._scheme}://{self._host(endpoint, asked)}{self._port(endpoint)}"
        return ""

    def _host(self, endpoint: Endpoint, asked: str) -> str:
        serves = asked and (
            endpoint.host == asked or (endpoint.host in _EVERYWHERE and _is_alike(endpoint.host, asked))
        )
        if not serves:
            return self._name
        return f"[{asked}]" if ":" in asked else asked

    def _port(self, endpoint: Endpoint) -> str:
        return "" if endpoint.port == _PORTS[self._scheme] else f":{endpoint.port}"

    async def _answers(self, endpoint: Endpoint) -> bool:
        async with self._probing:  # many pages at once are one try
            until, answers = self._known.get(endpoint, (0.0, False))
            if self._clock() >= until:
                answers = await _is_listening(endpoint)
                self._known[endpoint] = self._clock() + KNOWN_SECONDS, answers
            return answers


def _is_alike(one: str, other: str) -> bool:
    """Tell whether two addresses are of one family."""
    return (":" in one) == (":" in other)


async def _is_listening(endpoint: Endpoint) -> bool:
    host = _EVERYWHERE.get(endpoint.host, endpoint.host)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, endpoint.port)
    except OSError:  # a timeout is one
        return False
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return True
