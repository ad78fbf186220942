"""What routers get of the desk's lists: base, tags, deltas, index, made for one build after the other. docs/feed.md.

Everything here is a function of its arguments, so the second person's command makes the same bytes again and compares.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from guardian.blocklist.feed_base import Base, Cost, SuffixRules, build_base
from guardian.blocklist.tag_delta import count_growth, make_delta
from guardian.blocklist.tag_table import MAX_CLASSES, Listed, Scope, TagTable, build_tags
from guardian.desk.builds import Build, Epoch
from guardian.desk.entries import Entry
from guardian.errors import DeskError, ListError, TextError
from guardian.feed import MAX_DELTAS, Delta, ListedFile, ListIndex, TagClass, Text, encode, index_path
from guardian.names import parse_name

SCOPES = {"domain": Scope.DOMAIN, "host": Scope.HOST, "url": Scope.PAGE, "url_prefix": Scope.PAGES}
_TEST_MESSAGE = Text(
    en="This is a test. The name is on the list so that everybody can see that the list works.",
    ro="Acesta este un test. Numele este pe listă pentru ca oricine să poată vedea că lista funcționează.",
    ru="Это проверка. Имя внесено в список, чтобы каждый мог убедиться, что список работает.",
)


class Plain(NamedTuple):
    """An entry before it has a class number: what it is for, and who blocks by which law."""

    domain: bytes
    scope: Scope
    value: bytes
    tag_class: TagClass


class Content(NamedTuple):
    """What one list is to hold, the same for all builds, with all class numbers."""

    list_id: str
    classes: tuple[dict[str, Any], ...]
    listed: tuple[Listed, ...]
    entries: int  # of the desk, without the test name
    not_enforceable: int  # pages that are served over HTTPS: a router can't tell them from their site
    merged_classes: int  # classes that lost their order's reference, because there are more than 255


class Files(NamedTuple):
    """A list for one build: its new files by their place, and what became of the one before."""

    listing: ListIndex
    targets: dict[str, bytes]
    added: int
    removed: int


class Previous(NamedTuple):
    """What a build has in force of a list."""

    listing: ListIndex
    tags: bytes


def collect(entries: Iterable[Entry], base: Base) -> tuple[list[Plain], int]:
    """Return entries with their key domains, and how many of them no router can enforce.

    Raises DeskError for a name without a registrable domain, with its entry's number.
    """
    found: list[Plain] = []
    not_enforceable = 0
    for entry in entries:
        name = entry.name
        domain = base.key_domain(name)
        if domain is None:
            raise DeskError(
                f"entry {entry.id}: its name is a public suffix, by the table that routers use; remove or change it"
            )
        found.append(Plain(domain, SCOPES[entry.scope], name + entry.path, entry.tag_class))
        not_enforceable += not entry.is_enforceable
    return found, not_enforceable


def make_content(
    list_id: str, plain: Sequence[Plain], not_enforceable: int, before: Sequence[dict[str, Any]], test: Plain | None
) -> Content:
    """Return the content of a list. Classes that were there `before` keep their numbers, so deltas stay small."""
    every = [*plain, test] if test else list(plain)
    counts = Counter(item.tag_class for item in every)
    shortened = _shorten_classes(counts)
    wanted = {_encode_class(shortened[item]) for item in counts}
    classes = [_canonical(item) for item in before]
    if len(wanted - set(classes)) + len(classes) > MAX_CLASSES:
        classes = [item for item in classes if item in wanted]
    classes += sorted(wanted - set(classes))
    numbers = {item: number for number, item in enumerate(classes)}
    by_class = {item: numbers[_encode_class(shortened[item])] for item in counts}
    return Content(
        list_id,
        tuple(msgspec.json.decode(item) for item in classes),
        tuple(Listed(item.domain, item.scope, item.value, by_class[item.tag_class]) for item in every),
        len(plain),
        not_enforceable,
        sum(shortened[item] != item for item in counts),
    )


def _shorten_classes(counts: Counter[TagClass]) -> dict[TagClass, TagClass]:
    """Let the rarest classes share one without the order's reference until 255 are left."""
    kept = {item: item for item in counts}
    rarest = sorted(counts, key=lambda item: (counts[item], _encode_class(item)))
    for item in rarest:
        if len(set(kept.values())) <= MAX_CLASSES:
            return kept
        kept[item] = msgspec.structs.replace(item, order_ref="")
    if len(set(kept.values())) > MAX_CLASSES:
        raise DeskError(
            f"{len(set(kept.values()))} kinds of authority, law, message and appeal are more than the {MAX_CLASSES} "
            "that a list can have: let entries share them"
        )
    return kept


def _encode_class(item: TagClass) -> bytes:
    return msgspec.json.encode(msgspec.to_builtins(item), order="sorted")


def _canonical(item: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(item, order="sorted")


def make_test_entry(test_name: str, hotline: str, base: Base) -> Plain | None:
    """Return the entry of the public test name, None without one. Raises DeskError when it can't be listed."""
    if not test_name:
        return None
    try:
        name = parse_name(test_name)
    except TextError as error:
        raise DeskError(f"test_name: {error}") from None
    domain = base.key_domain(name)
    if domain is None:
        raise DeskError(f"test_name: {test_name} is a public suffix; take a name that the hotline has registered")
    authority = Text(en=hotline, ro=hotline, ru=hotline)
    return Plain(
        domain,
        Scope.DOMAIN,
        name,
        TagClass(severity="baseline", legal_basis="voluntary", authority=authority, message=_TEST_MESSAGE),
    )


def add_canaries(content: Content, canaries: Sequence[str], is_test: bool) -> tuple[Listed, ...]:
    """Return the entries of a build: the list's, and its canaries with the commonest class, so nobody tells them apart.

    A list without entries gets none: nothing could leak from it.
    """
    real = content.listed[:-1] if is_test else content.listed
    if not real:
        return content.listed
    number, _ = Counter(entry.number for entry in real).most_common(1)[0]
    names = [parse_name(name) for name in canaries]
    return (*content.listed, *(Listed(name, Scope.DOMAIN, name, number) for name in names))


def find_base_need(
    build: Build, current: Base | None, sources: str, domains: Iterable[bytes], test_name: bytes
) -> str | None:
    """Return why a build needs a new base, in plain words, or None."""
    if current is None:
        return "there is none yet"
    if build.coming is not None:
        return f"the epoch {build.coming.name} begins, with a new salt"
    if current.test_name != test_name:
        return "the test name is another one"
    if build.sources != sources:
        return "popular names or public suffixes have changed"
    if any(current.is_known_good(domain) for domain in domains):
        return "a listed domain passes the filter of popular ones"
    return None


def digest_sources(rules: SuffixRules, popular: Iterable[str]) -> str:
    """Return a digest of what a base is made from besides the lists."""
    digest = hashlib.sha256()
    for names in (rules.suffixes, rules.wildcards, rules.exceptions):
        digest.update(b"\n".join(sorted(names)) + b"\0")
    digest.update("\n".join(sorted(popular)).encode())
    return digest.hexdigest()


def make_base(
    epoch: Epoch,
    cost: Cost,
    rules: SuffixRules,
    popular: Iterable[str],
    listed: set[bytes],
    bare: Base,
    test_name: bytes,
) -> bytes:
    """Return a base whose filter holds the key domains of popular names that are not listed.

    `bare` tells key domains by the same rules. Popular names that are public suffixes, or no names, are left out.
    """
    good: set[bytes] = set()
    for text in popular:
        try:
            domain = bare.key_domain(parse_name(text))
        except TextError:
            continue  # a popular name that can't be looked up needs no quick answer
        if domain is not None:
            good.add(domain)
    try:
        return build_base(epoch.name, bytes.fromhex(epoch.salt), cost, rules, good - listed, listed, test_name)
    except ListError as error:
        raise DeskError(str(error)) from None


def is_unchanged(
    content: Content, listed: Sequence[Listed], base: Base, keys: Mapping[bytes, bytes], previous: Previous | None
) -> bool:
    """Tell whether a build has exactly this in force."""
    if previous is None:
        return False
    old = TagTable(previous.tags)
    if (old.epoch, old.salt_digest) != (base.epoch, base.salt_digest):
        return False
    return _make_tags(content, listed, old.serial, old.created, base, keys) == previous.tags


def make_files(
    content: Content,
    listed: Sequence[Listed],
    serial: int,
    created: float,
    base: Base,
    keys: Mapping[bytes, bytes],
    previous: Previous | None,
    journal: str,
) -> Files:
    """Return the files of a list's next serial for one build."""
    list_id = content.list_id
    tags = _make_tags(content, listed, serial, created, base, keys)
    table = TagTable(tags)
    whole = describe_file(f"lists/{list_id}/{serial}.tags", tags)
    targets = {whole.path: tags}
    deltas: list[Delta] = []
    old = TagTable(previous.tags) if previous else None
    if previous and old and (old.salt_digest, old.epoch) == (table.salt_digest, table.epoch):
        delta = make_delta(previous.tags, tags)
        if len(delta) < len(tags):
            file = describe_file(f"lists/{list_id}/{old.serial}-{serial}.delta", delta)
            targets[file.path] = delta
            deltas = [*previous.listing.deltas, Delta(old.serial, serial, file)][-MAX_DELTAS:]
    listing = ListIndex(
        list_id=list_id,
        serial=serial,
        epoch=base.epoch,
        created=created,
        entries=table.entries,
        whole=whole,
        deltas=deltas,
        journal=journal,
    )
    targets[index_path(list_id)] = encode(listing)
    added = count_growth(old, table) if old else table.entries
    removed = count_growth(table, old) if old else 0
    return Files(listing, targets, added, removed)


def _make_tags(
    content: Content, listed: Sequence[Listed], serial: int, created: float, base: Base, keys: Mapping[bytes, bytes]
) -> bytes:
    try:
        return build_tags(content.list_id, serial, created, base, content.classes, listed, keys)
    except ListError as error:
        raise DeskError(f"{content.list_id}: {error}") from None


def describe_file(path: str, data: bytes) -> ListedFile:
    """Return a file of the feed as other files refer to it."""
    return ListedFile(path, len(data), hashlib.sha256(data).hexdigest())
