"""The hotline's lists in a gateway that runs: enforced for all, told right, changed without a restart."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import pytest

from tests.gateway.product import (
    ADULT,
    CHILD,
    GROUNDED,
    HOUSEHOLD,
    NEWCOMER,
    TEEN,
    Running,
    Upstream,
    addresses,
    extended_errors,
    rcode,
    running,
    wait_for,
)  # fmt: skip
from tests.hotline.listed_feed import TEST_NAME, install

CENSORED, BLOCKED, FORGED, NOT_READY = 16, 15, 4, 14
PAGE = ["127.0.0.1"]
ENTRIES = [
    ("d", "listed-1.example", 0),
    ("d", "listed-2.example", 1),
    ("h", "www.mixed.example", 0),
    ("u", "paper.example/page", 0),
    ("d", "telefonulcopilului.md", 0),  # a helpline: whoever signs that
    ("d", "windowsupdate.com", 0),
]
RECORDS = """
listed-1.example A 192.0.2.1
www.listed-1.example A 192.0.2.1
listed-2.example A 192.0.2.2
www.mixed.example A 192.0.2.3
mixed.example A 192.0.2.4
paper.example A 192.0.2.5
plain.example A 192.0.2.6
cloak.plain.example CNAME www.listed-1.example.
fresh-1.example A 192.0.2.7
telefonulcopilului.md A 192.0.2.8
windowsupdate.com A 192.0.2.9
"""
SETTINGS: dict[str, Any] = {"hotline": {"url": "http://127.0.0.1:1/", "root": "root.json"}}


def settings_for(upstream: Upstream) -> dict[str, Any]:
    return SETTINGS | {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    upstream = Upstream(RECORDS)
    yield upstream
    upstream.close()


def feed_of(folder: Path) -> Path:
    return folder / "state" / "hotline"


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("hotline")
    install(feed_of(folder), ENTRIES, good=["good.example"])
    with running(folder, settings_for(upstream)) as gateway:
        yield gateway


def texts(answer: dns.message.Message) -> str:
    return " ".join(option.to_text() for option in answer.options)


# What is enforced


@pytest.mark.parametrize("source", [CHILD, ADULT, TEEN, GROUNDED, NEWCOMER])
@pytest.mark.parametrize("name", ["listed-1.example", "www.listed-1.example", "a.b.listed-1.example", TEST_NAME])
@pytest.mark.parametrize("tcp", [False, True])
def test_a_listed_name_is_blocked_for_every_device(gateway: Running, source: str, name: str, tcp: bool) -> None:
    answer = gateway.ask(name, source=source, tcp=tcp)
    assert addresses(answer) == PAGE and extended_errors(answer) == [CENSORED, FORGED]
    assert "blocked by law" in texts(answer) and "listed" not in texts(answer).replace("blocked", "")


def test_a_voluntary_list_says_so(gateway: Running) -> None:
    answer = gateway.ask("listed-2.example", source=ADULT)
    assert addresses(answer) == PAGE and extended_errors(answer) == [BLOCKED, FORGED]
    assert "on the hotline's list" in texts(answer)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("mixed.example", "192.0.2.4"),  # its host alone is listed
        ("paper.example", "192.0.2.5"),  # one page of it is
        ("plain.example", "192.0.2.6"),
        ("telefonulcopilului.md", "192.0.2.8"),
        ("windowsupdate.com", "192.0.2.9"),
    ],
)
def test_what_is_not_listed_or_guarded_is_answered(gateway: Running, name: str, address: str) -> None:
    answer = gateway.ask(name, source=ADULT)
    assert addresses(answer) == [address] and extended_errors(answer) == []


def test_an_answer_that_leads_to_a_listed_name_is_blocked(gateway: Running) -> None:
    for _ in range(2):
        answer = gateway.ask("cloak.plain.example", source=ADULT)
        assert addresses(answer) == PAGE and CENSORED in extended_errors(answer)
        assert b"listed-1" not in answer.to_wire()


def test_a_name_of_home_is_not_looked_for(gateway: Running) -> None:
    before = gateway.status()["hotline"]["hashes"]
    for name in ("guardian.home.arpa", "1.168.192.in-addr.arpa", "printer", "localhost", "telefonulcopilului.md"):
        gateway.ask(name, source=ADULT)
    assert gateway.status()["hotline"]["hashes"] == before


def test_the_key_of_a_domain_is_made_once(gateway: Running) -> None:
    gateway.ask("one.once-1.any.example", source=ADULT)
    before = gateway.status()["hotline"]
    for number in range(20):
        gateway.ask(f"n{number}.once-1.any.example", source=(ADULT, CHILD)[number % 2])
    after = gateway.status()["hotline"]
    assert (after["hashes"], after["keys"]) == (before["hashes"], before["keys"])


# The page


def fetch(gateway: Running, host: str, language: str = "en") -> tuple[int, str]:
    with socket.create_connection(("127.0.0.1", gateway.page_port), 5, (ADULT, 0)) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nAccept-Language: {language}\r\n\r\n".encode())
        data = b""
        while part := connection.recv(65536):
            data += part
    return int(data.split(b" ", 2)[1]), data.decode()


def test_the_page_says_who_and_by_which_law(gateway: Running) -> None:
    code, page = fetch(gateway, "www.listed-1.example")
    assert code == 451 and "listed-1" not in page.partition("\r\n\r\n")[2]
    for text in ("Hotline of Tests", "Order 7/2026", "An order under the law", "Ask us.", "https://appeal.example/"):
        assert text in page, text
    assert fetch(gateway, "cloak.plain.example")[0] == 451, "what its answer led to"
    assert fetch(gateway, "never-asked-before.listed-1.example")[0] == 451


@pytest.mark.parametrize(
    ("language", "words"),
    [("ro", ("Linia de teste", "Întrebați-ne.", "închisă prin lege")), ("ru", ("Линия тестов", "Спросите нас."))],
)
def test_the_page_speaks_the_reader_s_language(gateway: Running, language: str, words: tuple[str, ...]) -> None:
    _, page = fetch(gateway, "listed-1.example", language)
    assert all(word in page for word in words)


def test_the_page_of_a_voluntary_list_does_not_speak_of_the_law(gateway: Running) -> None:
    code, page = fetch(gateway, "listed-2.example")
    assert code == 403 and "desk@hotline.example" in page and "An agreement of internet providers" in page
    assert "forbids" not in page and "closed by law" not in page


def test_a_page_for_what_nobody_has_asked_for_yet(gateway: Running) -> None:
    assert fetch(gateway, "fresh-2.example")[0] == 503


# What is told


def test_status_has_numbers_and_no_names(gateway: Running) -> None:
    gateway.ask("listed-1.example")
    status = gateway.status()["hotline"]
    assert status["enabled"] and status["error"] == "" and status["epoch"] == "2026q4"
    assert status["lists"][0]["id"] == "csam-md" and status["lists"][0]["serial"] == 1
    assert status["entries"] >= len(ENTRIES) and status["hashes"] > 0 and status["keys"] > 0
    assert (status["waiting"], status["refused"], status["late"]) == (0, 0, 0)
    assert "listed-1" not in json.dumps(status)


def test_the_verb_explain_waits_for_the_list(gateway: Running) -> None:
    reply = gateway.control("explain", device="laptop", host="not-asked-yet.listed-2.example")
    assert (reply["action"], reply["reason"], reply["rule"]) == ("block", "mandatory", "")


def test_explain_on_the_command_line_needs_no_gateway(gateway: Running) -> None:
    done = gateway.run("explain", "--profile", "parents", "www.listed-1.example", "plain.example")
    assert done.returncode == 0, done.stderr
    assert "Blocked: on the hotline's list, by Hotline of Tests, for every device of the home." in done.stdout
    assert "list entry" not in done.stdout and done.stdout.count("on the hotline's list") == 2
    tree = json.loads(gateway.run("explain", "--json", "--profile", "parents", "listed-2.example").stdout)
    assert tree["names"][0]["rule"] == "mandatory:csam-md:1"
    assert tree["names"][0]["matches"] == [{"tag": "mandatory:csam-md:1", "entry": "(not shown)"}]


def test_the_day_s_count_is_all_that_the_history_has(upstream: Upstream, tmp_path: Path) -> None:
    import sqlite3

    install(feed_of(tmp_path), ENTRIES)
    with running(tmp_path, settings_for(upstream)) as own:
        for name in ("listed-1.example", "www.listed-1.example", "listed-2.example"):
            own.ask(name, source=CHILD)
        own.ask("plain.example", source=ADULT)

        def days() -> list[tuple[int]]:
            with sqlite3.connect(f"file:{tmp_path}/state/history.db?mode=ro", uri=True) as database:
                return database.execute("SELECT count FROM mandatory").fetchall()

        wait_for(lambda: days() == [(3,)])
    assert_nowhere(tmp_path / "state", b"listed-")
    assert b"listed-" not in own.log().encode()


def assert_nowhere(folder: Path, text: bytes) -> None:
    for path in folder.rglob("*"):
        assert not path.is_file() or text not in path.read_bytes(), path


# In time, and fair


def test_no_answer_leaves_before_its_name_is_settled(upstream: Upstream, tmp_path: Path) -> None:
    """Upstream is asked at the same time, and it is faster by far."""
    from guardian.blocklist.feed_base import STANDARD

    install(feed_of(tmp_path), [("d", "listed-1.example", 0)], cost=STANDARD)
    with running(tmp_path, settings_for(upstream)) as own:
        for name, there in (("listed-1.example", PAGE), ("plain.example", ["192.0.2.6"])):
            began = time.monotonic()
            answer = own.ask(name, source=ADULT)
            took = time.monotonic() - began
            assert addresses(answer) == there and 0.02 < took < 2.0, took
            began = time.monotonic()
            own.ask(f"{name}", source=ADULT)
            assert time.monotonic() - began < 0.02
        status = own.status()
        assert status["hotline"]["hashes"] == 2 and status["queries"]["asked_upstream"] <= 2


def test_a_flood_of_unknown_names_is_put_off_and_others_are_served(upstream: Upstream, tmp_path: Path) -> None:
    from guardian.blocklist.feed_base import STANDARD

    install(feed_of(tmp_path), [("d", "listed-1.example", 0)], good=["good.example"], cost=STANDARD)
    upstream.add("www.good.example A 192.0.2.10")
    with running(tmp_path, settings_for(upstream)) as own:
        own.ask("plain.example", source=ADULT)
        flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with flood:
            flood.bind((CHILD, 0))
            flood.settimeout(5)
            for number in range(60):
                query = dns.message.make_query(f"www.flood-{number}.example", "A", use_edns=0)
                flood.sendto(query.to_wire(), ("127.0.0.1", own.port))
            began = time.monotonic()
            assert addresses(own.ask("www.good.example", source=ADULT)) == ["192.0.2.10"]
            assert addresses(own.ask("plain.example", source=ADULT)) == ["192.0.2.6"]
            known = time.monotonic() - began
            assert addresses(own.ask("mixed.example", source=TEEN)) in ([], ["192.0.2.4"], PAGE)
            unknown = time.monotonic() - began
            assert known < 0.5 and unknown < 1.5, (known, unknown)
            answers = [dns.message.from_wire(flood.recv(4096)) for _ in range(60)]
        put_off = [answer for answer in answers if NOT_READY in extended_errors(answer)]
        assert put_off and all(rcode(answer) == "SERVFAIL" for answer in put_off)
        status = own.status()["hotline"]
        assert status["refused"] == len(put_off) and 0 < status["hashes"] < 60
        retry = own.ask(put_off[0].question[0].name.to_text(), source=CHILD)
        assert NOT_READY not in extended_errors(retry)


# Changes


def test_an_update_is_in_force_at_the_reload(upstream: Upstream, tmp_path: Path) -> None:
    install(feed_of(tmp_path), ENTRIES)
    with running(tmp_path, settings_for(upstream)) as own:
        assert addresses(own.ask("fresh-1.example", source=ADULT)) == ["192.0.2.7"]
        assert addresses(own.ask("listed-2.example", source=ADULT)) == PAGE
        hashes = own.status()["hotline"]["hashes"]
        install(feed_of(tmp_path), [*ENTRIES[:1], ("d", "fresh-1.example", 0)], serial=2)
        assert addresses(own.ask("fresh-1.example", source=ADULT)) == ["192.0.2.7"], "not before the reload"
        own.control("reload")
        answer = own.ask("fresh-1.example", source=ADULT)
        assert addresses(answer) == PAGE and CENSORED in extended_errors(answer)
        assert addresses(own.ask("listed-2.example", source=ADULT)) == ["192.0.2.2"], "it is no longer listed"
        status = own.status()
        assert status["hotline"]["lists"][0]["serial"] == 2
        assert status["hotline"]["hashes"] == hashes, "the keys are still good"
        wait_for(lambda: own.status()["cache"]["entries"] <= 1)


def test_a_new_epoch_is_in_force_at_the_reload(upstream: Upstream, tmp_path: Path) -> None:
    install(feed_of(tmp_path), ENTRIES)
    with running(tmp_path, settings_for(upstream)) as own:
        own.ask("fresh-1.example", source=ADULT)
        install(feed_of(tmp_path), [("d", "fresh-1.example", 1)], serial=2, salt=bytes(32), epoch="2027q1")
        own.control("reload")
        assert own.status()["hotline"]["keys"] == 0 and own.status()["hotline"]["epoch"] == "2027q1"
        assert addresses(own.ask("fresh-1.example", source=ADULT)) == PAGE


def test_no_listed_name_is_in_the_cache(upstream: Upstream, tmp_path: Path) -> None:
    """Neither itself nor as what another leads to, and whether upstream or the list was faster."""
    from guardian.blocklist.feed_base import STANDARD

    for folder, cost, delay in (("slow", STANDARD, 0.0), ("fast", None, 0.3)):
        install(feed_of(tmp_path / folder), ENTRIES, **({"cost": cost} if cost else {}))
        with running(tmp_path / folder, settings_for(upstream)) as own:
            upstream.delay = delay
            try:
                for _ in range(2):
                    for name in ("listed-1.example", "cloak.plain.example", "fresh-1.example", "www.listed-1.example"):
                        own.ask(name, source=ADULT)
            finally:
                upstream.delay = 0.0
            time.sleep(delay)
            assert own.status()["cache"]["entries"] == 1, "that of the one name that is not listed"


def test_a_damaged_feed_leaves_the_one_before_in_force(upstream: Upstream, tmp_path: Path) -> None:
    _, current = install(feed_of(tmp_path), ENTRIES)
    with running(tmp_path, settings_for(upstream)) as own:
        good = current.read_bytes()
        current.write_text("{}")
        own.control("reload")
        assert addresses(own.ask("listed-1.example", source=ADULT)) == PAGE
        assert "current.json" in own.status()["hotline"]["error"]
        current.write_bytes(good)
        own.control("reload")
        assert own.status()["hotline"]["error"] == "" and addresses(own.ask("listed-1.example")) == PAGE


def test_a_gateway_starts_with_a_damaged_feed_and_says_so(upstream: Upstream, tmp_path: Path) -> None:
    _, current = install(feed_of(tmp_path), ENTRIES)
    current.write_text("no json")
    with running(tmp_path, settings_for(upstream)) as own:
        assert addresses(own.ask("listed-1.example", source=ADULT)) == ["192.0.2.1"]
        status = own.status()["hotline"]
        assert not status["enabled"] and "current.json" in status["error"]
    assert "event=hotline-lists-refused" in own.log()


def test_the_first_list_comes_while_the_gateway_runs(upstream: Upstream, tmp_path: Path) -> None:
    with running(tmp_path, settings_for(upstream)) as own:
        assert addresses(own.ask("listed-1.example", source=ADULT)) == ["192.0.2.1"]
        assert own.status()["hotline"] == {"enabled": False, "error": ""}
        install(feed_of(tmp_path), ENTRIES)
        own.control("reload")
        assert addresses(own.ask("listed-1.example", source=ADULT)) == PAGE
        wait_for(lambda: own.status()["cache"]["entries"] == 0)  # what it knew of the name is forgotten


def test_a_feed_that_is_no_longer_configured_is_no_longer_enforced(upstream: Upstream, tmp_path: Path) -> None:
    install(feed_of(tmp_path), ENTRIES)
    with running(tmp_path, settings_for(upstream)) as own:
        assert addresses(own.ask("listed-1.example", source=ADULT)) == PAGE
        del own.settings["hotline"]
        own.write()
        own.control("reload")
        assert addresses(own.ask("listed-1.example", source=ADULT)) == ["192.0.2.1"]


def test_a_box_that_nobody_has_set_up_enforces_it(upstream: Upstream, tmp_path: Path) -> None:
    install(feed_of(tmp_path), ENTRIES)
    own = Running(tmp_path, settings_for(upstream), HOUSEHOLD)
    del own.settings["household"]
    own.write()
    own.start()
    try:
        for source in (CHILD, ADULT):
            for name in (TEST_NAME, "listed-1.example"):
                answer = own.ask(name, source=source)
                assert addresses(answer) == PAGE and CENSORED in extended_errors(answer)
        assert addresses(own.ask("plain.example", source=CHILD)) == ["192.0.2.6"]
    finally:
        assert own.stop() == 0
