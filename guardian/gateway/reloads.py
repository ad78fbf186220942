"""What became of the last reload, as a code that names nothing: the sentence is for the log and for whoever asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from guardian.clock import tell_time
from guardian.errors import ConfigError, GuardianError, ListError

SETTINGS, LISTS, SYSTEM, REFUSED = "settings", "lists", "system", "refused"


class Reloads:
    """Counts reloads since the start. `code` is why the last one changed nothing, "" when it was taken."""

    def __init__(self) -> None:
        self.taken = 0
        self.refused = 0
        self.at = 0.0  # epoch seconds of the last one, 0 = none yet
        self.code = ""

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Note what becomes of the block; its error goes on."""
        code = REFUSED
        try:
            yield
            code = ""
        except (GuardianError, OSError) as error:
            code = find_code(error)
            raise
        finally:
            self.at, self.code = tell_time(), code
            self.taken += not code
            self.refused += bool(code)

    def status(self) -> dict[str, Any]:
        """Return the reloads' part of `guardian status`."""
        return {"taken": self.taken, "refused": self.refused, "at": self.at, "code": self.code}


def find_code(error: Exception) -> str:
    """Return which kind of thing stood in the way of a reload."""
    match error:
        case ConfigError():
            return SETTINGS
        case ListError():
            return LISTS
        case OSError():
            return SYSTEM
    return REFUSED
