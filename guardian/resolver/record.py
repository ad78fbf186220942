"""From what the listeners answered to what the history keeps: off the hot path, many queries at a time."""

from __future__ import annotations

import time
from collections import Counter

from guardian.errors import FormError
from guardian.policy.model import Visibility
from guardian.resolver.answer import Fact
from guardian.resolver.clients import Client, Clients
from guardian.store.history_record import Recorder
from guardian.wire import dns

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
        now = time.time()
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
        visibility = client.posture.visibility
        for fact, count in counts.items():
            if fact is not None:
                self._recorder.add(hour, client.device, None, *fact, count, now, visibility)
        if not log or visibility is not Visibility.NAMES:
            return
        if not self._recorder.has_room(client.device):
            self._recorder.skip_names(len(log))
            return
        for (key, fact), count in Counter(log).items():
            if fact is not None:
                self._recorder.add_name(hour, client.device, read_name(key), *fact, count, now)

    def _record_proxied(self, proxy: Client, log: list[tuple[bytes, Fact | None]], hour: int, now: float) -> None:
        for (key, fact), count in Counter(log).items():
            if fact is not None:
                asker = self._asker(proxy, key, now)
                visibility = asker.posture.visibility
                name = read_name(key) if visibility is Visibility.NAMES else None
                self._recorder.add(hour, asker.device, name, *fact, count, now, visibility)

    def _asker(self, proxy: Client, key: bytes, now: float) -> Client:
        """The client behind dnsmasq, by the MAC in the packet."""
        try:
            query = dns.parse_query(b"\x00\x00" + key)
        except FormError:
            return proxy
        mac = dns.read_mac(query)
        return proxy if mac is None else self._clients.find_behind(proxy, mac, now)


def read_name(key: bytes) -> bytes:
    """Return the lower-case QNAME of a packet without its id, which was parsed before and is well formed."""
    position = 10
    while length := key[position]:
        position += 1 + length
    return key[10 : position + 1].lower()
