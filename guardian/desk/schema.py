"""The tables of desk.db. A step that was released is never changed; a new one is added below it.

`journal` and `bodies` are what happened; all other tables follow from them (`fold`), and `journal verify` compares.
"""

from __future__ import annotations

from guardian.store.migrations import Migration


def _append_only(table: str) -> tuple[str, ...]:
    return tuple(
        f"CREATE TRIGGER {table}_no_{change} BEFORE {change} ON {table} "
        f"BEGIN SELECT raise(ABORT, 'the {table} of a desk is append-only'); END"
        for change in ("update", "delete")
    )


_FIRST = (
    """
    CREATE TABLE journal (
        n INTEGER PRIMARY KEY,          -- 1, 2, 3, ... without a gap
        at INTEGER NOT NULL,            -- epoch seconds
        person TEXT NOT NULL,
        kind TEXT NOT NULL,
        details TEXT NOT NULL,          -- canonical JSON
        before TEXT NOT NULL,           -- hash of the line before
        hash TEXT NOT NULL UNIQUE,      -- SHA-256 of all above, hex
        signature BLOB NOT NULL         -- Ed25519, by the person's key
    ) STRICT
    """,
    """
    CREATE TABLE bodies (               -- of proposals: what would change
        hash TEXT PRIMARY KEY,          -- SHA-256 of the body, hex
        body BLOB NOT NULL              -- canonical JSON, zlib
    ) STRICT, WITHOUT ROWID
    """,
    *_append_only("journal"),
    *_append_only("bodies"),
    """
    CREATE TABLE people (
        name TEXT PRIMARY KEY,
        roles TEXT NOT NULL,            -- sorted, separated by spaces
        public_key BLOB NOT NULL UNIQUE,
        since INTEGER NOT NULL,
        until INTEGER                   -- NULL = works here
    ) STRICT
    """,
    "CREATE TABLE used_keys (public_key BLOB PRIMARY KEY) STRICT, WITHOUT ROWID",  # nobody gets one that was in use
    """
    CREATE TABLE lists (
        id TEXT PRIMARY KEY,
        title TEXT NOT NULL             -- JSON: en, ro, ru
    ) STRICT
    """,
    """
    CREATE TABLE proposals (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        list_id TEXT NOT NULL,          -- "" = of no list
        author TEXT NOT NULL,
        at INTEGER NOT NULL,
        why TEXT NOT NULL,
        body TEXT NOT NULL REFERENCES bodies (hash),
        changes INTEGER NOT NULL,       -- how many entries
        override TEXT NOT NULL,         -- the author's reason; "" = overrides nothing
        status TEXT NOT NULL CHECK (status IN ('open', 'approved', 'rejected')),
        decided_by TEXT NOT NULL,
        decided_at INTEGER NOT NULL,
        decided_why TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY,
        list_id TEXT NOT NULL REFERENCES lists (id),
        scope TEXT NOT NULL,
        value TEXT NOT NULL,
        target TEXT NOT NULL,           -- scope and value, however its URL scheme is written: for duplicates
        severity TEXT NOT NULL,
        legal_basis TEXT NOT NULL,
        authority TEXT NOT NULL,        -- JSON: en, ro, ru
        order_ref TEXT NOT NULL,
        listed INTEGER NOT NULL,        -- epoch seconds, as the three below
        verified INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        action TEXT NOT NULL,
        message TEXT NOT NULL,          -- JSON: en, ro, ru; or ""
        appeal TEXT NOT NULL,
        licence_class TEXT NOT NULL,
        shared_host INTEGER NOT NULL,
        author TEXT NOT NULL,           -- the two reviewers
        approver TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('active', 'suspended', 'removed')),
        removed_reason TEXT NOT NULL,
        override TEXT NOT NULL,
        source TEXT NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX entries_target ON entries (list_id, target) WHERE status <> 'removed'",
    """
    CREATE TABLE popular (              -- names that need an override, and the parents of such names
        name TEXT PRIMARY KEY,
        rank INTEGER NOT NULL           -- 1 = the most popular; 0 = only a parent of one
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE TABLE options (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
)
MIGRATIONS = (Migration(1, "desk", _FIRST),)
