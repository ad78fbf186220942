"""uvicorn's server without its command line, which brings click and process supervisors: 2 MB of a router's memory.

`import uvicorn` imports `uvicorn.main` for three names that nobody here uses. A stand-in has that place meanwhile; in a
process that has imported this first, `uvicorn.run` and `uvicorn.main` are None.
"""

from __future__ import annotations

import sys
from types import ModuleType

_COMMAND_LINE = "uvicorn.main"
_stand_in = ModuleType(_COMMAND_LINE)
vars(_stand_in).update(Server=None, main=None, run=None)
if "uvicorn" not in sys.modules:
    sys.modules[_COMMAND_LINE] = _stand_in

from uvicorn.config import Config  # noqa: E402 - after the stand-in
from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: E402
from uvicorn.server import Server  # noqa: E402

if sys.modules.get(_COMMAND_LINE) is _stand_in:  # who asks for it by its own name gets the real one
    del sys.modules[_COMMAND_LINE]

__all__ = ["Config", "H11Protocol", "Server"]
