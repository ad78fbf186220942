"""Publishing: one person prepares and signs, a second one signs, and the feed is released.

`DIR/pending/publication.json` holds who prepared it, when, and the signatures; nothing else. What is signed is worked
out anew by each person's own command (`draft.compose`), so nobody signs a file that somebody else made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct
from securesystemslib.signer import Signature
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from guardian.desk.builds import encode_build, load_builds, place_of
from guardian.desk.draft import BuildDraft, Draft, Progress, Terms, compose, read_content
from guardian.desk.journal import Signer
from guardian.desk.key_cache import KeyCache
from guardian.desk.online import forget_old
from guardian.desk.repository import BuildFiles, Repository, State, write_file
from guardian.desk.roles import (
    ONLINE,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Count,
    count_signatures,
    ends_at,
    key_id,
    lifetime_of,
    sign_with,
)
from guardian.desk.root_change import RootChange, drop_change, load_change, make_circle, thresholds_of
from guardian.desk.store import Desk
from guardian.errors import DeskError
from guardian.feed import bulk_role

OnlineKeys = Mapping[str, list[Ed25519PrivateKey]]
_SNAPSHOT_RENEWED = 0.5  # of its lifetime: then the next refresh gives it a new end


class Consent(Struct, frozen=True):
    """Why somebody agreed with a large change of a list."""

    person: str
    reason: str


class Publication(Struct, kw_only=True):
    """What waits for signatures. `signatures` are by build, role and key id, as hex."""

    author: str
    created: float
    journal: str
    digest: str
    renew: bool = False
    consents: dict[str, Consent] = {}
    signatures: dict[str, dict[str, dict[str, str]]] = {}


class Need(NamedTuple):
    """A role that is not signed enough yet. Key ids."""

    role: str
    signatures: Count


class Standing(NamedTuple):
    """Where a publication stands."""

    publication: Publication
    draft: Draft
    needs: tuple[Need, ...]  # of the roles that the release waits for
    waits_for_consent: tuple[str, ...]  # lists

    @property
    def is_ready(self) -> bool:
        """Tell whether it can be released."""
        return not self.needs and not self.waits_for_consent


class Released(NamedTuple):
    """What a release put in force."""

    timestamp: int  # its version, for the hint
    builds: tuple[str, ...]
    root: int  # version of the root of trust
    swept: int  # old files that were removed


def prepare(
    repository: Repository,
    desk: Desk,
    signer: Signer,
    now: float,
    progress: Progress | None = None,
    *,
    renew: bool = False,
) -> Standing:
    """Work out the next state of the feed, sign it as the first person, and leave it for the second one.

    What waited before is replaced. Raises DeskError when there is nothing to publish, or the person may not sign.
    """
    publication = Publication(author=signer.name, created=now, journal=desk.journal_head(), digest="", renew=renew)
    draft = _compose(repository, desk, publication, progress)
    if draft.is_empty:
        _place(repository).unlink(missing_ok=True)
        raise DeskError("nothing has changed since the last publication; --renew signs it anew all the same")
    publication.digest = draft.digest
    _sign(repository, publication, draft, signer)
    if not any(
        set(roles) - {bulk_role(list_id) for list_id in desk.lists()} for roles in publication.signatures.values()
    ):
        raise DeskError(
            f"{signer.name} agrees with large changes; those who sign lists prepare them: publish --as NAME"
        )
    desk.note(signer, "publish", now, digest=draft.digest, lists=_list_serials(draft))
    _save(repository, publication)
    return _judge(repository, desk, publication, draft)


def sign(repository: Repository, desk: Desk, signer: Signer, now: float, progress: Progress | None = None) -> Standing:
    """Work out the same state again and sign it as another person. Raises DeskError when it is another one."""
    publication, draft = _load_draft(repository, desk, progress)
    _sign(repository, publication, draft, signer)
    desk.note(signer, "sign", now, digest=draft.digest, lists=_list_serials(draft))
    _save(repository, publication)
    return _judge(repository, desk, publication, draft)


def consent(
    repository: Repository,
    desk: Desk,
    signer: Signer,
    reason: str,
    now: float,
    progress: Progress | None = None,
) -> Standing:
    """Agree with the large changes that wait, as one of the other people. Raises DeskError when none asks for it."""
    publication, draft = _load_draft(repository, desk, progress)
    lists = [change.list_id for change in draft.changes if change.consent_reason]
    if not lists:
        raise DeskError("nothing that waits needs the consent of other people")
    if not reason.strip():
        raise DeskError("a consent needs a reason: --reason TEXT, public and without names of sites")
    for list_id in lists:
        publication.consents[list_id] = Consent(signer.name, reason.strip())
        for roles in publication.signatures.values():
            roles.pop(bulk_role(list_id), None)  # of a consent for another reason
    draft = _compose(repository, desk, publication, progress)
    _sign(repository, publication, draft, signer, [bulk_role(list_id) for list_id in lists])
    desk.note(signer, "bulk-consent", now, digest=draft.digest, reason=reason.strip(), lists=lists)
    _save(repository, publication)
    return _judge(repository, desk, publication, draft)


def look(repository: Repository, desk: Desk, progress: Progress | None = None) -> Standing:
    """Return where the publication stands that waits. Raises DeskError when none waits, or the desk has moved on."""
    publication, draft = _load_draft(repository, desk, progress)
    return _judge(repository, desk, publication, draft)


def load_publication(repository: Repository) -> Publication | None:
    """Return the publication that waits for signatures, None when none does. Raises DeskError for a broken file."""
    path = _place(repository)
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Publication)
    except msgspec.MsgspecError as error:
        raise DeskError(f"{path}: {error}; delete it and prepare again: publish --as NAME") from None


def _load_draft(repository: Repository, desk: Desk, progress: Progress | None) -> tuple[Publication, Draft]:
    publication = load_publication(repository)
    if publication is None:
        raise DeskError("nothing waits for a signature; publish --as NAME prepares it")
    with desk.reading() as connection:
        known = connection.execute("SELECT 1 FROM journal WHERE hash = ?", (publication.journal,)).fetchone()
    draft = _compose(repository, desk, publication, progress)
    if draft.digest != publication.digest or not known:
        raise DeskError(
            f"what {publication.author} prepared is not what the desk holds now (a change was approved since, or it "
            "was released): prepare again with publish --as NAME"
        )
    return publication, draft


def _compose(repository: Repository, desk: Desk, publication: Publication, progress: Progress | None) -> Draft:
    content = read_content(desk, publication.created)
    root = trusted_root(repository)
    circle = make_circle(repository.folder, content.people)
    consents = {list_id: given.reason for list_id, given in publication.consents.items()}
    terms = Terms(circle, thresholds_of(root), root, publication.created, publication.journal, consents)
    draft = compose(repository, content, terms, progress, renew=publication.renew)
    for name, roles in publication.signatures.items():
        build = draft.builds.get(name)
        for role, signatures in roles.items():
            metadata = build.metadata.get(role) if build else None
            if metadata is not None:
                metadata.signatures.update({key: Signature(key, value) for key, value in signatures.items()})
    return draft


def trusted_root(repository: Repository) -> Root:
    """Return the root that clients will have after the next release. Raises DeskError before the first."""
    change = load_change(repository)
    if change and change.is_signed:
        return change.metadata.signed
    current = repository.root()
    if current is None:
        raise DeskError(f"{repository.folder}: there is no root of trust yet; 'guardian hotline init' makes it")
    return current.signed


def _delegators(repository: Repository, draft: BuildDraft, state: State | None, role: str) -> list[Root | Targets]:
    """Return whose word on a role has to be met: for `targets` also that of the root which clients still have."""
    if role != TARGETS:
        targets = draft.metadata.get(TARGETS) or (state.targets if state else None)
        assert targets is not None
        return [targets.signed]
    new, current = trusted_root(repository), repository.root()
    if current is None or current.signed.version == new.version:
        return [new]
    return [new, current.signed]


def _sign(
    repository: Repository, publication: Publication, draft: Draft, signer: Signer, only: Collection[str] = ()
) -> None:
    """Sign all roles that the person may sign, or those of `only`. Raises DeskError when there is none."""
    mine = key_id(signer.key.public_key().public_bytes_raw())
    signed = False
    for name, build in draft.builds.items():
        state = repository.state(name)
        for role, metadata in build.metadata.items():
            if (only and role not in only) or _waits_for_reason(draft, publication, role):
                continue
            allowed = (each.get_delegated_role(role).keyids for each in _delegators(repository, build, state, role))
            if any(mine in keys for keys in allowed):
                sign_with(metadata, signer.key)
                value = metadata.signatures[mine].signature
                publication.signatures.setdefault(name, {}).setdefault(role, {})[mine] = value
                signed = True
    if not signed:
        roles = ", ".join(only or draft.required)
        raise DeskError(f"the key of {signer.name} is none of those that sign {roles}")


def _waits_for_reason(draft: Draft, publication: Publication, role: str) -> bool:
    """A consent is signed when somebody has said why, and not before."""
    return any(
        change.consent_reason and change.list_id not in publication.consents and role == bulk_role(change.list_id)
        for change in draft.changes
    )


def _judge(repository: Repository, desk: Desk, publication: Publication, draft: Draft) -> Standing:
    working = {key_id(person.public_key) for person in desk.people().values()}
    needs: dict[str, Need] = {}
    for name, build in draft.builds.items():
        state = repository.state(name)
        for role in draft.required:
            metadata = build.metadata[role]
            for place, delegator in enumerate(_delegators(repository, build, state, role)):
                count = count_signatures(delegator, role, metadata)
                # The root before a change may ask for people who have left; then the new one must do.
                is_possible = len(count.possible & working) >= count.needed
                if not count.is_enough and (place == 0 or is_possible):
                    needs[role] = Need(role, count)
    waiting = tuple(
        change.list_id
        for change in draft.changes
        if change.consent_reason and change.list_id not in publication.consents
    )
    return Standing(publication, draft, tuple(needs.values()), waiting)


def _list_serials(draft: Draft) -> dict[str, int]:
    return {change.list_id: change.serial for change in draft.changes}


def _save(repository: Repository, publication: Publication) -> None:
    write_file(_place(repository), msgspec.json.format(msgspec.json.encode(publication), indent=1) + b"\n")


def _place(repository: Repository) -> Path:
    return repository.folder / "pending" / "publication.json"


# The release


def release(
    repository: Repository, standing: Standing | None, keys: OnlineKeys, now: float, *, new_snapshot: bool = False
) -> Released:
    """Put what is signed in force: the publication if there is one, a new root if one is signed, new online metadata.

    Raises DeskError when routers would not believe the result; then nothing has changed.
    """
    if standing and not standing.is_ready:
        raise DeskError("this is not signed by enough people yet")
    change = load_change(repository)
    change = change if change and change.is_signed else None
    current = repository.root()
    trusted = change.metadata.signed if change else current.signed if current else None
    if trusted is None:
        raise DeskError(f"{repository.folder}: there is no root of trust yet; 'guardian hotline init' makes it")
    drafts = standing.draft.builds if standing else {}
    names = sorted({*repository.builds(), *drafts})
    before = {name: repository.state(name) for name in names}
    signed = {name: _take_signed(before[name], drafts.get(name), standing) for name in names}
    if not all(TARGETS in roles for roles in signed.values()):
        raise DeskError("nothing has been published yet: publish --as NAME")
    roots = [trusted] + ([current.signed] if current and change else [])
    states = _write_online(before, signed, keys, roots, now, force=new_snapshot or change is not None)
    optional = standing.draft.optional if standing else ()
    for name, state in states.items():
        _check_state(trusted, state, name, optional)
    root_first = bool(current and change and not all(_is_believed(current.signed, state) for state in states.values()))
    files = {name: BuildFiles(state, drafts[name].targets if name in drafts else {}) for name, state in states.items()}
    new_roots = [change.metadata.to_bytes()] if change else []
    repository.stage(files, new_roots, root_first, _private_files(standing))
    repository.finish_release()
    _clean(repository, standing, change)
    version = max(state.timestamp.signed.version for state in states.values())
    return Released(version, tuple(names), trusted.version, repository.sweep(now))


def _take_signed(
    before: State | None, draft: BuildDraft | None, standing: Standing | None
) -> dict[str, Metadata[Targets]]:
    """Return `targets` and the delegated roles of a build: new where they are signed, else as they are."""
    found: dict[str, Metadata[Targets]] = {}
    if before:
        found = {TARGETS: before.targets, **before.delegated}
    if draft and standing:
        targets = draft.metadata.get(TARGETS) or found[TARGETS]
        for role, metadata in draft.metadata.items():
            if role in standing.draft.required or count_signatures(targets.signed, role, metadata).is_enough:
                found[role] = metadata
    return found


def _write_online(
    before: Mapping[str, State | None],
    signed: Mapping[str, dict[str, Metadata[Targets]]],
    keys: OnlineKeys,
    roots: Iterable[Root],
    now: float,
    *,
    force: bool,
) -> dict[str, State]:
    """Return the states with new metadata of the online roles, with one version for all builds."""
    wanted = {role: {key for root in roots for key in root.roles[role].keyids} for role in ONLINE}
    signers = {
        role: [key for key in keys[role] if key_id(key.public_key().public_bytes_raw()) in wanted[role]]
        for role in ONLINE
    }
    for role, found in signers.items():
        if not found:
            raise DeskError(f"the online key of {role} is not the one that the root of trust names: rotate {role}")
    meta = {name: _describe_metadata(before[name], roles) for name, roles in signed.items()}
    old = [state for state in before.values() if state]
    is_due = force or any(
        state is None
        or state.snapshot.signed.meta != meta[name]
        or state.snapshot.signed.expires.timestamp() - now < lifetime_of(SNAPSHOT) * _SNAPSHOT_RENEWED
        for name, state in before.items()
    )
    snapshot_version = max((state.snapshot.signed.version for state in old), default=0) + is_due
    timestamp_version = max((state.timestamp.signed.version for state in old), default=0) + 1
    states = {}
    for name, roles in signed.items():
        state = before[name]
        if is_due or state is None:
            snapshot = Metadata(Snapshot(snapshot_version, expires=ends_at(SNAPSHOT, now), meta=meta[name]))
            for key in signers[SNAPSHOT]:
                sign_with(snapshot, key)
        else:
            snapshot = state.snapshot
        described = MetaFile.from_data(snapshot.signed.version, snapshot.to_bytes(), ["sha256"])
        timestamp = Metadata(Timestamp(timestamp_version, expires=ends_at(TIMESTAMP, now), snapshot_meta=described))
        for key in signers[TIMESTAMP]:
            sign_with(timestamp, key)
        delegated = {role: metadata for role, metadata in roles.items() if role != TARGETS}
        states[name] = State(roles[TARGETS], snapshot, timestamp, delegated)
    return states


def _describe_metadata(before: State | None, roles: Mapping[str, Metadata[Targets]]) -> dict[str, MetaFile]:
    # What was once in a snapshot stays in it: clients take a missing role for an attack.
    meta = dict(before.snapshot.signed.meta) if before else {}
    for role, metadata in roles.items():
        meta[f"{role}.json"] = MetaFile.from_data(metadata.signed.version, metadata.to_bytes(), ["sha256"])
    return meta


def _check_state(root: Root, state: State, build: str, optional: Iterable[str]) -> None:
    """Raise DeskError unless a client with this root would believe the whole state."""
    for role in (TARGETS, *ONLINE):
        metadata: Metadata[Any] = getattr(state, role)
        if not count_signatures(root, role, metadata).is_enough:
            raise DeskError(
                f"{build}: the new root of trust does not believe '{role}' as it is signed: let two people sign anew "
                "with publish --renew --as NAME and sign --as NAME"
            )
    delegations = state.targets.signed.delegations
    for role in (delegations.roles or {}) if delegations else {}:
        found = state.delegated.get(role)
        if found is None or (
            role not in optional and not count_signatures(state.targets.signed, role, found).is_enough
        ):
            raise DeskError(f"{build}: '{role}' is not signed by those whom 'targets' names: publish --renew --as NAME")


def _is_believed(root: Root, state: State) -> bool:
    return all(
        count_signatures(root, role, metadata).is_enough for role, metadata in state.files() if role in root.roles
    )


def _private_files(standing: Standing | None) -> dict[str, bytes]:
    if standing is None:
        return {}
    builds = {place_of(name): encode_build(draft.build) for name, draft in standing.draft.builds.items()}
    return {**builds, "feed/history.json": standing.draft.history}


def _clean(repository: Repository, standing: Standing | None, change: RootChange | None) -> None:
    if standing:
        _place(repository).unlink(missing_ok=True)
        cache = KeyCache(repository.folder / "keys.db")
        try:
            builds = load_builds(repository.folder).values()
            epochs = [epoch for build in builds for epoch in (build.epoch, build.coming) if epoch]
            cache.forget_other_salts(bytes.fromhex(epoch.salt) for epoch in epochs)
        finally:
            cache.close()
    if change:
        drop_change(repository)
        forget_old(repository.folder)
