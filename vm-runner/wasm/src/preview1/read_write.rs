//! Reading and writing through fds.

use vm_abi::Errno;
use vm_kernel::syscall::file;

use crate::convert::{fd, position};
use crate::guest::Guest;
use crate::layout::rights;
use crate::memory::{Buffers, GuestMemory};

/// Most bytes that pass through a copy when a call has several buffers. Longer calls are answered in part, as POSIX
/// allows; libraries make the call again.
const MAX_COPY_BYTES: usize = 256 << 10;

pub(super) async fn fd_read(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    buffers: u32,
    count: u32,
    len_out: u32,
) -> Result<(), Errno> {
    memory.check(len_out, 4)?;
    guest.check_rights(raw, rights::READ)?;
    let fd = fd(raw)?;
    let len = match memory.buffers(buffers, count)? {
        Buffers::One(range) => file::read(&guest.ctx, fd, memory.buffer_mut(range)?).await?,
        Buffers::Many(ranges) => {
            let mut copy = vec![0; total(&ranges)];
            let len = file::read(&guest.ctx, fd, &mut copy).await?;
            scatter(memory, &ranges, &copy[..len])?;
            len
        }
    };
    memory.put_u32(len_out, len as u32)
}

pub(super) async fn fd_write(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    buffers: u32,
    count: u32,
    len_out: u32,
) -> Result<(), Errno> {
    memory.check(len_out, 4)?;
    guest.check_rights(raw, rights::WRITE)?;
    let fd = fd(raw)?;
    let len = match memory.buffers(buffers, count)? {
        Buffers::One(range) => file::write(&guest.ctx, fd, memory.buffer(range)?).await?,
        Buffers::Many(ranges) => file::write(&guest.ctx, fd, &gather(memory, &ranges)?).await?,
    };
    memory.put_u32(len_out, len as u32)
}

pub(super) fn fd_pread(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    buffers: u32,
    count: u32,
    offset: u64,
    len_out: u32,
) -> Result<(), Errno> {
    memory.check(len_out, 4)?;
    let offset = position(offset)?;
    guest.check_rights(raw, rights::READ)?;
    let fd = fd(raw)?;
    let len = match memory.buffers(buffers, count)? {
        Buffers::One(range) => file::pread(&guest.ctx, fd, memory.buffer_mut(range)?, offset)?,
        Buffers::Many(ranges) => {
            let mut copy = vec![0; total(&ranges)];
            let len = file::pread(&guest.ctx, fd, &mut copy, offset)?;
            scatter(memory, &ranges, &copy[..len])?;
            len
        }
    };
    memory.put_u32(len_out, len as u32)
}

pub(super) fn fd_pwrite(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    buffers: u32,
    count: u32,
    offset: u64,
    len_out: u32,
) -> Result<(), Errno> {
    memory.check(len_out, 4)?;
    let offset = position(offset)?;
    guest.check_rights(raw, rights::WRITE)?;
    let fd = fd(raw)?;
    let len = match memory.buffers(buffers, count)? {
        Buffers::One(range) => file::pwrite(&guest.ctx, fd, memory.buffer(range)?, offset)?,
        Buffers::Many(ranges) => file::pwrite(&guest.ctx, fd, &gather(memory, &ranges)?, offset)?,
    };
    memory.put_u32(len_out, len as u32)
}

/// Copies of several buffers, one after the other.
pub(super) fn gather(memory: &GuestMemory<'_>, ranges: &[std::ops::Range<usize>]) -> Result<Vec<u8>, Errno> {
    let len = total(ranges);
    let mut copy = Vec::with_capacity(len);
    for range in ranges {
        let bytes = memory.buffer(range.clone())?;
        let wanted = bytes.len().min(len - copy.len());
        copy.extend_from_slice(&bytes[..wanted]);
    }
    Ok(copy)
}

/// Distributes `bytes` over several buffers.
pub(super) fn scatter(
    memory: &mut GuestMemory<'_>,
    ranges: &[std::ops::Range<usize>],
    mut bytes: &[u8],
) -> Result<(), Errno> {
    for range in ranges {
        let len = range.len().min(bytes.len());
        let (now, later) = bytes.split_at(len);
        memory.buffer_mut(range.start..range.start + len)?.copy_from_slice(now);
        bytes = later;
    }
    Ok(())
}

/// Bytes of all buffers, as many of them as one call copies.
pub(super) fn total(ranges: &[std::ops::Range<usize>]) -> usize {
    ranges.iter().map(ExactSizeIterator::len).fold(0, usize::saturating_add).min(MAX_COPY_BYTES)
}
