"""The gateway process: DNS server, flow filter, block page and control socket around one policy. Composition only.

A reload builds everything new beside the old, and swaps when it is whole: a wrong file changes nothing. Listeners that
stay keep their sockets, so that no query is lost.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from guardian import __version__
from guardian.blockpage import BlockPage
from guardian.clock import State, is_confirmed, tell_time
from guardian.config import Config, load_config
from guardian.control import ControlServer, NoRoomError
from guardian.errors import GuardianError
from guardian.gateway.clock import look_at_clock, open_clock
from guardian.gateway.hotline import HotlineLists
from guardian.gateway.identity import Identity
from guardian.gateway.listeners import Listeners
from guardian.gateway.live import Live
from guardian.gateway.memory import Memory
from guardian.gateway.own_addresses import find_own_addresses, is_rebinding
from guardian.gateway.page import PageFacts
from guardian.gateway.presence import LOOK_SECONDS, Presence
from guardian.gateway.reloads import Reloads
from guardian.gateway.sizing import entries_of, limits_of
from guardian.gateway.status import format_endpoint
from guardian.gateway.verbs import Verbs
from guardian.home import load_home, make_state
from guardian.interfaces import Following, fit_to_interfaces, list_absent
from guardian.policy.model import Decision, Reason
from guardian.policy.posture import posture_of
from guardian.policy.usage import Usage
from guardian.resolver.answer import Blocker
from guardian.resolver.cache import Cache, Entry
from guardian.resolver.clients import Client, Clients
from guardian.resolver.handle import Handler, Miss
from guardian.resolver.listen import Core
from guardian.resolver.local import LocalNames
from guardian.resolver.record import AnswerRecorder
from guardian.resolver.resolve import Resolver
from guardian.resolver.upstream import Upstreams
from guardian.store.settings import read_last_change
from guardian.supervisor import Nobody, Supervisor

if TYPE_CHECKING:
    from guardian.filter.tcp import Answer
    from guardian.gateway.flows import FlowFilter

log = logging.getLogger(__name__)

SIGHTING_SECONDS = 600.0  # between two notes of who is here


class Gateway:
    """One running gateway. `start`, then `run` until `stop`; `reload` at any time between."""

    def __init__(self, config: Config, config_path: str, supervisor: Supervisor | None = None) -> None:
        """`supervisor` is told of reloads and of the end; whoever calls `start` tells it that we serve."""
        self._supervisor = supervisor or Nobody()
        self._written = config  # with interfaces where `config` has the addresses that they have by now
        self.config = fit_to_interfaces(config)
        self._config_path = config_path
        self._following = Following(self._follow_addresses)
        self._own: tuple[bytes, ...] = ()
        self._began = time.monotonic()
        self._stopping = asyncio.Event()
        self._failed = False
        self._pauses: dict[str, float] = {}
        self._paused_at = 0.0
        self._looked = self._noted = time.monotonic()
        self._page: BlockPage | None = None
        self.flows: FlowFilter | None = None
        self._usage = Usage()
        self._reloading = asyncio.Lock()
        self._control_missing = False
        self.reloads = Reloads()
        self.presence = Presence()

    @property
    def started(self) -> float:
        """When this process began, in epoch seconds: by what is known of the time now, not by what was known then."""
        return tell_time() - (time.monotonic() - self._began)

    # Building

    async def start(self) -> None:
        """Load, bind and serve. Raises GuardianError; nothing is left behind then."""
        make_state(self.config)
        self.clock = open_clock(self.config)
        self._was_confirmed = is_confirmed()
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
            await self._start_control()
        except BaseException:
            await self._close_sockets()
            raise
        self._remembering = asyncio.get_running_loop().create_task(self._recall())
        self._ticker = asyncio.get_running_loop().create_task(self._tick())
        self._ticker.add_done_callback(self._on_ticker_end)
        self._own = find_own_addresses(self.config)
        self._following.start()
        log.info(
            "event=started version=%s listen=%s profiles=%d devices=%d tags=%d starter_lists=%s",
            __version__,
            ",".join(format_endpoint(endpoint) for endpoint in self.listeners.endpoints),
            len(self.home.household.profiles),
            len(self.home.household.devices),
            len(self.home.lists.tags),
            self.home.starter,
        )
        self._tell_absent()

    async def _start_control(self) -> None:
        """Be there for the console; where there is no room for a socket, later: names must resolve all the same."""
        try:
            await self._control.start(self.config.control.socket, self.config.control.group)
        except NoRoomError as error:
            if not self._control_missing:
                log.error("event=no-control error=%r action=try-again", str(error))
            self._control_missing = True
        else:
            if self._control_missing:
                log.info("event=control-open")
            self._control_missing = False

    async def _open_missing_control(self) -> None:
        try:
            await self._start_control()
        except GuardianError as error:  # somebody else has it by now; the home needs its names more
            log.error("event=no-control error=%r", str(error))

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
        judge, addresses, now = self.flows.judge, entry.addresses(), tell_time()
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
        self.cache = Cache(limits_of(config))
        self.hotline = HotlineLists(self.cache, self._judge_flows_again)
        self.hotline.use(self.hotline.open(config))
        self.policy = home.compile(
            usage=self._usage, lists=self.hotline.join(home.lists), clock_unset=self.clock.state is State.WAITING
        )
        self.upstreams = Upstreams(config.upstreams, config.forward)
        self.resolver = Resolver(self.upstreams, self.cache, self._is_rebinding, _second)
        entries = entries_of(config)
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
        self._tell_who_we_are()

    def _judge_flows_again(self) -> None:
        if self.flows is not None:
            self.flows.judge_again()

    def _prefetch(self, miss: Miss) -> None:
        if self.config.dns.prefetch:
            self.resolver.fetch(miss)

    def _lose_helpline(self) -> None:
        self.memory.note_lost_helpline(tell_time())

    def _is_rebinding(self, name: bytes, address: bytes) -> bool:
        return is_rebinding(self.config, name, address)

    def _local_names(self) -> LocalNames:
        local = self.config.local
        forwards = [forward.domain for forward in self.config.forward]
        return LocalNames(local.name, find_own_addresses(self.config), local.zone, self.identity.leases, forwards)

    def _tell_who_we_are(self) -> None:
        """Let the resolver know this machine itself, which has to find its time servers whatever holds for others."""
        self.clients.own_addresses = frozenset(find_own_addresses(self.config))
        self.handler.time_servers = frozenset(self.config.local.time_servers)

    def _blocker(self) -> Blocker:
        return Blocker(self.config.block, self.config.local.name, find_own_addresses(self.config), self.hotline.errors)

    # Living

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or `stop`; SIGHUP reloads."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        await self._stopping.wait()
        self._supervisor.stopping()
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
        await self._following.close()
        await self._control.close()
        await self._close_sockets()
        await self.resolver.close()
        await self.hotline.close()
        await self.upstreams.close()
        self._note_sightings()
        self._flush_history()
        await asyncio.get_running_loop().run_in_executor(None, self.memory.writer.close)
        self.clock.close()
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
            if look_at_clock(self.clock, self.upstreams.status):
                self._judge_by_clock()
            if self.memory.is_due():
                self._flush_history()
            self.live.tick(tell_time())
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                self.look_around()
                if self._control_missing:
                    await self._open_missing_control()
            if time.monotonic() - self._noted >= SIGHTING_SECONDS:
                self._note_sightings()
                if self.home.household_error:
                    await self._reload_by_signal()

    def _judge_by_clock(self) -> None:
        """The clock was set, or is believed no more, or at last: all moments are other moments now."""
        if is_confirmed() and not self._was_confirmed:
            self._replace_upstreams()  # connections were made while no certificate's dates could be looked at
        self._was_confirmed = is_confirmed()
        self._replace_policy()
        if self.flows is not None:
            self.flows.set_clock()
        self.live.publish("change", what="household")

    def look_around(self) -> None:
        """Note who has shown a sign of life since the last look, and tell who came and who went."""
        self._looked = time.monotonic()
        self.presence.note_clients(self.clients.take_seen(), self._looked)
        self.presence.tell_changes(self.live, self.identity.find, self._looked)

    def _note_sightings(self) -> None:
        self.look_around()
        self._noted = time.monotonic()
        then = tell_time() - self._noted
        seen = ((mac, sign.address, then + sign.last) for mac, sign in self.presence.take_unsaved())
        self.memory.note_sightings(seen, self.identity.leases)

    def _flush_history(self) -> None:
        self.core.flush()
        self.memory.flush()

    # Changing

    async def reload(self) -> None:
        """Read configuration, household and lists again, and swap. Raises GuardianError; then nothing has changed."""
        async with self._reloading:
            self._supervisor.reloading()
            try:
                with self.reloads.counting():
                    await self._reload()
            finally:
                self._supervisor.ready()

    async def _reload(self) -> None:
        loop = asyncio.get_running_loop()
        written = await loop.run_in_executor(None, load_config, self._config_path)
        config = fit_to_interfaces(written)
        home = await loop.run_in_executor(None, load_home, config, self.home)
        opened = await loop.run_in_executor(None, self.hotline.open, config)
        changed = await loop.run_in_executor(None, read_last_change, config.settings)
        fixed = [
            name
            for name in ("state", "control", "history", "filter")
            if getattr(config, name) != getattr(self.config, name)
        ]
        if written.block.page != self._written.block.page:
            fixed.append("block.page")
        if fixed:
            raise GuardianError(f"{', '.join(fixed)} cannot change while the gateway runs: restart it")
        before = self.config
        await self.listeners.use(config.dns.listen)
        self._flush_history()
        self.memory.forget_narrowed(self.home.household, home.household)
        if changed >= self._paused_at:  # what parents set since then is newer than a pause of the control socket
            self._pauses.clear()
        (before_home, self.home), self.config, self._written = (self.home, home), config, written
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
            self._replace_upstreams()
            self.cache.flush()  # another resolver may see another world
        elif (config.dns.rebinding_protection, config.dns.rebinding_allowed) != (
            before.dns.rebinding_protection,
            before.dns.rebinding_allowed,
        ):
            self.cache.flush()  # what is private was judged when it came
        self.identity.use(home.household, config.local.leases)
        if self.flows is not None:
            self.flows.use(config)
        self.memory.recorder.timezone = home.household.tz
        self.handler.lists = self.hotline.join(home.lists)
        self.core.settling = self.hotline.settling
        self.handler.local = self._local_names()
        self.handler.blocker = self._blocker()
        self.handler.block_ttl = config.block.ttl
        self._tell_who_we_are()
        self.cache.limits = limits_of(config)
        self.clients.budget.limit = entries_of(config)
        self.clients.configure(config.dns.clients, config.dns.rate_limit)
        logging.getLogger().setLevel(config.log_level.upper())
        self._replace_policy()
        if self._page is not None:
            self._page_facts.use(home)
            self._page.use(self._page_facts.settings(config))

    def _replace_upstreams(self) -> None:
        old, self.upstreams = self.upstreams, Upstreams(self.config.upstreams, self.config.forward)
        self.resolver.replace_upstream(self.upstreams)
        self._closing = asyncio.get_running_loop().create_task(old.drain())

    async def _follow_addresses(self) -> bool:
        """Listen where the machine's interfaces are by now, and answer with that; return whether all is well.

        Raises OSError when the kernel does not tell.
        """
        async with self._reloading:
            before, own = self.config, self._own
            self.config = config = fit_to_interfaces(self._written)
            is_moved = config != before or own != find_own_addresses(self.config)
            is_whole = await self.listeners.follow(config.dns.listen)
            if self._page is not None:
                is_whole = await self._page.follow(config.block.page) and is_whole
            if is_moved:
                self._move()
            return is_whole

    def _move(self) -> None:
        """Tell everything that holds our own addresses which they are now."""
        self._own = find_own_addresses(self.config)
        self.handler.local, self.handler.blocker = self._local_names(), self._blocker()
        self._tell_who_we_are()
        self.clients.configure(self.config.dns.clients, self.config.dns.rate_limit)
        if self._page is not None:
            self._page.use(self._page_facts.settings(self.config))
        if self.flows is not None:
            self.flows.use(self.config)
        self._replace_policy()  # ready answers name the block page's old address
        listening = ",".join(format_endpoint(endpoint) for endpoint in self.listeners.endpoints)
        log.info("event=addresses-changed listen=%s", listening)
        self._tell_absent()

    def _tell_absent(self) -> None:
        absent = list_absent((*self._written.dns.listen, *self._written.block.page))
        if absent:
            log.warning("event=no-address interfaces=%s action=wait", ",".join(absent))

    def judge_site(self, device: str, name: bytes, now: float) -> Decision:
        """Return the decision about a wire name for a named device (by id), also by what its last answer led to."""
        return self._page_facts.judge(posture_of(self.policy, device, now), name)

    def pause(self, name: str, until: float) -> None:
        """Pause a profile or device id until a moment (epoch seconds, 0 = not), on top of what parents set."""
        self._pauses[name] = until
        self._paused_at = tell_time()
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
        clock_unset = self.clock.state is State.WAITING
        self.policy = self.home.compile(self._pauses, self._usage, lists=lists, clock_unset=clock_unset)
        self.clients.replace_policy(self.policy)
        if self.flows is not None:
            self.flows.replace_policy(self.policy, lists)


def _second() -> int:
    return int(time.monotonic())


def _call_later(seconds: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, call)
