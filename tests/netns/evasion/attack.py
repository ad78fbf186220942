"""What a case is: a trick that a child's tool could try, tried with a blocked name, and honestly with an open one."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.netns.evasion.tls import Talk
from tests.netns.evasion.wire import PLAIN, Connection, Style
from tests.netns.lab import plan

if TYPE_CHECKING:
    from tests.netns.evasion.grounds import Ground

OPEN, HOME, INSPECT = "open", "home", "inspect"  # the worlds: without Guardian, with it, and with `quic: inspect`
HOST = plan.SITES["www.open.example"].host  # every server serves every name
GREETING = b"hello from "


class Result(NamedTuple):
    """What the client got. `accepted` is None where the name that the servers saw tells it."""

    body: bytes = b""
    accepted: bool | None = None


class Attempt:
    """One run of a case in one world."""

    def __init__(self, ground: Ground, case: Case, is_attack: bool) -> None:
        self.ground = ground
        self.is_attack = is_attack
        self.family = case.family
        self.case = case
        self.variant = case.variant
        label = _label(case.id) if is_attack else f"{_label(case.id)}-honest"
        self.name = f"{label}.blocked.example" if is_attack else f"{label}.any.example"
        self.decoy = f"{'d' * (len(self.name) - len('.any.example'))}.any.example"  # open, and as long
        self.other = f"other-{label[:50]}.any.example"

    def address(self, host: int = HOST) -> str:
        return plan.wan4(host) if self.family == 4 else plan.wan6(host)

    @property
    def own(self) -> str:
        return plan.home4("tablet") if self.family == 4 else plan.home6("tablet")

    def prepare(self, port: int = plan.TLS, style: Style = PLAIN, host: int = HOST) -> Connection:
        """A connection that is not open."""
        return Connection(self.ground.wire, self.own, self.address(host), port, style)

    def connect(self, port: int = plan.TLS, style: Style = PLAIN, host: int = HOST) -> Connection:
        """An open connection. Raises AssertionError: no trick here stops its own opening."""
        connection = self.prepare(port, style, host)
        assert connection.open(), "the server does not answer a SYN"
        return connection

    def browse(self, connection: Connection, deliver: Callable[[Connection, bytes], object], **more: Any) -> Result:
        """Fetch a page over TLS, with the hello brought to the server by `deliver`."""
        talk = Talk(self.name, **more)
        deliver(connection, talk.hello)
        return Result(talk.finish(connection))

    def hail(self, connection: Connection, stream: bytes) -> Result:
        """Send bytes in which a made-up hello is, and see whether the server answers it."""
        connection.send(stream)
        return self.hear(connection)

    def hear(self, connection: Connection) -> Result:
        """Wait for a ServerHello: that is as far as a made-up hello goes."""
        connection.wait(lambda: len(connection.received) >= 6 or connection.is_ended)
        return Result(b"", True if connection.received[:1] == b"\x16" and connection.received[5:6] == b"\2" else None)

    def surf(self, connection: Connection, stream: bytes) -> Result:
        """Send bytes in which a plain HTTP request is, and wait for the page."""
        connection.send(stream)
        return self.read_page(connection)

    def read_page(self, connection: Connection) -> Result:
        wanted = GREETING + self.name.encode()
        connection.expect(wanted)
        return Result(bytes(connection.received))

    def datagrams(self) -> socket.socket:
        """A UDP socket of the tablet's kernel."""
        return self.ground.open_socket(socket.AF_INET if self.family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)


def _label(identity: str) -> str:
    """A label of a host name, which has 63 bytes at most."""
    return identity if len(identity) <= 50 else f"{identity[:40]}-{zlib.crc32(identity.encode()):08x}"


Trick = Callable[[Attempt], Result]


class Case(NamedTuple):
    """`dead` says why a trick may not work even without a filter. `is_hello`: it cannot get as far as a page."""

    id: str
    run: Trick
    family: int = 4
    variant: Any = None
    ground: str = HOME
    has_control: bool = True
    is_hello: bool = False
    dead: str = ""


CASES: list[Case] = []


def case(
    *,
    families: Sequence[int] = (4,),
    variants: Mapping[str, Any] | Sequence[str] | None = None,
    ground: str = HOME,
    control: bool = False,
    hello: bool = False,
    dead: str = "",
) -> Callable[[Trick], Trick]:
    """Add a trick to CASES, once for each family and variant. `control`: an honest client could do the same."""

    def add(trick: Trick) -> Trick:
        given = variants if isinstance(variants, Mapping) else {name: name for name in variants or ()}
        for word, variant in given.items() or [("", None)]:
            for family in families:
                words = [trick.__name__.replace("_", "-"), word.replace("_", "-"), f"v{family}"]
                name = "-".join(filter(None, words))
                CASES.append(Case(name, trick, family, variant, ground, control, hello, dead))
        return trick

    return add
