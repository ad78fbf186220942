"""Plain HTTP: how a request can be written, and what can stand between two of them."""

from __future__ import annotations

import time
from typing import Any

from tests.netns.evasion.attack import Attempt, Result, case
from tests.netns.evasion.cases_segments import BOTH, LOST, slice_up
from tests.netns.evasion.servers import CARELESS, FULL
from tests.netns.evasion.wire import Style
from tests.netns.lab import plan

# What stands where an honest request has its Host field, with the blocked and the open name.
HOSTS: dict[str, str] = {
    "odd-case": "hOsT: {0}",
    "no-blank": "Host:{0}",
    "tab": "Host:\t{0}",
    "many-blanks": "Host:      {0}   ",
    "port": "Host: {0}:80",
    "upper-case": "HOST: {0}",
    "final-dot": "Host: {0}.",
    "final-dot-and-port": "Host: {0}.:80",
    "last-of-many": "A: b\r\n" * 150 + "Host: {0}",
}
TWISTED: dict[str, str] = {
    "blank-before-colon": "Host : {0}",
    "tab-before-colon": "Host\t: {0}",
    "first-of-two": "Host: {0}\r\nHost: {1}",
    "behind-an-empty-one": "X: y\r\nHost: {0}\r\nHost:",
    "user": "Host: {1}@{0}",
    "other-fold": "X: y\r\n z: b\r\nHost: {0}",
    "line-feed-only": "X: y\nHost: {0}",
    "nul-elsewhere": "X: \0y\r\nHost: {0}",
    "long-head": "X: " + "y" * 40_000 + "\r\nHost: {0}",
}


def ask(name: str, fields: str = "Host: {0}", *, path: str = "/", other: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\n{fields.format(name, other)}\r\n\r\n".encode()


@case(families=BOTH, variants=HOSTS, control=True)
def host(attempt: Attempt) -> Result:
    return attempt.surf(attempt.connect(plan.HTTP), ask(attempt.name, attempt.variant, other=attempt.other))


@case(families=(4,), variants=TWISTED)
def host_twisted(attempt: Attempt) -> Result:
    return attempt.surf(attempt.connect(plan.HTTP), ask(attempt.name, attempt.variant, other=attempt.other))


@case(families=(4,), variants=TWISTED)
def host_twisted_on_an_odd_port(attempt: Attempt) -> Result:
    return attempt.surf(attempt.connect(plan.HTTP_ODD), ask(attempt.name, attempt.variant, other=attempt.other))


@case(variants=("upper-case", "dot-dot"), families=BOTH, control=True)
def odd_port_of_http(attempt: Attempt) -> Result:
    name = attempt.name.upper() if attempt.variant == "upper-case" else attempt.name + "."
    return attempt.surf(attempt.connect(plan.HTTP_ODD), ask(name))


LINES: dict[str, str] = {
    "absolute": "GET http://{0}/ HTTP/1.1\r\nHost: {0}",
    "absolute-other-host": "GET http://{0}/ HTTP/1.1\r\nHost: {1}",
    "absolute-odd-case": "GET HTTP://{0}/ HTTP/1.1\r\nHost: {1}",
    "absolute-with-user": "GET http://{1}@{0}/ HTTP/1.1\r\nHost: {1}",
    "absolute-old": "GET http://{0}/ HTTP/1.0",
    "other-scheme": "GET ftp://{0}/ HTTP/1.1\r\nHost: {1}",
}


@case(variants=LINES)
def request_line(attempt: Attempt) -> Result:
    line = attempt.variant.format(attempt.name, attempt.other)
    return attempt.surf(attempt.connect(plan.HTTP), f"{line}\r\n\r\n".encode())


HONEST_LINES: dict[str, str] = {
    "old": "GET / HTTP/1.0\r\nHost: {0}",
    "blank-lines": "\r\n\r\nGET / HTTP/1.1\r\nHost: {0}",
    "post": "POST / HTTP/1.1\r\nHost: {0}\r\nContent-Length: 0",
    "own-method": "PROPFIND / HTTP/1.1\r\nHost: {0}",
    "query": "GET /?a=http:x/ HTTP/1.1\r\nHost: {0}",
    "line-feeds": "GET / HTTP/1.1\nHost: {0}\n\n",
}


@case(variants=HONEST_LINES, families=BOTH, control=True)
def request(attempt: Attempt) -> Result:
    connection = attempt.connect(plan.HTTP)
    text = attempt.variant.format(attempt.name)
    connection.send((text if "\n\n" in text else text + "\r\n\r\n").encode())
    if "post" in attempt.case.id:
        connection.expect(attempt.name.encode())
        return Result(b"hello from " * (b" got 0 bytes" in connection.received) + attempt.name.encode())
    return attempt.read_page(connection)


ODD_LINES: dict[str, str] = {
    "two-blanks": "GET  /  HTTP/1.1\r\nHost: {0}",
    "tabs": "GET\t/\tHTTP/1.1\r\nHost: {0}",
    "version-2": "GET / HTTP/2.0\r\nHost: {0}",
    "version-9": "GET / HTTP/9.9\r\nHost: {0}",
    "no-version": "GET /\r\nHost: {0}",
    "version-words": "GET / HTTP/1.1 please\r\nHost: {0}",
    "bytes": "G\x01T / HTTP/1.1\r\nHost: {0}",
}


@case(variants=ODD_LINES)
def odd_request_line(attempt: Attempt) -> Result:
    """What lenient servers take."""
    return attempt.surf(attempt.connect(plan.HTTP), f"{attempt.variant.format(attempt.name)}\r\n\r\n".encode())


@case(variants=ODD_LINES)
def odd_request_line_on_an_odd_port(attempt: Attempt) -> Result:
    return attempt.surf(attempt.connect(plan.HTTP_ODD), f"{attempt.variant.format(attempt.name)}\r\n\r\n".encode())


@case(families=BOTH, variants=("request-line", "method", "host-name", "one-by-one", "reverse"), control=True)
def request_in_pieces(attempt: Attempt) -> Result:
    stream = ask(attempt.name)
    at = {"request-line": 9, "method": 2, "host-name": stream.index(b"Host") + 12}.get(attempt.variant)
    parts = slice_up(stream, 1) if at is None else [(0, stream[:at]), (at, stream[at:])]
    if attempt.variant == "reverse":
        parts.reverse()
    connection = attempt.connect(plan.HTTP)
    connection.push(parts, pause=0.0 if at is None else 0.02)
    return attempt.read_page(connection)


@case(families=BOTH, hello=True)
def no_host(attempt: Attempt) -> Result:
    """A server's default site."""
    connection = attempt.connect(plan.HTTP)
    connection.send(b"GET /nobody HTTP/1.0\r\n\r\n")
    connection.expect(b"hello from")
    return Result(b"", b"hello from" in connection.received)


@case(families=BOTH, variants={"80": plan.HTTP, "3128": plan.PROXY})
def tunnel(attempt: Attempt) -> Result:
    """CONNECT, with an address that hides the name, to a site with an open name."""
    connection = attempt.connect(attempt.variant)
    target = f"{plan.wan4(plan.SITES['news.open.example'].host)}:80"
    connection.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    if not connection.expect(b"established"):
        return Result()
    return attempt.surf(connection, ask(attempt.name))


# The second request


@case(families=BOTH, variants=("pipelined", "later", "third", "split"), control=True)
def second_request(attempt: Attempt) -> Result:
    connection = attempt.connect(plan.HTTP)
    first, second = ask(attempt.other), ask(attempt.name)
    if attempt.variant == "pipelined":
        return attempt.surf(connection, first + second)
    if attempt.variant == "split":  # the first segment ends in the second request
        connection.send(first + second[:12])
        connection.expect(b"hello from")
        return attempt.surf(connection, second[12:])
    for _ in range(2 if attempt.variant == "third" else 1):
        connection.send(first)
        connection.expect(b"hello from " + attempt.other.encode())
        time.sleep(0.2)
    return attempt.surf(connection, second)


BODIES: dict[str, Any] = {
    "100k": ("Content-Length: 100000", b"x" * 100_000),
    "a-byte": ("Content-Length: 1", b"x"),
    "leading-zeros": ("Content-Length: 0005", b"hello"),
    "like-a-request": ("Content-Length: 40", b"GET / HTTP/1.1\r\nHost: www.any.example\r\n\r\n"[:40]),
}


@case(families=BOTH, variants=BODIES, control=True)
def behind_a_body(attempt: Attempt) -> Result:
    """A blocked request behind the body of an open one, in one stream."""
    length, body = attempt.variant
    head = f"POST / HTTP/1.1\r\nHost: {attempt.other}\r\n{length}\r\n\r\n".encode()
    return attempt.surf(attempt.connect(plan.HTTP), head + body + ask(attempt.name))


@case(families=BOTH, control=True)
def lost_in_an_upload(attempt: Attempt) -> Result:
    """A loss on the line while much is on its way: the home's router has seen all of it, and sees a part again."""
    connection = attempt.connect(plan.HTTP)
    connection.send(f"POST / HTTP/1.1\r\nHost: {attempt.name}\r\nContent-Length: 900000\r\n\r\n".encode())
    start = connection.sent
    body = bytes(900_000)
    for at in range(0, 600_000, 50_000):  # the server's window grows
        if not connection.send(body[at : at + 50_000]):
            return Result(bytes(connection.received))
    at = connection.sent
    connection.segment(body[:1400], at, looks=LOST)
    for place in range(1400, 140_000, 1400):
        connection.segment(body[:1400], at + place)
    time.sleep(0.3)
    connection.push([(at, body[:1400])])
    connection.sent = at + 1400
    connection.send(body[connection.sent - start :])
    connection.expect(attempt.name.encode())
    return Result(b"hello from " * (b"got 900000 bytes" in connection.received) + attempt.name.encode())


SMUGGLED: dict[str, str] = {
    "get-with-a-body": "GET / HTTP/1.1\r\nHost: {1}\r\nContent-Length: {2}\r\n\r\n",
    "two-lengths": "GET / HTTP/1.1\r\nHost: {1}\r\nContent-Length: {2}\r\nContent-Length: 0\r\n\r\n",
    "list-of-lengths": "GET / HTTP/1.1\r\nHost: {1}\r\nContent-Length: {2}, {2}\r\n\r\n",
    "other-coding": "GET / HTTP/1.1\r\nHost: {1}\r\nTransfer-Encoding: gzip\r\n\r\n",
    "length-behind-a-fold": "GET / HTTP/1.1\r\nHost: {1}\r\nX: y\r\n Content-Length: {2}\r\n\r\n",
}


@case(variants=SMUGGLED)
def request_in_a_body(attempt: Attempt) -> Result:
    """Many small servers leave the body of a GET unread: for them it is the next request."""
    inner = ask(attempt.name)
    head = attempt.variant.format(attempt.name, attempt.other, len(inner)).encode()
    return attempt.surf(attempt.connect(CARELESS), head + inner)


CHUNKS: dict[str, Any] = {
    "honest": lambda inner: b"5\r\nhello\r\n0\r\n\r\n" + inner,
    "extension": lambda inner: b"5;a=b\r\nhello\r\n0\r\n\r\n" + inner,
    "trailer": lambda inner: b"5\r\nhello\r\n0\r\nX: y\r\n\r\n" + inner,
    "leading-zeros": lambda inner: b"0005\r\nhello\r\n000\r\n\r\n" + inner,
}


@case(families=(4,), variants=CHUNKS, control=True)
def behind_chunks(attempt: Attempt) -> Result:
    connection = attempt.connect(FULL)
    head = f"POST / HTTP/1.1\r\nHost: {attempt.other}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    connection.send(head + attempt.variant(b""))
    connection.expect(b"hello from " + attempt.other.encode())
    return attempt.surf(connection, attempt.variant(ask(attempt.name))[len(attempt.variant(b"")) :])


@case(families=BOTH)
def other_chunks_than_seen(attempt: Attempt) -> Result:
    """A huge chunk that the server never gets; at its place, when the filter has let go of it, end and new request."""
    connection = attempt.connect(FULL)
    head = f"POST / HTTP/1.1\r\nHost: {attempt.other}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    connection.send(head)
    at = connection.sent
    big = b"f0000\r\n" + b"x" * 63_500
    for place, part in slice_up(big, 1400):
        connection.segment(part, at + place, looks=LOST)
    time.sleep(0.3)
    for place in (0, 1400):
        connection.segment(bytes(1400), at + len(big) + place, looks=LOST)
    time.sleep(0.3)
    return attempt.surf(connection, b"0\r\n\r\n" + ask(attempt.name))


@case(families=BOTH, variants=("apart", "joined"))
def other_chunks_behind_an_upload(attempt: Attempt) -> Result:
    """The same when the server's window has grown so far that no filter can keep all that is on its way."""
    connection = attempt.connect(FULL)
    connection.send(f"POST / HTTP/1.1\r\nHost: {attempt.other}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    for _ in range(14):
        connection.send(b"c350\r\n" + bytes(0xC350) + b"\r\n")
    at = connection.sent
    big = b"f0000\r\n" + b"x" * 700_000
    for place, part in slice_up(big, 1400):
        connection.segment(part, at + place, looks=LOST)
        time.sleep(0.0005)  # a flood is another matter
    time.sleep(0.5)
    real = b"0\r\n\r\n" + ask(attempt.name)
    if attempt.variant == "apart":
        return attempt.surf(connection, real)
    connection.push([(at - 100, bytes(98) + b"\r\n" + real)])
    return attempt.surf(connection, b"")


@case(families=BOTH)
def other_head_than_seen(attempt: Attempt) -> Result:
    """The same with a whole request and its body: all of it is another one for the server."""
    connection = attempt.connect(plan.HTTP)
    fake = f"POST / HTTP/1.1\r\nHost: {attempt.other}\r\nContent-Length: 900000\r\n\r\n".encode()
    stream = fake + b"x" * (64_900 - len(fake))
    for at, part in slice_up(stream, 1400):
        connection.segment(part, at, looks=LOST)
    time.sleep(0.3)
    connection.segment(b"x" * 1400, len(stream), looks=LOST)
    time.sleep(0.3)
    return attempt.surf(connection, ask(attempt.name))


@case(families=BOTH)
def other_request_than_seen(attempt: Attempt) -> Result:
    """The second request is seen, acknowledged with the first answer, forgotten, and then another one."""
    connection = attempt.connect(plan.HTTP, Style(window=6000, scale=None))
    start = connection.expected
    connection.answers = False
    connection.send(ask(attempt.other, path="/big/40000"))
    connection.wait(lambda: len(connection.received) > 4000)
    real, fake = ask(attempt.name), ask(attempt.decoy)
    at = connection.sent
    connection.segment(fake, at, acknowledgement=start, looks=LOST)
    time.sleep(0.1)
    connection.segment(fake, at, looks=LOST)  # acknowledges what came of the first answer
    time.sleep(0.1)
    connection.segment(fake, at, acknowledgement=connection.expected - 1, looks=LOST)
    connection.answers = True
    connection.push([(at, real + ask(attempt.other))])
    connection.push([(at, real), (at + len(real), ask(attempt.other))])
    return attempt.read_page(connection)


# What is no HTTP/1 any more


@case(families=(4,), variants=("blank", "fold"))
def upgrade_that_nobody_wants(attempt: Attempt) -> Result:
    """The first request asks for another protocol and gets none; the second one is badly written."""
    connection = attempt.connect(plan.HTTP)
    connection.send(ask(attempt.other, "Host: {0}\r\nConnection: upgrade\r\nUpgrade: other"))
    connection.expect(b"hello from " + attempt.other.encode())
    field = "Host : {0}" if attempt.variant == "blank" else "X: y\r\n z: b\r\nHost: {0}"
    return attempt.surf(connection, ask(attempt.name, field))


@case(families=BOTH, control=True)
def upgrade_and_an_honest_request(attempt: Attempt) -> Result:
    connection = attempt.connect(plan.HTTP)
    connection.send(ask(attempt.other, "Host: {0}\r\nConnection: upgrade\r\nUpgrade: websocket"))
    connection.expect(b"hello from " + attempt.other.encode())
    return attempt.surf(connection, ask(attempt.name))


@case(families=(4,), variants=("prior-knowledge", "upgrade"))
def http_2_without_tls(attempt: Attempt) -> Result:
    """curl --http2-prior-knowledge, and an upgrade by an open request; the name is in a compressed field."""
    import h2.config
    import h2.connection

    connection = attempt.connect(FULL)
    talk = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    stream = 1
    if attempt.variant == "upgrade":
        settings = talk.initiate_upgrade_connection()
        assert settings is not None
        fields = "Host: {0}\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
        connection.send(ask(attempt.other, fields + settings.decode()))
        if not connection.expect(b"101 "):
            return Result()
        stream = 3
    else:
        talk.initiate_connection()
    fields_2 = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", attempt.name)]
    talk.send_headers(stream, fields_2, end_stream=True)
    connection.send(talk.data_to_send())
    connection.wait(lambda: b"hello from " + attempt.name.encode() in connection.received)
    return Result(bytes(connection.received))


# A page on a mandatory list (grounds.PAGE)

PATHS: dict[str, str] = {
    "plain": "/secret/page",
    "below": "/secret/page/1?x=y",
    "percent": "/%73ecret/p%61ge",
    "dot-segment": "/./secret/./page",
    "up-and-down": "/other/../secret/page",
    "percent-dots": "/other/%2e%2e/secret/page",
    "query": "/secret/page?",
    "two-slashes": "//secret//page",
    "slash-in-front": "//secret/page",
}


@case(variants=PATHS, hello=True)
def listed_page(attempt: Attempt) -> Result:
    """Spellings that servers take for one page."""
    connection = attempt.connect(plan.HTTP)
    connection.send(ask("page.any.example", path=attempt.variant))
    connection.expect(b"hello from")
    return Result(b"", b"hello from" in connection.received)


@case(
    variants={"front": "/", "longer": "/secret/pages", "upper": "/secret", "other": "/other?/secret/page"}, control=True
)
def other_page_of_the_host(attempt: Attempt) -> Result:
    """The host itself is open."""
    connection = attempt.connect(plan.HTTP)
    name = attempt.name if attempt.is_attack else "page.any.example"
    connection.send(ask(name, path=attempt.variant))
    connection.expect(b"hello from " + name.encode())
    if attempt.is_attack:
        return Result(bytes(connection.received))
    return Result(b"hello from " + attempt.name.encode(), b"hello from" in connection.received)
