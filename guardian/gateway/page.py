"""What the block page may know: why a name is blocked for the device that asks, and what holds for that device."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING

from guardian.blockpage import BlockInfo, DeviceInfo, LegalNotice, PageSettings, country_of
from guardian.clock import tell_time
from guardian.config import Config
from guardian.errors import TextError
from guardian.home import Home
from guardian.names import format_name, parse_name
from guardian.policy.decide import Posture, judge, judge_answer
from guardian.policy.model import Action, Decision, Kind, NameLists
from guardian.resolver.cache import Cache, make_key
from guardian.resolver.clients import Client, Clients
from guardian.wire import dns

if TYPE_CHECKING:
    from guardian.filter.tcp import Answer
    from guardian.gateway.hotline import HotlineLists


class PageFacts:
    """Answers the block page's two questions from the policy in force."""

    def __init__(self, home: Home, clients: Clients, cache: Cache, hotline: HotlineLists | None = None) -> None:
        self._clients = clients
        self._cache = cache
        self._hotline = hotline
        self.use(home)

    def use(self, home: Home) -> None:
        """Answer by other settings and lists from now on."""
        self.home = home
        self._lists: NameLists = home.lists if self._hotline is None else self._hotline.join(home.lists)
        self._notices: Mapping[str, LegalNotice] = {} if self._hotline is None else self._hotline.notices

    async def settle(self, address: str, host: str) -> None:
        """Let the hotline's lists be asked for `host`, if they must be, before `explain` is."""
        if self._hotline is not None and self._hotline.listed is not None:
            try:
                name = parse_name(host)
            except TextError:
                return
            await self._hotline.settle(name, ipaddress.ip_address(address).packed)

    def settings(self, config: Config) -> PageSettings:
        """Return what is the same on every page."""
        household, catalogue = self.home.household, self.home.catalogue
        return PageSettings(
            names=frozenset({format_name(config.local.name)}),
            language=household.language if household.language in config.languages else config.language,
            languages=config.languages,
            country=household.country or country_of(household.timezone),
            helplines=catalogue.helplines,
            categories=catalogue.category_texts,
            support=config.block.support,
            console=config.web.listen,
            is_console_encrypted=config.web.tls.enabled,
        )

    def describe(self, address: str) -> DeviceInfo | None:
        """Return what holds for the device at a text address, or None for strangers."""
        client = self._find(address, tell_time())
        if client is None:
            return None
        profile = self._profile(client.posture.profile)
        return DeviceInfo(client.posture.filtered, *profile)

    def explain(self, address: str, host: str) -> BlockInfo | None:
        """Return why `host` is blocked for the device at a text address, or None when it is not."""
        now = tell_time()
        client = self._find(address, now)
        if client is None:
            return None
        try:
            name = parse_name(host)
        except TextError:
            return None
        decision = self.judge(client.posture, name)
        if decision.action is not Action.BLOCK:
            return None
        return self._inform(decision, client.device, client.posture.profile, now)

    def describe_flow(self, answer: Answer) -> tuple[BlockInfo, str]:
        """Return why a plain HTTP request was blocked, and its host."""
        now = tell_time()
        devices = {device.id: device.profile for device in self.home.household.devices}
        profile = devices.get(answer.who.device, self.home.household.new_device_profile)
        host = format_name(answer.names[0]) if answer.names else ipaddress.ip_address(answer.key.destination).compressed
        return self._inform(answer.decision, answer.who.device, profile, now), host

    def _inform(self, decision: Decision, device: str, profile: str, now: float) -> BlockInfo:
        kind, _, service = decision.rule.partition(":")
        known = self.home.catalogue.services.get(service) if kind in ("service", "minutes", "clock") else None
        return BlockInfo(
            reason=decision.reason,
            rule=decision.rule,
            until=decision.until,
            now=now,
            tz=self.home.household.tz,
            language=self._profile(profile)[1],
            service=known.name if known else "",
            legal=self._notices.get(decision.rule, LegalNotice()),
            is_named=bool(device),
        )

    def judge(self, posture: Posture, name: bytes) -> Decision:
        """Return the decision about a wire name (lower case), also by what its last answer led to."""
        lists = self._lists
        decision = judge(posture, Kind.DNS_QUERY, name, lists.lookup(name))
        if decision.action is not Action.ALLOW:
            return decision
        if self._hotline is not None and (lead := self._hotline.find_lead(name)) is not None:
            return lead
        ways = product((dns.TYPE_A, dns.TYPE_AAAA), (False, True), (False, True))
        for qtype, dnssec_ok, checking_disabled in ways:
            entry = self._cache.get(make_key(name, qtype, dnssec_ok, checking_disabled), int(time.monotonic()))
            for target in entry.revealed if entry else ():
                seen = judge_answer(posture, decision, target, lists.lookup(target))
                if seen.action is Action.BLOCK:
                    return seen
        return decision

    def _find(self, address: str, now: float) -> Client | None:
        return self._clients.find(ipaddress.ip_address(address).packed, now)

    def _profile(self, profile_id: str) -> tuple[str, str]:
        """The name and the language of a profile id."""
        for profile in self.home.household.profiles:
            if profile.id == profile_id:
                return profile.name, profile.language
        return "", ""
