"""How well a server does: its round trip, its failures, and when it may be tried again. No clock: `now` is given."""

from __future__ import annotations

FAILURES_TO_DOWN = 3  # in a row
FIRST_PAUSE = 1.0  # seconds before a server that is down is asked again, doubled each time
LONGEST_PAUSE = 60.0
# RFC 6298 section 2: weights of a new sample in the smoothed round trip and in its deviation.
_GAIN = 1 / 8
_DEVIATION_GAIN = 1 / 4


class Health:
    """The health of one server. Times are seconds of one monotonic clock."""

    __slots__ = (
        "_deviation",
        "answered",
        "down_until",
        "errors",
        "failures",
        "last_error",
        "measured",
        "pause",
        "queries",
        "round_trip",
    )

    def __init__(self) -> None:
        self.queries = 0
        self.errors = 0  # queries that did not bring a good answer
        self.failures = 0  # of them, those in a row that were the server's fault
        self.last_error = ""
        self.answered = False  # ever
        self.round_trip: float | None = None  # smoothed; a lower bound before the first answer; None = never tried
        self.measured = 0.0  # when `round_trip` was last fed
        self.down_until = 0.0
        self.pause = FIRST_PAUSE
        self._deviation = 0.0

    @property
    def up(self) -> bool:
        """Whether queries go here first."""
        return self.failures < FAILURES_TO_DOWN

    def may_probe(self, now: float) -> bool:
        """Tell whether a server that is down has rested long enough to be asked again."""
        return not self.up and now >= self.down_until

    def succeed(self, seconds: float, now: float) -> bool:
        """Note an answer after `seconds`. Returns whether the server was down until now."""
        revived = not self.up
        self.failures = 0
        self.pause = FIRST_PAUSE
        self.measure(seconds, now)
        return revived

    def measure(self, seconds: float, now: float) -> None:
        """Feed the round trip, without a word on whether the answer was of use."""
        self.answered = True
        self._feed(seconds, now)

    def outlast(self, seconds: float, now: float) -> None:
        """Note that no answer came in `seconds`, after which nobody waited any more: it is slower than that."""
        if self.round_trip is None or seconds > self.round_trip:
            self._feed(seconds, now)

    def complain(self, reason: str) -> None:
        """Note an answer that was of no use, when it is not known whether the server or the question is at fault."""
        self.errors += 1
        self.last_error = reason

    def fail(self, reason: str, now: float) -> bool:
        """Note a failure that is the server's fault. Returns whether it took the server down just now."""
        self.complain(reason)
        self.failures += 1
        if self.up or now < self.down_until:  # the rest that runs already covers failures within it
            return False
        self.down_until = now + self.pause
        self.pause = min(self.pause * 2, LONGEST_PAUSE)
        return self.failures == FAILURES_TO_DOWN

    def patience(self, shortest: float, longest: float) -> float:
        """Return the seconds after which an answer is overdue: RFC 6298's timeout within the two bounds."""
        if self.round_trip is None:
            return longest
        return min(longest, max(shortest, self.round_trip + 4 * self._deviation))

    def _feed(self, seconds: float, now: float) -> None:
        self.measured = now
        if self.round_trip is None:
            self.round_trip = seconds
            self._deviation = seconds / 2
            return
        self._deviation += _DEVIATION_GAIN * (abs(seconds - self.round_trip) - self._deviation)
        self.round_trip += _GAIN * (seconds - self.round_trip)
