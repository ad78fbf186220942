"""Which slot of the conntrack mark is whose: kept on disk, because flows outlive the gateway process.

A running flow carries its device's slot in the kernel. When the gateway comes back, the same slot must mean the same
device.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from guardian.errors import GuardianError
from guardian.store.images import replace_file


def assign_slots(devices: Iterable[str], before: Mapping[str, int], most: int) -> dict[str, int]:
    """Return device id -> slot (1..most). Devices keep theirs; those that find none are left out."""
    wanted = list(dict.fromkeys(devices))
    slots = {device: before[device] for device in wanted if 1 <= before.get(device, 0) <= most}
    taken = set(slots.values())
    # A slot that was somebody's until now is taken last: his flows may still run.
    fresh = [slot for slot in range(1, most + 1) if slot not in taken and slot not in before.values()]
    used = [slot for slot in range(1, most + 1) if slot not in taken and slot in before.values()]
    free = iter(fresh + used)
    for device in wanted:
        if device not in slots and (slot := next(free, 0)):
            slots[device] = slot
    return slots


def load_slots(path: str) -> dict[str, int]:
    """Return the slots of a file; none when it is missing or no such file: then running flows are judged anew."""
    try:
        with open(path, encoding="utf-8") as file:
            slots = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(slots, dict):
        return {}
    entries = [(str(name), slot) for name, slot in slots.items() if type(slot) is int]
    return dict(entries) if len({slot for _, slot in entries}) == len(entries) else {}


def save_slots(path: str, slots: Mapping[str, int]) -> None:
    """Write the slots: aside, then renamed over. Raises GuardianError."""
    try:
        replace_file(path, [json.dumps(dict(slots)).encode()], lambda aside: None)
    except OSError as error:
        raise GuardianError(f"cannot write {path}: {error.strerror}") from None
