"""What the state directory says of a home: database, file or nothing; an image, the one before, or starter names."""

from __future__ import annotations

import dataclasses
import os
import secrets
import time
from dataclasses import replace
from pathlib import Path

import pytest

from guardian.blocklist.addresses import build_table, parse_network
from guardian.blocklist.compile import Source, compile_image
from guardian.catalogue import load_catalogue
from guardian.config import Config, parse_config
from guardian.errors import ConfigError, GuardianError
from guardian.home import (
    EVERYONE,
    add_pauses,
    build_starter_lists,
    find_household,
    is_open_household,
    load_home,
    make_state,
    open_household,
)
from guardian.names import parse_name
from guardian.policy.decide import decide, judge
from guardian.policy.model import FOREVER, Action, Kind, Reason, Subject
from guardian.policy.posture import posture_of
from guardian.store.addresses import address_file, write_addresses
from guardian.store.household import load_household_file
from guardian.store.images import write_image
from guardian.store.settings import save_household

HOME = """\
timezone: UTC
profiles:
  ana: {name: Ana, age: 10-12, offline: [], minutes: unlimited}
  parents: {name: Parents, filtered: no}
devices:
  tablet: {profile: ana, addresses: [127.0.0.2]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "home.yaml").write_text(HOME)
    text = "state: state\nhousehold: home.yaml\nlanguage: ru\nupstreams: {servers: [192.0.2.1]}\n"
    config = parse_config(text, str(tmp_path / "guardian.yaml"))
    make_state(config)
    return config


def put_image(config: Config, name: str) -> None:
    source = Source(tag="category:adult", name="test", names=[parse_name(name)])
    write_image(config.lists.image, [compile_image([source], secrets.token_bytes(16), time.time()).to_bytes()])


def reason(config: Config, device: str, name: str) -> tuple[Action, Reason]:
    home = load_home(config)
    posture = posture_of(home.compile(), device, time.time())
    decision = judge(posture, Kind.DNS_QUERY, parse_name(name), home.lists.lookup(parse_name(name)))
    return decision.action, decision.reason


def test_a_box_that_nobody_has_set_up_is_open_but_for_mandatory_lists(config: Config) -> None:
    bare = replace(config, household="")
    home = load_home(bare)
    assert home.starter and home.household.language == "ru"
    assert home.household.new_device_profile == EVERYONE
    assert home.household == open_household("ru")
    assert reason(bare, "", "category-adult.guardian.test")[0] is Action.ALLOW
    assert reason(bare, "", "mandatory.guardian.test") == (Action.BLOCK, Reason.MANDATORY)
    assert reason(bare, "", "telefonulcopilului.md") == (Action.ALLOW, Reason.HELPLINE)


def test_the_open_box_stays_open_until_there_is_a_profile() -> None:
    box = open_household("ru")
    assert is_open_household(box)
    assert is_open_household(dataclasses.replace(box, timezone="Europe/Chisinau", country="md"))
    (everyone,) = box.profiles
    for changed in (
        dataclasses.replace(box, new_device_profile=""),
        dataclasses.replace(box, profiles=()),
        dataclasses.replace(box, profiles=(everyone, dataclasses.replace(everyone, id="ana"))),
        dataclasses.replace(box, profiles=(dataclasses.replace(everyone, filtered=True),)),
        dataclasses.replace(box, profiles=(dataclasses.replace(everyone, id="papa"),), new_device_profile="papa"),
    ):
        assert not is_open_household(changed)


def test_a_first_start_without_internet_filters(config: Config) -> None:
    assert reason(config, "tablet", "category-adult.guardian.test") == (Action.BLOCK, Reason.CATEGORY)
    assert reason(config, "tablet", "www.tiktok.com") == (Action.BLOCK, Reason.SERVICE)
    assert reason(config, "", "category-adult.guardian.test")[0] is Action.BLOCK  # unknown devices: the strictest


def test_the_database_comes_before_the_file(config: Config) -> None:
    catalogue = load_catalogue(names=False)
    assert [p.id for p in find_household(config, catalogue).profiles] == ["ana", "parents"]
    household = load_household_file(config.household, catalogue)
    save_household(config.settings, replace(household, profiles=household.profiles[1:], devices=()))
    assert [p.id for p in load_home(config).household.profiles] == ["parents"]


def test_the_image_and_the_one_before(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    first = load_home(config)
    assert first.starter
    put_image(config, "one.example")
    second = load_home(config, first)
    assert not second.starter and second.lists.name_count == 1
    assert second.catalogue is first.catalogue
    assert not caplog.records
    for damage in (b"", b"garbage" * 100, Path(config.lists.image).read_bytes()[:-9]):
        aside = Path(config.lists.image + ".aside")
        aside.write_bytes(damage)
        os.replace(aside, config.lists.image)
        caplog.clear()
        after = load_home(config, second)
        assert after.lists is second.lists and not after.starter
        assert "event=image-refused" in caplog.text and config.lists.image in caplog.text
    os.unlink(config.lists.image)
    caplog.clear()
    assert load_home(config, second).lists is second.lists
    assert "event=image-refused" in caplog.text
    caplog.clear()
    # Nothing was there before either: a fresh box, nothing to complain about.
    assert load_home(config, first).starter and load_home(config).starter
    assert not caplog.records


@pytest.mark.parametrize(
    ("file", "text"),
    [("home.yaml", "profiles: {ana: {age: 99}}"), ("home.yaml", None)],
)
def test_a_household_that_cannot_be_used(config: Config, tmp_path: Path, file: str, text: str | None) -> None:
    path = tmp_path / file
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(ConfigError, match=file.rpartition("/")[2]):
        load_home(config)


def test_pauses_come_on_top_of_the_household(config: Config) -> None:
    home = load_home(config)
    now = time.time()

    def paused(device: str, pauses: dict[str, float]) -> bool:
        posture = posture_of(home.compile(pauses), device, now)
        name = parse_name("www.open.example")
        return judge(posture, Kind.DNS_QUERY, name, home.lists.lookup(name)).reason is Reason.PAUSE

    assert not paused("tablet", {})
    assert paused("tablet", {"ana": FOREVER}) and paused("tablet", {"tablet": now + 60})
    assert not paused("tablet", {"ana": now - 1}) and not paused("tablet", {"parents": FOREVER, "nobody": FOREVER})
    household = add_pauses(home.household, {"ana": FOREVER})
    assert add_pauses(household, {"ana": 0.0}).profiles[0].paused_until == 0.0
    assert home.household.profiles[0].paused_until == 0.0


def test_starter_lists_have_their_own_key_each_time() -> None:
    catalogue = load_catalogue()
    first, second = build_starter_lists(catalogue), build_starter_lists(catalogue)
    name = parse_name("category-adult.guardian.test")
    assert first.tags == second.tags and first.lookup(name) == second.lookup(name) != 0
    assert first.name_count == second.name_count > 1000


def test_a_state_directory_that_cannot_be(config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for state, message in ((f"{tmp_path}/file/state", "Not a directory"), ("/proc/nothing/state", "cannot make")):
        with pytest.raises(GuardianError, match=message):
            make_state(replace(config, state=state))
    make_state(config)  # again
    assert os.stat(config.state).st_mode & 0o007 == 0


def test_a_damaged_database_does_not_keep_the_home_offline(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    """Until it can be read all devices get the strictest profile; a running home keeps what it has."""
    household = load_household_file(config.household, load_catalogue(names=False))
    save_household(config.settings, household)
    before = load_home(config)
    Path(config.settings).write_bytes(b"SQLite format 3\0" + os.urandom(4096))
    with pytest.raises(ConfigError):
        load_home(config, before)
    home = load_home(config)
    assert config.settings in home.household_error and "event=household-refused" in caplog.text
    assert reason(config, "tablet", "category-adult.guardian.test") == (Action.BLOCK, Reason.CATEGORY)
    assert reason(config, "anything", "www.example.com")[0] is Action.ALLOW
    os.unlink(config.settings)
    assert load_home(config).household_error == ""


def test_a_broken_household_file_is_told_to_who_starts_it(config: Config) -> None:
    Path(config.household).write_text("timezone: Nowhere/Land\n")
    with pytest.raises(ConfigError, match="Nowhere"):
        load_home(config)


def test_addresses_of_the_starter_data_then_those_of_the_file(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    google, relay = bytes([8, 8, 8, 8]), bytes([5, 6, 7, 8])
    first = load_home(config)
    assert first.addresses.lookup(google) == "bypass:doh" and first.addresses.lookup(relay) == ""
    assert {source.tag for source in first.addresses.sources} >= {"bypass:doh", "bypass:vpn", "bypass:tor"}
    path = Path(address_file(config.state))
    write_addresses(path, build_table([("bypass:tor", parse_network("5.6.7.8"))]))
    second = load_home(config, first)
    assert second.addresses.lookup(relay) == "bypass:tor" and second.addresses.count == 1
    assert not caplog.records
    path.write_bytes(path.read_bytes()[:-1])
    third = load_home(config, second)
    assert third.addresses is second.addresses and "cut off" in third.address_error
    assert "event=addresses-refused" in caplog.text and str(path) in caplog.text
    assert load_home(config).addresses.lookup(google) == "bypass:doh", "a start with a damaged file"
    path.unlink()
    fourth = load_home(config, third)
    assert fourth.addresses is second.addresses and fourth.address_error == ""


def test_the_policy_knows_the_addresses(config: Config) -> None:
    home = load_home(config)
    for policy, expected in ((home.compile(), Action.BLOCK), (home.compile(addresses=build_table(())), Action.ALLOW)):
        decision = decide(policy, Subject("tablet", Kind.ADDRESS, bytes([1, 1, 1, 1])), time.time())
        assert decision.action is expected
    assert (
        decide(home.compile(), Subject("tablet", Kind.ADDRESS, bytes([93, 184, 216, 34])), time.time()).action
        is Action.ALLOW
    )
