"""Start the DNS gateway alone, in the foreground: what systemd or procd runs. Or talk to the running one.

It needs CAP_NET_BIND_SERVICE for port 53 and nothing else. SIGHUP reloads, SIGTERM ends it.

  guardian gateway --config /etc/guardian/guardian.yaml
  guardian gateway --replace                 in the place of one that runs: it is made to leave
  guardian gateway --reload                  settings, household and lists are read again; a bad file changes nothing
  guardian gateway --flush example.com       forget cached answers of a name and all below it; --flush all: everything
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys

from guardian.config import Config, load_settings
from guardian.supervisor import Generation, find_supervisor, keep_telling

log = logging.getLogger(__name__)

GARBAGE_THRESHOLDS = (10_000, 20, 50)  # rarer than Python's: a full collection walks every kept answer

SWITCH_SECONDS = 0.0005  # after which the history's thread gives way; Python's 5 ms would be our latency


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian gateway`."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--replace", action="store_true", help="make the gateway that runs leave, and take its place")
    what.add_argument("--reload", action="store_true", help="let the running gateway read everything again")
    what.add_argument("--flush", metavar="NAME", help="let the running gateway forget cached answers; 'all' for all")


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop, or hand a wish to the gateway that runs."""
    settings = load_settings(args.config)
    config = settings.config
    if args.reload or args.flush:
        return tell(config, args.flush)
    from guardian.gateway.secrecy import forbid_dumps
    from guardian.home import make_state

    start_logging(config.log_level)
    for note in settings.notes:
        log.warning("event=setting-overruled where=%s what=%r", note.where, note.message)
    forbid_dumps()
    make_state(config)
    claim = Generation.take(f"{os.path.dirname(config.control.socket)}/gateway.generation", "gateway", args.replace)
    try:
        asyncio.run(serve(config, args.config, claim))
    finally:
        claim.close()
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


async def serve(config: Config, path: str, claim: Generation) -> None:
    """Run one gateway from start to end, or until another one claims its place."""
    from guardian.gateway import Gateway
    from guardian.gateway.secrecy import tell_failure

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_failure)
    supervisor = find_supervisor(os.environ)
    gateway = Gateway(config, path, supervisor)
    await gateway.start()
    gc.collect()
    gc.freeze()  # what lives for ever is not looked at again
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    sys.setswitchinterval(SWITCH_SECONDS)
    supervisor.ready()
    beside = [loop.create_task(keep_telling(supervisor)), loop.create_task(claim.watch(gateway.stop))]
    try:
        await gateway.run()
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


def start_logging(level: str) -> None:
    """Log to standard error, one fact a line; the service manager adds the time."""
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s %(message)s")
