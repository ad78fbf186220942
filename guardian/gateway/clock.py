"""The clock of a running gateway: what is written down of earlier moments, and whether the time has come by now."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable

from guardian.clock import ClockWatch, Signs, read_signs
from guardian.config import Config
from guardian.errors import ConfigError, ListError
from guardian.resolver.upstream import UpstreamStatus
from guardian.store.settings import read_last_change

log = logging.getLogger(__name__)


def open_clock(config: Config) -> ClockWatch:
    """Return the watch of a gateway's clock. Nothing that cannot be read keeps it from its start."""
    return ClockWatch(config.state, find_newest(config), read_signs())


def find_newest(config: Config) -> float:
    """Return the newest moment that settings and feed have written down, in epoch seconds; 0 for none."""
    newest = 0.0
    try:
        newest = read_last_change(config.settings)
    except (ConfigError, OSError) as error:
        log.info("event=no-moment-in-settings error=%r", str(error))
    if config.hotline.url:
        from guardian.hotline.feed_state import feed_folder, load_state

        try:
            state = load_state(feed_folder(config.state))
        except ListError as error:
            log.info("event=no-moment-in-feed error=%r", str(error))
        else:
            newest = max(newest, state.accepted if state is not None else 0.0)
    return newest


def look_at_clock(watch: ClockWatch, upstreams: Callable[[], Iterable[UpstreamStatus]]) -> bool:
    """Look at the clock, once a second; return whether decisions have to be made anew."""
    if watch.doubt is None:  # then only a step can change that: the kernel and the upstreams need not be asked
        return watch.look(True, Signs(time.time(), math.inf, None, True))
    return watch.look(any(is_answering(status) for status in upstreams()), read_signs())


def is_answering(upstream: UpstreamStatus) -> bool:
    """Tell whether an upstream has answered, and does so still."""
    return upstream.healthy and upstream.rtt is not None
