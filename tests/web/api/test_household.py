"""The household as a whole through the API: settings of the home, catalogue, journal, backup and restore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from guardian.catalogue import load_catalogue
from guardian.policy.model import Household
from guardian.store.household import encode_household
from guardian.store.settings import ConflictError, Entry
from guardian.web.routing import RefusalError
from tests.store.conftest import make_household
from tests.web.api.calls import Api, open_console

CATALOGUE = load_catalogue(names=False)


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(open_console(tmp_path))


def test_what_parents_set(api: Api) -> None:
    home = api("GET", "/household")
    assert (home.revision, home.set_up, home.timezone, home.country) == (0, True, "Europe/Chisinau", "")
    assert [(each.id, each.profile, each.macs) for each in home.devices] == [
        ("tablet", "ana", ["aa:00:5e:10:00:01"]), ("laptop", "parents", []),
    ]  # fmt: skip
    rules = [{"action": "block", "pattern": "ADS.example", "expires": 2e9, "note": "for all"}]
    changed = api("PATCH", "/household", {"country": "md", "new_devices": "", "rules": rules}, if_match=0)
    assert (changed.revision, changed.country, changed.new_devices, changed.language) == (1, "md", "", "ro")
    assert msgspec.to_builtins(changed.rules) == [rules[0] | {"pattern": "ads.example"}]
    assert api("GET", "/household") == changed
    assert api.console.household().country == "md"
    assert api.journal() == [("Mama", "household-changed", {"parts": "country new_devices rules"})]
    # Nothing new is no change.
    assert api("PATCH", "/household", {"country": "md"}).revision == 1
    assert api("PATCH", "/household", {}).revision == 1
    with pytest.raises(ConflictError):
        api("PATCH", "/household", {"country": "md"}, if_match=0)


def test_the_clock_of_the_home(api: Api) -> None:
    assert api("PATCH", "/household", {"timezone": "EET-2EEST,M3.5.0/3,M10.5.0/4", "language": "ru"}).language == "ru"
    assert api.console.household().tz.utcoffset(None) is None
    home = api("PATCH", "/household", {"timezone": "Europe/Bucharest"})
    assert home.timezone == "Europe/Bucharest"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"timezone": "Mars/Phobos"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"new_devices": "nobody"}, "new_devices"),
        (
            {"rules": [{"action": "allow", "pattern": "a.b"}, {"action": "block", "pattern": "1.2.3.4"}]},
            "rules[1].pattern",
        ),
    ],
)
def test_what_cannot_be(api: Api, body: dict[str, Any], where: str) -> None:
    assert list(api.problems("PATCH", "/household", body)) == [where]
    assert api("GET", "/household").revision == 0


@pytest.mark.parametrize(
    "body",
    [
        {"country": "MD"}, {"country": "mda"}, {"language": "de"}, {"timezone": 5}, {"revision": 9}, [], None, "x",
        {"rules": [{"action": "rewrite", "pattern": "a.b"}]}, {"rules": [{"action": "allow", "pattern": ""}]},
        {"rules": [{"action": "allow", "pattern": "a.b", "expires": -1}]},
    ],
)  # fmt: skip
def test_what_is_no_change_at_all(api: Api, body: Any) -> None:
    assert api.refusal("PATCH", "/household", body) == (422, "not-valid")


def test_the_catalogue(api: Api) -> None:
    catalogue = api("GET", "/catalogue")
    assert {"youtube", "tiktok"} <= {service.id for service in catalogue.services}
    assert [preset.age_band for preset in catalogue.presets] == ["0-6", "7-9", "10-12", "13-15", "16-17"]


def test_the_journal_by_pages(api: Api) -> None:
    for name in ("A", "B", "C", "D"):
        api("POST", "/profiles", {"name": name, "age_band": ""})
    first = api("GET", "/changes", limit="3").changes
    assert [line.details["profile"] for line in first] == ["D", "C", "B"]
    (last,) = api("GET", "/changes", limit="3", before=str(first[-1].id)).changes
    assert (last.who, last.kind, last.details, last.text) == (
        "Mama",
        "profile-made",
        {"profile": "A"},
        "profile A made",
    )
    assert last.at == pytest.approx(first[0].at, abs=60)
    for wrong in ({"limit": "0"}, {"limit": "201"}, {"before": "x"}, {"limit": "1", "more": "1"}):
        with pytest.raises(RefusalError):
            api("GET", "/changes", **wrong)


def test_the_journal_of_a_home_that_nobody_has_set(tmp_path: Path) -> None:
    assert Api(open_console(tmp_path, ""))("GET", "/changes").changes == []


def test_who_changed_it_is_hostile_text_too(api: Api) -> None:
    other = Api(api.console, who="<b>\u202eataT</b>")
    other("POST", "/profiles", {"name": "<script>alert(1)</script>\u202e", "age_band": ""})
    line = api("GET", "/changes").changes[0]
    assert (line.who, line.details) == ("<b>\u202eataT</b>", {"profile": "<script>alert(1)</script>\u202e"})


@given(household=make_household(CATALOGUE))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_backup_restores_any_household(tmp_path_factory: pytest.TempPathFactory, household: Household) -> None:
    api = Api(open_console(tmp_path_factory.mktemp("home")))
    text = encode_household(household)
    api.console.edit(Entry("", "any"), lambda _: household)
    assert api("GET", "/backup") == text
    api.console.edit(Entry("", "less"), lambda before: Household("UTC", before.tz, before.profiles[:1]))
    restored = api.raw("POST", "/restore", text)
    assert api.console.household() == household
    assert [each.id for each in restored.profiles] == [each.id for each in household.profiles]
    assert api("GET", "/backup") == text


def test_restore_is_one_change_and_one_line(api: Api) -> None:
    text = api("GET", "/backup")
    api("PATCH", "/household", {"country": "md"})
    home = api("POST", "/restore", text)
    assert (home.revision, home.country) == (2, "")
    assert api.journal()[0] == ("Mama", "restored", {})
    with pytest.raises(ConflictError):
        api("POST", "/restore", text, if_match=1)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "backup.yaml:1"),
        ("nonsense", "backup.yaml:1"),
        ("timezone: UTC\nprofiles: {ana: {age: 99}}", "backup.yaml:2"),
        ("timezone: UTC\nprofiles: {}\ndevices:\n  x:\n    profile: ana\n", "backup.yaml:5"),
        ("timezone: UTC\nprofiles:\n  a: &a {name: x}\n  b: *a\n", "backup.yaml:3"),
        ("timezone: UTC\nprofiles: !!python/object/apply:os.system ['true']", "backup.yaml:2"),
        ("timezone: UTC\ncountry: mda\nprofiles: {}", "backup.yaml:2"),
        ("[" * 5000, "backup.yaml:1"),
        ("timezone: UTC\nprofiles:\n" + "".join(f"  p{number}: {{}}\n" for number in range(65)), "backup.yaml:67"),
        ('timezone: UTC\nprofiles: {a: {name: "\\u0000"}}', "backup.yaml:2"),
    ],
)
def test_a_file_that_cannot_be_restored(api: Api, text: str, where: str) -> None:
    before = api("GET", "/household")
    assert where in api.problems("POST", "/restore", text)
    assert api("GET", "/household") == before
