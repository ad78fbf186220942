"""The answer cache: what is kept of an upstream's message, for how long, and within which bounds."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.errors import FormError
from guardian.names import is_below, parse_name
from guardian.resolver.cache import (
    FAILURE_TTL,
    MAX_CHAIN,
    MAX_NEGATIVE_TTL,
    MAX_REVEALED,
    STALE_TTL,
    Cache,
    Entry,
    Limits,
    make_entry,
    make_failure,
    make_key,
    make_rewrite,
)
from guardian.resolver.local import is_private_address
from guardian.wire import dns as wire
from guardian.wire.dns import Edns, Message, Question, Record

NAME = parse_name("a.example")
SOA = "example. 900 SOA ns.example. h.example. 1 2 3 4 120"
ECH = "a.example. 60 HTTPS 1 . alpn=h2 ech=AA3+DQAJAAAAAAAAAAAA ipv4hint=192.0.2.1"
FAR = 1 << 30  # a cap that caps nothing


def make_message(answer: str, kind: str = "A", rcode: int = 0, name: str = "a.example", authority: str = "") -> Message:
    """The message of zone lines, as dnspython writes it: in the order of the lines."""
    reply = dns.message.make_response(dns.message.make_query(name, kind))
    reply.set_rcode(dns.rcode.Rcode(rcode))
    for section, text in ((reply.answer, answer), (reply.authority, authority)):
        for line in filter(None, text.split("\n")):
            owner, ttl, kind_, rest = line.split(maxsplit=3)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind_, rest))
    return wire.parse_message(reply.to_wire())


def keep(message: Message, limits: Limits = Limits(), second: int = 0, dnssec_ok: bool = False) -> Entry:  # noqa: B008
    assert message.question is not None
    name, kind = message.question.name, message.question.type
    key = make_key(name, kind, dnssec_ok, False)
    return make_entry(key, name, kind, message, second, limits, is_private_address)


def show(entry: Entry, second: int | None = None, render: Callable[[int], bytes] | None = None) -> list[str]:
    """The answers and authority as a client sees them."""
    records = render(FAR) if render else entry.render(entry.stored if second is None else second, FAR)
    head = bytes(2) + (0x8180 | entry.rcode).to_bytes(2) + b"\0\1" + entry.answers.to_bytes(2)
    head += entry.authority.to_bytes(2) + b"\0\0"
    question = entry.name + entry.type.to_bytes(2) + b"\0\1"
    seen = dns.message.from_wire(head + question + records)
    return [line for rrset in (*seen.answer, *seen.authority) for line in str(rrset).split("\n")]


@given(
    st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5),
    st.integers(0, 1000),
    st.integers(1, 200_000),
    st.integers(0, 200_000),
    st.integers(0, 200_000),
)
def test_ttls_count_down_within_their_bounds(ttls: list[int], low: int, high: int, age: int, cap: int) -> None:
    records = tuple(Record(NAME, 1, 1, ttl, bytes((192, 0, 2, n))) for n, ttl in enumerate(ttls))
    entry = keep(Message(1, 0x8180, Question(NAME, 1, 1), records), Limits(min_ttl=low, max_ttl=high), 50)
    expected = [max(0, min(min(max(ttl, low), high) - age, cap)) for ttl in ttls]
    head = bytes(2) + b"\x81\x80\0\1" + len(ttls).to_bytes(2) + bytes(4) + NAME + b"\0\1\0\1"
    seen = wire.parse_message(head + entry.render(50 + age, cap))
    assert [record.ttl for record in seen.answers] == expected
    assert [record.rdata for record in seen.answers] == [record.rdata for record in records]
    assert entry.expires == 50 + min(min(max(ttl, low), high) for ttl in ttls)


@pytest.mark.parametrize(
    ("soa_ttl", "minimum", "lifetime"),
    [(900, 120, 120), (60, 120, 60), (900, 0, 0), (10**6, 10**6, MAX_NEGATIVE_TTL), (900, 2**32 - 1, 900)],
)
@pytest.mark.parametrize("rcode", [0, 3])
def test_negative_answers_live_by_their_soa(rcode: int, soa_ttl: int, minimum: int, lifetime: int) -> None:
    entry = keep(make_message("", rcode=rcode, authority=f"example. {soa_ttl} SOA n. h. 1 2 3 4 {minimum}"))
    assert (entry.lifetime, entry.rcode) == (lifetime, rcode)


def test_negative_answers_without_an_soa_are_not_kept() -> None:
    for message in (make_message(""), make_message("", rcode=3), make_message("a.example. 60 CNAME b.example.")):
        assert keep(message).lifetime == 0


def test_a_chain_that_ends_in_nothing_lives_as_long_as_its_weakest_part() -> None:
    entry = keep(make_message("a.example. 60 CNAME b.example.", rcode=3, authority=SOA))
    assert (entry.lifetime, entry.rcode, entry.answers, entry.authority) == (60, 3, 1, 1)


def test_failures_are_kept_for_a_moment() -> None:
    for rcode in (1, 2, 4, 5, 6, 9):
        assert keep(make_message("", rcode=rcode)).lifetime == FAILURE_TTL
    extended = Message(1, 0x8180, Question(NAME, 1, 1), edns=Edns(rcode_high=2))  # RCODE 32, whose low bits say NOERROR
    assert keep(extended).rcode == wire.RCODE_SERVFAIL


# What is kept of an answer


def test_records_for_other_names_are_dropped() -> None:
    lines = "a.example. 60 A 192.0.2.1\nbank.example. 60 A 192.0.2.66\nexample. 60 NS ns.example."
    assert show(keep(make_message(lines))) == ["a.example. 60 IN A 192.0.2.1"]


def test_other_classes_are_dropped() -> None:
    records = (Record(NAME, 1, 3, 60, bytes(4)), Record(NAME, 1, 1, 60, b"\xc0\0\2\1"))
    assert keep(Message(1, 0x8180, Question(NAME, 1, 1), records)).answers == 1


def test_authority_is_kept_for_proofs_only() -> None:
    delegation = "example. 60 NS ns.example.\nexample. 60 NSEC z.example. A\n" + SOA
    positive = make_message("a.example. 60 A 192.0.2.1", authority=delegation)
    assert keep(positive).authority == 0
    assert keep(positive, dnssec_ok=True).authority == 2
    assert keep(make_message("", authority=delegation)).authority == 2


@given(st.permutations(["a.example. 60 CNAME b.example.", "b.example. 50 CNAME c.test.", "c.test. 40 A 192.0.2.1"]))
def test_chains_are_followed_in_any_order_and_given_in_theirs(lines: list[str]) -> None:
    """Some upstreams send the address before the alias; many stubs read a chain once, from the start."""
    entry = keep(make_message("\n".join([*lines, "c.example. 60 A 192.0.2.66"])))
    assert show(entry) == [
        "a.example. 60 IN CNAME b.example.",
        "b.example. 50 IN CNAME c.test.",
        "c.test. 40 IN A 192.0.2.1",
    ]
    assert entry.revealed == (parse_name("b.example"), parse_name("c.test"))
    assert entry.lifetime == 40


def test_dname_and_what_it_makes_is_kept() -> None:
    lines = "example. 60 DNAME cdn.test.\na.example. 0 CNAME a.cdn.test.\na.cdn.test. 30 A 192.0.2.1"
    entry = keep(make_message(lines))
    assert len(show(entry)) == 3
    assert set(entry.revealed) == {parse_name("cdn.test"), parse_name("a.cdn.test")}
    assert len(show(keep(make_message("other. 60 DNAME cdn.test.\na.example. 60 A 192.0.2.1")))) == 1


def test_loops_end_and_long_chains_are_refused() -> None:
    loop = make_message("a.example. 60 CNAME b.example.\nb.example. 60 CNAME a.example.")
    assert keep(loop).answers == 2
    names = ["a.example", *(f"n{n}.example" for n in range(MAX_CHAIN))]
    chain = [f"{one}. 60 CNAME {other}." for one, other in pairwise(names)]
    assert keep(make_message("\n".join(chain[:-1]))).answers == MAX_CHAIN - 1
    for lines in (chain, chain[::-1]):
        with pytest.raises(FormError, match="chain"):
            keep(make_message("\n".join(lines)))


def test_targets_are_few_and_as_long_as_names() -> None:
    """Each target is judged with all its parents at each query: an owner of a zone must not make that expensive."""
    question = Question(NAME, wire.TYPE_HTTPS, 1)
    many = [
        Record(NAME, wire.TYPE_HTTPS, 1, 60, b"\0\1" + parse_name(f"t{n}.example")) for n in range(MAX_REVEALED + 1)
    ]
    assert len(keep(Message(1, 0x8180, question, tuple(many[:-1]))).revealed) == MAX_REVEALED
    long = (Record(NAME, wire.TYPE_HTTPS, 1, 60, b"\0\1" + b"\1a" * 30_000 + b"\0"),)
    for records in (tuple(many), long):
        with pytest.raises(FormError):
            keep(Message(1, 0x8180, question, records))


@pytest.mark.parametrize(
    ("kind", "text", "private"),
    [
        ("A", "192.168.1.1", True),
        ("A", "192.0.2.1", False),
        ("AAAA", "fd00::1", True),
        ("AAAA", "::ffff:10.0.0.1", True),
        ("AAAA", "2001:db8::1", False),
        ("HTTPS", "1 . ipv4hint=192.0.2.1,127.0.0.1", True),
        ("HTTPS", "1 . ipv6hint=fe80::1", True),
        ("HTTPS", "1 . ipv6hint=2001:db8::1", False),
    ],
)
def test_private_addresses_are_seen(kind: str, text: str, private: bool) -> None:
    assert keep(make_message(f"a.example. 60 {kind} {text}", kind)).private is private


def test_rewrites_inherit_what_was_found() -> None:
    """A safe twin that answers with an address of the home, or fails, does so under its other name as well."""
    key, target = make_key(parse_name("www.s.example"), 1, False, False, NAME), NAME
    found = keep(make_message("a.example. 60 A 192.168.1.1"))
    entry = make_rewrite(key, parse_name("www.s.example"), target, found, 300)
    assert entry.private
    assert show(entry) == ["www.s.example. 300 IN CNAME a.example.", "a.example. 60 IN A 192.168.1.1"]
    failure = make_failure(make_key(NAME, 1, False, False), NAME, 1, 0, 22, "nobody")
    failed = make_rewrite(key, parse_name("www.s.example"), target, failure, 300)
    assert (failed.rcode, failed.error) == (wire.RCODE_SERVFAIL, failure.error)


@pytest.mark.parametrize("rdata", [b"", b"\1\2\3", b"\1\2\3\4\5"])
def test_addresses_of_the_wrong_size_are_refused(rdata: bytes) -> None:
    with pytest.raises(FormError):
        keep(Message(1, 0x8180, Question(NAME, 1, 1), (Record(NAME, 1, 1, 60, rdata),)))


def test_ech_goes_and_other_records_stay() -> None:
    lines = f"{ECH}\na.example. 60 HTTPS 2 b.example. alpn=h3"
    entry = keep(make_message(lines, "HTTPS"))
    stripped = entry.without_ech()
    shown = "\n".join(show(stripped))
    assert "ech" not in shown
    assert 'alpn="h2" ipv4hint="192.0.2.1"' in shown
    assert "2 b.example." in shown
    assert (stripped.expires, stripped.revealed, stripped.authenticated) == (entry.expires, entry.revealed, False)
    assert entry.without_ech() is stripped
    plain = keep(make_message("a.example. 60 HTTPS 1 . alpn=h2", "HTTPS"))
    assert plain.without_ech() is plain


def test_stale_records_say_thirty_seconds() -> None:
    entry = keep(make_message("a.example. 600 A 192.0.2.1\na.example. 600 A 192.0.2.2"))
    assert {line.split()[1] for line in show(entry, render=entry.render_stale)} == {str(STALE_TTL)}
    assert entry.render_stale(7)[6:10] == b"\0\0\0\7"


# The cache itself


def put(cache: Cache, name: str, ttl: int = 60, second: int = 0, rdata: str = "192.0.2.1") -> Entry:
    entry = keep(make_message(f"{name}. {ttl} A {rdata}", name=name), cache.limits, second)
    cache.put(entry)
    return entry


def test_entries_serve_stale_for_their_window_and_then_go() -> None:
    cache = Cache(Limits(stale=100))
    entry = put(cache, "a.example")
    assert cache.get(entry.key, 59) is entry
    assert cache.get(entry.key, 159) is entry
    assert cache.get(entry.key, 160) is None
    assert (len(cache), cache.bytes) == (0, 0)


def test_failures_never_serve_stale() -> None:
    """RFC 9520 section 3.2: an old failure says nothing about now."""
    cache = Cache(Limits())
    failure = make_failure(make_key(NAME, 1, False, False), NAME, 1, 0, 22, "nobody")
    cache.put(failure)
    assert cache.get(failure.key, FAILURE_TTL - 1) is failure
    assert cache.get(failure.key, FAILURE_TTL) is None


@pytest.mark.parametrize("rcode", [1, 2, 4, 5, 6])
def test_a_failure_never_takes_the_place_of_an_answer(rcode: int) -> None:
    cache = Cache(Limits())
    entry = put(cache, "a.example")
    failure = keep(make_message("", rcode=rcode), second=70)
    cache.put(failure)
    assert cache.get(entry.key, 71) is entry
    assert entry.failed == 70
    fresh = put(cache, "a.example", second=80)
    assert cache.get(entry.key, 81) is fresh
    assert cache.bytes == fresh.size
    cache.flush()
    cache.put(failure)
    good = put(cache, "a.example", second=81)
    assert cache.get(good.key, 81) is good  # but an answer takes the place of a failure


def test_checking_disabled_dnssec_and_rewrites_are_kept_apart() -> None:
    bits = (False, True)
    keys = {make_key(NAME, t, do, cd, to) for t in (1, 28) for do in bits for cd in bits for to in (b"", b"\0")}
    assert len(keys) == 16


def test_flush_forgets_a_name_and_all_below() -> None:
    cache = Cache(Limits())
    for name in ("example", "a.example", "b.a.example", "ba.example", "a.test"):
        put(cache, name)
    assert cache.flush(parse_name("a.example")) == 2
    assert cache.names() == ["example", "ba.example", "a.test"]
    assert cache.bytes == sum(entry.size for entry in cache)
    assert cache.flush() == 3
    assert (len(cache), cache.bytes) == (0, 0)


def test_what_leads_to_a_name_is_forgotten_with_it() -> None:
    cache = Cache(Limits())
    put(cache, "www.a.example")
    put(cache, "ba.example")
    for text in ("b.example. 60 CNAME c.a.example.", "c.example. 60 CNAME xa.example."):
        cache.put(keep(make_message(text, name=text.partition(". ")[0])))
    cache.flush_leading(parse_name("a.example"))
    assert cache.names() == ["ba.example", "c.example"]
    (entry, _) = cache
    cache.drop(entry)
    cache.drop(entry)
    assert cache.names() == ["c.example"] and cache.bytes == sum(entry.size for entry in cache)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("pgf"), st.integers(0, 12), st.integers(1, 20)), max_size=60),
    st.integers(1000, 20_000),
)
def test_bytes_stay_bounded_and_the_least_used_goes_first(steps: list[tuple[str, int, int]], most: int) -> None:
    cache = Cache(Limits(max_bytes=most))
    order: list[bytes] = []  # the model: least recently used first
    for what, number, size in steps:
        name = f"n{number}.example"
        key = make_key(parse_name(name), 1, False, False)
        if what == "p":
            lines = "\n".join(f"{name}. 60 A 192.0.2.{n}" for n in range(size))
            cache.put(keep(make_message(lines, name=name)))
            order = [other for other in order if other != key] + [key]
        elif what == "g":
            if cache.get(key, 0) is not None:
                order = [other for other in order if other != key] + [key]
        else:
            cache.flush(parse_name(name))
        kept = [entry.key for entry in cache]
        order = order[len(order) - len(kept) :] if what != "f" else [other for other in order if other in kept]
        assert kept == order
        assert cache.bytes == sum(entry.size for entry in cache)
        assert cache.bytes <= most or len(cache) == 1


@pytest.mark.parametrize("shape", ["one", "many", "chain", "https", "negative", "failure"])
def test_the_size_of_an_entry_is_not_less_than_its_memory(shape: str) -> None:
    """`Limits.max_bytes` is a promise about memory: an entry is never counted for much less than it takes."""

    def build(number: int) -> Entry:
        name = f"host{number}.example"
        key = make_key(parse_name(name), 1, False, False)
        if shape == "failure":
            return make_failure(key, parse_name(name), 1, number, 22, "no upstream answered")
        lines = {
            "one": f"{name}. 6000 A 192.0.2.1",
            "many": "\n".join(f"{name}. 6000 A 192.0.2.{n}" for n in range(20)),
            "chain": f"{name}. 6000 CNAME x{number}.cdn.test.\nx{number}.cdn.test. 6000 A 192.0.2.1",
            "https": ECH.replace("a.example", name),
            "negative": "",
        }[shape]
        kind = "HTTPS" if shape == "https" else "A"
        entry = keep(make_message(lines, kind, name=name, authority=SOA if shape == "negative" else ""), second=number)
        entry.without_ech()
        return entry

    build(0)
    cache = Cache(Limits(max_bytes=1 << 30))
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(300, 400):
            cache.put(build(number))
        gc.collect()
        real = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert real <= cache.bytes * 1.1


@given(st.lists(st.sampled_from(["a.example", "b.a.example", "c.test", "d.c.test"]), max_size=8), st.data())
def test_only_names_on_the_way_are_kept(owners: list[str], data: st.DataObject) -> None:
    """Whatever an upstream sends, each kept owner is the name or was revealed."""
    records = []
    for owner in owners:
        kind = data.draw(st.sampled_from([1, wire.TYPE_CNAME, wire.TYPE_DNAME]))
        target = parse_name(data.draw(st.sampled_from(owners)))
        records.append(Record(parse_name(owner), kind, 1, 60, bytes(4) if kind == 1 else target))
    entry = keep(Message(1, 0x8180, Question(NAME, 1, 1), tuple(records)))
    for record in entry.parse().answers:
        known = {NAME, *entry.revealed}
        assert record.owner in known or (
            record.type in (wire.TYPE_DNAME, wire.TYPE_RRSIG) and any(is_below(name, record.owner) for name in known)
        )
