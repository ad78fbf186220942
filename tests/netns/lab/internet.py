"""All servers of the lab's internet as one process: `python -m tests.netns.lab.internet FOLDER`, in its namespace.

It prints `ready` when every port is open, and ends when its standard input ends: it never outlives the lab.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.netns.lab import http3
from tests.netns.lab.datagrams import Datagrams
from tests.netns.lab.seen import SeenWriter
from tests.netns.lab.web import Web
from tests.netns.lab.zone import Zone


def main() -> None:
    folder = Path(sys.argv[1])
    note = SeenWriter(folder / "seen")
    zone = Zone()
    Web(note, zone, folder).start()
    Datagrams(note, zone).start()
    http3.start(note, zone, folder)
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
