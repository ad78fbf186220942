"""The command line's frame: finds the command, imports its module only, turns errors into plain lines and exit codes.

A command is a module `guardian.cli.NAME` with `add_arguments(parser)` and `run(args) -> int`; `args.config` is the path
of the settings file, as `--config`, $GUARDIAN_CONFIG and the default give it.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn, TextIO

from guardian import __version__
from guardian.bundled import add_bundled
from guardian.errors import ConfigError, GuardianError
from guardian.small_asyncio import import_asyncio

OK, FAILED, USAGE = 0, 1, 2
INTERRUPTED = 130  # as shells count: 128 + SIGINT

COMMANDS = {
    "run": "start everything on this machine: gateway, console, list updates",
    "gateway": "start the DNS gateway alone (for systemd and procd)",
    "web": "serve the parents' console: pages and API",
    "sync": "fetch, verify and compile the lists, then exit",
    "check": "check settings, household and lists; starts and changes nothing",
    "explain": "tell why a name is allowed or blocked for a device, now or at another time",
    "lists": "compile, fetch and look into lists",
    "household": "export, import, show and pause what parents set",
    "account": "list, add and remove accounts of the console; set a forgotten password",
    "status": "ask the running gateway how it is",
    "usage": "tell how long each profile was online, and what its limits leave",
    "alerts": "tell which devices tried to get around the filter",
    "doctor": "look for what goes wrong on networks, and say what to do",
    "hotline": "the desk of the national hotline: entries, approvals, publishing, reports",
}

_USAGE = """\
usage: guardian COMMAND [--config FILE] ...

A parental-control filter for the home.

commands:
{commands}

options:
  -h, --help  this text; 'guardian COMMAND --help' tells all of a command
  --version   the version

The settings are read from --config FILE, else from the file that $GUARDIAN_CONFIG names, else from
/etc/guardian/guardian.yaml.

exit codes: 0 all is well; 1 what was asked for failed; 2 wrong usage or settings
"""

# What the machine may refuse to whoever types a command, and what to do.
_ADVICE = {
    errno.EACCES: "run it as root, or as Guardian's own user",
    errno.EPERM: "run it as root, or as Guardian's own user",
    errno.EROFS: "the disk takes no writes; see `guardian doctor`",
    errno.ENOSPC: "the disk is full; see `guardian doctor`",
    errno.EDQUOT: "the disk is full; see `guardian doctor`",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage or settings, 130 interrupted."""
    add_bundled()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return USAGE
    except GuardianError as error:
        print(f"guardian: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`head`, `less`) has seen enough; what Python flushes at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        if error.errno not in _ADVICE or not error.filename:
            raise  # not the machine's state, but a mistake of ours
        print(f"guardian: {error.filename}: {error.strerror}: {_ADVICE[error.errno]}", file=sys.stderr)
        return FAILED
    return code


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(len(name) for name in COMMANDS)
        print(_USAGE.format(commands="\n".join(f"  {name:{width}}  {line}" for name, line in COMMANDS.items())), end="")
        return OK if words else USAGE
    if words[0] in ("--version", "-V"):
        print(f"guardian {__version__}")
        return OK
    name = words[0]
    if name not in COMMANDS:
        return _refuse(name)
    module = _load(name)
    parser = Parser(
        prog=f"guardian {name}",
        description=(module.__doc__ or COMMANDS[name]).strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", metavar="FILE", help="settings file (default: $GUARDIAN_CONFIG, else the one in /etc)"
    )
    module.add_arguments(parser)
    try:
        args = parser.parse_args(_bring_forward(words[1:]))
    except SystemExit as leave:  # --help, or wrong usage that argparse has explained
        return USAGE if leave.code else OK
    args.config_given = args.config is not None
    from guardian.config import find_config

    args.config = find_config(args.config)
    return int(module.run(args))


def _load(name: str) -> ModuleType:
    if name == "gateway":  # before anything of it imports asyncio
        import_asyncio()
    try:
        return importlib.import_module(f"guardian.cli.{name}")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("guardian."):
            raise
        raise GuardianError(f"'guardian {name}' is not part of this installation") from None


def _bring_forward(words: list[str]) -> list[str]:
    """Put `--config FILE` first: behind `household export` it would belong to a parser that does not know it."""
    end = words.index("--") if "--" in words else len(words)
    for index, word in enumerate(words[:end]):
        if word == "--config":
            return words[index : index + 2] + words[:index] + words[index + 2 :]
        if word.startswith("--config="):
            return [word, *words[:index], *words[index + 1 :]]
    return words


def _refuse(name: str) -> int:
    import difflib

    near = difflib.get_close_matches(name[:64], COMMANDS, n=1)
    hint = f", did you mean '{near[0]}'?" if near else f" (commands: {', '.join(COMMANDS)})"
    what = "option" if name.startswith("-") else "command"
    print(f"guardian: unknown {what} '{name}'{hint}", file=sys.stderr)
    return USAGE


class Parser(argparse.ArgumentParser):
    """argparse whose errors end with where to read on, instead of repeating the whole usage."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}\nTry '{self.prog} --help'.", file=sys.stderr)
        raise SystemExit(USAGE)


_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}


def has_colours(stream: TextIO) -> bool:
    """Tell whether colours may be written: to a terminal, and NO_COLOR is not set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return `text` in a style (bold, dim, red, green, yellow, blue) where `stream` (default: stdout) shows it."""
    if not has_colours(stream or sys.stdout):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
