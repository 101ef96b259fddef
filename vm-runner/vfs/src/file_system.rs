//! What can be mounted.

use std::sync::Arc;

use vm_abi::{Errno, Timespec};

use crate::error::VfsResult;
use crate::inode::Inode;

/// A tree of inodes that can be mounted.
///
/// Inode numbers are unique within a file system and not reused while it is mounted. The device number of a file comes
/// from its mount ([`Location::stat`](crate::Location::stat)); file systems leave `Stat::dev` at 0.
pub trait FileSystem: Send + Sync {
    /// The type, as `/proc/mounts` names it: `tmpfs`, `overlay`.
    fn kind(&self) -> &'static str;

    /// Where the content comes from, for `/proc/mounts`.
    fn source(&self) -> String {
        self.kind().to_owned()
    }

    /// The topmost inode; nearly always a directory.
    fn root(&self) -> Arc<dyn Inode>;

    /// Space and inodes, used and free.
    ///
    /// # Errors
    /// `ENOSYS` if the file system does not count.
    fn statfs(&self) -> VfsResult<StatFs> {
        Err(Errno::ENOSYS.into())
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// What the medium answers, usually `EIO` or `ENOSPC`.
    fn sync(&self) -> VfsResult<()> {
        Ok(())
    }

    /// Whether nothing in it can ever be changed.
    fn is_read_only(&self) -> bool {
        false
    }
}

/// Space and inodes of a file system, in bytes and numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    /// Size of the file system.
    pub total_bytes: u64,
    /// What is not in use.
    pub free_bytes: u64,
    /// How many files it can hold.
    pub total_inodes: u64,
    /// How many more files it can hold.
    pub free_inodes: u64,
    /// The preferred unit of reading and writing.
    pub block_bytes: u64,
}

/// The time of day, for the time stamps of files. Injected, so that tests are deterministic.
pub trait FileClock: Send + Sync {
    /// Now.
    fn now(&self) -> Timespec;
}

impl<F: Fn() -> Timespec + Send + Sync> FileClock for F {
    fn now(&self) -> Timespec {
        self()
    }
}
