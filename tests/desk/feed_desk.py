"""A desk for tests of publishing: five people, one list, a cheap slow hash; and routers that are TUF's stock client."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from guardian.blocklist.feed_base import Base, derive_key
from guardian.blocklist.tag_delta import apply_delta
from guardian.blocklist.tag_table import TagTable
from guardian.desk.entries import DAY, Facts, Scope
from guardian.desk.fold import Added, Body, Ended
from guardian.desk.founding import Plan, found_desk
from guardian.desk.journal import Signer
from guardian.desk.online import load_password, unlock
from guardian.desk.people import unlock_signer
from guardian.desk.publish import Released, Standing, prepare, release, sign
from guardian.desk.repository import Repository
from guardian.desk.review import approve, propose
from guardian.desk.root_change import RootChange, make_circle, propose_root, sign_root, thresholds_of
from guardian.desk.serving import make_server
from guardian.desk.settings import load_settings
from guardian.desk.store import Desk
from guardian.feed import FEED, Feed, ListIndex, Text, decode, index_path
from guardian.names import parse_name

ROOT = ("ana", "ion", "maria", "vasile", "elena")
LISTS = ("ana", "ion", "maria")
BULK = ("vasile", "elena")
LIST = "csam-md"
TEST_NAME = "guardian-test.example"
PASSWORD = "four words make 1 password"
AUTHORITY = Text(en="A court", ro="O instanță", ru="Суд")


def found(folder: Path, now: float) -> FeedDesk:
    """Return a new desk."""
    plan = Plan(
        "Hotline", ROOT, LISTS, BULK, {LIST: Text(en="The list", ro="Lista", ru="Список")}, TEST_NAME, log2_n=12
    )
    found_desk(folder, plan, lambda name: PASSWORD, now)
    desk = FeedDesk(folder, now)
    for name in ROOT:
        desk.signer(name)
    assert desk.online
    return desk


class FeedDesk:
    """A desk with everybody's keys at hand. `now` is its clock."""

    def __init__(self, folder: Path, now: float) -> None:
        self.folder = folder
        self.now = now
        self.desk = Desk.open(folder)
        self.repository = Repository(folder)
        self._signers: dict[str, Signer] = {}
        self._online: dict[tuple[bytes, ...], dict[str, list[Any]]] = {}

    def copy(self, folder: Path) -> FeedDesk:
        """Return a copy in another folder, so that a test may do with it what it likes."""
        shutil.copytree(self.folder, folder)
        copied = FeedDesk(folder, self.now)
        copied._signers = dict(self._signers)
        copied._online = self._online  # shared: keys by the files that hold them
        return copied

    def signer(self, name: str) -> Signer:
        """Return a person with an unlocked key."""
        if name not in self._signers:
            self._signers[name] = unlock_signer(self.folder, name, PASSWORD)
        return self._signers[name]

    def forget_key(self, name: str) -> None:
        """A person's key is another one from now on."""
        self._signers.pop(name, None)

    @property
    def online(self) -> dict[str, list[Any]]:
        """The keys that the machine holds. They are unlocked once: that takes half a second."""
        files = tuple(path.read_bytes() for path in sorted((self.folder / "online").glob("*.pem")))
        if files not in self._online:
            self._online[files] = unlock(self.folder, load_password(self.folder, load_settings(self.folder)))
        return self._online[files]

    def list_names(
        self, names: Iterable[str], scope: Scope = "domain", days: int = 14, order_ref: str = "Law 1/2024"
    ) -> None:
        """Two people put names on the list."""
        facts = Facts(
            severity="national",
            legal_basis="court",
            authority=AUTHORITY,
            order_ref=order_ref,
            verified=int(self.now),
            expires=int(self.now) + days * DAY,
        )
        body = Body(add=[Added(facts, [(scope, name) for name in names])])
        number = propose(self.desk, self.signer("ana"), "add", LIST, body, "a test", self.now)
        approve(self.desk, self.signer("ion"), number, self.now)

    def suspend(self, name: str) -> None:
        """Two people suspend a name."""
        ids = [entry.id for entry in self.desk.entries(LIST) if entry.value == name and entry.status == "active"]
        body = Body(suspend=[Ended(ids, "an appeal")])
        number = propose(self.desk, self.signer("ana"), "suspend", LIST, body, "an appeal", self.now)
        approve(self.desk, self.signer("ion"), number, self.now)

    def prepare(self, name: str = "ana", **options: bool) -> Standing:
        """The first person prepares and signs."""
        with self.repository.locked():
            return prepare(self.repository, self.desk, self.signer(name), self.now, **options)

    def sign(self, name: str = "ion") -> Standing:
        """Another person signs."""
        with self.repository.locked():
            return sign(self.repository, self.desk, self.signer(name), self.now)

    def release(self, standing: Standing | None = None) -> Released:
        """What is signed is released."""
        with self.repository.locked():
            return release(self.repository, standing, self.online, self.now)

    def publish(self, first: str = "ana", second: str = "ion", **options: bool) -> Released:
        """Two people sign, and it is released."""
        self.prepare(first, **options)
        return self.release(self.sign(second))

    def change_root(self, *signers: str, renew: bool = False) -> RootChange | None:
        """The root that the desk's people make is signed by some; None when it has nothing new."""
        root = self.repository.root()
        with self.repository.locked():
            circle = make_circle(self.folder, self.desk.people())
            change = propose_root(
                self.repository, circle, thresholds_of(root.signed if root else None), self.now, renew=renew
            )
            for name in signers:
                change = sign_root(self.repository, self.signer(name))
        return change


class FolderFetcher(FetcherInterface):
    """Reads a public folder without a server: `file:` addresses."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(url.removeprefix("file:"))
        if not path.exists():
            raise DownloadHTTPError(f"{url}: not there", 404)
        return iter([path.read_bytes()])


class Router:
    """A router: TUF's stock client on what the public folder shows, and lookups with what it believes."""

    def __init__(self, url: str, folder: Path, root: bytes) -> None:
        self._url, self.folder, self._root = url, folder, root
        folder.mkdir(parents=True)
        (folder / "targets").mkdir()

    def update(self) -> Look:
        """Return the newest state. Raises what tuf raises when it is not to be believed."""
        updater = Updater(
            str(self.folder / "metadata"),
            f"{self._url}metadata/",
            str(self.folder / "targets"),
            f"{self._url}targets/",
            FolderFetcher() if self._url.startswith("file:") else None,
            bootstrap=self._root,
        )
        updater.refresh()
        return Look(updater)


class Look:
    """One verified state of the feed."""

    def __init__(self, updater: Updater) -> None:
        self._updater = updater

    def read(self, path: str) -> bytes:
        """Return a file, fetched and verified by tuf."""
        info = self._updater.get_targetinfo(path)
        assert info is not None, f"{path} is not in the feed"
        return Path(self._updater.download_target(info)).read_bytes()

    def has(self, path: str) -> bool:
        """Tell whether somebody signed such a file."""
        return self._updater.get_targetinfo(path) is not None

    @property
    def versions(self) -> dict[str, int]:
        """The versions of what is believed."""
        trusted = self._updater._trusted_set
        return {
            role: trusted[role].version
            for role in ("root", "timestamp", "snapshot", "targets", LIST)
            if role in trusted
        }

    @cached_property
    def feed(self) -> Feed:
        return decode(self.read(FEED), Feed, FEED)

    @cached_property
    def base(self) -> Base:
        return Base(self.read(self.feed.base.path))

    @cached_property
    def index(self) -> ListIndex:
        return decode(self.read(index_path(LIST)), ListIndex, index_path(LIST))

    @cached_property
    def tags(self) -> bytes:
        return self.read(self.index.whole.path)

    def follow(self, old: bytes) -> bytes:
        """Return the newest list from an older one, by deltas."""
        deltas = {delta.start: delta for delta in self.index.deltas}
        while (serial := TagTable(old).serial) in deltas:
            old = apply_delta(old, self.read(deltas[serial].file.path))
        return old

    def blocks(self, name: str) -> bool:
        """Tell whether a name is blocked, as a router finds it out."""
        wire, table = parse_name(name), TagTable(self.tags)
        domain = self.base.key_domain(wire)
        if domain is None or self.base.is_known_good(domain):
            return False
        return table.match_name(derive_key(domain, self.base.salt, self.base.cost), domain, wire) is not None


@contextmanager
def serve(desk: FeedDesk) -> Iterator[str]:
    """Show a desk's public folder on loopback; yield its address."""
    server = make_server(desk.folder / "public", "127.0.0.1", 0, quiet=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
