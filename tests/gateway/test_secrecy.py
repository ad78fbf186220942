"""A day of use, then every file and the whole memory of the gateway is searched for the hotline's names."""

from __future__ import annotations

import asyncio
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import dns.message
import pytest

from guardian.gateway.secrecy import tell_failure
from guardian.names import parse_name
from tests.gateway.product import ADULT, CHILD, NEWCOMER, TEEN, Running, Upstream, environment, running
from tests.hotline.listed_feed import install

ASKED = [f"listed-asked{number:03}.example" for number in range(60)]
NEVER = [f"listed-never{number:03}.example" for number in range(60)]
DEVICES = (CHILD, ADULT, TEEN, NEWCOMER)
ROUNDS = 60  # of other traffic: what a home asks in an hour or two
SETTINGS = {"hotline": {"url": "http://127.0.0.1:1/", "root": "root.json"}, "log_level": "debug"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    upstream = Upstream("\n".join(f"{name} A 192.0.2.1\nwww.{name} A 192.0.2.1" for name in ASKED))
    for number, name in enumerate(ASKED):
        upstream.add(f"cloak{number}.any.example CNAME www.{name}.")
    yield upstream
    upstream.close()


_BEGINS = (b"listed-", b"-detsil", "list".encode("utf-16-le"), "list".encode("utf-32-le"))


def forms_of(name: str) -> tuple[bytes, ...]:
    """A name as it may lie somewhere: text, wire form, both from behind, and in UTF-16 and UTF-32 strings."""
    text, wire = name.encode(), parse_name(name)
    return text, wire[:-1], text[::-1], wire[::-1], name.encode("utf-16-le"), name.encode("utf-32-le")


def find(names: Iterable[str], data: bytes) -> set[str]:
    """Those of the names that lie in the data in any form. All begin `listed-`, so one pattern sorts out the rest."""
    if not any(begin in data for begin in _BEGINS):
        return set()
    return {name for name in names if any(form in data for form in forms_of(name))}


def read_memory(pid: int) -> Iterator[bytes]:
    """The memory of a process, mapping by mapping."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, rights, *_ = line.split()
            if not rights.startswith("r") or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(part, 16) for part in where.split("-"))
            try:
                memory.seek(start)
                yield memory.read(end - start)
            except OSError:  # gone meanwhile
                continue


def in_memory(own: Running, names: Iterable[str]) -> set[str]:
    return set().union(*(find(names, data) for data in read_memory(own.pid)))


def in_files(folder: Path, names: Iterable[str]) -> dict[str, set[str]]:
    """Which names lie in which file; sockets and folders have no bytes, but names of their own."""
    found = {}
    for path in folder.rglob("*"):
        held = find(names, str(path).encode()) | (find(names, path.read_bytes()) if path.is_file() else set())
        if held:
            found[str(path)] = held
    return found


def fetch(own: Running, host: str) -> int:
    with socket.create_connection(("127.0.0.1", own.page_port), 5, (CHILD, 0)) as connection:
        connection.sendall(f"GET /x HTTP/1.1\r\nHost: {host}\r\nAccept-Language: ro\r\n\r\n".encode())
        data = b""
        while part := connection.recv(65536):
            data += part
    return int(data.split(b" ", 2)[1])


def burst(own: Running, names: list[str], source: str) -> None:
    """Many questions in one moment: they lie in many slots of the listener's batch."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((source, 0))
        client.settimeout(20)
        for name in names:
            client.sendto(dns.message.make_query(name, "A", use_edns=0).to_wire(), ("127.0.0.1", own.port))
        for _ in names:
            client.recv(4096)


def use_listed(own: Running) -> None:
    """Every way in which a name comes to the gateway."""
    for number, name in enumerate(ASKED):
        device = DEVICES[number % len(DEVICES)]
        for kind in ("A", "AAAA", "HTTPS", "TXT"):
            own.ask(name, kind, source=device, tcp=kind == "TXT")
        own.ask(f"www.{name}", source=device)
        own.ask(f"deep.www.{name}".title(), source=device, edns=False)
        own.ask(f"cloak{number}.any.example", source=device)
        if number % 4 == 0:
            assert fetch(own, name) == 451
            own.control("explain", device="tablet", host=name)
    burst(own, [f"b{number}.{name}" for number, name in enumerate(ASKED)], CHILD)


def use_others(own: Running, rounds: int, seed: int = 1) -> None:
    """What a home asks all day, in the same ways."""
    dice = random.Random(seed)
    for _ in range(rounds):
        names = [f"n{dice.randrange(10**6)}.site{dice.randrange(4)}-some-longer-name.any.example" for _ in range(40)]
        for name in names[:30]:
            own.ask(name, dice.choice(("A", "AAAA", "HTTPS")), source=dice.choice(DEVICES), tcp=dice.random() < 0.1)
        burst(own, names, dice.choice(DEVICES))
        fetch(own, dice.choice(names))
        own.control("explain", device="tablet", host=dice.choice(names))


def test_after_a_day_of_use_the_names_are_nowhere(upstream: Upstream, tmp_path: Path) -> None:
    entries = [("d", name, 0) for name in (*ASKED, *NEVER)]
    install(tmp_path / "state" / "hotline", entries, good=["any.example"])
    with running(tmp_path, SETTINGS | {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as own:
        use_others(own, 2)
        use_listed(own)
        during = in_memory(own, ASKED)
        assert len(during) > len(ASKED) // 2, "this test can find a name in memory"
        own.ask("kept-1.any.example", source=ADULT)
        use_others(own, ROUNDS)
        after = in_memory(own, ASKED)
        print(f"of {len(ASKED)} listed names: {len(during)} in memory at once, {len(after)} after other traffic")
        assert any(parse_name("kept-1.any.example") in data for data in read_memory(own.pid)), "others are kept"
        assert in_memory(own, NEVER) == set(), "a name that nobody asks for is nowhere"
        assert after == set()
        status = own.status()
        assert status["queries"]["reasons"]["mandatory"] >= 6 * len(ASKED) and status["hotline"]["hashes"] >= len(ASKED)
        own.control("reload")
        assert in_files(tmp_path, (*ASKED, *NEVER)) == {}
    assert in_files(tmp_path, (*ASKED, *NEVER)) == {}, "also after it has ended"
    assert len(list(tmp_path.rglob("*"))) > 8 and own.log().count("event=") > 3, "there is something to search"


# The process itself


def test_a_crash_leaves_no_core(upstream: Upstream, tmp_path: Path) -> None:
    own = Running(tmp_path, SETTINGS | {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}).start()
    try:
        limits = Path(f"/proc/{own.pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)
        assert own.process is not None
        own.process.send_signal(signal.SIGSEGV)
        assert own.process.wait(10) == -signal.SIGSEGV
    finally:
        own.kill()
    assert not [path for path in tmp_path.rglob("*core*") if path.is_file()]


_GUARDED = """
import sys, time
from guardian.gateway.secrecy import forbid_dumps
from guardian.gateway.status import read_own_memory
if sys.argv[1] == "guarded":
    forbid_dumps()
assert read_own_memory()["resident"] > 0
print("ready", flush=True)
time.sleep(60)
"""
_CURIOUS = """
import sys
try:
    open(f"/proc/{sys.argv[1]}/maps", "rb").close()  # asks for as much leave as reading the memory, but for Yama's
    print("open")
except PermissionError:
    print("refused")
"""


@pytest.mark.parametrize(("how", "result"), [("guarded", "refused"), ("plain", "open")])
def test_no_other_program_of_the_same_user_reads_the_memory(how: str, result: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    code, as_nobody = [sys.executable, "-c"], {"user": 65534, "group": 65534, "extra_groups": [], "env": environment()}
    with subprocess.Popen([*code, _GUARDED, how], stdout=subprocess.PIPE, text=True, **as_nobody) as it:
        try:
            assert it.stdout is not None and it.stdout.readline() == "ready\n"
            done = subprocess.run(
                [*code, _CURIOUS, str(it.pid)], capture_output=True, text=True, check=True, **as_nobody
            )
            assert done.stdout.strip() == result
        finally:
            it.kill()


def test_forbid_dumps_holds_for_this_process() -> None:
    script = "import resource, guardian.gateway.secrecy as s; s.forbid_dumps(); print(resource.getrlimit(4))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout.strip() == "(0, 0)" and resource.RLIMIT_CORE == 4


def test_what_fails_in_the_loop_is_told_without_its_values(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(tell_failure)

        class Waiter(NamedTuple):
            packet: bytes

            def wake(self) -> None:
                raise KeyError(self.packet)

        loop.call_soon(Waiter(b"listed-1.example").wake)
        loop.call_exception_handler({"message": "Task was destroyed: <Waiter b'listed-1'>"})
        await asyncio.sleep(0)

    asyncio.run(run())
    assert "exception=KeyError" in caplog.text and "raise KeyError(self.packet)" in caplog.text
    assert "listed-1" not in caplog.text and "Task was destroyed" in caplog.text
