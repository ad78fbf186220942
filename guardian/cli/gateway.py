"""Start the DNS gateway alone, in the foreground: what systemd or procd runs. Or talk to the running one.

It needs CAP_NET_BIND_SERVICE for port 53 and nothing else. SIGHUP reloads, SIGTERM ends it.

  guardian gateway --config /etc/guardian/guardian.yaml
  guardian gateway --reload                  settings, household and lists are read again; a bad file changes nothing
  guardian gateway --flush example.com       forget cached answers of a name and all below it; --flush all: everything
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys

from guardian.config import Config, load_config

GARBAGE_THRESHOLDS = (10_000, 20, 50)  # rarer than Python's: a full collection walks every kept answer

SWITCH_SECONDS = 0.0005  # after which the history's thread gives way; Python's 5 ms would be our latency


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian gateway`."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--reload", action="store_true", help="let the running gateway read everything again")
    what.add_argument("--flush", metavar="NAME", help="let the running gateway forget cached answers; 'all' for all")


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop, or hand a wish to the gateway that runs."""
    config = load_config(args.config)
    if args.reload or args.flush:
        return tell(config, args.flush)
    from guardian.gateway.secrecy import forbid_dumps

    start_logging(config.log_level)
    forbid_dumps()
    asyncio.run(serve(config, args.config))
    return 0


def tell(config: Config, name: str | None) -> int:
    """Ask the running gateway to flush `name`, or to reload when it is None. Raises GuardianError."""
    from guardian.control import send

    if name is None:
        send(config.control.socket, "reload")
        print("reloaded")
    else:
        reply = send(config.control.socket, "flush", name="" if name == "all" else name)
        print(f"forgot {reply['forgotten']} answers")
    return 0


async def serve(config: Config, path: str) -> None:
    """Run one gateway from start to end."""
    from guardian.gateway import Gateway
    from guardian.gateway.secrecy import tell_failure

    asyncio.get_running_loop().set_exception_handler(tell_failure)
    gateway = Gateway(config, path)
    await gateway.start()
    gc.collect()
    gc.freeze()  # what lives for ever is not looked at again
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    sys.setswitchinterval(SWITCH_SECONDS)
    await gateway.run()


def start_logging(level: str) -> None:
    """Log to standard error, one fact a line; the service manager adds the time."""
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s %(message)s")
