"""Who is whose, who is nobody's, and who may be the other face of whom."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from guardian.policy.model import Device, Household, Profile
from guardian.web.access import Whose
from guardian.web.shapes.devices import Devices, Sighting
from guardian.web.sightings import Seen, sort_devices

PHONE, LAPTOP, RANDOM = "00:00:5e:10:00:01", "00:00:5e:10:00:02", "0a:00:5e:10:00:03"
NOBODY = Whose()
HOME = Household(
    "UTC",
    UTC,
    (Profile("ana", "Ana"),),
    (
        Device("phone", "Phone", "ana", (PHONE,)),
        Device("tv", "TV", "ana", (), ("192.168.1.7",)),
        Device("drawer", "In the drawer", "ana", ("00:00:5e:10:00:99",)),
    ),
    "ana",
)


def see(mac: str, hostname: str = "", *addresses: str, last: float = 100.0, online: bool = False) -> Sighting:
    return Sighting(mac, mac[:2] == "0a", "", hostname, list(addresses), 10.0, last, online)


def sort(*seen: Sighting, device: str = "", caller: Whose = NOBODY, address: str = "") -> Devices:
    return sort_devices(HOME, 3, [Seen(each, device) for each in seen], caller, address)


def test_named_and_unnamed() -> None:
    told = sort(
        see(PHONE, "galaxy", "192.168.1.5", last=50.0),
        see(LAPTOP, "<script>", "192.168.1.6", last=60.0, online=True),
        see(RANDOM, "", "192.168.1.8", last=90.0),
    )
    assert (told.revision, told.new_devices) == (3, "ana")
    phone, tv, drawer = told.named
    assert ([each.mac for each in phone.sightings], phone.online, phone.last_seen) == ([PHONE], False, 50.0)
    assert (tv.sightings, tv.online, tv.last_seen) == ([], False, None)
    assert drawer.sightings == []
    assert [each.sighting.mac for each in told.unnamed] == [RANDOM, LAPTOP]
    assert told.unnamed[1].sighting.hostname == "<script>"


def test_a_device_by_its_address() -> None:
    """It is found by the newest address: the older one may be somebody else's by now."""
    tv = sort(see(LAPTOP, "tv", "192.168.1.7", online=True)).named[1]
    assert ([each.mac for each in tv.sightings], tv.online) == ([LAPTOP], True)
    moved = sort(see(LAPTOP, "tv", "192.168.1.50", "192.168.1.7"))
    assert moved.named[1].sightings == []
    assert len(moved.unnamed) == 1
    # Without a MAC the gateway knows whose it is.
    assert sort(see("", "", "192.168.1.7"), device="tv").named[1].last_seen == 100.0
    stranger = sort(see("", "", "192.168.1.60"))
    assert [each.sighting.addresses for each in stranger.unnamed] == [["192.168.1.60"]]
    both = sort(see("", "", "192.168.1.60"), see(LAPTOP, "", "192.168.1.60"))
    assert [each.sighting.mac for each in both.unnamed] == [LAPTOP]


def test_the_callers_own() -> None:
    seen = (see(PHONE, "", "192.168.1.5"), see(LAPTOP, "", "192.168.1.6"))
    told = sort(*seen, caller=Whose("phone", "ana", "Phone", mac=PHONE), address="192.168.1.5")
    assert ([each.this for each in told.named], [each.this for each in told.unnamed]) == ([True, False, False], [False])
    told = sort(*seen, caller=Whose(mac=LAPTOP), address="192.168.1.6")
    assert ([each.this for each in told.named], [each.this for each in told.unnamed]) == ([False] * 3, [True])
    told = sort(*seen, address="192.168.1.6")  # the gateway did not answer
    assert [each.this for each in told.unnamed] == [True]
    assert sort(*seen, address="192.168.1.5").named[0].this


@pytest.mark.parametrize(
    ("newcomer", "known", "twin"),
    [
        ({"hostname": "Galaxy"}, {"hostname": "galaxy"}, "phone"),
        ({"hostname": "galaxy", "online": True}, {"hostname": "galaxy"}, "phone"),
        ({"hostname": "galaxy", "online": True}, {"hostname": "galaxy", "online": True}, ""),  # two at once are two
        ({"hostname": "iphone"}, {"hostname": "galaxy"}, ""),
        ({"hostname": ""}, {"hostname": ""}, ""),
        ({"hostname": "galaxy", "mac": LAPTOP}, {"hostname": "galaxy"}, ""),  # a MAC of its maker does not change
    ],
)
def test_the_other_face(newcomer: dict[str, Any], known: dict[str, Any], twin: str) -> None:
    stranger = see(**{"mac": RANDOM, **newcomer})
    told = sort(see(PHONE, **known), stranger)
    assert [each.twin for each in told.unnamed] == [twin]


def test_two_that_call_themselves_the_same() -> None:
    told = sort(see(PHONE, "galaxy"), see("00:00:5e:10:00:99", "galaxy"), see(RANDOM, "galaxy"))
    assert [each.twin for each in told.unnamed] == [""]
