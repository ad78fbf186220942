"""What the console asks of the running gateway, over its control socket."""

from __future__ import annotations

import threading
import time
from typing import Any

from guardian.control import NotRunningError, send
from guardian.web.access import Whose

WHOSE_SECONDS = 5.0  # an address changes hands seldom; a parent who names a device waits no longer than this
WHOSE_WAIT_SECONDS = 3.0  # every page waits for this answer
MOST_ADDRESSES = 512


class Gateway:
    """Questions to the gateway. Every method raises GuardianError; but for `whose`, NotRunningError when it is down."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._whose: dict[str, tuple[float, Whose]] = {}
        self._lock = threading.Lock()

    def status(self) -> dict[str, Any]:
        """Return what `guardian status --json` shows."""
        return send(self._socket, "status")

    def presence(self) -> list[dict[str, Any]]:
        """Return every device that was ever seen: mac, hostname, addresses, first_seen, last_seen, device, online."""
        devices: list[dict[str, Any]] = send(self._socket, "presence")["devices"]
        return devices

    def reload(self) -> None:
        """Make the gateway read the settings anew."""
        send(self._socket, "reload")
        self.forget()

    def erase(self) -> None:
        """Make the gateway erase the whole history and all it has seen."""
        send(self._socket, "erase")
        self.forget()

    def whose(self, address: str) -> Whose:
        """Return whose device a text address is; nothing is known of it while the gateway is down."""
        now = time.monotonic()
        with self._lock:
            known = self._whose.get(address)
            if known is not None and now < known[0]:
                return known[1]
        try:
            reply = send(self._socket, "whose", reply_seconds=WHOSE_WAIT_SECONDS, address=address)
        except NotRunningError:
            return Whose()
        found = Whose(*(reply[key] for key in Whose._fields))
        with self._lock:
            if len(self._whose) >= MOST_ADDRESSES:
                self._whose.clear()
            self._whose[address] = (now + WHOSE_SECONDS, found)
        return found

    def forget(self) -> None:
        """Forget whose addresses are: settings have changed."""
        with self._lock:
            self._whose.clear()
