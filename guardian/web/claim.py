"""The claim code: who can read it (in the terminal, or on the box's label) becomes the first parent."""

from __future__ import annotations

import hmac
import logging
import os
import secrets

from guardian.config import Config
from guardian.errors import ConfigError, Problem
from guardian.store.images import sync_folder

log = logging.getLogger(__name__)

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # nothing that looks like another
LETTERS = 10
FILE_MODE = 0o600
MAX_BYTES = 200
LEAST_LETTERS = 8  # of a code on a label
_ALIKE = str.maketrans({"0": "O", "1": "I", "L": "I"})  # how a label's letters are compared


def claim_path(config: Config) -> str:
    """Return the file that holds our own code."""
    return f"{config.state}/claim-code"


def make_claim_code(config: Config) -> str:
    """Return the code that claims this box, as people read it; one is made where there is none.

    Call it only while nobody has claimed. A file that holds no code is put aside. Raises ConfigError when it cannot be
    read or written.
    """
    path = config.web.claim_code
    if path:
        return _read_label(path)
    path = claim_path(config)
    try:
        code = _read_own(path)
        if not code:
            _write(path, "".join(secrets.choice(ALPHABET) for _ in range(LETTERS)))
            code = _read_own(path)
    except OSError as error:
        raise ConfigError([Problem(path, f"the claim code cannot be kept: {error}")]) from error
    return f"{code[:5]}-{code[5:]}"


def is_claim_code(config: Config, given: str) -> bool:
    """Tell whether this is the code; case, spaces and dashes do not matter. Raises ConfigError."""
    wanted = make_claim_code(config)
    return hmac.compare_digest(_fold(wanted).encode(), _fold(given).encode())


def forget_claim_code(config: Config) -> None:
    """Remove our own code: it has been used. One on a label stays, and is worth nothing any more."""
    path = claim_path(config)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    sync_folder(path)


def _read_own(path: str) -> str:
    """Return the code of our own file, "" when there is none: one that holds no code is put aside first."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            code = file.read(MAX_BYTES).strip()
    except FileNotFoundError:
        return ""
    if len(code) == LETTERS and not set(code) - set(ALPHABET):
        return code
    log.error("event=claim-code-damaged path=%s action=new put_aside=%s.damaged", path, path)
    os.replace(path, f"{path}.damaged")
    return ""


def _read_label(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            code = file.read(MAX_BYTES).strip()
    except FileNotFoundError:
        message = "the code of the box's label is not there: write it into this file, as it is printed (docs/isp.md)"
        raise ConfigError([Problem(path, message)]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(path, f"the claim code cannot be read: {error}")]) from error
    if len(_fold(code)) < LEAST_LETTERS:
        raise ConfigError([Problem(path, f"the claim code needs at least {LEAST_LETTERS} letters and digits")])
    return code


def _write(path: str, code: str) -> None:
    # Whole or not at all, and never over one that another process has just made.
    aside = f"{path}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{code}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, path)
        except FileExistsError:
            return
    finally:
        os.unlink(aside)
    sync_folder(path)


def _fold(code: str) -> str:
    return "".join(char for char in code.upper() if char.isalnum()).translate(_ALIKE)
