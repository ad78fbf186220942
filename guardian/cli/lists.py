"""`guardian lists`: compile lists into an image, show what is in one, look names and addresses up, fetch anew."""

from __future__ import annotations

import argparse
import ipaddress
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from guardian.blocklist.addresses import MAGIC, AddressTable
from guardian.blocklist.facts import SourceFacts
from guardian.blocklist.image import Image
from guardian.errors import ListError, TextError
from guardian.names import format_name, parse_name
from guardian.store.addresses import address_file, load_addresses
from guardian.store.images import map_image, write_image

OK, FAILED, USAGE = 0, 1, 2
_CHUNK_BYTES = 1 << 20
_BAR_AFTER = 2.0  # seconds
_BAR_CELLS = 30

_COMPILE_HELP = """\
Compile list files into one image that the gateway maps.

Formats are told apart by content: plain domains, hosts, Adblock-style, dnsmasq, RPZ, wildcards, URL lists.
An entry covers its name and all names below it. The image is written aside, checked and renamed: a running gateway
sees the old one or the new one, and `guardian status` shows the change after `guardian lists fetch` or a reload.

example:
  guardian lists compile home.image --category gambling=ut1-gambling.txt,more.txt \\
      --category drugs=drugs.hosts --allow gambling=lottery.txt --tag helpline=helplines.txt
"""
_SHOW_HELP = """\
Show which lists an image or a table of addresses was made of: how many lines and entries each has, and what was
refused and why.

examples:
  guardian lists show state/lists/guardian.image --verify
  guardian lists show state/lists/addresses
"""
_LOOKUP_HELP = """\
Tell which tags an image holds for names, and by which entry. `host/path` looks a page up.
The exit code is 0 when every name is listed, 1 when one is not.

example:
  guardian lists lookup state/lists/guardian.image www.example.com example.org/games
"""
_FIND_HELP = """\
Tell which tags names and addresses have in the lists in force here (those of the settings; before the first
`guardian sync` the built-in ones). The exit code is 0 when all are listed, 1 when one is not.

example:
  guardian lists find dns.google 8.8.8.8 2606:4700:4700::1111
"""
_FETCH_HELP = """\
Fetch the lists of blocklists/sources.yaml, check them, and compile the new image.

A list that cannot be fetched, is no list (an error page) or shrank too much is left as it was.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `guardian lists` to its parser."""
    commands = parser.add_subparsers(dest="lists_command", metavar="COMMAND", required=True)

    def command(name: str, brief: str, description: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=brief, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    compile_ = command("compile", "list files -> image", _COMPILE_HELP)
    compile_.add_argument("out", metavar="OUT", type=Path, help="the image to write")
    for option, metavar, text in (
        ("category", "NAME=FILE[,FILE...]", "block these names in the category NAME"),
        ("allow", "NAME=FILE[,FILE...]", "take these names out of the category NAME (or a whole tag: service:NAME)"),
        ("tag", "TAG=FILE[,FILE...]", "names under a tag as it is: helpline, service:NAME, bypass:doh, mandatory:test"),
    ):
        compile_.add_argument(f"--{option}", metavar=metavar, action="append", default=[], help=text)

    show = command("show", "what is in an image", _SHOW_HELP)
    show.add_argument("image", metavar="IMAGE", type=Path)
    show.add_argument("--verify", action="store_true", help="check every byte against the checksums")
    show.add_argument("--json", action="store_true", help="print JSON")

    lookup = command("lookup", "which tags hold for names", _LOOKUP_HELP)
    lookup.add_argument("image", metavar="IMAGE", type=Path)
    lookup.add_argument("names", metavar="NAME", nargs="+", help="a name, or host/path for a page")
    lookup.add_argument("--json", action="store_true", help="print JSON")

    find = command("find", "which tags hold for names and addresses here", _FIND_HELP)
    find.add_argument("subjects", metavar="NAME", nargs="+", help="a name, host/path for a page, or an IP address")
    find.add_argument("--json", action="store_true", help="print JSON")

    fetch = command("fetch", "fetch the lists and compile them", _FETCH_HELP)
    fetch.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command that the arguments name; return 0, 1 when the asked thing failed, 2 for wrong usage."""
    if args.lists_command == "fetch":
        from guardian.cli.sync import run_fetch  # fetching needs what a router may not have

        return int(run_fetch(args))
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "compile": _compile,
        "show": _show,
        "lookup": _lookup,
        "find": _find,
    }
    try:
        return commands[args.lists_command](args)
    except ListError as error:
        print(f"guardian lists {args.lists_command}: {error}", file=sys.stderr)
        return FAILED


class _UsageError(Exception):
    """An argument that cannot be used; the text says which and why."""


def _compile(args: argparse.Namespace) -> int:
    from guardian.blocklist.compile import Source, compile_image  # only this command needs the parser

    try:
        files = [
            *_read_options("--category", args.category, "block", "category:"),
            *_read_options("--tag", args.tag, "block", ""),
            *_read_options("--allow", args.allow, "allow", "category:"),
        ]
        if not files:
            raise _UsageError("nothing to compile: give --category NAME=FILE at least once")
    except _UsageError as error:
        print(f"guardian lists compile: {error}", file=sys.stderr)
        return USAGE
    bar = ProgressBar(sys.stderr.isatty(), time.monotonic)
    sources = [
        Source(tag, str(file), _opener(file), action=action, notes={"modified": file.stat().st_mtime})
        for tag, action, file in files
    ]
    try:
        compiled = compile_image(sources, secrets.token_bytes(16), time.time(), bar.show)
    except OSError as error:
        print(f"guardian lists compile: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILED
    finally:
        bar.clear()
    try:
        write_image(args.out, compiled.chunks)
    except OSError as error:
        print(f"guardian lists compile: cannot write {args.out}: {error.strerror}", file=sys.stderr)
        return FAILED
    size = args.out.stat().st_size
    print(f"{args.out}: {_names(compiled.name_count, compiled.url_count)} in {len(sources)} lists, {size:,} bytes")
    for source in compiled.sources:
        _print_source(source, examples=False)
    return OK


def _read_options(option: str, values: list[str], action: str, prefix: str) -> Iterator[tuple[str, str, Path]]:
    """Yield (tag, action, file) for each file of `NAME=FILE,FILE` texts."""
    for value in values:
        name, mark, files = value.partition("=")
        if not mark or not name or not files:
            raise _UsageError(f"{option} {value}: write NAME=FILE, for example gambling=list.txt")
        tag = name if ":" in name else f"{prefix}{name}"
        for text in files.split(","):
            file = Path(text)
            if not file.is_file():
                raise _UsageError(f"{option} {value}: there is no file '{text}'")
            yield tag, action, file


def _opener(file: Path) -> Callable[[], Iterator[bytes]]:
    def read_chunks() -> Iterator[bytes]:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK_BYTES):
                yield chunk

    return read_chunks


class ProgressBar:
    """A bar on stderr: on a terminal only, and only for work of more than two seconds."""

    def __init__(self, on_terminal: bool, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock() if on_terminal else float("inf")
        self._shown = False

    def show(self, share: float, what: str) -> None:
        """Show that `share` (0..1) is done and what is in work."""
        if self._clock() - self._start < _BAR_AFTER:
            return
        done = round(_BAR_CELLS * share)
        bar = "#" * done + "." * (_BAR_CELLS - done)
        print(f"\r[{bar}] {share:4.0%} {Path(what).name[:40]:40}", end="", file=sys.stderr, flush=True)
        self._shown = True

    def clear(self) -> None:
        """Take the bar off the terminal."""
        if self._shown:
            print(f"\r{'':80}\r", end="", file=sys.stderr, flush=True)


def _show(args: argparse.Namespace) -> int:
    if _begins_with(args.image, MAGIC):
        return _show_addresses(args)
    image = map_image(args.image)
    if args.verify:
        try:
            image.verify()
        except ListError as error:
            raise ListError(f"{args.image}: {error}; compile or fetch it anew") from None
    sources = image.sources
    if args.json:
        facts = {
            "image": str(args.image),
            "created": image.created,
            "bytes": image.size,
            "names": image.name_count,
            "urls": image.url_count,
            "tags": image.tags,
            "sources": [asdict(source) for source in sources],
        }
        print(json.dumps(facts, indent=2, default=str))
        return OK
    created = time.strftime("%Y-%m-%d %H:%M", time.localtime(image.created))
    print(f"{args.image}: {_names(image.name_count, image.url_count)}, {image.size:,} bytes, compiled {created}")
    for source in sources:
        _print_source(source, examples=True)
    return OK


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:  # whoever reads it next tells why
        return False


def _show_addresses(args: argparse.Namespace) -> int:
    """Show a table of addresses; it was verified when it was read."""
    table = load_addresses(args.image)
    if args.json:
        facts = {
            "addresses": str(args.image),
            "created": table.created,
            "bytes": args.image.stat().st_size,
            "entries": table.count,
            "tags": table.tags[1:],
            "sources": [asdict(source) for source in table.sources],
        }
        print(json.dumps(facts, indent=2, default=str))
        return OK
    created = time.strftime("%Y-%m-%d %H:%M", time.localtime(table.created))
    print(f"{args.image}: {table.count:,} addresses and prefixes, {table.size:,} bytes in memory, compiled {created}")
    for source in table.sources:
        _print_source(source, examples=True)
    return OK


def _names(names: int, urls: int) -> str:
    return f"{names:,} names" + (f" and {urls:,} pages" if urls else "")


def _print_source(source: SourceFacts, examples: bool) -> None:
    what = source.tag if source.action == "block" else f"{source.tag} (allow)"
    refused = sum(source.refused.values())
    tail = f", {refused:,} refused" if refused else ""
    print(f"  {what:28} {source.entries:>9,} entries  {source.format:8} {source.name}{tail}")
    if not examples:
        return
    for key, value in source.notes.items():
        text = time.strftime("%Y-%m-%d %H:%M", time.localtime(value)) if key in ("fetched", "modified") else value
        print(f"      {key}: {text}")
    for reason, count in sorted(source.refused.items()):
        print(f"      {count:,} {reason}:")
        for line, shown in source.examples.get(reason, ()):
            print(f"        line {line}: {shown}")


def _lookup(args: argparse.Namespace) -> int:
    image = map_image(args.image)
    try:
        answers = [_look_up_one(image, text) for text in args.names]
    except TextError as error:
        print(f"guardian lists lookup: {error}", file=sys.stderr)
        return USAGE
    return _print_answers(args, answers)


def _find(args: argparse.Namespace) -> int:
    """Look names and addresses up in what a gateway with these settings would use."""
    from guardian.catalogue import load_catalogue
    from guardian.config import load_config
    from guardian.home import build_starter_addresses, build_starter_lists

    config = load_config(args.config)
    image = cache(
        lambda: (
            map_image(config.lists.image)
            if Path(config.lists.image).exists()
            else build_starter_lists(load_catalogue())
        )
    )
    path = address_file(config.state)
    table = cache(lambda: load_addresses(path) if Path(path).exists() else build_starter_addresses())
    try:
        answers = [
            _look_up_address(table(), text, address)
            if (address := _read_address(text))
            else _look_up_one(image(), text)
            for text in args.subjects
        ]
    except TextError as error:
        print(f"guardian lists find: {error}", file=sys.stderr)
        return USAGE
    return _print_answers(args, answers)


def _read_address(text: str) -> bytes:
    """The packed address of a text, b"" for anything else."""
    try:
        return ipaddress.ip_address(text.removeprefix("[").removesuffix("]")).packed
    except ValueError:
        return b""


def _look_up_address(table: AddressTable, text: str, address: bytes) -> dict[str, Any]:
    tag = table.lookup(address)
    return {"name": text, "tags": [tag] if tag else [], "matched": {}, "entries": []}


def _print_answers(args: argparse.Namespace, answers: list[dict[str, Any]]) -> int:
    if args.json:
        print(json.dumps(answers, indent=2))
    else:
        for answer in answers:
            _print_answer(answer)
    return OK if all(answer["tags"] for answer in answers) else FAILED


def _look_up_one(image: Image, text: str) -> dict[str, Any]:
    host, slash, path = text.partition("://")[2].partition("/") if "://" in text else text.partition("/")
    name = parse_name(host)
    if slash:
        mask = image.lookup_url(name, f"/{path}".encode())
        return {
            "name": text,
            "tags": [tag for bit, tag in enumerate(image.tags) if mask >> bit & 1],
            "matched": {},
            "entries": [],
        }
    matches = image.matches(name)
    # Which names a mandatory list holds is nobody's business: the tag is told, the entry is not.
    deciding = {tag: format_name(listed) for tag, listed in matches if not tag.startswith("mandatory:")}
    entries = [
        {
            "tag": found.tag,
            "entry": format_name(found.name),
            "action": "allow" if found.allow else "block",
            "scope": "exact" if found.exact else "subdomains",
        }
        for found in image.entries(name)
        if not found.tag.startswith("mandatory:")
    ]
    return {"name": text, "tags": [tag for tag, _ in matches], "matched": deciding, "entries": entries}


def _print_answer(answer: dict[str, Any]) -> None:
    name = answer["name"]
    if not answer["tags"] and not answer["entries"]:
        print(f"{name}: not listed")
        return
    for tag in answer["tags"]:
        listed = answer["matched"].get(tag)
        print(f"{name}: {tag}" + (f" (entry {listed})" if listed else ""))
    for found in answer["entries"]:
        if found["action"] == "allow" and found["tag"] not in answer["tags"]:
            print(f"{name}: not {found['tag']} (allowed by entry {found['entry']})")
