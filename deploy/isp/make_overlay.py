#!/usr/bin/env python3
"""Make the folder that OpenWrt's ImageBuilder lays over an image (`make image FILES=...`), and check it before.

  deploy/isp/make_overlay.py PROVISIONING.yaml OVERLAY [--settings UCI] [--claim-code SCRIPT]

PROVISIONING.yaml is what the provider says of all boxes (docs/isp.md); the files that it names lie beside it in
`provider/`. `guardian check` looks at all of it as a box would: what is wrong is told with its line, and nothing is
made then. An overlay that is there already is replaced whole.

Exit code 0: it is made. 2: there are problems.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from guardian.blocklist.parse import parse_list  # noqa: E402
from guardian.cli import main as run_guardian  # noqa: E402
from guardian.config.provisioning import ClaimPolicy, Provided, load_provisioning  # noqa: E402
from guardian.errors import ConfigError, Problem  # noqa: E402
from guardian.typed_yaml import Locate  # noqa: E402

OK, USAGE = 0, 2
BOX = "/etc/guardian"  # where it lies on a box
FOLDER = "provider"  # below that: the files that it names
CODE_FILE = "label-code"  # below that too; overlay/uci-defaults writes it
MARK = "etc/uci-defaults/60_guardian_provider"  # in every overlay: a folder without it is somebody else's
PACKAGED_SETTINGS = ROOT / "deploy" / "openwrt" / "guardian" / "files" / "guardian.config"
SAMPLE_CODE = "A1B2C-3D4E5\n"
MOST_TOLD = 5  # lines of a list that are no names

Place = tuple[str | int, ...]


class Sources(NamedTuple):
    """What an overlay is made of."""

    provisioning: Path
    settings: Path
    claim_code: Path


def main(words: list[str]) -> int:
    """Make the overlay; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("provisioning", type=Path, metavar="PROVISIONING.yaml")
    parser.add_argument("overlay", type=Path, metavar="OVERLAY", help="a folder that is new, or was made by this")
    parser.add_argument("--settings", type=Path, default=PACKAGED_SETTINGS, help="/etc/config/guardian of the boxes")
    parser.add_argument(
        "--claim-code", type=Path, default=HERE / "overlay" / "claim-code", help="reads the label's code"
    )
    given = parser.parse_args(words)
    sources = Sources(given.provisioning, given.settings, given.claim_code)
    try:
        notes = make_overlay(sources, given.overlay)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        print(f"{given.overlay}: not made", file=sys.stderr)
        return USAGE
    for note in notes:
        print(note)
    print(f"made: {given.overlay}. Next: make image PROFILE=... PACKAGES=guardian FILES={given.overlay.absolute()}")
    return OK


def make_overlay(sources: Sources, overlay: Path) -> list[str]:
    """Make an overlay and return what there is to say of it. Raises ConfigError; then the one before is as it was."""
    if overlay.exists() and not (overlay / MARK).exists() and (not overlay.is_dir() or any(overlay.iterdir())):
        raise ConfigError([Problem(str(overlay), "it is there and no overlay: give a folder that is not there yet")])
    provided = load_provisioning(str(sources.provisioning))
    problems, notes = [], []
    for place, name in list_files(provided):
        found, told = check_file(provided, sources.provisioning, place, name)
        problems += found
        notes += told
    problems += check_claim_code(provided, sources)
    if problems:
        raise ConfigError(problems)
    overlay.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".overlay-", dir=overlay.parent) as aside:
        made = Path(aside) / "files"
        lay_out(sources, provided, made)
        notes += check_as_box(sources, made)
        made.chmod(0o755)
        if overlay.exists():
            overlay.rename(Path(aside) / "before")
        made.rename(overlay)
    return notes


def list_files(provided: Provided) -> Iterator[tuple[Place, str]]:
    """Yield each file that goes into the image: where the provider's file names it, and the name."""
    value = provided.value
    for index, entry in enumerate(value.lists.mandatory):
        yield ("lists", "mandatory", index, "file"), entry.file
    push = value.hotline.push
    for place, name in (
        (("hotline", "root"), value.hotline.root),
        (("hotline", "push", "password"), push.password),
        (("hotline", "push", "ca"), push.ca),
        (("hotline", "push", "certificate"), push.certificate),
        (("hotline", "push", "key"), push.key),
    ):
        if name:
            yield place, name
    for index, upstream in enumerate(value.upstreams.servers if value.upstreams else ()):
        if upstream.ca_file:
            yield ("upstreams", "servers", index), upstream.ca_file


def check_file(provided: Provided, path: Path, place: Place, name: str) -> tuple[list[Problem], list[str]]:
    """Return what is wrong with a file that goes into the image, and what there is to say of it."""
    where = Locate(provided.root, {})(*place)
    if os.path.normpath(name) != name or not name.startswith(f"{FOLDER}/"):
        return [Problem(where, f"'{name}' must lie in '{FOLDER}/' beside this file: only that goes into the image")], []
    file = path.parent / name
    try:
        data = file.read_bytes()
    except OSError as error:
        return [Problem(where, f"{file}: {error.strerror}")], []
    if not data.strip():
        return [Problem(where, f"{file} is empty")], []
    if place == ("hotline", "root"):
        return check_root(where, file, data)
    if place[0] == "lists":
        return check_list(where, file, data)
    return [], []


def check_root(where: str, file: Path, data: bytes) -> tuple[list[Problem], list[str]]:
    """Return whether a file is a hotline's root of trust, signed by its own people, and its fingerprint."""
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root

    try:
        metadata: Metadata[Root] = Metadata.from_bytes(data)
        if metadata.signed.type != Root.type:
            return [Problem(where, f"{file} is no root of trust but '{metadata.signed.type}' of a feed")], []
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        return [Problem(where, f"{file} is no root of trust: {error}")], []
    digits = hashlib.sha256(data).hexdigest()
    fingerprint = " ".join(digits[at : at + 4] for at in range(0, 64, 4))
    needed = metadata.signed.roles[Root.type].threshold
    return [], [
        f"root of trust: version {metadata.signed.version}, {needed} people sign. Compare by phone: {fingerprint}"
    ]


def check_list(where: str, file: Path, data: bytes) -> tuple[list[Problem], list[str]]:
    """Return the lines of a mandatory list that are no names: nobody would notice later that they block nothing."""
    facts = parse_list(data).facts
    if facts.refused:
        examples = sorted((at, text, why) for why, kept in facts.examples.items() for at, text in kept)
        told = [Problem(f"{file}:{at}", f"{why}: {text!r} blocks nothing") for at, text, why in examples[:MOST_TOLD]]
        more = sum(facts.refused.values()) - len(told)
        return told + ([Problem(where, f"{file}: and {more} more such lines")] if more > 0 else []), []
    if not facts.entries:
        return [Problem(where, f"{file}: there is no name in it")], []
    return [], [f"mandatory list {file.name}: {facts.entries:,} entries"]


def check_claim_code(provided: Provided, sources: Sources) -> list[Problem]:
    """Return what is wrong with the way from the label to the box."""
    claim = provided.value.claim_code
    if claim is None or claim.policy is not ClaimPolicy.LABEL:
        return []
    problems = []
    if claim.file != CODE_FILE:
        where = Locate(provided.root, {})("claim_code", "file")
        problems.append(Problem(where, f"write 'file: {CODE_FILE}': the first boot puts the label's code there"))
    try:
        first = sources.claim_code.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        return [*problems, Problem(str(sources.claim_code), f"the script that reads the label's code: {error}")]
    if not re.fullmatch(r"#! ?/bin/(sh|ash)( .*)?", first):
        problems.append(Problem(f"{sources.claim_code}:1", "a script of OpenWrt's shell begins with #!/bin/sh"))
    return problems


def lay_out(sources: Sources, provided: Provided, made: Path) -> None:
    """Write the files of an overlay. Those who may read them are the image's to say: overlay/uci-defaults."""
    claim = provided.value.claim_code
    copies = [
        (sources.provisioning, "etc/guardian/provisioning.yaml", 0o644),
        (sources.settings, "etc/config/guardian", 0o644),
        (HERE / "overlay" / "uci-defaults", MARK, 0o755),
    ]
    copies += [(sources.provisioning.parent / name, f"etc/guardian/{name}", 0o644) for _, name in list_files(provided)]
    if claim is not None and claim.policy is ClaimPolicy.LABEL:
        copies.append((sources.claim_code, "usr/lib/guardian/claim-code", 0o755))
    for source, name, mode in copies:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, made / name)
        except OSError as error:
            raise ConfigError([Problem(str(source), error.strerror or str(error))]) from None
        (made / name).chmod(mode)
    if sources.settings == PACKAGED_SETTINGS and provided.value.upstreams is not None:
        settings = made / "etc" / "config" / "guardian"
        settings.write_text(drop_section(settings.read_text(encoding="utf-8"), "upstreams"), encoding="utf-8")


def drop_section(text: str, type_: str) -> str:
    """Return UCI settings without the sections of a type: what the provider says need not stand there as well."""
    return re.sub(rf"(?m)^config[ \t]+{type_}\b.*\n(?:(?!config\b).*\n)*", "", text)


def check_as_box(sources: Sources, made: Path) -> list[str]:
    """Run `guardian check` on an overlay as if it were a box; return its notes. Raises ConfigError."""
    with tempfile.TemporaryDirectory(prefix="guardian-box-") as folder:
        box = Path(folder)
        shutil.copytree(made, box, dirs_exist_ok=True)
        settings = box / "etc" / "config" / "guardian"
        settings.write_text(settle(settings.read_text(encoding="utf-8"), box), encoding="utf-8")
        (box / "etc" / "guardian" / CODE_FILE).write_text(SAMPLE_CODE, encoding="ascii")
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            run_guardian(["check", "--json", "--config", str(settings)])
        report = json.loads(said.getvalue())
        names = {str(settings): str(sources.settings), f"{box}{BOX}/provisioning.yaml": str(sources.provisioning)}

        def name(text: str) -> str:
            for inner, outer in names.items():
                text = text.replace(inner, outer)
            return text.replace(f"{box}{BOX}/", f"{sources.provisioning.parent}{os.sep}").replace(str(box), "")

        if report["problems"]:
            raise ConfigError(Problem(name(found["where"]), name(found["message"])) for found in report["problems"])
        return [name(note) for note in report["notes"] if ": note: " in note or note.startswith("provider: ")]


def settle(text: str, box: Path) -> str:
    """Return UCI settings that name the box's own folders below `box`, line by line as they were."""
    state = f"{box}{BOX}"
    text = re.sub(r"(?m)^(\s*option\s+state\s+).*$", lambda found: f"{found[1]}'{state}'", text)
    first = re.search(r"(?m)^\s*config\s+guardian\b[^\n#]*", text)
    named = f"; option provisioning '{state}/provisioning.yaml'"
    return text[: first.end()] + named + text[first.end() :] if first else f"{text}\nconfig guardian 'main'{named}\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
