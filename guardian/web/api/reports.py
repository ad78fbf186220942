"""Reports to the hotline: made by parents or from a child's device, read by nobody in the home."""

from __future__ import annotations

from guardian.web import reports
from guardian.web.routing import CHILD, Call, Endpoint
from guardian.web.shapes.requests import NewReport, ReportReceipt, ReportState


def get_reports(call: Call[None]) -> ReportState:
    """Return how many reports wait, were sent, were lost."""
    return reports.tell_state(call.console)


def report_as_parent(call: Call[NewReport]) -> ReportReceipt:
    """Keep a report of a signed-in person until it is sent. Which person is not kept."""
    return _take(call, reports.OTHER_REPORTS)


def report_from_device(call: Call[NewReport]) -> ReportReceipt:
    """Keep a report from a device of the home until it is sent. Which device is not kept."""
    return _take(call, reports.CHILD_REPORTS)


def _take(call: Call[NewReport], most: int) -> ReportReceipt:
    whose = call.console.gateway.whose(call.caller.address)
    # A device may have many addresses; only of one that nobody knows the address must do.
    source = whose.device or whose.mac or call.caller.address
    is_stranger = not whose.device and not call.caller.who
    return reports.take_report(call.console, call.body, source, most, call.now, is_stranger=is_stranger)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/reports", "read", "How many reports to the hotline wait", get_reports, ReportState),
    Endpoint(
        "POST", "/reports", "requests", "Report to the hotline", report_as_parent, ReportReceipt, NewReport, status=202
    ),
    Endpoint(
        "POST",
        "/child/reports",
        CHILD,
        "Report to the hotline from a device of the home",
        report_from_device,
        ReportReceipt,
        NewReport,
        status=202,
    ),
)
