"""Who asks: networks, devices, tables shared by like postures, the budget, the limits of floods."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import dns.edns
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.resolver.answer import Ready
from guardian.resolver.clients import MAX_CLIENTS, UNLIMITED, Budget, Table
from guardian.wire import dns as wire
from tests.resolver.engine import ADULT, CHILD, CHILD_MAC, NOON, PROXY, STRANGER, Engine, make_engine, make_query

BEDTIME, MORNING = NOON + 9 * 3600, NOON + 19 * 3600
PROXY_6, OTHER_CHILD = bytes(15) + b"\1", b"\x0a\0\0\x63"  # the second is unknown: the profile of new devices


def packed(text: str) -> bytes:
    return ip_address(text).packed


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("10.0.0.1", True),
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("9.255.255.255", False),
        ("127.0.0.1", True),
        ("fd00::1", True),
        ("fdff:ffff::1", True),
        ("fc00::1", False),
        ("::1", False),
        ("2001:db8::1", False),
        ("::ffff:10.0.0.2", True),  # v4-mapped is v4
        ("::ffff:11.0.0.2", False),
        ("::10.0.0.2", False),
    ],
)
def test_only_configured_networks_are_known(engine: Engine, address: str, known: bool) -> None:
    assert (engine.clients.find(packed(address), NOON) is not None) is known
    assert len(engine.clients.by_address) == known


@given(st.ip_addresses(), st.lists(st.integers(0, 128), min_size=1, max_size=3), st.data())
def test_networks_contain_what_ipaddress_says(
    address: IPv4Address | IPv6Address, lengths: list[int], data: st.DataObject
) -> None:
    pool = st.ip_addresses() | st.just(address)
    networks = tuple(
        ip_network(f"{other}/{min(length, other.max_prefixlen)}", strict=False)
        for length in lengths
        for other in [data.draw(pool)]
    )
    engine = make_engine()
    engine.clients.configure(networks, 0)
    plain = getattr(address, "ipv4_mapped", None) or address
    expected = any(plain in network for network in networks if network.version == plain.version)
    assert (engine.clients.find(address.packed, NOON) is not None) is expected


def test_a_mapped_address_is_the_device_of_its_v4_address(engine: Engine) -> None:
    assert engine.client(packed("::ffff:10.0.0.2")).device == "tablet"
    assert engine.client(packed("::ffff:127.0.0.1")).is_proxy


def test_the_posture_changes_at_its_moment(engine: Engine) -> None:
    child = engine.client()
    assert (child.posture.stop, child.posture.until) == (None, BEDTIME)
    assert engine.clients.find(CHILD, BEDTIME - 0.001) is child
    assert child.posture.stop is None
    engine.clients.find(CHILD, BEDTIME)
    assert child.posture.stop is not None
    assert child.posture.until == MORNING
    adult = engine.clients.find(ADULT, BEDTIME)
    assert adult is not None
    assert adult.posture.stop is None


def test_like_postures_share_one_table_and_a_new_one_gets_a_new_table(engine: Engine) -> None:
    child, other, adult = (engine.client(address) for address in (CHILD, OTHER_CHILD, ADULT))
    assert child.table is other.table is not adult.table
    before = child.table
    engine.wait(9 * 3600)
    engine.handle(make_query("bet.example"), ADULT)
    assert engine.client().table is not before
    assert engine.client(OTHER_CHILD).table is engine.client().table
    assert before not in engine.clients.budget.tables
    assert len(engine.clients.budget.tables) == 2


def test_the_mac_decides_who_a_proxied_query_is_from(engine: Engine) -> None:
    proxy = engine.client(PROXY)
    behind = engine.clients.find_behind(proxy, CHILD_MAC, NOON)
    assert (behind.device, behind.is_proxy, behind.mac) == ("tablet", False, CHILD_MAC)
    assert engine.clients.find_behind(proxy, CHILD_MAC, NOON) is behind
    assert behind.table is engine.client(CHILD).table
    assert proxy.table is not engine.client(ADULT).table  # the same device, but it asks for others


def test_proxies_keep_no_tables_of_days_gone_by(engine: Engine) -> None:
    """Each change of a proxy's posture used to leave a table behind for good, and each loopback address one more."""
    engine.clients.configure((ip_network("127.0.0.0/8"), ip_network("::1"), ip_network("10.0.0.0/8")), 0)
    option = dns.edns.GenericOption(dns.edns.OptionType(wire.OPTION_MAC), CHILD_MAC)
    for _ in range(20):
        for address in (b"\x7f\0\0\7", b"\x7f\0\0\x08", PROXY_6):  # unknown devices, so the child's bedtimes
            engine.handle(make_query("bet.example", options=[option]), address)
        engine.wait(86400 // 2)
    assert len(engine.clients.budget.tables) <= 2
    for number in range(2 * MAX_CLIENTS):
        engine.clients.find(b"\x7f" + number.to_bytes(3), engine.now)
    assert len(engine.clients.by_address) <= MAX_CLIENTS
    assert len(engine.clients.budget.tables) <= 2


def test_a_reload_or_another_device_forgets(engine: Engine) -> None:
    engine.handle(make_query("bet.example"))
    child = engine.client()
    engine.clients.forget_address(CHILD)
    assert engine.client() is not child
    assert engine.client().table is child.table  # what was answered stays right
    engine.clients.forget()
    assert len(engine.clients.budget) == 0
    assert not engine.client().ready
    engine.clients.forget_address(STRANGER)


# The budget


def ready() -> Ready:
    return Ready(bytes(10), b"", 0, None)


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60), st.sampled_from("aaaaaadc")), max_size=200),
)
def test_the_budget_bounds_all_tables_together(limit: int, steps: list[tuple[int, int, str]]) -> None:
    """Also when somebody still writes to a table that was dropped: it counts until it is noticed, never for ever."""
    budget = Budget(limit)
    tables = [Table() for _ in range(5)]
    budget.tables += tables
    for index, number, what in steps:
        table = tables[index]
        if what == "a":
            budget.admit(table, number.to_bytes(2), ready())
        elif what == "d" and table in budget.tables:
            budget.drop(table)
        elif what == "c":
            budget.clear()
            tables = [Table() for _ in range(5)]
            budget.tables += tables
        live = sum(len(other.ready) for other in budget.tables)
        assert live <= limit
        assert len(budget) >= live
        assert len(budget) <= limit


def test_the_oldest_of_the_fullest_table_go_first() -> None:
    budget, small, large = Budget(32), Table(), Table()
    budget.tables += [small, large]
    budget.admit(small, b"small", ready())
    for number in range(32):
        budget.admit(large, bytes((number,)), ready())
    assert b"small" in small.ready
    assert list(large.ready) == [bytes((number,)) for number in range(2, 32)]
    budget.admit(large, bytes((31,)), ready())  # the same again takes no room
    assert len(budget) == 31


def test_padding_cannot_fill_the_memory(engine: Engine) -> None:
    """A table is bounded in entries: without a bound on their size two-kilobyte packets would cost 20 MB of 10,000."""
    for number in range(50):
        padding = dns.edns.GenericOption(dns.edns.OptionType(wire.OPTION_PADDING), number.to_bytes(2) * 700)
        engine.handle(make_query("bet.example", options=[padding]))
    child = engine.client()
    assert not child.ready
    assert not child.table.blocked
    padding = dns.edns.GenericOption(dns.edns.OptionType(wire.OPTION_PADDING), bytes(128))
    engine.handle(make_query("bet.example", options=[padding]))
    assert len(child.ready) == 1


# Limits


def test_a_client_gets_its_rate_and_bursts_of_twice_that() -> None:
    engine = make_engine(rate_limit=10)
    client = engine.client()
    assert client.allowance == 20
    client.allowance = 0
    engine.clients.refill()
    assert client.allowance == 10
    for _ in range(5):
        engine.clients.refill()
    assert client.allowance == 20


@pytest.mark.parametrize("address", [PROXY, PROXY_6])
def test_a_proxy_is_not_limited_for_the_whole_home(address: bytes) -> None:
    engine = make_engine(rate_limit=10)
    engine.clients.configure((ip_network("127.0.0.0/8"), ip_network("::1")), 10)
    proxy = engine.client(address)
    proxy.allowance -= 100
    engine.clients.refill()
    assert proxy.allowance > UNLIMITED // 2


def test_without_a_limit_nothing_runs_out(engine: Engine) -> None:
    engine.client().allowance -= 1_000_000
    engine.clients.refill()
    assert engine.client().allowance > UNLIMITED // 2


def test_a_flood_of_addresses_is_bounded_and_spares_none_for_ever(engine: Engine) -> None:
    """Made-up IPv6 addresses: the table of clients stays small, and a real client is known again at once."""
    child = engine.client()
    for number in range(3 * MAX_CLIENTS):
        assert engine.clients.find(b"\xfd" + number.to_bytes(15), NOON) is not None
        assert len(engine.clients.by_address) <= MAX_CLIENTS
    assert engine.client().device == child.device == "tablet"
    assert engine.client().table is child.table
    for number in range(2 * MAX_CLIENTS):
        engine.clients.find_behind(engine.client(PROXY), number.to_bytes(6), NOON)
    assert len(engine.clients.budget.tables) <= 3


def test_those_who_ask_are_kept_when_idle_ones_go(engine: Engine) -> None:
    for number in range(MAX_CLIENTS - 1):
        engine.clients.find(b"\xfd" + number.to_bytes(15), NOON)
    for client in engine.clients.by_address.values():
        client.seen = False
    child = engine.client()
    engine.client(ADULT)
    assert engine.clients.by_address[CHILD] is child
    assert len(engine.clients.by_address) == 2


def test_who_asked_is_told_once_those_behind_a_proxy_too(engine: Engine) -> None:
    engine.client()
    behind = engine.clients.find_behind(engine.client(PROXY), CHILD_MAC, NOON)
    assert {client.address for client in engine.clients.take_seen()} == {CHILD, PROXY, b""}
    assert engine.clients.take_seen() == []
    engine.clients.find_behind(engine.client(PROXY), CHILD_MAC, NOON)
    assert behind in engine.clients.take_seen()


def test_strangers_leave_nothing_behind(engine: Engine) -> None:
    for number in range(1000):
        assert engine.clients.find(b"\x08" + number.to_bytes(3), NOON) is None
    assert not engine.clients.by_address
