//! The writable layer of a VM's root: a database in the slot that the process was given, or memory.
//!
//! What is wrong with the files is told with a stable code and the way out; a boot that fails for it is tried again by the
//! next action only, or after a growing pause. Must never know a path of the host but its folder.

use std::path::Path;
use std::sync::Arc;

use vm_abi::Mode;
use vm_api::{FsckResponse, Problem, ProblemCode, StorageType, WorkspaceConfig};
use vm_vfs::sqlitefs::{FsckOptions, OpenError, SqliteFs, SqliteFsOptions, Tuning};
use vm_vfs::tmpfs::{Tmpfs, TmpfsOptions};
use vm_vfs::{FileSystem, Owner, VfsResult};

use super::root::clock;

/// Permissions of `/`.
const ROOT_MODE: u32 = 0o755;

/// Where files of a VM live.
#[derive(Clone)]
pub(crate) enum Storage {
    /// In memory: lost with the VM.
    Memory(Arc<Tmpfs>),
    /// In the workspace's folder.
    Kept(Arc<SqliteFs>),
}

impl Storage {
    /// Opens what the configuration wants. `folder` holds the workspace's files; without one (a VM of somebody's own
    /// machine) they live in memory.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub(crate) fn open(config: &WorkspaceConfig, folder: Option<&Path>) -> Result<Self, Problem> {
        let (max_bytes, max_inodes) = (config.storage.size_bytes, config.limits.inodes);
        let (root_mode, root_owner) = (Mode::new(ROOT_MODE), Owner::ROOT);
        match (config.storage.kind, folder) {
            (StorageType::Persistent, Some(folder)) => {
                let options = SqliteFsOptions {
                    folder: folder.to_owned(),
                    epoch: config.epoch,
                    max_bytes,
                    max_inodes,
                    root_mode,
                    root_owner,
                    clock: clock(),
                    tuning: Tuning::default(),
                };
                SqliteFs::open(options).map(Self::Kept).map_err(|error| open_problem(&error))
            }
            (StorageType::Persistent, None) | (StorageType::Ephemeral, _) => {
                let options = TmpfsOptions { max_bytes, max_inodes, root_mode, root_owner, clock: clock() };
                Ok(Self::Memory(Tmpfs::new(options)))
            }
        }
    }

    /// The layer, to be mounted.
    pub(crate) fn file_system(&self) -> Arc<dyn FileSystem> {
        match self {
            Self::Memory(tmpfs) => Arc::clone(tmpfs) as Arc<dyn FileSystem>,
            Self::Kept(files) => Arc::clone(files) as Arc<dyn FileSystem>,
        }
    }

    /// Takes over new limits, where they can change; those of files in memory wait for the next boot.
    pub(crate) fn reconfigure(&self, config: &WorkspaceConfig) {
        match self {
            Self::Memory(_) => {}
            Self::Kept(files) => files.set_limits(config.storage.size_bytes, config.limits.inodes),
        }
    }

    /// Checks everything that is kept. Blocks for as long as it takes.
    ///
    /// # Errors
    /// If nothing is kept.
    pub(crate) fn check(&self) -> Result<FsckResponse, Problem> {
        match self {
            Self::Memory(_) => Err(Problem::new(
                ProblemCode::StorageEphemeral,
                "spec.storage.type is Ephemeral: no files are kept, so there is nothing to check",
            )),
            Self::Kept(files) => {
                let report = files.check(FsckOptions::default());
                Ok(FsckResponse { problems: report.problems, inodes: report.inodes, bytes: report.bytes })
            }
        }
    }

    /// What was found to be wrong with what is kept, while it was used.
    pub(crate) fn fault(&self) -> Option<String> {
        match self {
            Self::Memory(_) => None,
            Self::Kept(files) => files.fault(),
        }
    }

    /// Removes everything, for a VM that was only a rehearsal.
    pub(crate) fn discard(&self) {
        match self {
            Self::Memory(_) => {}
            Self::Kept(files) => files.discard(),
        }
    }

    /// Makes everything durable and lets go of it. Blocks.
    ///
    /// # Errors
    /// If something could not be written.
    pub(crate) fn close(&self) -> VfsResult<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Kept(files) => files.close(),
        }
    }
}

fn open_problem(error: &OpenError) -> Problem {
    let text = error.to_string();
    let code = match error {
        OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            ProblemCode::StorageFull
        }
        // SQLite's word for a full disk.
        OpenError::Sqlite(_) if text.contains("full") => ProblemCode::StorageFull,
        OpenError::Io { .. } | OpenError::Sqlite(_) => ProblemCode::StorageUnavailable,
        OpenError::Busy => ProblemCode::StorageBusy,
        OpenError::StaleEpoch { .. } => ProblemCode::StaleEpoch,
        OpenError::NewerSchema { .. } => ProblemCode::StorageNewer,
        OpenError::Corrupt { .. } => ProblemCode::StorageCorrupt,
    };
    Problem::new(code, format!("the files of the workspace: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(epoch: u64) -> WorkspaceConfig {
        WorkspaceConfig { epoch, ..WorkspaceConfig::new("a", "b") }
    }

    #[test]
    fn files_of_a_later_binding_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        Storage::open(&config(2), Some(folder.path())).unwrap().close().unwrap();
        let problem = Storage::open(&config(1), Some(folder.path())).err().unwrap();
        assert!(problem.is(ProblemCode::StaleEpoch), "{problem}");
        assert!(problem.detail.contains("epoch 2"), "{problem}");
    }

    #[test]
    fn files_that_cannot_be_read_are_told_by_their_code() {
        let folder = tempfile::tempdir().unwrap();
        let garbage = vec![7_u8; 64 << 10];
        #[expect(clippy::disallowed_methods, reason = "a test damages a file")]
        std::fs::write(folder.path().join("fs.db"), garbage).unwrap();
        let problem = Storage::open(&config(1), Some(folder.path())).err().unwrap();
        assert!(problem.is(ProblemCode::StorageCorrupt), "{problem}");
        let problem = Storage::open(&config(1), Some(&folder.path().join("none"))).err().unwrap();
        assert!(problem.is(ProblemCode::StorageUnavailable), "{problem}");
    }

    #[test]
    fn what_is_kept_can_be_checked_and_what_is_not_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Storage::open(&config(1), Some(folder.path())).unwrap();
        assert_eq!(kept.check().unwrap().problems, [] as [String; 0]);
        let memory = Storage::open(&config(1), None).unwrap();
        assert!(memory.check().unwrap_err().is(ProblemCode::StorageEphemeral));
    }
}
