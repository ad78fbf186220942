"""What `guardian doctor` looks at of the hotline's feed: its settings, its state, and whether it is enforced.

Nothing here names what is listed, but for the feed's own test name, which everybody may look up.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator

from guardian.cli.doctor_machine import FAIL, OK, WARN, Finding, list_folder, read_lines
from guardian.config import Config, Endpoint
from guardian.config.values import HotlineConfig
from guardian.errors import FormError, GuardianError, ListError
from guardian.hotline.feed_health import judge_feed
from guardian.hotline.feed_state import (
    CLOCK,
    DAMAGED,
    DISK,
    EXPIRED,
    GROWTH,
    MISSING,
    NOT_SIGNED,
    OFFLINE,
    ROLLBACK,
    TOO_LARGE,
    TOO_SLOW,
    FeedState,
    feed_folder,
    load_state,
)
from guardian.names import parse_name

CHECK = "hotline"
ANSWER_SECONDS = 5.0  # a name that nobody asked for yet is looked up slowly: 3 seconds at most
MAX_ROOT_BYTES = 128 * 1024
_ESTABLISHED = "01"
_TELL = "tell whoever publishes the feed; what is in force stays"
_ADVICE = {
    OFFLINE: "is this machine online, and does a firewall let it reach 'hotline.url'? it is tried again by itself",
    TOO_SLOW: "look at the line to the internet; it is tried again by itself",
    EXPIRED: "the hotline has to sign anew: tell whoever publishes the feed; what is in force stays",
    NOT_SIGNED: f"is 'hotline.root' the one of this feed? else {_TELL}",
    ROLLBACK: f"a mirror that is behind, or an old copy put in the feed's place: if it stays, {_TELL}",
    TOO_LARGE: _TELL,
    GROWTH: "it grew at once by more than one list's people may add: the others have to agree; what is in force stays",
    DAMAGED: f"a proxy or a page of the provider may answer in the feed's place; if it stays, {_TELL}",
    CLOCK: "set the clock (`timedatectl set-ntp true`, or the router's NTP)",
    DISK: "make room, and give the state directory to the user of the service",
    MISSING: "correct 'hotline.lists'",
}


def check_feed(config: Config, now: float) -> Iterator[Finding]:
    """Yield what there is to say of the hotline's feed: its settings, its state, the broker."""
    hotline = config.hotline
    if not hotline.url:
        yield Finding(CHECK, OK, "no feed of a hotline is set ('hotline.url')")
        return
    yield check_root(hotline.root)
    if importlib.util.find_spec("tuf") is None:
        yield Finding(CHECK, FAIL, "the Python package 'tuf' is missing", "pip install 'guardian-gateway[feed]'")
    try:
        state = load_state(feed_folder(config.state))
    except ListError as error:
        yield Finding(CHECK, FAIL, str(error), "`guardian sync --feed` makes it anew")
        return
    if state is None:
        yield Finding(
            CHECK, WARN, f"{hotline.url} was never looked at", "`guardian sync --feed`; `guardian web` does it"
        )
        return
    yield from describe_state(state, now)
    if hotline.push.broker is not None:
        yield check_broker(hotline)


def check_root(path: str) -> Finding:
    """Tell whether the root of trust can be read; whether it can be believed, `guardian sync` finds out."""
    advice = "'hotline.root' names the root.json that came with the box: ask the provider of the feed for it"
    try:
        with open(path, "rb") as file:
            made = json.loads(file.read(MAX_ROOT_BYTES))
        if made["signed"]["_type"] != "root":
            raise ValueError("it is of another role")
    except OSError as error:
        return Finding(CHECK, FAIL, f"{path}: {error.strerror}", advice)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Finding(CHECK, FAIL, f"{path}: this is no root of trust: {error}", advice)
    return Finding(CHECK, OK, f"{path} can be read")


def describe_state(state: FeedState, now: float) -> Iterator[Finding]:
    """Yield what the last looks at the feed have found."""
    health = judge_feed(state, now)
    for list_id, code, error in state.troubles():
        level = WARN if code in (OFFLINE, TOO_SLOW) else FAIL
        where = f"{list_id}: " if list_id else ""
        yield Finding(CHECK, level, f"{where}{code}: {error}", _ADVICE.get(code, _TELL))
    if state.clock_behind > 0:
        message = f"the clock was {state.clock_behind / 3600:,.0f} hours behind at the last look at the feed"
        yield Finding(CHECK, WARN, message, _ADVICE[CLOCK])
    if health.is_stale:
        days = int((health.age or 0) // 86400)
        message = f"the feed was last verified {days} days ago" if health.age is not None else "it was never verified"
        yield Finding(CHECK, WARN, message, "let `guardian web` run, or `guardian sync --feed` by the clock")
    elif state.is_expired(now):
        advice = "`guardian sync --feed`; what is in force is enforced all the same"
        yield Finding(CHECK, WARN, "what was last verified has expired since", advice)
    if state.needs_update:
        message = f"the hotline asks for Guardian {state.minimum_version} or newer"
        yield Finding(CHECK, WARN, message, "update Guardian: newer lists may need it")
    installed = {key: one for key, one in state.lists.items() if one.serial}
    if not installed:
        yield Finding(CHECK, FAIL, "no list of the hotline is here yet", "`guardian sync --feed` says why")
    elif not state.troubles():
        total = sum(one.entries for one in installed.values())
        yield Finding(CHECK, OK, f"{state.name}: {', '.join(installed)}: {total:,} entries, signed as they should be")


def check_broker(hotline: HotlineConfig) -> Finding:
    """Tell whether somebody of ours is connected to the broker."""
    broker = hotline.push.broker
    assert broker is not None
    connected = find_push(broker.port)
    if connected is None:
        return Finding(CHECK, OK, f"whether the broker {broker} is connected only root can see")
    if connected:
        return Finding(CHECK, OK, f"connected to the broker {broker}")
    advice = "its log says why (event=no-push); the feed is polled all the same"
    return Finding(CHECK, WARN, f"`guardian web` is not connected to the broker {broker}", advice)


def find_push(port: int, proc: str = "/proc") -> bool | None:
    """Tell whether a process of Guardian has a connection to a port elsewhere; None when that cannot be seen."""
    inodes = set()
    for family in ("tcp", "tcp6"):
        for line in read_lines(f"{proc}/net/{family}")[1:]:
            fields = line.split()
            if len(fields) >= 10 and fields[3] == _ESTABLISHED and int(fields[2].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    if not inodes:
        return False
    for process in (name for name in list_folder(proc) if name.isdigit()):
        if "guardian" not in "".join(read_lines(f"{proc}/{process}/cmdline")):
            continue
        for descriptor in list_folder(f"{proc}/{process}/fd"):
            try:
                link = os.readlink(f"{proc}/{process}/fd/{descriptor}")
            except OSError:
                continue  # it was closed meanwhile
            found = re.fullmatch(r"socket:\[(\d+)\]", link)
            if found and found[1] in inodes:
                return True
    return False if os.geteuid() == 0 else None


def check_enforced(config: Config, status: dict[str, object]) -> Iterator[Finding]:
    """Yield whether a running gateway enforces the feed. `status` is the gateway's own."""
    if not config.hotline.url:
        return
    in_force = status.get("hotline")
    in_force = in_force if isinstance(in_force, dict) else {}
    if in_force.get("error"):
        yield Finding(CHECK, FAIL, f"the gateway refuses the lists: {in_force['error']}", "`guardian sync --feed`")
    try:
        state = load_state(feed_folder(config.state)) or FeedState()
    except ListError:
        return  # told by check_feed
    chosen = config.hotline.lists
    wanted = {key: one.serial for key, one in state.lists.items() if one.serial and (not chosen or key in chosen)}
    if not wanted:
        return
    found = {one["id"]: one["serial"] for one in in_force.get("lists", ())}
    if found != wanted:
        text = ", ".join(f"{key} {serial}" for key, serial in sorted(wanted.items()))
        yield Finding(CHECK, FAIL, f"the gateway does not enforce {text}", "`guardian gateway --reload`")
    elif state.test_name and config.dns.listen:
        yield ask_test_name(config.dns.listen[0], state.test_name)


def ask_test_name(endpoint: Endpoint, text: str) -> Finding:
    """Ask the gateway for the name that is listed for this, as any device of the home would."""
    from guardian.wire.dns import (
        CLASS_IN,
        EDE_BLOCKED,
        EDE_CENSORED,
        FLAG_RD,
        OPTION_EDE,
        RCODE_REFUSED,
        TYPE_A,
        Edns,
        Message,
        Question,
        build_message,
        parse_message,
    )

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(endpoint.host, endpoint.host)  # noqa: S104
    try:
        question = Question(parse_name(text), TYPE_A, CLASS_IN)
    except GuardianError as error:
        return Finding(CHECK, WARN, f"the feed's test name is none: {error}", _TELL)
    query = build_message(Message(secrets.randbits(16), FLAG_RD, question, edns=Edns()))
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(ANSWER_SECONDS)
        try:
            asker.connect((host, endpoint.port))
            asker.send(query)
            answer = parse_message(asker.recv(65535))
        except (OSError, FormError) as error:
            return Finding(CHECK, FAIL, f"the test name {text} was not answered: {error}", "see the gateway's log")
    if answer.rcode == RCODE_REFUSED:
        return Finding(CHECK, WARN, f"{host} refuses this machine", "add it to 'dns.clients' to have this checked")
    options = answer.edns.options if answer.edns else ()
    codes = {int.from_bytes(value[:2]) for number, value in options if number == OPTION_EDE}
    if codes & {EDE_BLOCKED, EDE_CENSORED}:
        return Finding(CHECK, OK, f"the test name {text} is refused, as it should be")
    advice = "`guardian sync --feed`, then `guardian explain` for this name; if it stays, report it"
    return Finding(CHECK, FAIL, f"the test name {text} is not refused", advice)
