//! Why a database of files cannot be opened.

use std::io;
use std::path::PathBuf;

/// Why [`SqliteFs::open`](super::SqliteFs::open) failed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it cannot be used.
    #[error("cannot use {path}: {source}")]
    Io {
        /// What was to be used.
        path: PathBuf,
        /// What the host answered.
        source: io::Error,
    },
    /// The database cannot be used.
    #[error("cannot use the files' database: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// Another process holds the database, and did not let go in time.
    #[error("the files' database is in use by another process; try again when that has ended")]
    Busy,
    /// A later owner was here: this one has been replaced.
    #[error("the files belong to epoch {theirs} now; this is epoch {ours}, which was replaced")]
    StaleEpoch {
        /// The epoch in the database.
        theirs: u64,
        /// The epoch of the caller.
        ours: u64,
    },
    /// A later version of this program wrote the database.
    #[error("the files' database has schema {found}; this version knows up to {known}: use a later version")]
    NewerSchema {
        /// The schema's version in the database.
        found: u32,
        /// The latest version known here.
        known: u32,
    },
    /// The database is damaged, or something else than a database of files.
    #[error("the files' database is damaged: {what}; restore it from a backup")]
    Corrupt {
        /// What is wrong.
        what: String,
    },
}

impl OpenError {
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}

/// By SQLite's result code.
impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::corrupt(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}
