//! What the database looks like, and how it came to look so.
//!
//! The schema is the result of [`STEPS`], run in order; `user_version` tells how many of them a database has seen. A
//! step that was released never changes. Each step runs in one transaction with the new `user_version`.
//!
//! Tables: `meta` (one row: the owner's epoch, what is used), `inode`, `dirent` (clustered by directory, then name),
//! `chunk` (content, by inode and position: see [`chunk_id`]; a number instead of bytes is so many reserved zeros),
//! `xattr`, and `orphan` (inodes without a name, to be removed when their last user has gone).

use rusqlite::{Connection, OptionalExtension};

use super::open_error::OpenError;

/// Says that the database is ours: "LdFS".
pub(super) const APPLICATION_ID: i64 = 0x4c64_4653;
/// The root directory's inode number.
pub(super) const ROOT_INO: u64 = 1;
/// Bits of a chunk's id that tell its position in the file.
pub(super) const CHUNK_INDEX_BITS: u32 = 28;
/// Inode numbers are below this, so that chunk ids are positive.
pub(super) const MAX_INO: u64 = 1 << (63 - CHUNK_INDEX_BITS);

/// The steps from an empty database to today's schema.
pub(super) const STEPS: &[&str] = &["
    CREATE TABLE meta(
        id INTEGER PRIMARY KEY CHECK (id = 1),
        epoch INTEGER NOT NULL,
        used_bytes INTEGER NOT NULL,
        used_inodes INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE inode(
        ino INTEGER PRIMARY KEY,
        kind INTEGER NOT NULL,
        mode INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        gid INTEGER NOT NULL,
        nlink INTEGER NOT NULL,
        rdev INTEGER NOT NULL,
        size INTEGER NOT NULL,
        content_bytes INTEGER NOT NULL,
        xattr_bytes INTEGER NOT NULL,
        atime INTEGER NOT NULL,
        atime_nsec INTEGER NOT NULL,
        mtime INTEGER NOT NULL,
        mtime_nsec INTEGER NOT NULL,
        ctime INTEGER NOT NULL,
        ctime_nsec INTEGER NOT NULL,
        parent INTEGER,
        name BLOB,
        target BLOB
    ) STRICT;
    CREATE TABLE dirent(
        parent INTEGER NOT NULL,
        name BLOB NOT NULL,
        ino INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        PRIMARY KEY (parent, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE chunk(id INTEGER PRIMARY KEY, data ANY NOT NULL) STRICT;
    CREATE TABLE xattr(
        ino INTEGER NOT NULL,
        name BLOB NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (ino, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE orphan(ino INTEGER PRIMARY KEY) STRICT;
"];

/// Where a chunk of a file is kept.
pub(super) const fn chunk_id(ino: u64, index: u32) -> i64 {
    ((ino << CHUNK_INDEX_BITS) | index as u64) as i64
}

/// Which file a chunk belongs to, and where in it.
pub(super) const fn chunk_place(id: i64) -> (u64, u32) {
    ((id as u64) >> CHUNK_INDEX_BITS, (id as u64 & ((1 << CHUNK_INDEX_BITS) - 1)) as u32)
}

/// Which schema the database has; 0 if it is empty.
pub(super) fn version(connection: &Connection, steps: &[&str]) -> Result<u32, OpenError> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, found) = (pragma("application_id")?, pragma("user_version")?);
    if application == 0 && found == 0 {
        let table = "SELECT 1 FROM sqlite_schema LIMIT 1";
        if connection.query_row(table, [], |_| Ok(())).optional()?.is_none() {
            return Ok(0);
        }
    }
    if application != APPLICATION_ID {
        return Err(OpenError::corrupt("it is a database of something else"));
    }
    let found = u32::try_from(found).map_err(|_| OpenError::corrupt("its schema has no valid version"))?;
    let known = steps.len() as u32;
    match found {
        0 => Err(OpenError::corrupt("its schema has no version")),
        found if found > known => Err(OpenError::NewerSchema { found, known }),
        found => Ok(found),
    }
}

/// Runs the steps that a database of this version has not seen.
pub(super) fn migrate(connection: &Connection, from: u32, steps: &[&str]) -> Result<(), OpenError> {
    for (index, step) in steps.iter().enumerate().skip(from as usize) {
        let version = index + 1;
        let whole = format!(
            "BEGIN IMMEDIATE; {step}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}; COMMIT;"
        );
        if let Err(error) = connection.execute_batch(&whole) {
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK")?;
            }
            return Err(error.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{STEPS, chunk_id, chunk_place, migrate, version};
    use crate::sqlitefs::OpenError;

    #[test]
    fn an_older_database_is_brought_forward_step_by_step_and_keeps_its_content() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, version(&connection, STEPS).unwrap(), STEPS).unwrap();
        connection.execute("INSERT INTO meta VALUES (1, 7, 8, 9)", []).unwrap();
        let steps = [
            STEPS[0],
            "ALTER TABLE meta ADD COLUMN extra INTEGER NOT NULL DEFAULT 5",
            "UPDATE meta SET extra = extra + epoch",
        ];
        assert_eq!(version(&connection, &steps).unwrap(), 1);
        migrate(&connection, 1, &steps).unwrap();
        assert_eq!(version(&connection, &steps).unwrap(), 3);
        let extra: i64 = connection.query_row("SELECT extra FROM meta", [], |row| row.get(0)).unwrap();
        assert_eq!(extra, 12);
        let error = version(&connection, STEPS).unwrap_err();
        assert!(matches!(error, OpenError::NewerSchema { found: 3, known: 1 }), "{error}");
    }

    #[test]
    fn a_step_that_fails_leaves_the_database_as_the_step_before_left_it() {
        let connection = Connection::open_in_memory().unwrap();
        let steps = [STEPS[0], "CREATE TABLE other(a); INSERT INTO nowhere VALUES (1)"];
        migrate(&connection, 0, &steps).unwrap_err();
        assert_eq!(version(&connection, &steps).unwrap(), 1);
        assert!(connection.prepare("SELECT * FROM other").is_err());
        migrate(&connection, 1, &[STEPS[0], "CREATE TABLE other(a)"]).unwrap();
    }

    #[test]
    fn a_database_of_something_else_is_refused() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE songs(title)").unwrap();
        assert!(matches!(version(&connection, STEPS), Err(OpenError::Corrupt { .. })));
    }

    #[test]
    fn chunk_ids_tell_file_and_position() {
        for (ino, index) in [(1, 0), (super::MAX_INO - 1, (1 << 28) - 1), (77, 12)] {
            assert!(chunk_id(ino, index) > 0);
            assert_eq!(chunk_place(chunk_id(ino, index)), (ino, index));
        }
    }
}
