"""The desk's folder of signed metadata, and the public folder that any web server serves.

    DIR/feed/       what is in force, and what the next version is made from: roots/N.root.json, BUILD/ROLE.json
    DIR/public/     BUILD/metadata/, BUILD/targets/: docs/feed.md
    DIR/release/    a release on its way there

A release is written whole into `release/`, then marked as ready, then copied to the public folder in an order in which
every state on the way is a consistent repository: files that carry their version or hash in the name first,
`timestamp.json` behind them, a new root last. Who is killed in between finds it finished by the next command. What is
signed next is always made from the desk's own `feed/`, never from the folder that the web server sees.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from guardian.desk.roles import DAY, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from guardian.errors import DeskError

DEFAULT_BUILD = "default"
GRACE = 7 * DAY  # for which files stay that nothing refers to any more: slow mirrors, updates that run
_READY = "ready.json"
_RETIRED = "retired.json"
_PUBLIC_MODE, _PRIVATE_MODE = 0o644, 0o600


class State(NamedTuple):
    """What one build has in force: its metadata by role, without the root."""

    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]
    delegated: dict[str, Metadata[Targets]]

    def role(self, name: str) -> Metadata[Targets] | None:
        """Return `targets` or a delegated role's metadata, None when there is none yet."""
        return self.targets if name == TARGETS else self.delegated.get(name)

    def files(self) -> list[tuple[str, Metadata[Any]]]:
        """Return all metadata by role, those that carry a version in their name first, `timestamp` last."""
        signed: list[tuple[str, Metadata[Any]]] = [(TARGETS, self.targets), *self.delegated.items()]
        return [*signed, (SNAPSHOT, self.snapshot), (TIMESTAMP, self.timestamp)]


class BuildFiles(NamedTuple):
    """What a release brings to one build."""

    state: State
    targets: Mapping[str, bytes]  # new files, by their place below `targets/`


class Repository:
    """The signed side of a desk's folder. Everything that changes it happens inside `locked()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._feed = folder / "feed"
        self._release = folder / "release"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the only right to publish; what a killed command left is finished first. Raises DeskError when taken."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "publish.lock", "w", opener=_open_private) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeskError(f"{self.folder}: another command is publishing right now; wait for it") from None
            self.finish_release()
            yield

    def public(self, build: str) -> Path:
        """Return the folder that a web server shows to the routers of a build."""
        return self.folder / "public" / build

    # What is in force

    def root(self) -> Metadata[Root] | None:
        """Return the newest root, None before the first."""
        versions = [int(path.name.partition(".")[0]) for path in (self._feed / "roots").glob("*.root.json")]
        return read_metadata(Root, self._feed / "roots" / f"{max(versions)}.root.json") if versions else None

    def roots(self) -> list[bytes]:
        """Return the bytes of all roots, the first first."""
        paths = (self._feed / "roots").glob("*.root.json")
        return [path.read_bytes() for path in sorted(paths, key=lambda path: int(path.name.partition(".")[0]))]

    def builds(self) -> list[str]:
        """Return the builds that have been released."""
        return sorted(path.parent.name for path in self._feed.glob(f"*/{TIMESTAMP}.json"))

    def state(self, build: str) -> State | None:
        """Return what a build has in force, None before its first release. Raises DeskError for damaged files."""
        folder = self._feed / build
        if not (folder / f"{TIMESTAMP}.json").exists():
            return None
        known = {ROOT, TARGETS, SNAPSHOT, TIMESTAMP, _RETIRED.removesuffix(".json")}
        return State(
            read_metadata(Targets, folder / f"{TARGETS}.json"),
            read_metadata(Snapshot, folder / f"{SNAPSHOT}.json"),
            read_metadata(Timestamp, folder / f"{TIMESTAMP}.json"),
            {
                path.stem: read_metadata(Targets, path)
                for path in sorted(folder.glob("*.json"))
                if path.stem not in known
            },
        )

    def read_target(self, build: str, metadata: Metadata[Targets], path: str) -> bytes:
        """Return a released file as `metadata` signs it. Raises DeskError when it is missing or another one."""
        entry = metadata.signed.targets.get(path)
        if entry is None:
            raise DeskError(f"{build}: {path} is not among the signed files")
        place = self.public(build) / "targets" / hashed_name(path, entry)
        try:
            data = place.read_bytes()
            entry.verify_length_and_hashes(data)
        except OSError as error:
            raise DeskError(f"{place}: {error.strerror}; copy it back from a mirror of the feed") from None
        except RepositoryError as error:
            raise DeskError(f"{place}: damaged ({error}); copy it back from a mirror of the feed") from None
        return data

    # A release

    def stage(
        self,
        builds: Mapping[str, BuildFiles],
        roots: Sequence[bytes] = (),
        root_first: bool = False,
        private: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Write a release aside, whole, and mark it as ready. From here on it happens, whoever is killed.

        `roots` are new roots for all builds, by rising version. They come last, so that the clients of the old root
        are served until the new one is there; `root_first` puts them before the timestamps, for metadata that only
        the new root believes. `private` are files of the desk that change with the release, by their place.
        """
        shutil.rmtree(self._release, ignore_errors=True)
        plan = _Plan(self._release)
        for build, files in builds.items():
            public = f"public/{build}"
            for path, data in files.targets.items():
                plan.add(f"{public}/targets/{hashed_name(path, TargetFile.from_data(path, data))}", data)
            for role, metadata in files.state.files()[:-1]:
                plan.add(f"{public}/metadata/{metadata.signed.version}.{role}.json", metadata.to_bytes())
        new_roots = [(Metadata[Root].from_bytes(data).signed.version, data) for data in roots]
        everywhere = sorted({*self.builds(), *builds})
        if root_first:
            self._plan_roots(plan, new_roots, everywhere)
        for build, files in builds.items():
            plan.add(f"public/{build}/metadata/{TIMESTAMP}.json", files.state.timestamp.to_bytes())
        if not root_first:
            self._plan_roots(plan, new_roots, everywhere)
        for build, files in builds.items():
            for role, metadata in files.state.files():
                plan.add(f"feed/{build}/{role}.json", metadata.to_bytes())
        for place, data in private.items():
            plan.add(place, data)
        plan.mark_ready()

    def _plan_roots(self, plan: _Plan, new_roots: list[tuple[int, bytes]], builds: Iterable[str]) -> None:
        # A build that is new needs the roots from before it too: its routers may have come with any of them.
        old = [(number, data) for number, data in enumerate(self.roots(), 1)]
        for build in builds:
            for version, data in (*old, *new_roots):
                path = f"public/{build}/metadata/{version}.root.json"
                if not (self.folder / path).exists():
                    plan.add(path, data)
        for version, data in new_roots:
            plan.add(f"feed/roots/{version}.root.json", data)

    def finish_release(self) -> bool:
        """Copy a release that is ready to where it belongs; return whether there was one. May be repeated."""
        ready = self._release / _READY
        if not ready.exists():
            shutil.rmtree(self._release, ignore_errors=True)
            return False
        for number, path in enumerate(json.loads(ready.read_bytes())):
            data = (self._release / str(number)).read_bytes()
            write_file(self.folder / path, data, _PUBLIC_MODE if path.startswith("public/") else _PRIVATE_MODE)
        ready.unlink()
        shutil.rmtree(self._release)
        return True

    # What is left over

    def sweep(self, now: float) -> int:
        """Remove public files that nothing has referred to for a week; return how many. Roots stay for ever."""
        return sum(self._sweep_build(build, now) for build in self.builds())

    def _sweep_build(self, build: str, now: float) -> int:
        state = self.state(build)
        assert state is not None
        public = self.public(build)
        used = {f"metadata/{TIMESTAMP}.json", f"metadata/{state.snapshot.signed.version}.{SNAPSHOT}.json"}
        for role, metadata in ((TARGETS, state.targets), *state.delegated.items()):
            used.add(f"metadata/{metadata.signed.version}.{role}.json")
            used |= {f"targets/{hashed_name(path, entry)}" for path, entry in metadata.signed.targets.items()}
        there = {str(path.relative_to(public)) for path in public.rglob("*") if path.is_file()}
        unused = {path for path in there - used if not path.endswith(f".{ROOT}.json")}
        record = self._feed / build / _RETIRED
        before: dict[str, Any] = json.loads(record.read_bytes()) if record.exists() else {}
        since = {path: min(float(before.get(path, now)), now) for path in unused}
        old = {path for path, moment in since.items() if moment <= now - GRACE}
        for path in old:
            (public / path).unlink(missing_ok=True)
        kept = {path: moment for path, moment in since.items() if path not in old}
        if kept != before:
            write_file(record, json.dumps(kept, indent=1, sort_keys=True).encode() + b"\n")
        return len(old)


class _Plan:
    """A release that is being written aside: files with their places, in the order in which they go there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: list[str] = []

    def add(self, place: str, data: bytes) -> None:
        write_file(self._folder / str(len(self._places)), data)
        self._places.append(place)

    def mark_ready(self) -> None:
        write_file(self._folder / _READY, json.dumps(self._places, indent=1).encode())


def hashed_name(path: str, entry: TargetFile) -> str:
    """Return where a file lies below `targets/`: its hash in front of its name (consistent snapshots)."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{entry.hashes['sha256']}.{name}"


def write_file(path: Path, data: bytes, mode: int = _PRIVATE_MODE) -> None:
    """Write a file so that at every moment it is the old one or the new one, whole, also over a power cut."""
    new = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name[:120]}.{hashlib.sha256(path.name.encode()).hexdigest()[:8]}.new")
    with open(aside, "wb", opener=_open_private) as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    for folder in (path.parent, *(folder.parent for folder in new)):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, _PRIVATE_MODE)


def read_metadata(kind: Any, path: Path) -> Any:
    """Return the metadata of a kind in a file. Raises DeskError with the file and what to do."""
    try:
        metadata = Metadata.from_bytes(path.read_bytes())
    except OSError as error:
        raise DeskError(f"{path}: {error.strerror}; put the desk's backup back") from None
    except DeserializationError as error:
        raise DeskError(f"{path}: damaged ({error}); put the desk's backup back") from None
    if metadata.signed.type != kind.type:
        raise DeskError(f"{path}: holds {metadata.signed.type}, not {kind.type}; put the desk's backup back")
    return metadata
