"""Safe search and YouTube's Restricted Mode: names that are answered with their safe twins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from guardian.policy.model import Catalogue, SafeSearch, YouTube


class Rewrite(NamedTuple):
    """The safe twin (a wire name) of a name, and how explanations call the rule."""

    target: bytes
    rule: str


def rewrites_of(catalogue: Catalogue, wish: SafeSearch) -> Mapping[bytes, Rewrite]:
    """Return what a profile's wish comes to: exact wire name -> Rewrite. YouTube's mode holds without safe search too.

    A mode that the catalogue lacks for a name falls back on the stricter one, never on none.
    """
    rewrites: dict[bytes, Rewrite] = {}
    if wish.enabled:
        for name, target in catalogue.safe_search.items():
            rewrites[name] = Rewrite(target, "safe-search")
    if wish.youtube is not YouTube.OFF:
        for name, modes in catalogue.youtube.items():
            twin = modes.get(wish.youtube) or modes.get(YouTube.STRICT) or modes.get(YouTube.MODERATE)
            if twin is not None:
                rewrites[name] = Rewrite(twin, f"youtube:{wish.youtube.value}")
    return {name: rewrite for name, rewrite in rewrites.items() if rewrite.target != name}
