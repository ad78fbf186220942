"""The gateway process: DNS server, flow filter, block page and control socket around one policy. Composition only.

A reload builds everything new beside the old, and swaps when it is whole: a wrong file changes nothing. Listeners that
stay keep their sockets, so that no query is lost.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from guardian import __version__
from guardian.blockpage import BlockPage
from guardian.config import Config, load_config
from guardian.control import ControlServer
from guardian.devices import DeviceMap
from guardian.errors import GuardianError
from guardian.gateway.listeners import Listeners
from guardian.gateway.memory import Memory
from guardian.gateway.page import PageFacts
from guardian.gateway.sizing import cache_bytes_for, read_memory_size, table_entries_for
from guardian.gateway.status import cache_status, format_endpoint, lists_status, query_status, read_own_memory
from guardian.home import load_home, make_state
from guardian.interfaces import list_addresses
from guardian.leases import LeaseFiles
from guardian.names import is_below, parse_name
from guardian.neighbors import Neighbors
from guardian.policy.model import FOREVER, Decision, Reason
from guardian.policy.usage import Usage
from guardian.resolver.answer import Blocker
from guardian.resolver.cache import Cache, Entry, Limits
from guardian.resolver.clients import Client, Clients
from guardian.resolver.handle import Handler, Miss
from guardian.resolver.listen import Core
from guardian.resolver.local import LocalNames, is_private_address
from guardian.resolver.record import AnswerRecorder
from guardian.resolver.resolve import Resolver
from guardian.resolver.upstream import Upstreams
from guardian.store.settings import list_changes

if TYPE_CHECKING:
    from guardian.filter.tcp import Answer
    from guardian.gateway.flows import FlowFilter

log = logging.getLogger(__name__)

DISCARD_PORT = 9  # RFC 863
SIGHTING_SECONDS = 600.0  # between two notes of who is here
CLOCK_JUMP = 2.0  # seconds by which the wall clock left the monotonic one: somebody set it


class Gateway:
    """One running gateway. `start`, then `run` until `stop`; `reload` at any time between."""

    def __init__(self, config: Config, config_path: str) -> None:
        self.config = config
        self._config_path = config_path
        self._started = time.time()
        self._stopping = asyncio.Event()
        self._failed = False
        self._pauses: dict[str, float] = {}
        self._paused_at = 0.0
        self._clock_offset = time.time() - time.monotonic()
        self._looked = time.monotonic()
        self._neighbors: Neighbors | None = None
        self._page: BlockPage | None = None
        self._flows: FlowFilter | None = None
        self._usage = Usage()
        self._reloading = asyncio.Lock()
        self._control = ControlServer(
            {
                "status": self._serve_status,
                "reload": self._serve_reload,
                "flush": self._serve_flush,
                "pause": self._serve_pause,
            }
        )

    # Building

    async def start(self) -> None:
        """Load, bind and serve. Raises GuardianError; nothing is left behind then."""
        make_state(self.config)
        self.home = load_home(self.config)
        self.policy = self.home.compile(usage=self._usage)
        self._memory = Memory(self.config.history, self.home.household)
        self._build_engine()
        self._open_neighbors()
        try:
            await self._listeners.use(self.config.dns.listen)
            await self._start_page()
            await self._start_filter()
            await self._control.start(self.config.control.socket, self.config.control.group)
        except BaseException:
            await self._close_sockets()
            raise
        self._remembering = asyncio.get_running_loop().create_task(self._recall())
        self._ticker = asyncio.get_running_loop().create_task(self._tick())
        self._ticker.add_done_callback(self._on_ticker_end)
        log.info(
            "event=started version=%s listen=%s profiles=%d devices=%d tags=%d starter_lists=%s",
            __version__,
            ",".join(format_endpoint(endpoint) for endpoint in self._listeners.endpoints),
            len(self.home.household.profiles),
            len(self.home.household.devices),
            len(self.home.lists.tags),
            self.home.starter,
        )

    async def _start_page(self) -> None:
        facts = PageFacts(self.home, self.clients, self.cache)
        page = BlockPage(self.config.block.page, facts.explain, facts.describe, facts.settings(self.config))
        try:
            await page.start()
        except OSError as error:
            where = ", ".join(format_endpoint(endpoint) for endpoint in self.config.block.page)
            raise GuardianError(f"cannot serve the block page on {where}: {error.strerror}") from None
        self._page, self._page_facts = page, facts

    async def _start_filter(self) -> None:
        if not self.config.filter.enabled:
            return
        from guardian.gateway.flows import FlowFilter, Surroundings

        around = Surroundings(self._identify, self._memory.recorder, self._compose_page, self.clients.forget)
        flows = FlowFilter(self.config, self.policy, self.home.lists, around)
        await flows.start()
        self._flows = flows
        self.handler.give = self._give

    async def _compose_page(self, answer: Answer) -> bytes:
        assert self._page is not None
        return await self._page.compose(*self._page_facts.describe_flow(answer), with_body=not answer.is_head)

    def _give(self, client: Client, decision: Decision, name: bytes, entry: Entry, seconds: int) -> None:
        """Tell the flow filter which addresses an answer gives, before it leaves."""
        assert self._flows is not None
        judge, addresses, now = self._flows.judge, entry.addresses(), time.time()
        if client.posture.strict:
            judge.given.note(client.device, addresses, seconds, now)
        if decision.reason in (Reason.HELPLINE, Reason.SAFE_SEARCH):
            is_helpline = decision.reason is Reason.HELPLINE
            judge.give_named(name if is_helpline else decision.target, addresses, seconds, now, is_helpline)

    async def _recall(self) -> None:
        used = await self._memory.recall(self.home.household)
        if used:
            self._usage.load((*used, *self._usage.rows()))
            self._replace_policy()

    def _open_neighbors(self) -> None:
        try:
            self._neighbors = Neighbors.open(self._on_neighbor)
        except OSError as error:
            log.warning("event=no-neighbour-table error=%r devices=by-address-only", str(error))
            return
        asyncio.get_running_loop().add_reader(self._neighbors.fileno(), self._neighbors.on_readable)

    def _on_neighbor(self, address: bytes, mac: bytes) -> None:
        self.clients.forget_address(address)
        if self._flows is not None:
            self._flows.forget_address(address)

    def _build_engine(self) -> None:
        """Make the parts that a reload may swap, from `self.config` and `self.home`."""
        config, home = self.config, self.home
        dns = config.dns
        self._leases = LeaseFiles(config.local.leases)
        self._devices = DeviceMap(home.household)
        self.cache = Cache(_limits_of(config))
        self._upstreams = Upstreams(config.upstreams, config.forward)
        self.resolver = Resolver(self._upstreams, self.cache, self._is_rebinding, _second)
        entries = _entries_of(config)
        self.clients = Clients(
            self.policy, dns.clients, dns.rate_limit, entries, self._identify, self._mac_of, self._provoke
        )
        self._answers = AnswerRecorder(self._memory.recorder, self.clients)
        self.handler = Handler(
            self.clients,
            home.lists,
            self._local_names(),
            self.cache,
            self._blocker(),
            config.block.ttl,
            self._prefetch,
        )
        self.core = Core(self.clients, self.handler, self.resolver, self._answers.drain, _call_later)
        self._listeners = Listeners(self.core)

    def _prefetch(self, miss: Miss) -> None:
        if self.config.dns.prefetch:
            self.resolver.fetch(miss)

    def _local_names(self) -> LocalNames:
        local = self.config.local
        forwards = [forward.domain for forward in self.config.forward]
        return LocalNames(local.name, self._own_addresses(), local.zone, self._leases, forwards)

    def _blocker(self) -> Blocker:
        return Blocker(self.config.block, self.config.local.name, self._own_addresses())

    def _own_addresses(self) -> tuple[bytes, ...]:
        """The packed addresses of this gateway: as configured, else those it listens on.

        Loopback is left out where there is more: to a device in the home it means the device itself.
        """
        config = self.config
        hosts = config.local.addresses or tuple(endpoint.host for endpoint in config.block.page + config.dns.listen)
        own = [ipaddress.ip_address(host) for host in hosts]
        if any(address.is_unspecified for address in own):
            # Everywhere: the addresses of the home's side, not the one that the provider gave.
            mine = (ipaddress.ip_address(packed) for packed in list_addresses())
            own += [address for address in mine if is_private_address(address.packed) and not address.is_link_local]
            own = [address for address in own if not address.is_unspecified]
        if not config.local.addresses:
            own = [address for address in own if not address.is_loopback] or own
        return tuple(dict.fromkeys(address.packed for address in own))

    def _identify(self, address: bytes, mac: bytes | None) -> str:
        if mac is not None:
            now = time.time()
            if self._memory.known.see(mac, address, self._leases.hostname_of(mac), now):
                log.info("event=new-device mac=%s", mac.hex(":"))
                if not self._devices.find(address, mac):
                    self._memory.recorder.note_attempt("", mac, "unknown-device", 1, now)
        return self._devices.find(address, mac)

    def _mac_of(self, address: bytes) -> bytes | None:
        if self._neighbors is None:
            return None
        return self._neighbors.mac_of(address) or self._neighbors.query(address)

    def _provoke(self, address: bytes) -> bool:
        """Make the kernel look for an IPv6 neighbour, by a datagram to the discard port; False where that is no use.

        A privacy address that asks for the first time is unknown to the kernel until somebody writes to it.
        """
        host = ipaddress.ip_address(address)
        if self._neighbors is None or host.version == 4 or host.is_loopback or host.is_link_local:
            return False
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.sendto(b"", (str(host), DISCARD_PORT))
            except OSError:  # no way there: then nobody will answer either
                return False
        return True

    def _is_rebinding(self, name: bytes, address: bytes) -> bool:
        dns = self.config.dns
        if not dns.rebinding_protection or not is_private_address(address):
            return False
        trusted = (*dns.rebinding_allowed, *(forward.domain for forward in self.config.forward))
        return not any(is_below(name, domain) for domain in trusted)

    # Living

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or `stop`; SIGHUP reloads."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        await self._stopping.wait()
        await self.close()
        if self._failed:
            raise GuardianError("the gateway had to stop: see its log")

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stopping.set()

    def _on_hangup(self) -> None:
        self._hangup = asyncio.get_running_loop().create_task(self._reload_by_signal())

    async def _reload_by_signal(self) -> None:
        try:
            await self.reload()
        except (GuardianError, OSError) as error:
            log.error("event=reload-refused error=%r running=as-before", str(error))

    async def close(self) -> None:
        """Stop serving, write what the history holds, leave no socket behind."""
        self._ticker.cancel()
        await self._control.close()
        await self._close_sockets()
        await self.resolver.close()
        await self._upstreams.close()
        self._flush_history()
        await asyncio.get_running_loop().run_in_executor(None, self._memory.writer.close)
        log.info("event=stopped")

    async def _close_sockets(self) -> None:
        if self._flows is not None:
            self.handler.give = None
            await self._flows.close()
            self._flows = None
        await self._listeners.close()
        if self._page is not None:
            await self._page.close()
        if self._neighbors is not None:
            asyncio.get_running_loop().remove_reader(self._neighbors.fileno())
            self._neighbors.close()
            self._neighbors = None

    def _on_ticker_end(self, ticker: asyncio.Task[None]) -> None:
        """Without its ticks the gateway would throttle everybody: better to end, and be started again."""
        if not ticker.cancelled() and (error := ticker.exception()) is not None:
            log.critical("event=ticker-failed error=%r action=stop", error, exc_info=error)
            self._failed = True
            self.stop()

    async def _tick(self) -> None:
        """Once a second: limits are refilled, the clock is watched, the history gets its batch."""
        while True:
            await asyncio.sleep(1.0)
            self.core.tick()
            self.core.flush()
            offset = time.time() - time.monotonic()
            if abs(offset - self._clock_offset) > CLOCK_JUMP:
                log.warning("event=clock-set seconds=%+d decisions=anew", offset - self._clock_offset)
                self._clock_offset = offset
                self.clients.forget()
                if self._flows is not None:
                    self._flows.set_clock()
            if self._memory.is_due():
                self._flush_history()
            if time.monotonic() - self._looked >= SIGHTING_SECONDS:
                self._note_sightings()
                if self.home.household_error:
                    await self._reload_by_signal()

    def _note_sightings(self) -> None:
        self._looked = time.monotonic()
        self._memory.note_sightings(self.clients.by_address.values(), self._leases)

    def _flush_history(self) -> None:
        self.core.flush()
        self._memory.flush()

    # Changing

    async def reload(self) -> None:
        """Read configuration, household and lists again, and swap. Raises GuardianError; then nothing has changed."""
        async with self._reloading:
            await self._reload()

    async def _reload(self) -> None:
        loop = asyncio.get_running_loop()
        config = await loop.run_in_executor(None, load_config, self._config_path)
        home = await loop.run_in_executor(None, load_home, config, self.home)
        changed = await loop.run_in_executor(None, read_last_change, config.settings)
        fixed = [
            name
            for name in ("state", "control", "history", "filter")
            if getattr(config, name) != getattr(self.config, name)
        ]
        if config.block.page != self.config.block.page:
            fixed.append("block.page")
        if fixed:
            raise GuardianError(f"{', '.join(fixed)} cannot change while the gateway runs: restart it")
        before = self.config
        await self._listeners.use(config.dns.listen)
        self._flush_history()
        self._memory.forget_narrowed(self.home.household, home.household)
        if changed >= self._paused_at:  # what parents set since then is newer than a pause of the control socket
            self._pauses.clear()
        self.config, self.home = config, home
        self._swap(before)
        log.info("event=reloaded profiles=%d tags=%d", len(home.household.profiles), len(home.lists.tags))

    def _swap(self, before: Config) -> None:
        config, home = self.config, self.home
        if (config.upstreams, config.forward) != (before.upstreams, before.forward):
            old, self._upstreams = self._upstreams, Upstreams(config.upstreams, config.forward)
            self.resolver.replace_upstream(self._upstreams)
            self._closing = asyncio.get_running_loop().create_task(old.drain())
            self.cache.flush()  # another resolver may see another world
        elif (config.dns.rebinding_protection, config.dns.rebinding_allowed) != (
            before.dns.rebinding_protection,
            before.dns.rebinding_allowed,
        ):
            self.cache.flush()  # what is private was judged when it came
        if config.local.leases != before.local.leases:
            self._leases = LeaseFiles(config.local.leases)
        self._devices = DeviceMap(home.household)
        self._memory.recorder.timezone = home.household.tz
        self.handler.lists = home.lists
        self.handler.local = self._local_names()
        self.handler.blocker = self._blocker()
        self.handler.block_ttl = config.block.ttl
        self.cache.limits = _limits_of(config)
        self.clients.budget.limit = _entries_of(config)
        self.clients.configure(config.dns.clients, config.dns.rate_limit)
        logging.getLogger().setLevel(config.log_level.upper())
        self._replace_policy()
        if self._page is not None:
            self._page_facts.home = home
            self._page.use(self._page_facts.settings(config))

    def _replace_policy(self) -> None:
        self.policy = self.home.compile(self._pauses, self._usage)
        self.clients.replace_policy(self.policy)
        if self._flows is not None:
            self._flows.replace_policy(self.policy, self.home.lists)

    # The control socket

    async def _serve_reload(self, request: dict[str, Any]) -> dict[str, Any]:
        await self.reload()
        return {"image_error": self.home.image_error} if self.home.image_error else {}

    async def _serve_flush(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request.get("name")
        wire = parse_name(str(name)) if name else None
        forgotten = self.cache.flush(wire)
        self.clients.forget()
        return {"forgotten": forgotten}

    async def _serve_pause(self, request: dict[str, Any]) -> dict[str, Any]:
        """Pause a profile or device until a moment, or resume it with 0.

        Not durable: it holds until the gateway ends, or reads settings that parents have changed since.
        """
        name, until = str(request.get("id", "")), request.get("until", FOREVER)
        household = self.home.household
        if name not in {p.id for p in household.profiles} | {d.id for d in household.devices}:
            raise GuardianError(f"no profile or device has the id {name[:64]!r}")
        if isinstance(until, bool) or not isinstance(until, int | float) or math.isnan(until):
            raise GuardianError("'until' must be epoch seconds")
        self._pauses[name] = float(until)
        self._paused_at = time.time()
        self._replace_policy()
        log.info("event=paused id=%s until=%s", name, until)
        return {}

    async def _serve_status(self, request: dict[str, Any]) -> dict[str, Any]:
        self.core.flush()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": self._started,
            "now": time.time(),
            "listen": [format_endpoint(endpoint) for endpoint in self._listeners.endpoints],
            "queries": query_status(self._answers.tally, self.resolver, self.core),
            "cache": cache_status(self.cache, self.clients.budget),
            "upstreams": [status._asdict() for status in self._upstreams.status()],
            "lists": lists_status(self.home),
            "household": {
                "profiles": len(self.home.household.profiles),
                "devices": len(self.home.household.devices),
                "devices_seen": len(self._memory.known),
            },
            "history": self._memory.writer.status()._asdict(),
            "filter": self._flows.status() if self._flows is not None else {"enabled": False},
            "memory": read_own_memory(),
        }


def read_last_change(path: str) -> float:
    """Return when parents last changed the settings in the database, in epoch seconds, 0 for never."""
    changes = list_changes(path, 1) if os.path.exists(path) else []
    return changes[0][0] if changes else 0.0


def _second() -> int:
    return int(time.monotonic())


def _call_later(seconds: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, call)


def _limits_of(config: Config) -> Limits:
    dns = config.dns
    max_bytes = dns.cache_bytes or cache_bytes_for(read_memory_size())
    return Limits(max_bytes, dns.min_ttl, dns.max_ttl, dns.serve_stale)


def _entries_of(config: Config) -> int:
    return config.dns.table_entries or table_entries_for(read_memory_size())
