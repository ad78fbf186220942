"""Settings that people write, to `parse_config` and `decode_household`.

Invariant: values or ConfigError, nothing else. A ConfigError has at least one problem, each with `file:line` of a line
that is there. A household that is read is written and read again to the same household.
"""

from __future__ import annotations

import os
from pathlib import Path

from guardian.catalogue import load_catalogue
from guardian.config import parse_config
from guardian.errors import ConfigError
from guardian.store.household import decode_household, encode_household
from tests.fuzz.driver import main, mutate_text

ROOT = Path(__file__).parent.parent.parent
CONFIG = b"""state: ./state
upstreams:
  servers: [9.9.9.9, "tls://dns.quad9.net@9.9.9.9", "https://one.one.one.one/dns-query@1.1.1.1"]
  strategy: race
  timeout: 2.5
dns:
  listen: ["127.0.0.1:5300", "[::1]:5300"]
  clients: [127.0.0.0/8, "::1"]
  rate_limit: 0
block: {mandatory: nxdomain, ttl: 5, page: ["127.0.0.1:8053"]}
forward:
  - {domain: lan, upstreams: [192.168.1.1]}
history: {retention_days: 7, flush_seconds: 1}
"""
HOUSEHOLD = b"""timezone: Europe/Chisinau
new_devices: ana
block: ["*.casino.example"]
profiles:
  ana:
    name: Ana
    age: 10-12
    offline: [sun-thu 21:00-07:00, {label: homework, days: mon-fri, from: "15:00", to: "16:30"}]
    exceptions: [{date: 2026-12-31, offline: ["01:00-09:00"], note: New Year}]
    minutes: {mon-fri: 120, sat-sun: 180}
    allow: [scratch.mit.edu, {name: minecraft.net, until: 2027-01-10}]
    services: {youtube: {hours: [mon-fri 17:00-19:00]}, whatsapp: allow}
  parents: {name: Parents, filtered: no}
devices:
  tablet: {name: Tablet, profile: ana, macs: ["02:00:5e:10:00:01"], addresses: [127.0.0.2]}
"""
EXTRA = [
    b"*a", b"&a ", b"&a [*a, *a]", b"<<: *a", b"!!python/object:os.system x", b"!!binary AAAA",
    b"!!timestamp 2026-13-45", b"? ", b": ", b"- ", b"[", b"]", b"{", b"}", b"|", b">", b"\t", b"\0", b"\xff\xfe",
    b"\xef\xbb\xbf", b"#", b"'", b'"', b"---", b"...", b"%YAML 9.9", b"null", b"~", b"yes", b".inf", b".nan", b"-1",
    b"0x7f", b"1e999", b"9" * 400, b"2026-02-30", b"24:00", b"99:99", b"mon-sun", b"sun-mon 25:00-07:00",
    b"0.0.0.0/0", b"::/0", b"fe80::1%eth0", b"127.0.0.1:99999", b"tls://", b"https://[::1]:x/", "ё".encode(),
    "\u202e".encode(), b"[" * 200, b"a: {" * 100,
]  # fmt: skip
CATALOGUE = load_catalogue(names=False)
SEEDS = [
    CONFIG,
    HOUSEHOLD,
    (ROOT / "examples/laptop.yaml").read_bytes(),
    (ROOT / "examples/household.yaml").read_bytes(),
]


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    last = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 1
    try:
        config = parse_config(text, "/nowhere/guardian.yaml")
        assert os.path.isabs(config.state)
    except ConfigError as error:
        check_problems(error, "/nowhere/guardian.yaml", last)
    try:
        household = decode_household(text, "household.yaml", CATALOGUE)
    except ConfigError as error:
        check_problems(error, "household.yaml", last)
        return
    again = encode_household(household)
    assert decode_household(again, "again.yaml", CATALOGUE) == household


def check_problems(error: ConfigError, file: str, last: int) -> None:
    assert error.problems
    for problem in error.problems:
        name, _, line = problem.where.rpartition(":")
        assert (name, line.isdigit()) == (file, True), problem
        assert 1 <= int(line) <= last, problem
        assert problem.message.strip()
        assert problem.message.isprintable(), problem


mutate = mutate_text(EXTRA)

if __name__ == "__main__":
    main(check, SEEDS, mutate)
