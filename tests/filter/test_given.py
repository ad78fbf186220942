"""Addresses that the resolver gave."""

from __future__ import annotations

from guardian.filter.given import GRACE_SECONDS, MAX_ADDRESSES, GivenAddresses

ONE, OTHER = b"\xc0\0\2\1", bytes(15) + b"\1"


def test_an_address_counts_for_its_ttl_and_a_grace() -> None:
    given: GivenAddresses[str] = GivenAddresses()
    given.note("toy", [ONE, OTHER], 60, now=1000.0)
    assert given.has("toy", ONE, 1000.0)
    assert given.has("toy", OTHER, 1000.0 + 60 + GRACE_SECONDS - 1)
    assert not given.has("toy", ONE, 1000.0 + 60 + GRACE_SECONDS)
    assert not given.has("tablet", ONE, 1000.0)
    assert not given.has("toy", b"\xc0\0\2\2", 1000.0)


def test_use_renews_it() -> None:
    given: GivenAddresses[str] = GivenAddresses()
    given.note("toy", [ONE], 0, now=0.0)
    now = 0.0
    for _ in range(10):
        now += GRACE_SECONDS - 1
        assert given.has("toy", ONE, now)
    assert not given.has("toy", ONE, now + GRACE_SECONDS + 1)


def test_a_shorter_ttl_takes_nothing_back() -> None:
    given: GivenAddresses[str] = GivenAddresses()
    given.note("toy", [ONE], 86_400, now=0.0)
    given.note("toy", [ONE], 1, now=10.0)
    assert given.has("toy", ONE, 86_400.0 + GRACE_SECONDS - 1)
    assert given.count() == 1


def test_so_many_and_the_oldest_go_first() -> None:
    given: GivenAddresses[str] = GivenAddresses()
    addresses = [number.to_bytes(4) for number in range(MAX_ADDRESSES)]
    given.note("toy", addresses, 60, now=0.0)
    given.note("toy", addresses[:1], 60, now=1.0)
    given.note("toy", [ONE], 60, now=2.0)
    assert given.count() <= MAX_ADDRESSES
    assert given.has("toy", addresses[0], 3.0)
    assert given.has("toy", ONE, 3.0)
    assert not given.has("toy", addresses[1], 3.0)


def test_keys_are_forgotten() -> None:
    given: GivenAddresses[bytes] = GivenAddresses()
    given.note(b"\4help\0", [ONE], 60, now=0.0)
    given.note(b"\4safe\0", [OTHER], 60, now=0.0)
    assert given.knows(b"\4safe\0")
    given.keep([b"\4help\0", b"\5other\0"])
    assert not given.knows(b"\4safe\0")
    assert given.has(b"\4help\0", ONE, 1.0)
    assert given.count() == 1
