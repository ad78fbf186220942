"""A new desk: its people and their keys, its lists, the first root of trust, and an empty feed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tuf.api.metadata import Metadata

from guardian.blocklist.feed_base import STANDARD
from guardian.desk.builds import encode_build, make_build, place_of
from guardian.desk.draft import Progress
from guardian.desk.journal import Signer
from guardian.desk.key_file import check_password
from guardian.desk.online import load_password, make_key, make_password, unlock
from guardian.desk.people import add_person, unlock_signer
from guardian.desk.publish import Released, prepare, release
from guardian.desk.publish import sign as sign_publication
from guardian.desk.repository import DEFAULT_BUILD, Repository, write_file
from guardian.desk.roles import FULL, ONLINE, Thresholds, check_list_id, make_root, sign_with
from guardian.desk.root_change import make_circle, save_change
from guardian.desk.settings import FILE, load_settings, write_settings
from guardian.desk.store import Desk
from guardian.errors import DeskError
from guardian.feed import Text

FULL_ROOT = 5  # people: two may be ill, away or gone, and the root of trust still changes


class Plan(NamedTuple):
    """A desk as somebody wants it."""

    name: str
    root: Sequence[str]
    lists: Sequence[str]  # people
    bulk: Sequence[str]
    titles: Mapping[str, Text]  # of the lists, by id
    test_name: str = ""
    thresholds: Thresholds = FULL
    log2_n: int = STANDARD.log2_n

    def roles_of(self, person: str) -> list[str]:
        """Return the roles of a person."""
        circles = {"root": self.root, "list": self.lists, "bulk": self.bulk}
        return [role for role, people in circles.items() if person in people]

    @property
    def people(self) -> list[str]:
        """Return everybody, each once."""
        return list(dict.fromkeys((*self.root, *self.lists, *self.bulk)))


def check_plan(plan: Plan, *, trial: bool) -> list[str]:
    """Return warnings in plain words. Raises DeskError for a plan that can't work, or is too weak and no trial."""
    for what, people, needed in (
        ("root", plan.root, plan.thresholds.root),
        ("list", plan.lists, plan.thresholds.lists),
        ("bulk", plan.bulk, plan.thresholds.bulk),
    ):
        if len(set(people)) != len(people):
            raise DeskError(f"--{what}: somebody is named twice")
        if len(people) < needed:
            raise DeskError(f"--{what}: {needed} people must sign, and there are {len(people)}")
    if not plan.titles:
        raise DeskError("--lists: a desk needs a list, such as csam-md")
    for list_id in plan.titles:
        check_list_id(list_id)
    weak = []
    if len(plan.root) < FULL_ROOT:
        weak.append(f"the root of trust has {len(plan.root)} people instead of {FULL_ROOT}")
    if len(plan.lists) <= plan.thresholds.lists:
        weak.append("if one of those who sign lists is ill, nothing can be published")
    if both := sorted(set(plan.bulk) & set(plan.lists)):
        weak.append(f"{', '.join(both)} would agree with large changes of their own: these should be other people")
    if weak and not trial:
        raise DeskError("; ".join(weak) + "; --trial allows it, for trying out on one machine")
    return weak


def found_desk(
    folder: Path, plan: Plan, passwords: Callable[[str], str], now: float, progress: Progress | None = None
) -> Released:
    """Make a desk and release its first, empty lists. `passwords` gives the password of a person by name.

    Raises DeskError when something is there already, or a password is too weak; then nothing is made.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DeskError(f"{folder}: is not empty; a desk is made in a folder of its own")
    settings_text = write_settings(plan.name, plan.test_name)
    secrets = {name: passwords(name) for name in plan.people}
    for name, password in secrets.items():
        check_password(password, name)
    make_build(DEFAULT_BUILD, now, plan.log2_n)
    desk = Desk.create(folder)
    write_file(folder / FILE, settings_text.encode())
    for name, password in secrets.items():
        add_person(folder, name, plan.roles_of(name), password, now=now)
    signers = {name: unlock_signer(folder, name, password) for name, password in secrets.items()}
    for list_id, title in plan.titles.items():
        desk.add_list(signers[plan.lists[0]], list_id, title, now)
    return _release_first(folder, desk, plan, signers, now, progress)


def _release_first(
    folder: Path, desk: Desk, plan: Plan, signers: Mapping[str, Signer], now: float, progress: Progress | None
) -> Released:
    repository = Repository(folder)
    settings = load_settings(folder)
    make_password(folder, settings)
    password = load_password(folder, settings)
    for role in ONLINE:
        make_key(folder, role, password)
    with repository.locked():
        root = Metadata(make_root(make_circle(folder, desk.people()), plan.thresholds, now))
        for name in plan.root:
            sign_with(root, signers[name].key)
        save_change(repository, root)
        write_file(folder / place_of(DEFAULT_BUILD), encode_build(make_build(DEFAULT_BUILD, now, plan.log2_n)))
        standing = prepare(repository, desk, signers[plan.lists[0]], now, progress)
        for name in dict.fromkeys((*plan.lists[1:], *plan.bulk)):
            if name != plan.lists[0]:
                standing = sign_publication(repository, desk, signers[name], now, progress)
        return release(repository, standing, unlock(folder, password), now)
