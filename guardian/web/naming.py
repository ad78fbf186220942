"""Ids of new things, made from the names that people give them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

LONGEST_ID = 40
RESERVED = ("new",)  # /profiles/new is the form for a new one
_LETTERS = {
    **dict(zip("абвгдезийклмнопрстуфыэіїґ", "abvgdeziiklmnoprstufyeiig", strict=True)),
    "ё": "yo", "ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ь": "", "ю": "yu",
    "я": "ya", "є": "ye", "ß": "ss", "ł": "l", "đ": "d", "ø": "o", "æ": "ae", "ı": "i",
}  # fmt: skip


def make_id(name: str, taken: Collection[str], otherwise: str) -> str:
    """Return an id (small letters, digits, `-`) for a name: "Аня" -> `anya`, "Ștefan" -> `stefan`.

    One that is `taken`, or stands for a page, gets a number; a name of other letters only gets the id `otherwise`.
    """
    latin = []
    for char in unicodedata.normalize("NFC", name.lower()):
        if char in _LETTERS:
            latin.append(_LETTERS[char])
        elif not unicodedata.combining(char):
            latin += [part for part in unicodedata.normalize("NFKD", char) if not unicodedata.combining(part)]
    base = re.sub(r"[^a-z0-9]+", "-", "".join(latin).lower()).strip("-")[:LONGEST_ID].strip("-") or otherwise
    number, made = 1, base
    while made in taken or made in RESERVED:
        number += 1
        made = f"{base}-{number}"
    return made
