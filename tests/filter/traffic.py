"""Generated traffic, cut into slices of 15 s: what apps do in the background, and what people do in the foreground.

Not recorded: modelled on how push services, sync jobs, players, games and browsers behave. Every generator takes a
seed, and yields for each slice the `Traffic` of each service; "" is traffic of no known service. Bytes include headers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator

from guardian.filter.meter import Traffic

SLICE = 15.0
PACKET = 1400  # bytes of a full packet
ACK = 60
Slice = dict[str, Traffic]
Interval = tuple[float, float]  # seconds, evenly spread

KEEP_ALIVE: Interval = (60, 900)
SYNC: Interval = (750, 1050)  # every 15 minutes, more or less
TELEMETRY: Interval = (300, 1200)


class Tape:
    """Slices of one length of time, onto which exchanges are written at their second."""

    def __init__(self, seconds: float, seed: int) -> None:
        self.chance = random.Random(seed)
        self.seconds = seconds
        self._slices: list[dict[str, list[int]]] = [{} for _ in range(round(seconds / SLICE))]

    def write(self, at: float, service: str, out: int, back: int, packets: tuple[int, int], flows: int = 0) -> None:
        index = int(at // SLICE)
        if 0 <= index < len(self._slices):
            sums = self._slices[index].setdefault(service, [0] * 5)
            for place, value in enumerate((out, back, *packets, flows)):
                sums[place] += value

    def exchange(self, at: float, service: str, out: int, back: int, flows: int = 0, lasts: float = 0.0) -> None:
        """A request and what comes back, spread over `lasts` seconds; every second full packet is acknowledged."""
        steps = max(1, round(lasts))
        for step in range(steps):
            sent, received = out // steps, back // steps
            ins = max(1, received // PACKET) + max(0, sent // PACKET // 2)
            outs = max(1, sent // PACKET) + received // PACKET // 2
            opened = flows if step == 0 else 0
            self.write(
                at + step * lasts / steps,
                service,
                sent + received // PACKET // 2 * ACK + opened * 900,
                received + sent // PACKET // 2 * ACK + opened * 4500,
                (outs + opened * 5, ins + opened * 5),
                opened,
            )

    def moments(self, every: Interval, start: float = 0.0) -> Iterator[float]:
        """Moments with pauses of that length between them; the first pause is cut anywhere."""
        at = start + self.chance.uniform(0, every[1])
        while at < self.seconds:
            yield at
            at += self.chance.uniform(*every)

    def slices(self) -> list[Slice]:
        return [{service: Traffic(*sums) for service, sums in found.items()} for found in self._slices]


# In the background


def keep_alive(tape: Tape, service: str, every: Interval = KEEP_ALIVE) -> None:
    """A push connection that says that it is still there."""
    for at in tape.moments(every):
        tape.write(at, service, 150, 110, (2, 1))


def receive_messages(tape: Tape, service: str, every: Interval) -> None:
    """Somebody writes; the phone lies on the table."""
    for at in tape.moments(every):
        tape.write(at, service, 230, tape.chance.randint(400, 3000), (3, 3))


def poll_mail(tape: Tape, service: str) -> None:
    for at in tape.moments(SYNC):
        tape.exchange(at, service, 1500, tape.chance.randint(2000, 20_000), flows=1, lasts=1)


def sync(tape: Tape, service: str, every: Interval = SYNC) -> None:
    """A few hundred KB within some seconds."""
    for at in tape.moments(every):
        back = tape.chance.randint(50_000, 600_000)
        flows = tape.chance.randint(1, 4)
        tape.exchange(at, service, 4000, back, flows, lasts=tape.chance.uniform(2, 5))


def report_telemetry(tape: Tape, service: str, every: Interval = TELEMETRY) -> None:
    for at in tape.moments(every):
        tape.exchange(at, service, tape.chance.randint(2000, 50_000), 3000, flows=1, lasts=1)


def wake_all_apps(tape: Tape, services: Iterable[str], every: Interval = (1800, 5400)) -> None:
    """The system lets all apps do their work in one window of up to a minute and a half."""
    names = list(services)
    for start in tape.moments(every):
        length = tape.chance.uniform(20, 90)
        for _ in range(tape.chance.randint(5, 20)):
            at = start + tape.chance.uniform(0, length)
            back = tape.chance.randint(5000, 500_000)
            tape.exchange(at, tape.chance.choice(names), 3000, back, tape.chance.randint(1, 3), lasts=2)


NAMED_APPS = (
    "youtube", "tiktok", "instagram", "snapchat", "whatsapp", "telegram", "discord", "roblox", "brawl_stars", "spotify",
    "netflix", "facebook", "pinterest", "minecraft", "twitch",
)  # fmt: skip
MESSENGERS = ("whatsapp", "telegram", "discord", "snapchat")


def idle_phone(seed: int, hours: float = 24) -> list[Slice]:
    """A phone on a table, with fifteen apps that we know and ten that we do not."""
    tape = Tape(hours * 3600, seed)
    for app in NAMED_APPS:
        keep_alive(tape, app)
        sync(tape, app)
        report_telemetry(tape, app, (900, 2700))
    for app in MESSENGERS:
        receive_messages(tape, app, (30, 1800))
    for _ in range(2):
        keep_alive(tape, "")
        poll_mail(tape, "")
    for _ in range(4):
        sync(tape, "")
        report_telemetry(tape, "", (600, 1800))
    wake_all_apps(tape, [*NAMED_APPS, *[""] * 15])
    return tape.slices()


def idle_television(seed: int, hours: float = 24) -> list[Slice]:
    """A television or console asleep: talkative, but with little."""
    tape = Tape(hours * 3600, seed)
    for app in ("netflix", "youtube", ""):
        keep_alive(tape, app, (20, 60))
        report_telemetry(tape, app, (240, 600))
    return tape.slices()


def back_up_photos(seed: int, minutes: float) -> list[Slice]:
    """After an excursion: a long way up, acknowledgements back."""
    tape = Tape(minutes * 60, seed)
    for at in range(int(minutes * 60)):
        tape.exchange(at, "", tape.chance.randint(200_000, 900_000), 200)
    return tape.slices()


# In the foreground


def watch_video(tape: Tape, service: str) -> None:
    """Pieces of some MB every 5 to 15 s."""
    for at in tape.moments((5, 15)):
        tape.exchange(at, service, 1500, tape.chance.randint(800_000, 5_000_000), lasts=2)


def watch_small_video(tape: Tape, service: str) -> None:
    """144p on a slow line: 100 kbit/s in pieces of 10 s."""
    for at in tape.moments((9, 11)):
        tape.exchange(at, service, 1200, tape.chance.randint(90_000, 160_000), lasts=2)


def call(tape: Tape, service: str) -> None:
    """50 packets a second both ways."""
    for at in range(int(tape.seconds)):
        rate = tape.chance.randint(30, 60)
        tape.write(at, service, rate * 200, rate * 220, (rate, rate))


def play(tape: Tape, service: str) -> None:
    """20 to 60 small UDP packets a second, with a lobby of half a minute now and then."""
    lobby_at = tape.chance.uniform(120, 600)
    for at in range(int(tape.seconds)):
        if lobby_at <= at < lobby_at + 30:
            if at % 10 == 0:
                tape.exchange(at, service, 800, 2500)
            continue
        if at >= lobby_at + 30:
            lobby_at = at + tape.chance.uniform(180, 900)
        rate = tape.chance.randint(20, 60)
        tape.write(at, service, rate * 90, rate * 130, (rate, rate))


def chat(tape: Tape, service: str) -> None:
    """Writing and reading in turn; while one writes, a sign every few seconds that one does."""
    at = tape.chance.uniform(0, 10)
    while at < tape.seconds:
        for _ in range(tape.chance.randint(1, 4)):  # one writes a message
            for _ in range(tape.chance.randint(1, 4)):
                tape.write(at, service, 240, 130, (2, 2))
                at += tape.chance.uniform(2, 4)
            tape.write(at, service, 650, 480, (4, 4))
            at += tape.chance.uniform(1, 3)
        for _ in range(tape.chance.randint(0, 3)):  # the other answers
            at += tape.chance.uniform(3, 12)
            tape.write(at, service, 320, 900, (4, 4))
        at += tape.chance.uniform(1, 30)


def scroll(tape: Tape, service: str) -> None:
    """A feed: pictures and clips come every 10 to 60 s."""
    for at in tape.moments((10, 60)):
        back = tape.chance.randint(200_000, 3_000_000)
        tape.exchange(at, service, 5000, back, tape.chance.randint(0, 3), lasts=tape.chance.uniform(1, 4))


def browse(tape: Tape, service: str) -> None:
    """Pages of many hosts, read for 10 to 60 s; advertising and measuring goes on meanwhile."""
    for at in tape.moments((10, 60)):
        back = tape.chance.randint(500_000, 4_000_000)
        tape.exchange(at, service, 40_000, back, tape.chance.randint(6, 30), lasts=tape.chance.uniform(2, 5))
    for at in tape.moments((10, 40)):
        tape.exchange(at, service, 2500, 6000, tape.chance.randint(0, 1), lasts=1)


FOREGROUND: dict[str, tuple[Callable[[Tape, str], None], str]] = {
    "video": (watch_video, "youtube"),
    "small video": (watch_small_video, "youtube"),
    "video of an unknown site": (watch_video, ""),
    "call": (call, "whatsapp"),
    "game": (play, "roblox"),
    "unknown game": (play, ""),
    "chat": (chat, "whatsapp"),
    "feed": (scroll, "instagram"),
    "browsing": (browse, ""),
}


def use(kind: str, seed: int, minutes: float) -> list[Slice]:
    """Return that much of one kind of FOREGROUND."""
    generate, service = FOREGROUND[kind]
    tape = Tape(minutes * 60, seed)
    generate(tape, service)
    return tape.slices()


def lay_over(ground: list[Slice], top: list[Slice], start: int) -> list[Slice]:
    """Return `ground` with `top` added from slice `start` on."""
    both = [dict(found) for found in ground]
    for index, found in enumerate(top, start):
        for service, traffic in found.items():
            before = both[index].get(service)
            both[index][service] = traffic if before is None else Traffic(*map(sum, zip(before, traffic, strict=True)))
    return both
