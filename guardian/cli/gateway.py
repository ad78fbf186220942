"""Start the DNS gateway alone, in the foreground: what systemd or procd runs.

It needs CAP_NET_BIND_SERVICE for port 53 and nothing else. SIGHUP reloads, SIGTERM ends it.

  guardian gateway --config /etc/guardian/guardian.yaml
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging

from guardian.config import load_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from guardian.gateway import Gateway

    config = load_config(args.config)
    start_logging(config.log_level)

    async def serve() -> None:
        gateway = Gateway(config, args.config)
        await gateway.start()
        gc.collect()
        gc.freeze()  # what lives for ever is not looked at again
        await gateway.run()

    asyncio.run(serve())
    return 0


def start_logging(level: str) -> None:
    """Log to standard error, one fact a line; the service manager adds the time."""
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s %(message)s")
