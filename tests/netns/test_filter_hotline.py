"""The hotline's lists over real packets: a flow whose name nobody has settled yet waits for a moment, and no longer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from guardian.blocklist.feed_base import STANDARD
from tests.gateway.product import wait_for
from tests.hotline.listed_feed import Entry, install
from tests.netns.lab import plan
from tests.netns.lab.device import Device, Download
from tests.netns.lab.home import Lab, World
from tests.netns.test_filter_now import BOUND, at

MORE = {"filter": {"quic": "inspect"}, "hotline": {"url": "http://127.0.0.1:1/", "root": "root.json"}}
PATIENCE = 2.0  # seconds to the first page of a site that was never seen before
ENTRIES: list[Entry] = [
    ("d", "video.open.example", 0),
    ("u", "news.open.example/page", 0),
    ("p", "news.open.example/folder", 1),
]
QUIC = "quic.open.example"

_numbers = itertools.count(1)


def put_in_force(lab: Lab, entries: list[Entry], salt: bytes | None = None) -> None:
    """A list as an update brings it. Each has a salt of its own, so that no key is known, unless `salt` is given."""
    number = next(_numbers)
    folder = Path(lab.guardian.settings["state"])
    more = {"salt": salt or number.to_bytes(32), "cost": STANDARD}
    install(lab.guardian.folder / folder / "hotline", entries, serial=number, **more)  # type: ignore[arg-type]
    lab.guardian.control("reload")


@pytest.fixture(scope="module")
def lab(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with world.protected(tmp_path_factory.mktemp("router"), filter=True, more=MORE) as lab:
        yield lab


@pytest.fixture(autouse=True)
def nothing_is_known(lab: Lab) -> None:
    put_in_force(lab, ENTRIES)
    lab.seen.forget()
    assert lab.guardian.status()["hotline"]["keys"] == 0


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=["tablet", "phone"])
def device(lab: Lab, request: pytest.FixtureRequest) -> Device:
    """A child's, and the parents' own that nothing else filters."""
    return getattr(lab, request.param)  # type: ignore[no-any-return]


def hashes(lab: Lab) -> int:
    return int(lab.guardian.status()["hotline"]["hashes"])


# A connection that our DNS has not seen before: an old answer, or an address that an app knows


def test_an_unlisted_site_opens_after_a_moment(lab: Lab, device: Device, family: int) -> None:
    before = hashes(lab)
    # Two sites: a flow that still runs when a list comes has its name settled anew before anybody asks.
    for scheme, site in (("https", "www.open.example"), ("http", "shared.open.example")):
        put_in_force(lab, ENTRIES)
        there = {site: at(site, family)}
        first = device.fetch(f"{scheme}://{site}/", resolve=there, family=family)
        second = device.fetch(f"{scheme}://{site}/", resolve=there, family=family)
        print(f"{scheme}: {first.seconds:.3f} s for the first, {second.seconds:.3f} s for the second")
        assert first.ok and second.ok, (first, second)
        assert first.seconds < PATIENCE and second.seconds < PATIENCE
        assert first.seconds > 0.06, "it waited for the list"
    assert hashes(lab) >= before + 2  # one more where a flow of the test before still runs


def test_an_unlisted_site_opens_over_quic(lab: Lab, device: Device, family: int) -> None:
    before = hashes(lab)
    first = device.fetch_h3(QUIC, at(QUIC, family))
    second = device.fetch_h3(QUIC, at(QUIC, family))
    print(
        f"h3: {first.seconds:.3f} s for the first, {second.seconds:.3f} s for the second, with a start of Python each"
    )
    assert first.ok and second.ok and first.seconds < second.seconds + PATIENCE
    assert hashes(lab) == before + 1


def test_a_listed_site_is_refused_by_its_hello(lab: Lab, device: Device, family: int) -> None:
    there = {"video.open.example": at("video.open.example", family)}
    fetched = device.fetch("https://video.open.example/", resolve=there, family=family)
    assert fetched.status == 0 and fetched.error, fetched
    assert not lab.seen("tls-hello", "video.open.example"), "not one byte of the hello has reached the server"
    assert fetched.seconds < PATIENCE, "it is refused, not silently dropped"


def test_a_listed_site_is_refused_over_quic(lab: Lab, device: Device, family: int) -> None:
    put_in_force(lab, [("h", QUIC, 0)])
    assert not device.fetch_h3(QUIC, at(QUIC, family), timeout=3).ok
    assert not lab.seen("h3", QUIC) and not lab.seen("quic-hello", QUIC)


def test_a_listed_site_shows_the_page_of_the_law_over_plain_http(lab: Lab, device: Device, family: int) -> None:
    there = {"video.open.example": at("video.open.example", family)}
    fetched = device.fetch("http://video.open.example/", resolve=there, family=family)
    assert fetched.status == 451 and "Hotline of Tests" in fetched.body and "Order 7/2026" in fetched.body
    assert not lab.seen("http", "video.open.example")


def test_a_listed_page_is_blocked_and_its_host_is_not(lab: Lab, device: Device, family: int) -> None:
    there = {"news.open.example": at("news.open.example", family)}

    def status(path: str, scheme: str = "http") -> int:
        return device.fetch(f"{scheme}://news.open.example{path}", resolve=there, family=family).status

    pages = {"/page": 451, "/folder/deep": 403, "/": 200, "/page2": 200, "/%70age": 451, "/x/../page": 451}
    assert {path: status(path) for path in pages} == pages
    assert status("/page", "https") == 200, "what TLS hides is never guessed: the host stays open"


def test_dns_says_the_same_and_waits_as_well(lab: Lab, device: Device) -> None:
    assert device.dig("video.open.example") == [plan.home4("router")]
    assert device.dig("www.open.example") == [at("www.open.example", 4)]
    assert hashes(lab) > 0


# What runs already


Running = Callable[[Device, int], AbstractContextManager[Download]]


def over_tls(device: Device, family: int) -> AbstractContextManager[Download]:
    return device.download("https://video.open.example/stream", family=family)


def over_http(device: Device, family: int) -> AbstractContextManager[Download]:
    return device.download("http://video.open.example/stream", family=family)


def over_quic(device: Device, family: int) -> AbstractContextManager[Download]:
    return device.download_h3(QUIC, at(QUIC, family))


@pytest.mark.parametrize("way", [over_tls, over_http, over_quic])
@pytest.mark.parametrize("is_new_salt", [False, True], ids=["update", "new-epoch"])
def test_a_running_flow_ends_when_its_name_is_listed(
    lab: Lab, device: Device, way: Running, is_new_salt: bool, record_property: Callable[[str, object], None]
) -> None:
    import time

    salt = bytes(range(100, 132))
    put_in_force(lab, [("h", "www.open.example", 0)], salt)
    with way(device, 4) as mine, device.download("https://news.open.example/stream", family=4) as other:
        mine.wait_for_more()
        other.wait_for_more()
        changed = time.monotonic()
        put_in_force(lab, [("h", "video.open.example", 0), ("h", QUIC, 0)], None if is_new_salt else salt)
        seconds = max(0.0, mine.wait_for_silence() - changed)
        print(f"{way.__name__}: the last byte came {seconds:.3f} s after the change")
        record_property("cut_seconds", round(seconds, 3))
        assert seconds < BOUND
        other.wait_for_more()
        assert not other.ended


def test_no_name_is_logged(lab: Lab) -> None:
    lab.tablet.fetch("https://video.open.example/", resolve={"video.open.example": at("video.open.example", 4)})
    wait_for(lambda: lab.guardian.status()["filter"]["refused"])
    assert "video.open" not in lab.guardian.log()
