"""asyncio without OpenSSL: 3 MB of a router's memory for what the gateway never uses.

asyncio imports `ssl` if it can, for a TLS of its own. The gateway's TLS to upstreams works on bytes
(resolver/upstream/tls.py) and imports `ssl` by itself, where a server is asked that way.
"""

from __future__ import annotations

import sys


def import_asyncio() -> None:
    """Import asyncio without `ssl`, unless one of both is there already. For a process whose asyncio does no TLS."""
    if "asyncio" in sys.modules or "ssl" in sys.modules:
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]  # asyncio knows Pythons that lack it
    try:
        import asyncio  # noqa: F401
    finally:
        del sys.modules["ssl"]
