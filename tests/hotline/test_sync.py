"""Whole syncs: real servers on loopback, real files, real images."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardian.catalogue import load_catalogue, make_test_name
from guardian.config import Config
from guardian.errors import ConfigError, ListError
from guardian.hotline.download import Limits
from guardian.hotline.report import SourceReport, SourceState, SyncReport
from guardian.hotline.sync import SyncOptions, read_report, sync_lists
from guardian.names import parse_name
from guardian.store.addresses import address_file, load_addresses
from guardian.store.images import map_image

MakeConfig = Callable[..., Config]
QUICK = SyncOptions(limits=Limits(size=0, total=3.0, connect=2.0, read=1.0))


def listing(stem: str, count: int = 100) -> bytes:
    return b"".join(f"{stem}-{number}.example.org\n".encode() for number in range(count))


def tags_of(config: Config, name: str) -> set[str]:
    image = map_image(config.lists.image)
    mask = image.lookup(parse_name(name))
    return {tag for bit, tag in enumerate(image.tags) if mask >> bit & 1}


def states(report: SyncReport) -> dict[str, SourceState]:
    return {source.id: source.state for source in report.sources}


def one(report: SyncReport, source_id: str) -> SourceReport:
    return next(source for source in report.sources if source.id == source_id)


def test_a_first_sync_and_a_second(web: Any, make_config: MakeConfig, tmp_path: Path) -> None:
    def tagged(body: bytes, tag: str) -> Callable[[Any], None]:
        def page(exchange: Any) -> None:
            if exchange.headers.get("if-none-match") == tag:
                exchange.send(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n")
            else:
                exchange.answer(body, ETag=tag)

        return page

    web.pages["/bets"] = tagged(listing("bet"), '"b1"')
    web.pages["/teach"] = tagged(b"pornhub.com\nbet-5.example.org\n", '"t1"')
    web.pages["/doh"] = tagged(b"resolver.example\n", '"d1"')
    secret = tmp_path / "national.txt"
    secret.write_text("forbidden.example\n")
    config = make_config(
        {
            "bets": f"url: {web.url}/bets, format: domains, tags: category:gambling",
            "teach": f"url: {web.url}/teach, tags: category:adult, action: exempt",
            "doh": f'url: {web.url}/doh, tags: "bypass:doh category:doh"',
            "big": f"url: {web.url}/big, tags: category:adult, enabled: no",
        },
        mandatory={"national": secret},
    )
    seen: list[tuple[float, str]] = []
    report = sync_lists(config, QUICK, lambda share, what: seen.append((share, what)))
    assert set(states(report).values()) == {SourceState.OK} and not report.has_gaps
    assert [source.id for source in report.sources] == ["bets", "teach", "doh", "mandatory-national"]
    assert one(report, "bets").entries == 100
    shares = [share for share, _ in seen]
    assert shares == sorted(shares) and shares[-1] == 1.0

    assert tags_of(config, "www.bet-7.example.org") == {"category:gambling"}
    assert tags_of(config, "resolver.example") == {"bypass:doh", "category:doh"}
    assert tags_of(config, "pornhub.com") == set(), "a starter name that a list exempts"
    assert tags_of(config, "bet-5.example.org") == {"category:gambling"}, "exempt from another category only"
    assert tags_of(config, "x.forbidden.example") == {"mandatory:national"}
    for tag in load_catalogue().tagged:
        assert tag in tags_of(config, make_test_name(tag))
    assert "service:youtube" in tags_of(config, "m.youtube.com") and "category:video" in tags_of(
        config, "m.youtube.com"
    )
    assert tags_of(config, "telefonulcopilului.md") == {"helpline"}
    assert read_report(config) == report

    again = sync_lists(config, QUICK)
    assert set(states(again).values()) == {SourceState.UNCHANGED}
    assert one(again, "bets").fetched == one(report, "bets").fetched and one(again, "bets").entries == 100
    assert tags_of(config, "bet-7.example.org") == {"category:gambling"}
    assert again.names == report.names


def test_a_failing_source_keeps_its_copy_and_others_go_on(web: Any, make_config: MakeConfig) -> None:
    config = make_config({name: f"url: {web.url}/{name}, tags: category:{name}" for name in ("games", "chat")})
    web.pages["/games"] = lambda x: x.answer(listing("game"))
    web.pages["/chat"] = lambda x: x.answer(listing("chat"))
    sync_lists(config, QUICK)
    web.pages["/games"] = lambda x: x.answer(b"busy", "503 Busy")
    web.pages["/chat"] = lambda x: x.answer(listing("talk"))
    report = sync_lists(config, QUICK)
    assert states(report) == {"games": SourceState.FAILED, "chat": SourceState.OK}
    assert "503" in one(report, "games").reason and not report.has_gaps
    assert tags_of(config, "game-1.example.org") == {"category:games"}
    assert tags_of(config, "talk-1.example.org") == {"category:chat"}
    assert tags_of(config, "chat-1.example.org") == set()


def test_without_internet_the_starter_data_filters(make_config: MakeConfig) -> None:
    config = make_config({"bets": "url: http://127.0.0.1:9/none, tags: category:gambling"})
    for options in (QUICK, replace(QUICK, offline=True)):
        report = sync_lists(config, options)
        assert one(report, "bets").state is SourceState.FAILED and report.has_gaps
        assert "category:gambling" in tags_of(config, "www.bet365.com")


HTML = b"<title>Moved</title>\n<p>We moved to a new home\n<p>Please come again\n"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (listing("bet", 9), "shrank from 100 to 9"),
        (HTML, "no list"),
        (b"<!doctype html>", "web page"),
        (b"#\n", "nothing"),
    ],
)
def test_what_is_not_believed_leaves_the_last_good_copy(
    body: bytes, why: str, web: Any, make_config: MakeConfig
) -> None:
    config = make_config({"bets": f"url: {web.url}/bets, format: domains, tags: category:gambling"})
    web.pages["/bets"] = lambda x: x.answer(listing("bet"), ETag='"good"')
    sync_lists(config, QUICK)
    web.pages["/bets"] = lambda x: x.answer(body, Content_Type="text/plain", ETag='"bad"')
    for _ in range(2):  # and it stays so, when asked again
        report = sync_lists(config, QUICK)
        assert one(report, "bets").state in (SourceState.REFUSED, SourceState.FAILED)
        assert why in one(report, "bets").reason
        assert one(report, "bets").etag == '"good"' and one(report, "bets").entries == 100
        assert tags_of(config, "bet-99.example.org") == {"category:gambling"}


def test_force_believes_a_list_that_shrank(web: Any, make_config: MakeConfig) -> None:
    config = make_config({"bets": f"url: {web.url}/bets, tags: category:gambling"})
    web.pages["/bets"] = lambda x: x.answer(listing("bet"))
    sync_lists(config, QUICK)
    web.pages["/bets"] = lambda x: x.answer(listing("bet", 3))
    assert one(sync_lists(config, QUICK), "bets").state is SourceState.REFUSED
    assert one(sync_lists(config, replace(QUICK, force=True)), "bets").entries == 3
    assert tags_of(config, "bet-99.example.org") == set()


def test_protected_names_are_never_blocked(web: Any, make_config: MakeConfig, tmp_path: Path) -> None:
    secret = tmp_path / "national.txt"
    secret.write_text("google.com\nsiguronline.md\nforbidden.example\n")
    config = make_config(
        {"bad": f"url: {web.url}/bad, format: domains, tags: category:malware"}, mandatory={"national": secret}
    )
    bad = b"apple.com\nwww.gov.md\n116111.ro\nads.google.com\nevil.example\n"
    web.pages["/bad"] = lambda x: x.answer(bad)
    report = sync_lists(config, QUICK)
    assert set(one(report, "bad").dropped) == {"apple.com", "www.gov.md", "116111.ro"}
    assert set(one(report, "mandatory-national").dropped) == {"google.com", "siguronline.md"}
    for name in ("apple.com", "captive.apple.com", "www.gov.md", "116111.ro", "google.com", "siguronline.md"):
        assert tags_of(config, name) <= {"helpline", "allowed:device"}
    assert tags_of(config, "evil.example") == {"category:malware"}
    assert "category:malware" in tags_of(config, "ads.google.com")
    assert tags_of(config, "forbidden.example") == {"mandatory:national"}
    web.pages["/bad"] = lambda x: x.answer(b"evil.example\n")
    assert one(sync_lists(config, QUICK), "bad").dropped == ()


def test_a_mandatory_list_that_vanishes_stays_in_force(make_config: MakeConfig, tmp_path: Path) -> None:
    secret = tmp_path / "national.txt"
    secret.write_text("forbidden.example\n")
    config = make_config({}, mandatory={"national": secret})
    sync_lists(config, QUICK)
    secret.unlink()
    report = sync_lists(config, QUICK)
    assert one(report, "mandatory-national").state is SourceState.FAILED and not report.has_gaps
    assert tags_of(config, "forbidden.example") == {"mandatory:national"}
    secret.write_text("not a list at all\n" * 5)
    report = sync_lists(config, QUICK)
    assert one(report, "mandatory-national").state is SourceState.REFUSED
    assert "not a list" not in one(report, "mandatory-national").reason, "a confidential list is never quoted"
    assert tags_of(config, "forbidden.example") == {"mandatory:national"}


def test_only_and_offline_and_categories(web: Any, make_config: MakeConfig) -> None:
    sources = {name: f"url: {web.url}/{name}, tags: category:{name}" for name in ("games", "chat", "ads")}
    config = make_config(sources, extra="  categories: [games, chat]\n")
    for name in sources:
        web.pages[f"/{name}"] = lambda x, name=name: x.answer(listing(name))
    report = sync_lists(config, replace(QUICK, only=("chat",)))
    assert states(report) == {"games": SourceState.FAILED, "chat": SourceState.OK}
    assert [exchange.path for exchange in web.seen] == ["/chat"]
    with pytest.raises(ListError, match="no such source: ads"):
        sync_lists(config, replace(QUICK, only=("ads",)))
    report = sync_lists(config, replace(QUICK, offline=True))
    assert len(web.seen) == 1 and one(report, "chat").entries == 100
    sync_lists(config, QUICK)
    folder = Path(config.state) / "lists" / "sources"
    assert sorted(os.listdir(folder)) == ["chat.list", "games.list"]
    narrow = make_config(sources, extra="  categories: [chat]\n")
    sync_lists(narrow, QUICK)
    assert os.listdir(folder) == ["chat.list"], "copies that nobody wants go"
    assert tags_of(narrow, "games-1.example.org") == set()


def test_local_files_are_read_offline_as_well(web: Any, make_config: MakeConfig, tmp_path: Path) -> None:
    """A first start without internet has the mandatory list that lies beside the settings."""
    (tmp_path / "illegal.txt").write_text("illegal-one.example.org\nillegal-two.example.org\n")
    config = make_config(
        {"far": f"url: {web.url}/far, tags: category:games"},
        extra=f"  mandatory: [{{name: local, file: {tmp_path / 'illegal.txt'}}}]\n",
    )
    sync_lists(config, replace(QUICK, offline=True))
    assert web.seen == []
    assert tags_of(config, "www.illegal-one.example.org") == {"mandatory:local"}


def test_a_new_address_is_a_new_list(web: Any, make_config: MakeConfig) -> None:
    web.pages["/old"] = lambda x: x.answer(listing("old"), ETag='"1"')
    web.pages["/new"] = lambda x: x.answer(listing("new", 3), ETag='"1"')
    sync_lists(make_config({"bets": f"url: {web.url}/old, tags: category:gambling"}), QUICK)
    config = make_config({"bets": f"url: {web.url}/new, tags: category:gambling"})
    assert one(sync_lists(config, QUICK), "bets").entries == 3
    assert "if-none-match" not in web.seen[-1].headers
    assert tags_of(config, "old-1.example.org") == set()


def test_a_broken_report_or_copy_heals(web: Any, make_config: MakeConfig) -> None:
    config = make_config({"bets": f"url: {web.url}/bets, tags: category:gambling"})
    web.pages["/bets"] = lambda x: (
        x.send(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n")
        if "if-none-match" in x.headers
        else x.answer(listing("bet"), ETag='"1"')
    )
    sync_lists(config, QUICK)
    state = Path(config.state) / "lists" / "state.json"
    for broken in (b"", b"[]", b'{"sources": 5}', b"\xff\xfe", b'{"sources": [{"id": 1}]}'):
        state.write_bytes(broken)
        with pytest.raises(ListError, match="no report"):
            read_report(config)
        assert one(sync_lists(config, QUICK), "bets").state is SourceState.OK
    copy = state.parent / "sources" / "bets.list"
    copy.write_bytes(b"\x00garbage\xff !\n" * 50)  # a bad flash cell
    report = sync_lists(config, QUICK)
    assert one(report, "bets").state is SourceState.REFUSED and report.has_gaps
    report = sync_lists(config, QUICK)
    assert one(report, "bets").state is SourceState.OK and one(report, "bets").entries == 100


def test_two_syncs_do_not_collide(web: Any, make_config: MakeConfig) -> None:
    config = make_config({"bets": f"url: {web.url}/bets, tags: category:gambling"})
    asked, go_on = threading.Event(), threading.Event()

    def page(exchange: Any) -> None:
        asked.set()
        go_on.wait(10)
        exchange.answer(listing("bet"))

    web.pages["/bets"] = page
    first = threading.Thread(target=sync_lists, args=(config, replace(QUICK, limits=Limits(0, total=20, read=15))))
    first.start()
    assert asked.wait(10)
    with pytest.raises(ListError, match="another sync is running"):
        sync_lists(config, QUICK)
    go_on.set()
    first.join(20)
    assert tags_of(config, "bet-1.example.org") == {"category:gambling"}


def test_broken_sources_change_nothing(web: Any, make_config: MakeConfig) -> None:
    config = make_config({"bets": f"url: {web.url}/bets, tags: category:gambling"})
    web.pages["/bets"] = lambda x: x.answer(listing("bet"))
    sync_lists(config, QUICK)
    before = Path(config.lists.image).read_bytes()
    with pytest.raises(ConfigError, match="not a tag"):
        sync_lists(make_config({"bets": "url: x, tags: gambling"}), QUICK)
    assert Path(config.lists.image).read_bytes() == before


def test_killed_in_the_middle_the_old_image_stays(web: Any, make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config({name: f"url: {web.url}/{name}, tags: category:{name}" for name in ("games", "chat")})
    web.pages["/games"] = lambda x: x.answer(listing("game"))
    web.pages["/chat"] = lambda x: x.answer(listing("chat"))
    sync_lists(config, QUICK)
    before = Path(config.lists.image).read_bytes()
    half_way = threading.Event()

    def stuck(exchange: Any) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + listing("talk", 5000))
        half_way.set()
        exchange.stop.wait()

    web.pages["/games"] = lambda x: x.answer(listing("play"))
    web.pages["/chat"] = stuck
    code = (
        "import sys; from guardian.config import load_config; from guardian.hotline.sync import sync_lists;"
        "sync_lists(load_config(sys.argv[1]))"
    )
    killed = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "guardian.yaml")])
    assert half_way.wait(30)
    killed.kill()
    killed.wait(10)
    assert Path(config.lists.image).read_bytes() == before
    map_image(config.lists.image).verify()
    web.pages["/chat"] = lambda x: x.answer(listing("talk"))
    report = sync_lists(config, QUICK)
    assert not report.has_gaps
    assert tags_of(config, "talk-1.example.org") == {"category:chat"}
    assert tags_of(config, "play-1.example.org") == {"category:games"}
    folder = Path(config.state) / "lists"
    assert sorted(os.listdir(folder / "sources")) == ["chat.list", "games.list"]
    assert json.loads((folder / "state.json").read_bytes())["names"] == report.names


def address_tag(config: Config, text: str) -> str:
    return load_addresses(address_file(config.state)).lookup(ipaddress.ip_address(text).packed)


def addresses(count: int) -> bytes:
    return b"# exits\n" + b"".join(f"5.6.{number}.1\n".encode() for number in range(count))


def test_lists_of_addresses(web: Any, make_config: MakeConfig) -> None:
    """Fetched like the others; the starter's come first, and what many sites share is left out."""
    relays = addresses(100) + b"2a00:dead::1\n104.16.1.1\n1.1.1.1\n192.168.1.1\n0.0.0.0/0\n"
    web.pages["/relays"] = lambda x: (
        x.send(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n")
        if x.headers.get("if-none-match") == '"r1"'
        else x.answer(relays, ETag='"r1"')
    )
    web.pages["/vpn"] = lambda x: x.answer(b"9.8.0.0/16\n2a00:beef::/32 # rented\n")
    web.pages["/doh"] = lambda x: x.answer(b"resolver.example\n")
    config = make_config(
        {
            "relays": f"url: {web.url}/relays, format: addresses, tags: bypass:tor, licence: MIT",
            "vpn": f"url: {web.url}/vpn, format: addresses, tags: bypass:vpn",
            "doh": f"url: {web.url}/doh, tags: bypass:doh",
        }
    )
    report = sync_lists(config, QUICK)
    assert not report.has_gaps and read_report(config) == report
    assert one(report, "relays").entries == 102 and one(report, "relays").dropped == ("1 of cloudflare",)
    for text, tag in {
        "5.6.99.1": "bypass:tor", "5.6.100.1": "", "2a00:dead::1": "bypass:tor", "9.8.7.6": "bypass:vpn",
        "2a00:beef:1::2": "bypass:vpn", "1.1.1.1": "bypass:doh", "8.8.4.4": "bypass:doh", "104.16.1.1": "",
        "162.159.192.7": "bypass:vpn", "192.168.1.1": "", "93.184.216.34": "", "::ffff:5.6.7.1": "bypass:tor",
    }.items():  # fmt: skip
        assert address_tag(config, text) == tag, text
    assert tags_of(config, "resolver.example") == {"bypass:doh"}
    table = load_addresses(address_file(config.state))
    assert report.addresses == table.count > 100 + 250
    facts = {source.name: source for source in table.sources if source.name != "starter"}
    assert set(facts) == {"relays", "vpn"} and facts["relays"].notes["licence"] == "MIT"
    assert facts["relays"].refused == {"not-public": 1, "too-wide": 1}
    assert facts["relays"].examples["too-wide"] == [(106, "0.0.0.0/0")]
    assert one(sync_lists(config, QUICK), "relays").state is SourceState.UNCHANGED
    assert address_tag(config, "5.6.99.1") == "bypass:tor"
    folder = Path(config.state) / "lists"
    assert sorted(os.listdir(folder / "sources")) == ["doh.list", "relays.list", "vpn.list"]
    assert sorted(os.listdir(folder)) == ["addresses", "guardian.image", "sources", "state.json", "sync.lock"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (addresses(9), "shrank from 100 to 9"),
        (listing("name"), "no list"),
        (b"0.0.0.0 ads.example.org\n" * 50, "no list"),
        (b"".join(f"{first}.0.0.0/8\n".encode() for first in range(40, 90)), "of all IPv4 addresses"),
        (b"10.0.0.1\n" * 50, "shrank from 100 to 0"),
    ],
)
def test_addresses_that_are_not_believed_leave_the_last_good_ones(
    body: bytes, why: str, web: Any, make_config: MakeConfig
) -> None:
    config = make_config({"relays": f"url: {web.url}/relays, format: addresses, tags: bypass:tor"})
    web.pages["/relays"] = lambda x: x.answer(addresses(100))
    sync_lists(config, QUICK)
    web.pages["/relays"] = lambda x: x.answer(body, Content_Type="text/plain")
    report = sync_lists(config, QUICK)
    assert one(report, "relays").state is SourceState.REFUSED and why in one(report, "relays").reason
    assert not report.has_gaps and one(report, "relays").entries == 100
    assert address_tag(config, "5.6.99.1") == "bypass:tor" and address_tag(config, "40.1.2.3") == ""


def test_without_internet_the_starter_addresses_are_there(make_config: MakeConfig) -> None:
    config = make_config({"relays": "url: http://127.0.0.1:9/none, format: addresses, tags: bypass:tor"})
    report = sync_lists(config, QUICK)
    assert report.has_gaps and address_tag(config, "9.9.9.9") == "bypass:doh"
    Path(address_file(config.state)).write_bytes(b"damaged")
    sync_lists(config, replace(QUICK, offline=True))
    assert address_tag(config, "9.9.9.9") == "bypass:doh"
