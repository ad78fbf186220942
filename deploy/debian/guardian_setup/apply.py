"""A plan put in force, whole or not at all, and taken back."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable

from guardian.control import send
from guardian.errors import GuardianError
from guardian_setup import modes
from guardian_setup.machine import run
from guardian_setup.modes import File, Plan

PRISTINE = "/usr/lib/guardian/guardian.yaml"  # the settings as the package brings them
FILTER = "/usr/lib/guardian/filter.conf"
START_SECONDS = 60.0

Saved = dict[str, tuple[str, int] | None]


def apply(plan: Plan) -> str:
    """Put a plan in force and return the claim code of its console, "" when it has its parents.

    Raises GuardianError when it does not come up; everything is as before then.
    """
    files = modes.list_files(plan)
    if plan.mode.is_router:
        files[modes.DROP_IN] = File(_read(FILTER))
    units = modes.list_units(plan.mode)
    paths = (modes.SETTINGS, *modes.EXTRA_FILES)
    before: Saved = {
        path: (_read(path), os.stat(path).st_mode & 0o777) if os.path.exists(path) else None for path in paths
    }
    running = [unit for unit in modes.UNITS if _is_enabled(unit)]
    _keep_settings()
    try:
        _stop(unit for unit in modes.UNITS if unit not in units)  # before their files go
        _put(files, paths)
        _start(units)
        _wait_until_up(units)
        return _read_claim_code()
    except GuardianError as error:
        _stop(unit for unit in modes.UNITS if unit not in running)
        _restore(before)  # after the end of what reads it
        run("systemctl", "daemon-reload")
        if running:
            _start(running)
        raise GuardianError(f"{error}\nEverything is as before.") from None


def undo() -> None:
    """Stop Guardian and take away what `apply` made. What parents set stays."""
    _stop(modes.UNITS)
    _keep_settings()
    _restore({**dict.fromkeys(modes.EXTRA_FILES), modes.SETTINGS: (_read(PRISTINE), 0o644)})
    run("systemctl", "daemon-reload")


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _keep_settings() -> None:
    """Keep settings that somebody wrote by hand as guardian.yaml.old."""
    if os.path.exists(modes.SETTINGS):
        text = _read(modes.SETTINGS)
        if text != _read(PRISTINE):
            _write(f"{modes.SETTINGS}.old", text, 0o640)


def _put(files: dict[str, File], paths: Iterable[str]) -> None:
    for path in paths:
        if path in files:
            _write(path, files[path].text, files[path].mode)
        else:
            _remove(path)


def _restore(before: Saved) -> None:
    for path, content in before.items():
        if content is None:
            _remove(path)
        else:
            _write(path, *content)


def _write(path: str, text: str, mode: int) -> None:
    """Write a file aside and rename it. Settings of a network manager only where that manager is."""
    folder = os.path.dirname(path)
    if path in (modes.NETWORK_MANAGER, modes.NETWORKD) and not os.path.isdir(folder):
        return  # this machine's network has another manager
    os.makedirs(folder, exist_ok=True)
    aside = f"{path}.new"
    with open(
        os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)
        if path.startswith(modes.SETTINGS):
            shutil.chown(aside, "root", "guardian")
        os.fsync(file.fileno())
    os.replace(aside, path)


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
    folder = os.path.dirname(path)
    if path == modes.DROP_IN and os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)


def _is_enabled(unit: str) -> bool:
    return run("systemctl", "is-enabled", unit, check=False).strip() == "enabled"


def _start(units: Iterable[str]) -> None:
    run("systemctl", "daemon-reload")
    for manager, command in (
        ("NetworkManager.service", ("nmcli", "general", "reload")),
        ("systemd-networkd.service", ("networkctl", "reload")),
    ):
        if run("systemctl", "is-active", manager, check=False).strip() == "active":
            run(*command)
    for unit in units:
        run("systemctl", "enable", unit)
        try:
            run("systemctl", "restart", unit)
        except GuardianError:
            raise GuardianError(f"{unit} does not start:\n{_read_log(unit)}") from None
    run("systemctl", "start", "--no-block", "guardian-sync.service")


def _stop(units: Iterable[str]) -> None:
    if unwanted := list(units):
        run("systemctl", "disable", "--now", *unwanted)
        run("systemctl", "reset-failed", *unwanted, check=False)  # which complains of those that never ran


def _wait_until_up(units: Iterable[str]) -> None:
    """Wait until the gateway answers and all services stand. Raises GuardianError with the end of the log."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            send(modes.CONTROL, "status")
            break
        except GuardianError:
            if time.monotonic() > deadline:
                raise GuardianError(f"Guardian does not start:\n{_read_log('guardian-gateway.service')}") from None
        time.sleep(0.2)
    for unit in units:
        if not _stands(unit):
            raise GuardianError(f"{unit} does not stay up:\n{_read_log(unit)}")


def _stands(unit: str) -> bool:
    """Tell whether a service is up, and was not started again since it was told to start."""
    words = run("systemctl", "show", "--property=ActiveState,NRestarts", "--value", unit).split()
    return words in (["0", "active"], ["active", "0"], ["active"])  # a timer counts no restarts


def _read_log(unit: str) -> str:
    return run("journalctl", "--no-pager", "--lines=15", "--output=cat", f"--unit={unit}", check=False).rstrip()


def _read_claim_code() -> str:
    """Return the code for the first visit, "" when somebody has claimed this box."""
    return run("runuser", "-u", "guardian", "--", "guardian", "web", "--claim-code", check=False).strip()
