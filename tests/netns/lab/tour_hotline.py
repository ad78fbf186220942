"""The tour's steps with the national hotline: two people list a made-up site, and take it off again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from tests.netns.lab import plan
from tests.netns.lab.home import Lab
from tests.netns.lab.hotline import AUTHORITY, LAW, Hotline, Typed, read_checked
from tests.netns.lab.step import SECONDS, Outcome, Step, describe, is_refused, tell_seen

SITE = plan.SITES["listed-1.example"]
SOON = 15.0  # seconds from a release to the home; what is measured is told
LEAST_PAUSE = 60.0  # seconds between two looks of a box, whatever calls for them
_AGAIN = 0.05  # seconds between two tries


def list_site(lab: Lab) -> Outcome:
    """A made-up site that opens; one person signs, and it still opens; the second signs, and it is refused."""
    hotline = _of(lab)
    before = lab.tablet.fetch(f"https://{SITE.name}/")
    waited = _wait_for_the_pause(lab)
    added = hotline.add(SITE.name, who="ana")
    typed = [added, hotline.approve(added.proposal, who="ion"), hotline.publish(who="ana")]
    one = lab.tablet.fetch(f"https://{SITE.name}/")
    released = hotline.sign(who="ion")
    seconds = _wait_until(lambda: _ask(lab) == ([plan.home4("router")], "16"), released, _bound(lab, released))
    addresses, error = _ask(lab)
    lab.seen.forget()
    page = lab.tablet.fetch(f"http://{SITE.name}/")
    known = {SITE.name: SITE.four}
    sni = lab.tablet.fetch(f"https://{SITE.name}/", resolve=known, timeout=SECONDS)
    phone = lab.phone.fetch(f"https://{SITE.name}/", resolve=known, timeout=SECONDS)
    says_who = page.status == 451 and AUTHORITY in page.body and LAW in page.body and SITE.name not in page.body
    happened = [
        f"before: {describe(before)}; signed by one person: {describe(one)}{waited}",
        f"{_tell(seconds)} after the release DNS says {' '.join(addresses) or 'nothing'}, EDE {error or 'none'}",
        f"the page: status {page.status}, {'with' if says_who else 'WITHOUT'} the authority and the law",
        f"by its written-down address: {describe(sni)}; the phone: {describe(phone)}; "
        + tell_seen(lab, "tls-hello", SITE.name),
    ]
    ok = before.ok and one.ok and seconds is not None and addresses == [plan.home4("router")] and error == "16"
    ok = ok and says_who and is_refused(sni) and is_refused(phone) and not lab.seen(name=SITE.name)
    return Outcome(ok, "\n".join(happened), "", _show([*typed, released]))


def unlist_site(lab: Lab) -> Outcome:
    """It was a mistake: the same two people take it off, and it opens again."""
    hotline = _of(lab)
    waited = _wait_for_the_pause(lab)
    found = hotline.run("list", "--list", "csam-md", "--state", "active")
    (number,) = (line.split()[0] for line in found.lines if SITE.name in line)
    suspended = hotline.suspend(number, who="ana")
    typed = [suspended, hotline.approve(suspended.proposal, who="ion"), hotline.publish(who="ana")]
    released = hotline.sign(who="ion")
    url = f"https://{SITE.name}/"
    seconds = _wait_until(lambda: lab.tablet.fetch(url).ok, released, _bound(lab, released))
    phone = lab.phone.fetch(url)
    happened = f"{_tell(seconds)} after the release it opens{waited}; the phone: {describe(phone)}"
    return Outcome(seconds is not None and phone.ok, happened, "", _show([*typed, released]))


def _of(lab: Lab) -> Hotline:
    assert lab.hotline is not None, "there is no hotline in this lab"
    return lab.hotline


def _ask(lab: Lab) -> tuple[list[str], str]:
    """What the box says of the site: its addresses, and the Extended DNS Error's number, "" without one."""
    told = lab.tablet.run("dig", f"@{plan.home4('router')}", "+tries=1", "+time=3", SITE.name, "A").stdout
    error = re.search(r"^; EDE: (\d+)", told, re.MULTILINE)
    return re.findall(r"\sIN\s+A\s+(\S+)$", told, re.MULTILINE), error[1] if error else ""


def _wait_until(is_so: Callable[[], bool], released: Typed, bound: float) -> float | None:
    """Return the seconds from the release until it is so, None when it is not in time."""
    while time.monotonic() - released.released < bound:
        if is_so():
            return time.monotonic() - released.released
        time.sleep(_AGAIN)
    return None


def _seconds_of_pause(lab: Lab) -> float:
    """How long the box will not look, because it has looked just now. A look by hand does not count."""
    checked = read_checked(lab)
    return 0.0 if checked == _of(lab).looked_by_hand else max(0.0, checked + LEAST_PAUSE - time.time())


def _wait_for_the_pause(lab: Lab) -> str:
    """So that what is measured is the road, and not a pause that is meant for a million boxes."""
    seconds = _seconds_of_pause(lab)
    time.sleep(seconds)
    return f" (begun {seconds:.0f} s later: a box looks once a minute at most)" if seconds > 1 else ""


def _bound(lab: Lab, released: Typed) -> float:
    """The longest that it may take: the box may have looked by itself while people typed."""
    return SOON + _seconds_of_pause(lab) + (time.monotonic() - released.released)


def _tell(seconds: float | None) -> str:
    return "TOO LATE" if seconds is None else f"{seconds:.1f} s"


def _show(typed: list[Typed]) -> str:
    return "\n".join(line for each in typed for line in (f"$ {each.command}", *(f"  {said}" for said in each.lines)))


HOTLINE_STEPS = (
    Step(
        "The national hotline lists a site",
        f"two people at the desk: {SITE.name}; then tablet and phone ask for it",
        f"with one signature it opens; within {SOON:.0f} s of the second it is refused by DNS (EDE 16, the page with "
        "authority and law) and by name, on every device",
        list_site, needs_filter=True, command="hotline",
    ),
    Step(
        "It was a mistake", "two people at the desk: suspend it", f"it opens within {SOON:.0f} s on every device",
        unlist_site, command="hotline",
    ),
)  # fmt: skip
