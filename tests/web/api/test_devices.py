"""Devices through the API: named, changed, merged, removed; and what is refused. No gateway runs here."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from guardian.policy.model import Visibility
from guardian.store.history import HistoryWriter
from guardian.store.history_record import Recorder
from guardian.store.household_form import MOST_DEVICES
from guardian.store.settings import ConflictError
from guardian.web.api.devices import MOST_PLACES
from tests.store.history_home import HOUR, NOW, Clock
from tests.web.api.calls import Api, open_console

TABLET, PHONE, OTHER = "aa:00:5e:10:00:01", "0a:00:5e:10:00:02", "00:00:5e:10:00:03"


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(open_console(tmp_path))


def device(api: Api, key: str) -> Any:
    return next(each for each in api("GET", "/household").devices if each.id == key)


def test_a_device_gets_its_name(api: Api) -> None:
    made = api("POST", "/devices", {"name": " Телефон Ани ", "profile": "ana", "macs": ["0A-00-5E-10-00-02"]})
    assert (made.id, made.name, made.profile, made.macs) == ("telefon-ani", "Телефон Ани", "ana", [PHONE])
    assert device(api, "telefon-ani") == made
    assert api.journal() == [("Mama", "device-named", {"device": "Телефон Ани", "profile": "Ana"})]
    listed = api("GET", "/devices")
    assert [each.device.id for each in listed.named] == ["tablet", "laptop", "telefon-ani"]
    assert (listed.revision, listed.new_devices, listed.unnamed) == (1, "guests", [])
    second = api("POST", "/devices", {"name": "Tablet", "profile": "parents", "addresses": ["FD00::/64"]})
    assert (second.id, second.addresses) == ("tablet-2", ["fd00::/64"])


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\tb"}, "name"),
        ({"profile": "nobody"}, "profile"),
        ({"macs": [PHONE, "x"]}, "macs[1]"),
        ({"macs": [PHONE, PHONE.upper()]}, "macs[1]"),
        ({"macs": [TABLET]}, "macs[0]"),
        ({"macs": ["ff:ff:ff:ff:ff:ff"]}, "macs[0]"),
        ({"addresses": ["127.0.0.2"]}, "addresses[0]"),
        ({"addresses": ["fe80::1%eth0"]}, "addresses[0]"),
        ({"addresses": ["192.168.1.7/24"]}, "addresses[0]"),
    ],
)
def test_a_device_that_cannot_be(api: Api, body: dict[str, Any], where: str) -> None:
    assert list(api.problems("POST", "/devices", {"name": "X", "profile": "ana", **body})) == [where]
    change = {key: value for key, value in body.items() if value != ["127.0.0.2"] and value != [TABLET]}
    if change:
        assert list(api.problems("PATCH", "/devices/tablet", change)) == [where]
    assert api("GET", "/household").revision == 0


def test_the_first_visit_names_several_or_none(api: Api) -> None:
    wanted = [
        {"name": "Phone", "profile": "ana", "mac": PHONE},
        {"name": "Phone", "profile": "parents", "mac": OTHER},
        {"name": "Printer", "profile": "parents", "address": "192.168.1.9"},
    ]
    told = api("POST", "/devices/naming", {"devices": wanted})
    assert [each.device.id for each in told.named] == ["tablet", "laptop", "phone", "phone-2", "printer"]
    assert told.revision == 3
    assert api.journal() == [
        ("Mama", "device-named", {"device": "Printer", "profile": "Parents"}),
        ("Mama", "device-named", {"device": "Phone", "profile": "Parents"}),
        ("Mama", "device-named", {"device": "Phone", "profile": "Ana"}),
    ]
    wrong = [
        {"name": "TV", "profile": "ana", "mac": "02:00:5e:10:00:77"},
        {"name": "TV", "profile": "ana", "mac": "02:00:5E:10:00:77"},
        {"name": "TV", "profile": "nobody", "mac": TABLET},
        {"name": "TV", "profile": "ana", "address": "192.168.1.9"},
        {"name": "TV", "profile": "ana"},
    ]
    problems = api.problems("POST", "/devices/naming", {"devices": wrong})
    assert list(problems) == [
        "devices[1].mac", "devices[2].profile", "devices[2].mac", "devices[3].address", "devices[4].mac",
    ]  # fmt: skip
    assert api("GET", "/household").revision == 3
    assert api.refusal("POST", "/devices/naming", {"devices": []}) == (422, "not-valid")


def test_there_are_only_so_many_devices(api: Api) -> None:
    """Also when they are many at once: then none is named, and what is there can still be changed."""
    text = "timezone: UTC\nprofiles: {ana: {}}\ndevices:\n"
    text += "".join(f"  d{number}: {{profile: ana}}\n" for number in range(MOST_DEVICES - 1))
    api("POST", "/restore", text)
    pair = [{"name": "A", "profile": "ana", "mac": PHONE}, {"name": "B", "profile": "ana", "mac": OTHER}]
    assert api.refusal("POST", "/devices/naming", {"devices": pair}) == (409, "too-many")
    assert len(api("GET", "/household").devices) == MOST_DEVICES - 1
    api("POST", "/devices", {"name": "Last", "profile": "ana", "macs": [PHONE]})
    assert api.refusal("POST", "/devices", {"name": "More", "profile": "ana", "macs": [OTHER]}) == (409, "too-many")
    api("PATCH", "/devices/last", {"name": "The last"})
    api("DELETE", "/devices/d7")
    assert api("POST", "/devices", {"name": "More", "profile": "ana", "macs": [OTHER]}).id == "more"
    assert api("POST", "/restore", api.raw("GET", "/backup")).revision > 0


def test_a_device_is_changed(api: Api) -> None:
    changed = api("PATCH", "/devices/tablet", {"name": "Ana's tablet", "macs": [TABLET, PHONE]}, if_match=0)
    assert (changed.id, changed.name, changed.macs, changed.addresses) == (
        "tablet", "Ana's tablet", [TABLET, PHONE], ["127.0.0.2"],
    )  # fmt: skip
    assert api.journal() == [("Mama", "device-changed", {"device": "Ana's tablet"})]
    assert api("PATCH", "/devices/tablet", {"profile": "parents"}).profile == "parents"
    assert api.journal()[0] == ("Mama", "device-moved", {"device": "Ana's tablet", "profile": "Parents"})
    both = api("PATCH", "/devices/tablet", {"profile": "ana", "addresses": []})
    assert (both.profile, both.addresses) == ("ana", [])
    assert [kind for _, kind, _ in api.journal()] == [
        "device-moved",
        "device-changed",
        "device-moved",
        "device-changed",
    ]
    revision = api("GET", "/household").revision
    api("PATCH", "/devices/tablet", {"name": "Ana's tablet"})
    assert api("GET", "/household").revision == revision
    with pytest.raises(ConflictError):
        api("PATCH", "/devices/tablet", {"name": "X"}, if_match=0)


def test_a_device_goes(api: Api) -> None:
    assert api("DELETE", "/devices/tablet") is None
    assert api.journal() == [("Mama", "device-removed", {"device": "Tablet"})]
    assert [each.id for each in api("GET", "/household").devices] == ["laptop"]
    assert api.refusal("DELETE", "/devices/tablet") == (404, "not-found")


def test_two_faces_of_one_device(api: Api) -> None:
    api("POST", "/devices", {"name": "Galaxy", "profile": "guests", "macs": [PHONE], "addresses": ["192.168.1.9"]})
    merged = api("POST", "/devices/tablet/merge", {"device": "galaxy"})
    assert (merged.name, merged.profile) == ("Tablet", "ana")
    assert (merged.macs, merged.addresses) == ([TABLET, PHONE], ["127.0.0.2", "192.168.1.9"])
    assert [each.id for each in api("GET", "/household").devices] == ["tablet", "laptop"]
    assert api.journal()[0] == ("Mama", "devices-merged", {"device": "Tablet", "other": "Galaxy"})
    merged = api("POST", "/devices/tablet/merge", {"mac": OTHER.upper()})
    assert merged.macs == [TABLET, PHONE, OTHER]
    assert api.journal()[0] == ("Mama", "devices-merged", {"device": "Tablet", "other": OTHER})


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "device"),
        ({"device": "laptop", "mac": PHONE}, "device"),
        ({"device": "tablet"}, "device"),
        ({"mac": "x"}, "mac"),
        ({"mac": TABLET}, "mac"),
    ],
)
def test_what_cannot_be_merged(api: Api, body: dict[str, Any], where: str) -> None:
    assert list(api.problems("POST", "/devices/tablet/merge", body)) == [where]
    assert api("GET", "/household").revision == 0


def test_a_phone_that_makes_up_macs_for_ever(api: Api) -> None:
    """Each is merged by hand; the oldest made-up ones go, the one of its maker never does."""
    api("PATCH", "/devices/tablet", {"macs": [OTHER]})
    made_up = [f"0a:00:00:00:00:{number:02x}" for number in range(MOST_PLACES + 3)]
    for mac in made_up:
        api("POST", "/devices/tablet/merge", {"mac": mac})
    assert device(api, "tablet").macs == [OTHER, *made_up[-MOST_PLACES + 1 :]]


def test_too_many_addresses_together(api: Api) -> None:
    many = [f"192.168.9.{number}" for number in range(MOST_PLACES)]
    api("POST", "/devices", {"name": "Many", "profile": "ana", "addresses": many})
    assert list(api.problems("POST", "/devices/tablet/merge", {"device": "many"})) == ["device"]
    assert device(api, "many").addresses == many


def test_nobody_has_this_id(api: Api) -> None:
    for method, path, body in (
        ("PATCH", "", {"name": "X"}), ("DELETE", "", None), ("POST", "/merge", {"mac": PHONE}),
        ("POST", "/pause", {"action": "pause"}),
    ):  # fmt: skip
        assert api.refusal(method, f"/devices/nobody{path}", body) == (404, "not-found")
    assert api.refusal("POST", "/devices/tablet/merge", {"device": "nobody"}) == (404, "not-found")
    assert api("GET", "/household").revision == 0


def test_one_device_is_paused(api: Api) -> None:
    evening = datetime(2026, 11, 23, 20, 14, tzinfo=ZoneInfo("Europe/Chisinau")).timestamp()
    assert api("POST", "/devices/tablet/pause", {"action": "bedtime"}, now=evening).revision == 1
    morning = datetime(2026, 11, 24, 7, tzinfo=ZoneInfo("Europe/Chisinau")).timestamp()
    assert device(api, "tablet").pause.until == morning
    api("POST", "/devices/tablet/pause", {"action": "resume"}, now=evening)
    assert device(api, "tablet").pause is None
    assert api.journal() == [
        ("Mama", "resume", {"device": "Tablet"}),
        ("Mama", "bedtime", {"device": "Tablet", "until": int(morning)}),
    ]
    assert list(api.problems("POST", "/devices/tablet/pause", {"action": "resume", "minutes": 5})) == ["minutes"]


def test_settings_that_cannot_be_written_change_nothing(api: Api) -> None:
    api("PATCH", "/devices/tablet", {"name": "One"})
    with open(api.console.config.settings, "r+b") as file:
        file.seek(0)
        file.write(b"not a database at all")
    before = os.stat(api.console.config.settings).st_size
    from guardian.errors import ConfigError

    with pytest.raises(ConfigError):
        api("PATCH", "/devices/tablet", {"name": "Two"})
    assert os.stat(api.console.config.settings).st_size == before


def test_a_new_device_or_child_never_inherits_the_history_of_one_that_is_gone(tmp_path: Path) -> None:
    """Its id may be another child's old one: what that child did must not show up under it."""
    console = open_console(tmp_path)
    api = Api(console)
    recorder = Recorder()
    recorder.add(HOUR, "phone", None, "block", "category", "category:games", 3, NOW, Visibility.NAMES)
    recorder.note_minutes("2026-11-22", "mara", "", 12.0)
    writer = HistoryWriter(console.config.history.path, clock=Clock())
    writer.start()
    assert writer.submit(recorder.take())
    writer.close()
    made = api("POST", "/devices", {"name": "Phone", "profile": "ana", "macs": ["aa:00:5e:10:00:09"]})
    assert made.id == "phone-2"
    assert api("POST", "/profiles", {"name": "Mara", "age_band": "7-9"}).id == "mara-2"
