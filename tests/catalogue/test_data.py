"""The starter data is complete, consistent, and blocks nothing that it must not."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

import pytest

from guardian.blocklist.addresses import build_table
from guardian.catalogue import load_addresses
from guardian.names import count_labels, format_name, is_below, parse_name, suffixes
from guardian.policy.model import Catalogue, HelpKind, Visibility, YouTube


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


def test_services_are_many_and_of_one_owner_each(catalogue: Catalogue) -> None:
    assert len(catalogue.services) >= 70
    owners = Counter(name for service in catalogue.services.values() for name in service.domains)
    assert [format_name(name) for name, count in owners.items() if count > 1] == []
    by_name = {name: service.id for service in catalogue.services.values() for name in service.domains}
    nested = [
        (format_name(name), service_id, by_name[parent])
        for name, service_id in by_name.items()
        for parent in suffixes(name)
        if parent != name and parent in by_name
    ]
    assert nested == [], "a name below another is either needless or another service's"
    known = words("youtube tiktok whatsapp telegram discord roblox steam chatgpt temu tinder vk zoom netflix twitch")
    assert set(known) <= set(catalogue.services)


def test_starter_names_swallow_nothing_shared(catalogue: Catalogue) -> None:
    wrong = []
    shared = [parse_name(name) for name in SHARED]
    essential = catalogue.protected | catalogue.protected_exact
    for tag, names in catalogue.tagged.items():
        assert len(names) == len(set(names)) and names, tag
        for name in names:
            text = format_name(name)
            if count_labels(name) < 2 or text in PUBLIC_SUFFIXES:
                wrong.append(f"{tag}: {text} is a public suffix")
            if not tag.startswith("allowed:"):
                wrong += [f"{tag}: {text} would take {format_name(kept)}" for kept in shared if is_below(kept, name)]
            if not tag.startswith(("allowed:", "helpline")):
                wrong += [
                    f"{tag}: {text} would block {format_name(kept)}"
                    for kept in essential
                    if is_below(kept, name) or (kept in catalogue.protected and is_below(name, kept))
                ]
    assert not wrong, "\n".join(wrong)


def test_ways_around_are_known(catalogue: Catalogue) -> None:
    tagged = {tag: texts(names) for tag, names in catalogue.tagged.items()}
    assert len(tagged["bypass:doh"]) >= 60
    assert len(tagged["bypass:vpn"]) >= 60
    assert {"dns.google", "cloudflare-dns.com", "one.one.one.one", "dns.quad9.net", "dns.nextdns.io"} <= tagged[
        "bypass:doh"
    ]
    assert {"mask.icloud.com", "mask-h2.icloud.com"} <= tagged["bypass:relay"]
    assert "use-application-dns.net" in tagged["bypass:canary"]
    assert "cloudflare-ech.com" in tagged["bypass:ech"]
    assert {"torproject.org", "i2p.net"} <= tagged["bypass:tor"]
    assert tagged["bypass:doh"] - {"bypass-doh.guardian.test"} <= tagged["category:doh"]
    assert tagged["bypass:proxy"] - {"bypass-proxy.guardian.test"} <= tagged["category:redirectors"]


def test_addresses_of_ways_around_are_known_and_touch_nobody_else(catalogue: Catalogue) -> None:
    known = load_addresses()
    assert set(known.tagged) <= set(catalogue.tagged), "each has a name to try as well"
    table = build_table((tag, network) for tag, networks in known.tagged.items() for network in networks)
    wanted = {
        "bypass:doh": """1.1.1.1 1.0.0.1 2606:4700:4700::1111 2606:4700:4700::1001 8.8.8.8 8.8.4.4 2001:4860:4860::8888
            2001:4860:4860::8844 9.9.9.9 149.112.112.112 2620:fe::fe 208.67.222.222 94.140.14.14 185.228.168.168
            45.90.28.200 2a07:a8c0::77 194.242.2.2 77.88.8.8""",
        "bypass:tor": "128.31.0.39 2001:67c:289c::9",
        "bypass:vpn": "162.159.192.1",
    }
    for tag, texts_ in wanted.items():
        for text in texts_.split():
            assert table.lookup(ipaddress.ip_address(text).packed) == tag, text
    assert table.count == sum(map(len, known.tagged.values())), "no address has two kinds"
    for network in (network for networks in known.tagged.values() for network in networks):
        assert network.bits >= (24 if len(network.first) == 4 else 32), f"{network} is wide for hand-made data"
    shared = build_table((owner, network) for owner, networks in known.shared.items() for network in networks)
    assert shared.count == sum(map(len, known.shared.values()))
    assert shared.lookup(ipaddress.ip_address("104.16.132.229").packed) == "cloudflare"
    assert shared.lookup(ipaddress.ip_address("17.248.131.13").packed) == "apple"


def test_safe_search_covers_every_engine_and_country(catalogue: Catalogue) -> None:
    by_twin = Counter(format_name(twin) for twin in catalogue.safe_search.values())
    assert by_twin["forcesafesearch.google.com"] >= 2 * 185
    google = texts(catalogue.safe_search)
    for country in words("com ro md com.ua ru de co.uk fr it com.tr pl bg co.jp com.br cat"):
        assert {f"google.{country}", f"www.google.{country}"} <= google
    for twin in ("strict.bing.com", "safe.duckduckgo.com", "familysearch.yandex.ru", "strict-safe-search.ecosia.org"):
        assert by_twin[twin]
    # What is rewritten is not blocked as unsafe, and a twin is not rewritten again.
    unsafe = set(catalogue.tagged["category:search_unsafe"])
    for asked, answered in catalogue.safe_search.items():
        assert not unsafe.intersection(suffixes(asked))
        assert not unsafe.intersection(suffixes(answered))
        assert answered not in catalogue.safe_search
    assert texts(catalogue.youtube) == {
        "www.youtube.com",
        "m.youtube.com",
        "youtubei.googleapis.com",
        "youtube.googleapis.com",
        "www.youtube-nocookie.com",
    }
    for modes in catalogue.youtube.values():
        assert format_name(modes[YouTube.STRICT]) == "restrict.youtube.com"
        assert format_name(modes[YouTube.MODERATE]) == "restrictmoderate.youtube.com"


def test_presets_loosen_with_age(catalogue: Catalogue) -> None:
    bands = ["0-6", "7-9", "10-12", "13-15", "16-17"]
    assert list(catalogue.presets) == bands
    presets = [catalogue.presets[band] for band in bands]
    assert [preset.visibility for preset in presets] == [
        Visibility.NAMES,
        Visibility.NAMES,
        Visibility.NAMES,
        Visibility.CATEGORIES,
        Visibility.COUNTS,
    ]
    assert [preset.safe_search.youtube for preset in presets] == [*[YouTube.STRICT] * 3, YouTube.MODERATE, YouTube.OFF]
    assert [preset.allow_list_only for preset in presets] == [True, False, False, False, False]
    assert all(preset.bypass_protection and preset.safe_search.enabled for preset in presets)
    for younger, older in pairwise(presets):
        assert older.categories < younger.categories
        assert sum(younger.minutes or [1440]) <= sum(older.minutes or [1440] * 7)
        assert {rule.service for rule in older.services} <= {rule.service for rule in younger.services} | (
            set(catalogue.services) if younger.allow_list_only else set()
        )
    always = {"adult", "gambling", "phishing", "malware", "stalkerware", "self_harm"}
    assert all(always <= preset.categories for preset in presets)
    for preset in presets:  # a bedtime for every school night
        assert {day for window in preset.schedule.windows for day in window.days} >= {6, 0, 1, 2, 3}


@pytest.mark.parametrize(
    "gateway",
    [
        "epdg.epc.mnc001.mcc259.pub.3gppnetwork.org",  # an operator of Moldova
        "sos.epdg.epc.mnc010.mcc226.pub.3gppnetwork.org",  # emergency calls; Romania
        "sos.epdg.epc.mcc255.visited-country.pub.3gppnetwork.org",
    ],
)
def test_calls_over_wifi_are_kept_open_and_on_no_page(catalogue: Catalogue, gateway: str) -> None:
    above = set(suffixes(parse_name(gateway)))
    assert above & set(catalogue.tagged["helpline"]) & catalogue.protected
    assert not any("3gpp" in helpline.url for helpline in catalogue.helplines)


def test_helplines_are_shown_and_never_blocked(catalogue: Catalogue) -> None:
    by_country = {
        country: [h for h in catalogue.helplines if h.country == country] for country in ("md", "ro", "ua", "")
    }
    for country in ("md", "ro", "ua"):
        assert any(h.kind is HelpKind.CHILD and h.phone == "116 111" for h in by_country[country])
        assert any(h.kind is HelpKind.EMERGENCY and h.phone == "112" for h in by_country[country])
    assert any(h.kind is HelpKind.BEHAVIOUR for h in by_country[""])
    assert any(h.about for h in catalogue.helplines)
    ids = [helpline.id for helpline in catalogue.helplines]
    assert len(set(ids)) == len(ids)
    listed = set(catalogue.tagged["helpline"])
    for helpline in catalogue.helplines:
        assert {"en", "ro", "ru"} <= set(helpline.names)
        assert helpline.phone or helpline.url
        assert not helpline.about or {"en", "ro", "ru"} <= set(helpline.about)
        if helpline.url:
            assert helpline.url.startswith("https://")
            host = helpline.url.removeprefix("https://").partition("/")[0]
            assert listed.intersection(suffixes(parse_name(host))), f"{host} is shown, but not kept open"
    assert listed <= catalogue.protected
    for tag, names in catalogue.tagged.items():
        if tag != "helpline":
            assert not [
                format_name(n) for n in names if any(is_below(n, line) or is_below(line, n) for line in listed)
            ], tag
