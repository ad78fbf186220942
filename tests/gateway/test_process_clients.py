"""Real clients and a real, validating upstream: dig, kdig, delv, host, nslookup, curl; v4 and v6, UDP and TCP."""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import pytest

from tests.gateway.product import (
    ADULT,
    CHILD,
    Running,
    addresses,
    extended_errors,
    free_port,
    rcode,
    require,
    run_tool,
    running,
)
from tests.gateway.unbound import sign_zone, unbound

BOGUS = 6  # the Extended DNS Error


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with two signed zones, one of them tampered with, and their trust anchors."""
    folder = tmp_path_factory.mktemp("zones")
    many = "".join(f'many.signed.example. 300 IN TXT "{number:03} {"x" * 120}"\n' for number in range(40))
    good = sign_zone(folder, "signed.example", "www.signed.example. 300 IN A 192.0.2.60\n" + many)
    bad = sign_zone(folder, "forged.example", "www.forged.example. 300 IN A 192.0.2.61\n")
    signed = folder / "forged.example.signed"
    signed.write_text(signed.read_text().replace("192.0.2.61", "192.0.2.66"))
    return folder, [good, bad]


@pytest.fixture(scope="module")
def resolver(zones: tuple[Path, list[str]]) -> Iterator[int]:
    folder, anchors = zones
    names = ("signed.example", "forged.example")
    yield from unbound(folder, {name: f"{name}.signed" for name in names}, anchors)


@pytest.fixture(scope="module")
def gateway(resolver: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway that listens on several addresses, in front of unbound."""
    require("dig", "kdig", "delv", "host", "nslookup", "curl")
    folder = tmp_path_factory.mktemp("clients")
    port = free_port()
    listen = [f"127.0.0.1:{port}", f"127.0.0.53:{port}", f"[::1]:{port}"]
    with running(folder, {"dns": {"listen": listen}, "upstreams": {"servers": [f"127.0.0.1:{resolver}"]}}) as gateway:
        gateway.port = port
        yield gateway


def dig(gateway: Running, *words: str, source: str = ADULT, server: str = "127.0.0.1") -> str:
    where = [f"@{server}", "-p", str(gateway.port)]
    if ":" not in server:
        where += ["-b", source]
    return run_tool("dig", *where, "+tries=1", "+time=5", *words)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("www.plain.example", ["status: NOERROR", "qr rd ra;", "192.0.2.50"]),
        ("+tcp www.plain.example", ["status: NOERROR", "192.0.2.50", "(TCP)"]),
        ("+noedns www.plain.example", ["status: NOERROR", "ADDITIONAL: 0"]),
        ("+dnssec www.signed.example", ["qr rd ra ad;", "flags: do;", "RRSIG", "192.0.2.60"]),
        ("+noadflag www.signed.example", ["qr rd ra;", "192.0.2.60"]),
        ("+adflag www.signed.example", ["qr rd ra ad;", "192.0.2.60"]),
        ("+cdflag www.forged.example", ["status: NOERROR", "192.0.2.66"]),
        ("www.forged.example", ["status: SERVFAIL", "EDE: 6 (DNSSEC Bogus)"]),
        ("+bufsize=512 +ignore many.signed.example TXT", ["qr tc rd ra", "ANSWER: 0", "udp: 1232"]),
        ("+bufsize=512 many.signed.example TXT", ["Truncated, retrying in TCP mode", "ANSWER: 40"]),
        ("+bufsize=4096 +ignore many.signed.example TXT", ["qr tc rd ra"]),  # never more than 1232 by UDP
        ("+norec www.plain.example", ["status: REFUSED"]),
        ("www.plain.example ANY", ["status: NOERROR", "HINFO", "RFC8482"]),
        ("+opcode=notify www.plain.example SOA", ["opcode: NOTIFY, status: NOTIMP"]),
        ("+opcode=update www.plain.example SOA", ["status: NOTIMP"]),
        ("+edns=1 +noednsnegotiation www.plain.example", ["status: BADVERS", "EDNS: version: 0"]),
        ("+ednsopt=65001:02005e100001 www.plain.example", ["status: NOERROR", "192.0.2.50"]),
        ("+subnet=203.0.113.0/24 www.plain.example", ["status: NOERROR", "192.0.2.50"]),
        ("+cookie www.plain.example", ["status: NOERROR", "192.0.2.50"]),
        ("+padding=128 www.plain.example", ["status: NOERROR", "192.0.2.50"]),
        ("wWw.pLAIN.exAmple", ["\nwWw.pLAIN.exAmple.", "192.0.2.50"]),
        ("nothing.plain.example", ["status: NXDOMAIN", "SOA"]),
        ("www.plain.example TYPE65280", ["status: NOERROR", "ANSWER: 0"]),
        ("www.plain.example CH TXT", ["status: REFUSED"]),
        ("-x 192.168.77.1", ["status: NXDOMAIN"]),
        ("AXFR plain.example", ["Transfer failed"]),
        ("+qr guardian.home.arpa", ["127.0.0.1", " aa "]),
        ("mandatory.guardian.test", ["EDE: 16 (Censored): (Guardian: blocked by law)", "EDE: 4 (Forged Answer)"]),
    ],
)
def test_dig(gateway: Running, words: str, wanted: list[str]) -> None:
    printed = dig(gateway, *words.split())
    missing = [text for text in wanted if text not in printed]
    assert not missing, printed
    again = dig(gateway, *words.split())  # now from the cache
    assert not [text for text in wanted if text not in again], again
    assert "Malformed" not in printed and "recursion requested but not available" not in printed, printed


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.53", "::1"])
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_every_listen_address(gateway: Running, server: str, transport: str) -> None:
    printed = dig(gateway, transport, "www.plain.example", server=server)
    assert "192.0.2.50" in printed and f"SERVER: {server}#{gateway.port}" in printed


def test_the_device_is_told_by_the_mac_from_loopback(gateway: Running) -> None:
    adult = "category-adult.guardian.test"
    for _ in range(2):
        assert dig(gateway, "+short", adult).split() == []
        assert dig(gateway, "+ednsopt=65001:02005e100001", "+short", adult).split() == ["127.0.0.1"]
    # An unknown MAC is an unknown device, whatever the address of the forwarder is.
    unknown = dig(gateway, "+ednsopt=65001:02005e1000ff", "+short", "www.plain.example")
    assert unknown.split() == ["127.0.0.1"]


def test_kdig_pipelines_on_one_connection(gateway: Running) -> None:
    names = [word for _ in range(20) for word in ("www.plain.example", "www.signed.example", "nothing.plain.example")]
    where = ["@127.0.0.1", "-p", str(gateway.port), "-b", ADULT]
    printed = run_tool("kdig", *where, "+tcp", "+keepopen", "+short", *names)
    assert printed.split() == ["192.0.2.50", "192.0.2.60"] * 20


def test_kdig_json(gateway: Running) -> None:
    printed = run_tool("kdig", "@::1", "-p", str(gateway.port), "+json", "www.signed.example")
    answer = json.loads(printed)
    assert answer["RCODE"] == 0 and answer["answerRRs"][0]["rdataA"] == "192.0.2.60"


def test_pipelined_answers_come_as_they_are_ready(gateway: Running) -> None:
    """RFC 7766: all ids come back, each with its own answer."""
    with socket.create_connection(("127.0.0.1", gateway.port), 5, (ADULT, 0)) as connection:
        connection.settimeout(5)
        wanted = {}
        for number in range(50):
            name = f"n{number}.plain.example" if number % 2 else "www.plain.example"
            query = dns.message.make_query(name, "A", id=number)
            wanted[number] = query
            wire = query.to_wire()
            connection.sendall(struct.pack(">H", len(wire)) + wire)
        with connection.makefile("rb") as stream:
            for _ in range(50):
                (size,) = struct.unpack(">H", stream.read(2))
                answer = dns.message.from_wire(stream.read(size))
                assert wanted.pop(answer.id).is_response(answer)
    assert not wanted


def test_a_message_in_single_bytes(gateway: Running) -> None:
    wire = dns.message.make_query("www.plain.example", "A").to_wire()
    with socket.create_connection(("::1", gateway.port), 5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in struct.pack(">H", len(wire)) + wire:
            connection.sendall(bytes((byte,)))
        connection.settimeout(5)
        answer = dns.query.receive_tcp(connection)
    assert addresses(answer[0]) == ["192.0.2.50"]


def test_delv_validates_through_the_gateway(gateway: Running, zones: tuple[Path, list[str]], tmp_path: Path) -> None:
    anchors = []
    for line in zones[1]:
        zone, kind, flags, protocol, algorithm, key = re.split(r"\s+", line.replace(" IN ", " "), maxsplit=5)
        assert kind == "DNSKEY"
        anchors.append(f'{zone} static-key {flags} {protocol} {algorithm} "{key.replace(" ", "")}";')
    file = tmp_path / "anchors"
    file.write_text("trust-anchors {\n" + "\n".join(anchors) + "\n};\n")

    def delv(zone: str, name: str, kind: str) -> str:
        where = ["@127.0.0.1", "-p", str(gateway.port), "-b", ADULT, "-a", str(file), f"+root={zone}"]
        return run_tool("delv", *where, name, kind)

    assert "; fully validated" in delv("signed.example", "www.signed.example", "A")
    assert "; fully validated" in delv("signed.example", "many.signed.example", "TXT")
    assert "; negative response, fully validated" in delv("signed.example", "no.signed.example", "A")
    assert "fully validated" not in delv("forged.example", "www.forged.example", "A")


def test_bogus_is_never_served_as_good(gateway: Running) -> None:
    """Also not when a client that checks itself (CD) has brought it into the cache just before."""
    with_cd = gateway.ask("www.forged.example", source=ADULT, flags=dns.flags.RD | dns.flags.CD, want_dnssec=True)
    assert addresses(with_cd) == ["192.0.2.66"] and not with_cd.flags & dns.flags.AD
    for want_dnssec in (False, True):
        for _ in range(2):
            answer = gateway.ask("www.forged.example", source=ADULT, want_dnssec=want_dnssec)
            assert rcode(answer) == "SERVFAIL" and not answer.answer
            assert BOGUS in extended_errors(answer)


def test_ad_is_only_for_those_who_understand_it(gateway: Running) -> None:
    plain = gateway.ask("www.signed.example", source=ADULT, flags=dns.flags.RD)
    asking = gateway.ask("www.signed.example", source=ADULT, flags=dns.flags.RD | dns.flags.AD)
    assert not plain.flags & dns.flags.AD and asking.flags & dns.flags.AD
    insecure = gateway.ask("www.plain.example", source=ADULT, want_dnssec=True)
    assert not insecure.flags & dns.flags.AD
    blocked = gateway.ask("mandatory.guardian.test", source=ADULT, want_dnssec=True)
    assert not blocked.flags & dns.flags.AD


@pytest.mark.parametrize("program", ["host", "nslookup"])
def test_old_programs(gateway: Running, program: str) -> None:
    port = [f"-port={gateway.port}"] if program == "nslookup" else ["-p", str(gateway.port)]
    printed = run_tool(program, *port, "www.plain.example", "127.0.0.1")
    assert "192.0.2.50" in printed and "2001:db8::50" in printed
    blocked = run_tool(program, *port, "mandatory.guardian.test", "127.0.0.1")
    assert "127.0.0.1" in blocked and "::1" in blocked


def test_a_wildcard_answers_from_the_asked_address(resolver: int, tmp_path: Path) -> None:
    """Connected sockets (dig, every libc) take an answer only from where they asked."""
    port = free_port()
    settings = {
        "dns": {"listen": [f"0.0.0.0:{port}", f"[::]:{port}"]},
        "upstreams": {"servers": [f"127.0.0.1:{resolver}"]},
    }
    with running(tmp_path, settings) as gateway:
        gateway.port = port
        for server in ("127.0.0.1", "127.0.0.77", "::1"):
            for transport in ("+notcp", "+tcp"):
                for _ in range(2):  # from upstream (sent later), then from the table
                    printed = dig(gateway, transport, "+short", "www.plain.example", server=server)
                    assert printed.split() == ["192.0.2.50"]


def test_curl_sees_the_block_page(gateway: Running) -> None:
    blocked = addresses(gateway.ask("category-adult.guardian.test", source=CHILD))[0]
    to = f"category-adult.guardian.test:80:{blocked}:{gateway.page_port}"
    words = ["-s", "-i", "--interface", CHILD, "--connect-to", to, "http://category-adult.guardian.test/some/page"]
    page = run_tool("curl", *words)
    assert page.startswith("HTTP/1.1 403 ") and "<html" in page.lower()
