"""The parents' console on the lab's router: started there, used from the home's devices as its pages use it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.gateway.product import ROOT, assert_clean, environment
from tests.netns.lab import plan
from tests.netns.lab.device import Device
from tests.netns.lab.home import Lab

PORT = 8080
ADDRESS = f"http://guardian.home.arpa:{PORT}"
HOSTNAMES = {"tablet": "Ana-tablet", "phone": "pixel-8", "stranger": "some-laptop"}  # as devices call themselves
START_SECONDS = 20.0
_LEASE_SECONDS = 86400


def write_leases(file: Path) -> Path:
    """Write what a DHCP server (dnsmasq) would know of the home's devices; return the file."""
    end = int(time.time()) + _LEASE_SECONDS
    file.write_text(
        "".join(f"{end} {plan.MACS[role]} {plan.home4(role)} {name} *\n" for role, name in HOSTNAMES.items())
    )
    return file


def settings(leases: Path) -> dict[str, dict[str, Any]]:
    """The keys of guardian.yaml that a console on the router needs, for `World.protected(more=...)`."""
    hosts = [plan.home4("router"), f"[{plan.home6('router')}]"]
    return {"web": {"listen": [f"{host}:{PORT}" for host in hosts]}, "local": {"leases": [str(leases)]}}


@contextlib.contextmanager
def running_console(lab: Lab) -> Iterator[None]:
    """Run `guardian web` on the router, beside the gateway. Raises AssertionError when it does not start or end."""
    words = [sys.executable, "-m", "guardian", "web", "--config", str(lab.guardian.config)]
    command = ["ip", "netns", "exec", lab.network.name("router"), *words]
    file = lab.guardian.folder / "web.log"
    with file.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(), cwd=ROOT
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while call(lab.phone, "GET", "/start").status != 200:
            assert process.poll() is None and time.monotonic() < deadline, file.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        code = process.wait(10)
    assert code == 0, file.read_text()
    assert_clean(file.read_text())


class Called(NamedTuple):
    """What came of a call. `status` is 0 when nothing answered, `value` None when no JSON came."""

    status: int
    value: Any

    @property
    def code(self) -> str:
        """The word for what went wrong, "" when nothing did."""
        return str(self.value["code"]) if self.status >= 400 else ""


def call(device: Device, method: str, path: str, body: Any = None, cookies: Path | None = None) -> Called:
    """Call the API from a device; `cookies` is the file of a signed-in person (curl's), made when they sign in."""
    words = ["-s", "-X", method, "-w", "\n%{http_code}"]
    if cookies is not None:
        words += ["-b", str(cookies), "-c", str(cookies)]
        is_signed_in = cookies.exists() and "guardian_session" in cookies.read_text()
        if method != "GET" and is_signed_in:
            words += ["-H", f"X-CSRF-Token: {call(device, 'GET', '/session', cookies=cookies).value['csrf']}"]
    if body is not None:
        words += ["--json", json.dumps(body)]
    text, _, status = device.run("curl", *words, f"{ADDRESS}/api/v1{path}").stdout.rpartition("\n")
    return Called(int(status or 0), json.loads(text) if text else None)
