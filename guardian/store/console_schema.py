"""The tables of console.db. A step that was released is never changed; a new one is added behind it."""

from __future__ import annotations

from guardian.store.migrations import Migration

MIGRATIONS = (
    Migration(
        1,
        "console",
        (
            """
            CREATE TABLE accounts (
                id INTEGER PRIMARY KEY,
                name TEXT NOT NULL,                         -- as the journal names the person
                folded TEXT NOT NULL UNIQUE,                -- the name as it is compared
                role TEXT NOT NULL CHECK (role IN ('parent', 'helper')),
                password TEXT NOT NULL,                     -- scrypt$N$r$p$salt$hash
                created REAL NOT NULL,                      -- epoch seconds, here and below
                last_login REAL
            ) STRICT
            """,
            """
            CREATE TABLE sessions (
                hash BLOB PRIMARY KEY,                      -- SHA-256 of the cookie's secret
                account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
                csrf TEXT NOT NULL,
                created REAL NOT NULL,
                used REAL NOT NULL                          -- written at most once an hour: flash wears out
            ) STRICT
            """,
            """
            CREATE TABLE tokens (
                id INTEGER PRIMARY KEY,
                name TEXT NOT NULL,
                hash BLOB NOT NULL UNIQUE,                  -- SHA-256 of the secret
                scopes TEXT NOT NULL,                       -- separated by spaces
                created REAL NOT NULL,
                used REAL
            ) STRICT
            """,
            """
            CREATE TABLE requests (
                id INTEGER PRIMARY KEY,
                profile TEXT NOT NULL,
                device TEXT NOT NULL,
                kind TEXT NOT NULL CHECK (kind IN ('time', 'site')),
                minutes INTEGER,
                site TEXT NOT NULL,                         -- a rule's pattern, A-labels
                message TEXT NOT NULL,
                asked REAL NOT NULL,
                state TEXT NOT NULL CHECK (state IN ('open', 'granted', 'refused', 'expired')),
                answered REAL,
                answered_by TEXT NOT NULL DEFAULT '',
                granted_minutes INTEGER,
                granted_until REAL,
                note TEXT NOT NULL DEFAULT ''
            ) STRICT
            """,
            "CREATE INDEX requests_of_profile ON requests (profile, asked)",
            """
            CREATE TABLE dismissed (
                alert TEXT PRIMARY KEY,
                times INTEGER NOT NULL,                     -- how often it had happened by then
                at REAL NOT NULL
            ) STRICT
            """,
            """
            CREATE TABLE reports (
                id TEXT PRIMARY KEY,
                body TEXT NOT NULL,                         -- JSON, as it is sent; emptied when it was taken
                made REAL NOT NULL,
                next_try REAL NOT NULL,
                tries INTEGER NOT NULL DEFAULT 0,
                sent REAL
            ) STRICT
            """,
            """
            CREATE TABLE channels (
                id INTEGER PRIMARY KEY,
                name TEXT NOT NULL,
                address TEXT NOT NULL,                      -- an Apprise URL, secret
                requests INTEGER NOT NULL CHECK (requests IN (0, 1)),
                alerts INTEGER NOT NULL CHECK (alerts IN (0, 1)),
                last_error TEXT NOT NULL DEFAULT ''
            ) STRICT
            """,
            "CREATE TABLE delivered (what TEXT PRIMARY KEY, at REAL NOT NULL) STRICT",
            "CREATE TABLE options (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
        ),
    ),
)
