"""The Update Framework's client without its own downloader, which brings urllib3: memory and flash of a router.

`import tuf.ngclient` imports `urllib3_fetcher` for a name that nobody here uses: `FeedFetcher` fetches. In a process
that imports this first, that name is a stand-in which loads the real downloader when somebody does ask for one.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_DOWNLOADER = "tuf.ngclient.urllib3_fetcher"


def _make_downloader(*positional: Any, **named: Any) -> Any:
    """Return tuf's own downloader. Raises ModuleNotFoundError where urllib3 is left out, as on a router."""
    return import_module(_DOWNLOADER).Urllib3Fetcher(*positional, **named)


_stand_in = ModuleType(_DOWNLOADER)
vars(_stand_in).update(Urllib3Fetcher=_make_downloader)
if "tuf.ngclient" not in sys.modules:
    sys.modules[_DOWNLOADER] = _stand_in

from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig  # noqa: E402 - after the stand-in

if sys.modules.get(_DOWNLOADER) is _stand_in:  # who asks for it by its own name gets the real one
    del sys.modules[_DOWNLOADER]

__all__ = ["FetcherInterface", "Updater", "UpdaterConfig"]
