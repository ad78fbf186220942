"""Who asks: source address -> client, with its device, its posture and its table of ready answers.

A client is found by its packed address; the first query of an address looks up MAC and device. Clients whose postures
are alike share one table, so that a second child's tablet costs no second entry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network

from guardian.policy.compile import Policy
from guardian.policy.model import Decision, Visibility
from guardian.policy.posture import Posture, posture_of, posture_of_box
from guardian.resolver.answer import Fact, Ready
from guardian.resolver.local import unmap

MAX_CLIENTS = 4096  # a home has dozens; more is a flood of made-up IPv6 addresses
UNLIMITED = 1 << 60


class Table:
    """Ready answers by raw packet (the bytes behind the id), and the blocks that many names share."""

    __slots__ = ("blocked", "ready")

    def __init__(self) -> None:
        self.ready: dict[bytes, Ready] = {}
        self.blocked: dict[tuple[str, int, bytes, bytes], Ready] = {}


class Client:
    """One source address (or one MAC behind dnsmasq). `allowance` are the queries left in this second.

    `counts` and `log` are what it was answered since the last flush: how often by fact, and the packets (without their
    ids) where names may be kept. Helplines count as None, which nobody writes down.
    """

    __slots__ = (
        "address",
        "allowance",
        "awaits_mac",
        "counts",
        "device",
        "is_proxy",
        "log",
        "mac",
        "posture",
        "ready",
        "seen",
        "table",
    )

    def __init__(self, address: bytes, mac: bytes | None, device: str, is_proxy: bool, allowance: int) -> None:
        self.address = address
        self.mac = mac
        self.device = device
        self.is_proxy = is_proxy  # loopback: its EDNS option 65001 names the device that asks
        self.allowance = allowance
        self.awaits_mac = False
        self.seen = True
        self.counts: defaultdict[Fact | None, int] = defaultdict(int)
        self.log: list[tuple[bytes, Fact | None]] | None = None
        self.posture: Posture
        self.table: Table
        self.ready: dict[bytes, Ready]

    def note(self, key: bytes, ready: Ready) -> None:
        """Note one answer; the hot loop does the same in place."""
        self.counts[ready.fact] += 1
        if self.log is not None:
            self.log.append((key, ready.fact))


class Budget:
    """Bounds the ready answers over all tables; when full, a sixteenth of the fullest table goes, oldest first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.tables: list[Table] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def admit(self, table: Table, key: bytes, ready: Ready) -> None:
        """Keep `ready` under `key` in `table`."""
        before = len(table.ready)
        table.ready[key] = ready
        self._count += len(table.ready) - before
        if self._count > self.limit:
            self._shrink()

    def _shrink(self) -> None:
        self._count = sum(len(table.ready) for table in self.tables)  # a dropped table may have been written to
        if self._count <= self.limit:
            return
        fullest = max(self.tables, key=lambda table: len(table.ready)).ready
        for key in list(fullest)[: max(1, min(len(fullest), self.limit // 16))]:
            del fullest[key]
            self._count -= 1

    def drop(self, table: Table) -> None:
        """Forget a whole table."""
        self.tables.remove(table)
        self._count -= len(table.ready)

    def clear(self) -> None:
        """Forget everything."""
        self.tables.clear()
        self._count = 0


class Clients:
    """All clients by packed address. `identify(address, mac)` returns the device id, or "" for an unknown device."""

    def __init__(
        self,
        policy: Policy,
        networks: tuple[IPv4Network | IPv6Network, ...],
        rate_limit: int,
        table_entries: int,
        identify: Callable[[bytes, bytes | None], str],
        mac_of: Callable[[bytes], bytes | None],
        provoke: Callable[[bytes], bool] = lambda address: False,
    ) -> None:
        """`provoke(address)` makes the kernel look for the MAC of an address; True when it may soon be known."""
        self.by_address: dict[bytes, Client] = {}
        self.own_addresses: frozenset[bytes] = frozenset()  # packed, of this machine; loopback need not be among them
        self._box: Client | None = None
        self._gone: list[Client] = []  # forgotten ones whose answers are not yet flushed
        self.budget = Budget(table_entries)
        self._by_mac: dict[bytes, Client] = {}
        self._policy = policy
        self._rate_limit = rate_limit
        self._identify = identify
        self._mac_of = mac_of
        self._provoke = provoke
        self._networks = _compile_networks(networks)
        self._postures: dict[tuple[str, bool], tuple[Posture, Table]] = {}
        self._tables: dict[tuple[str, Decision | None, float, bool], Table] = {}

    def find(self, address: bytes, now: float) -> Client | None:
        """Return the client at a packed address (v4-mapped v6 means v4), or None outside the configured networks."""
        client = self.by_address.get(address)
        if client is None:
            plain = unmap(address)
            if not self._is_allowed(plain):
                return None
            if len(self.by_address) >= MAX_CLIENTS:
                self._forget_idle()
            mac = self._mac_of(plain)
            client = self._make(plain, mac, _is_loopback(plain))
            self.by_address[address] = client
            if mac is None and self._provoke(plain):
                self.refresh(client, now)
                client.awaits_mac, client.ready = True, {}  # nothing is answered before we know who asks
                return client
        return self.refresh(client, now)

    def give_up_waiting(self, client: Client) -> None:
        """Answer `client` without its MAC: nobody told it in time."""
        client.awaits_mac, client.ready = False, client.table.ready

    def find_behind(self, proxy: Client, mac: bytes, now: float) -> Client:
        """Return the client whose query `proxy` (dnsmasq on loopback) handed on with its MAC."""
        client = self._by_mac.get(mac)
        if client is None:
            if len(self._by_mac) >= MAX_CLIENTS:
                self._gone += self._by_mac.values()
                self._by_mac.clear()
            client = self._make(b"", mac, False)  # the proxy's own address says nothing of the device
            self._by_mac[mac] = client
        return self.refresh(client, now)

    def find_box(self, asker: Client, now: float) -> Client | None:
        """Return the client that stands for this machine itself, when `asker` is it: no device of the home."""
        if asker.device or asker.mac is not None or not (asker.is_proxy or asker.address in self.own_addresses):
            return None
        if self._box is None:
            self._box = Client(b"", None, "", True, UNLIMITED)
        box = self._box
        if not hasattr(box, "posture") or now >= box.posture.until:
            box.posture, box.table = posture_of_box(self._policy, now), Table()
            box.ready = box.table.ready
            self.budget.tables.append(box.table)
        return box

    def refresh(self, client: Client, now: float) -> Client:
        """Give `client` the posture of `now`, when the one it has is over or it has none."""
        client.seen = True
        if not hasattr(client, "posture") or now >= client.posture.until:
            client.posture, client.table = self._posture(client, now)
            client.ready = client.table.ready
            # Behind a proxy only the packet tells who asked.
            keeps = client.is_proxy or client.posture.visibility is Visibility.NAMES
            client.log = (client.log or []) if keeps else None
        return client

    def _make(self, address: bytes, mac: bytes | None, is_proxy: bool) -> Client:
        allowance = UNLIMITED if is_proxy or not self._rate_limit else 2 * self._rate_limit
        return Client(address, mac, self._identify(address, mac), is_proxy, allowance)

    def _posture(self, client: Client, now: float) -> tuple[Posture, Table]:
        who = client.device, client.is_proxy  # what a proxy asks for others must not be found by anyone else
        known = self._postures.get(who)
        if known is None or now >= known[0].until:
            posture = posture_of(self._policy, client.device, now)
            kind = (posture.profile, posture.stop, posture.until, client.is_proxy)
            table = self._tables.get(kind) or self._tables.setdefault(kind, Table())
            if table not in self.budget.tables:
                self.budget.tables.append(table)
            known = self._postures[who] = posture, table
            self._drop_ended(now)
        return known

    def _drop_ended(self, now: float) -> None:
        for kind in [kind for kind in self._tables if kind[2] <= now]:
            table = self._tables.pop(kind)
            if table in self.budget.tables:
                self.budget.drop(table)

    def configure(self, networks: tuple[IPv4Network | IPv6Network, ...], rate_limit: int) -> None:
        """Take over changed settings; call `forget` or `replace_policy` after it."""
        self._networks = _compile_networks(networks)
        self._rate_limit = rate_limit

    def replace_policy(self, policy: Policy) -> None:
        """Decide everything anew: settings, lists or the clock have changed."""
        self._policy = policy
        self.forget()

    def forget(self) -> None:
        """Forget who is who and every ready answer; the next query of each looks it up again."""
        self._gone += (*self.by_address.values(), *self._by_mac.values())
        self.by_address.clear()
        self._by_mac.clear()
        self._postures.clear()
        self._tables.clear()
        self._box = None
        self.budget.clear()

    def forget_address(self, address: bytes) -> None:
        """Forget one address: another device has it now."""
        client = self.by_address.pop(address, None)
        if client is not None:
            self._gone.append(client)

    def take_active(self) -> list[Client]:
        """Return the clients that were answered since the last call: their counts and logs want to be flushed."""
        known = (*self.by_address.values(), *self._by_mac.values(), *self._gone)
        self._gone = []
        return [client for client in known if client.counts]

    def take_seen(self) -> list[Client]:
        """Return the clients that asked since the last call, those behind a proxy too."""
        seen = [client for client in (*self.by_address.values(), *self._by_mac.values()) if client.seen]
        for client in seen:
            client.seen = False
        return seen

    def refill(self) -> None:
        """Give every client a new second's queries; call once a second."""
        if self._rate_limit:
            most = 2 * self._rate_limit
            for client in (*self.by_address.values(), *self._by_mac.values()):
                if not client.is_proxy:  # it speaks for the whole home
                    client.allowance = min(client.allowance + self._rate_limit, most)

    def _forget_idle(self) -> None:
        for address in [address for address, client in self.by_address.items() if not client.seen]:
            self._gone.append(self.by_address.pop(address))
        for client in self.by_address.values():
            client.seen = False
        if len(self.by_address) >= MAX_CLIENTS:
            self._gone += self.by_address.values()
            self.by_address.clear()

    def _is_allowed(self, address: bytes) -> bool:
        number = int.from_bytes(address)
        return any(number & mask == network for network, mask in self._networks[len(address)])


def _compile_networks(networks: tuple[IPv4Network | IPv6Network, ...]) -> dict[int, list[tuple[int, int]]]:
    compiled: dict[int, list[tuple[int, int]]] = {4: [], 16: []}
    for network in networks:
        compiled[network.max_prefixlen // 8].append((int(network.network_address), int(network.netmask)))
    return compiled


def _is_loopback(address: bytes) -> bool:
    return address[0] == 127 if len(address) == 4 else address == bytes(15) + b"\x01"
