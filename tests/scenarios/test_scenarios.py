"""Evenings of a home, told in text files and run against the pure policy with a fake clock.

The language, a line each; `#` begins a comment. First the home:

    ZONE Europe/Chisinau                            an IANA name or a POSIX TZ string
    LIST category:gambling bet365.com casino.example     a tag and what is listed under it, each with all below
    TWIN www.google.com forcesafesearch.google.com  safe search
    TWIN www.youtube.com restrict.youtube.com strict     a mode of YouTube
    GROUP games roblox minecraft                    the services of a group
    PROFILE ana blocks=gambling,social safe-search youtube=strict minutes=60 week=300 unfiltered allow-list-only
                no-bypass dns-first
    MINUTES youtube 30 week=100                     a day, a week, or both; of a service or `group:games`, as above
    OFFLINE mon-fri,sun 21:00-07:00 bedtime         a window of the profile above; past midnight if the end is earlier
    OFFLINE 2026-12-31 none                         an exception: the windows that start on that date, or none
    SERVICE tiktok block mon-sun 17:00-18:00        or `allow`; with hours: open in those hours
    RULE block example.com until 2026-11-24 08:00   of the profile above; before any profile it is the household's
    DEVICE ana-tablet ana
    NEWCOMERS guest                                 the profile of devices without a name

Then what happens. Every time is by the clock on the wall, and the clock only goes forward:

    AT 2026-11-23 Mon 21:05                         later also `AT Tue 07:00`, `AT 07:00`: the next such moment;
    CLOCK unset                                     the box does not know the time yet; CLOCK set
    AT 03:30 again                                  ... the second time, in the night the clock goes back
    ana-tablet QUERY www.example.com CNAME cdn.example   also TLS NAME, UNREADABLE, WAY bypass:vpn; any word is a
                                                    device, `?` a stranger
    EXPECT blocked category:gambling until Tue 07:00     allowed, blocked, rewritten; a reason or rule (with - for
                                                    spaces); `to NAME`; `until forever`. About the last question.
    SAYS Blocked: it is bedtime                     the beginning of the explanation's sentence
    PAUSE ana-tablet until 19:30                    a device or a profile; `until forever`; RESUME ana-tablet
    USED ana 60                                     minutes that a profile has used on this day; `USED ana 60 youtube`
    BONUS ana 30 youtube                            minutes that a parent gives for this day; without a service: of all
    USES ana until 16:30 youtube                    the clock goes on, and every minute of it counts, for the service
                                                    and its group too; kept postures must be right all the time

PROFILE, RULE (for the profile of the last PROFILE line) and the other lines of the home may come later too: then the
parents change it. As in the gateway, the posture of a device is kept until it says, and must be right until then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta, tzinfo
from datetime import time as clock_time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from guardian.errors import TextError
from guardian.names import format_name, parse_name, suffixes
from guardian.policy.compile import Policy, compile_policy, group_of
from guardian.policy.decide import decide, judge, judge_answer, judge_bypass, posture_of
from guardian.policy.explain import explain
from guardian.policy.model import (
    FOREVER,
    Action,
    Bonus,
    Catalogue,
    DayException,
    Decision,
    Device,
    GroupMinutes,
    Household,
    Kind,
    Profile,
    Rule,
    SafeSearch,
    Schedule,
    Service,
    ServiceRule,
    Subject,
    Window,
    YouTube,
)
from guardian.policy.posix_tz import parse_posix_tz
from guardian.policy.posture import Posture
from guardian.policy.rules import parse_rule
from guardian.policy.usage import Usage

HERE = Path(__file__).parent
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
FLAGS = {
    "unfiltered": ("filtered", False),
    "allow-list-only": ("allow_list_only", True),
    "no-bypass": ("bypass_protection", False),
    "dns-first": ("strict", True),
}
USE_SECONDS = 10  # how often minutes are counted
ACTIONS = {"allowed": Action.ALLOW, "blocked": Action.BLOCK, "rewritten": Action.REWRITE}


class DictLists:
    """NameLists in the plainest way."""

    def __init__(self, listed: dict[str, list[bytes]]) -> None:
        self._listed = listed

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(self._listed)

    def lookup(self, name: bytes) -> int:
        found = {tag for tag, _ in self.matches(name)}
        return sum(1 << bit for bit, tag in enumerate(self._listed) if tag in found)

    def matches(self, name: bytes) -> list[tuple[str, bytes]]:
        parents = list(suffixes(name))
        return [(tag, listed) for tag, names in self._listed.items() for listed in names if listed in parents]


class ScenarioError(AssertionError):
    """A line that is wrong, or an expectation that does not hold."""


class Scenario:
    """One home and its clock; `run` goes through the lines of a file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.zone_text = "UTC0"
        self.zone: tzinfo = parse_posix_tz("UTC0")
        self.listed: dict[str, list[bytes]] = {}
        self.safe: dict[bytes, bytes] = {}
        self.youtube: dict[bytes, dict[YouTube, bytes]] = {}
        self.profiles: dict[str, Profile] = {}
        self.devices: dict[str, Device] = {}
        self.rules: tuple[Rule, ...] = ()
        self.newcomers = ""
        self.last_profile = ""
        self.services: dict[str, Service] = {}
        self.usage = Usage()
        self.now = 0.0
        self.policy: Policy | None = None
        self.postures: dict[str, Posture] = {}
        self.asked: tuple[Posture, bytes, Decision] | None = None
        self.expectations = 0
        self.clock_unset = False

    def run(self, lines: Iterable[str]) -> None:
        for number, line in enumerate(lines, 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            try:
                self.step(words)
            except (ScenarioError, TextError, ValueError, KeyError, IndexError) as error:
                raise ScenarioError(f"{self.name}:{number}: {line.strip()}\n    {error!s}") from error

    def step(self, words: list[str]) -> None:
        if len(words) > 1 and words[1] in ("QUERY", "TLS", "UNREADABLE", "WAY"):
            self.ask(words[0], words[1:])
            return
        method = getattr(self, "do_" + words[0].lower(), None)
        if method is None:
            raise ScenarioError(f"unknown word {words[0]!r}")
        if words[0] not in ("AT", "EXPECT", "SAYS", "USES"):
            self.policy = None
            self.postures.clear()
        method(words[1:])

    # The home

    def do_zone(self, words: list[str]) -> None:
        self.zone_text = words[0]
        self.zone = ZoneInfo(words[0]) if "/" in words[0] and "," not in words[0] else parse_posix_tz(words[0])

    def do_list(self, words: list[str]) -> None:
        self.listed.setdefault(words[0], []).extend(parse_name(name) for name in words[1:])

    def do_twin(self, words: list[str]) -> None:
        name, twin = parse_name(words[0]), parse_name(words[1])
        if len(words) > 2:
            self.youtube.setdefault(name, {})[YouTube(words[2])] = twin
        else:
            self.safe[name] = twin

    def do_profile(self, words: list[str]) -> None:
        values: dict[str, object] = {}
        safe = SafeSearch()
        for word in words[1:]:
            key, _, value = word.partition("=")
            if key == "blocks":
                values["categories"] = frozenset(value.split(","))
            elif key == "minutes":
                minutes = tuple(int(part) for part in value.split(","))
                values["minutes"] = minutes * 7 if len(minutes) == 1 else minutes
            elif key == "week":
                values["week_minutes"] = int(value)
            elif key == "safe-search":
                safe = replace(safe, enabled=True)
            elif key == "youtube":
                safe = replace(safe, youtube=YouTube(value))
            else:
                name, flag = FLAGS[key]
                values[name] = flag
        self.last_profile = words[0]
        self.profiles[words[0]] = Profile(words[0], words[0].title(), safe_search=safe, **values)  # type: ignore[arg-type]

    def change_profile(self, **values: object) -> None:
        self.profiles[self.last_profile] = replace(self.profiles[self.last_profile], **values)  # type: ignore[arg-type]

    def do_offline(self, words: list[str]) -> None:
        schedule = self.profiles[self.last_profile].schedule
        if not words[0][0].isdigit():
            window = read_window(words[0], words[1], " ".join(words[2:]) or "bedtime")
            self.change_profile(schedule=replace(schedule, windows=(*schedule.windows, window)))
            return
        windows = () if words[1] == "none" else (read_window("mon", words[1], " ".join(words[2:]) or "bedtime"),)
        exception = DayException(date.fromisoformat(words[0]), windows)
        self.change_profile(schedule=Schedule(schedule.windows, (*schedule.exceptions, exception)))

    def do_service(self, words: list[str]) -> None:
        hours = (read_window(words[2], words[3], "open"),) if len(words) > 2 else ()
        rule = ServiceRule(words[0], Action(words[1]), hours)
        kept = tuple(old for old in self.profiles[self.last_profile].services if old.service != rule.service)
        self.change_profile(services=(*kept, rule))

    def do_rule(self, words: list[str]) -> None:
        expires = self.moment(words[3:]) if "until" in words else FOREVER
        rule = parse_rule(words[1], Action(words[0]), expires)
        if self.last_profile:
            self.change_profile(rules=(*self.profiles[self.last_profile].rules, rule))
        else:
            self.rules = (*self.rules, rule)

    def do_group(self, words: list[str]) -> None:
        self.services.update({word: Service(word, word.title(), words[0], ()) for word in words[1:]})

    def do_minutes(self, words: list[str]) -> None:
        days: tuple[int, ...] = ()
        week = None
        for word in words[1:]:
            key, _, value = word.rpartition("=")
            if key:
                week = int(value)
            else:
                minutes = tuple(int(part) for part in value.split(","))
                days = minutes * 7 if len(minutes) == 1 else minutes
        limits = self.profiles[self.last_profile].group_minutes
        self.change_profile(group_minutes=(*limits, GroupMinutes(words[0], days, week)))

    def do_device(self, words: list[str]) -> None:
        self.devices[words[0]] = Device(words[0], words[0], words[1])

    def do_newcomers(self, words: list[str]) -> None:
        self.newcomers = words[0]

    # What happens

    def do_at(self, words: list[str]) -> None:
        moment = self.moment(words)
        if moment <= self.now:
            raise ScenarioError("the clock goes forward only")
        self.now = moment

    def do_clock(self, words: list[str]) -> None:
        self.clock_unset = {"unset": True, "set": False}[words[0]]

    def do_pause(self, words: list[str]) -> None:
        until = FOREVER if words[2] == "forever" else self.moment(words[2:])
        if words[0] in self.devices:
            self.devices[words[0]] = replace(self.devices[words[0]], paused_until=until)
        else:
            self.profiles[words[0]] = replace(self.profiles[words[0]], paused_until=until)

    def do_resume(self, words: list[str]) -> None:
        if words[0] in self.devices:
            self.devices[words[0]] = replace(self.devices[words[0]], paused_until=0.0)
        else:
            self.profiles[words[0]] = replace(self.profiles[words[0]], paused_until=0.0)

    def do_used(self, words: list[str]) -> None:
        of, today = " ".join(words[2:]), self.today()
        more = float(words[1]) - self.usage.today(words[0], of, today)
        if more < 0:
            raise ScenarioError("nobody gets minutes back; a parent can give a bonus")
        self.usage.add(words[0], of, today, more)

    def do_bonus(self, words: list[str]) -> None:
        profile = self.profiles[words[0]]
        given = Bonus(self.today(), int(words[1]), " ".join(words[2:]))
        self.profiles[words[0]] = replace(profile, bonuses=(*profile.bonuses, given))

    def do_uses(self, words: list[str]) -> None:
        profile, services = words[0], [word for word in words[2:] if word in self.services]
        end = self.moment([word for word in words[2:] if word not in services])
        counted = {"", *services, *(group_of(self.the_policy(), service) for service in services)}
        while self.now < end:
            for of in counted:
                self.usage.add(profile, of, self.today(), min(USE_SECONDS, end - self.now) / 60)
            self.now = min(self.now + USE_SECONDS, end)
            for device, kept in self.postures.items():
                fresh = posture_of(self.the_policy(), device, self.now)
                facts = [(found.stop and found.stop.rule, found.spent_by) for found in (kept, fresh)]
                if self.now < kept.until and facts[0] != facts[1]:
                    raise ScenarioError(
                        f"at {self.show(self.now)} a kept posture says {facts[0]}, a fresh one {facts[1]}"
                    )
                if self.now >= kept.until:
                    self.postures[device] = fresh

    def today(self) -> date:
        return datetime.fromtimestamp(self.now, self.zone).date()

    def ask(self, device: str, words: list[str]) -> None:
        policy = self.the_policy()
        device = "" if device == "?" else device
        posture = self.postures.get(device)
        if posture is None or self.now >= posture.until:
            posture = self.postures[device] = posture_of(policy, device, self.now)
        if words[0] == "WAY":
            self.asked = posture, b"", judge_bypass(posture, words[1])
            return
        kind = {"QUERY": Kind.DNS_QUERY, "TLS": Kind.TLS, "UNREADABLE": Kind.UNREADABLE}[words[0]]
        name = parse_name(words[1]) if len(words) > 1 else b""
        decision = judge(posture, kind, name, policy.lists.lookup(name) if name else 0)
        fresh = decide(policy, Subject(device, kind, name), self.now)
        # Where minutes run, a kept `until` may be earlier than a fresh one; never later.
        if fresh._replace(until=decision.until) != decision or fresh.until < decision.until:
            raise ScenarioError(f"a kept posture says {decision}, a fresh one {fresh}")
        for mark, target in zip(words[2::2], words[3::2], strict=True):
            if mark != "CNAME":
                raise ScenarioError(f"{mark!r} instead of CNAME")
            decision = judge_answer(posture, decision, parse_name(target), policy.lists.lookup(parse_name(target)))
        self.asked = posture, name, decision

    def the_policy(self) -> Policy:
        if self.policy is None:
            household = Household(
                self.zone_text,
                self.zone,
                tuple(self.profiles.values()),
                tuple(self.devices.values()),
                self.newcomers,
                self.rules,
            )
            catalogue = Catalogue(self.services, {}, self.safe, self.youtube, {})
            lists = DictLists(self.listed)
            self.policy = compile_policy(household, catalogue, lists, self.usage, clock_unset=self.clock_unset)
        return self.policy

    def do_expect(self, words: list[str]) -> None:
        assert self.asked is not None
        decision = self.asked[2]
        self.expectations += 1
        expected: list[object] = [ACTIONS[words[0]]]
        found: list[object] = [decision.action]
        if len(words) > 1 and words[1] not in ("until", "to"):
            expected.append(words[1])
            found.append(
                decision.reason.value if words[1] == decision.reason.value else decision.rule.replace(" ", "-")
            )
        if "to" in words:
            expected.append(words[words.index("to") + 1])
            found.append(format_name(decision.target))
        if "until" in words:
            when = words[words.index("until") + 1 :]
            expected.append(self.show(FOREVER if when == ["forever"] else self.moment(when)))
            found.append(self.show(decision.until))
        if found != expected:
            raise ScenarioError(f"found {found}; the decision was {decision}")

    def do_says(self, words: list[str]) -> None:
        assert self.asked is not None
        self.expectations += 1
        posture, name, _ = self.asked
        sentence = explain(self.the_policy(), posture, name, self.now).sentence
        if not sentence.startswith(" ".join(words)):
            raise ScenarioError(f"it says {sentence!r}")

    # The clock

    def moment(self, words: list[str]) -> float:
        """The moment of `[2026-11-23] [Mon] 21:05 [again]`: without a date the next one after now."""
        fold = int(words[-1] == "again")
        words = words[: len(words) - fold]
        time = clock_time.fromisoformat(words[-1])
        weekday = next((DAYS.index(word.lower()) for word in words[:-1] if word.lower() in DAYS), None)
        if words[0][0].isdigit() and "-" in words[0]:
            day = date.fromisoformat(words[0])
            if weekday not in (None, day.weekday()):
                raise ScenarioError(f"{day} is a {DAYS[day.weekday()]}")
            return datetime.combine(day, time, self.zone).replace(fold=fold).timestamp()
        today = datetime.fromtimestamp(self.now, self.zone).date()
        for days in range(9):
            day = today + timedelta(days=days)
            moment = datetime.combine(day, time, self.zone).replace(fold=fold).timestamp()
            if moment > self.now and weekday in (None, day.weekday()):
                return moment
        raise ScenarioError(f"no such moment: {words}")

    def show(self, moment: float) -> str:
        return "forever" if moment == FOREVER else datetime.fromtimestamp(moment, self.zone).isoformat()


def read_window(days: str, hours: str, label: str) -> Window:
    chosen: set[int] = set()
    for part in days.split(","):
        first, _, last = part.partition("-")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        chosen |= {(begin + step) % 7 for step in range((end - begin) % 7 + 1)}
    start, stop = (int(time[:2]) * 60 + int(time[3:]) for time in hours.split("-"))
    return Window(frozenset(chosen), start, stop, label)


@pytest.mark.parametrize("path", sorted(HERE.glob("*.txt")), ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    scenario = Scenario(path.name)
    scenario.run(path.read_text(encoding="utf-8").splitlines())
    assert scenario.expectations >= 5, "a scenario that expects so little tells nothing"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("EXPECT blocked", "found"),
        ("EXPECT allowed category:gambling", "found"),
        ("EXPECT allowed default until Tue 07:01", "found"),
        ("SAYS Blocked", "it says"),
        ("AT 2026-11-23 Tue 22:00", "is a mon"),
        ("AT 2026-11-23 Mon 20:00", "forward only"),
        ("USED ana -1", "gets minutes back"),
        ("EXPEKT allowed", "unknown word"),
        ("tablet QUERY a..b", "empty label"),
        ("tablet QUERY a.example DNAME b.example", "instead of CNAME"),
    ],
)
def test_the_runner_can_fail(line: str, message: str) -> None:
    begin = ["ZONE Europe/Chisinau", "PROFILE ana", "OFFLINE mon 22:00-07:00", "DEVICE tablet ana"]
    begin += ["AT 2026-11-23 Mon 21:05", "tablet QUERY a.example", "EXPECT allowed default until Mon 22:00"]
    with pytest.raises(ScenarioError, match=rf"(?s)self.txt:8: .*{message}"):
        Scenario("self.txt").run([*begin, line])
