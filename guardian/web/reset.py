"""The factory reset: everything that the home has told the box goes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from guardian.control import NotRunningError
from guardian.store.erase import erase_accounts, erase_console, erase_settings
from guardian.web.claim import forget_claim_code, make_claim_code
from guardian.web.routing import RefusalError

if TYPE_CHECKING:
    from guardian.web.console import Console

log = logging.getLogger(__name__)


def reset_box(console: Console) -> None:
    """Erase household and journal, history, the console's own data, accounts; make a new claim code.

    Accounts go last: killed in between, the same person signs in and does it again, and each step can be done twice.
    Only the gateway writes the history, so without it nothing is begun: a reset that leaves the history would be a lie.
    Raises RefusalError 503 when the gateway does not run, GuardianError when a step fails.
    """
    try:
        console.gateway.status()
    except NotRunningError:
        raise RefusalError(
            503, "not-now", "the filter does not run, and only it can erase the history: start it first", retry_after=30
        ) from None
    log.warning("event=factory-reset step=begin")
    # First what the gateway goes by, so that it writes no more of it into the history that it is to erase.
    erase_settings(console.config.settings)
    console.gateway.reload()
    console.gateway.erase()
    erase_console(console.store)
    forget_claim_code(console.config)
    make_claim_code(console.config)
    erase_accounts(console.store)
    console.events.check_callers()
    console.home()  # the new beginning counts its changes from 1 again: forget the old ones by now
    console.events.publish_change("household")
    log.warning("event=factory-reset step=done")
