"""Words for tags, from the real catalogue."""

from __future__ import annotations

from guardian.catalogue import load_catalogue
from guardian.web.shapes.household import Text
from guardian.web.tags import name_tags, tag_of


def test_categories_services_and_groups_have_names_in_three_languages() -> None:
    catalogue = load_catalogue(names=False)
    tags = ["category:games", "service:roblox", "group:video", "rule:block x.example", "category:nothing", "", "x:y"]
    found = name_tags(catalogue, tags)
    assert set(found) == {"category:games", "service:roblox", "group:video"}
    assert found["service:roblox"] == Text("Roblox", "Roblox", "Roblox")
    for text in (found["category:games"], found["group:video"]):
        assert text.en and text.ro and text.ru and text.en != text.ru
    everything = [f"category:{key}" for key in catalogue.categories]
    everything += [f"group:{service.group}" for service in catalogue.services.values()]
    assert set(name_tags(catalogue, everything)) == set(everything)


def test_what_has_minutes_of_its_own_is_a_tag() -> None:
    assert [tag_of(of) for of in ("", "youtube", "group:games")] == ["", "service:youtube", "group:games"]
