"""What our ctypes assume of the C library holds for OpenWrt's, musl: symbols, sizes and offsets, asked of musl itself.

A C program is compiled and linked against musl; it knows nothing of Python. Where there is no musl-gcc these skip.
"""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from guardian import allocator
from guardian.resolver import batch
from guardian.supervisor import watchdog
from tests.deploy.openwrt.buildroot import ROOT

PROGRAM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SIZE(type) printf("\"%s\": %zu,\n", #type, sizeof(type))
#define PLACE(type, field) \
	printf("\"%s.%s\": [%zu, %zu],\n", #type, #field, offsetof(type, field), sizeof(((type *)0)->field))

int main(int count, char **words)
{
	printf("{");
	SIZE(struct iovec); PLACE(struct iovec, iov_base); PLACE(struct iovec, iov_len);
	SIZE(struct msghdr); PLACE(struct msghdr, msg_name); PLACE(struct msghdr, msg_namelen);
	PLACE(struct msghdr, msg_iov); PLACE(struct msghdr, msg_iovlen); PLACE(struct msghdr, msg_control);
	PLACE(struct msghdr, msg_controllen); PLACE(struct msghdr, msg_flags);
	SIZE(struct mmsghdr); PLACE(struct mmsghdr, msg_len);
	SIZE(struct sigevent); PLACE(struct sigevent, sigev_value); PLACE(struct sigevent, sigev_signo);
	PLACE(struct sigevent, sigev_notify);
	SIZE(struct itimerspec); PLACE(struct itimerspec, it_interval); PLACE(struct itimerspec, it_value);
	SIZE(timer_t); SIZE(struct timex);
	void *library = dlopen(NULL, RTLD_NOW);
	for (int index = 1; index < count; index++)
		printf("\"has %s\": %d,\n", words[index], dlsym(library, words[index]) != NULL);
	/* A timer that ends the process, as the gateway's watchdog sets it. */
	timer_t timer;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	printf("\"timer_create\": %d}\n", timer_create(CLOCK_MONOTONIC, &event, &timer));
	return 0;
}
"""
SYMBOLS = (
    "recvmmsg", "sendmmsg", "prctl", "timer_create", "timer_settime", "timer_gettime", "timer_delete", "adjtimex",
    "mallopt",
)  # fmt: skip


@pytest.fixture(scope="module")
def musl(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What musl says: sizes, [offset, size] of fields, and `has NAME` for its symbols."""
    compiler = shutil.which("musl-gcc")
    if compiler is None:
        pytest.skip("musl-gcc is not there: apt-get install musl-tools")
    folder = tmp_path_factory.mktemp("musl")
    (folder / "ask.c").write_text(
        PROGRAM.replace("#include <unistd.h>", "#include <sys/timex.h>\n#include <sys/uio.h>\n#include <unistd.h>")
    )
    subprocess.run([compiler, "-o", folder / "ask", folder / "ask.c"], check=True, capture_output=True, text=True)
    done = subprocess.run([folder / "ask", *SYMBOLS], check=True, capture_output=True, text=True)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def place(structure: type[ctypes.Structure], name: str) -> list[int]:
    field = getattr(structure, name)
    return [field.offset, field.size]


def test_every_function_that_we_call_is_there_but_the_one_that_may_lack(musl: dict[str, Any]) -> None:
    called = set()
    for path in (ROOT / "guardian").rglob("*.py"):
        if "import ctypes" in (text := path.read_text()) and path.name != "openssl.py":
            called |= set(re.findall(r"(?:libc|[lL]ibrary|CDLL\([^)]*\))\.([a-z_]+)\(", text))
            called |= set(re.findall(r"= libc\.([a-z_]+)\n", text))
    assert called == set(SYMBOLS), "a new function of the C library: is it in musl?"
    assert {name for name in SYMBOLS if not musl[f"has {name}"]} == {"mallopt"}
    assert musl["timer_create"] == 0


def test_without_mallopt_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """musl gives large blocks back by itself."""

    class Bare:
        def __init__(self, name: object) -> None:
            assert name is None

    monkeypatch.setattr(ctypes, "CDLL", Bare)
    allocator.return_large_blocks()


def test_messages_have_musls_layout(musl: dict[str, Any]) -> None:
    header, vector = batch._MessageHeader, batch._IoVector
    assert ctypes.sizeof(vector) == musl["struct iovec"]
    assert place(vector, "base") == musl["struct iovec.iov_base"]
    assert place(vector, "length") == musl["struct iovec.iov_len"]
    assert ctypes.sizeof(header) == musl["struct msghdr"]
    for ours, theirs in (("name", "msg_name"), ("name_length", "msg_namelen"), ("vectors", "msg_iov"),
                         ("control", "msg_control"), ("flags", "msg_flags")):  # fmt: skip
        assert place(header, ours) == musl[f"struct msghdr.{theirs}"], theirs
    # musl has an int and padding where the kernel has a long: the same bytes on a little-endian machine.
    for ours, theirs in (("vector_count", "msg_iovlen"), ("control_length", "msg_controllen")):
        assert place(header, ours)[0] == musl[f"struct msghdr.{theirs}"][0], theirs
    assert ctypes.sizeof(batch._MultiMessage) == musl["struct mmsghdr"]
    assert place(batch._MultiMessage, "length") == musl["struct mmsghdr.msg_len"]


def test_the_watchdogs_timer_has_musls_layout(musl: dict[str, Any]) -> None:
    event, spec = watchdog._SignalEvent, watchdog._TimerSpec
    assert ctypes.sizeof(event) == musl["struct sigevent"]
    for ours, theirs in (("value", "sigev_value"), ("number", "sigev_signo"), ("notify", "sigev_notify")):
        assert place(event, ours) == musl[f"struct sigevent.{theirs}"], theirs
    assert ctypes.sizeof(spec) >= musl["struct itimerspec"], "room for what the library writes"
    assert place(spec, "interval_seconds")[0] == musl["struct itimerspec.it_interval"][0]
    assert place(spec, "seconds")[0] == musl["struct itimerspec.it_value"][0]
    assert musl["struct timex"] <= 512, "guardian/clock.py has that much room for the kernel's answer"
    assert musl["timer_t"] == ctypes.sizeof(ctypes.c_void_p)
