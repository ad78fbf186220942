"""The gateway's memory of who is here and what was decided: gathered in memory, handed to the history's thread."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from datetime import time as time_of_day

from guardian.config import HistoryConfig
from guardian.devices import KnownDevices, Sighting
from guardian.errors import GuardianError
from guardian.leases import LeaseFiles
from guardian.policy.model import Household, Visibility
from guardian.store.history import HistoryWriter
from guardian.store.history_read import HistoryReader
from guardian.store.history_record import HELPLINE_BLOCKED, Recorder

log = logging.getLogger(__name__)

DAYS_OF_USE = 8  # minutes are limited by the day and the week


class Memory:
    """Known devices, the recorder, and the writer of history.db."""

    def __init__(self, config: HistoryConfig, household: Household) -> None:
        self._config = config
        self._flushed = time.monotonic()
        self._lost_helpline_on: date | None = None
        self.known = KnownDevices()
        self.recorder = Recorder(household.tz)
        self.writer = HistoryWriter(config.path, config.snapshot, config.retention_days, config.size_mb << 20)

    async def recall(self, household: Household) -> list[tuple[str, str, str, float]]:
        """Take over the devices of earlier days, so that a restart does not make them new; return the minutes used.

        The rows are as `Usage.load` takes them. A history that cannot be read is logged, and nothing is known.
        """
        self.writer.start()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self.writer.drain)
        self._erase_hidden({}, visibility_by_device(household))  # parents may have changed their mind meanwhile
        try:
            known, used = await loop.run_in_executor(None, read_history, self._config.path, household)
        except GuardianError as error:
            log.warning("event=devices-forgotten error=%r", str(error))
            return []
        self.known.remember(known)
        return used

    def forget_narrowed(self, before: Household, now: Household) -> None:
        """Erase what the profile of a device no longer shows to parents: names, and the minutes of single services."""
        self._erase_hidden(visibility_by_device(before), visibility_by_device(now))

    def _erase_hidden(self, before: Mapping[str, Visibility], now: Mapping[str, Visibility]) -> None:
        changed = {device: shown for device, shown in now.items() if before.get(device) is not shown}
        again = not before  # at the start: whoever narrowed it has erased it then
        if nameless := [device for device, shown in changed.items() if shown is not Visibility.NAMES]:
            self.writer.erase_names(nameless, again=again)
        if counted := [device for device, shown in changed.items() if shown is Visibility.COUNTS]:
            self.writer.erase_services(counted, again=again)

    def note_sightings(self, seen: Iterable[tuple[bytes, bytes, float]], leases: LeaseFiles) -> None:
        """Note which devices are still here: (MAC, packed address, epoch seconds) of each. The hot path does not."""
        for mac, address, moment in seen:
            self.known.see(mac, address, leases.hostname_of(mac), moment)

    def note_lost_helpline(self, now: float) -> None:
        """Note, once a local day, that a mandatory list stands in a helpline's way.

        Of nobody, and as if at the day's first moment: parents are to know that it happens, not who asked or when.
        """
        today = datetime.fromtimestamp(now, self.recorder.timezone).date()
        if today != self._lost_helpline_on:
            self._lost_helpline_on = today
            began = datetime.combine(today, time_of_day(), self.recorder.timezone).timestamp()
            self.recorder.note_attempt("", None, HELPLINE_BLOCKED, 1, began)

    async def erase(self) -> None:
        """Forget everything: what is in memory, in the database, and in its copy. Raises GuardianError."""
        self.recorder.take(self.known.take_changes())
        self.known = KnownDevices()
        self._lost_helpline_on = None
        try:
            await asyncio.wrap_future(self.writer.erase_all())
        except (sqlite3.Error, OSError) as error:
            raise GuardianError(f"the history cannot be erased: {error}") from None

    def is_due(self) -> bool:
        """Tell whether the next batch is due."""
        return time.monotonic() - self._flushed >= self._config.flush_seconds

    def flush(self) -> None:
        """Hand over what was gathered."""
        self._flushed = time.monotonic()
        if not self.writer.submit(self.recorder.take(self.known.take_changes())):
            log.warning("event=history-batch-lost")


def read_history(path: str, household: Household) -> tuple[tuple[Sighting, ...], list[tuple[str, str, str, float]]]:
    """Return the devices that the history knows, and the minutes of the last days. Raises GuardianError."""
    since = datetime.now(household.tz).date() - timedelta(days=DAYS_OF_USE)
    with HistoryReader(path) as history:
        used = [(row.day, row.profile, row.of, row.minutes) for row in history.used_minutes(since.isoformat())]
        return tuple(history.known_devices()), used


def visibility_by_device(household: Household) -> dict[str, Visibility]:
    """Return what parents see of each device id; "" are the devices that nobody has named."""
    visibility = {profile.id: profile.visibility for profile in household.profiles}
    profiles = {device.id: device.profile for device in household.devices} | {"": household.new_device_profile}
    return {device: visibility.get(profile, Visibility.COUNTS) for device, profile in profiles.items()}
