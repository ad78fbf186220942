"""Requests from any device of the home, to `guardian.blockpage.request.parse_request`.

Invariant: a Request or FormError, nothing else. Its method, host and path are printable ASCII without blanks or markup
that a page could be tricked with; the host is "", an address, or a name that `parse_name` takes.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from guardian.blockpage.request import is_address, parse_request
from guardian.errors import FormError
from guardian.names import parse_name
from tests.fuzz.driver import main, mutate_text

SEEDS = [
    b"GET / HTTP/1.1\r\nHost: bet.example\r\nAccept-Language: ro-MD,ro;q=0.9,ru;q=0.8\r\n\r\n",
    b"GET /a/b?c=d HTTP/1.1\r\nHost: www.bet.example.:80\r\nUser-Agent: x\r\nCookie: a=b\r\nAccept: */*\r\n\r\n",
    b"GET http://bet.example/x?y HTTP/1.1\r\nHost: other.example\r\nAccept-Language: en\r\nAccept-Language: ru\r\n\r\n",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"CONNECT bet.example:443 HTTP/1.1\r\nHost: bet.example:443\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: [fd00::1]:80\r\n\r\n",
    b"\r\nPOST / HTTP/1.1\r\nHost: 192.168.1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: xn--e1afmkfd.example\r\nX: ё\r\n\r\n".encode(),
]
EXTRA = [
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b" :", b"Host:", b"Host: a\r\nHost: b", b"<script>",
    b"%3Cscript%3E", b"\xff", b"HTTP/1.1", b"HTTP/2.0", b"http://", b"http://@x/", b"//", b"..", b"[::1",
    b"[::ffff:1.2.3.4]", b"[fe80::1%25x]", b"?", b"#", b"a" * 300, b"x-y: z\r\n" * 101, b"GET", b"gEt", b"0x7f.1",
    b"-a-.example", b"_x.example", b"a..b", b"127.1",
]  # fmt: skip
_UNSAFE = set("<>\"'`&\\ \t\r\n")


def check(data: bytes) -> None:
    try:
        request = parse_request(data)
    except FormError:
        return
    for part in (request.method, request.host, request.path):
        assert part.isascii()
        assert part.isprintable()
        assert " " not in part
    assert not _UNSAFE & set(request.host)
    assert request.host == request.host.lower()
    if is_address(request.host) and ":" in request.host:
        IPv6Address(request.host)
    elif request.host:
        parse_name(request.host)
    assert "\n" not in request.accept_language
    assert "\r" not in request.accept_language


mutate = mutate_text(EXTRA)

if __name__ == "__main__":
    main(check, SEEDS, mutate)
