"""The agent in the emulated router: takes calls from the machine outside, one JSON object a line, and answers them.

{"id": 1, "call": "clients:fetch", "with": {...}} -> {"id": 1, "value": ...} or {"id": 1, "error": "..."}.
Each call has a thread of its own. It ends when the machine outside says {"id": 0}.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import threading
import traceback
from pathlib import Path
from typing import Any

NAME = "guardian.agent"
_lock = threading.Lock()


def find_port() -> str:
    """Return the device of the serial line to the machine outside."""
    for folder in Path("/sys/class/virtio-ports").iterdir():
        if (folder / "name").read_text().strip() == NAME:
            return f"/dev/{folder.name}"
    raise SystemExit(f"this machine has no port {NAME}")


def run(words: list[str], timeout: float = 60.0, given: str = "") -> dict[str, Any]:
    """Run a program to its end; code -1 when it does not end in time."""
    try:
        done = subprocess.run(words, input=given, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        return {"code": -1, "out": str(error.stdout or ""), "err": f"not done in {timeout} s"}
    except FileNotFoundError as error:
        return {"code": 127, "out": "", "err": str(error)}
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


def answer(request: dict[str, Any], port: Any) -> None:
    """Do what a request asks for, and write what came of it."""
    try:
        module, _, function = request["call"].partition(":")
        value = getattr(importlib.import_module(f"tests.vm.guest.{module}"), function)(**request.get("with", {}))
        reply = {"id": request["id"], "value": value}
    except Exception:  # noqa: BLE001 - whatever it is, the machine outside wants to read it
        reply = {"id": request["id"], "error": traceback.format_exc()}
    data = json.dumps(reply).encode() + b"\n"
    with _lock:
        port.write(data)


def main() -> None:
    """Serve until told to end."""
    with open(os.open(find_port(), os.O_RDWR), "r+b", buffering=0) as port:
        port.write(json.dumps({"id": 0, "value": "ready"}).encode() + b"\n")
        waiting = b""
        while True:
            data = port.read(65536)
            if not data:  # nobody outside has opened the line
                raise SystemExit("the line to the machine outside is closed")
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                request = json.loads(line)
                if request["id"] == 0:
                    return
                threading.Thread(target=answer, args=(request, port), daemon=True).start()


if __name__ == "__main__":
    main()
