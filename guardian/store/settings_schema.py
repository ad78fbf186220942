"""The tables of settings.db. A step that was released is never changed; a new one is added behind it."""

from __future__ import annotations

from guardian.store.migrations import Migration

MIGRATIONS = (
    Migration(
        1,
        "household",
        (
            """
            CREATE TABLE profiles (
                id TEXT PRIMARY KEY,
                position INTEGER NOT NULL,
                name TEXT NOT NULL,
                age_band TEXT NOT NULL,
                filtered INTEGER NOT NULL CHECK (filtered IN (0, 1)),
                paused_until REAL NOT NULL DEFAULT 0,       -- epoch seconds; Inf = until somebody resumes
                allow_list_only INTEGER NOT NULL CHECK (allow_list_only IN (0, 1)),
                safe_search INTEGER NOT NULL CHECK (safe_search IN (0, 1)),
                youtube TEXT NOT NULL CHECK (youtube IN ('off', 'moderate', 'strict')),
                bypass_protection INTEGER NOT NULL CHECK (bypass_protection IN (0, 1)),
                visibility TEXT NOT NULL CHECK (visibility IN ('names', 'categories', 'counts')),
                language TEXT NOT NULL
            ) STRICT
            """,
            """
            CREATE TABLE household (
                one INTEGER PRIMARY KEY CHECK (one = 1),
                timezone TEXT NOT NULL,
                language TEXT NOT NULL,
                new_device_profile TEXT REFERENCES profiles (id) DEFERRABLE INITIALLY DEFERRED
            ) STRICT
            """,
            """
            CREATE TABLE minutes (
                profile TEXT NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
                day INTEGER NOT NULL CHECK (day BETWEEN 0 AND 6),           -- 0 = Monday
                minutes INTEGER NOT NULL CHECK (minutes BETWEEN 0 AND 1440),
                PRIMARY KEY (profile, day)
            ) STRICT
            """,
            """
            CREATE TABLE categories (
                profile TEXT NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
                category TEXT NOT NULL,
                PRIMARY KEY (profile, category)
            ) STRICT
            """,
            """
            CREATE TABLE services (
                id INTEGER PRIMARY KEY,
                profile TEXT NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
                service TEXT NOT NULL,
                action TEXT NOT NULL CHECK (action IN ('allow', 'block')),
                UNIQUE (profile, service)
            ) STRICT
            """,
            """
            CREATE TABLE exceptions (
                id INTEGER PRIMARY KEY,
                profile TEXT NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
                day TEXT NOT NULL,                          -- 2026-12-24
                note TEXT NOT NULL,
                UNIQUE (profile, day)
            ) STRICT
            """,
            """
            -- Hours: offline of a profile, offline on a date, open of a service.
            CREATE TABLE windows (
                id INTEGER PRIMARY KEY,
                profile TEXT REFERENCES profiles (id) ON DELETE CASCADE,
                exception INTEGER REFERENCES exceptions (id) ON DELETE CASCADE,
                service INTEGER REFERENCES services (id) ON DELETE CASCADE,
                days TEXT NOT NULL,                         -- mon-fri
                start INTEGER NOT NULL CHECK (start BETWEEN 0 AND 1439),    -- minutes after midnight
                "end" INTEGER NOT NULL CHECK ("end" BETWEEN 0 AND 1440),
                label TEXT NOT NULL,
                CHECK ((profile IS NOT NULL) + (exception IS NOT NULL) + (service IS NOT NULL) = 1)
            ) STRICT
            """,
            """
            CREATE TABLE rules (
                id INTEGER PRIMARY KEY,
                profile TEXT REFERENCES profiles (id) ON DELETE CASCADE,    -- NULL: of the whole household
                action TEXT NOT NULL CHECK (action IN ('allow', 'block')),
                pattern TEXT NOT NULL,
                match TEXT NOT NULL CHECK (match IN ('subdomains', 'exact', 'wildcard')),
                expires REAL NOT NULL,                      -- epoch seconds; Inf = never
                note TEXT NOT NULL
            ) STRICT
            """,
            """
            CREATE TABLE devices (
                id TEXT PRIMARY KEY,
                position INTEGER NOT NULL,
                name TEXT NOT NULL,
                profile TEXT NOT NULL REFERENCES profiles (id),
                paused_until REAL NOT NULL DEFAULT 0
            ) STRICT
            """,
            """
            CREATE TABLE device_matches (
                id INTEGER PRIMARY KEY,
                device TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
                kind TEXT NOT NULL CHECK (kind IN ('mac', 'address')),
                value TEXT NOT NULL UNIQUE                  -- aa:bb:cc:dd:ee:ff, 192.168.1.7 or fd00::/64
            ) STRICT
            """,
            """
            CREATE TABLE changes (
                id INTEGER PRIMARY KEY,
                at REAL NOT NULL,                           -- epoch seconds
                who TEXT NOT NULL,
                what TEXT NOT NULL
            ) STRICT
            """,
            "CREATE INDEX windows_of_profile ON windows (profile) WHERE profile IS NOT NULL",
            "CREATE INDEX rules_of_profile ON rules (profile)",
            "CREATE INDEX devices_of_profile ON devices (profile)",
        ),
    ),
    Migration(
        2,
        "minutes of the week, of services and groups, bonuses; DNS first",
        (
            "ALTER TABLE profiles ADD COLUMN strict INTEGER NOT NULL DEFAULT 0 CHECK (strict IN (0, 1))",
            # NULL: no limit
            "ALTER TABLE profiles ADD COLUMN week_minutes INTEGER CHECK (week_minutes BETWEEN 0 AND 10080)",
            """
            CREATE TABLE group_minutes (
                id INTEGER PRIMARY KEY,
                profile TEXT NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
                of TEXT NOT NULL,                           -- youtube, or group:games
                week INTEGER CHECK (week BETWEEN 0 AND 10080),              -- NULL: no limit
                UNIQUE (profile, of)
            ) STRICT
            """,
            """
            CREATE TABLE group_minutes_of_days (
                owner INTEGER NOT NULL REFERENCES group_minutes (id) ON DELETE CASCADE,
                day INTEGER NOT NULL CHECK (day BETWEEN 0 AND 6),           -- 0 = Monday
                minutes INTEGER NOT NULL CHECK (minutes BETWEEN 0 AND 1440),
                PRIMARY KEY (owner, day)
            ) STRICT
            """,
            """
            CREATE TABLE bonuses (
                id INTEGER PRIMARY KEY,
                profile TEXT NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
                day TEXT NOT NULL,                          -- 2026-12-24
                minutes INTEGER NOT NULL CHECK (minutes BETWEEN 1 AND 1440),
                of TEXT NOT NULL                            -- youtube, group:games, or empty: all use
            ) STRICT
            """,
            "CREATE INDEX bonuses_of_profile ON bonuses (profile)",
        ),
    ),
    Migration(
        3,
        "changes in any language; the country whose helplines are shown",
        (
            "ALTER TABLE changes ADD COLUMN kind TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE changes ADD COLUMN details TEXT NOT NULL DEFAULT '{}'",  # JSON
            "ALTER TABLE household ADD COLUMN country TEXT NOT NULL DEFAULT ''",  # '' = by the time zone
        ),
    ),
)
