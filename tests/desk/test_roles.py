"""Roles: who signs what, counted as a client counts."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata

from guardian.desk.roles import (
    DAY,
    FULL,
    HOUR,
    ROOT,
    TARGETS,
    Circle,
    check_list_id,
    count_root_signatures,
    count_signatures,
    has_same_keys,
    key_id,
    lifetime_of,
    make_delegations,
    make_root,
    next_targets,
    same_delegations,
    sign_with,
)
from guardian.errors import DeskError

NOW = 1_800_000_000.75
KEYS = [Ed25519PrivateKey.generate() for _ in range(9)]
PUBLIC = [key.public_key().public_bytes_raw() for key in KEYS]
CIRCLE = Circle(frozenset(PUBLIC[:5]), frozenset(PUBLIC[:3]), frozenset(PUBLIC[3:5]), PUBLIC[5], PUBLIC[6])


def test_lifetimes_are_those_of_the_format() -> None:
    days = {"root": 365, "targets": 90, "csam-md": 30, "csam-md-bulk": 365, "snapshot": 7, "timestamp": 2}
    assert {role: lifetime_of(role) / DAY for role in days} == days
    assert make_root(CIRCLE, FULL, NOW).expires.timestamp() == int(NOW) + 365 * 24 * HOUR


def test_a_root_takes_three_of_five() -> None:
    root = Metadata(make_root(CIRCLE, FULL, NOW))
    for signed, key in enumerate(KEYS[:5]):
        by_old, by_new = count_root_signatures(None, root)
        assert (len(by_old.signed), by_new.is_enough) == (signed, signed >= 3)
        if signed < 3:
            with pytest.raises(UnsignedMetadataError):
                root.signed.verify_delegate(ROOT, root.signed_bytes, root.signatures)
        else:
            root.signed.verify_delegate(ROOT, root.signed_bytes, root.signatures)
        sign_with(root, key)
        sign_with(root, key)  # twice counts once


def test_the_next_root_takes_the_old_and_the_new_people() -> None:
    first = make_root(CIRCLE, FULL, NOW)
    other = CIRCLE._replace(root=frozenset(PUBLIC[4:9]))
    second = Metadata(make_root(other, FULL, NOW, first))
    assert second.signed.version == 2
    assert not has_same_keys(first, second.signed)
    for key in KEYS[6:9]:
        sign_with(second, key)
    by_old, by_new = count_root_signatures(first, second)
    assert (by_old.is_enough, by_new.is_enough) == (False, True)
    for key in KEYS[:3]:
        sign_with(second, key)
    assert all(count.is_enough for count in count_root_signatures(first, second))


def test_strangers_and_people_of_other_roles_count_nothing() -> None:
    root = make_root(CIRCLE, FULL, NOW)
    targets = Metadata(next_targets(None, TARGETS, 1, NOW, make_delegations(CIRCLE, FULL, ["csam-md"])))
    for key in (KEYS[3], KEYS[4], KEYS[8], Ed25519PrivateKey.generate()):
        sign_with(targets, key)
    assert not count_signatures(root, TARGETS, targets).signed
    listed = Metadata(next_targets(None, "csam-md", 1, NOW))
    sign_with(listed, KEYS[0])
    sign_with(listed, KEYS[3])
    count = count_signatures(targets.signed, "csam-md", listed)
    assert (count.signed, count.needed, count.is_enough) == ({key_id(PUBLIC[0])}, 2, False)


def test_a_signature_of_other_bytes_counts_nothing() -> None:
    root = make_root(CIRCLE, FULL, NOW)
    one = Metadata(next_targets(None, TARGETS, 1, NOW))
    sign_with(one, KEYS[0])
    two = Metadata(next_targets(None, TARGETS, 2, NOW))
    two.signatures.update(one.signatures)
    assert not count_signatures(root, TARGETS, two).signed


def test_delegations_reach_only_their_own_files() -> None:
    delegations = make_delegations(CIRCLE, FULL, ["csam-md", "other"])
    found = {
        path: [role for role, _ in delegations.get_roles_for_target(path)]
        for path in (
            "lists/csam-md/3.tags",
            "bulk/csam-md/3.json",
            "lists/other/index.json",
            "feed.json",
            "lists/csam-md/a/b",
        )
    }
    assert list(found.values()) == [["csam-md"], ["csam-md-bulk"], ["other"], [], []]
    assert same_delegations(delegations, make_delegations(CIRCLE, FULL, ["other", "csam-md"]))
    fewer = CIRCLE._replace(lists=frozenset(PUBLIC[1:3]))
    assert not same_delegations(delegations, make_delegations(fewer, FULL, ["csam-md", "other"]))
    assert not same_delegations(None, delegations)


@pytest.mark.parametrize(
    "circle",
    [CIRCLE._replace(root=frozenset(PUBLIC[:2])), CIRCLE._replace(lists=frozenset(PUBLIC[:1]))],
)
def test_too_few_people_are_told(circle: Circle) -> None:
    with pytest.raises(DeskError, match="add somebody first"):
        make_root(circle, FULL, NOW)


@pytest.mark.parametrize("list_id", ["root", "targets", "snapshot", "timestamp", "retired", "csam-bulk"])
def test_a_list_is_not_called_like_a_role(list_id: str) -> None:
    with pytest.raises(DeskError, match="take another id"):
        check_list_id(list_id)
