"""What the calls of the API work on: the household, the policy, the history, the gateway, and who may sign in."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from guardian.clock import State, follow
from guardian.config import Config
from guardian.control import NotRunningError
from guardian.errors import ConfigError, GuardianError
from guardian.home import Home, load_home
from guardian.messages import Messages
from guardian.policy.compile import Policy
from guardian.policy.model import Catalogue, Household
from guardian.policy.schedule import local_date
from guardian.policy.usage import Usage
from guardian.store.console import ConsoleStore
from guardian.store.history_read import HistoryError, HistoryReader
from guardian.store.settings import Entry, edit_household, note_change, read_revision, save_household
from guardian.web.errands import Errands
from guardian.web.events import Events
from guardian.web.gateway import Gateway
from guardian.web.reports import HourLimit
from guardian.web.settled import Settled
from guardian.web.throttle import Throttle

log = logging.getLogger(__name__)

DAYS_OF_USE = 8  # minutes are limited by the day and the week
NOT_READ = -1  # no revision
USAGE_SECONDS = 10.0  # the gateway writes minutes every few seconds


class Console:
    """All that the console holds. Its methods may be called from any thread."""

    def __init__(self, config: Config, config_path: str) -> None:
        """Raises ConfigError for settings that cannot be used."""
        self.config = config
        self.config_path = config_path
        self.store = ConsoleStore(f"{config.state}/console.db")
        self.gateway = Gateway(config.control.socket, self.household)
        self.events = Events()
        self.delivery_wanted = threading.Event()  # set: there may be something to send, look at once
        self.report_limit = HourLimit()
        self.errands = Errands()  # those that a person waits for
        self.messages = Messages.load()
        self.settled = Settled()
        self.password_tries = Throttle()
        self.claim_tries = Throttle()
        self._lock = threading.RLock()
        self._revision = NOT_READ
        self.settings_error = ""  # why the settings cannot be read; those of before hold, else the strictest
        self._home = load_home(config)
        self._revision = self._find_revision()
        self._image = _stamp(config.lists.image)
        self._policy: Policy | None = None
        self._usage_read = 0.0
        self.clock = State.SET  # as the gateway has it

    @property
    def catalogue(self) -> Catalogue:
        """What there is to choose from."""
        return self._home.catalogue

    def home(self) -> tuple[Home, int]:
        """Return the home as it is set now, and the household's revision (0 = nobody has set anything).

        While the settings cannot be read, that is the home of before, as in the gateway.
        """
        with self._lock:
            revision, image = self._find_revision(), _stamp(self.config.lists.image)
            if not self.settings_error and (revision, image) != (self._revision, self._image):
                self._home, self._policy = load_home(self.config, self._home), None
                self._revision, self._image = revision, image
            return self._home, max(self._revision, 0)

    def _find_revision(self) -> int:
        """The revision of the settings; the one before where they cannot be read, which is logged once."""
        try:
            revision = read_revision(self.config.settings)
        except ConfigError as error:
            if self.settings_error != str(error):
                log.error("event=settings-unreadable error=%r", str(error))
            self.settings_error = str(error)
            return self._revision
        if self.settings_error:
            self.settings_error, self._revision = "", NOT_READ  # whatever it was, it is read anew
        return revision

    def household(self) -> Household:
        """Return what parents set; while nothing is set, the household of an open box."""
        return self.home()[0].household

    def edit(
        self, entry: Entry | Sequence[Entry], change: Callable[[Household], Household], if_match: int | None = None
    ) -> int:
        """Change the household in one transaction, tell the gateway, and return the new revision.

        `entry` is the line of the journal, or several; it is read after `change` has run. Raises ConflictError when
        somebody else has changed it since revision `if_match`, TextError or ConfigError when the change cannot be.
        """
        revision = edit_household(self.config.settings, entry, change, self.household, if_match)
        self.refresh()
        return revision

    def restore(self, entry: Entry, household: Household, if_match: int | None = None) -> int:
        """Put a household in the place of all that was set, as `edit` does, also where settings are damaged."""
        self.home()
        if not self.settings_error:
            return self.edit(entry, lambda _: household, if_match)
        save_household(self.config.settings, household, entry.who, entry.what, entry.kind)
        self.refresh()
        return read_revision(self.config.settings)

    def note(self, who: str, what: str, kind: str, **details: str | int) -> None:
        """Add a line to the journal about something that is no part of the household. Raises ConfigError.

        The gateway need not know; pages learn the new revision.
        """
        note_change(self.config.settings, Entry(who, what, kind, details))
        self.events.publish_change("household")

    def refresh(self) -> None:
        """Make the gateway read the settings anew, and tell the pages. One that is down reads them at its start."""
        try:
            self.gateway.reload()
        except NotRunningError:
            log.info("event=gateway-not-running settings=saved")
        except GuardianError as error:
            log.error("event=reload-refused error=%r", str(error))
        self.events.publish_change("household")

    def policy(self, now: float) -> Policy:
        """Return the policy in force, with the minutes used as the history has them by now."""
        with self._lock:
            home, _ = self.home()
            if self._policy is None or abs(now - self._usage_read) > USAGE_SECONDS:
                clock_unset = self.clock is State.WAITING
                self._policy = home.compile(usage=self._read_usage(home, now), clock_unset=clock_unset)
                self._usage_read = now
            return self._policy

    def look_at_clock(self) -> None:
        """Learn from the gateway what time it is. One that is down, or older, leaves the clock as it is."""
        try:
            state, moment = self.gateway.clock()
        except (GuardianError, ValueError, KeyError) as error:
            log.debug("event=clock-not-told error=%r", str(error))
            return
        follow(state, moment)
        if state is not self.clock:
            with self._lock:
                self.clock, self._policy = state, None
            log.info("event=clock state=%s", state.value)
            self.events.publish_change("household")

    def draft_policy(self, household: Household, now: float) -> Policy:
        """Return the policy of a household that nobody has saved."""
        with self._lock:
            home = self.home()[0]._replace(household=household)
            return home.compile(usage=self.policy(now).usage, clock_unset=self.clock is State.WAITING)

    def _read_usage(self, home: Home, now: float) -> Usage:
        usage = Usage()
        since = local_date(home.household.tz, now) - timedelta(days=DAYS_OF_USE)
        try:
            with self.history() as history:
                usage.load(
                    (row.day, row.profile, row.of, row.minutes) for row in history.used_minutes(since.isoformat())
                )
        except HistoryError as error:
            log.debug("event=no-usage error=%r", str(error))
        return usage

    def remembered_ids(self) -> frozenset[str]:
        """Return ids under which the history keeps something: a new device or profile must not inherit it."""
        try:
            with self.history() as history:
                return history.known_ids()
        except HistoryError as error:
            log.info("event=no-history-yet error=%r", str(error))
            return frozenset()

    def history(self) -> HistoryReader:
        """Return a reader of the history, to be closed again. Raises HistoryError."""
        return HistoryReader(self.config.history.path)


def _stamp(path: str) -> tuple[int, int]:
    """What tells that a file was replaced: a list update renames a new one over it."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns
