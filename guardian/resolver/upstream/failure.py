"""Why a try failed, and whether the server or this machine is to blame."""

from __future__ import annotations

import errno
import os

from guardian.errors import UpstreamError
from guardian.wire.dns import EDE_NETWORK_ERROR

_SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL))


class ShortageError(UpstreamError):
    """This machine ran out of something (file descriptors, memory, ports): no fault of the server."""


def explain(error: OSError) -> UpstreamError:
    """Return the error to raise in place of one of the operating system's, in its plain words."""
    text = os.strerror(error.errno) if error.errno else str(error)
    kind = ShortageError if error.errno in _SHORTAGES else UpstreamError
    return kind(text, EDE_NETWORK_ERROR)
