"""A console without its processes, and a report, for tests of what the console sends out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from guardian.config import load_config
from guardian.web.console import Console
from guardian.web.shapes.requests import NewReport

SETTINGS = """
state: state
language: en
upstreams: {{servers: [127.0.0.1:1]}}
household: home.yaml
web: {{reports: "{address}"}}
"""
HOME = """
timezone: Europe/Chisinau
language: en
profiles:
  ana: {name: Ana, age: 10-12}
devices:
  tablet: {name: Ana's tablet, profile: ana, macs: ["02:00:5e:10:00:01"]}
"""


def make_console(folder: Path, address: str = "https://hotline.example/reports") -> Console:
    (folder / "guardian.yaml").write_text(SETTINGS.format(address=address))
    (folder / "home.yaml").write_text(HOME)
    (folder / "state").mkdir(exist_ok=True)
    return Console(load_config(str(folder / "guardian.yaml")), str(folder / "guardian.yaml"))


def new(**parts: Any) -> NewReport:
    given = {"type": "csam_suspected", "language": "ro", "good_faith": True, "url": "https://bad.example/page?x=1"}
    return msgspec.convert(given | parts, NewReport)
