"""The careful reading of a Response Policy Zone (draft-vixie-dnsop-dns-rpz-00): a zone file whose owners are triggers.

Unlike the other formats its lines depend on those before: `$ORIGIN`, records in parentheses, owners left out.
"""

from __future__ import annotations

import re

from guardian.blocklist import entry
from guardian.blocklist.entry import Item
from guardian.blocklist.lines import is_address, read_name

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_CLASSES = frozenset({"in", "ch", "hs"})
_TTL = re.compile(r"[0-9]+[smhdw0-9]*", re.IGNORECASE)
_MAX_CONTINUED_LINES = 64
_NULL_ADDRESSES = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1"})  # noqa: S104 - compared, not bound


class RpzReader:
    """Reads the lines of one zone in order. `plain` tells that a line's meaning does not depend on those before."""

    def __init__(self) -> None:
        self._zone = ""  # without dots at its ends; "" = not known
        self._origin = ""
        self._owner = ""
        self._depth = 0
        self._continued = 0

    @property
    def plain(self) -> bool:
        return not self._depth and self._origin == self._zone

    def read(self, line: str) -> list[Item]:
        """Return the items of one line."""
        line = _QUOTED.sub('""', line).partition(";")[0].rstrip()
        inside = self._depth > 0
        self._depth = max(0, self._depth + line.count("(") - line.count(")"))
        self._continued = self._continued + 1 if self._depth else 0
        if self._continued > _MAX_CONTINUED_LINES:  # a parenthesis that is never closed must not swallow the list
            self._depth = self._continued = 0
            return [entry.NOT_A_NAME]
        if inside or not line.strip():
            return []
        fields = line.split()
        if fields[0].startswith("$"):
            return self._read_directive(fields)
        if line[0] not in " \t":  # the blanks of RFC 1035 section 5.1
            self._owner = fields.pop(0)
        while fields and (fields[0].lower() in _CLASSES or _TTL.fullmatch(fields[0])):
            fields.pop(0)
        if not fields:
            return [entry.NOT_A_NAME]
        return self._read_record(self._owner, fields[0].upper(), fields[1:])

    def pass_over(self, data: bytes) -> None:
        """Take notice of lines that somebody else has read: the last owner may be left out in the next line."""
        end = len(data)
        while end > 0:
            start = data.rfind(b"\n", 0, end - 1) + 1
            fields = data[start:end].decode(errors="ignore").partition(";")[0].split(None, 1)
            if fields:
                self._owner = fields[0]
                return
            end = start

    def _read_directive(self, fields: list[str]) -> list[Item]:
        if fields[0].upper() == "$TTL":
            return []
        if fields[0].upper() != "$ORIGIN" or len(fields) < 2:
            return [entry.UNSUPPORTED]
        origin = fields[1].lower()
        if not origin.endswith(".") and self._origin:
            origin = f"{origin}.{self._origin}"
        self._origin = origin.strip(".")
        self._zone = self._zone or self._origin
        return []

    def _read_record(self, owner: str, type_: str, data: list[str]) -> list[Item]:
        if type_ == "SOA":
            if owner.endswith(".") and not self._zone:
                self._zone = self._origin = owner.lower().strip(".")
            return []
        if type_ == "NS":
            return []
        if not data or not owner:
            return [entry.NOT_A_NAME]
        trigger = self._trigger(owner.lower())
        if not trigger:
            return [entry.UNSUPPORTED]
        if trigger.rpartition(".")[2].startswith("rpz-"):
            return [entry.UNSUPPORTED]
        below = trigger.startswith("*.")
        bare = trigger.removeprefix("*.")
        if "*" in bare:
            return [entry.PATTERN]
        kind = _read_action(type_, data[0].lower(), trigger, below)
        if isinstance(kind, str):
            return [kind]
        name = read_name(bare)
        return [name if isinstance(name, str) else (kind, name)]

    def _trigger(self, owner: str) -> str:
        """The name that a record is about: its owner without the zone; "" when it is outside or the zone itself."""
        if owner == "@":
            owner = f"{self._origin}."
        elif not owner.endswith("."):
            if self._origin == self._zone:
                return owner
            owner = f"{owner}.{self._origin}."
        owner = owner[:-1]
        if not self._zone:
            return owner
        return owner.removesuffix(f".{self._zone}") if owner.endswith(f".{self._zone}") else ""


def _read_action(type_: str, target: str, trigger: str, below: bool) -> int | str:
    """The kind of entry that a record makes, or why it makes none."""
    if type_ == "CNAME":
        if target in (".", "*.", "rpz-drop."):
            return entry.BLOCK if below else entry.BLOCK_EXACT
        if target == "rpz-passthru." or target.removesuffix(".") == trigger:
            return entry.ALLOW if below else entry.ALLOW_EXACT
        return entry.UNSUPPORTED if target.startswith("rpz-") else entry.REDIRECT
    if type_ in ("A", "AAAA"):
        if target in _NULL_ADDRESSES:
            return entry.BLOCK if below else entry.BLOCK_EXACT
        return entry.REDIRECT if is_address(target) else entry.NOT_A_NAME
    return entry.UNSUPPORTED
