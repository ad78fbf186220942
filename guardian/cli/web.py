"""Serve the parents' console: its pages, and the API under /api/v1.

It needs no privileges. The gateway beside it does what is set here; without one, settings are kept until it runs.
SIGHUP reads the settings file again, SIGTERM ends it.

  guardian web --config /etc/guardian/guardian.yaml
  guardian web --replace                     in the place of one that runs: it is made to leave
  guardian web --claim-code                  the code that proves to the first visit that you are at home
  guardian web --openapi                     the API's OpenAPI 3.1 document
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import resource

from guardian.config import Config, load_config
from guardian.errors import GuardianError
from guardian.supervisor import Generation, find_supervisor, keep_telling

NICE = 5  # whoever floods the console with calls must not make names slow
QUIET = ("uvicorn", "uvicorn.error", "asyncio")  # what they say at info is ours to say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian web`."""
    parser.add_argument("--offline", action="store_true", help="never look at the hotline's feed")
    parser.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)  # told when it listens
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--replace", action="store_true", help="make the console that runs leave, and take its place")
    what.add_argument("--claim-code", action="store_true", help="print the code for the first visit, then exit")
    what.add_argument("--openapi", action="store_true", help="print the OpenAPI document, then exit")


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop, or print what was asked for."""
    if args.openapi:
        print_document()
        return 0
    from guardian.home import make_state

    config = load_config(args.config)
    if args.claim_code:
        return print_claim_code(config)
    if not config.web.listen:
        raise GuardianError("'web.listen' is empty: there is no console to serve")
    start_logging(config.log_level)
    step_back()
    make_state(config)
    claim = Generation.take(f"{os.path.dirname(config.control.socket)}/web.generation", "console", args.replace)
    try:
        asyncio.run(serve(config, args.config, claim, args.ready_fd, args.offline))
    finally:
        claim.close()
    return 0


async def serve(config: Config, path: str, claim: Generation, ready_fd: int = -1, offline: bool = False) -> None:
    """Run one console from start to end, or until another one claims its place.

    A byte goes to `ready_fd` as soon as it listens.
    """
    try:
        from guardian.web.process import Process
    except ModuleNotFoundError as error:
        raise GuardianError(
            f"the console needs the Python package '{error.name}': pip install 'guardian-gateway[web]'"
        ) from None
    supervisor = find_supervisor(os.environ)
    process = Process(config, path, offline, supervisor)
    gc.collect()
    gc.freeze()

    beside: list[asyncio.Task[None]] = []

    def tell_ready() -> None:
        if ready_fd >= 0:
            os.write(ready_fd, b"1")
            os.close(ready_fd)
        supervisor.ready()
        beside.append(asyncio.ensure_future(keep_telling(supervisor)))
        beside.append(asyncio.ensure_future(claim.watch(process.stop)))

    try:
        await process.run(tell_ready)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


def step_back() -> None:
    """Let the filter go first when both want the processor, and leave no memory with secrets on the disk."""
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def start_logging(level: str) -> None:
    """Log to standard error, one fact a line; the service manager adds the time."""
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s %(message)s")
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


def print_document() -> None:
    """Print the OpenAPI document."""
    from guardian.web.api import ENDPOINTS
    from guardian.web.openapi import build_document

    print(json.dumps(build_document(ENDPOINTS), indent=2, ensure_ascii=False))


def print_claim_code(config: Config) -> int:
    """Print the claim code while nobody has claimed this box."""
    from guardian.home import make_state
    from guardian.store.accounts import is_claimed
    from guardian.store.console import ConsoleStore
    from guardian.web.claim import make_claim_code

    make_state(config)
    if is_claimed(ConsoleStore(f"{config.state}/console.db")):
        raise GuardianError("this box has its parents already: see 'guardian account'")
    print(make_claim_code(config))
    return 0
