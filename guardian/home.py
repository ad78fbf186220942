"""What the state directory says of a home: its household, the catalogue and the list image, ready for the policy."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from typing import NamedTuple

from guardian.blocklist.image import Image
from guardian.catalogue import load_catalogue
from guardian.config import Config
from guardian.errors import ConfigError, GuardianError, ListError
from guardian.policy.compile import Policy, compile_policy
from guardian.policy.model import Catalogue, Household, Profile
from guardian.store.images import map_image
from guardian.store.settings import load_household

log = logging.getLogger(__name__)

EVERYONE = "everyone"


class Home(NamedTuple):
    """One consistent set of settings and lists. `starter` tells that no image was there, only the built-in names."""

    household: Household
    catalogue: Catalogue
    lists: Image
    starter: bool
    image_error: str = ""  # why the image on disk is not the one in force
    household_error: str = ""  # why the household on disk is not the one in force

    def compile(self, pauses: Mapping[str, float] | None = None) -> Policy:
        """Return the policy; `pauses` are moments (epoch seconds) by profile or device id, on top of the household."""
        household = add_pauses(self.household, pauses) if pauses else self.household
        return compile_policy(household, self.catalogue, self.lists)


def make_state(config: Config) -> None:
    """Make the state directory where it is missing. Raises GuardianError when that cannot be."""
    try:
        os.makedirs(config.state, mode=0o750, exist_ok=True)
    except OSError as error:
        raise GuardianError(f"cannot make the state directory {config.state}: {error.strerror}") from None
    if not os.access(config.state, os.W_OK | os.X_OK):
        raise GuardianError(f"cannot write to the state directory {config.state}: it belongs to another user")


def load_home(config: Config, before: Home | None = None) -> Home:
    """Return the home of a configuration. Raises ConfigError for a household that cannot be used.

    An image that cannot be used leaves the lists of `before` in force. Without any the starter lists are compiled in
    memory: a first start without internet filters as well. At the first load a damaged database does not keep the home
    offline: all devices get the strictest profile until it can be read.
    """
    catalogue = before.catalogue if before else load_catalogue(names=False)
    household_error = ""
    try:
        household = find_household(config, catalogue)
    except ConfigError as error:
        if before or not os.path.exists(config.settings):
            raise
        household_error = str(error)
        log.error("event=household-refused error=%r using=strictest-for-all", household_error)
        household = Household("UTC", UTC, (), language=config.language)
    image_error = ""
    try:
        lists, starter = map_image(config.lists.image), False
    except ListError as error:
        if os.path.exists(config.lists.image) or (before and not before.starter):
            image_error = str(error)
            log.error(
                "event=image-refused error=%r using=%s", image_error, "lists-before" if before else "starter-lists"
            )
        lists, starter = (before.lists, before.starter) if before else (build_starter_lists(catalogue), True)
    return Home(household, catalogue, lists, starter, image_error, household_error)


def find_household(config: Config, catalogue: Catalogue) -> Household:
    """Return the household of the database, else of the YAML that the configuration names, else `open_household`.

    Raises ConfigError.
    """
    household = load_household(config.settings)
    if household is None and config.household:
        from guardian.store.household import load_household_file

        household = load_household_file(config.household, catalogue)
    return household or open_household(config.language)


def open_household(language: str) -> Household:
    """Return the household of a box that nobody has set up: all devices open but for mandatory lists.

    A box out of the carton must not be a support call.
    """
    everyone = Profile(EVERYONE, "Everyone", filtered=False, bypass_protection=False)
    return Household("UTC", UTC, (everyone,), (), EVERYONE, (), language)


def add_pauses(household: Household, pauses: Mapping[str, float]) -> Household:
    """Return the household with the profiles and devices of `pauses` (by id) paused until the given moments."""
    return replace(
        household,
        profiles=tuple(replace(p, paused_until=pauses.get(p.id, p.paused_until)) for p in household.profiles),
        devices=tuple(replace(d, paused_until=pauses.get(d.id, d.paused_until)) for d in household.devices),
    )


def build_starter_lists(catalogue: Catalogue) -> Image:
    """Return the image of the catalogue's own names, compiled in memory."""
    from guardian.catalogue.starter import compile_starter

    if not catalogue.tagged:
        catalogue = load_catalogue()
    return Image(compile_starter(catalogue, secrets.token_bytes(16), time.time()).to_bytes())
