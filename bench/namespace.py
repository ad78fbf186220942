"""A network namespace of our own, where servers and clients have addresses of a home network.

On 127.0.0.0/8 Guardian would take every client for a proxy on the same machine (dnsmasq in front of it), which asks for
others and shares no ready answers. A prefix on the loopback device makes all its addresses local, as 127.0.0.0/8 is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from bench.load import HOST

MARK = "GUARDIAN_BENCH_NAMESPACE"


def enter_namespace(module: str, arguments: Sequence[str]) -> None:
    """Run `python -m module` anew in a namespace; inside it, set up the addresses and return. Raises SystemExit."""
    if MARK in os.environ:
        _add_addresses()
        return
    for options in (["--net"], ["--net", "--map-root-user"]):
        if subprocess.run(["unshare", *options, "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            command = ["unshare", *options, sys.executable, "-m", module, *arguments]
            os.execvpe("unshare", command, os.environ | {MARK: "1"})
    raise SystemExit("the bench needs a network namespace of its own: root, or user namespaces that the kernel allows")


def _add_addresses() -> None:
    from pyroute2 import IPRoute  # type: ignore[import-untyped]

    with IPRoute() as route:
        (loopback,) = route.link_lookup(ifname="lo")
        route.link("set", index=loopback, state="up")
        route.addr("add", index=loopback, address=HOST, prefixlen=24)
