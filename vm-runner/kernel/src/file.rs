//! Open files: the fd, the file description and the file are three types.
//!
//! An [`Fd`] is an index into a process's [`FdTable`](fd_table::FdTable); it leads to a
//! [`FileDescription`](description::FileDescription), which has an offset and status flags and is shared by dup and
//! spawn; that has a [`File`], which is what can be read, written and polled. The inode below belongs to `vm-vfs`.

pub(crate) mod description;
pub(crate) mod directory;
pub(crate) mod fd_table;
pub(crate) mod lock;
pub(crate) mod open;
pub(crate) mod regular;

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};

use vm_abi::{Errno, PollEvents};

use crate::context::ProcessContext;
use crate::poll::Readiness;

pub use fd_table::{Fd, FdFlags};

/// What a file is, as far as a guest's C library must know to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Bytes at offsets.
    Regular,
    /// A directory.
    Directory,
    /// A pipe end, named or not.
    Pipe,
    /// A terminal.
    Terminal,
    /// Any other character device.
    CharDevice,
    /// A stream socket, or a sequenced-packet one.
    StreamSocket,
    /// A datagram socket.
    DatagramSocket,
}

/// Where reads and writes of a file happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressing {
    /// At an offset, which the file description keeps.
    Offset,
    /// Nowhere in particular; seeking is allowed and does nothing.
    Anywhere,
    /// In order; seeking is `ESPIPE`.
    Stream,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the process.
    Read,
    /// From the process.
    Write,
}

/// What can be read, written and polled. Nothing here waits: what would block answers `EAGAIN`.
pub(crate) trait File: Any + Send + Sync {
    /// What it is.
    fn kind(&self) -> FileKind;

    /// How it is addressed.
    fn addressing(&self) -> Addressing {
        Addressing::Stream
    }

    /// Reads the next bytes.
    fn try_read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        let _ = buffers;
        Err(Errno::EINVAL)
    }

    /// Writes bytes after the ones before.
    fn try_write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let _ = buffers;
        Err(Errno::EINVAL)
    }

    /// Reads at an offset.
    fn read_at(&self, offset: u64, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        let _ = (offset, buffers);
        Err(Errno::ESPIPE)
    }

    /// Writes at an offset.
    fn write_at(&self, offset: u64, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let _ = (offset, buffers);
        Err(Errno::ESPIPE)
    }

    /// Writes at the end; tells how much, and the offset after it.
    fn append(&self, buffers: &[IoSlice<'_>]) -> Result<(usize, u64), Errno> {
        let _ = buffers;
        Err(Errno::ESPIPE)
    }

    /// What is ready now.
    fn events(&self) -> PollEvents {
        PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM
    }

    /// Who waits for it; `None` if it never blocks.
    fn readiness(&self) -> Option<&Readiness> {
        None
    }

    /// Whether a process may read or write now: a terminal stops background processes here.
    fn check_use(&self, ctx: &ProcessContext, direction: Direction) -> Result<(), Errno> {
        let _ = (ctx, direction);
        Ok(())
    }

    /// Whether a process that would now block could never be woken, because only it holds the other side.
    fn is_stuck(&self, ctx: &ProcessContext, direction: Direction) -> bool {
        let _ = (ctx, direction);
        false
    }

    /// One more fd leads here.
    fn fd_added(&self) {}

    /// One fd fewer leads here.
    fn fd_removed(&self) {}
}

impl dyn File {
    /// The file as what it concretely is.
    pub(crate) fn downcast<T: File>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// How many bytes the buffers hold together.
pub(crate) fn total_len(buffers: &[IoSlice<'_>]) -> usize {
    buffers.iter().map(|buffer| buffer.len()).sum()
}

/// How many bytes fit into the buffers together.
pub(crate) fn total_room(buffers: &[IoSliceMut<'_>]) -> usize {
    buffers.iter().map(|buffer| buffer.len()).sum()
}
