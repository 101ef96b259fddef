//! Extents of files: holes, zeros, and links of unnamed files.

use vm_abi::{Errno, Whence};
use vm_kernel::syscall::{Allocation, Fd, file, path};

use crate::convert::{dir, fd};
use crate::guest::Guest;
use crate::memory::GuestMemory;

/// Extents that are listed; each call finds its own from the file's start.
const MAX_EXTENTS: u32 = 1 << 14;

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

/// No file system of ours moves extents: as on a Linux tmpfs, `EOPNOTSUPP`.
pub(super) fn fd_shift_range(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    _offset: u64,
    _len: u64,
) -> Result<(), Errno> {
    file::fd_flags(&guest.ctx, fd(raw)?)?;
    Err(Errno::ENOTSUP)
}

/// The extent of data number `index`: where it starts and ends. `ENODATA` behind the last.
pub(super) fn fd_fiemap(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    index: u32,
    start_out: u32,
    end_out: u32,
    flags_out: u32,
) -> Result<(), Errno> {
    memory.check(start_out, 8)?;
    memory.check(end_out, 8)?;
    memory.check(flags_out, 4)?;
    if index >= MAX_EXTENTS {
        return Err(Errno::ENODATA);
    }
    let fd = fd(raw)?;
    let position = file::tell(&guest.ctx, fd)?;
    let found = extent(guest, fd, index);
    file::seek(&guest.ctx, fd, position.cast_signed(), Whence::Start)?;
    let (start, end) = found?;
    memory.put_u64(start_out, start)?;
    memory.put_u64(end_out, end)?;
    memory.put_u32(flags_out, 0)
}

fn extent(guest: &Guest, fd: Fd, index: u32) -> Result<(u64, u64), Errno> {
    let seek = |from: u64, whence| match file::seek(&guest.ctx, fd, from.cast_signed(), whence) {
        Err(Errno::ENXIO) => Err(Errno::ENODATA),
        found => found,
    };
    let mut end = 0;
    for _ in 0..index {
        end = seek(seek(end, Whence::Data)?, Whence::Hole)?;
    }
    let start = seek(end, Whence::Data)?;
    Ok((start, seek(start, Whence::Hole)?))
}
