"""Guardian as a server of the comparison: image of the same names, a household with children, history on."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.load import HOST, NETWORK, WORK, client_address
from bench.names import CATEGORIES, Corpus
from bench.scenarios import ADULTS, CLIENTS


class Guardian:
    """The gateway alone, in plain Python, as `guardian run` starts it.

    `table_entries` bounds the table of ready answers; 0 leaves it to the gateway, as in a real home. The history is
    written every second instead of every five: each measured run pays for its own rows.
    """

    name = "guardian"

    def __init__(self, table_entries: int = 0, cache_bytes: int = 0) -> None:
        """0 = by the machine's memory."""
        self.table_entries = table_entries
        self.cache_bytes = cache_bytes
        self.folder = WORK / "guardian"
        self.image = self.folder / "guardian.image"

    def prepare(self, corpus: Corpus, port: int, upstream: int) -> list[str]:
        state = self.folder / "state"
        shutil.rmtree(state, ignore_errors=True)  # a household is imported at the first start only
        state.mkdir()
        self.compile_image(corpus)
        household = self.folder / "household.yaml"
        household.write_text(make_household())
        config = self.folder / "guardian.yaml"
        config.write_text(
            f"""\
state: {state}
household: {household}
dns:
  listen: [{HOST}:{port}]
  clients: [{NETWORK}.0/24]
  rate_limit: 0
  table_entries: {self.table_entries}
  cache_bytes: {self.cache_bytes}
upstreams:
  servers: ["udp://{HOST}:{upstream}"]
lists:
  image: {self.image}
history:
  flush_seconds: 1
block:
  mandatory: nxdomain
  other: nxdomain
"""
        )
        return [sys.executable, "-m", "guardian", "gateway", "--config", str(config)]

    def compile_image(self, corpus: Corpus) -> None:
        """Compile the names into the image with the command that people use."""
        lists = self.folder / "lists"
        lists.mkdir(exist_ok=True)
        arguments = []
        parts = [("--category", category, names) for category, names in corpus.by_category()]
        for option, tag, names in (*parts, ("--tag", "mandatory:bench", corpus.mandatory())):
            file = lists / f"{tag.replace(':', '-')}.txt"
            file.write_text("\n".join(names) + "\n")
            arguments += [option, f"{tag}={file}"]
        command = [sys.executable, "-m", "guardian", "lists", "compile", str(self.image), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def image_files(self) -> tuple[Path, ...]:
        return (self.image,)


def make_household() -> str:
    """Return a household: two children with other settings, whose clients come first, and an adult.

    Bedtime is half a day away from now, so that `until` is at work and no run falls into it.
    """
    hour = (time.gmtime().tm_hour + 12) % 24
    clients = [client_address(index) for index in range(CLIENTS)]
    children, adults = clients[: CLIENTS - ADULTS], clients[CLIENTS - ADULTS :]
    split = len(children) * 2 // 3
    child = f"""\
    offline: ["daily {hour:02}:00-{hour:02}:59"]
    minutes: unlimited
    categories: [{", ".join(CATEGORIES)}]
    allow_list_only: no
    block: [blocked.example]
    safe_search: yes
    youtube: strict
    bypass_protection: yes
    visibility: names
"""
    return f"""\
timezone: UTC
new_devices: child
profiles:
  child:
    age: 7-9
{child}\
    services: {{tiktok: block, youtube: allow}}
  teen:
    age: 13-15
{child}\
  adult:
    filtered: no
devices:
  child-devices: {{profile: child, addresses: [{", ".join(children[:split])}]}}
  teen-devices: {{profile: teen, addresses: [{", ".join(children[split:])}]}}
  adult-devices: {{profile: adult, addresses: [{", ".join(adults)}]}}
"""
