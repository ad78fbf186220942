"""Attacks on the way: servers that send too much, too little, too slowly, or something else.

Each leaves the list in force as it is, says why, and the next honest update works.
"""

from __future__ import annotations

import gzip
import hashlib
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardian.blocklist.feed_file import pack_file
from guardian.blocklist.tag_delta import make_delta
from guardian.hotline.feed_state import DAMAGED, OFFLINE, TOO_LARGE, TOO_SLOW
from tests.hotline.feed_maker import LIST, Scene, listed

TIMESTAMP = "/metadata/timestamp.json"
MAX_SENT_BYTES = 16 << 20  # by a server without end: what the kernel holds for a box that has had enough


def place(scene: Scene, kind: str) -> str:
    """Return the path on the server of a file that the next update needs."""
    maker = scene.maker
    files = {
        "root": "/metadata/2.root.json",
        "timestamp": TIMESTAMP,
        "snapshot": f"/metadata/{maker.versions['snapshot']}.snapshot.json",
        "targets": f"/metadata/{maker.versions['targets']}.targets.json",
        "list": f"/metadata/{maker.versions[LIST]}.{LIST}.json",
    }
    if kind in files:
        return files[kind]
    path = {"index": f"lists/{LIST}/index.json", "tags": f"lists/{LIST}/{maker.serials[LIST]}.tags"}[kind]
    return f"/{maker.place(path).relative_to(maker.folder)}"


class Endless:
    """A page that goes on for as long as anybody reads; `sent` counts its bytes."""

    def __init__(self) -> None:
        self.sent = 0

    def __call__(self, exchange: Any) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while not exchange.stop.is_set():
            exchange.send(b"{" * 65536)
            self.sent += 65536


def drip(exchange: Any) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1400\r\nConnection: close\r\n\r\n")
    while not exchange.stop.wait(0.02):
        exchange.send(b" ")


def drip_headers(exchange: Any) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not exchange.stop.wait(0.02):
        exchange.send(b"y")


def silence(exchange: Any) -> None:
    exchange.stop.wait()


def without_delta(scene: Scene) -> None:
    """Publish a next state that is to be had whole only."""
    scene.maker.states[LIST].clear()
    scene.maker.deltas[LIST].clear()
    scene.maker.next(listed(range(30)))


KINDS = ("root", "timestamp", "snapshot", "list", "index", "tags")


@pytest.mark.parametrize("kind", KINDS)
def test_endless_data(scene: Scene, kind: str) -> None:
    without_delta(scene)
    scene.server.pages[place(scene, kind)] = page = Endless()
    scene.withstand(TOO_LARGE, LIST if kind in ("list", "index", "tags") else "")
    assert 0 < page.sent <= MAX_SENT_BYTES
    scene.recover()


@pytest.mark.parametrize("drop", [drip, drip_headers, silence])
@pytest.mark.parametrize("kind", ["root", "timestamp", "tags"])
def test_slow_drip(scene: Scene, kind: str, drop: Callable[[Any], None]) -> None:
    """The deadline is one for the whole update, however many files it has."""
    without_delta(scene)
    scene.server.pages[place(scene, kind)] = drop
    before, scene.box.limits = scene.box.limits, replace(scene.box.limits, total=0.8)
    begin = time.monotonic()
    scene.withstand(TOO_SLOW, LIST if kind == "tags" else "")
    assert time.monotonic() - begin < 5.0  # bounded, not timed
    scene.box.limits = before
    scene.recover()


def test_slow_drip_below_the_least_rate(scene: Scene) -> None:
    """Slow enough to hold a connection for hours, too slow for the rate: it ends long before the deadline."""
    scene.server.pages[TIMESTAMP] = drip
    before, scene.box.limits = scene.box.limits, replace(scene.box.limits, grace=0.2, rate=4096, total=60.0)
    assert "too slow" in scene.withstand(TOO_SLOW)
    scene.box.limits = before
    scene.recover()


def test_slow_drip_over_many_files(scene: Scene) -> None:
    """Each file comes just in time, all together do not: a chain of roots that is made to last."""
    maker = scene.maker
    for _ in range(12):
        maker.publish_root()
    for version in range(2, 14):
        path = f"metadata/{version}.root.json"

        def late(exchange: Any, path: str = path) -> None:
            exchange.stop.wait(0.15)
            exchange.answer((maker.folder / path).read_bytes())

        scene.server.pages[f"/{path}"] = late
    before, scene.box.limits = scene.box.limits, replace(scene.box.limits, total=0.8, read=0.5)
    assert "not done within" in scene.withstand(TOO_SLOW)
    scene.box.limits = before
    scene.recover()


@pytest.mark.parametrize("kind", ["root", "timestamp", "snapshot", "targets", "list"])
def test_oversized_metadata(scene: Scene, kind: str) -> None:
    """Signed by the right people, and larger than any metadata may be."""
    maker = scene.maker
    padding = {"unrecognized_fields": {"padding": "x" * 600_000}}
    if kind == "root":
        maker.publish_root(**padding)
    elif kind == "timestamp":
        maker.publish_timestamp(**padding)
    elif kind == "snapshot":
        maker.publish_snapshot(**padding)
        maker.snapshot_meta.length = None
        maker.publish_timestamp()
    else:
        role = LIST if kind == "list" else "targets"
        maker.publish_role(role, **padding)
        maker.meta[f"{role}.json"].length = None
        maker.publish_online()
    scene.withstand(TOO_LARGE, LIST if kind == "list" else "")
    if kind == "root":
        maker.versions["root"] -= 1
        maker.publish_root()
    elif kind == "targets":
        maker.publish_role("targets")
    scene.recover()


@pytest.mark.parametrize("kind", ["snapshot", "targets", "list"])
def test_oversized_metadata_by_a_length_that_an_online_key_allows(scene: Scene, kind: str) -> None:
    """The online keys say that a file of metadata may have a gigabyte: that is no reason to take it into memory."""
    maker = scene.maker
    if kind == "snapshot":
        maker.publish_snapshot()
        maker.snapshot_meta.length = 1 << 30
        maker.publish_timestamp()
    else:
        role = LIST if kind == "list" else "targets"
        maker.publish_role(role)
        maker.meta[f"{role}.json"].length = 1 << 30
        maker.publish_online()
    scene.server.pages[place(scene, kind)] = page = Endless()
    scene.withstand(TOO_LARGE, LIST if kind == "list" else "")
    assert 0 < page.sent <= MAX_SENT_BYTES
    if kind == "targets":
        maker.publish_role("targets")
    scene.recover()


def test_oversized_target_with_valid_signatures(scene: Scene) -> None:
    maker = scene.maker
    without_delta(scene)
    maker.targets[LIST][f"lists/{LIST}/2.tags"].length = 65 << 20
    maker.publish_role(LIST)
    maker.publish_online()
    scene.withstand(TOO_LARGE, LIST)
    assert place(scene, "tags") not in scene.server.paths, "nobody asked for it"
    scene.recover()


@pytest.mark.parametrize("kind", ["snapshot", "list", "index", "tags"])
@pytest.mark.parametrize("how", ["short", "cut off"])
def test_truncated_target(scene: Scene, kind: str, how: str) -> None:
    """Whole by its own word, or with fewer bytes than announced."""
    without_delta(scene)
    path = place(scene, kind)
    data = (scene.maker.folder / path[1:]).read_bytes()
    length = len(data) if how == "cut off" else None
    scene.server.pages[path] = lambda exchange: exchange.answer(data[:-1], length=length)
    scene.withstand(OFFLINE if how == "cut off" else DAMAGED, "" if kind == "snapshot" else LIST)
    scene.recover()


@pytest.mark.parametrize("kind", ["snapshot", "list", "index", "tags"])
def test_wrong_hash(scene: Scene, kind: str) -> None:
    """As many bytes as signed, one of them another."""
    without_delta(scene)
    path = place(scene, kind)
    data = bytearray((scene.maker.folder / path[1:]).read_bytes())
    data[-3] ^= 1
    scene.server.pages[path] = lambda exchange: exchange.answer(bytes(data))
    scene.withstand(DAMAGED, "" if kind == "snapshot" else LIST)
    scene.recover()


def test_wrong_hash_of_a_cached_file(scene: Scene) -> None:
    """What lies on the disk is checked like what comes: a flipped bit there is fetched anew."""
    for path in (scene.box.folder / "small").iterdir():
        path.write_bytes(path.read_bytes()[:-2] + b"??")
    scene.recover()


def publish_bad_delta(scene: Scene, data: bytes) -> str:
    """Have everybody sign a next state whose delta is `data`; return where that is."""
    maker = scene.maker
    old = maker.states[LIST][1]
    maker.publish_list(listed(range(30)))
    path = f"lists/{LIST}/1-2.delta"
    right = maker.deltas[LIST][-1]
    assert make_delta(old, maker.states[LIST][2])
    maker.deltas[LIST][-1] = right.__class__(1, 2, maker.add_target(LIST, path, data))
    maker.serials[LIST] = 2
    maker.next(listed(range(30)), serial=2)
    return f"/{maker.place(path).relative_to(maker.folder)}"


@pytest.mark.parametrize("kind", ["another", "garbage", "a bomb"])
def test_delta_that_does_not_lead_to_the_signed_result(scene: Scene, kind: str) -> None:
    """It is signed; what it makes is not what was signed. The whole list is there, and is taken."""
    maker = scene.maker
    old = maker.states[LIST][1]
    header = {
        "list": LIST, "from": 1, "to": 2, "removed": 0, "added": 10**9, "removed_rice": 0, "added_rice": 0,
        "header": {"serial": 2}, "result": "0" * 64,
    }  # fmt: skip
    bad = {
        "another": make_delta(old, maker.make_tags(listed(range(40)), serial=2)),
        "garbage": b"GKDELT01" + bytes(50),
        "a bomb": pack_file(b"GKDELT01", header, b"\xff" * 100, "x"),
    }[kind]
    delta = publish_bad_delta(scene, bad)
    assert not scene.update().troubles()
    assert delta in scene.server.paths and place(scene, "tags") in scene.server.paths
    assert scene.holds("listed-29.example") and not scene.holds("listed-35.example")
    scene.recover()


def test_delta_that_does_not_lead_to_the_signed_result_and_no_whole_list(scene: Scene) -> None:
    old = scene.maker.states[LIST][1]
    publish_bad_delta(scene, make_delta(old, scene.maker.make_tags(listed(range(40)), serial=2)))
    scene.server.pages[place(scene, "tags")] = lambda exchange: exchange.answer(b"", "404 Not Found")
    assert "404" in scene.withstand(OFFLINE, LIST)
    scene.recover()


@pytest.mark.parametrize("wrong", ["serial", "list", "epoch", "number of entries", "list of tags"])
def test_list_that_is_not_what_its_index_says(scene: Scene, wrong: str) -> None:
    """All signatures and hashes are right; the file is of another list, serial, salt, or no list at all."""
    maker = scene.maker
    other = Scene(scene.folder / "other", ("list-b",))
    other.server.close()
    if wrong == "list":
        data = other.maker.make_tags(listed(range(30)), "list-b", serial=2)
    elif wrong == "epoch":
        other.maker.new_base("2027q1")
        data = other.maker.make_tags(listed(range(30)), serial=2)
    elif wrong == "list of tags":
        data = b"GKTAGS01" + bytes(64)
    else:
        data = maker.make_tags(listed(range(30)), serial=9 if wrong == "serial" else 2)
    maker.states[LIST].clear()
    maker.next([], whole=data, entries=20 if wrong == "number of entries" else 30)
    assert wrong in scene.withstand(DAMAGED, LIST)
    maker.states[LIST].clear()
    scene.recover()


@pytest.mark.parametrize("kind", KINDS)
def test_decompression_bomb(scene: Scene, kind: str) -> None:
    without_delta(scene)
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(b" " * 1_500_000) + packer.flush()
    assert len(bomb) < 2000, "small enough for the wire"
    served = []

    def page(exchange: Any) -> None:
        served.append(exchange)
        exchange.answer(bomb, Content_Encoding="gzip")

    scene.server.pages[place(scene, kind)] = page
    scene.withstand(TOO_LARGE, LIST if kind in ("list", "index", "tags") else "")
    assert served
    scene.recover()


def test_packed_answers_are_fine(scene: Scene) -> None:
    """The control of the bomb: a server that packs honestly is understood."""
    without_delta(scene)
    for kind in ("timestamp", "snapshot", "list", "index", "tags"):
        path = place(scene, kind)
        data = gzip.compress((scene.maker.folder / path[1:]).read_bytes())
        scene.server.pages[path] = lambda exchange, data=data: exchange.answer(data, Content_Encoding="gzip")
    assert not scene.update().troubles() and scene.holds("listed-29.example")


@pytest.mark.parametrize(
    ("page", "code"),
    [
        (lambda exchange: exchange.answer(b"<html>Welcome! Please log in</html>", Content_Type="text/html"), OFFLINE),
        (lambda exchange: exchange.answer(b"", "302 Found", Location="file:///etc/passwd"), OFFLINE),
        (lambda exchange: exchange.answer(b"", "302 Found", Location=TIMESTAMP), OFFLINE),
        (lambda exchange: exchange.answer(b"busy", "503 Busy"), OFFLINE),
        (lambda exchange: exchange.answer(b"", "304 Not Modified"), None),
        (lambda exchange: exchange.answer(b"[" * 10_000), DAMAGED),
        (lambda exchange: exchange.answer(b'{"signed": {"_type": 5}, "signatures": {}}'), DAMAGED),
        (lambda exchange: exchange.answer(b'{"a":' * 2000 + b"1" + b"}" * 2000), DAMAGED),
        (lambda exchange: exchange.answer(b"\xff\xfe\x00"), DAMAGED),
        (lambda exchange: None, OFFLINE),
    ],
)
def test_something_else(scene: Scene, page: Callable[[Any], None], code: str | None) -> None:
    """A captive portal, a loop, a busy server, no JSON."""
    scene.server.pages[TIMESTAMP] = page
    if code is None:
        scene.maker.next(listed(range(30)))
        before = scene.in_force()
        assert not scene.update().troubles() and scene.in_force() == before, "it is as it was"
    else:
        scene.withstand(code)
    scene.recover()


def test_nobody_there(scene: Scene) -> None:
    scene.server.close()
    assert "no connection" in scene.withstand(OFFLINE)
    scene.server = type(scene.server)(scene.maker.folder)
    scene.box.config = replace(scene.box.config, url=f"{scene.server.url}/")
    scene.recover()


def test_a_list_that_fails_leaves_the_others(tmp_path: Path) -> None:
    scene = Scene(tmp_path, ("list-a", "list-b"))
    try:
        scene.maker.publish_all({"list-a": listed(range(20)), "list-b": listed(range(20))})
        assert not scene.update().troubles()
        scene.maker.publish_list(listed(range(30)), "list-a")
        scene.maker.next(listed(range(30)), "list-b")
        path = scene.maker.place("lists/list-a/index.json")
        path.write_bytes(path.read_bytes() + b" ")
        state = scene.update()
        assert [(name, code) for name, code, _ in state.troubles()] == [("list-a", TOO_LARGE)]
        assert scene.holds("listed-29.example", "list-b") and not scene.holds("listed-29.example", "list-a")
        assert hashlib.sha256(path.read_bytes()).hexdigest() not in path.name
        scene.recover()
    finally:
        scene.server.close()
