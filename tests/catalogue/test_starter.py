"""A first start without internet: the starter names alone make an image that filters."""

from __future__ import annotations

from guardian.blocklist.address_lists import AddressFacts
from guardian.blocklist.image import Image
from guardian.catalogue import load_addresses, make_test_name
from guardian.catalogue.starter import STARTER, compile_starter, starter_addresses, starter_sources
from guardian.names import parse_name
from guardian.policy.model import Catalogue


def test_each_tag_is_one_list_of_its_names(catalogue: Catalogue) -> None:
    sources = starter_sources(catalogue)
    assert {source.tag: tuple(source.names) for source in sources} == dict(catalogue.tagged)
    assert {(source.name, source.action) for source in sources} == {(STARTER, "block")}


def test_the_image_knows_every_starter_name(catalogue: Catalogue) -> None:
    made = compile_starter(catalogue, bytes(range(16)), 1_790_000_000.0)
    image = Image(made.to_bytes())
    image.verify()
    assert image.created == 1_790_000_000.0
    assert image.name_count == len({name for names in catalogue.tagged.values() for name in names})
    missing = [
        (tag, name)
        for bit, tag in enumerate(image.tags)
        for name in (*catalogue.tagged[tag], parse_name(f"www.{make_test_name(tag)}"))
        if not image.lookup(name) >> bit & 1
    ]
    assert missing == [] and set(image.tags) == set(catalogue.tagged)
    assert image.lookup(parse_name("guardian.test")) == 0


def test_each_kind_with_addresses_is_one_list_of_them() -> None:
    known = load_addresses()
    sources = starter_addresses(known)
    assert {source.tag: tuple(source.read(AddressFacts())) for source in sources} == dict(known.tagged)
    assert {source.name for source in sources} == {STARTER}
