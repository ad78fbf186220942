"""The gateway process: DNS server, block page and control socket around one policy."""

from guardian.gateway.process import Gateway

__all__ = ["Gateway"]
