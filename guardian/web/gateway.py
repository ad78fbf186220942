"""What the console asks of the running gateway, over its control socket."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from guardian.clock import State
from guardian.control import NotRunningError, SilentError, send
from guardian.devices import DeviceMap, find_owner
from guardian.errors import GuardianError
from guardian.policy.model import FOREVER, Action, Decision, Household, Reason
from guardian.web.access import Whose

log = logging.getLogger(__name__)

WAIT_SECONDS = 3.0  # pages wait for these answers
SILENT_SECONDS = 5.0  # a gateway that did not answer is not waited for again so soon
WHOSE_SECONDS = 5.0  # an address changes hands seldom; a parent who names a device waits no longer than this
MOST_ADDRESSES = 512


class Gateway:
    """Questions to the gateway. Every method raises GuardianError; but for `whose`, NotRunningError when it is down."""

    def __init__(self, socket: str, household: Callable[[], Household]) -> None:
        """`household()` returns what parents set: it tells whose devices are while the gateway does not."""
        self._socket = socket
        self._household = household
        self._whose: dict[str, tuple[float, Whose]] = {}
        self._silent_until = 0.0  # of the monotonic clock
        self._lock = threading.Lock()

    def status(self) -> dict[str, Any]:
        """Return what `guardian status --json` shows."""
        return self._ask("status")

    def clock(self) -> tuple[State, float]:
        """Return how far the gateway believes the clock, and what time it is (epoch seconds)."""
        told = self._ask("clock")
        return State(told["state"]), float(told["now"])

    def presence(self) -> list[dict[str, Any]]:
        """Return every device that was ever seen: mac, hostname, addresses, first_seen, last_seen, device, online."""
        devices: list[dict[str, Any]] = self._ask("presence")["devices"]
        return devices

    def explain(self, device: str, site: str) -> Decision:
        """Return what happens now when a named device (by id) asks for a site, also by what its answer leads to.

        The rule of a mandatory list is "": which one it is, is nobody's to know.
        """
        told = self._ask("explain", device=device, host=site)
        until = FOREVER if told["until"] is None else float(told["until"])
        return Decision(Action(told["action"]), Reason(told["reason"]), told["rule"], until)

    def reload(self) -> None:
        """Make the gateway read the settings anew; what parents changed is worth a longer wait."""
        self._order("reload")

    def erase(self) -> None:
        """Make the gateway erase the whole history and all it has seen."""
        self._order("erase")

    def whose(self, address: str) -> Whose:
        """Return whose device a text address is.

        While the gateway is down or silent, the kernel's neighbours and the household tell it.
        Raises GuardianError for no address, ConfigError for a household that cannot be read.
        """
        try:
            packed = ipaddress.ip_address(address.partition("%")[0]).packed
        except ValueError:
            raise GuardianError(f"{address[:64]!r} is no address") from None
        now = time.monotonic()
        with self._lock:
            known = self._whose.get(address)
            if known is not None and now < known[0]:
                return known[1]
        try:
            reply = self._ask("whose", address=address)
            found = Whose(*(reply[key] for key in Whose._fields))
        except GuardianError as error:
            log.log(
                logging.DEBUG if isinstance(error, NotRunningError) else logging.WARNING,
                "event=whose-by-household error=%r",
                str(error),
            )
            found = self._find_whose(packed)
        with self._lock:
            if len(self._whose) >= MOST_ADDRESSES:
                self._whose.clear()
            self._whose[address] = (time.monotonic() + WHOSE_SECONDS, found)
        return found

    def forget(self) -> None:
        """Forget whose addresses are: settings have changed."""
        with self._lock:
            self._whose.clear()

    def _find_whose(self, address: bytes) -> Whose:
        """Whose a packed address is, as far as it can be known without the gateway."""
        mac = find_mac(address)
        household = self._household()
        owner = find_owner(household, DeviceMap(household).find(address, mac))
        return Whose(**owner._asdict(), mac=mac.hex(":") if mac is not None else "")

    def _ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """The reply to a question that a page waits for."""
        with self._lock:
            if time.monotonic() < self._silent_until:
                raise SilentError("the gateway did not answer a moment ago")
        try:
            reply = send(self._socket, verb, reply_seconds=WAIT_SECONDS, **arguments)
        except SilentError:
            with self._lock:
                self._silent_until = time.monotonic() + SILENT_SECONDS
            raise
        return reply

    def _order(self, verb: str) -> None:
        send(self._socket, verb)
        with self._lock:
            self._silent_until = 0.0
            self._whose.clear()


def find_mac(address: bytes) -> bytes | None:
    """Return the MAC that the kernel knows of a packed address, None when it knows none or does not tell."""
    from guardian.neighbors import Neighbors  # seldom needed, and memory is scarce

    try:
        neighbors = Neighbors.open()
    except OSError as error:
        log.debug("event=no-neighbour-table error=%r", str(error))
        return None
    try:
        return neighbors.mac_of(address)
    finally:
        neighbors.close()
