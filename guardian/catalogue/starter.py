"""The starter data as lists for the compiler: a first start without internet filters with these alone."""

from __future__ import annotations

from collections.abc import Callable

from guardian.blocklist.address_lists import AddressFacts, AddressSource
from guardian.blocklist.addresses import Network
from guardian.blocklist.compile import Compiled, Source, compile_image
from guardian.catalogue.load import KnownAddresses
from guardian.policy.model import Catalogue

STARTER = "starter"  # the name of these lists in `guardian lists show`


def starter_sources(catalogue: Catalogue) -> list[Source]:
    """Return a list for each tag of the starter data. The catalogue must be loaded with its names."""
    return [Source(tag=tag, name=STARTER, names=names) for tag, names in catalogue.tagged.items()]


def compile_starter(catalogue: Catalogue, random_bytes: bytes, now: float) -> Compiled:
    """Return the image of the starter names alone; `random_bytes` are 16 fresh ones, `now` is in epoch seconds."""
    return compile_image(starter_sources(catalogue), random_bytes, now)


def starter_addresses(known: KnownAddresses) -> list[AddressSource]:
    """Return a list for each kind of way around that has addresses in the starter data."""

    def give(networks: tuple[Network, ...]) -> Callable[[AddressFacts], tuple[Network, ...]]:
        return lambda facts: networks

    return [AddressSource(tag, STARTER, give(networks)) for tag, networks in known.tagged.items()]
