"""The flow filter at work: engine, queue, the kernel's rules and marks, kept true to the policy. Composition only.

What changes (a policy, a moment, an interface, somebody's `nft flush ruleset`) wakes one task, the keeper. It compares
what the kernel was told with what holds now, and tells the difference. Nothing is polled but the flow counters.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC
from typing import Any, NamedTuple

from guardian.clock import tell_time
from guardian.config import Config, Endpoint, OnFailure, QuicMode
from guardian.config.text import read_interface
from guardian.errors import GuardianError, TextError
from guardian.filter import marks, nftables
from guardian.filter.conntrack import Conntrack
from guardian.filter.engine import Engine
from guardian.filter.judge import FlowLists, Judge, Notes, Who
from guardian.filter.judged import FlowKey, JudgedFlow
from guardian.filter.nftables import Monitor, QueueForm
from guardian.filter.openssl import load_cipher
from guardian.filter.queue import Queue
from guardian.filter.reply import build_reply
from guardian.filter.ruleset import Listener, Plan
from guardian.filter.sysctls import Sysctl, apply_sysctls, find_wrong_sysctls, restore_sysctls
from guardian.filter.tcp import Answer
from guardian.gateway.minutes import MinutesCounter
from guardian.gateway.redirects import RedirectCounter
from guardian.gateway.rules import Rules
from guardian.links import Links
from guardian.policy.compile import Policy
from guardian.policy.model import Decision, Household, Kind, Reason, Schedule
from guardian.policy.posture import posture_of
from guardian.store.history_record import Recorder
from guardian.store.slots import assign_slots, load_slots, save_slots
from guardian.supervisor.watchdog import FEED_SECONDS, Watchdog
from guardian.wire.ip import TCP, UDP

log = logging.getLogger(__name__)

SAMPLE_SECONDS = 15.0  # between two readings of the flow counters
AGE_SECONDS = 5.0
LONGEST_SLEEP = 60.0  # seconds; wall clocks drift
RETRY_SECONDS = 1.0  # after the kernel refused


class Surroundings(NamedTuple):
    """What the gateway lends: who a device is, where to note decisions, the block page, DNS to forget, who is here."""

    identify: Callable[[bytes, bytes | None], str]
    recorder: Recorder
    compose_page: Callable[[Answer], Awaitable[bytes]]
    forget_clients: Callable[[], None]
    note_traffic: Callable[[set[bytes]], None]  # of packed addresses
    settle: Callable[[bytes, bytes], None] = lambda name, asker: None  # a name that a slow list is asked about


class FlowFilter:
    """The running flow filter. `start`, then `replace_policy` at every change, and `close`."""

    def __init__(self, config: Config, policy: Policy, lists: FlowLists, surroundings: Surroundings) -> None:
        self._config = config
        self._around = surroundings
        notes = Notes(self._note_attempt, self._note_block)
        self.judge = Judge(policy, lists, surroundings.identify, notes, surroundings.settle)
        cipher = load_cipher()
        inspects = config.filter.quic is QuicMode.INSPECT
        self.engine = Engine(self.judge, self._answer, cipher, inspects, self._forget_carried)
        self._slots_path = f"{config.state}/slots.json"
        self._slots = load_slots(self._slots_path)
        self._has_unsaved_slots = False
        self._wake = asyncio.Event()
        self._is_new_policy = False
        self._told: Plan | None = None  # what the kernel has
        self._rules = Rules()
        self._ending: list[FlowKey] = []
        self._problem = ""
        self._queue: Queue | None = None
        self._conntrack: Conntrack | None = None
        self._monitor: Monitor | None = None
        self._links: Links | None = None
        self._lan_links: dict[int, str] = {}  # index -> the name in the configuration
        self._raw: dict[int, socket.socket] = {}  # by bytes of an address
        self._watchdog = Watchdog()
        self._sysctls: list[Sysctl] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._repairs = 0

    # Beginning and end

    async def start(self) -> None:
        """Take over the forwarding of the home's flows. Raises GuardianError; nothing is left behind then."""
        loop = asyncio.get_running_loop()
        try:
            self._rules.form = await loop.run_in_executor(None, nftables.find_queue_form)
            if self._rules.form is QueueForm.NONE:
                raise GuardianError("this kernel can queue no packets for the flow filter: see `guardian doctor`")
            self._conntrack = Conntrack.open()
            self._minutes = MinutesCounter(self._conntrack, self.engine.judged, self._around.recorder)
            self._minutes.use(self.judge.policy)
            self._redirects = RedirectCounter(self._conntrack)
            self._links = Links.open(self._on_links)
            self._note_links()
            self._queue = Queue.open(self._config.filter.queue, self._judge_packet)
            self._open_raw()
            loop.add_reader(self._queue.fileno(), self._queue.on_readable)
            self._assign_slots()
            self._take_over_flows()
            self._monitor = Monitor.open(self._on_touched)  # before the first load, so that nothing goes unseen
            before = find_wrong_sysctls()  # for our rules the kernel switches accounting on by itself
            await self._load_rules(self._plan(tell_time()))
            applied = apply_sysctls()
            known = {setting.name for setting in applied}
            self._sysctls = applied + [setting for setting in before if not (setting.failure or setting.name in known)]
        except (GuardianError, OSError) as error:
            await self.close()
            raise GuardianError(f"the flow filter cannot start: {error}") from None
        for setting in self._sysctls:
            if setting.failure:
                log.warning("event=sysctl-not-set name=%s error=%r", setting.name, setting.failure)
        loop.add_reader(self._links.fileno(), self._links.on_readable)
        loop.add_reader(self._monitor.fileno(), self._monitor.on_readable)
        for work in (self._keep(), self._sample(), self._age(), self._feed()):
            task = loop.create_task(work)
            task.add_done_callback(self._on_task_end)
            self._tasks.add(task)
        self._start_watchdog()
        log.info(
            "event=filter-started form=%s lan=%s", self._rules.form.name.lower(), ",".join(self._config.filter.lan)
        )

    def _start_watchdog(self) -> None:
        try:
            self._watchdog.start()
        except GuardianError as error:
            log.warning("event=no-watchdog error=%r", str(error))

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        """Without one of its tasks the filter would grow old unnoticed: unfed, the watchdog ends the gateway."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("event=filter-task-failed error=%r action=end", error, exc_info=error)
            for other in self._tasks:
                other.cancel()

    def _open_raw(self) -> None:
        """Sockets that send the block page in a server's name; without them a blocked request is reset."""
        for size, family in ((4, socket.AF_INET), (16, socket.AF_INET6)):
            try:
                raw = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)
            except OSError as error:
                log.warning("event=no-page-in-flows error=%r", error.strerror)
                return
            self._raw[size] = raw

    async def close(self) -> None:
        """Give the flows back to the kernel: no rule of ours stays. What was judged goes on unharmed."""
        loop = asyncio.get_running_loop()
        self._watchdog.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        try:
            await loop.run_in_executor(None, self._rules.remove)
        except GuardianError as error:
            log.error("event=rules-left error=%r", str(error))
        restore_sysctls(self._sysctls)
        for part in (self._queue, self._monitor, self._links):
            if part is not None:
                loop.remove_reader(part.fileno())
                part.close()
        if self._conntrack is not None:
            self._conntrack.close()
        for raw in self._raw.values():
            raw.close()
        self._queue = self._monitor = self._links = self._conntrack = None

    # What is told

    def replace_policy(self, policy: Policy, lists: FlowLists) -> None:
        """Decide by another policy from now on; running flows are judged anew within the second."""
        self._is_new_policy |= says_else(self.judge.policy, policy) or is_other(self.judge.lists, lists)
        self.judge.replace(policy, lists)
        self.judge.given.keep({device.id for device in policy.household.devices} | {""})
        if self._conntrack is not None:
            self._minutes.use(policy)
        self._assign_slots()
        self._wake.set()

    def judge_again(self) -> None:
        """A name that flows may run to has turned out to be listed."""
        self._wake.set()

    def set_clock(self) -> None:
        """The wall clock was set: all moments are other moments now."""
        self.judge.forget()
        self._wake.set()

    def forget_address(self, address: bytes) -> None:
        """Another device has this address now."""
        self.judge.forget()
        self._wake.set()

    def _on_links(self) -> None:
        self._note_links()
        self._wake.set()

    def _note_links(self) -> None:
        """Follow the home's interfaces by their index: one that is renamed is still the home's."""
        assert self._links is not None
        names = self._links.names()
        wanted = set(self._config.filter.lan)
        self._lan_links = {index: name for index, name in self._lan_links.items() if index in names}
        self._lan_links |= {index: name for index, name in names.items() if name in wanted}
        for index, name in self._lan_links.items():
            if names[index] != name and names[index] not in wanted:
                log.warning("event=interface-renamed before=%s now=%s action=follow", name, names[index])
        for name in wanted - set(self._lan_links.values()):
            log.warning("event=interface-missing name=%s", name)

    def _on_touched(self) -> None:
        log.warning("event=rules-touched by=others action=load-again")
        self._told = None
        self._repairs += 1
        self._wake.set()

    # The keeper

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._seconds_to_next())
            self._wake.clear()
            try:
                await self._settle()
                self._problem = ""
            except (GuardianError, OSError) as error:
                if self._problem != str(error):
                    log.error("event=filter-behind error=%r retry=%.0f", str(error), RETRY_SECONDS)
                self._problem = str(error)
                self._told = None
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    def _seconds_to_next(self) -> float:
        now = tell_time()
        until = min(self.judge.posture(device, now).until for device in ("", *self._slots))
        return min(max(until - now, 0.0), LONGEST_SLEEP)

    async def _settle(self) -> None:
        """Make the kernel's rules and the running flows what the policy says now."""
        now = tell_time()
        is_new, self._is_new_policy = self._is_new_policy, False
        plan = self._plan(now)
        if plan != self._told:
            await self._load_rules(plan)
        self._ending += [key for key, _ in self.engine.review(tell_time(), is_new)]
        is_carried = bool(self._ending) and self._rules.is_offloading
        self._end_flows()
        if is_carried:  # the flowtable looks at no marks: a new one is empty, and each flow meets its mark again
            await self._load_rules(plan)

    def _plan(self, now: float) -> Plan:
        policy, config = self.judge.policy, self._config
        devices = policy.household.devices
        slot = self._slots
        postures = {slot[device]: self.judge.posture(device, now) for device in slot}
        postures[marks.UNKNOWN_SLOT] = self.judge.posture("", now)
        names = self._links.names() if self._links is not None else {}
        renamed = {names[index] for index in self._lan_links if index in names and is_interface(names[index])}
        return Plan(
            lan=tuple(dict.fromkeys((*config.filter.lan, *sorted(renamed)))),
            queue=config.filter.queue,
            fails_open=config.filter.on_failure is OnFailure.OPEN,
            macs=tuple((mac, slot[device.id]) for device in devices if device.id in slot for mac in device.macs),
            networks=tuple(
                (address, slot[device.id])
                for device in devices
                if device.id in slot and not device.macs
                for address in device.addresses
            ),
            stopped=tuple(number for number, posture in postures.items() if posture.stop is not None),
            redirected=tuple(number for number, posture in postures.items() if posture.bypass_protection),
            dns4=find_listener(config.dns.listen, is_v6=False),
            dns6=find_listener(config.dns.listen, is_v6=True),
            offload=self._offloaded(set(names.values()), renamed),
        )

    def _offloaded(self, present: set[str], renamed: set[str]) -> tuple[str, ...]:
        """The interfaces for the flowtable, which takes none that is not there."""
        settings = self._config.filter
        if not settings.offload:
            return ()
        return tuple(sorted(present & {*settings.lan, *settings.wan, *renamed}))

    def use(self, config: Config) -> None:
        """Send redirected DNS to where the gateway listens by now; `filter` itself is that of the start."""
        self._config = config
        self._wake.set()

    async def _load_rules(self, plan: Plan) -> None:
        repairs, is_repair = self._repairs, self._told is None
        await asyncio.get_running_loop().run_in_executor(None, self._rules.load, plan, is_repair)
        if self._repairs == repairs:  # else somebody touched them meanwhile, and they are loaded again
            self._told = plan

    def _end_flows(self) -> None:
        """Refuse the flows of `_ending`. Raises OSError and GuardianError when they must wait."""
        assert self._conntrack is not None
        keys = [key for key in self._ending if key.protocol in (TCP, UDP)]
        if portless := set(self._ending) - set(keys):  # the kernel knows them by ids that we don't
            with contextlib.closing(Conntrack.open()) as table:  # minutes may be reading ours
                for flows in table.dump(marks.ALLOWED, marks.ALLOWED):
                    keys += [FlowKey(*flow[:5]) for flow in flows if (flow[0], flow[1], 0, flow[3], 0) in portless]
        for key in keys:
            try:
                self._conntrack.set_mark(*key, marks.REFUSED, marks.FLOW_MASK)
            except OSError as error:
                log.warning("event=flow-not-ended protocol=%d error=%r", key.protocol, error.strerror)
        if self._ending:
            log.info("event=flows-ended count=%d", len(self._ending))
        self._ending.clear()

    def _assign_slots(self) -> None:
        devices = [device.id for device in self.judge.policy.household.devices]
        slots = assign_slots(devices, self._slots, marks.MAX_SLOTS)
        if len(slots) < len(devices):
            log.warning("event=too-many-devices without_slot=%d rules=new-devices", len(devices) - len(slots))
        if slots != self._slots:
            self._slots = slots
            self._save_slots()

    def _save_slots(self) -> None:
        try:
            save_slots(self._slots_path, self._slots)
        except GuardianError as error:  # a full disk must not keep a new policy from the flows
            if not self._has_unsaved_slots:
                log.error("event=slots-not-saved error=%r action=try-again", str(error))
            self._has_unsaved_slots = True
        else:
            self._has_unsaved_slots = False

    def _take_over_flows(self) -> None:
        """Adopt the flows that a gateway before this one has judged: they never notice."""
        assert self._conntrack is not None
        devices = self._devices_by_slot()
        now = tell_time()
        for flows in self._conntrack.dump(marks.ALLOWED, marks.ALLOWED):  # WATCHED ones too
            for flow in flows:
                device = devices.get(flow.mark >> marks.SLOT_SHIFT)
                if device is not None:
                    judged = JudgedFlow(
                        Who(device, None), Kind.ADDRESS, b"", "", flow.mark & marks.FLOW_MASK, now, is_adopted=True
                    )
                    self.engine.judged.add(FlowKey(*flow[:5]), judged)

    def _devices_by_slot(self) -> dict[int, str]:
        return {slot: device for device, slot in self._slots.items()} | {marks.UNKNOWN_SLOT: ""}

    # Packets

    def _judge_packet(self, data: bytes, mac: bytes | None, mark: int) -> int:
        return self.engine.handle(data, mac, tell_time())

    def _answer(self, answer: Answer) -> bool:
        raw = self._raw.get(len(answer.key.source))
        if raw is None:
            return False
        task = asyncio.get_running_loop().create_task(self._send_page(raw, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _send_page(self, raw: socket.socket, answer: Answer) -> None:
        host = socket.inet_ntop(raw.family, answer.key.source)
        try:
            for packet in build_reply(answer, await self._around.compose_page(answer)):
                raw.sendto(packet, (host, 0))
        except OSError as error:
            log.warning("event=page-not-sent error=%r", error.strerror)

    def _forget_carried(self, key: FlowKey) -> bool:
        """Forget a flow that the fast path may have carried, and that is opened anew; False when it never does.

        The kernel never again holds such a flow to its TCP windows (nft_flow_offload.c), and the engine relies on them:
        the SYN is dropped, and the next one opens a flow that is watched.
        """
        if not self._config.filter.offload or self._conntrack is None:
            return False
        try:
            self._conntrack.delete(*key)
        except OSError as error:  # EBUSY: it is being carried, so its packets do not come here for long
            log.info("event=flow-not-forgotten protocol=%d error=%r", key.protocol, error.strerror)
        return True

    def _note_attempt(self, who: Who, kind: str, now: float) -> None:
        self._around.recorder.note_attempt(who.device, who.mac, kind, 1, now)

    def _note_block(self, who: Who, name: bytes, decision: Decision, now: float) -> None:
        if not name and decision.reason is not Reason.MANDATORY:
            return  # a flow without a name is told by the alerts, or was its DNS query's echo
        posture = self.judge.posture(who.device, now)
        self._around.recorder.add(
            int(now) // 3600,
            who.device,
            name or None,
            decision.action.value,
            decision.reason.value,
            decision.rule,
            1,
            now,
            posture.visibility,
        )

    # Now and then

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            if self._has_unsaved_slots:
                self._save_slots()
            try:
                grown = await self._minutes.sample(self._devices_by_slot(), self.judge.policy)
                self._around.note_traffic(self._minutes.take_moved())
                for device, count in (await self._redirects.sample(self._devices_by_slot())).items():
                    self._around.recorder.note_attempt(device, None, "dns", count, tell_time())
            except (GuardianError, OSError) as error:
                log.warning("event=minutes-not-counted error=%r", str(error))
                continue
            if self._has_spent(grown):
                self.judge.forget()
                self._around.forget_clients()
                self._wake.set()

    def _has_spent(self, profiles: set[str]) -> bool:
        """Whether the minutes that were counted just now change what a device may do."""
        now = tell_time()
        policy = self.judge.policy
        for device in ("", *(device.id for device in policy.household.devices)):
            before = self.judge.posture(device, now)
            if before.profile in profiles:
                after = posture_of(policy, device, now)
                if (before.stop, before.spent) != (after.stop, after.spent):
                    return True
        return False

    async def _age(self) -> None:
        while True:
            await asyncio.sleep(AGE_SECONDS)
            self.engine.age(tell_time())

    async def _feed(self) -> None:
        while True:
            self._watchdog.feed()
            await asyncio.sleep(FEED_SECONDS)

    def status(self) -> dict[str, Any]:
        """Return the filter's part of `guardian status`."""
        engine, verdicts = self.engine, self.engine.verdicts
        return {
            "enabled": True,
            "form": self._rules.form.name.lower(),
            "problem": self._problem,
            "repairs": self._repairs,
            "offload": self._rules.is_offloading,
            "no_offload": self._rules.no_offload,
            "undecided": len(engine.tcp) + len(engine.udp),
            "held_bytes": engine.tcp.held_bytes,
            "running": len(engine.judged),
            "packets": sum(verdicts.values()),
            "allowed": sum(verdicts[mark] for mark in (1, 3, 5, 7)),
            "refused": verdicts[marks.REFUSED] + verdicts[marks.ANSWERED],
            "dropped": verdicts[marks.DROP],
            "malformed": engine.malformed,
            "given_addresses": self.judge.given.count(),
            "queue": self._queue.status()._asdict() if self._queue is not None else {},
            "stopped": len(self._told.stopped) if self._told is not None else 0,
        }


def says_else(before: Policy, now: Policy) -> bool:
    """Tell whether another policy may block names that were allowed before: more than its stops has changed."""
    if before.clock_unset != now.clock_unset:  # services with hours or minutes of their own
        return True
    return _without_stops(before) != _without_stops(now) or is_other(before.addresses, now.addresses)


def _without_stops(policy: Policy) -> Household:
    """The household without what stops a device as a whole: the kernel does that by slots, whatever a flow's name."""
    household = policy.household
    profiles = (
        replace(profile, paused_until=0.0, schedule=Schedule(), minutes=(), week_minutes=None, bonuses=())
        for profile in household.profiles
    )
    devices = (replace(device, paused_until=0.0) for device in household.devices)
    return replace(household, tz=UTC, profiles=tuple(profiles), devices=tuple(devices))


def is_other(before: object, now: object) -> bool:
    """Tell whether lists are others than before, by when they were compiled and how much they hold."""
    facts = ("created", "size", "count", "edition")
    return any(getattr(before, fact, None) != getattr(now, fact, None) for fact in facts)


def is_interface(name: str) -> bool:
    """Tell whether an interface may stand in the rules: the kernel allows names that nft cannot quote."""
    try:
        return read_interface(name) == name
    except TextError:
        log.warning("event=interface-not-followed name=%r", name)
        return False


def find_listener(endpoints: tuple[Endpoint, ...], is_v6: bool) -> Listener:
    """Return where redirected DNS of one family goes: an endpoint that the home can reach, port 53 if there is one."""
    mine = [
        endpoint
        for endpoint in endpoints
        if (":" in endpoint.host) == is_v6 and not endpoint.host.startswith("127.") and endpoint.host != "::1"
        if "%" not in endpoint.host  # a link-local address is no target for what was meant for others
    ]
    mine.sort(key=lambda endpoint: endpoint.port != 53)
    if not mine:
        return Listener("", 53)  # somebody else answers there and asks us: dnsmasq
    host = mine[0].host
    return Listener("" if host in ("0.0.0.0", "::") else host, mine[0].port)  # noqa: S104
