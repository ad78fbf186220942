"""What Guardian says to people, in their language: `guardian/locale/{en,ro,ru}.yaml`.

A catalogue is a flat mapping of key to text, or to plural forms of a text (`one`, `few`, `many`, `other`), of which the
value `count` chooses. `{name}` stands for a value; values are put in as they are, so a page escapes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from guardian.errors import ConfigError, Problem

LANGUAGES = ("en", "ro", "ru")
FALLBACK = "en"
LOCALE_DIRECTORY = Path(__file__).with_name("locale")

Text = str | Mapping[str, str]

MAX_HEADER_CHARS = 1000
MAX_LANGUAGE_RANGES = 32
_SAME_LANGUAGE = {"mo": "ro", "mol": "ro", "ron": "ro", "rum": "ro", "rus": "ru", "eng": "en"}


class Messages:
    """All catalogues, read once. Immutable."""

    def __init__(self, catalogues: Mapping[str, Mapping[str, Text]]) -> None:
        """`catalogues` is language -> key -> text; English must be there."""
        self._catalogues = catalogues

    @classmethod
    def load(cls, directory: Path = LOCALE_DIRECTORY) -> Messages:
        """Read the catalogues. Takes tens of milliseconds: call it in a thread. Raises ConfigError, OSError."""
        return cls({language: _read_catalogue(directory / f"{language}.yaml") for language in LANGUAGES})

    def get(self, language: str, key: str, **values: str | int) -> str:
        """Return the text of `key` with its values. A language that is not there means English. Raises KeyError for an
        unknown key or a missing value: both are mistakes in the program.
        """
        spoken = language if language in self._catalogues else FALLBACK
        text = self._catalogues[spoken][key]
        if not isinstance(text, str):
            count = values["count"]
            assert isinstance(count, int)
            text = text[PLURAL_RULES[spoken](count)]
        return text.format_map(values)

    def has(self, key: str) -> bool:
        """Tell whether there is such a text."""
        return key in self._catalogues[FALLBACK]


def _read_catalogue(path: Path) -> Mapping[str, Text]:
    catalogue = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(catalogue, dict):
        raise ConfigError([Problem(f"{path}:1", "must be a mapping of keys to texts")])
    return catalogue


def _plural_en(count: int) -> str:
    return "one" if count == 1 else "other"


def _plural_ro(count: int) -> str:
    if count == 1:
        return "one"
    return "few" if count == 0 or 1 <= count % 100 <= 19 else "other"


def _plural_ru(count: int) -> str:
    if count % 10 == 1 and count % 100 != 11:
        return "one"
    return "few" if 2 <= count % 10 <= 4 and not 12 <= count % 100 <= 14 else "many"


# Unicode CLDR, cardinal numbers without fractions.
PLURAL_RULES: Mapping[str, Callable[[int], str]] = {"en": _plural_en, "ro": _plural_ro, "ru": _plural_ru}
PLURAL_FORMS: Mapping[str, tuple[str, ...]] = {
    "en": ("one", "other"),
    "ro": ("one", "few", "other"),
    "ru": ("one", "few", "many"),
}


def pick_language(accept_language: str, default: str = FALLBACK, offered: Sequence[str] = LANGUAGES) -> str:
    """Return the offered language that an Accept-Language field wants most (RFC 9110 section 12.5.4), else `default`.

    The highest weight wins, then the order as sent; `q=0` refuses. Ranges match by primary subtag (`ro-MD` is ro).
    Reads at most MAX_HEADER_CHARS; what is not a range or a weight is passed over.
    """
    weights: dict[str, float] = {}
    anything = 0.0
    for part in accept_language[:MAX_HEADER_CHARS].split(",")[:MAX_LANGUAGE_RANGES]:
        language_range, _, parameter = part.partition(";")
        weight = _read_weight(parameter)
        if weight is None:
            continue
        primary = language_range.strip().lower().partition("-")[0]
        if primary == "*":
            anything = max(anything, weight)
        language = _SAME_LANGUAGE.get(primary, primary)
        if language in offered:
            weights[language] = max(weights.get(language, 0.0), weight)
    # Of equal wishes: the one sent first, then the default.
    best = max([*weights, default, *offered], key=lambda language: weights.get(language, anything))
    if weights.get(best, anything) > 0:
        return best
    return next((language for language in (default, *offered) if language not in weights), default)


def _read_weight(parameter: str) -> float | None:
    """The value of `q=0.8`: 1.0 when there is none, None when it is not a weight (0 to 1, three digits)."""
    parameter = parameter.strip().lower()
    if not parameter:
        return 1.0
    name, _, value = parameter.partition("=")
    whole, _, digits = value.partition(".")
    if name.strip() != "q" or whole.strip() not in ("0", "1") or len(digits) > 3:
        return None
    if digits and not (digits.isascii() and digits.isdigit()):
        return None
    weight = float(value)
    return weight if weight <= 1 else None
