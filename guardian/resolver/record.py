"""From what the listeners answered to what the history keeps: off the hot path, many queries at a time."""

from __future__ import annotations

from collections import Counter

from guardian.clock import tell_time
from guardian.errors import FormError
from guardian.policy.model import Visibility
from guardian.resolver.answer import Fact
from guardian.resolver.clients import Client, Clients
from guardian.store.history_record import Recorder
from guardian.wire import dns

What = tuple[str, str, str]  # a Fact without the kind of question
_MAC_OPTION = dns.OPTION_MAC.to_bytes(2)  # where it is absent no packet needs a second look


class Tally:
    """Queries since the start, for `status`: by action and by reason."""

    def __init__(self) -> None:
        self.queries = 0
        self.blocked = 0
        self.rewritten = 0
        self.reasons: Counter[str] = Counter()

    def add(self, fact: Fact, count: int) -> None:
        """Count `count` equal answers."""
        if fact.action == "block":
            self.blocked += count
            self.reasons[fact.reason] += count
        elif fact.action == "rewrite":
            self.rewritten += count


class AnswerRecorder:
    """Hands what clients were answered to the history's recorder. Helplines carry no fact and leave no trace."""

    def __init__(self, recorder: Recorder, clients: Clients) -> None:
        self.tally = Tally()
        self._recorder = recorder
        self._clients = clients

    def drain(self, clients: list[Client]) -> None:
        """Record and empty the counts and logs of `clients`."""
        now = tell_time()
        hour = int(now) // 3600
        for client in clients:
            client.seen = True
            counts = dict(client.counts)
            client.counts.clear()
            log: list[tuple[bytes, Fact | None]] = []
            if client.log is not None:
                log, client.log = client.log, []
            self.tally.queries += sum(counts.values())
            for fact, count in counts.items():
                if fact is not None:
                    self.tally.add(fact, count)
            if client.is_proxy and any(_MAC_OPTION in key for key, _ in log):
                self._record_proxied(client, log, hour, now)
            else:
                self._record(client, counts, log, hour, now)

    def _record(
        self,
        client: Client,
        counts: dict[Fact | None, int],
        log: list[tuple[bytes, Fact | None]],
        hour: int,
        now: float,
    ) -> None:
        visibility, recorder = client.posture.visibility, self._recorder
        tries: dict[What, int] = {}  # plain dicts: this runs for every client a hundred times a second under load
        for fact, count in counts.items():
            if fact is not None:
                what = fact[:3]
                tries[what] = max(tries.get(what, 0), count)
        named: dict[tuple[bytes, What], int] = {}
        if log and visibility is Visibility.NAMES:
            if recorder.has_room(client.device):
                named = _count_tries(log)
            else:
                recorder.skip_names(sum(tries.values()))
        by_name: dict[What, int] = {}
        for (_, what), count in named.items():
            by_name[what] = by_name.get(what, 0) + count
        for what, count in tries.items():
            recorder.add(hour, client.device, None, *what, max(count, by_name.get(what, 0)), now, visibility)
        for (name, what), count in named.items():
            recorder.add_name(hour, client.device, name, *what, count, now)

    def _record_proxied(self, proxy: Client, log: list[tuple[bytes, Fact | None]], hour: int, now: float) -> None:
        logs: dict[Client, list[tuple[bytes, Fact | None]]] = {}
        for key, fact in log:
            if fact is not None:
                logs.setdefault(self._asker(proxy, key, now), []).append((key, fact))
        for asker, mine in logs.items():
            visibility = asker.posture.visibility
            for (name, what), count in _count_tries(mine).items():
                kept = name if visibility is Visibility.NAMES else None
                self._recorder.add(hour, asker.device, kept, *what, count, now, visibility)

    def _asker(self, proxy: Client, key: bytes, now: float) -> Client:
        """The client behind dnsmasq, by the MAC in the packet."""
        try:
            query = dns.parse_query(b"\x00\x00" + key)
        except FormError:
            return proxy
        mac = dns.read_mac(query)
        return proxy if mac is None else self._clients.find_behind(proxy, mac, now)


def _count_tries(log: list[tuple[bytes, Fact | None]]) -> dict[tuple[bytes, What], int]:
    """How often each name was tried, by what happened; helplines are left out.

    Who opens a page asks for its IPv4 address, its IPv6 address and its HTTPS record at once. So of the questions of
    one second those of the most frequent kind count.
    """
    asked: dict[tuple[bytes, Fact], int] = {}
    tries: dict[tuple[bytes, What], int] = {}
    for (key, fact), count in Counter(log).items():
        if fact is not None:
            name = read_name(key)
            asked[name, fact] = same = asked.get((name, fact), 0) + count
            place = name, fact[:3]
            tries[place] = max(tries.get(place, 0), same)
    return tries


def read_name(key: bytes) -> bytes:
    """Return the lower-case QNAME of a packet without its id, which was parsed before and is well formed."""
    position = 10
    while length := key[position]:
        position += 1 + length
    return key[10 : position + 1].lower()
