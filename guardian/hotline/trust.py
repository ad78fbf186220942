"""One update of the feed: whose signatures count, what is newest, and what of it may come into force.

The Update Framework's client does the cryptography. Added here: a clock that never goes back, a floor of versions that
outlives a power cut, small limits, errors with a code and a sentence, and a state that tells people how it stands.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from tuf.api import exceptions as tuf
from tuf.api.metadata import Signed, TargetFile

from guardian.clock import RELEASED
from guardian.config.values import HotlineConfig
from guardian.errors import ListError
from guardian.feed import (
    FEED,
    MAX_TARGET_BYTES,
    BulkConsent,
    Feed,
    ListedFile,
    ListIndex,
    bulk_path,
    decode,
    index_path,
)
from guardian.hotline.download import Limits
from guardian.hotline.feed_fetcher import FEED_LIMITS, FeedFetcher, FetchFailed, KnownCopy
from guardian.hotline.feed_state import (
    CLOCK,
    DAMAGED,
    DISK,
    EXPIRED,
    MISSING,
    NOT_SIGNED,
    OFFLINE,
    ROLLBACK,
    TOO_LARGE,
    FeedError,
    FeedState,
    Floor,
    ListState,
    load_state,
    save_state,
)
from guardian.hotline.install import Installer, Moment, clean_folder
from guardian.hotline.tuf_client import FetcherInterface, Updater, UpdaterConfig
from guardian.store.folders import make_folder
from guardian.versions import is_version

log = logging.getLogger(__name__)

MAX_SMALL_BYTES = 64 * 1024  # of feed.json, an index, a consent
CLOCK_TOLERANCE = 86400.0
TOP_ROLES = ("root", "timestamp", "snapshot", "targets")
_SMALL_FILES = "small"  # below the folder: feed.json and the indexes, looked at anew each time
_TUF_LIMITS = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=32,
    root_max_length=128 * 1024,
    timestamp_max_length=16 * 1024,
    snapshot_max_length=64 * 1024,
    targets_max_length=512 * 1024,
)

Announce = Callable[[], bool]


class FeedClient:
    """The feed of one box: its settings, and the folder `STATE/hotline`, whose only writer this is."""

    def __init__(
        self, hotline: HotlineConfig, folder: str | Path, released: float = RELEASED, limits: Limits = FEED_LIMITS
    ) -> None:
        self._hotline = hotline
        self._folder = Path(folder)
        self._released = released
        self._limits = limits
        self._state = FeedState()

    def update(self, now: float, announce: Announce | None = None) -> FeedState:
        """Look at the feed, bring what is newer into force, and return how it stands; the state is saved.

        What is wrong with the feed is told in the state, and leaves the lists in force as they are. `announce` is
        called when new files are in force, and returns whether the gateway has them now or will have when it starts.
        Raises ListError when another update runs for too long, OSError when not even the state can be written.
        """
        make_folder(self._folder)
        with lock_folder(self._folder, self._limits.total + 30.0):
            before = self._load()
            if before.url != self._hotline.url:  # the same feed, perhaps: what was believed stays, what was cached not
                before = replace(before, etag="", timestamp="")
            self._state = replace(before, url=self._hotline.url, checked=now, code="", error="")
            try:
                clean_folder(self._folder)
                self._look(now)
            except (ListError, OSError) as error:
                self._fail(error)
            since = (before.failing or max(now, self._state.accepted)) if self._state.troubles() else 0.0
            self._state = replace(self._state, failing=since)
            save_state(self._folder, self._state)
            if self._state.reload_due and announce and announce():
                self._state = replace(self._state, reload_due=False)
                save_state(self._folder, self._state)
        return self._state

    def _fail(self, error: ListError | OSError) -> None:
        if isinstance(error, OSError):
            code, text = DISK, f"this box can't write: {error.strerror or error}"
        else:
            code, text = error.code if isinstance(error, FeedError) else DAMAGED, str(error)
        log.warning("event=feed_failed code=%s why=%s", code, text)
        self._state = replace(self._state, code=code, error=text)

    def _load(self) -> FeedState:
        try:
            return load_state(self._folder) or FeedState()
        except ListError as error:
            log.warning("event=feed_state_ignored why=%s", error)
            return FeedState()

    def _look(self, now: float) -> None:
        try:
            root = Path(self._hotline.root).read_bytes()
        except OSError as error:
            raise FeedError(DAMAGED, f"{self._hotline.root}: {error.strerror}; it came with the box") from None
        floor = max(self._released, self._state.accepted)
        clock = max(now, floor)
        if (behind := floor - now) > 0:
            log.warning("event=clock_behind seconds=%d", behind)
        self._state = replace(self._state, clock_behind=max(0.0, behind))
        with FeedFetcher(self._limits, self._known_timestamp()) as fetcher:
            try:
                trusted = TrustedFeed(self._hotline.url, self._folder, root, fetcher, clock)
            except FeedError as error:
                raise FeedError(error.code, f"{self._hotline.root}: {error}; it came with the box") from None
            trusted.refresh()
            self._believe(trusted, fetcher.etag, clock)
            self._install(trusted, clock)
        if not self._state.troubles():
            self._state = replace(self._state, succeeded=now)

    def _known_timestamp(self) -> KnownCopy:
        """Return the timestamp.json that is here, if it is the one that the ETag was for."""
        try:
            data = (self._folder / "tuf" / "timestamp.json").read_bytes()
        except FileNotFoundError:
            data = b""
        state = self._state
        if hashlib.sha256(data).hexdigest() != state.timestamp:
            data = b""
        return KnownCopy(f"{self._hotline.url}metadata/timestamp.json", state.etag, data if state.etag else b"")

    def _believe(self, trusted: TrustedFeed, etag: str, clock: float) -> None:
        """Check what was verified against what was believed before, and save it before anything is done with it."""
        trusted.check_floors(self._state.floors)
        timestamp = (self._folder / "tuf" / "timestamp.json").read_bytes()
        self._state = replace(
            self._state,
            version=trusted.version("timestamp"),
            root_version=trusted.version("root"),
            expires=trusted.expires(),
            floors=trusted.floors(self._state.floors),
            accepted=max(self._state.accepted, clock),
            etag=etag,
            timestamp=hashlib.sha256(timestamp).hexdigest(),
        )
        save_state(self._folder, self._state)

    def _install(self, trusted: TrustedFeed, clock: float) -> None:
        feed = decode(trusted.read(FEED), Feed, FEED)
        ids = [item.id for item in feed.lists]
        offers: dict[str, ListIndex | FeedError] = {}
        for list_id in ids:
            if not self._hotline.lists or list_id in self._hotline.lists:
                offers[list_id] = self._read_index(list_id, trusted)
        state = replace(
            self._state,
            name=feed.name,
            test_name=feed.test_name,
            minimum_version=_read_minimum(feed),
            floors=trusted.floors(self._state.floors),
            expires=trusted.expires(),
        )
        self._state = state
        save_state(self._folder, state)
        done = Installer(self._folder, trusted, Moment(clock, state.root_version)).install(feed, offers, state.lists)
        lists = dict(done.lists)
        for list_id in self._hotline.lists:
            if list_id not in ids:
                lists[list_id] = ListState(code=MISSING, error=f"the feed has no list '{list_id}'")
        self._state = replace(state, lists=lists, epoch=done.epoch, reload_due=state.reload_due or done.changed)

    def _read_index(self, list_id: str, trusted: TrustedFeed) -> ListIndex | FeedError:
        """Return the newest state of a list, or why there is none."""
        path = index_path(list_id)
        try:
            data = trusted.read(path)
            trusted.check_floors(self._state.floors, (list_id,))
            index = decode(data, ListIndex, path)
            if index.list_id != list_id:
                raise FeedError(DAMAGED, f"{path}: it is of list '{index.list_id}'")
            return index
        except FeedError as error:
            return error
        except ListError as error:
            return FeedError(DAMAGED, str(error))


class _MetadataFetcher(FetcherInterface):
    """Keeps metadata small: tuf has its limits for those without a length, and takes any length that is signed."""

    def __init__(self, fetcher: FeedFetcher) -> None:
        self._fetcher = fetcher

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        is_snapshot = url.endswith(("/snapshot.json", ".snapshot.json"))
        most = _TUF_LIMITS.snapshot_max_length if is_snapshot else _TUF_LIMITS.targets_max_length
        with self._fetcher.download_file(url, min(max_length, most)) as file:
            yield file

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._fetcher.fetch(url)


class TrustedFeed:
    """What the signatures of one feed vouch for, at one moment. Errors are FeedError."""

    def __init__(self, url: str, folder: Path, root: bytes, fetcher: FeedFetcher, clock: float) -> None:
        self._url = url
        self._folder = folder
        self._fetcher = fetcher
        self._clock = clock
        self._bootstrap = hashlib.sha256(root).hexdigest()[:16]
        self._synced: dict[str, int] = {}  # file -> inode
        metadata = folder / "tuf"
        for place in (metadata, folder / _SMALL_FILES):
            make_folder(place)
        for name in os.listdir(metadata):  # what a killed update left; ngclient does not come back to it
            if name.startswith("tmp"):
                (metadata / name).unlink()
        with self._told():
            self._updater = Updater(
                str(metadata), f"{url}metadata/", fetcher=_MetadataFetcher(fetcher), config=_TUF_LIMITS, bootstrap=root
            )
        # tuf offers no way to say what time it is; tests/hotline/test_trust.py pins this.
        self._trusted: Any = self._updater._trusted_set
        self._trusted.reference_time = datetime.fromtimestamp(clock, UTC)

    def refresh(self) -> None:
        """Bring all metadata but those of lists up to date, as TUF's client workflow says."""
        with self._told():
            self._updater.refresh()
        self._sync()

    def version(self, role: str) -> int:
        """Return the version of a role's metadata."""
        return int(self._trusted[role].version)

    def expires(self) -> float:
        """Return when the first of the metadata ends that were verified so far."""
        return min(role.expires.timestamp() for role in self._roles().values())

    def floors(self, before: Mapping[str, Floor]) -> dict[str, Floor]:
        """Return the newest versions that were ever believed, with those of now."""
        floors = dict(before)
        for name, role in self._roles().items():
            floor = floors.get(name, Floor())
            if role.version > floor.version or floor.keys != self._keys(name):
                floors[name] = Floor(int(role.version), self._keys(name))  # tuf takes a signed `true` for a version
        return floors

    def check_floors(self, floors: Mapping[str, Floor], names: Collection[str] = TOP_ROLES) -> None:
        """Check that no role is older than what was believed before, on a disk that may have lost it since."""
        for name, role in self._roles().items():
            floor = floors.get(name, Floor())
            if name in names and role.version < floor.version and floor.keys == self._keys(name):
                text = f"{name}.json has version {role.version}, and version {floor.version} was believed before"
                raise FeedError(ROLLBACK, text)

    def read(self, path: str) -> bytes:
        """Return a small file, from the disk if it is still the same."""
        info = self._find(path, MAX_SMALL_BYTES)
        copy = self._folder / _SMALL_FILES / path.replace("/", ".")
        with self._told():
            try:
                data = copy.read_bytes()
                info.verify_length_and_hashes(data)
                return data
            except (FileNotFoundError, tuf.LengthOrHashMismatchError):
                data = self._download(info)
        copy.write_bytes(data)  # checked whenever it is read: no need to be careful
        return data

    def get(self, file: ListedFile) -> bytes:
        """Return a file of a list: the signed metadata and the list's index must agree about it."""
        info = self._find(file.path, MAX_TARGET_BYTES)
        if (info.length, info.hashes.get("sha256")) != (file.size, file.sha256):
            raise FeedError(DAMAGED, f"{file.path}: the index and the signed metadata do not agree about it")
        with self._told():
            return self._download(info)

    def find_consent(self, list_id: str, serial: int) -> BulkConsent | None:
        """Return the consent of others to a large change, None where there is none."""
        path = bulk_path(list_id, serial)
        with self._told():
            if self._updater.get_targetinfo(path) is None:
                return None
        return decode(self.read(path), BulkConsent, path)

    def _find(self, path: str, limit: int) -> TargetFile:
        with self._told():
            info = self._updater.get_targetinfo(path)
        self._sync()
        if info is None:
            raise FeedError(NOT_SIGNED, f"nobody who may has signed {path}")
        if info.length > limit:
            raise FeedError(TOO_LARGE, f"{path} has {info.length} bytes, more than {limit}")
        if len(info.hashes.get("sha256", "")) != 64:
            raise FeedError(DAMAGED, f"{path} is signed without a SHA-256")
        return info

    def _download(self, info: TargetFile) -> bytes:
        folder, slash, name = info.path.rpartition("/")
        prefix = f"{info.hashes['sha256']}." if self._trusted.root.consistent_snapshot else ""
        data = self._fetcher.download_bytes(f"{self._url}targets/{folder}{slash}{prefix}{name}", info.length)
        info.verify_length_and_hashes(data)
        return data

    def _roles(self) -> dict[str, Signed]:
        """The metadata that were verified so far, by name."""
        names = list(TOP_ROLES)
        delegations = self._trusted.targets.delegations if "targets" in self._trusted else None
        if delegations and delegations.roles:
            names += [name for name in delegations.roles if isinstance(name, str)]
        return {name: self._trusted[name] for name in names if name in self._trusted}

    def _keys(self, name: str) -> str:
        """The digest that changes when a role gets other keys: then versions may begin anew."""
        if name == "root":
            return self._bootstrap
        delegator = self._trusted.root if name in self._trusted.root.roles else self._trusted.targets.delegations
        return hashlib.sha256(" ".join(sorted(map(str, delegator.roles[name].keyids))).encode()).hexdigest()[:16]

    def _sync(self) -> None:
        """Have the disk keep what ngclient wrote: it renames without syncing."""
        for folder, _, names in os.walk(self._folder / "tuf"):
            fresh = False
            for path in (os.path.join(folder, name) for name in names):
                number = os.stat(path).st_ino
                if self._synced.get(path) != number:
                    _sync_path(path)
                    self._synced[path] = number
                    fresh = True
            if fresh:
                _sync_path(folder)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what tuf raises into a FeedError."""
        try:
            yield
        except tuf.ExpiredMetadataError as error:
            raise self._describe_expiry(error) from None
        except tuf.UnsignedMetadataError as error:
            raise FeedError(NOT_SIGNED, f"too few of the right people have signed it: {error}") from None
        except tuf.BadVersionNumberError as error:
            text = "the versions are older than before, or do not belong together"
            raise FeedError(ROLLBACK, f"{text}: {error}") from None
        except tuf.RepositoryError as error:
            raise FeedError(DAMAGED, f"the signed metadata are not what they should be: {error}") from None
        except FetchFailed as error:
            raise FeedError(error.code, str(error)) from None
        except tuf.DownloadLengthMismatchError as error:
            raise FeedError(TOO_LARGE, str(error)) from None
        except tuf.DownloadError as error:
            raise FeedError(OFFLINE, str(error)) from None
        except (
            TypeError,
            ValueError,
            KeyError,
            AttributeError,
        ) as error:  # tuf trusts signed values to be of their type
            raise FeedError(DAMAGED, f"the signed metadata are not what they should be: {error!r}") from error

    def _describe_expiry(self, error: tuf.ExpiredMetadataError) -> FeedError:
        there = self._fetcher.server_time
        if there and self._clock - there > CLOCK_TOLERANCE:
            here, server = (datetime.fromtimestamp(moment, UTC) for moment in (self._clock, there))
            return FeedError(
                CLOCK,
                f"by this box's clock it is {here:%Y-%m-%d %H:%M}, by the server's {server:%Y-%m-%d %H:%M}: {error}",
            )
        return FeedError(EXPIRED, f"what the server has is too old to be believed: {error}")


def _sync_path(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock_folder(folder: Path, patience: float) -> Iterator[None]:
    """Hold a feed's folder alone, after waiting `patience` seconds at most. Raises ListError.

    Who waits looks again afterwards: the update before may have begun before there was something new.
    """
    end = time.monotonic() + patience
    with open(folder / "sync.lock", "w", encoding="ascii") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise ListError("another update of the feed is running") from None
                time.sleep(0.1)
        yield


def _read_minimum(feed: Feed) -> str:
    """Return the version that a feed asks for, "" for none: it is shown to people, so nothing else may stand there."""
    if feed.minimum_version and not is_version(feed.minimum_version):
        log.warning("event=version_ignored minimum=%r", feed.minimum_version[:40])
        return ""
    return feed.minimum_version
