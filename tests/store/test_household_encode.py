"""The exported file is one that people like to read."""

from __future__ import annotations

import dataclasses

from guardian.policy.model import FOREVER, Action, Catalogue, Device, Household, Match, Profile, Rule
from guardian.store.household import decode_household
from guardian.store.household_encode import HEADER, encode_household
from guardian.store.words import read_timezone

EXPECTED = """
timezone: Europe/Chisinau
language: ro
country: md
new_devices: ana
profiles:
  ana:
    name: Ana
    age: 10-12
    preset: none
    offline:
    - sun-thu 21:00-07:00
    minutes: {mon-fri: 60, sat-sun: 90, week: 400}
    minutes_for:
      youtube: 30
      group:games: {daily: 45, week: 200}
      tiktok: {week: 60}
    bonus:
    - {date: 2026-12-24, minutes: 30}
    - {date: 2026-12-24, minutes: 15, for: 'group:games'}
    block:
    - b0.example
    - b1.example
    - b2.example
    - b3.example
    - b4.example
    - b5.example
    - b6.example
    - b7.example
    - {name: b8.example, until: '2026-12-24T00:00:00+02:00', note: why}
    services:
      youtube:
        hours: ['sat-sun 10:00-12:00']
    categories: [adult, gambling]
    strict: true
    visibility: names
devices:
  tablet:
    name: Ana's tablet
    profile: ana
    addresses: ['fd00::/64']
"""


def test_golden(catalogue: Catalogue) -> None:
    assert encode_household(decode_household(EXPECTED, "h.yaml", catalogue)) == HEADER + EXPECTED


def test_the_normal_form(catalogue: Catalogue) -> None:
    """Rules in another order and parts of seconds come back in the normal form, which then stays."""
    block = Rule(Action.BLOCK, "b.example", Match.SUBDOMAINS, expires=1000.25)
    allow = Rule(Action.ALLOW, "a.example", Match.SUBDOMAINS)
    device = Device("d", "d", "p", paused_until=FOREVER)
    mixed = Household("UTC", read_timezone("UTC"), (Profile("p", "p", rules=(block, allow)),), (device,))
    again = decode_household(encode_household(mixed), "h.yaml", catalogue)
    assert again.profiles[0].rules == (allow, dataclasses.replace(block, expires=1001.0))
    assert again.devices == mixed.devices
