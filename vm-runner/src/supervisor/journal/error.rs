//! Why something could not be kept, or read again.

use rusqlite::ErrorCode;
use vm_api::{Problem, ProblemCode};

use crate::supervisor::state_dir;

/// Why something could not be kept, or read again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("state.db: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("state.db: {0}")]
    File(#[from] rustix::io::Errno),
    #[error("state.db has version {0}, this program writes version {VERSION}", VERSION = super::schema::VERSION)]
    Newer(usize),
    #[error("state.db belongs to epoch {theirs} now; this is epoch {ours}, which was replaced")]
    Stale { theirs: u64, ours: u64 },
    #[error(transparent)]
    Epoch(state_dir::Error),
    #[error("the workspace has no folder")]
    NoFolder,
    #[error("too much waits to be written to the runner's volume")]
    Busy,
    #[error("the supervisor is stopping")]
    Closed,
}

impl Error {
    /// Whether the database is damaged, so that nothing more can be had of it.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Database(error) => {
                let code = error.sqlite_error_code();
                let is_odd = matches!(
                    error,
                    rusqlite::Error::FromSqlConversionFailure(..)
                        | rusqlite::Error::InvalidColumnType(..)
                        | rusqlite::Error::IntegralValueOutOfRange(..)
                        | rusqlite::Error::QueryReturnedNoRows
                );
                is_odd || matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            }
            _ => false,
        }
    }

    fn is_full(&self) -> bool {
        match self {
            Self::Database(error) => error.sqlite_error_code() == Some(ErrorCode::DiskFull),
            Self::File(errno) => matches!(*errno, rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT),
            _ => false,
        }
    }
}

impl From<state_dir::Error> for Error {
    fn from(error: state_dir::Error) -> Self {
        match error {
            state_dir::Error::Stale { theirs, ours } => Self::Stale { theirs, ours },
            other => Self::Epoch(other),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = match &error {
            error if error.is_full() => ProblemCode::StorageFull,
            Error::Newer(_) => ProblemCode::StorageNewer,
            Error::Stale { .. } => ProblemCode::StaleEpoch,
            Error::NoFolder => ProblemCode::WorkspaceNotFound,
            Error::Busy => ProblemCode::StorageBusy,
            Error::Closed => ProblemCode::ShuttingDown,
            Error::Database(_) | Error::File(_) | Error::Epoch(_) => ProblemCode::StorageUnavailable,
        };
        Self::new(code, format!("what the runner keeps of the workspace: {error}"))
    }
}
