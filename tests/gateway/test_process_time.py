"""What happens at a moment: pauses that end, rules that expire, and no TTL that outlives a decision."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guardian.errors import GuardianError
from tests.gateway.product import (
    CHILD,
    HOUSEHOLD,
    TEEN,
    Running,
    Upstream,
    addresses,
    extended_errors,
    least_ttl,
    running,
    wait_for,
)

PAGE, OPEN = ["127.0.0.1"], ["192.0.2.10"]
NAME = "www.open.example"


@pytest.fixture
def own(upstream: Upstream, tmp_path: Path) -> Iterator[Running]:
    """A gateway that a test may change."""
    upstream.ttl = 3600
    with running(tmp_path, {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as gateway:
        yield gateway
    upstream.ttl = 300


def flips_at(gateway: Running, before: list[str], after: list[str]) -> float:
    """Ask until the answer changes, checking every TTL against the moment; return when that was seen (epoch seconds).

    Every answer is kept as a client keeps it: none may still be in use after the change.
    """
    expiries = []
    while True:
        now = time.time()
        answer = gateway.ask(NAME, source=CHILD)
        found = addresses(answer)
        if found == after:
            break
        assert found == before
        expiries.append(now + least_ttl(answer))
        time.sleep(0.02)
    seen = time.time()  # `now` may be a moment before the change that the answer has seen
    assert expiries and max(expiries) <= seen + 1.0
    return seen


def test_a_pause_ends_by_itself(own: Running) -> None:
    assert addresses(own.ask(NAME)) == OPEN
    until = time.time() + 2.2
    own.control("pause", id="ana", until=until)
    answer = own.ask(NAME)
    assert addresses(answer) == PAGE and 17 in extended_errors(answer) and least_ttl(answer) <= 2
    assert addresses(own.ask(NAME, source=TEEN)) == OPEN
    assert until <= flips_at(own, PAGE, OPEN) < until + 1.0


def test_a_rule_ends_by_itself(own: Running) -> None:
    """An allowed name is cached for an hour; the rule that allows it ends in seconds."""
    end = datetime.now(UTC) + timedelta(seconds=3)
    household = copy.deepcopy(HOUSEHOLD)
    household["profiles"]["ana"]["block"] = ["=www.open.example"]
    household["profiles"]["ana"]["allow"] = [{"name": NAME, "until": end.isoformat(timespec="seconds")}]
    household["profiles"]["ana"]["block"] = ["open.example"]
    own.household = household
    own.write()
    done = own.run("household", "import", "home.yaml")
    assert done.returncode == 0, done.stderr
    moment = flips_at(own, OPEN, PAGE)
    assert abs(moment - end.replace(microsecond=0).timestamp()) < 1.0


def test_pause_by_the_command_line_is_durable(own: Running) -> None:
    def command(*words: str) -> str:
        done = own.run("household", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "paused until" in command("pause", "--profile", "ana")
    assert addresses(own.ask(NAME)) == PAGE
    assert addresses(own.ask("telefonulcopilului.md")) == ["192.0.2.32"]
    assert own.stop() == 0
    own.start()
    assert addresses(own.ask(NAME)) == PAGE
    command("resume", "--profile", "ana")
    assert addresses(own.ask(NAME)) == OPEN
    command("pause", "--device", "tablet", "--minutes", "1")
    answer = own.ask(NAME)
    assert addresses(answer) == PAGE
    command("resume", "--device", "tablet")
    assert addresses(own.ask(NAME)) == OPEN


def test_the_command_line_resumes_what_the_socket_paused(own: Running) -> None:
    """A parent who presses "resume" is online again, whoever paused."""
    own.control("pause", id="ana")
    assert addresses(own.ask(NAME)) == PAGE
    assert own.run("household", "resume", "--profile", "ana").returncode == 0
    assert addresses(own.ask(NAME)) == OPEN


def test_the_socket_resumes_for_this_run_only(own: Running) -> None:
    assert own.run("household", "pause", "--profile", "ana").returncode == 0
    own.control("pause", id="ana", until=0)
    assert addresses(own.ask(NAME)) == OPEN
    own.control("reload")
    assert addresses(own.ask(NAME)) == OPEN
    own.stop()
    own.start()
    assert addresses(own.ask(NAME)) == PAGE


@pytest.mark.parametrize("until", ["soon", None, True, [1], float("nan")])
def test_a_wrong_pause_changes_nothing(home: Running, until: object) -> None:
    with pytest.raises(GuardianError, match="until"):
        home.control("pause", id="ana", until=until)
    with pytest.raises(GuardianError, match="no profile or device"):
        home.control("pause", id="nobody", until=0)
    assert addresses(home.ask(NAME)) == OPEN


def test_a_window_that_begins_caps_the_ttl(own: Running) -> None:
    """Bedtime in under two minutes: an answer with a TTL of an hour leaves with seconds."""
    start = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=2)
    end = start + timedelta(minutes=30)
    household = copy.deepcopy(HOUSEHOLD)
    household["profiles"]["ana"]["offline"] = [f"daily {start:%H:%M}-{end:%H:%M}"]
    own.household = household
    own.write()
    assert own.run("household", "import", "home.yaml").returncode == 0
    wait_for(lambda: own.status()["household"]["profiles"] == len(household["profiles"]))
    for _ in range(3):
        left = start.timestamp() - time.time()
        assert 0 < least_ttl(own.ask(NAME)) <= left
    assert least_ttl(own.ask(NAME, source=TEEN)) > 3500
