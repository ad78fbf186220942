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

from guardian.blocklist.addresses import FORMAT, AddressTable, build_table
from guardian.blocklist.facts import SourceFacts
from guardian.blocklist.image import Image
from guardian.catalogue import load_addresses, load_catalogue
from guardian.config import Config
from guardian.errors import ConfigError, GuardianError, ListError
from guardian.policy.compile import Policy, compile_policy
from guardian.policy.model import AddressLists, Catalogue, Household, NameLists, Profile
from guardian.policy.usage import Usage
from guardian.store.addresses import address_file
from guardian.store.addresses import load_addresses as load_address_table
from guardian.store.database import find_storage_trouble
from guardian.store.folders import make_folder
from guardian.store.images import map_image
from guardian.store.room import look_at_room
from guardian.store.settings import load_household

log = logging.getLogger(__name__)

EVERYONE = "everyone"


class Home(NamedTuple):
    """One consistent set of settings and lists. `starter` tells that no image was there, only the built-in names."""

    household: Household
    catalogue: Catalogue
    lists: Image
    starter: bool
    addresses: AddressTable
    image_error: str = ""  # why the image on disk is not the one in force
    address_error: str = ""  # why the addresses on disk are not the ones in force
    household_error: str = ""  # why the household on disk is not the one in force

    def compile(
        self,
        pauses: Mapping[str, float] | None = None,
        usage: Usage | None = None,
        addresses: AddressLists | None = None,
        lists: NameLists | None = None,
        clock_unset: bool = False,
    ) -> Policy:
        """Return the policy; `pauses` are moments (epoch seconds) by profile or device id, on top of the household.

        Hand the same `usage` to every policy of a home: it is held by reference. Without `addresses` or `lists` the
        home's hold. `clock_unset` is as in `compile_policy`.
        """
        household = add_pauses(self.household, pauses) if pauses else self.household
        addresses = self.addresses if addresses is None else addresses
        lists = self.lists if lists is None else lists
        return compile_policy(household, self.catalogue, lists, usage, addresses, clock_unset)


def make_state(config: Config) -> None:
    """Make the state directory where it is missing. Raises GuardianError when it belongs to somebody else.

    A full or read-only disk is no reason to leave the home without a filter: it is logged, and nothing is kept.
    """
    try:
        make_folder(config.state)
    except OSError as error:
        if not find_storage_trouble(error):
            raise GuardianError(f"cannot make the state directory {config.state}: {error.strerror}") from None
    room = look_at_room(config.state)
    if room.state:
        log.error("event=storage-%s state=%s action=go-on kept=nothing", room.state, config.state)
    elif not os.access(config.state, os.W_OK | os.X_OK):
        raise GuardianError(f"cannot write to the state directory {config.state}: it belongs to another user")


def load_home(config: Config, before: Home | None = None) -> Home:
    """Return the home of a configuration. Raises ConfigError for a household that cannot be used.

    An image or addresses that cannot be used leave those of `before` in force. Without any the starter lists are
    compiled in memory: a first start without internet filters as well. At the first load a damaged database does not
    keep the home offline: all devices get the strictest profile until it can be read.
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
    addresses, address_error = _load_addresses(config, before)
    return Home(household, catalogue, lists, starter, addresses, image_error, address_error, household_error)


def _load_addresses(config: Config, before: Home | None) -> tuple[AddressTable, str]:
    """The table of addresses on disk, or the one before, or the starter's; and what is wrong with the one on disk."""
    path = address_file(config.state)
    why = ""
    if os.path.exists(path):
        try:
            return load_address_table(path), ""
        except ListError as error:
            why = str(error)
            using = "addresses-before" if before else "starter-addresses"
            log.error("event=addresses-refused error=%r using=%s", why, using)
    return before.addresses if before else build_starter_addresses(), why


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


def is_open_household(household: Household) -> bool:
    """Tell whether nobody has made a profile yet: all devices are open, whatever else was set."""
    if len(household.profiles) != 1:
        return False
    (profile,) = household.profiles
    return profile.id == EVERYONE == household.new_device_profile and not profile.filtered


def add_pauses(household: Household, pauses: Mapping[str, float]) -> Household:
    """Return the household with the profiles and devices of `pauses` (by id) paused until the given moments."""
    return replace(
        household,
        profiles=tuple(replace(p, paused_until=pauses.get(p.id, p.paused_until)) for p in household.profiles),
        devices=tuple(replace(d, paused_until=pauses.get(d.id, d.paused_until)) for d in household.devices),
    )


def build_starter_addresses() -> AddressTable:
    """Return the table of the addresses of the starter data."""
    tagged = load_addresses().tagged
    pairs = ((tag, network) for tag, networks in tagged.items() for network in networks)
    facts = [SourceFacts("starter", tag, "block", FORMAT, entries=len(networks)) for tag, networks in tagged.items()]
    return build_table(pairs, tuple(facts))


def build_starter_lists(catalogue: Catalogue) -> Image:
    """Return the image of the catalogue's own names, compiled in memory."""
    from guardian.catalogue.starter import compile_starter

    if not catalogue.tagged:
        catalogue = load_catalogue()
    return Image(compile_starter(catalogue, secrets.token_bytes(16), time.time()).to_bytes())
