"""Keeps this machine's own names when Guardian goes: run before the package is removed.

A machine that gets its DNS server by DHCP asks itself once the router tells everybody to ask it. When Guardian stops,
it would have no names, and could not even install anything. Then the servers that Guardian asked take its place until
the next lease says otherwise. A machine that asks somebody else is left alone.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys

RESOLV_CONF = "/etc/resolv.conf"
FALLBACK = ("9.9.9.9", "149.112.112.112")
SETTINGS, TREE = "/etc/guardian/guardian.yaml", "/usr/lib/guardian"
MOST_SERVERS = 3  # that a resolv.conf takes
_SECONDS = 20


def read_servers(text: str) -> list[str]:
    """Return the name servers of a resolv.conf."""
    lines = (line.split() for line in text.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


def replace_servers(text: str, servers: tuple[str, ...]) -> str:
    """Return a resolv.conf with other name servers."""
    kept = [line for line in text.splitlines() if line.split()[:1] != ["nameserver"]]
    added = [f"nameserver {server}" for server in servers]
    return "\n".join([*kept, "# Guardian was here and is gone; the next lease (DHCP) writes this anew.", *added, ""])


def asks_itself(servers: list[str], own: set[str]) -> bool:
    """Tell whether all name servers are this machine's own addresses of the home (not loopback: those are others')."""
    return bool(servers) and all(server.partition("%")[0] in own for server in servers)


def find_own_addresses() -> set[str]:
    """Return the addresses of this machine, without loopback."""
    rows = json.loads(_run("ip", "-json", "address", "show"))
    found = {info["local"] for row in rows for info in row.get("addr_info", ())}
    return {address for address in found if not ipaddress.ip_address(address).is_loopback}


def _run(*command: str) -> str:
    return subprocess.run(  # noqa: S603 - our own words
        command, capture_output=True, text=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL
    ).stdout


def leave_resolved(own: set[str], instead: tuple[str, ...]) -> bool:
    """Give the links of systemd-resolved other servers where theirs are this machine; tell whether any was changed."""
    changed = False
    for line in _run("resolvectl", "dns").splitlines():
        head, _, tail = line.partition(":")
        words = head.split()
        if words[:1] == ["Link"] and asks_itself(tail.split(), own):
            _run("resolvectl", "dns", words[1], *instead)
            changed = True
    return changed


def find_servers() -> tuple[str, ...]:
    """Return the addresses that Guardian asks itself; well-known ones where its settings do not tell."""
    sys.path.insert(0, TREE)
    from guardian.config import load_config
    from guardian.errors import GuardianError

    try:
        upstreams = load_config(SETTINGS).upstreams.servers
    except GuardianError as error:
        print(f"guardian: {error}", file=sys.stderr)
        return FALLBACK
    known = (address for upstream in upstreams for address in upstream.addresses or (upstream.host,))
    return tuple(address for address in known if _is_address(address))[:MOST_SERVERS] or FALLBACK


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def main() -> int:
    """Look at whom this machine asks, and change it where that is itself. Return 0."""
    own = find_own_addresses()
    with open(RESOLV_CONF, encoding="utf-8", errors="replace") as file:
        text = file.read()
    servers = read_servers(text)
    changed = False
    instead: tuple[str, ...] = ()
    if servers == ["127.0.0.53"]:
        instead = find_servers()
        changed = leave_resolved(own, instead)
    elif asks_itself(servers, own):
        changed, instead = True, find_servers()
        with open(os.path.realpath(RESOLV_CONF), "w", encoding="utf-8") as file:
            file.write(replace_servers(text, instead))
    if changed:
        print(
            "Guardian goes, and this machine asked itself for names: until its next lease it asks "
            f"{', '.join(instead)}.\nSet the DNS server in your router back, or the home's devices have no names."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
