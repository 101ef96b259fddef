//! The writable layer of a VM's root: kept in the slot, or in memory.
//!
//! Must never know a path of the host but the slot that the process was given.

use std::path::Path;
use std::sync::Arc;

use vm_abi::Mode;
use vm_api::{FsckResponse, Problem, ProblemCode, WorkspaceConfig};
use vm_vfs::tmpfs::{Tmpfs, TmpfsOptions};
use vm_vfs::{FileSystem, Owner};

use super::root::clock;

/// Where files of a VM live.
#[derive(Clone)]
pub(crate) enum Storage {
    /// In memory: lost with the VM.
    Memory(Arc<Tmpfs>),
}

impl Storage {
    /// Opens what the configuration wants. `folder` holds the workspace's files, if the process was given any.
    ///
    /// # Errors
    /// A problem that says what is wrong with the files, and the way out.
    pub(crate) fn open(config: &WorkspaceConfig, folder: Option<&Path>) -> Result<Self, Problem> {
        let _ = folder;
        Ok(Self::Memory(Tmpfs::new(TmpfsOptions {
            max_bytes: config.storage.size_bytes,
            max_inodes: config.limits.inodes,
            root_mode: Mode::new(0o755),
            root_owner: Owner::ROOT,
            clock: clock(),
        })))
    }

    /// The layer, to be mounted.
    pub(crate) fn file_system(&self) -> Arc<dyn FileSystem> {
        match self {
            Self::Memory(tmpfs) => Arc::clone(tmpfs) as Arc<dyn FileSystem>,
        }
    }

    /// Takes over new limits.
    pub(crate) fn reconfigure(&self, _config: &WorkspaceConfig) {
        match self {
            // Its limits are those that it was made with (spec.storage needs a restart).
            Self::Memory(_) => {}
        }
    }

    /// Checks everything that is kept. Blocks for as long as it takes.
    pub(crate) fn check(&self) -> Result<FsckResponse, Problem> {
        match self {
            Self::Memory(_) => Err(Problem::new(
                ProblemCode::StorageEphemeral,
                "the workspace keeps no files (spec.storage.type is Ephemeral), so there is nothing to check",
            )),
        }
    }

    /// Makes everything durable and lets go of it. Blocks.
    pub(crate) fn close(&self) -> Result<(), vm_vfs::Error> {
        match self {
            Self::Memory(_) => Ok(()),
        }
    }
}
