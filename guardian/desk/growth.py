"""How fast lists grow: which changes routers refuse without the consent of other people. `DIR/feed/history.json`.

A router takes max(500, 10 %) new entries for each day since its last change. Some routers have missed the last few
publications, so what counts is the sum since then: the worst of all states that a router may still have.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from guardian.desk.bundles import Content, Files
from guardian.desk.roles import DAY
from guardian.errors import DeskError

LEAST = 500  # new entries a day that need nobody's consent
SHARE = 0.1
_KEPT = 40 * DAY
_FILE = "feed/history.json"


class Step(Struct, frozen=True):
    """A publication of a list. A router counts tags, people count entries of the desk."""

    serial: int
    created: float
    added: int  # tags
    before: int  # tags that the list had
    entries: int  # of the desk, now


class ListChange(Struct, frozen=True, kw_only=True):
    """What a publication changes on a list, in numbers."""

    list_id: str
    serial: int
    entries: int
    before: int
    added: int = 0
    removed: int = 0
    not_enforceable: int = 0
    merged_classes: int = 0
    is_new: bool = False  # routers get a new state
    consent_reason: str = ""  # why other people must agree; "" = they need not


class Growth:
    """The publications of the last weeks, by list."""

    def __init__(self, steps: dict[str, list[Step]]) -> None:
        self._steps = steps

    @classmethod
    def load(cls, folder: Path) -> Growth:
        """Return the history of a desk. Raises DeskError."""
        path = folder / _FILE
        if not path.exists():
            return cls({})
        try:
            return cls(msgspec.json.decode(path.read_bytes(), type=dict[str, list[Step]]))
        except msgspec.MsgspecError as error:
            raise DeskError(f"{path}: {error}; put the desk's backup back") from None

    def encode(self) -> bytes:
        """Return the history's file."""
        return msgspec.json.encode(self._steps, order="sorted") + b"\n"

    def describe_same(self, content: Content, serial: int) -> ListChange:
        """Return the change of a list that stays as it is."""
        return ListChange(
            list_id=content.list_id,
            serial=serial,
            entries=content.entries,
            before=content.entries,
            not_enforceable=content.not_enforceable,
        )

    def add(self, content: Content, files: Files, before: int, created: float, *, new_epoch: bool) -> ListChange:
        """Note a publication and return what it changes. `before` is how many tags the list had."""
        steps = self._steps.setdefault(content.list_id, [])
        entries = steps[-1].entries if steps else 0
        steps.append(Step(files.listing.serial, created, files.added, before, content.entries))
        steps[:] = [step for step in steps if step.created > created - _KEPT]
        return ListChange(
            list_id=content.list_id,
            serial=files.listing.serial,
            entries=content.entries,
            before=entries,
            # In a new epoch every tag is another one; people want to know by how much the list grew.
            added=max(0, content.entries - entries) if new_epoch else files.added,
            removed=max(0, entries - content.entries) if new_epoch else files.removed,
            not_enforceable=content.not_enforceable,
            merged_classes=content.merged_classes,
            is_new=True,
            consent_reason=_find_excess(steps, created),
        )


def _find_excess(steps: list[Step], now: float) -> str:
    """Return why some router would refuse the newest state without consent, in words; "" when none would."""
    grown = 0
    for step in reversed(steps):
        if step.serial == 1:
            break  # a router without a list takes any
        grown += step.added
        days = max(1.0, (now - step.created) / DAY)
        most = max(LEAST, int(step.before * SHARE)) * days
        if grown > most:
            since = f" since serial {step.serial - 1}" if step is not steps[-1] else ""
            return f"{grown:,} additions{since} are more than the {most:,.0f} that routers take by themselves"
    return ""
