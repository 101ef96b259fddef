//! Tables of `state.db`, and how an older one becomes a newer one.

use rusqlite::{Connection, Transaction};

/// What makes version n+1 of version n. A step that was published never changes.
const STEPS: [&str; 1] = [
    // `meta` has one row. `life` is the supervisor that wrote last, `is_up` whether a VM ran when it did. Event ids go on
    // from `start`; those up to `floor` are gone. An event with a topic replaces the last one of that topic.
    "CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        epoch INTEGER NOT NULL,
        life TEXT NOT NULL,
        is_up INTEGER NOT NULL,
        start INTEGER NOT NULL,
        floor INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE event (
        id INTEGER PRIMARY KEY,
        topic TEXT,
        data TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX event_topic ON event (topic) WHERE topic IS NOT NULL;
    CREATE TABLE run (
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        started_at TEXT NOT NULL,
        finished_at TEXT,
        outcome TEXT,
        exit_code INTEGER,
        tail TEXT NOT NULL
    ) STRICT;
    CREATE INDEX run_unfinished ON run (number) WHERE outcome IS NULL;",
];

/// The version that this program writes.
pub(super) const VERSION: usize = STEPS.len();

/// The version of a database; 0 if there is nothing in it.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<usize> {
    connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).map(|version| {
        // One that makes no sense is newer than all.
        usize::try_from(version).unwrap_or(usize::MAX)
    })
}

/// Brings a database of an older version up to this one.
pub(super) fn migrate(transaction: &Transaction<'_>, from: usize) -> rusqlite::Result<()> {
    for step in STEPS.iter().skip(from) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", i64::try_from(VERSION).unwrap_or(i64::MAX))
}
