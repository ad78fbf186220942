"""The next state of the feed, worked out from the desk: every byte that people are asked to sign, and what it changes.

`compose` is a function of the desk and of `created`: each person who signs works the draft out anew, so a signature
stands for what the desk itself says, not for files that somebody prepared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from guardian.blocklist.feed_base import Base, SuffixRules
from guardian.blocklist.tag_table import Listed, TagTable
from guardian.desk.books import Person
from guardian.desk.builds import Build, load_builds, make_bare_base
from guardian.desk.bundles import (
    Content,
    Files,
    Plain,
    Previous,
    add_canaries,
    collect,
    describe_file,
    digest_sources,
    find_base_need,
    is_unchanged,
    make_base,
    make_content,
    make_files,
    make_test_entry,
)
from guardian.desk.entries import Entry
from guardian.desk.growth import Growth, ListChange
from guardian.desk.key_cache import KeyCache
from guardian.desk.repository import Repository, State
from guardian.desk.roles import (
    TARGETS,
    Circle,
    Thresholds,
    check_list_id,
    count_signatures,
    key_id,
    lifetime_of,
    make_delegations,
    next_targets,
    same_delegations,
)
from guardian.desk.settings import DeskSettings, load_settings, load_suffix_rules
from guardian.desk.store import Desk
from guardian.errors import DeskError, ListError
from guardian.feed import (
    FEED,
    BulkConsent,
    Feed,
    FeedList,
    ListedFile,
    ListIndex,
    Text,
    bulk_path,
    bulk_role,
    decode,
    encode,
    index_path,
)
from guardian.names import parse_name

Progress = Callable[[str, int, int, float], None]  # build; keys that are done, keys in all, seconds left
_RENEW_BEFORE = 1 / 3  # of a lifetime: what ends sooner gets a new end with the next publication


class DeskContent(NamedTuple):
    """What the desk wants to be in force."""

    settings: DeskSettings
    rules: SuffixRules
    titles: Mapping[str, Text]  # of the lists, by id
    entries: Mapping[str, Sequence[Entry]]
    popular: Sequence[str]
    people: Mapping[str, Person]  # those too who have left
    minimum_version: str  # of Guardian, that routers are asked to have; "" = any


class Terms(NamedTuple):
    """Who will have to sign, and when this was worked out."""

    circle: Circle
    thresholds: Thresholds
    root: Root  # that clients will have
    created: float
    journal: str  # hash of the journal's last line
    consents: Mapping[str, str]  # list -> why somebody agreed with a large change


class BuildDraft(NamedTuple):
    """The next state of one build: metadata without signatures, and new files."""

    build: Build
    metadata: dict[str, Metadata[Targets]]
    targets: dict[str, bytes]
    base_reason: str  # why there is a new base; "" = there is none


class Draft(NamedTuple):
    """The next state of the feed."""

    builds: dict[str, BuildDraft]
    changes: list[ListChange]
    required: tuple[str, ...]  # roles whose signatures the release waits for
    optional: tuple[str, ...]  # roles that are renewed if somebody signs them
    key_changes: list[str]
    notices: list[str]  # what routers will be told besides the lists
    history: bytes
    digest: str  # of all that has to be signed

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing would change."""
        return not self.required


class _Part(NamedTuple):
    """A build while its draft is made."""

    build: Build
    base: Base
    base_file: ListedFile
    new_base: bytes
    reason: str
    keys: Mapping[bytes, bytes]
    listed: dict[str, tuple[Listed, ...]]
    previous: dict[str, Previous]
    state: State | None
    minimum_version: str  # that its routers are asked for so far

    @property
    def is_new_epoch(self) -> bool:
        return self.build.coming is not None and self.state is not None


def read_content(desk: Desk, now: float) -> DeskContent:
    """Return what the desk wants to be in force at a moment. Raises DeskError, ConfigError."""
    folder = Path(desk.folder)
    settings = load_settings(folder)
    titles = desk.lists()
    if not titles:
        raise DeskError(f"{folder}: the desk has no list; 'guardian hotline init' makes the first")
    for list_id in titles:
        check_list_id(list_id)
    return DeskContent(
        settings,
        load_suffix_rules(folder, settings),
        titles,
        {list_id: list(desk.list_active(list_id, now)) for list_id in titles},
        list(desk.popular_names()),
        desk.people(all_=True),
        desk.minimum_version(),
    )


def compose(
    repository: Repository, content: DeskContent, terms: Terms, progress: Progress | None = None, *, renew: bool = False
) -> Draft:
    """Return the next state of the feed. The same desk and terms give the same bytes.

    `renew` signs everything anew even where nothing has changed. Raises DeskError.
    """
    parts, contents = _make_parts(repository, content, progress)
    growth = Growth.load(repository.folder)
    files: dict[str, dict[str, Files]] = {}  # list -> build -> files
    changes = []
    for list_id, listed in contents.items():
        if all(_is_same(part, listed) for part in parts.values()):
            change = growth.describe_same(listed, _serial(parts, list_id))
        else:
            files[list_id] = _make_list(parts, listed, terms)
            first = files[list_id][next(iter(parts))]
            new_epoch = any(part.is_new_epoch for part in parts.values())
            previous = next(iter(parts.values())).previous.get(list_id)
            before = previous.listing.entries if previous else 0
            change = growth.add(listed, first, before, terms.created, new_epoch=new_epoch)
        changes.append(change)
    return _Writer(content, terms, parts, files, renew).make_draft(changes, growth)


def _make_parts(
    repository: Repository, content: DeskContent, progress: Progress | None
) -> tuple[dict[str, _Part], dict[str, Content]]:
    builds = load_builds(repository.folder)
    if not builds:
        raise DeskError(f"{repository.folder}: the desk has no build; 'guardian hotline init' makes the first")
    states = {name: repository.state(name) for name in builds}
    first = next(iter(builds.values()))
    bare = make_bare_base(first.coming or first.epoch, first.cost, content.rules)
    test = make_test_entry(content.settings.test_name, content.settings.name, bare)
    previous = {name: _load_previous(repository, name, state, content.titles) for name, state in states.items()}
    contents = {
        list_id: _make_content(list_id, entries, bare, previous, test) for list_id, entries in content.entries.items()
    }
    sources = digest_sources(content.rules, content.popular)
    with closing(KeyCache(repository.folder / "keys.db")) as cache:
        parts = {
            name: _make_part(
                repository, content, build, states[name], previous[name], contents, sources, cache, progress
            )
            for name, build in builds.items()
        }
    return parts, contents


def _make_content(
    list_id: str, entries: Sequence[Entry], bare: Base, previous: Mapping[str, dict[str, Previous]], test: Plain | None
) -> Content:
    plain, not_enforceable = collect(entries, bare)
    before = next((found[list_id] for found in previous.values() if list_id in found), None)
    classes = TagTable(before.tags).classes if before else ()
    return make_content(list_id, plain, not_enforceable, classes, test)


def _load_previous(
    repository: Repository, build: str, state: State | None, lists: Mapping[str, Text]
) -> dict[str, Previous]:
    found = {}
    for list_id in lists:
        metadata = state.delegated.get(list_id) if state else None
        if metadata is None or index_path(list_id) not in metadata.signed.targets:
            continue
        try:
            listing = decode(
                repository.read_target(build, metadata, index_path(list_id)), ListIndex, index_path(list_id)
            )
        except ListError as error:
            raise DeskError(f"{build}: {error}") from None
        found[list_id] = Previous(listing, repository.read_target(build, metadata, listing.whole.path))
    return found


def _make_part(
    repository: Repository,
    content: DeskContent,
    build: Build,
    state: State | None,
    previous: dict[str, Previous],
    contents: Mapping[str, Content],
    sources: str,
    cache: KeyCache,
    progress: Progress | None,
) -> _Part:
    test_name = content.settings.test_name
    listed = {name: add_canaries(each, build.canaries, bool(test_name)) for name, each in contents.items()}
    domains = {entry.domain for entries in listed.values() for entry in entries}
    path = f"base/{build.epoch.name}-{build.epoch.base}.base"
    current = None
    if state is not None and build.epoch.base:
        data = repository.read_target(build.name, state.targets, path)
        current = Base(data)
    wire = parse_name(test_name) if test_name else b""
    reason = find_base_need(build, current, sources, domains, wire) or ""
    new_base = b""
    if reason or current is None:
        epoch = build.coming or build.epoch
        epoch = msgspec.structs.replace(epoch, base=epoch.base + 1)
        bare = make_bare_base(epoch, build.cost, content.rules)
        new_base = data = make_base(epoch, build.cost, content.rules, content.popular, domains, bare, wire)
        path = f"base/{epoch.name}-{epoch.base}.base"
        current = Base(data)
        build = msgspec.structs.replace(build, epoch=epoch, sources=sources)
    keys = cache.derive(
        domains,
        current.salt,
        current.cost,
        (lambda done, all_, left: progress(build.name, done, all_, left)) if progress else None,
    )
    minimum = ""
    if state is not None and FEED in state.targets.signed.targets:
        minimum = decode(repository.read_target(build.name, state.targets, FEED), Feed, FEED).minimum_version
    return _Part(build, current, describe_file(path, data), new_base, reason, keys, listed, previous, state, minimum)


def _is_same(part: _Part, content: Content) -> bool:
    previous = part.previous.get(content.list_id)
    return is_unchanged(content, part.listed[content.list_id], part.base, part.keys, previous)


def _serial(parts: Mapping[str, _Part], list_id: str) -> int:
    return max(
        (part.previous[list_id].listing.serial for part in parts.values() if list_id in part.previous), default=0
    )


def _make_list(parts: Mapping[str, _Part], content: Content, terms: Terms) -> dict[str, Files]:
    """All builds get the same serial, also those in which nothing has changed."""
    list_id = content.list_id
    serial = _serial(parts, list_id) + 1
    return {
        name: make_files(
            content,
            part.listed[list_id],
            serial,
            terms.created,
            part.base,
            part.keys,
            part.previous.get(list_id),
            terms.journal,
        )
        for name, part in parts.items()
    }


class _Writer:
    """Writes the metadata of a draft. A role that changes in one build gets the same new version in all of them."""

    def __init__(
        self,
        content: DeskContent,
        terms: Terms,
        parts: dict[str, _Part],
        files: dict[str, dict[str, Files]],
        renew: bool,
    ) -> None:
        self._content = content
        self._terms = terms
        self._parts = parts
        self._files = files
        self._renew = renew
        self._delegations = make_delegations(terms.circle, terms.thresholds, list(content.titles))
        self._delegator = Targets(delegations=self._delegations)

    def make_draft(self, changes: list[ListChange], growth: Growth) -> Draft:
        builds = {
            name: BuildDraft(
                msgspec.structs.replace(part.build, coming=None),
                {},
                {part.base_file.path: part.new_base} if part.new_base else {},
                part.reason if part.new_base else "",
            )
            for name, part in self._parts.items()
        }
        required: list[str] = []
        optional: list[str] = []
        if self._write_targets(builds):
            required.append(TARGETS)
        for change in changes:
            if self._write_list(builds, change.list_id):
                required.append(change.list_id)
            role = bulk_role(change.list_id)
            if self._write_bulk(builds, change):
                is_missing = any(part.state is None or part.state.role(role) is None for part in self._parts.values())
                (required if change.consent_reason or is_missing else optional).append(role)
        digest = hashlib.sha256()
        for name, draft in builds.items():
            for role in required:
                if not role.endswith("-bulk"):  # who consents gives a reason, which comes later
                    digest.update(f"{name} {role}\n".encode() + draft.metadata[role].signed_bytes)
        is_new = TARGETS in required
        key_changes, notices = (self._describe_keys(), self._describe_minimum()) if is_new else ([], [])
        return Draft(
            builds, changes, tuple(required), tuple(optional), key_changes, notices, growth.encode(), digest.hexdigest()
        )

    def _describe_keys(self) -> list[str]:
        """Tell who may sign lists from now on or no more, in plain words."""
        state = next(iter(self._parts.values())).state
        before = state.targets.signed.delegations if state else None
        if before is None or before.roles is None or self._delegations.roles is None:
            return []
        names = {key_id(person.public_key): name for name, person in self._content.people.items()}
        lines = []
        for role, delegated in self._delegations.roles.items():
            old = set(before.roles[role].keyids) if role in before.roles else set()
            new = set(delegated.keyids)
            for keys, what in ((old - new, "may not sign {} any more"), (new - old, "signs {} from now on")):
                lines += [f"{names.get(key, 'an old key')} ({key[:8]}) {what.format(role)}" for key in sorted(keys)]
        return lines

    def _describe_minimum(self) -> list[str]:
        """Tell which version of Guardian routers will be asked for, where it is another one than before."""
        wanted = self._content.minimum_version
        before = next((part.minimum_version for part in self._parts.values() if part.minimum_version != wanted), None)
        if before is None:
            return []
        return [f"routers are asked for Guardian {wanted or 'of any version'} ({before or 'any version'} before)"]

    def _version(self, role: str) -> int:
        found = (part.state.role(role) if part.state else None for part in self._parts.values())
        return 1 + max((metadata.signed.version for metadata in found if metadata), default=0)

    def _needs_signing(self, role: str, delegator: Root | Targets) -> bool:
        """Tell whether a role must be signed anew although its files are the same: new people, a near end."""
        for part in self._parts.values():
            metadata = part.state.role(role) if part.state else None
            if metadata is None or not count_signatures(delegator, role, metadata).is_enough:
                return True
            left = metadata.signed.expires.timestamp() - self._terms.created
            if left < lifetime_of(role) * _RENEW_BEFORE:
                return True
        return False

    def _write_targets(self, builds: dict[str, BuildDraft]) -> bool:
        feeds = {name: self._make_feed(part) for name, part in self._parts.items()}
        changed = any(self._is_new_feed(part, feeds[name]) for name, part in self._parts.items())
        if not (changed or self._renew or self._needs_signing(TARGETS, self._terms.root)):
            return False
        version = self._version(TARGETS)
        for name, part in self._parts.items():
            targets = next_targets(None, TARGETS, version, self._terms.created, self._delegations)
            file = part.base_file
            base = TargetFile(file.size, {"sha256": file.sha256}, file.path)
            targets.targets = {FEED: TargetFile.from_data(FEED, feeds[name], ["sha256"]), file.path: base}
            builds[name].metadata[TARGETS] = Metadata(targets)
            builds[name].targets[FEED] = feeds[name]
        return True

    def _make_feed(self, part: _Part) -> bytes:
        settings = self._content.settings
        return encode(
            Feed(
                name=settings.name,
                epoch=part.base.epoch,
                base=part.base_file,
                lists=[FeedList(list_id, title) for list_id, title in self._content.titles.items()],
                test_name=settings.test_name,
                minimum_version=self._content.minimum_version,
            )
        )

    def _is_new_feed(self, part: _Part, feed: bytes) -> bool:
        if part.state is None:
            return True
        signed = part.state.targets.signed
        return (
            signed.targets.get(FEED) != TargetFile.from_data(FEED, feed, ["sha256"])
            or part.base_file.path not in signed.targets
            or not same_delegations(signed.delegations, self._delegations)
        )

    def _write_list(self, builds: dict[str, BuildDraft], list_id: str) -> bool:
        files = self._files.get(list_id)
        if not (files or self._renew or self._needs_signing(list_id, self._delegator)):
            return False
        version = self._version(list_id)
        for name, part in self._parts.items():
            before = part.state.role(list_id) if part.state else None
            targets = next_targets(before.signed if before else None, list_id, version, self._terms.created)
            if files:
                made = files[name]
                path = index_path(list_id)
                known = [made.listing.whole, *(delta.file for delta in made.listing.deltas)]
                targets.targets = {
                    file.path: TargetFile(file.size, {"sha256": file.sha256}, file.path) for file in known
                }
                targets.targets[path] = TargetFile.from_data(path, made.targets[path], ["sha256"])
                builds[name].targets.update(made.targets)
            builds[name].metadata[list_id] = Metadata(targets)
        return True

    def _write_bulk(self, builds: dict[str, BuildDraft], change: ListChange) -> bool:
        role = bulk_role(change.list_id)
        reason = self._terms.consents.get(change.list_id, "")
        if not (change.consent_reason or self._renew or self._needs_signing(role, self._delegator)):
            return False
        version = self._version(role)
        for name, part in self._parts.items():
            before = part.state.role(role) if part.state else None
            targets = next_targets(before.signed if before else None, role, version, self._terms.created)
            if change.consent_reason and reason:
                listing = self._files[change.list_id][name].listing
                path = bulk_path(change.list_id, change.serial)
                consent = BulkConsent(
                    list_id=change.list_id, serial=change.serial, sha256=listing.whole.sha256, reason=reason
                )
                data = encode(consent)
                targets.targets = {path: TargetFile.from_data(path, data, ["sha256"])}
                builds[name].targets[path] = data
            builds[name].metadata[role] = Metadata(targets)
        return True
