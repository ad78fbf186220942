"""The home's own network gets other addresses while Guardian runs, with the flow filter.

Invariant: a device that has its new address is the same device within seconds: names, the block page, foreign DNS that
is led back, and flows that are stopped, without a restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.gateway.product import wait_for
from tests.netns.lab import plan
from tests.netns.lab.device import Device
from tests.netns.lab.home import World

BLOCKED = plan.SITES["blocked.example"]
NEW4 = "10.78.0"
SECONDS = 10.0  # listeners settle in 0.3 s, and try again every 5 s what is not there yet
Record = Callable[[str, object], None]


def renumber(device: Device | World, interface: str, host: int) -> None:
    lines = [f"addr flush dev {interface} scope global", f"addr add {NEW4}.{host}/24 dev {interface}"]
    lines.append(f"addr add {plan.HOME6}{host}/64 dev {interface} nodad")
    text = "\n".join(lines) + "\n"
    if isinstance(device, Device):
        text += f"route replace default via {NEW4}.1\nroute replace default via {plan.HOME6}1\n"
        done = device.run("ip", "-batch", "-", stdin=text)
    else:
        done = device.on("router", "ip", "-batch", "-", stdin=text)
    assert done.returncode == 0, done.stderr


def is_filtered(tablet: Device, router: str) -> bool:
    """Whether the blocked name leads to this router and its page, however the tablet asks."""
    for server in (router, plan.wan4(plan.FOREIGN)):
        if tablet.dig(BLOCKED.name, server=server, timeout=1) != [router]:
            return False
    return "Guardian" in tablet.fetch(f"http://{BLOCKED.name}/", resolve={BLOCKED.name: router}, timeout=3).body


def test_renumbered(world: World, tmp_path: Path, record_property: Record) -> None:
    folder = tmp_path / "box"
    folder.mkdir()
    more: dict[str, Any] = {
        "dns": {"listen": ["br-lan:53", "127.0.0.1:53"]},
        "block": {"page": ["br-lan:80"]},
        "local": {"addresses": []},
    }
    with world.protected(folder, filter=True, more=more) as lab:
        wait_for(lambda: is_filtered(lab.tablet, plan.home4("router")), SECONDS)
        renumber(world, "br-lan", 1)
        renumber(lab.tablet, "eth0", plan.HOSTS["tablet"])
        renumber(lab.phone, "eth0", plan.HOSTS["phone"])
        started = time.monotonic()
        wait_for(lambda: is_filtered(lab.tablet, f"{NEW4}.1"), SECONDS)
        seconds = time.monotonic() - started
        print(f"renumbered: filtered again after {seconds:.2f} s")
        record_property("renumbered_seconds", round(seconds, 2))
        at_blocked = {BLOCKED.name: BLOCKED.four}
        assert not lab.tablet.fetch(f"https://{BLOCKED.name}/", resolve=at_blocked, timeout=2).ok
        assert lab.phone.fetch(f"https://{BLOCKED.name}/", resolve=at_blocked).ok, "a parent's phone, by its MAC"
        open_site = plan.SITES["www.open.example"]
        assert lab.tablet.fetch(f"https://{open_site.name}/", resolve={open_site.name: open_site.four}).ok
        assert lab.guardian.status()["filter"]["problem"] == ""
        assert f"{NEW4}.1:53" in lab.guardian.status()["listen"]
