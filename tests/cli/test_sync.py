"""`guardian sync` as a person or a timer runs it."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from guardian.cli import main
from guardian.hotline.feed_state import load_state
from guardian.names import parse_name
from guardian.store.addresses import address_file, load_addresses
from guardian.store.images import map_image
from tests.hotline.feed_maker import LIST, Scene, listed


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server over a folder: (its address, the folder)."""
    folder = tmp_path / "site"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", folder
        server.shutdown()
        thread.join(10)


@pytest.fixture
def config(tmp_path: Path, site: tuple[str, Path]) -> Path:
    url, folder = site
    (folder / "bets.txt").write_text("".join(f"bet-{number}.example.org\n" for number in range(50)))
    (tmp_path / "sources.yaml").write_text(
        f"sources:\n  bets: {{url: {url}/bets.txt, tags: category:gambling, licence: CC0-1.0}}\n"
    )
    path = tmp_path / "guardian.yaml"
    path.write_text("state: state\nupstreams: {servers: [192.0.2.1]}\nlists: {sources: sources.yaml}\n")
    return path


def test_sync_compiles_and_says_what_it_did(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "--config", str(config)]) == 0
    told = capsys.readouterr()
    assert "bets  ok" in told.out and "50" in told.out and "no gateway is running here" in told.out
    assert told.err == "", "no progress bar where nobody looks"
    image = map_image(config.parent / "state/lists/guardian.image")
    assert image.lookup(parse_name("bet-1.example.org"))
    assert main(["sync", "--config", str(config), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (source,) = report["sources"]
    assert source["state"] == "unchanged" and source["entries"] == 50 and source["licence"] == "CC0-1.0"
    assert report["reloaded"] is False and report["names"] == image.name_count


def test_the_exit_code_tells_of_a_list_without_a_copy(
    config: Path, site: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    page = site[1] / "bets.txt"
    text = page.read_text()
    page.unlink()
    assert main(["sync", "--config", str(config)]) == 1
    assert "404" in capsys.readouterr().out
    assert map_image(config.parent / "state/lists/guardian.image").lookup(parse_name("bet365.com"))
    assert main(["sync", "--config", str(config), "--offline"]) == 1
    assert "never fetched" in capsys.readouterr().out
    page.write_text(text)
    assert main(["sync", "--config", str(config), "--only", "bets"]) == 0
    page.unlink()
    capsys.readouterr()
    assert main(["sync", "--config", str(config)]) == 0, "the last good copy is in force"
    assert "seconds ago stays" in capsys.readouterr().out


def test_mistakes_are_told_in_one_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "--config", str(config), "--only", "nets"]) == 1
    assert "no such source: nets" in capsys.readouterr().err
    (config.parent / "sources.yaml").write_text("sources:\n  bets: {url: x, tags: category:gambling, limt: 5M}\n")
    assert main(["sync", "--config", str(config)]) == 2
    assert "sources.yaml:2: " in (told := capsys.readouterr().err) and "did you mean 'limit'" in told


def test_a_running_gateway_is_told(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config.parent / "state/control.sock"
    path.parent.mkdir(exist_ok=True)
    heard: list[dict[str, object]] = []

    def gateway(listener: socket.socket, reply: bytes) -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            heard.append(json.loads(lines.readline()))
            connection.sendall(reply)

    for reply, expected in ((b'{"ok": true}\n', True), (b'{"ok": false, "error": "too busy"}\n', False)):
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            thread = threading.Thread(target=gateway, args=(listener, reply))
            thread.start()
            assert main(["sync", "--config", str(config), "--json"]) == 0
            thread.join(10)
        told = capsys.readouterr()
        assert json.loads(told.out)["reloaded"] is expected
        assert ("too busy" in told.err) is not expected
    assert heard == [{"verb": "reload"}] * 2


def test_addresses_are_counted_and_what_others_share_is_told(
    config: Path, site: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    url, folder = site
    (folder / "exits.txt").write_text("5.6.7.8\n104.16.1.1\n17.1.2.3\n17.1.2.4\n")
    with (config.parent / "sources.yaml").open("a") as file:
        file.write(f"  exits: {{url: {url}/exits.txt, format: addresses, tags: bypass:tor}}\n")
    assert main(["sync", "--config", str(config)]) == 0
    told = capsys.readouterr().out
    assert "protected, and left out: 2 of apple, 1 of cloudflare" in told
    table = load_addresses(address_file(str(config.parent / "state")))
    assert f" and {table.count} addresses from 2 lists, 0 with trouble" in told
    assert table.lookup(bytes([5, 6, 7, 8])) == "bypass:tor"


@pytest.fixture
def feed(config: Path) -> Iterator[Scene]:
    """A feed beside the public lists, in the settings; nothing of it is here yet."""
    scene = Scene(config.parent, now=time.time() - 60)
    scene.maker.publish_all(listed(range(20)))
    scene.box.folder = config.parent / "state" / "hotline"
    with config.open("a") as file:
        file.write(f"hotline: {{url: {scene.server.url}, root: state/root.json}}\n")
    yield scene
    scene.server.close()


def test_the_feed_comes_first_and_is_told(config: Path, feed: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "--config", str(config)]) == 0
    told = capsys.readouterr().out
    assert told.index(f"{LIST}  current") < told.index("bets  ok") and feed.holds("listed-1.example")
    assert "Test hotline: version 1, signed until" in told and "new lists are in force, no gateway is running" in told
    assert "1 lists, 0 with trouble, all unsigned" in told
    assert main(["sync", "--config", str(config), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["feed"]["lists"][LIST]["serial"] == 1 and report["feed"]["code"] == ""
    assert [source["signed"] for source in report["sources"]] == [False]


def test_the_feed_alone(config: Path, feed: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "--feed", "--config", str(config)]) == 0
    told = capsys.readouterr()
    assert "serial 1" in told.out and "bets" not in told.out and told.err == ""
    assert feed.holds("listed-1.example") and not (config.parent / "state" / "lists").exists()
    assert main(["sync", "--feed", "--quiet", "--config", str(config)]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["sync", "--feed", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["feed"]["lists"][LIST]["entries"] == 20
    feed.server.seen.clear()
    for more in ([], ["--feed"]):
        assert main(["sync", "--offline", *more, "--config", str(config)]) in (0, 1)
    assert not feed.server.seen, "offline asks nobody"


def test_trouble_with_the_feed(config: Path, feed: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in force: exit code 1. Something in force: the public lists' sync is fine, the feed's own is not."""
    feed.server.pages["/metadata/timestamp.json"] = lambda exchange: exchange.answer(b"busy", "503 Busy")
    assert main(["sync", "--config", str(config)]) == 1
    told = capsys.readouterr().out
    assert "the hotline's feed: the server answers 503 Busy; what is in force stays" in told and "bets  ok" in told
    feed.server.pages.clear()
    assert main(["sync", "--feed", "--config", str(config)]) == 0
    feed.maker.next([*listed(range(20)), *listed(range(600), "flood")])
    capsys.readouterr()
    assert main(["sync", "--config", str(config)]) == 0
    assert f"{LIST}  kept" in (told := capsys.readouterr().out) and "600 entries were added" in told
    assert main(["sync", "--feed", "--quiet", "--config", str(config)]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and f"the hotline's feed, {LIST}: growth: 600 entries" in told


def test_the_gateway_is_told_when_there_is_something_new(
    config: Path, feed: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not for nothing; and again until it has taken it."""
    path = config.parent / "state/control.sock"
    heard: list[object] = []
    replies = [b'{"ok": false, "error": "too busy"}\n', b'{"ok": true}\n']

    def gateway(listener: socket.socket) -> None:
        for reply in replies:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                heard.append(json.loads(lines.readline()))
                connection.sendall(reply)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=gateway, args=(listener,))
        thread.start()
        assert main(["sync", "--feed", "--config", str(config)]) == 0
        told = capsys.readouterr()
        assert "too busy" in told.err and "the gateway did not take it" in told.out
        assert main(["sync", "--feed", "--config", str(config)]) == 0
        assert "the gateway has taken it over" in capsys.readouterr().out
        thread.join(10)
        assert main(["sync", "--feed", "--config", str(config)]) == 0
        assert "nothing new" in capsys.readouterr().out
    assert heard == [{"verb": "reload"}] * 2
    state = load_state(feed.box.folder)
    assert state is not None and not state.reload_due


def test_a_feed_that_is_not_in_the_settings(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "--feed", "--config", str(config)]) == 2
    assert "there is no feed: 'hotline' needs 'url' and 'root'" in capsys.readouterr().err
