"""The starter data of `blocklists/`: services, categories, presets, safe search, helplines, starter names, sources.

All of it is small, hand-made YAML; a mistake in it is reported with its line. Names are written separated by spaces.
"""

from guardian.catalogue.load import KnownAddresses, load_addresses, load_catalogue, load_protected
from guardian.catalogue.place import MANDATORY_TEST, find_data, make_test_name
from guardian.catalogue.sources import Source, SourceAction, load_sources

__all__ = [
    "MANDATORY_TEST",
    "KnownAddresses",
    "Source",
    "SourceAction",
    "find_data",
    "load_addresses",
    "load_catalogue",
    "load_protected",
    "load_sources",
    "make_test_name",
]
