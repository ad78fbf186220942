"""The flow engine and the resolver's handler in this process, without queue and kernel: microseconds of their own.

Both run on the household and the starter lists of `bench/filtering.py`, with real keys and a real cipher.
"""

from __future__ import annotations

import gc
import random
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.ends import NAME, make_segments
from bench.filtering import PLAIN_ADDRESS, STRICT_ADDRESS
from bench.load import Query, build_query
from guardian.config import Config, load_config
from guardian.devices import DeviceMap
from guardian.errors import GuardianError
from guardian.filter import marks
from guardian.filter.engine import Engine
from guardian.filter.given import GivenAddresses
from guardian.filter.judge import Judge, Notes
from guardian.filter.openssl import load_cipher
from guardian.home import Home, load_home
from guardian.policy.compile import Policy
from guardian.policy.model import Decision
from guardian.resolver.answer import Blocker, Ready
from guardian.resolver.cache import Cache, Entry, Limits, make_entry
from guardian.resolver.clients import Client, Clients
from guardian.resolver.handle import Handler, Miss
from guardian.resolver.local import LocalNames
from guardian.wire import dns, ip
from tests.wire.hellos import build_hello
from tests.wire.initials import build_datagrams

NOW = time.time()
SECOND = 100  # of the resolver's monotonic clock
SERVER = socket.inet_aton("10.70.0.2")
_IP = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIBBHHH")
_UDP = struct.Struct("!HHHH")
_SYN_OPTIONS = bytes.fromhex("020405b40402080a") + bytes(8) + bytes.fromhex("01030307")
_STAMPS = bytes.fromhex("0101080a") + bytes(8)
_FINISH = bytes((20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 53)) + bytes(53)
_ANSWER_BYTES = 2800


class Place(NamedTuple):
    """The home that engine and handler work for, with the MAC of a child's device."""

    config: Config
    home: Home
    policy: Policy
    devices: DeviceMap
    mac: bytes


def open_home(config: Path, mac: str) -> Place:
    """Return the home of a gateway's configuration."""
    settings = load_config(str(config))
    home = load_home(settings)
    return Place(settings, home, home.compile(), DeviceMap(home.household), bytes.fromhex(mac.replace(":", "")))


def make_engine(place: Place) -> Engine:
    """Return an engine as `gateway/flows.py` makes it; nobody reads its notes."""
    notes = Notes(lambda who, kind, now: None, lambda who, name, decision, now: None)
    judge = Judge(place.policy, place.home.lists, place.devices.find, notes)
    cipher = load_cipher()
    if cipher is None:
        raise GuardianError("this Python has no OpenSSL that can be used for QUIC")
    return Engine(judge, lambda answer: False, cipher, True)


def _packet(number: int, protocol: int, transport: bytes, *, is_reply: bool = False) -> bytes:
    ends = socket.inet_aton(f"10.61.{number >> 14 & 0xFF}.2"), SERVER
    head = _IP.pack(0x45, 0, 20 + len(transport), 0, 0x4000, 64, protocol, 0, *(reversed(ends) if is_reply else ends))
    return head + transport


def _segment(
    number: int, sequence: int, acknowledgement: int, flags: int, options: bytes, payload: bytes = b""
) -> bytes:
    is_reply = flags & (ip.SYN | ip.ACK) == ip.SYN | ip.ACK
    ports, words = (1024 + (number & 0x3FFF), 443), 5 + len(options) // 4
    source, destination = reversed(ports) if is_reply else ports
    head = _TCP.pack(source, destination, sequence, acknowledgement, words << 4, flags, 502, 0, 0)
    return _packet(number, ip.TCP, head + options + payload, is_reply=is_reply)


def make_tcp_flow(number: int, hello: Sequence[bytes]) -> list[bytes]:
    """Return what the kernel queues of one TLS flow: SYN and its answer, hello, and the client's second flight."""
    packets = [_segment(number, 999, 0, ip.SYN, _SYN_OPTIONS)]
    packets.append(_segment(number, 5000, 1000, ip.SYN | ip.ACK, _SYN_OPTIONS))
    sequence = 1000
    for piece in hello:
        packets.append(_segment(number, sequence, 5001, ip.ACK | ip.PSH, _STAMPS, piece))
        sequence += len(piece)
    packets.append(_segment(number, sequence, 5001 + _ANSWER_BYTES, ip.ACK | ip.PSH, _STAMPS, _FINISH))
    return packets


def make_quic_datagrams(number: int, *, is_long: bool) -> list[bytes]:
    """Return the Initials of one connection: one datagram, or two of a post-quantum hello, shuffled as Chrome does."""
    chance = random.Random(f"{number} {is_long}")  # a connection id that comes back is taken for a trick
    hello = build_hello(NAME, post_quantum=is_long, grease=True, ech=is_long, alpn=["h3"])
    return build_datagrams(hello, chance.randbytes(8), chaos=chance if is_long else None)


def _udp_packet(number: int, payload: bytes) -> bytes:
    head = _UDP.pack(1024 + (number & 0x3FFF), 443, 8 + len(payload), 0)
    return _packet(number, ip.UDP, head + payload)


def make_quic_flow(number: int, *, is_long: bool) -> list[bytes]:
    """Return the IP packets of one QUIC connection's Initials."""
    return [_udp_packet(number, datagram) for datagram in make_quic_datagrams(number, is_long=is_long)]


def time_flows(place: Place, flows: Sequence[Sequence[bytes]], rounds: int, last: int) -> float:
    """Return microseconds of processor time a flow. Raises SystemExit when one does not end with the verdict `last`."""
    taken = []
    for _ in range(rounds):
        engine = make_engine(place)
        gc.collect()
        handle, mac, verdict = engine.handle, place.mac, 0
        began = time.process_time()
        for packets in flows:
            for packet in packets:
                verdict = handle(packet, mac, NOW)
        taken.append((time.process_time() - began) / len(flows) * 1e6)
        if verdict != last or engine.verdicts[last] != len(flows):
            raise SystemExit(f"the engine says {dict(engine.verdicts)} to {len(flows)} flows")
    return median(taken)


def measure_engine(place: Place, count: int, rounds: int) -> dict[str, float]:
    """Return the engine's microseconds for each kind of flow."""
    kinds: dict[str, tuple[list[list[bytes]], int]] = {
        "engine_us_per_flow": ([make_tcp_flow(n, make_segments()) for n in range(count)], marks.ALLOWED),
        "engine_us_per_pq_flow": ([make_tcp_flow(n, make_segments(True)) for n in range(count)], marks.ALLOWED),
        "quic_us_per_flow": ([make_quic_flow(n, is_long=False) for n in range(count)], marks.WATCHED),
        "quic_us_per_pq_flow": ([make_quic_flow(n, is_long=True) for n in range(count)], marks.WATCHED),
    }
    return {key: round(time_flows(place, flows, rounds, last), 1) for key, (flows, last) in kinds.items()}


# DNS first


def measure_dns_first(place: Place, count: int, rounds: int) -> dict[str, float]:
    """Return what an answer from the cache costs for a child, for a strict one, and for it without the address note."""
    names = [f"site{number}.open.example" for number in range(count)]
    packets = [build_query(Query(name)) for name in names]
    given: GivenAddresses[str] = GivenAddresses()

    def give(client: Client, decision: Decision, name: bytes, entry: Entry, seconds: int) -> None:
        given.note(client.device, entry.addresses(), seconds, NOW)

    handler, clients = _make_handler(place, packets)
    plain, strict = (clients[socket.inet_aton(address)] for address in (PLAIN_ADDRESS, STRICT_ADDRESS))
    figures: dict[str, list[float]] = {"dns_plain_us": [], "dns_strict_us": [], "dns_strict_without_note_us": []}
    for _ in range(rounds):
        for key, client, hook in (
            ("dns_plain_us", plain, give),
            ("dns_strict_without_note_us", strict, None),
            ("dns_strict_us", strict, give),
        ):
            handler.give = hook
            figures[key].append(_time_answers(handler, client, packets))
    if given.count() < min(count, 2000):
        raise SystemExit(f"of {count} answers only {given.count()} addresses were noted")
    notes = [a - b for a, b in zip(figures["dns_strict_us"], figures["dns_strict_without_note_us"], strict=True)]
    return {key: round(median(values), 1) for key, values in {**figures, "dns_first_us_per_answer": notes}.items()}


def _time_answers(handler: Handler, client: Client, packets: Sequence[bytes]) -> float:
    handle = handler.handle
    began = time.process_time()
    for packet in packets:
        if not isinstance(handle(packet, client, NOW, SECOND), Ready):
            raise SystemExit("an answer that should be in the cache is not")
    return (time.process_time() - began) / len(packets) * 1e6


def _make_handler(place: Place, packets: Sequence[bytes]) -> tuple[Handler, dict[bytes, Client]]:
    """A handler with an answer of two addresses, behind a CNAME, to each of the questions."""
    config = place.config
    own = (socket.inet_aton("10.61.0.1"),)
    clients = Clients(place.policy, config.dns.clients, 0, 100_000, place.devices.find, lambda address: None)
    cache = Cache(Limits())
    blocker = Blocker(config.block, config.local.name, own)
    local = LocalNames(config.local.name, own)
    handler = Handler(clients, place.home.lists, local, cache, blocker, 10, None)
    found = {}
    for address in (PLAIN_ADDRESS, STRICT_ADDRESS):
        client = clients.find(socket.inet_aton(address), NOW)
        assert client is not None
        found[client.address] = client
    plain = found[socket.inet_aton(PLAIN_ADDRESS)]
    for number, packet in enumerate(packets):
        miss = handler.handle(packet, plain, NOW, SECOND)
        assert isinstance(miss, Miss)
        message = _make_answer(miss.name, number)
        cache.put(make_entry(miss.key, miss.name, miss.type, message, SECOND, Limits(), lambda address: False))
    return handler, found


def _make_answer(name: bytes, number: int) -> dns.Message:
    """What a site on a CDN answers: a CNAME and two addresses."""
    place = b"\x03cdn" + name
    addresses = (struct.pack("!I", 0xC6120000 + 2 * number + each) for each in (0, 1))  # 198.18.0.0/15
    records = [dns.Record(name, dns.TYPE_CNAME, dns.CLASS_IN, 3600, place)]
    records += (dns.Record(place, dns.TYPE_A, dns.CLASS_IN, 3600, address) for address in addresses)
    return dns.Message(0, dns.FLAG_QR, dns.Question(name, dns.TYPE_A, dns.CLASS_IN), tuple(records))
