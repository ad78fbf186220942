"""From what the listeners answered to what the history keeps: off the hot path, many queries at a time."""

from __future__ import annotations

import time
from collections import Counter

from guardian.errors import FormError
from guardian.policy.model import Visibility
from guardian.resolver.answer import Fact
from guardian.resolver.clients import Client, Clients
from guardian.resolver.listen import Seen
from guardian.store.history_record import Recorder
from guardian.wire import dns


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


class SeenRecorder:
    """Hands answered queries to the history's recorder. Helplines carry no fact and leave no trace."""

    def __init__(self, recorder: Recorder, clients: Clients) -> None:
        self.tally = Tally()
        self._recorder = recorder
        self._clients = clients

    def drain(self, seen: list[Seen]) -> None:
        """Record a list of (client, raw packet behind the id, ready answer)."""
        now = time.time()
        hour = int(now) // 3600
        self.tally.queries += len(seen)
        for (client, key, ready), count in Counter(seen).items():
            client.seen = True
            fact = ready.fact
            if fact is None:
                continue
            self.tally.add(fact, count)
            asker = self._asker(client, key, now) if client.is_proxy else client
            visibility = asker.posture.visibility
            name = read_name(key) if visibility is Visibility.NAMES else None
            self._recorder.add(hour, asker.device, name, fact.action, fact.reason, fact.tag, count, now, visibility)

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
