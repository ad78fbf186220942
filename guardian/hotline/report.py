"""What a sync did, as a value and as STATE/lists/state.json: read by `guardian status` and by the next sync."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from guardian.errors import ListError
from guardian.store.images import replace_file

T = TypeVar("T", "SourceReport", "SyncReport")


class SourceState(enum.Enum):
    OK = "ok"  # a new copy came and is in force
    UNCHANGED = "unchanged"  # the copy is current, or nobody asked for a new one
    FAILED = "failed"  # no new copy could be had
    REFUSED = "refused"  # a new copy came and was not believed


@dataclass(frozen=True, slots=True)
class SourceReport:
    """One list. Times are epoch seconds, 0 = never; `entries` and `size` (bytes) are those of the copy in force."""

    id: str
    tags: tuple[str, ...]
    state: SourceState
    reason: str = ""  # why it failed or was refused
    url: str = ""
    licence: str = ""
    entries: int = 0
    size: int = 0
    fetched: float = 0.0  # when the copy in force came
    checked: float = 0.0  # when a server last said that it is current
    dropped: tuple[str, ...] = ()  # protected names that the list wanted to block; `3 of OWNER` for shared addresses
    etag: str = ""
    last_modified: str = ""

    @property
    def is_usable(self) -> bool:
        """Tell whether a copy, new or old, is in force."""
        return self.entries > 0


@dataclass(frozen=True, slots=True)
class SyncReport:
    """All of a sync. `finished` is in epoch seconds; `names` and `urls` are those of the image.

    `addresses` are the different ones and prefixes of the address table.
    """

    sources: tuple[SourceReport, ...]
    finished: float = 0.0
    image: str = ""
    names: int = 0
    urls: int = 0
    addresses: int = 0

    @property
    def has_gaps(self) -> bool:
        """Tell whether a list that should be in force is not, neither new nor old."""
        return any(not source.is_usable for source in self.sources)


def format_report(report: SyncReport) -> dict[str, Any]:
    """Return the report as JSON values."""
    made = asdict(report)
    for source in made["sources"]:
        source["state"] = source["state"].value
    return made


def load_report(path: Path) -> SyncReport | None:
    """Return the report of the last sync, or None when there was none. Raises ListError for a broken file."""
    try:
        made = json.loads(path.read_bytes())
        sources = tuple(_read_source(item) for item in made.pop("sources"))
        return _checked(SyncReport(sources, **made))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ListError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ListError(f"{path}: this is no report of a sync: {error}") from None


def save_report(path: Path, report: SyncReport) -> None:
    """Write the report aside and rename it."""
    text = json.dumps(format_report(report), indent=1, ensure_ascii=False)
    replace_file(path, [text.encode("utf-8", "surrogatepass")], lambda aside: None)


def _read_source(item: Mapping[str, Any]) -> SourceReport:
    words = {key: tuple(str(word) for word in item[key]) for key in ("tags", "dropped")}
    return _checked(SourceReport(**{**item, **words, "state": SourceState(item["state"])}))


def _checked(report: T) -> T:
    """Return a report whose numbers are numbers and whose texts are texts. Raises TypeError."""
    for spec in fields(report):
        value, default = getattr(report, spec.name), spec.default
        if isinstance(default, str | int | float):
            kinds = str if isinstance(default, str) else (int, float)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise TypeError(f"'{spec.name}' is {value!r}")
    return report
