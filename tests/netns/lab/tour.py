"""The tour of `scripts/demo`: what a child tries, what comes of it, what the parent sees. Every step is really done.

A step is data: what it says, what it does, and whether it needs the flow filter or a command. A new one is a function
that returns an Outcome, and a line in STEPS.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.netns.lab import plan
from tests.netns.lab.console import Called, call
from tests.netns.lab.home import Lab, household
from tests.netns.lab.step import SECONDS, Outcome, Step, describe, is_refused, tell_seen
from tests.netns.lab.tour_hotline import HOTLINE_STEPS

BLOCKED = plan.SITES["blocked.example"]
NOW_SECONDS = 1.0  # "now": how long a stop may take
PARENT, PASSWORD = "Mama", "a warm cup of tea"


def open_site(lab: Lab) -> Outcome:
    fetched = lab.tablet.fetch("https://www.open.example/")
    return Outcome(fetched.ok, describe(fetched))


def blocked_name(lab: Lab) -> Outcome:
    fetched = lab.tablet.fetch("http://blocked.example/")
    explained = lab.command("explain", "--device", "tablet", "blocked.example").stdout.splitlines()
    said = [line for line in explained if line.startswith("Blocked")]
    return Outcome(fetched.status == 403 and not lab.seen("http"), describe(fetched), "\n".join(said))


def blocked_address(lab: Lab) -> Outcome:
    four = lab.tablet.fetch("https://blocked.example/", resolve={BLOCKED.name: BLOCKED.four}, timeout=SECONDS)
    six = lab.tablet.fetch("https://blocked.example/", resolve={BLOCKED.name: BLOCKED.six}, timeout=SECONDS)
    ok = is_refused(four) and is_refused(six) and not lab.seen("tls-hello", BLOCKED.name)
    return Outcome(ok, f"IPv4: {describe(four)}; IPv6: {describe(six)}; {tell_seen(lab, 'tls-hello', BLOCKED.name)}")


def blocked_quic(lab: Lab) -> Outcome:
    fetched = lab.tablet.fetch_h3(BLOCKED.name, BLOCKED.four, timeout=SECONDS)
    ok = is_refused(fetched) and not lab.seen("quic-hello", BLOCKED.name)
    return Outcome(ok, f"{describe(fetched)}; {tell_seen(lab, 'quic-hello', BLOCKED.name)}")


def blocked_http(lab: Lab) -> Outcome:
    fetched = lab.tablet.fetch("http://blocked.example/", resolve={BLOCKED.name: BLOCKED.four}, timeout=SECONDS)
    ok = fetched.status != 200 and not lab.seen("http", BLOCKED.name)
    return Outcome(ok, f"{describe(fetched)}; {tell_seen(lab, 'http', BLOCKED.name)}")


def shared_address(lab: Lab) -> Outcome:
    site = plan.SITES["shared.blocked.example"]
    fine = lab.tablet.fetch("https://shared.open.example/")
    refused = lab.tablet.fetch(f"https://{site.name}/", resolve={site.name: site.four}, timeout=SECONDS)
    ok = fine.ok and is_refused(refused) and not lab.seen("tls-hello", site.name)
    return Outcome(ok, f"shared.open.example: {describe(fine)}; shared.blocked.example: {describe(refused)}")


def foreign_dns(lab: Lab) -> Outcome:
    foreign = plan.wan4(plan.FOREIGN)
    told = [lab.tablet.dig("blocked.example", "A", way, server=foreign) for way in ("+notcp", "+tcp")]
    own = [plan.home4("router")]
    ok = told == [own, own] and not lab.seen("dns", server=foreign) and not lab.seen("dns-tcp", server=foreign)
    return Outcome(ok, f"UDP: {' '.join(told[0]) or 'no answer'}; TCP: {' '.join(told[1]) or 'no answer'}")


def encrypted_dns(lab: Lab) -> Outcome:
    words = ("--doh-url", "https://dns.google/dns-query")
    over_https = lab.tablet.fetch(
        "https://www.open.example/", *words, resolve={"dns.google": plan.FAMOUS[0]}, timeout=SECONDS
    )
    over_tls = lab.tablet.run_python(CONNECT, plan.wan4(plan.UNLISTED), str(plan.DOT), str(SECONDS)).stdout.strip()
    ok = over_https.status == 0 and over_tls == "refused" and not lab.seen("doh") and not lab.seen("dot")
    return Outcome(ok, f"DoH: {describe(over_https)}; DoT: {over_tls}")


def unlisted_doh(lab: Lab) -> Outcome:
    resolver = plan.SITES["resolver.unlisted.example"]
    words = ("--doh-url", f"https://{resolver.name}/dns-query")
    fetched = lab.tablet.fetch(
        "https://blocked.example/", *words, resolve={resolver.name: resolver.four}, timeout=SECONDS
    )
    answered = "the resolver answered" if lab.seen("doh", BLOCKED.name) else "the resolver was not reached"
    ok = fetched.status == 0 and not lab.seen("tls-hello", BLOCKED.name)
    return Outcome(ok, f"{answered}; the site: {describe(fetched)}")


def vpn(lab: Lab) -> Outcome:
    server = plan.SITES["vpn.open.example"].four
    told = lab.tablet.run_python(HANDSHAKE, server, str(plan.WIREGUARD), str(SECONDS)).stdout.strip()
    return Outcome(told != "answered" and not lab.seen("wireguard"), f"{told}; {tell_seen(lab, 'wireguard', '')}")


def proxy(lab: Lab) -> Outcome:
    address = plan.SITES["proxy.open.example"].four
    ways = {"SOCKS": f"socks5h://{address}:{plan.SOCKS}", "CONNECT": f"http://{address}:{plan.PROXY}"}
    fetched = {
        name: lab.tablet.fetch("https://blocked.example/", "--noproxy", "", "--proxy", way, timeout=SECONDS)
        for name, way in ways.items()
    }
    ok = all(is_refused(way) for way in fetched.values()) and not lab.seen("socks") and not lab.seen("connect")
    return Outcome(ok, "; ".join(f"{name}: {describe(way)}" for name, way in fetched.items()))


def dns_first(lab: Lab) -> Outcome:
    site = plan.SITES["news.open.example"]
    lab.set_household(household(tablet="strict"))
    try:
        known = lab.tablet.fetch(f"https://{site.name}/", resolve={site.name: site.four}, timeout=SECONDS)
        asked = lab.tablet.fetch(f"https://{site.name}/", family=4)
    finally:
        lab.set_household(household())
    return Outcome(is_refused(known) and asked.ok, f"without asking: {describe(known)}; asked: {describe(asked)}")


def stranger(lab: Lab) -> Outcome:
    fetched = lab.stranger.fetch("https://blocked.example/", resolve={BLOCKED.name: BLOCKED.four}, timeout=SECONDS)
    return Outcome(is_refused(fetched) and not lab.seen("tls-hello"), describe(fetched))


def pause(lab: Lab) -> Outcome:
    with lab.tablet.download("https://video.open.example/stream", family=4) as download:
        download.wait_for_more()
        typed = time.monotonic()
        done = lab.command("household", "pause", "--profile", "ana")
        paused = time.monotonic()
        time.sleep(2 * NOW_SECONDS)
        last = download.last - typed
        silent = not download.received(since=paused + NOW_SECONDS)
        helpline = lab.tablet.fetch("https://telefonulcopilului.md/", timeout=SECONDS)
        resumed = lab.command("household", "resume", "--profile", "ana")
        again = lab.tablet.fetch("https://www.open.example/")
    stop = f"the last byte {last:.2f} s after the command was typed" if silent else "bytes still come"
    happened = f"{stop}; helpline while paused: {describe(helpline)}; after the resume: {describe(again)}"
    parent = "\n".join(line.stdout.splitlines()[0] for line in (done, resumed) if line.stdout)
    return Outcome(silent and helpline.ok and again.ok, happened, parent)


def parents_phone(lab: Lab) -> Outcome:
    page = lab.phone.fetch("https://blocked.example/")
    quic = lab.phone.fetch_h3("quic.open.example", plan.SITES["quic.open.example"].four, timeout=SECONDS)
    server = plan.SITES["vpn.open.example"].four
    tunnel = lab.phone.run_python(HANDSHAKE, server, str(plan.WIREGUARD), str(SECONDS)).stdout.strip()
    happened = f"the site: {describe(page)}; HTTP/3: {describe(quic)}; VPN: {tunnel}"
    return Outcome(page.ok and quic.ok and tunnel == "answered", happened)


def first_visit(lab: Lab) -> Outcome:
    code = lab.command("web", "--claim-code").stdout.strip()
    tries = {
        "the child's tablet": claim(lab, "tablet", code),
        "a wrong code": claim(lab, "phone", "AAAAA-AAAAA"),
        "the right one": claim(lab, "phone", code),
        "once more": claim(lab, "phone", code),
    }
    happened = "; ".join(f"{who}: {tried.code or f'{PARENT} is in'}" for who, tried in tries.items())
    return Outcome([tried.status for tried in tries.values()] == [403, 403, 201, 409], happened)


def claim(lab: Lab, role: str, code: str) -> Called:
    """Make the first visit from a device; on the phone the session is kept for later steps."""
    body = {"claim_code": code, "name": PARENT, "password": PASSWORD, "language": "en", "timezone": "UTC"}
    device = lab.phone if role == "phone" else lab.tablet
    return call(device, "POST", "/claim", body, cookies=session_of(lab) if role == "phone" else None)


def session_of(lab: Lab) -> Path:
    """The file with the parent's session."""
    return lab.guardian.folder / "mama.cookies"


def ask_and_answer(lab: Lab) -> Outcome:
    site, cookies = "www.tiktok.com", session_of(lab)
    closed = lab.tablet.fetch(f"http://{site}/")
    asked = call(lab.tablet, "POST", "/child/requests", {"kind": "site", "site": site, "message": "Please!"})
    waiting = [
        each
        for each in call(lab.phone, "GET", "/requests", cookies=cookies).value["requests"]
        if each["state"] == "open"
    ]
    parent = "\n".join(
        f"request: {each['profile_name']} asks for {each['site']} ({each['why']}): {each['message']}"
        for each in waiting
    )
    answered = call(lab.phone, "POST", f"/requests/{waiting[0]['id']}/answer", {"answer": "grant"}, cookies)
    since = time.monotonic()
    opened = lab.tablet.fetch(f"http://{site}/")
    while not opened.ok and time.monotonic() - since < NOW_SECONDS:
        opened = lab.tablet.fetch(f"http://{site}/")
    told = call(lab.tablet, "GET", "/child").value["requests"][0]
    happened = (
        f"before: {describe(closed)}; asked: {asked.status}; the yes: {answered.status}; "
        f"{time.monotonic() - since:.2f} s later: {describe(opened)}; "
        f"the child reads: {told['state']}, by {told['answered_by']}"
    )
    ok = closed.status == 403 and opened.ok and (told["state"], told["answered_by"]) == ("granted", PARENT)
    return Outcome(ok, happened, parent)


def show(*words: str) -> Callable[[Lab], Outcome]:
    """Return a step that shows what a command of the command line prints."""

    def act(lab: Lab) -> Outcome:
        done = lab.command(*words)
        return Outcome(done.returncode == 0 and bool(done.stdout), f"exit code {done.returncode}", done.stdout.rstrip())

    return act


STEPS = (
    Step("An open site", "tablet: https://www.open.example", "it opens", open_site),
    Step("A blocked site", "tablet: http://blocked.example", "the block page", blocked_name),
    Step(
        "The same, its address known from elsewhere",
        f"tablet: https://blocked.example at {BLOCKED.four} and {BLOCKED.six}",
        "refused, before the server reads the name", blocked_address, needs_filter=True,
    ),
    Step("The same, over HTTP/3", f"tablet: QUIC to {BLOCKED.four}", "refused", blocked_quic, needs_filter=True),
    Step(
        "The same, without TLS", f"tablet: http://blocked.example at {BLOCKED.four}",
        "the server never gets the request",
        blocked_http, needs_filter=True,
    ),
    Step(
        "Two sites on one address", "tablet: shared.open.example, then shared.blocked.example",
        "one opens, one is refused",
        shared_address, needs_filter=True,
    ),
    HOTLINE_STEPS[0],
    Step(
        "Another DNS server", f"tablet: dig @{plan.wan4(plan.FOREIGN)} blocked.example",
        "Guardian answers in its place", foreign_dns, needs_filter=True,
    ),
    Step(
        "Encrypted DNS", f"tablet: DoH to dns.google at {plan.FAMOUS[0]}, DoT to {plan.wan4(plan.UNLISTED)}", "refused",
        encrypted_dns, needs_filter=True, alerts=True,
    ),
    Step(
        "A DoH server that no list knows", "tablet: DoH to resolver.unlisted.example, then the blocked site",
        "the site is refused by its name", unlisted_doh, needs_filter=True,
    ),
    Step("A VPN of one's own", "tablet: WireGuard's first message", "no answer", vpn, needs_filter=True, alerts=True),
    Step("Proxies", "tablet: SOCKS5 and CONNECT to the blocked site", "refused", proxy, needs_filter=True, alerts=True),
    Step(
        "A strict profile (DNS first)", "tablet: an open site by its address, then by its name",
        "refused, then it opens", dns_first, needs_filter=True, alerts=True,
    ),
    Step(
        "A device that nobody has named", f"stranger: https://blocked.example at {BLOCKED.four}",
        "refused: it has the profile of new devices", stranger, needs_filter=True, alerts=True,
    ),
    Step(
        "Pause, while a video runs", "parent: guardian household pause --profile ana",
        "it stops within a second, the helpline opens; resume brings all back", pause, needs_filter=True,
    ),
    Step("The parent's phone", "phone: the blocked site, HTTP/3, a VPN", "all of it works", parents_phone),
    Step(
        "The first visit", "the claim code, a name and a password: from the tablet, then from the phone",
        "only the phone with the right code, and only once", first_visit, command="web",
    ),
    Step(
        "A child asks, a parent answers", "tablet: asks for www.tiktok.com; phone: yes, for today",
        "it opens within a second, and the child reads who said yes", ask_and_answer, command="web",
    ),
    HOTLINE_STEPS[1],
    Step("Alerts", "parent: guardian alerts", "attempts, grouped", show("alerts"), needs_filter=True, command="alerts"),
    Step("Use", "parent: guardian usage", "minutes of today", show("usage"), needs_filter=True, command="usage"),
    Step("Status", "parent: guardian status", "how the gateway is", show("status")),
)  # fmt: skip


CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
    print("connected")
except OSError as error:
    print("refused" if isinstance(error, ConnectionError) else error)
"""

HANDSHAKE = """
import socket, sys
from tests.netns.lab.datagrams import wireguard_initiation
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.connect((sys.argv[1], int(sys.argv[2])))
    client.settimeout(float(sys.argv[3]))
    try:
        client.send(wireguard_initiation())
        client.recv(2048)
        print("answered")
    except TimeoutError:
        print("no answer")
    except OSError as error:
        print("refused")
"""
