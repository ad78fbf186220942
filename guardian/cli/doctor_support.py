"""What `guardian doctor --support` prints: for a provider's support, who may know what is broken and nothing of a home.

A finding is told by the word of its check and its level. Its sentence and its advice stay: they hold names of
interfaces, addresses, files and, of a wrong setting, what somebody has written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from guardian.cli.doctor_machine import FAIL, OK, WARN, Finding

SCHEMA = 1
OTHER = "other"
# Every word that a check may have, and no other leaves the home. docs/isp.md says what each of them is about.
CHECKS = frozenset(
    {
        "answers", "bridges", "clock", "connections", "filter", "filter-kernel", "filter-offload", "filter-queue",
        "filter-rights", "filter-rules", "filter-sysctls", "forwarding", "gateway", "hotline", "household",
        "interface", "ipv6", "lists", "memory", "offloading", "other-rules", "port", "settings", "state",
        "systemd-resolved", "time", "time-zone", "upstream",
    }
)  # fmt: skip


def make_report(findings: Iterable[Finding], health: dict[str, Any]) -> dict[str, Any]:
    """Return the report: how often each check was well, to look at, or broken, and the health of the box."""
    counts = Counter((name_check(finding.check), finding.level) for finding in findings)
    checks = sorted({code for code, _ in counts})
    return {
        "schema": SCHEMA,
        "ok": not any(level == FAIL for _, level in counts),
        "findings": [{"code": code, **{level: counts[code, level] for level in (OK, WARN, FAIL)}} for code in checks],
        "health": health,
    }


def name_check(check: str) -> str:
    """Return the code of a check: `port 53/udp` is `port`, and what nobody knows is `other`."""
    code = check.partition(" ")[0] if check.startswith("port ") else check.replace(" ", "-")
    return code if code in CHECKS else OTHER
