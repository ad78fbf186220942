"""TCP flows: what is allowed reaches the kernel, what is refused ends, and nothing that a client says hides a name."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from guardian.filter import marks, tcp
from guardian.filter.marks import ALLOWED, ALWAYS, ANSWERED, DROP, PASS, REFUSED, WATCHED
from guardian.policy.model import FOREVER, Kind
from tests.filter.home import ADULT_MAC, BLOCKED, CHILD_MAC, HELP, NOON, TRUSTED_MAC, Home, make_policy
from tests.filter.home import ALLOWED as ALLOWED_NAME
from tests.filter.packets import ACK, FIN, MD5, PSH, RST, SYN, URG, Connection, build_tcp
from tests.wire.hellos import build_hello, ech_outer, frame, record

GOOD, BAD = frame(build_hello("www.example.com")), frame(build_hello("bet.example"))
CCS, DATA = record(b"\1", 20), record(bytes(53), 23)
FLIGHT = 1600  # bytes of a server that takes a hello
EARLY = (42, b"")


def get(host: str = "www.example.com", fields: str = "", method: str = "GET") -> bytes:
    return f"{method} / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode()


def open_flow(home: Home, connection: Connection, mac: bytes = CHILD_MAC) -> None:
    assert home.handle_all([connection.syn(), connection.syn_ack()], mac=mac) == [PASS, PASS]


def start(port: int = 443, *, home: Home | None = None, **options: object) -> tuple[Home, Connection]:
    home, connection = home or Home(), Connection(port, **options)  # type: ignore[arg-type]
    open_flow(home, connection)
    return home, connection


def send(home: Home, connection: Connection, parts: Iterable[bytes], offset: int = 0, heard: int = 0) -> list[int]:
    verdicts = []
    for part in parts:
        verdicts.append(home.handle(connection.data(offset, part, heard)))
        offset += len(part)
    return verdicts


BOTH = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])

# TLS


@BOTH
@pytest.mark.parametrize("stamps", [False, True])
@pytest.mark.parametrize("post_quantum", [False, True])
def test_an_allowed_flow_goes_to_the_kernel(v6: bool, stamps: bool, post_quantum: bool) -> None:
    home, connection = start(v6=v6, stamps=stamps, initial=0xFFFFFF00, origin=0xFFFFFFF0)
    hello = frame(build_hello("WWW.example.COM.", post_quantum=post_quantum))
    half = len(hello) // 2
    assert send(home, connection, [hello[:half], hello[half:]]) == [PASS, PASS]
    assert home.handle(connection.data(len(hello), CCS + DATA, FLIGHT)) == ALLOWED
    assert len(home.engine.tcp) == 0
    ((_, flow),) = home.engine.judged.items()
    assert (flow.who.device, flow.kind, flow.name, flow.mark) == ("tablet", Kind.TLS, ALLOWED_NAME, ALLOWED)
    assert home.handle(connection.data(len(hello), CCS + DATA, FLIGHT)) == ALLOWED, "it waited in the queue"
    assert not home.blocks
    assert not home.attempts


@BOTH
def test_a_blocked_name_is_refused(v6: bool) -> None:
    home, connection = start(v6=v6)
    assert send(home, connection, [BAD[:100], BAD[100:], b"more"]) == [PASS, REFUSED, REFUSED]
    assert [(device, name) for device, name, _ in home.blocks] == [("tablet", BLOCKED)]
    assert home.attempts == []
    assert len(home.engine.judged) == 0


@pytest.mark.parametrize("sizes", [[1] * 40, [5], [100, 100]])
def test_records_and_disorder_do_not_hide_a_name(sizes: list[int]) -> None:
    home, connection = start()
    hello = frame(build_hello("bet.example"), sizes)
    pieces = [(at, hello[at : at + 37]) for at in range(0, len(hello), 37)]
    verdicts = [home.handle(connection.data(at, piece)) for at, piece in pieces[1:] + pieces[:1]]
    assert verdicts == [PASS] * (len(pieces) - 1) + [REFUSED]


def test_a_hello_without_name_is_unreadable() -> None:
    hello = frame(build_hello(None))
    home, connection = start()
    assert send(home, connection, [hello]) == [REFUSED]
    assert home.attempts == ["unreadable"]
    home, connection = Home(), Connection()
    open_flow(home, connection, ADULT_MAC)
    assert home.handle(connection.data(0, hello), mac=ADULT_MAC) == PASS
    assert home.handle(connection.data(len(hello), DATA, 1), mac=ADULT_MAC) == ALLOWED


def test_the_outer_name_of_ech_counts() -> None:
    home, connection = start()
    assert send(home, connection, [frame(build_hello("bet.example", ech=True))]) == [REFUSED]
    home, connection = start()
    assert send(home, connection, [frame(build_hello("www.example.com", extra=[ech_outer()]))]) == [PASS]


def test_a_second_hello_is_judged_like_the_first() -> None:
    for between in (b"", CCS, record(b"\1\x5a", 21)):  # also behind a warning, which servers pass over
        home, connection = start()
        assert send(home, connection, [GOOD, between + BAD]) == [PASS, REFUSED]
        home, connection = start()
        assert send(home, connection, [GOOD, between + GOOD], heard=105) == [PASS, PASS]
        at = 2 * len(GOOD) + len(between)
        assert home.handle(connection.data(at, CCS + DATA, 105 + FLIGHT)) == ALLOWED


def test_a_hello_retry_request_is_no_sign_that_the_second_hello_was_taken() -> None:
    """The decoy is the second hello; what the client acknowledges is what the first brought."""
    home, connection = start()
    assert send(home, connection, [GOOD]) == [PASS]
    decoy = frame(build_hello("www.example.net")) + b"\x17"
    assert home.handle(connection.data(len(GOOD), decoy, 0)) == PASS
    assert home.handle(connection.data(len(GOOD) + len(decoy), b"\3", 105)) == PASS, "not to the kernel"
    assert home.handle(connection.data(len(GOOD), BAD, 105)) == REFUSED


def test_early_data_are_watched_for_a_second_hello() -> None:
    home, connection = start()
    hello = frame(build_hello("www.example.com", extra=[EARLY]))
    assert send(home, connection, [hello, DATA]) == [PASS, PASS]
    at = len(hello) + len(DATA)
    assert home.handle(connection.data(at, DATA, 1)) == WATCHED
    assert home.handle(connection.data(at + len(DATA), BAD, 2)) == REFUSED


def test_a_watched_flow_that_was_forgotten_is_not_an_allowed_one() -> None:
    home, connection = start()
    hello = frame(build_hello("www.example.com", extra=[EARLY]))
    send(home, connection, [hello, DATA], heard=105)
    assert home.handle(connection.data(len(hello) + len(DATA), DATA, 106)) == WATCHED
    home.engine.age(NOON + tcp.IDLE_SECONDS + 1)
    assert len(home.engine.tcp) == 0
    assert home.handle(connection.data(len(hello) + 2 * len(DATA), BAD, 106)) == REFUSED


def test_much_early_data_end_the_watch() -> None:
    home, connection = start()
    hello = frame(build_hello("www.example.com", extra=[EARLY]))
    send(home, connection, [hello])
    offset = len(hello)
    for _ in range(12):
        verdict = home.handle(connection.data(offset, record(bytes(1500), 23), FLIGHT + offset))
        offset += 1505
    assert verdict == ALLOWED


def test_records_before_a_hello_are_no_other_protocol() -> None:
    for first in (CCS + BAD, record(b"\1\x5a", 21) + BAD, DATA + BAD):
        home, connection = start(8443)
        assert send(home, connection, [first[:1], first[1:]]) == [PASS, REFUSED]


# Who says what has been heard


def test_a_low_acknowledgement_proves_nothing() -> None:
    """Connection tracking lets an ACK be up to 66,000 behind. The decoy stays on the way."""
    for low in (-1, -5000, -65_000):
        home, connection = start()
        decoy = GOOD + b"\x17"
        assert home.handle(connection.data(0, decoy, low)) == PASS
        assert home.handle(connection.data(len(decoy), b"\3", 0)) == PASS, "nothing of the server was acknowledged"
        assert home.handle(connection.data(0, BAD, 0)) == REFUSED
        assert home.attempts == ["conflict"]


def test_before_the_server_has_answered_there_are_no_data() -> None:
    home, connection = Home(), Connection()
    home.handle(connection.syn())
    assert home.handle(connection.data(0, GOOD)) == DROP
    assert home.handle(connection.syn_ack()) == PASS
    assert home.handle(connection.data(0, BAD)) == REFUSED, "the decoy was not taken in"


def test_an_answer_to_nothing_is_dropped() -> None:
    home, connection = Home(), Connection()
    assert home.handle(connection.syn_ack()) == DROP
    home.handle(connection.syn())
    assert home.handle(connection.syn_ack(initial=7)) == PASS
    assert home.handle(connection.data(0, GOOD)) == DROP, "that answered another SYN"


def test_the_answer_to_another_syn_begins_another_connection() -> None:
    home, connection = start()
    assert send(home, connection, [GOOD]) == [PASS]
    assert home.handle(connection.syn(initial=9000)) == PASS
    assert home.handle(connection.data(10, b"X")) == REFUSED, "the old one goes on: bytes are final"
    home, connection = start()
    send(home, connection, [GOOD])
    home.handle(connection.syn(initial=9000))
    assert home.handle(connection.syn_ack(initial=9000, origin=70_000)) == PASS
    connection.initial, connection.origin = 9000, 70_000
    assert send(home, connection, [BAD]) == [REFUSED]


def test_a_new_connection_with_the_same_number_begins_anew() -> None:
    """Else the ACKs of the second connection would be taken for the first one's: a hand-over for a decoy."""
    home, connection = start()
    send(home, connection, [GOOD + b"\x17"])
    assert home.handle(build_tcp(connection.ends, connection.initial, 0, RST)) == PASS
    assert home.handle(connection.syn()) == PASS
    assert home.handle(connection.syn_ack(origin=connection.origin + 90_000)) == PASS
    connection.origin += 90_000
    assert home.handle(connection.data(len(GOOD) + 1, b"\3")) == PASS
    assert send(home, connection, [BAD]) == [REFUSED]


def test_a_repeated_answer_changes_nothing() -> None:
    home, connection = start()
    home.handle(connection.syn())
    assert home.handle(connection.syn_ack()) == PASS
    assert send(home, connection, [GOOD]) == [PASS]
    home.handle(connection.syn())
    assert home.handle(connection.syn_ack()) == PASS
    assert home.handle(connection.data(len(GOOD), DATA, FLIGHT)) == ALLOWED


def test_a_conflict_is_a_trick_for_everybody() -> None:
    for mac in (TRUSTED_MAC, ADULT_MAC):
        home, connection = Home(), Connection()
        open_flow(home, connection, mac)
        home.handle(connection.data(0, GOOD), mac=mac)
        assert home.handle(connection.data(0, BAD), mac=mac) == REFUSED
        assert home.attempts == ["conflict"]


# What servers drop


def test_what_a_server_may_drop_is_dropped() -> None:
    home, connection = start()
    for packet in (
        connection.data(0, BAD, extra=MD5),
        connection.data(0, BAD, extra=b"\x1d\4\0\0"),
        connection.data(0, BAD, flags=PSH | ACK | URG),
        connection.data(0, BAD, flags=PSH),
        connection.data(0, BAD, clock=1),
        build_tcp(connection.ends, connection.initial, connection.origin, ACK, BAD),  # without the timestamp
        connection.syn(payload=BAD),
        connection.syn(flags=SYN | FIN),
        connection.syn(flags=SYN | RST),
    ):
        assert home.handle(packet) == DROP
    assert send(home, connection, [GOOD]) == [PASS], "nothing of it was taken in"


def test_what_ends_a_connection_changes_nothing() -> None:
    home, connection = start()
    assert send(home, connection, [BAD[:100]]) == [PASS]
    assert home.handle(connection.data(100, b"", flags=RST)) == PASS
    assert home.handle(connection.data(100, b"", flags=FIN | ACK)) == PASS
    assert send(home, connection, [BAD[100:]], 100) == [REFUSED]


# Silence


def test_a_server_that_speaks_first() -> None:
    home, connection = start(25)
    assert home.handle(connection.data(0, b"", 0)) == PASS, "a keep-alive is no sign of it"
    assert home.handle(connection.data(-1, b"", 0)) == PASS
    assert home.handle(connection.data(0, b"", 90)) == ALLOWED
    home, connection = start(443)
    assert home.handle(connection.data(0, b"", 90)) == REFUSED


def test_seventeen_keep_alives_let_nothing_go() -> None:
    home, connection = start(8443)
    assert {home.handle(connection.data(-1, b"", 0, flags=ACK)) for _ in range(40)} == {PASS}
    assert send(home, connection, [BAD]) == [REFUSED]


def test_a_client_that_only_listens_is_handed_over() -> None:
    home, connection = start()
    send(home, connection, [GOOD, CCS + DATA])
    assert home.handle(connection.data(len(GOOD + CCS + DATA), b"", 500)) == PASS
    assert home.handle(connection.data(len(GOOD + CCS + DATA), b"", 30_000)) == ALLOWED


def test_quiet_flows_age() -> None:
    cases: tuple[tuple[list[bytes], float, int], ...] = (
        ([], tcp.SILENT_SECONDS, 443),
        ([GOOD[:50]], tcp.UNDECIDED_SECONDS, 443),
        ([GOOD], tcp.IDLE_SECONDS, 443),
        ([BAD], tcp.UNDECIDED_SECONDS, 443),
        ([get()], tcp.IDLE_SECONDS, 80),
    )
    for parts, seconds, port in cases:
        home, connection = start(port)
        send(home, connection, parts)
        home.engine.age(NOON + seconds - 1)
        assert len(home.engine.tcp) == 1
        home.engine.age(NOON + seconds + 1)
        assert len(home.engine.tcp) == 0
    home = Home()
    home.handle(Connection().syn())
    home.handle(Connection().syn(), NOON + 15)
    home.engine.age(NOON + 30)
    assert len(home.engine.tcp) == 1, "it was repeated"
    home.engine.age(NOON + 15 + tcp.UNANSWERED_SECONDS + 1)
    assert len(home.engine.tcp) == 0


def test_a_flow_whose_beginning_nobody_saw() -> None:
    home, connection = Home(), Connection()
    assert home.handle(connection.data(500, DATA, 900)) == REFUSED
    assert not home.attempts
    assert not home.blocks
    assert home.handle(connection.data(500, DATA, 900), mac=ADULT_MAC) == ALLOWED


def test_there_is_room_for_so_many() -> None:
    home = Home()
    for number in range(tcp.MAX_FLOWS + 10):
        home.handle(Connection(1 + number % 60_000, source_port=1 + number // 60_000).syn())
    assert len(home.engine.tcp) == tcp.MAX_FLOWS


# Plain HTTP


def test_every_request_is_judged() -> None:
    home, connection = start(80)
    assert send(home, connection, [get(), get("bet.example")]) == [WATCHED, ANSWERED]
    (answer,) = home.answers
    assert answer.names == (BLOCKED,)
    assert (answer.sequence, answer.acknowledgement) == (connection.origin, 1000 + len(get() + get("bet.example")))
    assert answer.timestamp == (7, connection.clock)
    assert not answer.is_head
    assert home.handle(connection.data(0, b"more")) == ANSWERED
    assert len(home.engine.judged) == 0


def test_requests_of_one_segment_and_over_many() -> None:
    home, connection = start(80)
    assert send(home, connection, [get() + get("bet.example")]) == [ANSWERED]
    home, connection = start(80)
    stream = get() + get("bet.example")
    verdicts = send(home, connection, [bytes((byte,)) for byte in stream])
    assert verdicts[-1] == ANSWERED
    assert set(verdicts[:-1]) <= {PASS, WATCHED}


def test_a_page_that_cannot_be_sent_is_a_reset() -> None:
    home, connection = start(80, home=Home(can_answer=False))
    assert send(home, connection, [get("bet.example")]) == [REFUSED]
    home, connection = start(80)
    assert send(home, connection, [b"HEAD / HTTP/1.1\r\nHost: bet.example\r\n\r\n"]) == [ANSWERED]
    assert home.answers[0].is_head


def test_a_page_alone_may_be_blocked() -> None:
    home, connection = start(80)
    assert send(home, connection, [get("page.example")]) == [WATCHED]
    bad = b"GET /bad?x HTTP/1.1\r\nHost: page.example\r\n\r\n"
    assert send(home, connection, [bad], len(get("page.example"))) == [ANSWERED]


@pytest.mark.parametrize(
    "first",
    [get("192.0.2.1"), get("192.0.2.1", "Connection: keep-alive\r\n"), get("[2001:db8::1]:80")],
)
def test_a_request_by_address_does_not_free_the_next(first: bytes) -> None:
    home, connection = start(80)
    assert send(home, connection, [first, get("bet.example")]) == [WATCHED, ANSWERED]


def test_a_request_without_host_does_not_free_the_next() -> None:
    home, connection = Home(), Connection(80)
    open_flow(home, connection, TRUSTED_MAC)
    first = b"GET / HTTP/1.0\r\n\r\n"
    assert home.handle(connection.data(0, first), mac=TRUSTED_MAC) == WATCHED
    assert home.handle(connection.data(len(first), get("bet.example")), mac=TRUSTED_MAC) == ANSWERED


def test_proxies_are_ways_around() -> None:
    home, connection = start(8080)
    assert send(home, connection, [b"CONNECT www.example.com:443 HTTP/1.1\r\n\r\n"]) == [REFUSED]
    assert home.attempts == ["proxy"]
    home, connection = start(80)
    assert send(home, connection, [b"GET http://www.example.com/ HTTP/1.1\r\nHost: www.example.com\r\n\r\n"]) == [
        ANSWERED
    ]


BODIES = [
    (get(method="POST", fields="Content-Length: 5\r\n"), b"GET /"),
    (get(method="POST", fields="Transfer-Encoding: chunked\r\n"), b"5\r\nGET /\r\n0\r\n\r\n"),
    (get(method="POST", fields="Content-Length: 200000\r\n"), bytes(200_000)),
]


@pytest.mark.parametrize(("head", "body"), BODIES)
def test_a_body_is_read_over(head: bytes, body: bytes) -> None:
    home, connection = start(80)
    stream = head + body + get("bet.example")
    parts = [stream[at : at + 40_000] for at in range(0, len(stream), 40_000)]
    verdicts = send(home, connection, parts)
    assert verdicts[-1] == ANSWERED
    assert REFUSED not in verdicts


def test_a_long_upload_is_carried_whatever_is_lost() -> None:
    """Retransmissions of what is under way pass, far ones are dropped; nothing is refused, and little is held."""
    home, connection = start(80)
    head = get(method="POST", fields="Content-Length: 10000000\r\n")
    send(home, connection, [head])
    size = 60_000
    for at in range(0, 5_000_000, size):
        assert home.handle(connection.data(len(head) + at, bytes(size))) == PASS
        if at > tcp.KEPT_BYTES:
            assert home.handle(connection.data(len(head) + at - tcp.KEPT_BYTES // 2, bytes(1448))) == PASS
    assert home.handle(connection.data(len(head) + 10, b"XXXX")) == DROP, "who knows what stood there"
    assert home.handle(connection.data(0, get("bet.example"))) == DROP
    gap = len(head) + 5_000_000 + size
    assert home.handle(connection.data(gap + 900_000, bytes(1448))) == PASS, "behind a gap"
    assert home.handle(connection.data(gap + 5_000_000, bytes(1448))) == DROP, "too far: it comes again"
    home.engine.age(NOON)
    assert home.engine.tcp.held_bytes < tcp.KEPT_BYTES * 1.3


def test_an_early_answer_is_no_sign_that_the_server_has_it_all() -> None:
    """100 Continue, then the end of the body is lost behind us: its retransmission must pass."""
    home, connection = start(80)
    head = get(method="POST", fields="Content-Length: 3000\r\nExpect: 100-continue\r\n")
    assert send(home, connection, [head]) == [WATCHED]
    assert send(home, connection, [bytes(1500), bytes(1500)], len(head), 25) == [PASS, PASS]
    assert send(home, connection, [bytes(1500)], len(head) + 1500, 25) == [PASS]
    assert send(home, connection, [bytes(1500)], len(head), 25) == [PASS]


def test_an_upload_of_merged_segments_is_not_too_much() -> None:
    home, connection = start(80)
    head = get(method="POST", fields="Content-Length: 1000000\r\n")
    send(home, connection, [head])
    assert send(home, connection, [bytes(50_000), bytes(15_000), bytes(65_000), bytes(65_000)], len(head)) == [PASS] * 4


def test_many_segments_of_a_body_are_not_counted_for_the_next_head() -> None:
    home, connection = start(80)
    head = get(method="POST", fields="Content-Length: 60000\r\n")
    verdicts = send(home, connection, [head, *[bytes(100)] * 600, get()[:20], get()[20:]])
    assert verdicts == [WATCHED] + [PASS] * 601 + [WATCHED]


def test_after_an_upgrade_another_protocol_may_follow() -> None:
    upgrade = get(fields="Connection: Upgrade\r\nUpgrade: websocket\r\n")
    home, connection = start(80)
    frames = [b"\x81\x85mask-hello", bytes(3000), b"\x81" + bytes(60)]
    assert send(home, connection, [upgrade, *frames], heard=200) == [WATCHED, PASS, PASS, PASS]
    offset = len(upgrade + b"".join(frames))
    assert home.handle(connection.data(offset, b"\x82", 9000)) == PASS, (
        "never to the kernel: a server may not have agreed"
    )
    assert home.handle(connection.data(len(upgrade), get("bet.example"), 9000)) == REFUSED


@pytest.mark.parametrize(
    "lenient",
    [
        b"GET / HTTP/1.1\r\nHost : bet.example\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nHost: bet.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: y\r\n folded\r\nHost: bet.example\r\n\r\n",
        b"\r\nGET /  x HTTP/1.1\r\nHost: bet.example\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        BAD,
    ],
)
def test_after_an_upgrade_no_unreadable_request_may_follow(lenient: bytes) -> None:
    upgrade = get(fields="Connection: Upgrade\r\nUpgrade: websocket\r\n")
    home, connection = start(80)
    assert send(home, connection, [upgrade, lenient]) == [WATCHED, REFUSED]


# All else


def test_other_protocols_are_judged_by_their_port_and_greeting() -> None:
    for port, verdict in ((22, PASS), (80, REFUSED), (443, REFUSED)):
        home, connection = start(port)
        assert send(home, connection, [b"SSH-2.0-x\r\n"]) == [verdict]
    home, connection = start(22)
    send(home, connection, [b"SSH-2.0-x\r\n"])
    assert home.handle(connection.data(11, b"kex", 40)) == ALLOWED
    for greeting in ([b"\5\1\0"], [b"\5", b"\1", b"\0"]):
        home, connection = start(1080)
        assert send(home, connection, greeting)[-1] == REFUSED
        assert home.attempts == ["proxy"]


def test_too_much_that_says_nothing_is_unreadable() -> None:
    home, connection = start()
    hello = frame(build_hello("www.example.com", extra=[(99, bytes(60_000))]))
    assert REFUSED in send(home, connection, [hello[at : at + 1400] for at in range(0, 20_000, 1400)])
    home, connection = start(80)
    assert REFUSED in send(home, connection, [b"GET / HTTP/1.1\r\n"] + [b"X: y\r\n"] * 3000)
    home, connection = start()
    assert send(home, connection, [GOOD[:1]] + [GOOD[:1]] * 401, 0)[-1] == REFUSED


# The policy


def test_under_a_stop_only_helplines_go_on() -> None:
    address = Connection().ends.destination
    for named, verdict in ((False, REFUSED), (True, PASS)):
        home = Home(make_policy(paused_until=FOREVER))
        if named:
            home.judge.give_named(HELP, (address,), 60, NOON, is_helpline=True)
        home, connection = start(home=home)
        hello = frame(build_hello("help.example"))
        assert send(home, connection, [hello]) == [verdict]
        if named:
            assert home.handle(connection.data(len(hello), DATA, FLIGHT)) == ALLOWED | ALWAYS
        assert home.blocks == [] or not named
    home, connection = start(home=Home(make_policy(paused_until=FOREVER)))
    assert send(home, connection, [GOOD]) == [REFUSED]


def test_a_helplines_name_at_another_address_is_not_spared_a_later_stop() -> None:
    hello = frame(build_hello("help.example"))
    home, connection = start()
    assert send(home, connection, [hello]) == [PASS]
    assert home.handle(connection.data(len(hello), DATA, FLIGHT)) == ALLOWED


def test_a_new_policy_ends_what_waits() -> None:
    home, connection = start()
    send(home, connection, [GOOD])
    home.judge.replace(make_policy(rules=["example.com"]), home.judge.lists)
    home.engine.review(NOON, True)
    assert home.handle(connection.data(len(GOOD), DATA, FLIGHT)) == REFUSED


def test_a_refused_flow_may_be_opened_again() -> None:
    home, connection = start()
    assert send(home, connection, [BAD]) == [REFUSED]
    connection.initial, connection.origin = 77_000, 88_000
    open_flow(home, connection)
    assert send(home, connection, [GOOD]) == [PASS]
    assert home.handle(connection.data(len(GOOD), DATA, FLIGHT)) == ALLOWED
    open_flow(home, connection)
    assert len(home.engine.judged) == 0, "a SYN begins something new"


def test_a_flow_that_may_have_taken_the_fast_path_is_forgotten_before_it_begins_anew() -> None:
    """Nobody held it to its TCP windows: an acknowledgement in the new one would prove nothing."""
    home, connection = start()
    home.forgotten = []
    assert send(home, connection, [GOOD]) == [PASS]
    assert home.handle(connection.data(len(GOOD), DATA, FLIGHT)) == ALLOWED
    ((key, _),) = home.engine.judged.items()
    connection.initial, connection.origin = 77_000, 88_000
    assert home.handle(connection.syn()) == DROP
    assert home.forgotten == [key] and len(home.engine.judged) == 0
    open_flow(home, connection)  # sent again: this one is new to the kernel
    assert home.forgotten == [key]


def test_a_watched_flow_never_took_the_fast_path() -> None:
    home, connection = start(80)
    home.forgotten = []
    assert send(home, connection, [get()]) == [WATCHED]
    home.engine.tcp.age(NOON + 100_000)  # nobody remembers its stream
    connection.initial, connection.origin = 77_000, 88_000
    open_flow(home, connection)
    assert not home.forgotten


def test_marks_have_their_use() -> None:
    assert {PASS, DROP, ALLOWED, REFUSED, WATCHED, ANSWERED} <= {-1, *range(marks.FLOW_MASK + 1)}
