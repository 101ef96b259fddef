//! Extents of files: holes, zeros, and links of unnamed files.

use vm_abi::Errno;
use vm_kernel::syscall::{Allocation, file, path};

use crate::convert::{dir, fd};
use crate::guest::Guest;
use crate::memory::GuestMemory;

pub(super) fn fd_link(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    dir_fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Errno> {
    path::link_fd(&guest.ctx, fd(raw)?, dir(guest, dir_fd)?, memory.bytes(path, len)?)
}

pub(super) fn fd_punch_hole(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    offset: u64,
    len: u64,
) -> Result<(), Errno> {
    file::allocate(&guest.ctx, fd(raw)?, offset, len, Allocation::PunchHole)
}

/// With `keep_size` only what is within the file becomes zeros.
pub(super) fn fd_zero_range(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    offset: u64,
    len: u64,
    keep_size: u32,
) -> Result<(), Errno> {
    let how = if keep_size != 0 { Allocation::PunchHole } else { Allocation::Zero };
    file::allocate(&guest.ctx, fd(raw)?, offset, len, how)
}

/// No file system of ours moves extents or lists them: a test program for native ones is alone in asking.
pub(super) fn fd_shift_range(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    _offset: u64,
    _len: u64,
) -> Result<(), Errno> {
    unsupported(guest, raw)
}

pub(super) fn fd_fiemap(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    _index: u32,
    _start_out: u32,
    _end_out: u32,
    _flags_out: u32,
) -> Result<(), Errno> {
    unsupported(guest, raw)
}

fn unsupported(guest: &Guest, raw: u32) -> Result<(), Errno> {
    file::fd_flags(&guest.ctx, fd(raw)?)?;
    Err(Errno::ENOTSUP)
}
