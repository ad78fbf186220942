"""Checks of the settings that span keys: each problem with its place."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from guardian.config.text import Endpoint, Upstream
from guardian.config.values import BlockMode, Config, FilterConfig, HotlineConfig, MandatoryList, WebConfig
from guardian.errors import Problem
from guardian.names import format_name
from guardian.typed_yaml import Locate


def check_config(config: Config, locate: Locate) -> list[Problem]:
    """Return what is wrong between the settings; each by itself is right."""
    problems = [
        *_check_listeners(config, locate),
        *_check_upstreams(config, locate),
        *_check_block(config, locate),
        *check_mandatory(config.lists.mandatory, locate),
        *_check_filter(config.filter, locate),
        *_check_web(config.web, locate),
        *check_hotline(config.hotline, locate),
    ]
    if not config.dns.clients:
        problems.append(
            Problem(
                locate("dns", "clients"),
                "'clients' is empty: nobody would get an answer; leave it out for the home's networks",
            )
        )
    if config.dns.min_ttl > config.dns.max_ttl:
        problems.append(Problem(locate("dns", "min_ttl"), f"'min_ttl' is above 'max_ttl' ({config.dns.max_ttl})"))
    if not config.languages:
        problems.append(Problem(locate("languages"), "'languages' is empty: pages need one; leave it out for all"))
    elif locate.is_given("language") and config.language not in config.languages:
        known = ", ".join(config.languages)
        problems.append(Problem(locate("language"), f"'{config.language}' is none of 'languages': {known}"))
    if not config.state:
        problems.append(Problem(locate("state"), "'state' is empty: it names the directory of all that Guardian keeps"))
    return problems


def _check_listeners(config: Config, locate: Locate) -> Iterator[Problem]:
    if not config.dns.listen:
        yield Problem(locate("dns", "listen"), "'listen' is empty: nobody could ask")
    taken: dict[Endpoint, str] = {}
    sections = (
        ("dns", "listen", config.dns.listen),
        ("block", "page", config.block.page),
        ("web", "listen", config.web.listen),
    )
    for section, key, endpoints in sections:
        for index, endpoint in enumerate(endpoints):
            if endpoint in taken:
                yield Problem(locate(section, key, index), f"'{endpoint}' is already taken by '{taken[endpoint]}'")
            taken.setdefault(endpoint, f"{section}.{key}")


def _check_upstreams(config: Config, locate: Locate) -> Iterator[Problem]:
    if not config.upstreams.servers:
        yield Problem(locate("upstreams", "servers"), "'servers' is empty: nobody would answer")
    groups: list[tuple[tuple[str | int, ...], tuple[Upstream, ...]]] = [
        (("upstreams", "servers"), config.upstreams.servers),
        (("upstreams", "bootstrap"), config.upstreams.bootstrap),
    ]
    seen: set[bytes] = set()
    for index, forward in enumerate(config.forward):
        groups.append((("forward", index, "upstreams"), forward.upstreams))
        if not forward.upstreams:
            yield Problem(locate("forward", index, "upstreams"), "'upstreams' is empty: nobody would answer")
        if forward.domain in seen:
            yield Problem(locate("forward", index), f"'{format_name(forward.domain)}' is forwarded twice")
        seen.add(forward.domain)
    for path, upstreams in groups:
        for index, upstream in enumerate(upstreams):
            for message in _check_upstream(upstream, config, path[-1] == "bootstrap"):
                yield Problem(locate(*path, index), message)


def _check_upstream(upstream: Upstream, config: Config, is_bootstrap: bool) -> Iterator[str]:
    hosts = upstream.addresses or ((upstream.host,) if _is_address(upstream.host) else ())
    if not hosts and is_bootstrap:
        yield f"'{upstream.label}': a bootstrap upstream needs an address: write it bare or behind '@'"
    elif not hosts and not config.upstreams.bootstrap:
        yield (
            f"'{upstream.label}' has no address: add it behind '@' (tls://name@192.0.2.1), "
            "or give 'bootstrap' upstreams that resolve the name"
        )
    for host in hosts:
        own = next((own for own in config.dns.listen if _is_loop(host, upstream.port, own, config)), None)
        if own is not None:
            yield f"'{upstream.label}' is Guardian's own address ({own}): its questions would go round in a circle"


def _is_loop(host: str, port: int, own: Endpoint, config: Config) -> bool:
    if port != own.port or own.is_interface:
        return False
    if host == own.host:
        return True
    address, listening = ipaddress.ip_address(host), ipaddress.ip_address(own.host)
    if not listening.is_unspecified:
        return False
    return address.is_loopback or address.is_unspecified or host in config.local.addresses


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check_block(config: Config, locate: Locate) -> Iterator[Problem]:
    # Only what somebody wrote: without it the answer is the asked interface's own address, and that blocks too.
    if config.block.page or config.local.addresses:
        return
    for key, mode in (("mandatory", config.block.mandatory), ("other", config.block.other)):
        if mode is BlockMode.PAGE and locate.is_given("block", key):
            yield Problem(
                locate("block", key),
                f"'{key}: page' needs an address: give one in 'block.page' or 'local.addresses', or say nxdomain",
            )


def check_mandatory(lists: Iterable[MandatoryList], locate: Locate) -> Iterator[Problem]:
    """Yield what is wrong with `lists.mandatory`."""
    seen: set[str] = set()
    for index, entry in enumerate(lists):
        if entry.name in seen:
            yield Problem(locate("lists", "mandatory", index), f"the mandatory list '{entry.name}' is given twice")
        seen.add(entry.name)
        if not entry.file:
            yield Problem(locate("lists", "mandatory", index), f"the mandatory list '{entry.name}' needs a file")


def _check_web(config: WebConfig, locate: Locate) -> Iterator[Problem]:
    if not config.clients:
        message = "'clients' is empty: nobody could open the console; leave it out for the home's networks"
        yield Problem(locate("web", "clients"), message)
    if bool(config.tls.certificate) != bool(config.tls.key):
        given, missing = ("certificate", "key") if config.tls.certificate else ("key", "certificate")
        yield Problem(locate("web", "tls", given), f"'{given}' needs '{missing}' beside it")


def check_hotline(config: HotlineConfig, locate: Locate) -> Iterator[Problem]:
    """Yield what is wrong with `hotline`."""
    if bool(config.url) != bool(config.root):
        given, missing = ("url", "root") if config.url else ("root", "url")
        yield Problem(locate("hotline", given), f"'{given}' needs '{missing}' beside it: a feed and whom to believe")
    push = config.push
    if push.broker is None:
        if locate.is_given("hotline", "push"):
            yield Problem(locate("hotline", "push"), "'push' needs a 'broker', like mqtts://push.example:8883")
        return
    if not config.url:
        yield Problem(locate("hotline", "push"), "'push' tells of a feed that is not there: add 'url' and 'root'")
    if bool(push.certificate) != bool(push.key):
        given, missing = ("certificate", "key") if push.certificate else ("key", "certificate")
        yield Problem(locate("hotline", "push", given), f"'{given}' needs '{missing}' beside it")
    if bool(push.user) != bool(push.password):
        given, missing = ("user", "password") if push.user else ("password", "user")
        yield Problem(locate("hotline", "push", given), f"'{given}' needs '{missing}' beside it")


def _check_filter(config: FilterConfig, locate: Locate) -> Iterator[Problem]:
    for key, names in (("lan", config.lan), ("wan", config.wan)):
        if config.enabled and not names:
            where = locate("filter", key if locate.is_given("filter", key) else "enabled")
            yield Problem(
                where, f"the flow filter stands between '{key}' and others: name its interfaces, see `ip link`"
            )
    taken: dict[str, str] = {}
    for key, names in (("lan", config.lan), ("wan", config.wan)):
        for index, name in enumerate(names):
            if name in taken:
                message = f"'{name}' is already in 'filter.{taken[name]}'"
                yield Problem(locate("filter", key, index), message)
            taken.setdefault(name, key)
