"""Log into the emulated router: `.venv/bin/python -m tests.vm` boots it with a shell on this terminal."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.vm.disks import build_base
from tests.vm.machine import open_shell
from tests.vm.packages import MissingError
from tests.vm.router import make_work

if __name__ == "__main__":
    try:
        with tempfile.TemporaryDirectory(prefix="guardian-vm-disk-") as folder:
            sys.exit(open_shell(build_base(), make_work(Path(folder))))
    except MissingError as error:
        sys.exit(str(error))
