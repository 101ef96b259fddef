//! Fds: status, size, times, position, and the preopened directories.

use vm_abi::{Errno, OpenFlags, Timespec, Whence};
use vm_kernel::syscall::{Allocation, DirFd, FileKind, Follow, SetTime, SyncScope, file, path};

use crate::convert::{PREOPEN_TAG, Target, fd, position, status_flags, target, wasi_fd_flags};
use crate::guest::Guest;
use crate::layout::{fdstat, filestat, rights};
use crate::memory::GuestMemory;
use crate::standard::{DIRECTORY_RIGHTS, Rights};

/// Of a preopened directory that is in no fd table.
const EVERY_RIGHT: Rights = Rights { base: rights::ALL, inheriting: rights::ALL };

pub(super) fn fd_advise(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    _offset: u64,
    _len: u64,
    _advice: u32,
) -> Result<(), Errno> {
    match file::kind(&guest.ctx, fd(raw)?)? {
        FileKind::Pipe => Err(Errno::ESPIPE),
        _ => Ok(()),
    }
}

pub(super) fn fd_allocate(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    offset: u64,
    len: u64,
) -> Result<(), Errno> {
    not_a_directory(guest, raw)?;
    file::allocate(&guest.ctx, fd(raw)?, position(offset)?, position(len)?, Allocation::Extend)
}

/// Closing a preopened directory has no effect: it is in no fd table.
pub(super) fn fd_close(guest: &mut Guest, _memory: &mut GuestMemory<'_>, raw: u32) -> Result<(), Errno> {
    if raw & PREOPEN_TAG != 0 {
        return target(guest, raw).map(drop);
    }
    file::close(&guest.ctx, fd(raw)?)?;
    if let Some(standard) = &mut guest.standard {
        standard.closed(raw);
    }
    Ok(())
}

pub(super) fn fd_datasync(guest: &mut Guest, _memory: &mut GuestMemory<'_>, raw: u32) -> Result<(), Errno> {
    file::sync(&guest.ctx, fd(raw)?, SyncScope::DataOnly)
}

pub(super) fn fd_sync(guest: &mut Guest, _memory: &mut GuestMemory<'_>, raw: u32) -> Result<(), Errno> {
    file::sync(&guest.ctx, fd(raw)?, SyncScope::Everything)
}

pub(super) fn fd_fdstat_get(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    out: u32,
) -> Result<(), Errno> {
    let fd = match target(guest, raw)? {
        Target::Fd(fd) => fd,
        Target::Preopen(_) => return memory.put(out, &fdstat(3, 0, EVERY_RIGHT)),
    };
    let flags = file::status_flags(&guest.ctx, fd)?;
    let kind = file::kind(&guest.ctx, fd)?;
    let initial = initial_rights(guest, kind, flags);
    let rights = guest.standard.as_ref().map_or(initial, |standard| standard.rights(raw, initial));
    memory.put(out, &fdstat(wasi_kind(kind), wasi_fd_flags(flags), rights))
}

/// Rights of an fd that none were taken from. Inheriting rights are always all: libraries AND what they want to open
/// with them.
fn initial_rights(guest: &Guest, kind: FileKind, flags: OpenFlags) -> Rights {
    match kind {
        FileKind::Directory if guest.standard.is_some() => DIRECTORY_RIGHTS,
        _ => Rights { base: base_rights(kind, flags), inheriting: rights::ALL },
    }
}

/// Preview 1's file type of an open file. A pipe is "unknown": libraries would use socket calls on a stream.
fn wasi_kind(kind: FileKind) -> u8 {
    match kind {
        FileKind::Pipe => 0,
        FileKind::CharDevice | FileKind::Terminal => 2,
        FileKind::Directory => 3,
        FileKind::Regular => 4,
        FileKind::DatagramSocket => 5,
        FileKind::StreamSocket => 6,
    }
}

/// Libraries tell the access mode from READ and WRITE, and a terminal from a device by the lack of SEEK and TELL.
fn base_rights(kind: FileKind, flags: OpenFlags) -> u64 {
    let mut rights = rights::ALL;
    if kind == FileKind::Directory {
        return rights;
    }
    if !flags.contains(OpenFlags::READ) {
        rights &= !rights::READ;
    }
    if !flags.contains(OpenFlags::WRITE) {
        rights &= !rights::WRITE;
    }
    match kind {
        FileKind::Regular | FileKind::CharDevice | FileKind::Directory => rights,
        FileKind::Pipe | FileKind::Terminal | FileKind::StreamSocket | FileKind::DatagramSocket => {
            rights & !(rights::SEEK | rights::TELL)
        }
    }
}

pub(super) fn fd_fdstat_set_flags(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    flags: u32,
) -> Result<(), Errno> {
    file::set_status_flags(&guest.ctx, fd(raw)?, status_flags(flags))
}

/// Only programs that know nothing but preview 1 have rights to give up. What others may do, the kernel decides at each
/// call.
pub(super) fn fd_fdstat_set_rights(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    base: u64,
    inheriting: u64,
) -> Result<(), Errno> {
    let Target::Fd(fd) = target(guest, raw)? else { return Ok(()) };
    let initial = initial_rights(guest, file::kind(&guest.ctx, fd)?, file::status_flags(&guest.ctx, fd)?);
    match &mut guest.standard {
        Some(standard) => standard.narrow(raw, initial, Rights { base, inheriting }),
        None => Ok(()),
    }
}

pub(super) fn fd_filestat_get(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    out: u32,
) -> Result<(), Errno> {
    let stat = match target(guest, raw)? {
        Target::Fd(fd) => file::stat(&guest.ctx, fd)?,
        Target::Preopen(dir) => path::stat(&guest.ctx, dir, b".", Follow::Yes)?,
    };
    memory.put(out, &filestat(&stat))
}

pub(super) fn fd_filestat_set_size(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    size: u64,
) -> Result<(), Errno> {
    file::truncate(&guest.ctx, fd(raw)?, position(size)?)
}

pub(super) fn fd_filestat_set_times(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    atime: u64,
    mtime: u64,
    flags: u32,
) -> Result<(), Errno> {
    let (atime, mtime) = time_changes(atime, mtime, flags)?;
    file::set_times(&guest.ctx, fd(raw)?, atime, mtime)
}

/// Decodes `fstflags`.
pub(super) fn time_changes(
    atime: u64,
    mtime: u64,
    flags: u32,
) -> Result<(Option<SetTime>, Option<SetTime>), Errno> {
    let change = |set: u32, now: u32, time: u64| match (flags & set != 0, flags & now != 0) {
        (false, false) => Ok(None),
        (false, true) => Ok(Some(SetTime::Now)),
        (true, false) => Ok(Some(SetTime::At(Timespec::from_nanos(time)))),
        (true, true) => Err(Errno::EINVAL),
    };
    Ok((change(1, 2, atime)?, change(4, 8, mtime)?))
}

/// Tagged numbers, and 3 and 4 while nothing is open there, name preopened directories; so do the fds that a program of
/// preview 1 started with.
pub(super) fn fd_prestat_get(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    out: u32,
) -> Result<(), Errno> {
    let name_len = u32::try_from(preopen_name(guest, raw)?.len()).map_err(|_| Errno::EOVERFLOW)?;
    memory.check(out, 8)?;
    memory.put_u32(out, 0)?;
    memory.put_u32(out.wrapping_add(4), name_len)
}

pub(super) fn fd_prestat_dir_name(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    out: u32,
    len: u32,
) -> Result<(), Errno> {
    let name = preopen_name(guest, raw)?;
    if (len as usize) < name.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    memory.put(out, &name)
}

fn preopen_name(guest: &Guest, raw: u32) -> Result<Vec<u8>, Errno> {
    if let Some(name) = guest.standard.as_ref().and_then(|standard| standard.name(raw)) {
        return Ok(name.to_vec());
    }
    match target(guest, raw)? {
        Target::Preopen(DirFd::Cwd) => Ok(guest.ctx.cwd_path().to_vec()),
        Target::Preopen(_) => Ok(b"/".to_vec()),
        Target::Fd(_) => Err(Errno::EBADF),
    }
}

pub(super) fn fd_renumber(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    from: u32,
    to: u32,
) -> Result<(), Errno> {
    let (old, new) = (fd(from)?, fd(to)?);
    if guest.standard.is_some() {
        // Preview 1 has no fds that a program makes up.
        file::fd_flags(&guest.ctx, new)?;
    }
    file::renumber(&guest.ctx, old, new)?;
    if let Some(standard) = &mut guest.standard {
        standard.moved(from, to);
    }
    Ok(())
}

/// Preview 1 has no positions and sizes of directories; Unix has.
pub(super) fn not_a_directory(guest: &Guest, raw: u32) -> Result<(), Errno> {
    if guest.standard.is_some() && file::kind(&guest.ctx, fd(raw)?)? == FileKind::Directory {
        return Err(Errno::EBADF);
    }
    Ok(())
}

pub(super) fn fd_seek(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    offset: i64,
    whence: u32,
    out: u32,
) -> Result<(), Errno> {
    memory.check(out, 8)?;
    let whence = match whence {
        0 => Whence::Start,
        1 => Whence::Current,
        2 => Whence::End,
        _ => return Err(Errno::EINVAL),
    };
    not_a_directory(guest, raw)?;
    let position = file::seek(&guest.ctx, fd(raw)?, offset, whence)?;
    memory.put_u64(out, position)
}

pub(super) fn fd_tell(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    out: u32,
) -> Result<(), Errno> {
    not_a_directory(guest, raw)?;
    let position = file::tell(&guest.ctx, fd(raw)?)?;
    memory.put_u64(out, position)
}
