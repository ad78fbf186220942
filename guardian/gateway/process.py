"""The gateway process: DNS server, flow filter, block page and control socket around one policy. Composition only.

A reload builds everything new beside the old, and swaps when it is whole: a wrong file changes nothing. Listeners that
stay keep their sockets, so that no query is lost.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from guardian import __version__
from guardian.blockpage import BlockPage
from guardian.config import Config, load_config
from guardian.control import ControlServer
from guardian.errors import GuardianError
from guardian.gateway.hotline import HotlineLists
from guardian.gateway.identity import Identity
from guardian.gateway.listeners import Listeners
from guardian.gateway.live import Live
from guardian.gateway.memory import Memory
from guardian.gateway.page import PageFacts
from guardian.gateway.presence import LOOK_SECONDS, Presence
from guardian.gateway.sizing import cache_bytes_for, read_memory_size, table_entries_for
from guardian.gateway.status import format_endpoint
from guardian.gateway.verbs import Verbs
from guardian.home import load_home, make_state
from guardian.interfaces import list_addresses
from guardian.names import is_below
from guardian.policy.model import Decision, Reason
from guardian.policy.posture import posture_of
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

SIGHTING_SECONDS = 600.0  # between two notes of who is here
CLOCK_JUMP = 2.0  # seconds by which the wall clock left the monotonic one: somebody set it


class Gateway:
    """One running gateway. `start`, then `run` until `stop`; `reload` at any time between."""

    def __init__(self, config: Config, config_path: str) -> None:
        self.config = config
        self._config_path = config_path
        self.started = time.time()
        self._stopping = asyncio.Event()
        self._failed = False
        self._pauses: dict[str, float] = {}
        self._paused_at = 0.0
        self._clock_offset = time.time() - time.monotonic()
        self._looked = self._noted = time.monotonic()
        self._page: BlockPage | None = None
        self.flows: FlowFilter | None = None
        self._usage = Usage()
        self._reloading = asyncio.Lock()
        self.presence = Presence()

    # Building

    async def start(self) -> None:
        """Load, bind and serve. Raises GuardianError; nothing is left behind then."""
        make_state(self.config)
        self.home = load_home(self.config)
        self.memory = Memory(self.config.history, self.home.household)
        self.live = Live(self.memory.recorder)
        self.identity = Identity(self.home.household, self.config.local.leases, self.memory, self.presence)
        verbs = Verbs(self)
        self._control = ControlServer(verbs.answering, verbs.streaming)
        self._build_engine()
        self.identity.open(self._on_neighbor)
        try:
            await self.listeners.use(self.config.dns.listen)
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
            ",".join(format_endpoint(endpoint) for endpoint in self.listeners.endpoints),
            len(self.home.household.profiles),
            len(self.home.household.devices),
            len(self.home.lists.tags),
            self.home.starter,
        )

    async def _start_page(self) -> None:
        facts = PageFacts(self.home, self.clients, self.cache, self.hotline)
        settings = facts.settings(self.config)
        page = BlockPage(self.config.block.page, facts.explain, facts.describe, settings, facts.settle)
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

        around = Surroundings(
            self.identity.identify,
            self.memory.recorder,
            self._compose_page,
            self.clients.forget,
            self.identity.note_traffic,
            self.hotline.settle_flow,
        )
        flows = FlowFilter(self.config, self.policy, self.hotline.join(self.home.lists), around)
        await flows.start()
        self.flows = flows
        self.handler.give = self._give

    async def _compose_page(self, answer: Answer) -> bytes:
        assert self._page is not None
        client = str(ipaddress.ip_address(answer.key.source))
        return await self._page.compose(*self._page_facts.describe_flow(answer), client, with_body=not answer.is_head)

    def _give(self, client: Client, decision: Decision, name: bytes, entry: Entry, seconds: int) -> None:
        """Tell the flow filter which addresses an answer gives, before it leaves."""
        assert self.flows is not None
        judge, addresses, now = self.flows.judge, entry.addresses(), time.time()
        if client.posture.strict:
            judge.given.note(client.device, addresses, seconds, now)
        if decision.reason in (Reason.HELPLINE, Reason.SAFE_SEARCH):
            is_helpline = decision.reason is Reason.HELPLINE
            judge.give_named(name if is_helpline else decision.target, addresses, seconds, now, is_helpline)

    async def _recall(self) -> None:
        used = await self.memory.recall(self.home.household)
        if used:
            self._usage.load((*used, *self._usage.rows()))
            self._replace_policy()

    def _on_neighbor(self, address: bytes, mac: bytes) -> None:
        self.clients.forget_address(address)
        if self.flows is not None:
            self.flows.forget_address(address)

    def _build_engine(self) -> None:
        """Make the parts that a reload may swap, from `self.config` and `self.home`."""
        config, home = self.config, self.home
        dns = config.dns
        self.cache = Cache(_limits_of(config))
        self.hotline = HotlineLists(self.cache, self._judge_flows_again)
        self.hotline.use(self.hotline.open(config))
        self.policy = home.compile(usage=self._usage, lists=self.hotline.join(home.lists))
        self.upstreams = Upstreams(config.upstreams, config.forward)
        self.resolver = Resolver(self.upstreams, self.cache, self._is_rebinding, _second)
        entries = _entries_of(config)
        identity = self.identity
        self.clients = Clients(
            self.policy,
            dns.clients,
            dns.rate_limit,
            entries,
            identity.identify,
            identity.mac_of,
            identity.provoke,
        )
        self.answers = AnswerRecorder(self.memory.recorder, self.clients)
        self.handler = Handler(
            self.clients,
            self.hotline.join(home.lists),
            self._local_names(),
            self.cache,
            self._blocker(),
            config.block.ttl,
            self._prefetch,
            lose_helpline=self._lose_helpline,
        )
        self.handler.note_lead = self.hotline.note_lead
        self.resolver.may_keep = self.hotline.may_keep
        self.core = Core(self.clients, self.handler, self.resolver, self.answers.drain, _call_later)
        self.core.settling = self.hotline.settling
        self.listeners = Listeners(self.core)

    def _judge_flows_again(self) -> None:
        if self.flows is not None:
            self.flows.judge_again()

    def _prefetch(self, miss: Miss) -> None:
        if self.config.dns.prefetch:
            self.resolver.fetch(miss)

    def _lose_helpline(self) -> None:
        self.memory.note_lost_helpline(time.time())

    def _local_names(self) -> LocalNames:
        local = self.config.local
        forwards = [forward.domain for forward in self.config.forward]
        return LocalNames(local.name, self._own_addresses(), local.zone, self.identity.leases, forwards)

    def _blocker(self) -> Blocker:
        return Blocker(self.config.block, self.config.local.name, self._own_addresses(), self.hotline.errors)

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
        await self.hotline.close()
        await self.upstreams.close()
        self._note_sightings()
        self._flush_history()
        await asyncio.get_running_loop().run_in_executor(None, self.memory.writer.close)
        log.info("event=stopped")

    async def _close_sockets(self) -> None:
        if self.flows is not None:
            self.handler.give = None
            await self.flows.close()
            self.flows = None
        await self.listeners.close()
        if self._page is not None:
            await self._page.close()
        self.identity.close()

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
                if self.flows is not None:
                    self.flows.set_clock()
            if self.memory.is_due():
                self._flush_history()
            self.live.tick(time.time())
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                self.look_around()
            if time.monotonic() - self._noted >= SIGHTING_SECONDS:
                self._note_sightings()
                if self.home.household_error:
                    await self._reload_by_signal()

    def look_around(self) -> None:
        """Note who has shown a sign of life since the last look, and tell who came and who went."""
        self._looked = time.monotonic()
        self.presence.note_clients(self.clients.take_seen(), self._looked)
        self.presence.tell_changes(self.live, self.identity.find, self._looked)

    def _note_sightings(self) -> None:
        self.look_around()
        self._noted = time.monotonic()
        then = time.time() - self._noted
        seen = ((mac, sign.address, then + sign.last) for mac, sign in self.presence.take_unsaved())
        self.memory.note_sightings(seen, self.identity.leases)

    def _flush_history(self) -> None:
        self.core.flush()
        self.memory.flush()

    # Changing

    async def reload(self) -> None:
        """Read configuration, household and lists again, and swap. Raises GuardianError; then nothing has changed."""
        async with self._reloading:
            await self._reload()

    async def _reload(self) -> None:
        loop = asyncio.get_running_loop()
        config = await loop.run_in_executor(None, load_config, self._config_path)
        home = await loop.run_in_executor(None, load_home, config, self.home)
        opened = await loop.run_in_executor(None, self.hotline.open, config)
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
        await self.listeners.use(config.dns.listen)
        self._flush_history()
        self.memory.forget_narrowed(self.home.household, home.household)
        if changed >= self._paused_at:  # what parents set since then is newer than a pause of the control socket
            self._pauses.clear()
        (before_home, self.home), self.config = (self.home, home), config
        is_other_feed = self.hotline.use(opened)
        self._swap(before)
        if home.household != before_home.household:
            self.live.publish("change", what="household")
        lists_before = before_home.lists.created, before_home.addresses.created
        if is_other_feed:
            self.hotline.sweep()
        if (home.lists.created, home.addresses.created) != lists_before or is_other_feed:
            self.live.publish("change", what="lists")
        log.info("event=reloaded profiles=%d tags=%d", len(home.household.profiles), len(home.lists.tags))

    def _swap(self, before: Config) -> None:
        config, home = self.config, self.home
        if (config.upstreams, config.forward) != (before.upstreams, before.forward):
            old, self.upstreams = self.upstreams, Upstreams(config.upstreams, config.forward)
            self.resolver.replace_upstream(self.upstreams)
            self._closing = asyncio.get_running_loop().create_task(old.drain())
            self.cache.flush()  # another resolver may see another world
        elif (config.dns.rebinding_protection, config.dns.rebinding_allowed) != (
            before.dns.rebinding_protection,
            before.dns.rebinding_allowed,
        ):
            self.cache.flush()  # what is private was judged when it came
        self.identity.use(home.household, config.local.leases)
        self.memory.recorder.timezone = home.household.tz
        self.handler.lists = self.hotline.join(home.lists)
        self.core.settling = self.hotline.settling
        self.handler.local = self._local_names()
        self.handler.blocker = self._blocker()
        self.handler.block_ttl = config.block.ttl
        self.cache.limits = _limits_of(config)
        self.clients.budget.limit = _entries_of(config)
        self.clients.configure(config.dns.clients, config.dns.rate_limit)
        logging.getLogger().setLevel(config.log_level.upper())
        self._replace_policy()
        if self._page is not None:
            self._page_facts.use(home)
            self._page.use(self._page_facts.settings(config))

    def judge_site(self, device: str, name: bytes, now: float) -> Decision:
        """Return the decision about a wire name for a named device (by id), also by what its last answer led to."""
        return self._page_facts.judge(posture_of(self.policy, device, now), name)

    def pause(self, name: str, until: float) -> None:
        """Pause a profile or device id until a moment (epoch seconds, 0 = not), on top of what parents set."""
        self._pauses[name] = until
        self._paused_at = time.time()
        self._replace_policy()
        self.live.publish("change", what="household")

    async def erase(self) -> None:
        """Forget the whole history, all devices ever seen, the minutes used, and pauses. Raises GuardianError."""
        await self._remembering
        self.core.flush()
        self.presence.forget()
        await self.memory.erase()
        self._pauses.clear()
        self._usage.load(())
        self._replace_policy()  # which forgets who is who: the next query of each device is its first
        self.live.publish("change", what="household")

    def _replace_policy(self) -> None:
        lists = self.hotline.join(self.home.lists)
        self.policy = self.home.compile(self._pauses, self._usage, lists=lists)
        self.clients.replace_policy(self.policy)
        if self.flows is not None:
            self.flows.replace_policy(self.policy, lists)


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
