"""procd hears from a live process in time; what hangs or does not leave is ended by the kernel."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from guardian.supervisor.procd import FIRST_TIMEOUT, LONGEST, Procd
from tests.gateway.product import environment
from tests.supervisor import bus as other_side
from tests.web.product import Served

GENEROUS = 60.0


def test_procd_is_called_and_says_how_often(tmp_path: Path) -> None:
    async def run() -> None:
        async with other_side.running(tmp_path) as bus:
            procd = Procd("gateway", bus.path)
            assert procd.interval == FIRST_TIMEOUT / 3
            bus.timeout = 60
            await procd.alive()
            assert procd.interval == 20
            for strange in (0, 0x7FFFFFFF, 1):
                bus.timeout = strange
                await procd.alive()
                assert procd.interval is not None
                assert 1 <= procd.interval <= LONGEST / 3
            assert len(bus.calls) == 4

    asyncio.run(run())


def test_a_deaf_bus_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    procd = Procd("web", str(tmp_path / "gone"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            asyncio.run(procd.alive())
    assert [record.message.split()[0] for record in caplog.records] == ["event=procd-not-told"]


PROCESS = """
import asyncio, sys, time
from guardian.supervisor import procd
procd.FIRST_TIMEOUT, procd.STOP_SECONDS, procd.SHORTEST = 1.5, 1.0, 0.1
from guardian.supervisor import keep_telling
async def main():
    told = procd.Procd("gateway", sys.argv[1])
    told.ready()
    asyncio.get_running_loop().create_task(keep_telling(told))
    print("up", flush=True)
    {then}
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("then", "code"),
    [
        ("await asyncio.sleep(0.2); time.sleep(1000)", -signal.SIGKILL),
        ("await asyncio.sleep(0.2); told.stopping(); time.sleep(1000)", -signal.SIGKILL),
        ("await asyncio.sleep(4)", 0),
    ],
    ids=["hangs", "hangs while it leaves", "lives, though procd is deaf"],
)
def test_what_hangs_is_ended_though_procd_never_would(tmp_path: Path, then: str, code: int) -> None:
    words = [sys.executable, "-c", PROCESS.format(then=then), str(tmp_path / "no-bus")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.wait(GENEROUS) == code
        finally:
            process.kill()


IN_A_JAIL = 'mount -t tmpfs none /run && mkdir -p /run/ubus && mount --bind "$1" /run/ubus && shift && exec "$@"'


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not os.path.samefile("/var/run", "/run"),
    reason="needs root and unshare, to put a bus where OpenWrt has it",
)
@pytest.mark.parametrize("what", ["gateway", "web"])
def test_what_procd_starts_calls_it(tmp_path: Path, what: str) -> None:
    """`guardian gateway` and `guardian web` as the init script starts them, with the bus at its own place."""
    served = Served(tmp_path, {"upstreams": {"servers": ["127.0.0.1:1"]}})

    async def run() -> list[bytes]:
        (tmp_path / "bus").mkdir()
        async with other_side.running(tmp_path / "bus") as bus:
            words = ["unshare", "-m", "sh", "-c", IN_A_JAIL, "sh", str(tmp_path / "bus")]
            words += [sys.executable, "-m", "guardian", what, "--replace", "--config", str(served.config)]
            with open(tmp_path / "log", "wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *words, stdout=log, stderr=log, env=environment(GUARDIAN_PROCD_INSTANCE=what), cwd=tmp_path
                )
            try:
                async with asyncio.timeout(GENEROUS):
                    while not bus.calls:
                        await asyncio.sleep(0.05)
                process.terminate()
                assert await asyncio.wait_for(process.wait(), GENEROUS) == 0, (tmp_path / "log").read_text()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            return bus.calls

    assert asyncio.run(run())[0] == (
        other_side.named(3, "name", b"guardian\0") + other_side.named(3, "instance", what.encode() + b"\0")
    )
    assert "procd-not-told" not in (tmp_path / "log").read_text()
