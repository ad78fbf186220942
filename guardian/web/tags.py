"""The words for tags, in every language: what `category:games`, `service:roblox` and `group:video` are called."""

from __future__ import annotations

from collections.abc import Iterable

from guardian.policy.compile import GROUP
from guardian.policy.model import Catalogue
from guardian.web.offers import name_groups
from guardian.web.shapes.household import Text


def name_tags(catalogue: Catalogue, tags: Iterable[str]) -> dict[str, Text]:
    """Return the names of those tags that have one; rules, labels and ids that are not known have none."""
    found = {tag: _name_tag(catalogue, tag) for tag in dict.fromkeys(tags)}
    return {tag: text for tag, text in found.items() if text is not None}


def tag_of(of: str) -> str:
    """Return the tag of what has minutes of its own: `youtube` -> `service:youtube`; a group is its own; "" stays."""
    return of if not of or of.startswith(GROUP) else f"service:{of}"


def tag_of_alert(of: str) -> str:
    """Return the tag of what an alert is about: `gambling` -> `category:gambling`; a tag is its own."""
    return of if ":" in of else f"category:{of}"


def _name_tag(catalogue: Catalogue, tag: str) -> Text | None:
    kind, _, rest = tag.partition(":")
    if kind == "category" and (category := catalogue.category_texts.get(rest)) is not None:
        return Text(category.names["en"], category.names["ro"], category.names["ru"])
    if kind == "service" and (service := catalogue.services.get(rest)) is not None:
        return Text(service.name, service.name, service.name)
    return name_groups().get(rest) if kind == "group" else None
