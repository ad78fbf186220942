"""The whole home: `open_world` makes network and servers, `World.protected` puts Guardian on the router.

with open_world(folder) as world, world.protected(folder) as lab:
    assert lab.tablet.fetch("https://www.open.example/").ok
    assert lab.seen("tls-hello", "www.open.example")
"""

from __future__ import annotations

import contextlib
import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme

from tests.gateway.product import ROOT, Running, compile_starter_image, environment, running
from tests.netns.lab import plan
from tests.netns.lab.device import Device
from tests.netns.lab.network import Network
from tests.netns.lab.seen import SeenReader

if TYPE_CHECKING:
    from tests.netns.lab.hotline import Hotline

FILTER = True  # whether Guardian's flow filter is on where a test does not say


def child(name: str, **more: Any) -> dict[str, Any]:
    """A profile of a filtered child that is online all day; `more` are further keys."""
    blocked = ["blocked.example", "shared.blocked.example"]
    values = {"age": "10-12", "offline": [], "minutes": "unlimited", "block": blocked, "visibility": "names"}
    return {"name": name, **values, **more}


HOUSEHOLD: dict[str, Any] = {
    "timezone": "UTC",
    "language": "en",
    "new_devices": "guests",
    "profiles": {
        "ana": child("Ana"),
        "strict": child("Strict", strict=True),  # DNS first; `household(tablet="strict")` puts the tablet there
        "guests": child("Guests"),
        "parents": {"name": "Parents", "filtered": False, "visibility": "names"},
    },
    "devices": {
        "tablet": {"name": "Ana's tablet", "profile": "ana", "macs": [plan.MACS["tablet"]]},
        "phone": {"name": "Mother's phone", "profile": "parents", "macs": [plan.MACS["phone"]]},
    },
}


def household(*, tablet: str = "ana", **changes: dict[str, Any]) -> dict[str, Any]:
    """The lab's household with the tablet in another profile, or keys replaced: `household(ana={"minutes": 30})`."""
    home = copy.deepcopy(HOUSEHOLD)
    home["devices"]["tablet"]["profile"] = tablet
    for profile, values in changes.items():
        home["profiles"][profile] |= values
    return home


def settings(*, filter: bool) -> dict[str, Any]:
    """What `guardian.yaml` says on the lab's router."""
    hosts = [plan.home4("router"), f"[{plan.home6('router')}]"]
    return {
        "dns": {"listen": [f"{host}:53" for host in (*hosts, "127.0.0.1")], "rate_limit": 0},
        "block": {"page": [f"{host}:80" for host in hosts]},
        "local": {"addresses": []},
        "upstreams": {"servers": [plan.wan4(plan.UPSTREAM), plan.wan6(plan.UPSTREAM)]},
        "filter": {"enabled": filter, "lan": ["br-lan"], "wan": ["wan0"], "on_failure": "open"},
    }


class World:
    """Network, servers and devices, without Guardian. The router routes; nobody answers DNS on it."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.folder = folder
        self.ca = folder / "ca.pem"
        self.seen = SeenReader(folder / "seen")
        self.tablet, self.phone, self.stranger = (Device(role, network.name(role), self.ca) for role in plan.DEVICES)

    @property
    def devices(self) -> tuple[Device, ...]:
        return self.tablet, self.phone, self.stranger

    def log(self) -> str:
        """What the servers complained of."""
        return (self.folder / "internet.log").read_text(errors="replace")

    def on(self, role: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program in the namespace of a role, such as `nft` on the router."""
        command = ["ip", "netns", "exec", self.network.name(role), *words]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=30, check=False, env=environment(), cwd=ROOT
        )

    @contextlib.contextmanager
    def protected(
        self,
        folder: Path,
        *,
        filter: bool | None = None,
        household: dict[str, Any] | None = None,
        more: dict[str, Any] | None = None,
    ) -> Iterator[Lab]:
        """Run Guardian on the router, with its files in `folder`; the kernel forgets the flows of earlier tests first.

        `more` are further keys of guardian.yaml by section: `{"filter": {"quic": "inspect"}}`.
        """
        self.on("router", "conntrack", "-F")
        lists = folder / "state" / "lists"
        lists.mkdir(parents=True)
        (lists / "guardian.image").write_bytes(compile_starter_image())
        values = settings(filter=FILTER if filter is None else filter)
        for section, keys in (more or {}).items():
            values[section] = values.get(section, {}) | keys
        prefix = ("ip", "netns", "exec", self.network.name("router"))
        with running(folder, values, HOUSEHOLD if household is None else household, prefix) as guardian:
            self.seen.forget()
            yield Lab(self, guardian)


class Lab:
    """A world with Guardian on its router."""

    def __init__(self, world: World, guardian: Running) -> None:
        self.world = world
        self.guardian = guardian
        self.network = world.network
        self.seen = world.seen
        self.tablet, self.phone, self.stranger = world.devices
        self.devices = world.devices
        self.on = world.on
        self.hotline: Hotline | None = None  # where there is one

    def has_filter(self) -> bool:
        """Whether the flow filter is in force: its table is in the router's kernel."""
        return "table inet guardian" in self.on("router", "nft", "list", "tables").stdout

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `guardian ...` on the router, as a parent's shell would."""
        return self.on("router", sys.executable, "-m", "guardian", *words, "--config", str(self.guardian.config))

    def set_household(self, household: dict[str, Any]) -> None:
        """Put another household in force, by the command line. Raises AssertionError when Guardian refuses it."""
        self.guardian.household = household
        self.guardian.write()
        done = self.command("household", "import", str(self.guardian.folder / "home.yaml"))
        assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def open_world(folder: Path, *, offload: bool = False, gro: bool = False) -> Iterator[World]:
    """Make the network and start the servers of the internet; see `Network` for `offload` and `gro`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    names = [*plan.SITES, *plan.NAMES_OF_RESOLVERS, "*.any.example", *plan.server_addresses()]
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    (folder / "seen").touch()
    network = Network(offload=offload, gro=gro)
    try:
        with _serving(network, folder):
            yield World(network, folder)
    finally:
        network.close()


@contextlib.contextmanager
def _serving(network: Network, folder: Path) -> Iterator[None]:
    command = ["ip", "netns", "exec", network.name("internet"), sys.executable, "-m", "tests.netns.lab.internet"]
    with (folder / "internet.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(),
            cwd=ROOT,
        )
    assert process.stdin is not None and process.stdout is not None
    with process.stdin, process.stdout:
        try:
            if process.stdout.readline() != b"ready\n":
                raise AssertionError(f"the servers do not start\n{(folder / 'internet.log').read_text()}")
            yield
        finally:
            process.kill()
            process.wait(10)
