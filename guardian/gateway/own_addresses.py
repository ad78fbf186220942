"""Which addresses are this gateway's own, and which answers from outside may not point into the home."""

from __future__ import annotations

import ipaddress

from guardian.config import Config
from guardian.interfaces import list_addresses
from guardian.names import is_below
from guardian.resolver.local import is_private_address


def find_own_addresses(config: Config) -> tuple[bytes, ...]:
    """Return the packed addresses of this gateway: as configured, else those it listens on.

    Loopback is left out where there is more: to a device in the home it means the device itself.
    """
    hosts = config.local.addresses or tuple(endpoint.host for endpoint in config.block.page + config.dns.listen)
    own = [ipaddress.ip_address(host) for host in hosts]
    if any(address.is_unspecified for address in own):
        # Everywhere: the addresses of the home's side, not the one that the provider gave.
        mine = (ipaddress.ip_address(packed) for packed in list_addresses())
        own += [address for address in mine if is_private_address(address.packed) and not address.is_link_local]
        own = [address for address in own if not address.is_unspecified]
    if not config.local.addresses:
        own = [address for address in own if not address.is_loopback] or own
        own = [address for address in own if not address.is_link_local] or own  # no browser asks for those
    return tuple(dict.fromkeys(address.packed for address in own))


def is_rebinding(config: Config, name: bytes, address: bytes) -> bool:
    """Tell whether a name of the internet (wire form) would lead a browser to a packed address inside the home."""
    dns = config.dns
    if not dns.rebinding_protection or not is_private_address(address):
        return False
    trusted = (*dns.rebinding_allowed, *(forward.domain for forward in config.forward))
    return not any(is_below(name, domain) for domain in trusted)
