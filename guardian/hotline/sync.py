"""`guardian sync`: fetch every list, believe what is believable, compile everything, replace the image.

A list that cannot be had or believed keeps its last good copy; the others go on. Nothing here talks to the gateway.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from guardian.blocklist.address_lists import AddressSource, compile_addresses
from guardian.blocklist.addresses import FORMAT as ADDRESSES
from guardian.blocklist.addresses import AddressTable, build_table
from guardian.blocklist.compile import Source as CompileSource
from guardian.blocklist.compile import compile_image
from guardian.catalogue import KnownAddresses, Source, SourceAction, load_addresses, load_catalogue, load_sources
from guardian.catalogue.shapes import Words
from guardian.catalogue.starter import starter_addresses, starter_sources
from guardian.config import Config
from guardian.errors import ListError
from guardian.hotline.download import Limits, Validators
from guardian.hotline.fetch import fetch
from guardian.hotline.guard import (
    NO_PROTECTION,
    ListFacts,
    Protection,
    check_shrinking,
    inspect_addresses,
    inspect_list,
    keep_unshared,
    leave_out,
    read_chunks,
)
from guardian.hotline.report import SourceReport, SourceState, SyncReport, load_report, save_report
from guardian.store.addresses import address_file, write_addresses
from guardian.store.folders import make_folder
from guardian.store.images import write_image

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]  # the share done (0..1), and what is being done

MANDATORY_BYTES = 64 * 1024 * 1024
_FETCH_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """How to sync: `offline` fetches nothing; `only` fetches these ids; `force` believes a list that shrank."""

    offline: bool = False
    only: Sequence[str] = ()
    force: bool = False
    limits: Limits = field(default_factory=lambda: Limits(size=0))  # the size is each source's own


EVERYTHING = SyncOptions()


def sync_lists(config: Config, options: SyncOptions = EVERYTHING, progress: Progress | None = None) -> SyncReport:
    """Bring the lists up to date and replace the image; return what happened to each source.

    The image is replaced even when sources failed: last good copies and the starter data are in it.
    Raises ConfigError for a broken sources file or catalogue, ListError when another sync runs, an id of `only` is not
    known, or no image can be made.
    """
    report = progress or (lambda share, what: None)
    sources = _choose_sources(config)
    if unknown := [source_id for source_id in options.only if source_id not in sources]:
        raise ListError(f"no such source: {', '.join(unknown)}")
    folder = Path(config.state) / "lists" / "sources"
    make_folder(folder)
    with _lock(folder.parent / "sync.lock"):
        catalogue, known = load_catalogue(), load_addresses()
        shared = _make_shared(known)
        keeper = _Keeper(folder, Protection(catalogue.protected, catalogue.protected_exact), shared, options)
        before = _load_before(folder.parent / "state.json")
        reports = []
        for index, (source_id, source) in enumerate(sources.items()):
            report(_FETCH_SHARE * index / len(sources), source_id)
            reports.append(keeper.update(source_id, source, before.get(source_id)))
        keeper.forget_others(sources)
        compiled = compile_image(
            [*starter_sources(catalogue), *_list_copies(folder, sources, reports)],
            os.urandom(16),
            time.time(),
            lambda share, what: report(_FETCH_SHARE + (1 - _FETCH_SHARE) * share, what),
        )
        write_image(config.lists.image, (memoryview(chunk).cast("B") for chunk in compiled.chunks))
        table = compile_addresses(
            [*starter_addresses(known), *_address_copies(folder, sources, reports, shared)], time.time()
        )
        write_addresses(address_file(config.state), table)
        counts = (compiled.name_count, compiled.url_count, table.count)
        done = SyncReport(tuple(reports), time.time(), config.lists.image, *counts)
        save_report(folder.parent / "state.json", done)
    report(1.0, "done")
    log.info(
        "event=synced sources=%d names=%d addresses=%d gaps=%s", len(reports), done.names, done.addresses, done.has_gaps
    )
    return done


def read_report(config: Config) -> SyncReport | None:
    """Return the report of the last sync, or None. Raises ListError for a broken file."""
    return load_report(Path(config.state) / "lists" / "state.json")


def _make_shared(known: KnownAddresses) -> AddressTable:
    """The addresses that no fetched list may hold, by owner."""
    return build_table((owner, network) for owner, networks in known.shared.items() for network in networks)


def _choose_sources(config: Config) -> dict[str, Source]:
    """The sources that should be in force: the enabled ones of the wanted categories, and the mandatory files."""
    wanted = config.lists.categories
    chosen = {}
    for source_id, source in load_sources(config.lists.sources).items():
        categories = [tag.removeprefix("category:") for tag in source.tags if tag.startswith("category:")]
        if source.enabled and (not wanted or not categories or set(categories) & set(wanted)):
            chosen[source_id] = source
    for entry in config.lists.mandatory:
        chosen[f"mandatory-{entry.name}"] = Source(
            entry.file, Words((f"mandatory:{entry.name}",)), limit=MANDATORY_BYTES, licence="confidential"
        )
    return chosen


def _load_before(path: Path) -> dict[str, SourceReport]:
    try:
        found = load_report(path)
    except ListError as error:  # a report is no reason to stay without lists; without it all are fetched anew
        log.warning("event=report_ignored why=%s", error)
        return {}
    return {source.id: source for source in found.sources} if found else {}


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ListError("another sync is running") from None
        yield


class _Keeper:
    """Keeps the last good copy of each list: `ID.list` as it came, `ID.kept` without protected names if it had any."""

    def __init__(self, folder: Path, protection: Protection, shared: AddressTable, options: SyncOptions) -> None:
        self._folder = folder
        self._protection = protection
        self._shared = shared
        self._options = options

    def update(self, source_id: str, source: Source, before: SourceReport | None) -> SourceReport:
        """Fetch one source if it is its turn, and return what is in force now."""
        copy = self._folder / f"{source_id}.list"
        if before is None or before.url != source.url or not copy.exists():
            before = SourceReport(source_id, tuple(source.tags), SourceState.UNCHANGED)
        now = replace(before, tags=tuple(source.tags), url=source.url, licence=source.licence, reason="")
        options = self._options
        is_local = urlsplit(source.url).scheme in ("", "file")
        if (options.offline and not is_local) or (options.only and source_id not in options.only):
            now = replace(now, state=SourceState.UNCHANGED)
        else:
            now = self._fetch(now, source, copy)
        try:
            facts = self._settle(source_id, source)
        except FileNotFoundError:
            state = SourceState.FAILED if now.state is SourceState.UNCHANGED else now.state
            return replace(now, state=state, reason=now.reason or "never fetched", entries=0, size=0)
        except ListError as error:
            log.info("event=copy_unusable source=%s why=%s", source_id, error)
            return replace(now, state=SourceState.REFUSED, reason=now.reason or str(error), entries=0, etag="")
        return replace(now, entries=facts.entries, size=copy.stat().st_size, dropped=facts.dropped)

    def _fetch(self, before: SourceReport, source: Source, copy: Path) -> SourceReport:
        """Try to get a newer copy; what comes is believed or thrown away."""
        fresh = copy.with_suffix(".fetched")
        known = Validators(before.etag, before.last_modified)
        try:
            result = fetch(source.url, fresh, replace(self._options.limits, size=source.limit), known)
        except ListError as error:
            log.info("event=fetch_failed source=%s why=%s", before.id, error)
            return replace(before, state=SourceState.FAILED, reason=str(error))
        checked = time.time()
        if not result.changed:
            return replace(before, state=SourceState.UNCHANGED, checked=checked)
        try:
            facts = self._inspect(fresh, source)
            if not self._options.force and copy.exists():
                check_shrinking(facts.entries, before.entries)
        except ListError as error:
            fresh.unlink()
            log.info("event=list_refused source=%s why=%s", before.id, error)
            return replace(before, state=SourceState.REFUSED, reason=str(error))
        os.replace(fresh, copy)
        etag, last_modified = result.validators
        return replace(
            before,
            state=SourceState.OK,
            fetched=checked,
            checked=checked,
            etag=etag,
            last_modified=last_modified,
        )

    def _inspect(self, path: Path, source: Source) -> ListFacts:
        if source.format == ADDRESSES:
            return inspect_addresses(path, self._shared)
        confidential = any(tag.startswith("mandatory:") for tag in source.tags)
        protection = NO_PROTECTION if source.action is SourceAction.EXEMPT or _allows(source) else self._protection
        return inspect_list(path, source.format, protection, confidential)

    def _settle(self, source_id: str, source: Source) -> ListFacts:
        """Look at the copy in force, and make the one without protected names where it needs that."""
        copy = self._folder / f"{source_id}.list"
        kept = self._folder / f"{source_id}.kept"
        facts = self._inspect(copy, source)
        if not facts.dropped or source.format == ADDRESSES:  # addresses are left out when they are compiled
            kept.unlink(missing_ok=True)
            return facts
        log.info("event=protected_names_dropped source=%s count=%d", source_id, len(facts.dropped))
        leave_out(copy, facts.dropped, kept)
        left = self._inspect(kept, source)
        if left.dropped:
            kept.unlink()
            raise ListError(f"it blocks {len(left.dropped)} protected names in a way that can't be taken out")
        return replace(facts, entries=left.entries)

    def forget_others(self, sources: Mapping[str, Source]) -> None:
        """Remove the copies of lists that nobody wants any more, and what a killed sync left."""
        for path in self._folder.iterdir():
            if path.suffix not in (".list", ".kept") or path.stem not in sources:
                path.unlink()


def _allows(source: Source) -> bool:
    return all(tag.startswith("allowed:") for tag in source.tags)


def _list_copies(
    folder: Path, sources: Mapping[str, Source], reports: Sequence[SourceReport]
) -> Iterator[CompileSource]:
    """Yield the usable copies as lists for the compiler, one for each tag."""
    for report in reports:
        source = sources[report.id]
        kept = folder / f"{report.id}.kept"
        path = kept if kept.exists() else folder / f"{report.id}.list"
        if not report.is_usable or source.format == ADDRESSES:
            continue
        for tag in source.tags:
            yield CompileSource(
                tag=tag,
                name=report.id,
                data=partial(read_chunks, path),
                action="allow" if source.action is SourceAction.EXEMPT else "block",
                format=source.format,
                notes=_note(source, report),
            )


def _address_copies(
    folder: Path, sources: Mapping[str, Source], reports: Sequence[SourceReport], shared: AddressTable
) -> Iterator[AddressSource]:
    """Yield the usable copies of lists of addresses for the table."""
    for report in reports:
        source = sources[report.id]
        if report.is_usable and source.format == ADDRESSES:
            read = partial(keep_unshared, folder / f"{report.id}.list", shared)
            yield AddressSource(source.tags[0], report.id, read, _note(source, report))


def _note(source: Source, report: SourceReport) -> dict[str, str | float]:
    return {"url": source.url, "licence": source.licence, "fetched": report.fetched, "signature": "none"}
