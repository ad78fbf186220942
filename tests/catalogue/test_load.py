"""`blocklists/*.yaml` -> Catalogue: what is left out, what is added, and every mistake with its line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from guardian.catalogue import find_data, load_addresses, load_catalogue, load_protected, make_test_name
from guardian.errors import ConfigError
from guardian.names import parse_name
from guardian.policy.model import Catalogue


def test_every_tag_has_a_name_to_try(catalogue: Catalogue) -> None:
    for tag, names in catalogue.tagged.items():
        assert parse_name(make_test_name(tag)) in names
    all_names = [make_test_name(tag) for tag in catalogue.tagged]
    assert len(set(all_names)) == len(all_names)


def test_what_must_stay_reachable_is_protected(catalogue: Catalogue) -> None:
    device_needs = set(catalogue.tagged["allowed:device"]) - {parse_name("allowed-device.guardian.test")}
    assert {parse_name("captive.apple.com"), parse_name("time.windows.com")} <= device_needs <= catalogue.protected
    assert parse_name("bt.ro") in catalogue.protected  # of `names`
    assert parse_name("google.com") in catalogue.protected_exact - catalogue.protected
    reachable = {parse_name("samaritans.org"), parse_name("kidshealth.org")}  # they are on no page
    assert reachable <= set(catalogue.tagged["helpline"]) & catalogue.protected


def test_the_gateway_leaves_out_what_only_images_need(catalogue: Catalogue) -> None:
    small = load_catalogue(names=False)
    assert small.tagged == {} and small.protected == frozenset()
    assert small.services == catalogue.services and small.presets == catalogue.presets
    assert small.safe_search == catalogue.safe_search and small.helplines == catalogue.helplines


def test_the_protected_names_can_be_had_alone(catalogue: Catalogue) -> None:
    assert load_protected() == (catalogue.protected, catalogue.protected_exact)


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("services.yaml", "yt.be", "bad..name", "empty label"),
        ("services.yaml", "youtu.be ", "youtu.be youtu.be ", "given twice"),
        ("services.yaml", "group: video", "grupo: video", "did you mean 'group'"),
        ("presets.yaml", "services: cs_skin_gambling", "services: cs_skin_gamblin", "did you mean 'cs_skin_gambling'"),
        ("presets.yaml", "minutes: [45, 45,", "minutes: [45,", "seven numbers"),
        ("presets.yaml", "mon-sun 19:30-07:00", "mon-sun 19:30", "not a window"),
        ("starter.yaml", '"category:dating"', '"category:dateing"', "did you mean 'category:dating'"),
        ("bypass.yaml", "category: doh", "category: dooh", "did you mean 'doh'"),
        ("bypass.yaml", "addresses: 162.159.192.0/24", "addresses: 10.0.0.1", "no public address"),
        ("bypass.yaml", "addresses: 162.159.192.0/24", "adresses: 162.159.192.0/24", "did you mean 'addresses'"),
        ("bypass.yaml", "apple: 17.0.0.0/8", "apple: 17.0.0.0/7", "takes too much"),
        ("categories.yaml", "ru: Вирусы", "rs: Вирусы", "no text in ru"),
        ("safe_search.yaml", "names: search.brave.com", "names: www.bing.com", "rewritten twice"),
        ("safe_search.yaml", "names: search.brave.com", "names: safe.duckduckgo.com", "rewritten twice"),
        ("helplines.yaml", "kind: child", "kind: chld", "did you mean 'child'"),
    ],
)
def test_a_mistake_is_reported_with_its_line(tmp_path: Path, file: str, old: str, new: str, expected: str) -> None:
    shutil.copytree(find_data(), tmp_path / "data")
    path = tmp_path / "data" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_catalogue(str(tmp_path / "data"))
    for problem in caught.value.problems:
        name, _, line = problem.where.rpartition(":")
        assert name == str(path) and int(line) <= text.count("\n") + 1
    assert any(expected in problem.message for problem in caught.value.problems)


def test_addresses_by_kind_and_by_owner(tmp_path: Path) -> None:
    (tmp_path / "bypass.yaml").write_text(
        "bypass:\n  doh: {names: dns.example, addresses: 8.8.8.8 2a00::1}\n  vpn: {addresses: 9.9.0.0/16}\n"
        "  relay: {names: relay.example}\nshared: {cdn: 104.16.0.0/13}\n"
    )
    known = load_addresses(str(tmp_path))
    assert {tag: list(map(str, networks)) for tag, networks in known.tagged.items()} == {
        "bypass:doh": ["8.8.8.8/32", "2a00::1/128"],
        "bypass:vpn": ["9.9.0.0/16"],
    }
    assert [str(network) for network in known.shared["cdn"]] == ["104.16.0.0/13"]
