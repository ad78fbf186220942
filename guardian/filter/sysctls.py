"""The settings of connection tracking that the flow filter needs, in this process's own network namespace.

Set at start, put back at a clean stop. After a kill they stay as the filter set them, and the next start finds nothing
to change. Forwarding and the size of the table are the router's business: `guardian doctor` tells about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

WANTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "net.netfilter.nf_conntrack_acct": "1",  # bytes and packets of flows: minutes are counted from them
        "net.netfilter.nf_conntrack_checksum": "1",  # a server drops a wrong checksum, so it may not reach the engine
        "net.netfilter.nf_conntrack_tcp_be_liberal": "0",  # outside the TCP window is INVALID
        "net.netfilter.nf_conntrack_tcp_loose": "0",  # a flow that was cut does not come back in its middle
    }
)


class Sysctl(NamedTuple):
    """A setting that was not as it is wanted. `failure` is empty when `after` is what is wanted."""

    name: str
    before: str  # "" when it is not there
    after: str
    failure: str = ""


def find_wrong_sysctls(proc: str = "/proc") -> list[Sysctl]:
    """Return the settings that are not as the filter needs them; `after` is what it needs. Changes nothing."""
    wrong = []
    for name, wanted in WANTED.items():
        before, failure = _read(name, proc)
        if before != wanted:
            wrong.append(Sysctl(name, before, wanted, failure))
    return wrong


def apply_sysctls(proc: str = "/proc") -> list[Sysctl]:
    """Set what is different and return it, with the settings that could not be set (`failure` says why).

    Load the nft table first: that loads the connection tracking whose settings these are.
    """
    applied = []
    for setting in find_wrong_sysctls(proc):
        failure = setting.failure or _write(setting.name, setting.after, proc)
        applied.append(setting._replace(after=setting.before if failure else setting.after, failure=failure))
    return applied


def restore_sysctls(applied: Iterable[Sysctl], proc: str = "/proc") -> list[Sysctl]:
    """Put back what `apply_sysctls` changed, unless somebody changed it since; return what could not be put back."""
    left = []
    for setting in applied:
        if setting.failure:
            continue
        now, failure = _read(setting.name, proc)
        if not failure and now == setting.after:
            failure = _write(setting.name, setting.before, proc)
        if failure:
            left.append(Sysctl(setting.name, now, now, failure))
    return left


def _path(name: str, proc: str) -> str:
    return f"{proc}/sys/{name.replace('.', '/')}"


def _read(name: str, proc: str) -> tuple[str, str]:
    """Return the value and "", or "" and why there is none."""
    try:
        with open(_path(name, proc), encoding="ascii") as file:
            return file.read().strip(), ""
    except FileNotFoundError:
        return "", "not there: the kernel's connection tracking (nf_conntrack) is not loaded"
    except OSError as error:
        return "", error.strerror or str(error)


def _write(name: str, value: str, proc: str) -> str:
    """Return "", or why it could not be set."""
    try:
        with open(_path(name, proc), "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        return error.strerror or str(error)
    return ""
