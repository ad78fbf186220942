"""What a step of the tour is, and the words that steps share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.netns.lab.device import Fetched
from tests.netns.lab.home import Lab

SECONDS = 3.0  # after which a child would give up


class Outcome(NamedTuple):
    """What came of a step; `parent` are lines that the parent sees, `typed` commands at the desk with their answers."""

    ok: bool
    happened: str
    parent: str = ""
    typed: str = ""


class Step(NamedTuple):
    """One step. `command` names a command that this version must have; `alerts` tells that the parent gets an alert."""

    title: str
    tried: str
    expected: str
    act: Callable[[Lab], Outcome]
    needs_filter: bool = False
    command: str = ""
    alerts: bool = False


def is_refused(fetched: Fetched) -> bool:
    """Tell whether nothing came back."""
    return fetched.status == 0 and fetched.error != ""


def describe(fetched: Fetched) -> str:
    """Return in few words what came of a request."""
    if fetched.ok:
        return "it opened"
    if fetched.status == 403:
        return "the block page"
    what = f"status {fetched.status}" if fetched.status else fetched.error
    return f"{what} after {fetched.seconds:.2f} s"


def tell_seen(lab: Lab, protocol: str, name: str) -> str:
    """Return whether a server has seen it."""
    return "the server has seen it" if lab.seen(protocol, name) else "the server has seen nothing"
