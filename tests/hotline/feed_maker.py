"""A feed made by hand over `tuf.api`: a second opinion, independent of the desk's own code.

It signs whatever a test wants, also what nobody should. Times are the test's: `now` moves only when the test moves it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from guardian.blocklist.feed_base import Base, Cost, SuffixRules, build_base, derive_key
from guardian.blocklist.tag_delta import make_delta
from guardian.blocklist.tag_table import Listed, Scope, TagTable, build_tags
from guardian.config.values import HotlineConfig
from guardian.feed import Delta, Feed, FeedList, ListedFile, ListIndex, Text, encode
from guardian.hotline.download import Limits
from guardian.hotline.feed_state import FeedState, load_state, read_current
from guardian.hotline.trust import FeedClient
from guardian.names import parse_name
from tests.hotline.conftest import Exchange, WebServer

DAY = 86400.0
START = datetime(2026, 9, 1, tzinfo=UTC).timestamp()
LIVES = {"root": 365 * DAY, "targets": 90 * DAY, "list": 30 * DAY, "bulk": 365 * DAY, "snapshot": 7 * DAY}
LIVES["timestamp"] = 2 * DAY
CLASS = {
    "severity": "national",
    "legal_basis": "law_order",
    "authority": {"en": "Test", "ro": "Test", "ru": "Test"},
}
RULES = SuffixRules(frozenset({parse_name("co.test")}), frozenset(), frozenset())
LIST = "list-a"
PATIENCE = Limits(size=0, total=60.0, connect=10.0, read=10.0)
LIST_KEYS = ("list-1", "list-2", "list-3")
BULK_KEYS = ("bulk-1", "bulk-2")


def listed(numbers: Iterable[int], prefix: str = "listed") -> list[str]:
    """Return domains for a list."""
    return [f"{prefix}-{number}.example" for number in numbers]


class FeedMaker:
    """A feed in `folder`, as files for any web server. Keys by name; every role's can be replaced by a test."""

    def __init__(self, folder: Path, lists: Sequence[str] = (LIST,), now: float = START) -> None:
        self.folder = folder
        self.now = now
        self.signers: dict[str, CryptoSigner] = {}
        self.holders: dict[str, tuple[list[str], int]] = {
            "root": ([f"root-{number}" for number in range(5)], 3),
            "targets": (["targets-1", "targets-2", "targets-3"], 2),
            "snapshot": (["online"], 1),
            "timestamp": (["online"], 1),
        }
        for list_id in lists:
            self.holders[list_id] = ([f"{list_id}/{name}" for name in LIST_KEYS], 2)
            self.holders[f"{list_id}-bulk"] = ([f"{list_id}/{name}" for name in BULK_KEYS], 1)
        self.versions: dict[str, int] = {}
        self.targets: dict[str, dict[str, TargetFile]] = {name: {} for name in ("targets", *self._delegated(lists))}
        self.lists = list(lists)
        self.serials = dict.fromkeys(lists, 0)
        self.states: dict[str, dict[int, bytes]] = {list_id: {} for list_id in lists}
        self.deltas: dict[str, list[Delta]] = {list_id: [] for list_id in lists}
        self.minimum_version = ""
        self.real_keys = False
        self.meta: dict[str, MetaFile] = {}
        self.epoch, self.build = "2026q3", 0
        (folder / "metadata").mkdir(parents=True)
        self.publish_root()
        self.new_base()

    @staticmethod
    def _delegated(lists: Sequence[str]) -> list[str]:
        return [name for list_id in lists for name in (list_id, f"{list_id}-bulk")]

    def signer(self, name: str) -> CryptoSigner:
        """Return the key of somebody, made when it is first needed."""
        if name not in self.signers:
            self.signers[name] = CryptoSigner.generate_ed25519()
        return self.signers[name]

    # The roles, one by one

    def publish_root(self, signed_by: Sequence[str] = (), **changes: Any) -> Metadata[Root]:
        """Write the next root; by the people of both roots unless told otherwise."""
        root = Root(expires=self._end("root"), consistent_snapshot=True)
        root.version = self._next("root")
        for role in ("root", "targets", "snapshot", "timestamp"):
            names, threshold = self.holders[role]
            root.roles[role].threshold = threshold
            for name in names:
                root.add_key(self.signer(name).public_key, role)
        for key, value in changes.items():
            setattr(root, key, value)
        before = getattr(self, "root_signers", [])
        self.root_signers = self.holders["root"][0][:3]
        return self.write(f"{root.version}.root.json", root, signed_by or list({*before, *self.root_signers}))

    def publish_role(self, role: str, signed_by: Sequence[str] = (), **changes: Any) -> Metadata[Targets]:
        """Write the next metadata of targets or of a list's role."""
        targets = Targets(expires=self._end(role), targets=self.targets[role])
        targets.version = self._next(role)
        if role == "targets":
            keys: dict[str, Key] = {}
            roles: dict[str, DelegatedRole] = {}
            for name in self._delegated(self.lists):
                holders, threshold = self.holders[name]
                bare = name.removesuffix("-bulk")
                path = f"bulk/{bare}/*" if name.endswith("-bulk") else f"lists/{bare}/*"
                ids = [self.signer(holder).public_key.keyid for holder in holders]
                roles[name] = DelegatedRole(name, ids, threshold, True, [path])
                keys |= {self.signer(holder).public_key.keyid: self.signer(holder).public_key for holder in holders}
            targets.delegations = Delegations(keys, roles)
        for key, value in changes.items():
            setattr(targets, key, value)
        made = self.write(f"{targets.version}.{role}.json", targets, signed_by or self._enough(role))
        self.meta[f"{role}.json"] = self.describe(made, targets.version)
        return made

    def publish_snapshot(self, signed_by: Sequence[str] = (), **changes: Any) -> Metadata[Snapshot]:
        """Write the next snapshot of what was published."""
        snapshot = Snapshot(expires=self._end("snapshot"), meta=dict(self.meta))
        snapshot.version = self._next("snapshot")
        for key, value in changes.items():
            setattr(snapshot, key, value)
        made = self.write(f"{snapshot.version}.snapshot.json", snapshot, signed_by or self._enough("snapshot"))
        self.snapshot_meta = self.describe(made, snapshot.version)
        return made

    def publish_timestamp(self, signed_by: Sequence[str] = (), **changes: Any) -> Metadata[Timestamp]:
        """Write the next timestamp."""
        timestamp = Timestamp(expires=self._end("timestamp"), snapshot_meta=self.snapshot_meta)
        timestamp.version = self._next("timestamp")
        for key, value in changes.items():
            setattr(timestamp, key, value)
        return self.write("timestamp.json", timestamp, signed_by or self._enough("timestamp"))

    def publish_online(self) -> None:
        """Write snapshot and timestamp: what a machine does without people."""
        self.publish_snapshot()
        self.publish_timestamp()

    # What the feed holds

    def new_base(self, epoch: str = "", good: Sequence[str] = ()) -> None:
        """Make another base, with another salt when the epoch is another; lists must be published anew then."""
        self.build += 1
        if epoch or self.build == 1:
            self.epoch = epoch or self.epoch
            self.salt = hashlib.sha256(self.epoch.encode()).digest()
        made = build_base(
            self.epoch, self.salt, Cost(12, 8, 1), RULES, map(parse_name, good), [], parse_name("feed-test.example")
        )
        self.base = Base(made)
        self.base_file = self.add_target("targets", f"base/{self.epoch}-{self.build}.base", made)
        for list_id in self.lists:
            self.states[list_id].clear()
            self.deltas[list_id].clear()

    def publish_feed(self, **changes: Any) -> None:
        """Write feed.json and the targets role."""
        feed = Feed(
            name="Test hotline",
            epoch=self.epoch,
            base=self.base_file,
            lists=[FeedList(list_id, Text(list_id, list_id, list_id)) for list_id in self.lists],
            test_name="feed-test.example",
            minimum_version=self.minimum_version,
        )
        for key, value in changes.items():
            feed = type(feed)(**{**{name: getattr(feed, name) for name in feed.__struct_fields__}, key: value})
        self.add_target("targets", "feed.json", encode(feed))
        self.publish_role("targets")

    def make_tags(self, domains: Iterable[str], list_id: str = LIST, serial: int = 0) -> bytes:
        """Return a list's bytes. Keys are cheap ones unless `real_keys` is set: who installs a list derives none."""
        names = [parse_name(domain) for domain in domains]
        if self.real_keys:
            keys = {name: derive_key(name, self.base.salt, self.base.cost) for name in names}
        else:
            keys = {name: hashlib.sha256(self.salt + name).digest() for name in names}
        entries = [Listed(name, Scope.DOMAIN, name, 0) for name in names]
        return build_tags(list_id, serial or self.serials[list_id], self.now, self.base, [CLASS], entries, keys)

    def publish_list(
        self,
        domains: Iterable[str],
        list_id: str = LIST,
        serial: int = 0,
        signed_by: Sequence[str] = (),
        whole: bytes | None = None,
        **index_changes: Any,
    ) -> ListIndex:
        """Write a list's next state with the delta from the one before, and its role's metadata."""
        before = self.serials[list_id]
        self.serials[list_id] = serial or before + 1
        serial = self.serials[list_id]
        made = self.make_tags(domains, list_id) if whole is None else whole
        states = self.states[list_id]
        if before in states and before < serial and whole is None:
            path = f"lists/{list_id}/{before}-{serial}.delta"
            file = self.add_target(list_id, path, make_delta(states[before], made))
            self.deltas[list_id].append(Delta(before, serial, file))
        states[serial] = made
        fields: dict[str, Any] = {
            "list_id": list_id,
            "serial": serial,
            "epoch": self.epoch,
            "created": self.now,
            "entries": TagTable(made).entries if whole is None else 0,
            "whole": self.add_target(list_id, f"lists/{list_id}/{serial}.tags", made),
            "deltas": self.deltas[list_id][-30:],
        }
        index = ListIndex(**{**fields, **index_changes})
        self.add_target(list_id, f"lists/{list_id}/index.json", encode(index))
        self.publish_role(list_id, signed_by)
        return index

    def publish_all(self, domains: Mapping[str, Iterable[str]] | Iterable[str] = ()) -> None:
        """Publish everything anew: the lists given (all of one list where only names are given), feed, online roles."""
        given = domains if isinstance(domains, Mapping) else {self.lists[0]: domains}
        for list_id in self.lists:
            if list_id in given:
                self.publish_list(given[list_id], list_id)
            if f"{list_id}-bulk.json" not in self.meta:
                self.publish_role(f"{list_id}-bulk")
        self.publish_feed()
        self.publish_online()

    def next(self, domains: Iterable[str], list_id: str = LIST, **options: Any) -> None:
        """Publish a list's next state and the online roles: an ordinary day."""
        self.publish_list(domains, list_id, **options)
        self.publish_online()

    # Files

    def add_target(self, role: str, path: str, data: bytes) -> ListedFile:
        """Write a target and have the role's next metadata list it."""
        digest = hashlib.sha256(data).hexdigest()
        self.targets[role][path] = TargetFile(len(data), {"sha256": digest}, path)
        self.place(path, digest).parent.mkdir(parents=True, exist_ok=True)
        self.place(path, digest).write_bytes(data)
        return ListedFile(path, len(data), digest)

    def place(self, path: str, digest: str = "") -> Path:
        """Return where the file of a target is."""
        folder, _, name = path.rpartition("/")
        if not digest:
            digest = next(files[path] for files in self.targets.values() if path in files).hashes["sha256"]
        return self.folder / "targets" / folder / f"{digest}.{name}"

    def write(self, name: str, signed: Any, signed_by: Sequence[str]) -> Metadata[Any]:
        """Sign metadata by somebody and write the file."""
        made: Metadata[Any] = Metadata(signed)
        for holder in signed_by:
            made.sign(self.signer(holder), append=True)
        made.to_file(str(self.folder / "metadata" / name))
        return made

    @staticmethod
    def describe(made: Metadata[Any], version: int) -> MetaFile:
        """Return how a snapshot or timestamp mentions metadata, with length and hash."""
        data = made.to_bytes()
        return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    def _enough(self, role: str) -> list[str]:
        names, threshold = self.holders[role]
        return names[:threshold]

    def _next(self, role: str) -> int:
        self.versions[role] = self.versions.get(role, 0) + 1
        return self.versions[role]

    def _end(self, role: str) -> datetime:
        kind = role if role in LIVES else "bulk" if role.endswith("-bulk") else "list"
        return datetime.fromtimestamp(self.now + LIVES[kind], UTC)


class FeedServer(WebServer):
    """Serves a folder with ETags; `pages[path]` of a test come first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__()
        self.pages = _Pages(self)

    @property
    def paths(self) -> list[str]:
        """What was asked for."""
        return [exchange.path for exchange in self.seen]


class _Pages(dict[str, Any]):
    def __init__(self, server: FeedServer) -> None:
        super().__init__()
        self._server = server

    def get(self, path: str, default: Any = None) -> Any:
        if path in self:
            return self[path]
        file = self._server.folder / path.lstrip("/")
        if not file.is_file():
            return default
        data = file.read_bytes()
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'

        def answer(exchange: Exchange) -> None:
            if exchange.headers.get("if-none-match") == etag:
                exchange.answer(b"", "304 Not Modified", ETag=etag)
            else:
                exchange.answer(data, ETag=etag, Content_Type="application/octet-stream")

        return answer


class Box:
    """A router with a feed: a state folder, and the client that `guardian sync` uses."""

    def __init__(self, folder: Path, url: str, root: bytes, lists: tuple[str, ...] = ()) -> None:
        self.folder = folder / "hotline"
        folder.mkdir(exist_ok=True)
        root_file = folder / "root.json"
        root_file.write_bytes(root)
        self.config = HotlineConfig(url=f"{url}/", root=str(root_file), lists=lists)
        self.limits = PATIENCE

    @property
    def client(self) -> FeedClient:
        return FeedClient(self.config, self.folder, limits=self.limits)


class Scene:
    """A feed, its web server, and a box that knows the first root."""

    def __init__(self, folder: Path, lists: Sequence[str] = (LIST,), now: float = START) -> None:
        self.folder = folder
        self.maker = FeedMaker(folder / "feed", lists, now)
        self.root = (self.maker.folder / "metadata" / "1.root.json").read_bytes()
        self.server = FeedServer(self.maker.folder)
        self.box = Box(folder / "state", self.server.url, self.root)

    def update(self, after: float = 60.0) -> FeedState:
        """Have the box look at the feed `after` seconds of its clock later."""
        self.maker.now += after
        return self.box.client.update(self.maker.now)

    def in_force(self) -> dict[str, bytes]:
        """Return the files in force by their names; what a gateway would map."""
        current = read_current(self.box.folder)
        return {path.name: path.read_bytes() for path in (current.base, *current.lists.values())} if current else {}

    def holds(self, domain: str, list_id: str = LIST) -> bool:
        """Tell whether a list in force has a domain, as a gateway would look it up."""
        current = read_current(self.box.folder)
        if current is None or list_id not in current.lists:
            return False
        name = parse_name(domain)
        salt = Base(current.base.read_bytes()).salt
        table = TagTable(current.lists[list_id].read_bytes())
        return table.match_name(hashlib.sha256(salt + name).digest(), name, name) is not None

    def withstand(self, code: str, list_id: str = "", after: float = 60.0) -> str:
        """Have the box look at an attack; check that nothing in force changes and why is told; return the sentence."""
        before, files, names = self.in_force(), self.disk(), set(os.listdir(self.box.folder))
        state = self.update(after)
        assert self.in_force() == before and before, "the list in force is untouched"
        assert self.disk() == files and set(os.listdir(self.box.folder)) <= names | {"tuf"}, (
            "and so is the rest of the disk"
        )
        told = {(place, word): text for place, word, text in state.troubles()}
        assert (list_id, code) in told, state.troubles()
        assert load_state(self.box.folder) == state
        return told[list_id, code]

    def recover(self) -> None:
        """Have the honest feed publish something, and check that the box takes it."""
        self.server.folder = self.maker.folder
        self.server.pages.clear()
        self.maker.next(listed(range(3, 25)))
        state = self.update()
        assert not state.troubles(), state.troubles()
        assert self.holds("listed-24.example") and not self.holds("listed-2.example")
        assert state.succeeded == state.checked == self.maker.now

    def disk(self) -> dict[str, bytes]:
        """Return all files below the test's folder that an update has no business with."""
        ours = (self.box.folder, self.maker.folder)
        return {
            str(path): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and not any(folder in path.parents for folder in ours)
        }

    def keep_site(self) -> Path:
        """Return a copy of all that the server has now: what a mirror would go on serving."""
        return Path(shutil.copytree(self.maker.folder, self.folder / f"copy-{len(list(self.folder.iterdir()))}"))
