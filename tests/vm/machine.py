"""The emulated router as a process: QEMU with a Cortex-A53 and 256 MB, and a line to the agent in it.

with booted(base, disk) as machine:
    machine.call("agent:run", words=["uname", "-a"])
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tests.vm.disks import Base
from tests.vm.packages import MissingError

QEMU = "qemu-system-aarch64"
MEMORY = 256  # MB
BOOT_SECONDS = 180.0  # of a machine that other work slows down; alone it takes six
PORT = "guardian.agent"


class GuestError(Exception):
    """A call in the emulated machine failed; the text is its traceback."""


def command_of(base: Base, work: Path, folder: Path, *more: str, shell: bool = False) -> list[str]:
    """Return the command that emulates the router. `folder` holds the agent's socket."""
    words = ["console=ttyAMA0", "quiet", "panic=-1", "oops=panic", *(["guardian.shell"] if shell else [])]
    command = [QEMU, "-M", "virt", "-cpu", "cortex-a53", "-m", str(MEMORY), "-smp", "2", "-nographic", "-no-reboot"]
    command += ["-nic", "none", "-kernel", str(base.kernel), "-initrd", str(base.first), "-append", " ".join(words)]
    for serial, file in (("system", base.system), ("work", work)):
        drive = f"if=none,id={serial},file={file},format=raw,snapshot=on,cache=unsafe"
        command += ["-drive", drive, "-device", f"virtio-blk-pci,drive={serial},serial={serial}"]
    command += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
    command += ["-chardev", f"socket,id=agent,path={folder}/agent,server=on,wait=off"]
    return [*command, "-device", f"virtserialport,chardev=agent,name={PORT}", *more]


class Machine:
    """A machine that runs, and calls into it. Its console is in the file `console`."""

    def __init__(self, base: Base, work: Path, folder: Path, *more: str) -> None:
        self.base = base
        self.console = folder / "console"
        self._folder = folder
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {0: Future()}
        self._next = 0
        began = time.monotonic()
        with self.console.open("wb") as log:
            self.process = subprocess.Popen(
                command_of(base, work, folder, *more), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._line = self._connect()
            threading.Thread(target=self._read, daemon=True).start()
            self._waiting[0].result(BOOT_SECONDS)
        except (TimeoutError, OSError, GuestError) as error:
            self.kill()
            raise GuestError(f"the emulated router does not come up: {error!r}\n{self.log()}") from None
        self.boot_seconds = time.monotonic() - began

    def _connect(self) -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 20
        while True:
            try:
                line.connect(str(self._folder / "agent"))
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return line

    def _read(self) -> None:
        with contextlib.suppress(OSError), self._line.makefile("rb") as lines:
            for line in lines:
                reply = json.loads(line)
                future = self._waiting.pop(reply["id"])
                if "error" in reply:
                    future.set_exception(GuestError(reply["error"]))
                else:
                    future.set_result(reply["value"])
        for future in self._waiting.values():
            future.set_exception(GuestError("the machine has ended"))

    def begin(self, function: str, **arguments: Any) -> Future[Any]:
        """Call `module:function` in the machine, and go on."""
        with self._lock:
            self._next += 1
            future: Future[Any] = Future()
            self._waiting[self._next] = future
            self._line.sendall(json.dumps({"id": self._next, "call": function, "with": arguments}).encode() + b"\n")
        return future

    def call(self, function: str, timeout: float = 300.0, /, **arguments: Any) -> Any:
        """Call `module:function` in the machine and return its value. Raises GuestError, TimeoutError."""
        return self.begin(function, **arguments).result(timeout)

    def run(self, *words: str, given: str = "", timeout: float = 120.0) -> str:
        """Run a program in the machine and return its output. Raises AssertionError when it fails."""
        done = self.call("agent:run", timeout + 30, words=list(words), given=given, timeout=timeout)
        assert done["code"] == 0, done
        return str(done["out"])

    def log(self) -> str:
        """Return what the machine wrote on its console."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def close(self) -> None:
        """Shut it down. Raises AssertionError when it does not end."""
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                self._line.sendall(b'{"id": 0}\n')
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the emulated router does not end\n{self.log()}") from None
        self._line.close()

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait(10)


def require_qemu() -> None:
    """Raise MissingError where QEMU is not installed."""
    if shutil.which(QEMU) is None:
        raise MissingError(f"{QEMU} is not installed: scripts/setup vm")


@contextlib.contextmanager
def booted(base: Base, work: Path, *more: str) -> Iterator[Machine]:
    """Boot a machine, hand it out, shut it down. `more` are words for QEMU. Raises MissingError, GuestError."""
    require_qemu()
    with tempfile.TemporaryDirectory(
        prefix="guardian-vm-", ignore_cleanup_errors=True
    ) as folder:  # sockets: short paths
        machine = Machine(base, work, Path(folder), *more)
        try:
            yield machine
        finally:
            machine.close()


def open_shell(base: Base, work: Path) -> int:
    """Boot with a shell on this terminal; return QEMU's exit code. Ctrl-A X ends it at once."""
    require_qemu()
    with tempfile.TemporaryDirectory(prefix="guardian-vm-") as folder:
        command = command_of(base, work, Path(folder), shell=True)
        return subprocess.run(command, check=False, env=os.environ).returncode
