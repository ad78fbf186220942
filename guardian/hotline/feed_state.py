"""How the feed is: what this box has of it, since when, and why it is not newer. Standard library only.

`STATE/hotline/state.json` is written by `guardian sync` and read by status, console and alerts. `current.json` names
the files in force; the gateway reads nothing else here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from guardian import __version__
from guardian.errors import ListError
from guardian.store.images import replace_file
from guardian.versions import is_older

FOLDER = "hotline"  # below the state directory
STATE_FILE, CURRENT_FILE = "state.json", "current.json"
MAX_STATE_BYTES = 1 << 20
MAX_ERROR = 400  # letters of a sentence

# Why a feed or a list is not newer: `code` in FeedState and ListState. The words may change, the codes stay.
OFFLINE = "offline"  # no server was reached, or it answered with an error
EXPIRED = "expired"  # what the server has is too old to be believed
NOT_SIGNED = "not-signed"  # too few of the right people signed it
ROLLBACK = "rollback"  # older than what this box has seen
TOO_LARGE = "too-large"
TOO_SLOW = "too-slow"
GROWTH = "growth"  # it grew too fast, and nobody agreed to that
DAMAGED = "damaged"  # signed or not: it is not what it says
CLOCK = "clock"  # this box's clock is wrong
DISK = "disk"  # this box could not write
MISSING = "missing"  # the settings want a list that the feed does not have
CODES = frozenset(
    {OFFLINE, EXPIRED, NOT_SIGNED, ROLLBACK, TOO_LARGE, TOO_SLOW, GROWTH, DAMAGED, CLOCK, DISK, MISSING}
)  # fmt: skip

_WORD = "[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?"
_BASE_NAME = re.compile(rf"{_WORD}-[0-9]{{1,10}}(?:\.[0-9a-f]{{8}})?\.base")
_TAGS_NAME = re.compile(rf"({_WORD})-[0-9]{{1,10}}(?:\.[0-9a-f]{{8}})?\.tags")
_LIST_ID = re.compile(_WORD)

T = TypeVar("T", bound="ListState | Floor")


class FeedError(ListError):
    """A feed or one of its lists can't be used; what is in force stays. `code` is one of the words above."""

    def __init__(self, code: str, text: str) -> None:
        # The text may quote what a server sent, and is shown on terminals and pages.
        super().__init__("".join(char if char.isprintable() else "?" for char in text[:MAX_ERROR]))
        self.code = code


@dataclass(frozen=True, slots=True)
class ListState:
    """One list. `serial` 0 = not here yet; times are epoch seconds, 0 = never."""

    serial: int = 0
    entries: int = 0
    size: int = 0  # bytes
    created: float = 0.0  # by the people who signed it
    installed: float = 0.0
    root_version: int = 0  # the root of trust that it came under
    grown: float = 0.0  # entries of its last changes that still count as growth ...
    grown_at: float = 0.0  # ... at this time, the desk's
    code: str = ""  # why it is not newer; "" = it is the newest
    error: str = ""  # the same in a sentence


@dataclass(frozen=True, slots=True)
class Floor:
    """The newest version of a role that was ever believed. It counts as long as the role has the same keys."""

    version: int = 0
    keys: str = ""  # digest of the ids of the role's keys


@dataclass(frozen=True, slots=True)
class FeedState:
    """The whole feed. Times are epoch seconds, 0 = never; `error` is one sentence, `code` one of the words above."""

    url: str = ""
    name: str = ""  # whose feed it says it is
    checked: float = 0.0  # when it was last looked at, whatever came of it
    succeeded: float = 0.0  # when all that was there was verified, and is in force
    version: int = 0  # of the newest timestamp.json that was believed
    root_version: int = 0
    expires: float = 0.0  # the first end of what was last verified
    epoch: str = ""
    test_name: str = ""  # a listed name that everybody may look up
    minimum_version: str = ""  # of Guardian, as the feed asks
    code: str = ""
    error: str = ""
    lists: Mapping[str, ListState] = field(default_factory=dict)
    # For the next update; nobody else needs these.
    floors: Mapping[str, Floor] = field(default_factory=dict)
    accepted: float = 0.0  # the latest time at which something was believed: the clock is never before it
    clock_behind: float = 0.0  # seconds that the clock was behind that, when last looked at
    failing: float = 0.0  # since when something of it has not worked, look after look; 0 = all of it works
    etag: str = ""  # of the timestamp.json with the digest below
    timestamp: str = ""  # SHA-256
    reload_due: bool = False  # new files are in force, and the gateway has not yet taken them

    @property
    def needs_update(self) -> bool:
        """Tell whether this Guardian is older than the feed asks for: by what runs now, not by what ran at the look."""
        return is_older(__version__, self.minimum_version)

    def is_expired(self, now: float) -> bool:
        """Tell whether what is in force is no longer vouched for. It is enforced all the same."""
        return bool(self.expires) and now > self.expires

    def troubles(self) -> tuple[tuple[str, str, str], ...]:
        """Return what is wrong as (list or "", code, sentence), the feed's own first."""
        own = (("", self.code, self.error),) if self.code else ()
        return own + tuple((key, one.code, one.error) for key, one in sorted(self.lists.items()) if one.code)


class Current(NamedTuple):
    """The files in force, as paths: the base, and the tags of each list."""

    base: Path
    lists: Mapping[str, Path]


def feed_folder(state: str | Path) -> Path:
    """Return where a state directory keeps the feed."""
    return Path(state) / FOLDER


def read_current(folder: str | Path) -> Current | None:
    """Return the files in force of a feed's folder, None where no list was ever installed.

    An update keeps the files before until the next one, so what is named here can be opened. Raises ListError when
    current.json can't be read or names anything but files of this folder.
    """
    folder = Path(folder)
    path = folder / CURRENT_FILE
    made = _read_json(path)
    if made is None:
        return None
    try:
        base, lists = made["base"], dict(made["lists"])
        wrong = [] if _BASE_NAME.fullmatch(base) else [base]
        for list_id, name in lists.items():
            found = _TAGS_NAME.fullmatch(name)
            if not found or found[1] != list_id:
                wrong.append(name)
    except (KeyError, TypeError, ValueError) as error:
        raise ListError(f"{path}: this does not say which lists are in force: {error!r}") from None
    if wrong:
        raise ListError(f"{path}: '{wrong[0][:80]}' is no file of the feed; 'guardian sync --feed' fetches it anew")
    return Current(folder / base, MappingProxyType({list_id: folder / name for list_id, name in lists.items()}))


def write_current(folder: Path, base: str, lists: Mapping[str, str]) -> None:
    """Put files, given by their names in `folder`, in force: the last step of an update. Raises OSError, ListError."""
    text = json.dumps({"base": base, "lists": dict(sorted(lists.items()))}, indent=1) + "\n"
    replace_file(folder / CURRENT_FILE, [text.encode()], _read_json)


def load_state(folder: str | Path) -> FeedState | None:
    """Return the state of a feed's folder, None where there was no update yet. Raises ListError for a broken file."""
    path = Path(folder) / STATE_FILE
    made = _read_json(path)
    if made is None:
        return None
    try:
        lists = {_checked_id(key): _read(ListState, item) for key, item in made.pop("lists", {}).items()}
        floors = {str(key): _read(Floor, item) for key, item in made.pop("floors", {}).items()}
        known = {spec.name for spec in fields(FeedState)}
        plain = {key: value for key, value in made.items() if key in known}
        state = FeedState(**plain, lists=lists, floors=floors)
        _check_types(state)
        return state
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ListError(f"{path}: this is no state of a feed: {error}; 'guardian sync --feed' makes it anew") from None


def save_state(folder: str | Path, state: FeedState) -> None:
    """Write the state so that it is the old one or this one, also over a power cut. Raises OSError."""
    text = json.dumps(format_state(state), indent=1) + "\n"
    replace_file(Path(folder) / STATE_FILE, [text.encode()], lambda aside: None)


def format_state(state: FeedState) -> dict[str, Any]:
    """Return a state as JSON values."""
    made = {spec.name: getattr(state, spec.name) for spec in fields(state)}
    for key in ("lists", "floors"):
        made[key] = {name: asdict(one) for name, one in sorted(made[key].items())}
    return made


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_STATE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ListError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_STATE_BYTES:
        raise ListError(f"{path}: more than {MAX_STATE_BYTES >> 20} MB are none of Guardian's")
    try:
        made = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ListError(f"{path}: this is not JSON: {error}") from None
    if not isinstance(made, dict):
        raise ListError(f"{path}: this is not a JSON object")
    return made


def _checked_id(text: str) -> str:
    if not _LIST_ID.fullmatch(text):
        raise ValueError(f"'{text[:40]}' is no list")
    return text


def _read(shape: Callable[..., T], item: Mapping[str, Any]) -> T:
    known = {spec.name for spec in fields(shape)}  # type: ignore[arg-type]
    made = shape(**{key: value for key, value in item.items() if key in known})
    _check_types(made)
    return made


def _check_types(made: Any) -> None:
    """Raise TypeError where a number is none, or a text none: what is saved comes back in other programs."""
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "int": (int,), "float": (int, float)}
    for spec in fields(made):
        value, kind = getattr(made, spec.name), kinds.get(str(spec.type))
        if kind is None:
            continue
        if not isinstance(value, kind) or (isinstance(value, bool) and bool not in kind):
            raise TypeError(f"'{spec.name}' is {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise TypeError(f"'{spec.name}' is {value!r}")
