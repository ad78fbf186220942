"""The filter's rules in the kernel: loaded whole, replaced without a gap, and taken away again. All of it blocks."""

from __future__ import annotations

import logging
import threading

from guardian.errors import GuardianError
from guardian.filter import nftables
from guardian.filter.nftables import QueueForm
from guardian.filter.ruleset import (
    XTABLES_CHAIN,
    Plan,
    render_removal,
    render_table,
    render_xtables,
    render_xtables_removal,
)

log = logging.getLogger(__name__)


class Rules:
    """What of ours is in force. For use in executors: a load that outlives the task that waited for it does no harm."""

    def __init__(self) -> None:
        self.form = QueueForm.NONE
        self.is_offloading = False  # judged flows take the kernel's fast path
        self.no_offload = ""  # why they don't although they should
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_loaded = False  # or a part of them

    def load(self, plan: Plan, is_repair: bool) -> None:
        """Load the table; in a repair, and at the start, also the one xtables rule. Nothing after `remove`.

        Raises GuardianError.
        """
        with self._lock:
            if self._is_closed:
                return
            self._is_loaded = True
            self._load_table(plan)
            if is_repair and self.form is QueueForm.XTABLES:
                _load_xtables(plan)

    def _load_table(self, plan: Plan) -> None:
        """Load the table; where the kernel takes it only without its flowtable, load it so. Raises GuardianError."""
        with_queue = self.form is QueueForm.NFT
        refusal = ""
        if plan.offload:
            try:
                nftables.load(render_table(plan, with_queue))
            except GuardianError as error:
                refusal = str(error)
        if refusal or not plan.offload:
            nftables.load(render_table(plan._replace(offload=()), with_queue))
            if refusal and refusal != self.no_offload:
                log.warning("event=no-offload reason=%r action=rules-without-it", refusal)
        self.no_offload = refusal
        self.is_offloading = bool(plan.offload) and not refusal

    def remove(self) -> None:
        """Take away what was loaded, whatever is left of it. Raises GuardianError."""
        with self._lock:
            self._is_closed = True
            if self._is_loaded:
                if self.form is QueueForm.XTABLES:
                    _remove_xtables()
                nftables.load(render_removal())


def _load_xtables(plan: Plan) -> None:
    """Load the rule, for each family by itself: one that is whole is replaced in one transaction."""
    new = render_xtables(plan)
    jump = next(line for line in new.splitlines() if line.startswith("-A FORWARD"))
    replacing = new.replace(jump, f"-D{jump.removeprefix('-A')}\n{jump}")
    for four, six in ((1, 0), (0, 1)):
        try:
            nftables.load_xtables(replacing * four, replacing * six)
        except GuardianError:  # nothing jumps to it, so nothing can be lost
            nftables.load_xtables(new * four, new * six)


def _remove_xtables() -> None:
    """Remove rule and chain of each family; when its jump is gone already, the chain alone."""
    removal, rest = render_xtables_removal(), f"*mangle\n:{XTABLES_CHAIN} - [0:0]\n-X {XTABLES_CHAIN}\nCOMMIT\n"
    try:
        nftables.load_xtables(removal, removal)
    except GuardianError:
        nftables.load_xtables(rest, rest)
