from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from guardian.cli.lists import ProgressBar, add_arguments, run
from guardian.config import load_config
from guardian.hotline.sync import sync_lists
from guardian.store.images import map_image


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command, run in a folder with some lists."""
    monkeypatch.chdir(tmp_path)
    Path("games.txt").write_text("# games\nplay.example\nfun.example\n1.2.3.4\n")
    Path("more.hosts").write_text("0.0.0.0 more.example\n0.0.0.0 com\n0.0.0.0 last.example\n")
    Path("school.txt").write_text("fun.example\n")
    Path("help.txt").write_text("help.example\n")
    Path("pages.txt").write_text("play.example/poker\nfree.example/poker\n")

    def call(*words: str) -> int:
        parser = argparse.ArgumentParser(prog="guardian lists")
        parser.set_defaults(config="guardian.yaml")
        add_arguments(parser)
        return run(parser.parse_args(words))

    return call


def compile_home(lists: Callable[..., int]) -> int:
    return lists(
        "compile", "home.image", "--category", "games=games.txt,more.hosts", "--category", "gambling=pages.txt",
        "--allow", "games=school.txt", "--tag", "helpline=help.txt",
    )  # fmt: skip


def test_compile_then_show_then_lookup(lists: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert compile_home(lists) == 0
    assert map_image("home.image").tags == ("category:games", "category:gambling", "helpline")
    told = capsys.readouterr()
    assert "home.image: 5 names and 2 pages in 5 lists" in told.out
    assert told.err == ""

    assert lists("show", "home.image", "--verify") == 0
    shown = capsys.readouterr().out
    assert "category:games (allow)" in shown
    assert "1 address:\n        line 4: 1.2.3.4" in shown
    assert "1 single-label:\n        line 2: 0.0.0.0 com" in shown

    assert lists("lookup", "home.image", "www.PLAY.example", "help.example", "free.example/poker/1") == 0
    assert capsys.readouterr().out.splitlines() == [
        "www.PLAY.example: category:games (entry play.example)",
        "help.example: helpline (entry help.example)",
        "free.example/poker/1: category:gambling",
    ]
    assert lists("lookup", "home.image", "fun.example", "free.example", "play.example") == 1
    assert capsys.readouterr().out.splitlines() == [
        "fun.example: not category:games (allowed by entry fun.example)",
        "free.example: not listed",
        "play.example: category:games (entry play.example)",
    ]


def test_json_for_machines(lists: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    compile_home(lists)
    capsys.readouterr()
    assert lists("show", "home.image", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["names"], facts["urls"], facts["tags"][2]) == (5, 2, "helpline")
    assert facts["sources"][0]["refused"] == {"address": 1}
    assert facts["sources"][0]["examples"] == {"address": [[4, "1.2.3.4"]]}
    assert lists("lookup", "home.image", "a.fun.example", "--json") == 1
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["tags"] == []
    assert {(entry["entry"], entry["action"]) for entry in answer["entries"]} == {
        ("fun.example", "allow"),
        ("fun.example", "block"),
    }


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("compile", "x.image"), 2, "nothing to compile: give --category NAME=FILE"),
        (("compile", "x.image", "--category", "games"), 2, "--category games: write NAME=FILE"),
        (("compile", "x.image", "--category", "games=none.txt"), 2, "there is no file 'none.txt'"),
        (("compile", "x.image", "--category", "games=page.html"), 1, "page.html: this does not look like a list"),
        (("compile", "help.txt/x.image", "--category", "games=games.txt"), 1, "cannot write help.txt/x.image"),
        (("show", "none.image"), 1, "none.image: No such file"),
        (("show", "games.txt"), 1, "games.txt: this is no Guardian list image"),
        (("lookup", "none.image", "x.example"), 1, "none.image: No such file"),
    ],
)
def test_errors_name_the_file_and_what_to_do(
    lists: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, message: str
) -> None:
    Path("page.html").write_text("<html>\n<body>Not Found</body>\n</html>\n")
    assert lists(*words) == code
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""
    assert not Path("x.image").exists()


def test_a_bad_name_and_a_damaged_image(lists: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    compile_home(lists)
    assert lists("lookup", "home.image", "a..b") == 2
    assert "empty label" in capsys.readouterr().err
    image = bytearray(Path("home.image").read_bytes())
    start = map_image("home.image")._header.sections["name_prints"].start
    image[start] ^= 1
    Path("home.image").write_bytes(image)
    assert lists("show", "home.image") == 0
    assert lists("show", "home.image", "--verify") == 1
    assert "home.image: the image's section 'name_prints' is damaged" in capsys.readouterr().err


def test_the_bar_waits_two_seconds_and_needs_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    bar = ProgressBar(True, lambda: now)
    bar.show(0.1, "lists/a.txt")
    assert capsys.readouterr().err == ""
    now = 2.5
    bar.show(0.5, "lists/a.txt")
    assert "[###############...............]  50% a.txt" in capsys.readouterr().err
    bar.clear()
    assert capsys.readouterr().err.endswith("\r")
    silent = ProgressBar(False, lambda: now)
    now = 99.0
    silent.show(0.5, "a.txt")
    silent.clear()
    assert capsys.readouterr().err == ""


def test_a_mandatory_entry_is_not_named(lists: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert lists("compile", "home.image", "--tag", "mandatory:test=help.txt") == 0
    capsys.readouterr()
    assert lists("lookup", "home.image", "a.b.help.example") == 0
    assert capsys.readouterr().out == "a.b.help.example: mandatory:test\n"
    assert lists("lookup", "home.image", "a.b.help.example", "--json") == 0
    answers = json.loads(capsys.readouterr().out)
    assert answers == [{"name": "a.b.help.example", "tags": ["mandatory:test"], "matched": {}, "entries": []}]


def test_find_looks_names_and_addresses_up_in_what_is_in_force(
    lists: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("guardian.yaml").write_text(
        "state: state\nupstreams: {servers: [192.0.2.1]}\nlists: {sources: sources.yaml}\n"
    )
    Path("exits.txt").write_text("5.6.7.8\n5.6.8.0/24 # rented\n0.0.0.0 ads.example\n10.0.0.1\n5.6.9.9:443\n")
    Path("sources.yaml").write_text("sources:\n  exits: {url: exits.txt, format: addresses, tags: bypass:tor}\n")
    before = ("find", "8.8.8.8", "[2001:4860:4860::8844]", "dns.google", "::ffff:1.1.1.1")
    assert lists(*before) == 0, "the starter data, before the first sync"
    assert capsys.readouterr().out.splitlines() == [
        "8.8.8.8: bypass:doh",
        "[2001:4860:4860::8844]: bypass:doh",
        "dns.google: category:doh (entry dns.google)",
        "dns.google: bypass:doh (entry dns.google)",
        "::ffff:1.1.1.1: bypass:doh",
    ]
    assert lists("find", "5.6.8.77") == 1
    sync_lists(load_config("guardian.yaml"))
    capsys.readouterr()
    assert lists("find", "5.6.8.77", "5.6.10.1", "8.8.8.8", "--json") == 1
    assert [answer["tags"] for answer in json.loads(capsys.readouterr().out)] == [["bypass:tor"], [], ["bypass:doh"]]
    assert lists("find", "1.2.3.4.5..") == 2
    assert "empty label" in capsys.readouterr().err

    assert lists("show", "state/lists/addresses") == 0
    shown = capsys.readouterr().out
    assert "addresses and prefixes" in shown and "bypass:tor" in shown
    assert "1 with-a-name:\n        line 3: 0.0.0.0 ads.example" in shown
    assert "1 not-public:\n        line 4: 10.0.0.1" in shown
    assert lists("show", "state/lists/addresses", "--json") == 0
    assert json.loads(capsys.readouterr().out)["sources"][-1]["entries"] == 3

    table = Path("state/lists/addresses")
    table.write_bytes(table.read_bytes()[:-3])
    for words in (("show", "state/lists/addresses"), ("find", "8.8.8.8")):
        assert lists(*words) == 1
        assert "state/lists/addresses: the address list is cut off" in capsys.readouterr().err
