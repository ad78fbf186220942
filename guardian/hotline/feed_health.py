"""How a feed stands, in one word, for status, doctor, console and alerts. Pure: the state and `now` in, a value out.

A router reaches the hotline or it does not, and its clock may be unset after a power cut. So what counts is when all
of the feed was last verified, and whether what is wrong was wrong an hour before as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from guardian.errors import ListError
from guardian.hotline.feed_state import (
    CLOCK,
    DAMAGED,
    DISK,
    EXPIRED,
    GROWTH,
    MISSING,
    NOT_SIGNED,
    OFFLINE,
    ROLLBACK,
    TOO_LARGE,
    TOO_SLOW,
    FeedState,
    feed_folder,
    load_state,
)

OK, STALE, NEVER, REFUSED = "ok", "stale", "never", "refused"

STALE_SECONDS = 3 * 86400.0  # without a look at which all was well
LASTING_SECONDS = 3600.0  # mirrors of one feed differ for minutes, and a failure is looked at again within these

# What came was not believed; what is in force stays.
_REFUSING = frozenset({NOT_SIGNED, ROLLBACK, DAMAGED, GROWTH, TOO_LARGE})
_GRAVEST_FIRST = (
    NOT_SIGNED,
    ROLLBACK,
    EXPIRED,
    DAMAGED,
    GROWTH,
    TOO_LARGE,
    CLOCK,
    DISK,
    MISSING,
    TOO_SLOW,
    OFFLINE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """How a feed stands at one moment. Times are epoch seconds, 0 = never; `state` is one of the four words above."""

    state: str
    code: str = ""  # the gravest of what is wrong, as in feed_state; "" = nothing is
    error: str = ""  # the same in a sentence, in English
    is_stale: bool = False  # for days nobody could say that it is the newest
    is_lasting: bool = False  # another look, an hour later or more, has met trouble too
    since: float = 0.0  # when it last was as it should be, or began not to be
    age: float | None = None  # seconds since the last look at which all was well; None = there was none


def judge_feed(state: FeedState | None, now: float) -> FeedHealth:
    """Return how a feed stands at `now`; `state` is None where nobody has looked at it yet."""
    if state is None:
        return FeedHealth(NEVER)
    clock = max(now, state.accepted)  # a clock that was set back makes nothing young again
    succeeded = find_success(state)
    since = succeeded or state.failing
    is_stale = bool(since) and clock - since > STALE_SECONDS
    code, error = _find_gravest(state)
    if not any(one.serial for one in state.lists.values()):
        word = NEVER
    elif code in _REFUSING:
        word = REFUSED
    else:
        word = STALE if is_stale or code == EXPIRED else OK
    checked = state.checked + state.clock_behind
    return FeedHealth(
        word,
        code,
        error,
        is_stale,
        bool(state.failing) and checked - state.failing >= LASTING_SECONDS,
        since,
        max(0.0, clock - succeeded) if succeeded else None,
    )


def find_success(state: FeedState) -> float:
    """Return when all of the feed was last verified, 0 = never: not by a clock that is known to have been behind."""
    is_last = state.checked == state.succeeded
    return state.succeeded + state.clock_behind if is_last and state.succeeded else state.succeeded


def read_health(state_folder: str, now: float) -> tuple[FeedState | None, FeedHealth]:
    """Return a box's feed and how it stands; a state that can't be read is none, and said to be damaged."""
    try:
        state = load_state(feed_folder(state_folder))
    except ListError as error:
        return None, FeedHealth(NEVER, DAMAGED, str(error))
    return state, judge_feed(state, now)


def _find_gravest(state: FeedState) -> tuple[str, str]:
    """Return code and sentence of the gravest trouble; a code of a newer version comes last."""
    ranks = {code: rank for rank, code in enumerate(_GRAVEST_FIRST)}
    troubles = sorted(state.troubles(), key=lambda trouble: ranks.get(trouble[1], len(ranks)))
    if not troubles:
        return "", ""
    list_id, code, error = troubles[0]
    return code, f"{list_id}: {error}" if list_id else error
