"""The starter data is complete, consistent, and blocks nothing that it must not."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest

from guardian.catalogue import MANDATORY_TEST, SourceAction, find_data, load_catalogue, load_sources, make_test_name
from guardian.errors import ConfigError
from guardian.names import count_labels, format_name, is_below, parse_name, suffixes
from guardian.policy.model import HelpKind, Visibility, YouTube

CATALOGUE = load_catalogue()


def words(text: str) -> list[str]:
    return text.split()


# Names that carry what belongs to everybody: neither they nor anything above may be tagged.
SHARED = words("""googleapis.com gstatic.com googleusercontent.com google.com www.google.com apple.com icloud.com
microsoft.com windows.com live.com office.com akamai.net akamaized.net akamaihd.net cloudfront.net amazonaws.com
cloudflare.com
fastly.net azureedge.net wikipedia.org github.com github.io yandex.ru yandex.net mail.ru qq.com 163.com naver.jp
office.net cloud.microsoft wordpress.com blogspot.com synology.me asuscomm.com herokuapp.com mit.edu""")
# Public suffixes that look like an ordinary name; a single label is one as well.
PUBLIC_SUFFIXES = words("""co.uk org.uk me.uk com.au com.br com.tr com.ua com.mx com.be co.jp co.kr co.il com.cn com.ru
msk.ru
com.ro org.ro co.in co.za com.pl in.ua kiev.ua github.io gitlab.io pages.dev workers.dev netlify.app vercel.app web.app
herokuapp.com blogspot.com appspot.com cloudfront.net eu.org duckdns.org""")


def texts(names: Iterable[bytes]) -> set[str]:
    return {format_name(name) for name in names}


def test_services_are_many_and_of_one_owner_each() -> None:
    assert len(CATALOGUE.services) >= 70
    owners = Counter(name for service in CATALOGUE.services.values() for name in service.domains)
    assert [format_name(name) for name, count in owners.items() if count > 1] == []
    by_name = {name: service.id for service in CATALOGUE.services.values() for name in service.domains}
    nested = [
        (format_name(name), service_id, by_name[parent])
        for name, service_id in by_name.items()
        for parent in suffixes(name)
        if parent != name and parent in by_name
    ]
    assert nested == [], "a name below another is either needless or another service's"
    known = words("youtube tiktok whatsapp telegram discord roblox steam chatgpt temu tinder vk zoom netflix twitch")
    assert set(known) <= set(CATALOGUE.services)


@pytest.mark.parametrize("tag", sorted(CATALOGUE.tagged))
def test_starter_names_swallow_nothing_shared(tag: str) -> None:
    names = CATALOGUE.tagged[tag]
    assert len(names) == len(set(names)) and names
    for name in names:
        text = format_name(name)
        assert count_labels(name) >= 2 and text not in PUBLIC_SUFFIXES, f"{text} is a public suffix"
        if not tag.startswith("allowed:"):
            swallowed = [shared for shared in SHARED if is_below(parse_name(shared), name)]
            assert swallowed == [], f"{tag}: {text} would take {swallowed}"
        if not tag.startswith(("allowed:", "helpline")):
            essential = [
                format_name(kept)
                for kept in CATALOGUE.protected | CATALOGUE.protected_exact
                if is_below(kept, name) or (kept in CATALOGUE.protected and is_below(name, kept))
            ]
            assert essential == [], f"{tag}: {text} would block {essential}"


def test_every_tag_has_a_name_to_try() -> None:
    for tag, names in CATALOGUE.tagged.items():
        assert parse_name(make_test_name(tag)) in names
    assert make_test_name("category:social_networks") == "category-social-networks.guardian.test"
    assert make_test_name(MANDATORY_TEST) == "mandatory.guardian.test"
    all_names = [make_test_name(tag) for tag in CATALOGUE.tagged]
    assert len(set(all_names)) == len(all_names)


def test_ways_around_are_known() -> None:
    tagged = {tag: texts(names) for tag, names in CATALOGUE.tagged.items()}
    assert len(tagged["bypass:doh"]) >= 60
    assert len(tagged["bypass:vpn"]) >= 60
    assert {"dns.google", "cloudflare-dns.com", "one.one.one.one", "dns.quad9.net", "dns.nextdns.io"} <= tagged[
        "bypass:doh"
    ]
    assert {"mask.icloud.com", "mask-h2.icloud.com"} <= tagged["bypass:relay"]
    assert "use-application-dns.net" in tagged["bypass:canary"]
    assert tagged["bypass:doh"] - {"bypass-doh.guardian.test"} <= tagged["category:doh"]
    assert tagged["bypass:proxy"] - {"bypass-proxy.guardian.test"} <= tagged["category:redirectors"]


def test_safe_search_covers_every_engine_and_country() -> None:
    by_twin = Counter(format_name(twin) for twin in CATALOGUE.safe_search.values())
    assert by_twin["forcesafesearch.google.com"] >= 2 * 185
    google = texts(CATALOGUE.safe_search)
    for country in words("com ro md com.ua ru de co.uk fr it com.tr pl bg co.jp com.br cat"):
        assert {f"google.{country}", f"www.google.{country}"} <= google
    for twin in ("strict.bing.com", "safe.duckduckgo.com", "familysearch.yandex.ru", "strict-safe-search.ecosia.org"):
        assert by_twin[twin]
    # What is rewritten is not blocked as unsafe, and a twin is not rewritten again.
    unsafe = set(CATALOGUE.tagged["category:search_unsafe"])
    for name, twin in CATALOGUE.safe_search.items():
        assert not unsafe.intersection(suffixes(name))
        assert not unsafe.intersection(suffixes(twin))
        assert twin not in CATALOGUE.safe_search
    assert texts(CATALOGUE.youtube) == {
        "www.youtube.com",
        "m.youtube.com",
        "youtubei.googleapis.com",
        "youtube.googleapis.com",
        "www.youtube-nocookie.com",
    }
    for modes in CATALOGUE.youtube.values():
        assert format_name(modes[YouTube.STRICT]) == "restrict.youtube.com"
        assert format_name(modes[YouTube.MODERATE]) == "restrictmoderate.youtube.com"


def test_presets_loosen_with_age() -> None:
    bands = ["0-6", "7-9", "10-12", "13-15", "16-17"]
    assert list(CATALOGUE.presets) == bands
    presets = [CATALOGUE.presets[band] for band in bands]
    assert [preset.visibility for preset in presets] == [
        Visibility.NAMES,
        Visibility.NAMES,
        Visibility.NAMES,
        Visibility.CATEGORIES,
        Visibility.COUNTS,
    ]
    assert [preset.allow_list_only for preset in presets] == [True, False, False, False, False]
    assert all(preset.bypass_protection and preset.safe_search.enabled for preset in presets)
    for younger, older in pairwise(presets):
        assert older.categories < younger.categories
        assert sum(younger.minutes or [1440]) <= sum(older.minutes or [1440] * 7)
        assert {rule.service for rule in older.services} <= {rule.service for rule in younger.services} | (
            set(CATALOGUE.services) if younger.allow_list_only else set()
        )
    always = {"adult", "gambling", "phishing", "malware", "stalkerware", "self_harm"}
    assert all(always <= preset.categories for preset in presets)
    for preset in presets:  # a bedtime for every school night
        assert {day for window in preset.schedule.windows for day in window.days} >= {6, 0, 1, 2, 3}


def test_helplines_are_shown_and_never_blocked() -> None:
    by_country = {
        country: [h for h in CATALOGUE.helplines if h.country == country] for country in ("md", "ro", "ua", "")
    }
    for country in ("md", "ro", "ua"):
        assert any(h.kind is HelpKind.CHILD and h.phone == "116 111" for h in by_country[country])
        assert any(h.kind is HelpKind.EMERGENCY and h.phone == "112" for h in by_country[country])
    assert any(h.kind is HelpKind.BEHAVIOUR for h in by_country[""])
    ids = [helpline.id for helpline in CATALOGUE.helplines]
    assert len(set(ids)) == len(ids)
    listed = set(CATALOGUE.tagged["helpline"])
    for helpline in CATALOGUE.helplines:
        assert {"en", "ro", "ru"} <= set(helpline.names)
        assert helpline.phone or helpline.url
        if helpline.url:
            assert helpline.url.startswith("https://")
            host = helpline.url.removeprefix("https://").partition("/")[0]
            assert listed.intersection(suffixes(parse_name(host))), f"{host} is shown, but not kept open"
    assert listed <= CATALOGUE.protected
    for tag, names in CATALOGUE.tagged.items():
        if tag != "helpline":
            assert not [
                format_name(n) for n in names if any(is_below(n, line) or is_below(line, n) for line in listed)
            ], tag


def test_sources_are_complete() -> None:
    sources = load_sources()
    assert len(sources) >= 40
    known = set(CATALOGUE.tagged)
    for source_id, source in sources.items():
        assert source.url.startswith("https://") and source.licence, source_id
        assert set(source.tags) <= known, source_id
        assert not source.url.startswith(("https://cdn.jsdelivr.net", "https://unpkg.com", "https://registry."))
    fetched = {tag for s in sources.values() if s.enabled and s.action is SourceAction.LIST for tag in s.tags}
    for name in words("adult gambling dating drugs phishing malware ads tracking games ai warez search_unsafe"):
        assert f"category:{name}" in fetched
    assert len({source.url for source in sources.values()}) == len(sources)


def test_the_gateway_leaves_out_what_only_images_need() -> None:
    small = load_catalogue(names=False)
    assert small.tagged == {} and small.protected == frozenset()
    assert small.services == CATALOGUE.services and small.presets == CATALOGUE.presets
    assert small.safe_search == CATALOGUE.safe_search and small.helplines == CATALOGUE.helplines


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
        ("categories.yaml", "ru: Вирусы", "rs: Вирусы", "no text in ru"),
        ("safe_search.yaml", "names: search.brave.com", "names: www.bing.com", "rewritten twice"),
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


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("tags: categry:adult", "not a tag"),
        ("tags: adult", "not a tag"),
        ("limit: 5G", "not a size"),
        ("action: blok", "none of"),
        ("lisence: MIT", "did you mean 'licence'"),
    ],
)
def test_a_mistake_in_sources_is_reported(tmp_path: Path, field: str, expected: str) -> None:
    path = tmp_path / "sources.yaml"
    given = "" if field.startswith("tags") else "    tags: category:adult\n"
    path.write_text(f"sources:\n  mine:\n    url: https://example.org/list\n{given}    {field}\n")
    with pytest.raises(ConfigError) as caught:
        load_sources(str(path))
    assert expected in caught.value.problems[0].message
    assert caught.value.problems[0].where.startswith(f"{path}:")


def test_a_source_id_is_safe_as_a_file_name(tmp_path: Path) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text('sources:\n  "../../etc/passwd":\n    url: https://example.org/list\n    tags: category:adult\n')
    with pytest.raises(ConfigError, match="not an id"):
        load_sources(str(path))
