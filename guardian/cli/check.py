"""Check settings, household, starter data and lists. Every problem in one go; nothing is started, nothing written.

  guardian check                                 the settings in force
  guardian check --config new.yaml               a file that is not in force yet
  guardian check --json                          for programs

Exit code 0: all is well. 2: there are problems, each with its file and line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator

from guardian.cli import OK, USAGE, paint
from guardian.config import Config, Settings, Upstream, load_settings
from guardian.errors import ConfigError, ListError, Problem, TextError
from guardian.policy.model import Catalogue, Household
from guardian.typed_yaml import Locate, suggest


class Report:
    """What was looked at, and what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def add(self, error: ConfigError) -> None:
        """Note the problems of a file; one file can be met twice."""
        self.problems += [problem for problem in error.problems if problem not in self.problems]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """Look at everything; return the exit code."""
    report = Report()
    catalogue = _check_catalogue(report)
    settings = _check_settings(report, args.config)
    if settings is not None:
        config = settings.config
        _check_files(report, config, settings.locate)
        if catalogue is not None:
            _check_households(report, config, catalogue)
            _check_image(report, config)
            _check_addresses(report, config)
    if args.json:
        print(
            json.dumps(
                {
                    "ok": not report.problems,
                    "problems": [problem._asdict() for problem in report.problems],
                    "notes": report.notes,
                },
                ensure_ascii=False,
                indent=2,
            )
        )
    else:
        for problem in report.problems:
            print(f"{paint(problem.where, 'bold', sys.stderr)}: {problem.message}", file=sys.stderr)
        for note in report.notes:
            print(note)
        if not report.problems:
            print(paint("no problems", "green"))
    return USAGE if report.problems else OK


def _check_catalogue(report: Report) -> Catalogue | None:
    from guardian.catalogue import load_addresses, load_catalogue

    try:
        catalogue = load_catalogue()
        addresses = sum(map(len, load_addresses().tagged.values()))
    except ConfigError as error:
        report.add(error)
        return None
    services, categories = len(catalogue.services), len(catalogue.categories)
    report.notes.append(f"starter data: {services} services, {categories} categories, {addresses} addresses")
    return catalogue


def _check_settings(report: Report, path: str) -> Settings | None:
    try:
        settings = load_settings(path)
    except ConfigError as error:
        report.add(error)
        return None
    report.notes.append(f"settings: {path}")
    if settings.config.provisioning:
        report.notes.append(f"provider: {settings.config.provider}, {settings.config.provisioning}")
    report.notes += [f"{note.where}: note: {note.message}" for note in settings.notes]
    return settings


def _check_files(report: Report, config: Config, locate: Locate) -> None:
    """Look at what the settings point at."""
    from guardian.catalogue import load_sources

    for file, what, place in _needed_files(config):
        try:
            with open(file, "rb"):
                pass
        except OSError as error:
            report.problems.append(Problem(locate(*place), f"{what} cannot be read: {file}: {error.strerror}"))
    if config.web.claim_code and not os.path.exists(config.web.claim_code):
        # An image is checked on the machine that builds it: the code comes to the box in the factory.
        where = locate("web", "claim_code")
        report.notes.append(f"{where}: note: no claim code yet: the box's own belongs into {config.web.claim_code}")
    try:
        sources = load_sources(config.lists.sources).values()
    except ConfigError as error:
        report.add(error)
        return
    known = {tag.removeprefix("category:") for source in sources for tag in source.tags if tag.startswith("category:")}
    for index, category in enumerate(config.lists.categories):
        if category not in known:
            message = f"no source has the category '{category}'{suggest(category, known)}"
            report.problems.append(Problem(locate("lists", "categories", index), message))


def _needed_files(config: Config) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    """Yield (file, what it is, where the settings name it)."""
    for index, entry in enumerate(config.lists.mandatory):
        yield entry.file, f"the mandatory list '{entry.name}'", ("lists", "mandatory", index, "file")
    hotline = config.hotline
    files = (
        (hotline.root, "the hotline's root of trust", ("hotline", "root")),
        (hotline.push.password, "the password of the broker", ("hotline", "push", "password")),
        (hotline.push.ca, "the CA of the broker", ("hotline", "push", "ca")),
        (hotline.push.certificate, "the certificate for the broker", ("hotline", "push", "certificate")),
        (hotline.push.key, "the key for the broker", ("hotline", "push", "key")),
    )
    yield from (entry for entry in files if entry[0])
    groups: list[tuple[tuple[str | int, ...], tuple[Upstream, ...]]] = [
        (("upstreams", "servers"), config.upstreams.servers),
        (("upstreams", "bootstrap"), config.upstreams.bootstrap),
        *((("forward", index, "upstreams"), forward.upstreams) for index, forward in enumerate(config.forward)),
    ]
    for place, upstreams in groups:
        for index, upstream in enumerate(upstreams):
            if upstream.ca_file:
                yield upstream.ca_file, f"the CA of '{upstream.label}'", (*place, index)


def _check_households(report: Report, config: Config, catalogue: Catalogue) -> None:
    from guardian.store.household import load_household_file
    from guardian.store.settings import load_household

    saved: Household | None = None
    try:
        saved = load_household(config.settings)
    except ConfigError as error:
        report.add(error)
    if saved is not None:
        _check_saved(report, config.settings, saved)
        report.notes.append(_describe(saved, config.settings))
    if config.household:
        try:
            written = load_household_file(config.household, catalogue)
        except ConfigError as error:
            report.add(error)
            return
        used = "" if saved is None else " (not in force: parents' settings are newer)"
        report.notes.append(_describe(written, config.household) + used)
    elif saved is None:
        report.notes.append("household: none yet; until there is one, nothing but the mandatory lists is blocked")


def _describe(household: Household, path: str) -> str:
    profiles, devices = len(household.profiles), len(household.devices)
    return f"household: {path}, {profiles} profile{'s'[profiles == 1 :]}, {devices} device{'s'[devices == 1 :]}"


def _check_saved(report: Report, path: str, household: Household) -> None:
    """The database's own constraints hold; rules and addresses are texts that only their readers can judge."""
    from guardian.devices import DeviceMap
    from guardian.policy.rules import RuleTable

    try:
        for profile in household.profiles:
            RuleTable(profile.rules, household.rules)
        DeviceMap(household)
    except TextError as error:
        report.problems.append(Problem(path, str(error)))


def _check_image(report: Report, config: Config) -> None:
    path = config.lists.image
    if not os.path.exists(path):
        report.notes.append(f"lists: none at {path} yet; the starter lists hold until 'guardian sync'")
        return
    from guardian.store.images import map_image

    try:
        image = map_image(path)
    except (ListError, OSError) as error:
        report.problems.append(Problem(path, str(error)))
        return
    report.notes.append(f"lists: {path}, {len(image.tags)} tags")


def _check_addresses(report: Report, config: Config) -> None:
    from guardian.store.addresses import address_file, load_addresses

    path = address_file(config.state)
    if not os.path.exists(path):
        return
    try:
        table = load_addresses(path)
    except ListError as error:
        report.problems.append(Problem(path, f"{str(error).removeprefix(f'{path}: ')}; run 'guardian sync'"))
        return
    report.notes.append(f"addresses: {path}, {table.count} addresses and prefixes")
