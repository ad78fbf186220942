"""What is in the way of a plan. Looks only; every obstacle says what to do about it."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import NamedTuple

from guardian.cli.doctor import check_upstreams
from guardian.cli.doctor_machine import FAIL
from guardian.config import parse_config
from guardian_setup import machine, modes
from guardian_setup.modes import Mode, Plan

_PACKAGES = {"/usr/sbin/dnsmasq": "dnsmasq-base", "/usr/sbin/hostapd": "hostapd", "/usr/sbin/nft": "nftables"}


class Obstacle(NamedTuple):
    """Something in the way, and what to do."""

    message: str
    advice: str


def find_obstacles(plan: Plan) -> tuple[Plan, list[Obstacle], list[str]]:
    """Return the plan as it can be (without a block page where port 80 is taken), what is in the way, and notes."""
    obstacles = [*_look_at_programs(plan), *_look_at_lan(plan)]
    notes: list[str] = []
    own = machine.find_own_processes()
    for port, key in ((modes.DNS_PORT, "dns"), (modes.CONSOLE_PORT, "console")):
        obstacles += [_explain(plan.host, port, key, holder) for holder in machine.find_holders(plan.host, port, own)]
    if holders := machine.find_holders(plan.host, modes.PAGE_PORT, own):
        plan = plan._replace(has_page=False)
        notes.append(
            f"port 80 belongs to {', '.join(holders)}: blocked sites do not open, but show no page that says why"
        )
    config = parse_config(modes.render_settings(plan), modes.SETTINGS)  # raises ConfigError for a wrong --upstream
    if not obstacles:
        for finding in asyncio.run(check_upstreams(config)):
            if finding.level == FAIL:
                obstacles.append(Obstacle(finding.message, f"{finding.advice}; or name another one with --upstream"))
    if plan.mode is Mode.DNS_ONLY:
        notes.append(f"{plan.host} must stay this machine's address: reserve it in your router")
    return plan, obstacles, notes


def _look_at_programs(plan: Plan) -> list[Obstacle]:
    wanted = ["/usr/sbin/nft", "/usr/sbin/dnsmasq"] if plan.mode.is_router else []
    if plan.radio:
        wanted.append("/usr/sbin/hostapd")
    return [
        Obstacle(f"{path} is not installed", f"sudo apt install {_PACKAGES[path]}")
        for path in wanted
        if shutil.which(path) is None
    ]


def _look_at_lan(plan: Plan) -> list[Obstacle]:
    if not plan.mode.is_router:
        return []
    if path := machine.is_in_ifupdown(plan.lan):
        advice = f"take its lines out of {path}: guardian-lan gives it its address"
        return [Obstacle(f"{plan.lan} has settings in {path}", advice)]
    interface = next((it for it in machine.read_interfaces() if it.name == plan.lan), None)
    foreign = [str(it) for it in (interface.addresses if interface else ()) if str(it) != plan.address]
    if foreign and not os.path.exists(modes.LAN):
        advice = "is it really the home's side? Disconnect it from the other network, or name the right one with --lan"
        return [Obstacle(f"{plan.lan} has an address already ({', '.join(foreign)})", advice)]
    return []


def _explain(host: str, port: int, key: str, holder: str) -> Obstacle:
    program = holder.partition(" ")[0]
    if port == modes.DNS_PORT:
        advice = {
            "dnsmasq": "sudo systemctl disable --now dnsmasq (is it NetworkManager's: end its shared connection)",
            "unbound": "sudo systemctl disable --now unbound, or let it listen on 127.0.0.1 only (interface:)",
            "named": "sudo systemctl disable --now named, or let it listen on 127.0.0.1 only (listen-on)",
            "pihole-FTL": "sudo systemctl disable --now pihole-FTL: Guardian takes its place",
        }.get(program, f"stop {program}, or let it leave {host} port 53")
        advice += "; look first that this machine itself does not hang on it: /etc/resolv.conf names whom it asks"
        return Obstacle(f"{host} port 53 belongs to {holder}", advice)
    return Obstacle(f"{host} port {port} ({key}) belongs to {holder}", f"stop {program}, or let it leave that port")
