//! Drivers: what executes one kind of program.
//!
//! The kernel finds a file, asks each [`Driver`] whether it recognises it, and runs the [`Program`] the driver makes of
//! it. The program reaches the kernel through `syscall` with its [`ProcessContext`], and through nothing else.
//!
//! A program is killed by dropping its future, which may happen at any await; so it must await now and then, however
//! long the guest computes.

use std::sync::Arc;

use futures::future::BoxFuture;
use vm_abi::{Errno, Signal, Stat};
use vm_vfs::{ContentId, Location};

use crate::context::ProcessContext;

pub use vm_vfs::Mapping;

/// Executes one kind of program.
pub trait Driver: Send + Sync {
    /// Its name, for logs: `wasm`.
    fn name(&self) -> &'static str;

    /// Whether files that start so (at most 256 bytes) are programs of its kind.
    fn recognizes(&self, head: &[u8]) -> bool;

    /// Makes a program of a file. Called for every spawn and exec: whatever takes long should be kept, by content id.
    ///
    /// # Errors
    /// `ENOEXEC` if it is not a program after all; what reading it answers.
    fn load(&self, image: &ProgramImage) -> Result<Arc<dyn Program>, Errno>;
}

/// A program, ready to run, any number of times.
pub trait Program: Send + Sync {
    /// Runs it in a process until it ends.
    fn run(self: Arc<Self>, ctx: ProcessContext) -> BoxFuture<'static, ProgramEnd>;

    /// How many of its threads may be in system calls at once.
    fn threads(&self) -> Threads {
        Threads::One
    }
}

/// How many threads of a process may be in system calls at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One: while it waits, the process does nothing else.
    One,
    /// Several.
    Many,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramEnd {
    /// By itself, with this code.
    Exited(u8),
    /// It did what it must not; the process dies of the signal. The message goes to the log.
    Trapped {
        /// As on Linux: `SIGSEGV`, `SIGILL`, `SIGABRT`.
        signal: Signal,
        /// What happened.
        message: String,
    },
    /// It executed another program; `syscall::process::exec` has succeeded.
    Replaced,
}

/// The file a program is in.
#[derive(Clone)]
pub struct ProgramImage {
    pub(crate) location: Location,
    pub(crate) path: Vec<u8>,
    pub(crate) head: Vec<u8>,
}

impl ProgramImage {
    /// The path it was found at.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Its first bytes, at most 256.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The SHA-256 of its content, if that is cheap to tell.
    #[must_use]
    pub fn content_id(&self) -> Option<[u8; 32]> {
        self.location.inode().content_id().map(|ContentId(bytes)| bytes)
    }

    /// Its content without a copy, if it is read-only and in memory.
    #[must_use]
    pub fn map(&self) -> Option<Mapping> {
        self.location.inode().map()
    }

    /// The facts about the file.
    ///
    /// # Errors
    /// What the medium answers.
    pub fn stat(&self) -> Result<Stat, Errno> {
        Ok(self.location.stat()?)
    }

    /// Reads a part of it; 0 at the end.
    ///
    /// # Errors
    /// What reading answers.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        Ok(self.location.inode().read_at(offset, buffer)?)
    }

    /// Its content, copied.
    ///
    /// # Errors
    /// `EFBIG` if it is longer than `max_bytes`; what reading answers.
    pub fn read_all(&self, max_bytes: usize) -> Result<Vec<u8>, Errno> {
        let size = usize::try_from(self.location.inode().stat()?.size).map_err(|_| Errno::EFBIG)?;
        if size > max_bytes {
            return Err(Errno::EFBIG);
        }
        let mut content = vec![0; size];
        let mut filled = 0;
        while filled < size {
            match self.location.inode().read_at(filled as u64, &mut content[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        content.truncate(filled);
        Ok(content)
    }
}
