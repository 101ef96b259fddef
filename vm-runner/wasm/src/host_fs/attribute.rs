//! Attributes of files: libraries ask for each by itself after preview 1's `filestat`. 0 and -1 say "unknown".

use vm_abi::{Errno, Gid, Mode, Stat, Uid};
use vm_kernel::syscall::{Follow, file, path};

use crate::convert::{Target, as_regular, dir, fd, shows_as_regular, target};
use crate::guest::Guest;
use crate::memory::GuestMemory;

/// Leaves a user or group as it is.
const UNCHANGED: u32 = 0xffff_ffff;

pub(super) fn fd_mode(guest: &mut Guest, _memory: &mut GuestMemory<'_>, raw: u32) -> i32 {
    fd_stat(guest, raw).map_or(0, |stat| stat.mode.cast_signed())
}

pub(super) fn fd_size(guest: &mut Guest, _memory: &mut GuestMemory<'_>, raw: u32) -> i64 {
    fd_stat(guest, raw).map_or(-1, |stat| stat.size.cast_signed())
}

pub(super) fn fd_blocks(guest: &mut Guest, _memory: &mut GuestMemory<'_>, raw: u32) -> i64 {
    fd_stat(guest, raw).map_or(-1, |stat| stat.blocks.cast_signed())
}

pub(super) fn fd_owner(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    uid_out: u32,
    gid_out: u32,
) -> Result<(), Errno> {
    let stat = fd_stat(guest, raw)?;
    put_owner(memory, &stat, uid_out, gid_out)
}

pub(super) fn path_mode(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    follow: u32,
) -> i32 {
    path_stat(guest, memory, dir_fd, (path, len), follow).map_or(0, |stat| stat.mode.cast_signed())
}

pub(super) fn path_size(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    follow: u32,
) -> i64 {
    path_stat(guest, memory, dir_fd, (path, len), follow).map_or(-1, |stat| stat.size.cast_signed())
}

pub(super) fn path_blocks(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    follow: u32,
) -> i64 {
    path_stat(guest, memory, dir_fd, (path, len), follow).map_or(-1, |stat| stat.blocks.cast_signed())
}

pub(super) fn path_rdev(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    follow: u32,
) -> i64 {
    path_stat(guest, memory, dir_fd, (path, len), follow).map_or(0, |stat| stat.rdev.0.cast_signed())
}

pub(super) fn path_owner(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    follow: u32,
    uid_out: u32,
    gid_out: u32,
) -> Result<(), Errno> {
    let stat = path_stat(guest, memory, dir_fd, (path, len), follow)?;
    put_owner(memory, &stat, uid_out, gid_out)
}

fn fd_stat(guest: &Guest, raw: u32) -> Result<Stat, Errno> {
    match target(guest, raw)? {
        Target::Fd(fd) => file::stat(&guest.ctx, fd),
        Target::Preopen(dir) => path::stat(&guest.ctx, dir, b".", Follow::Yes),
    }
}

fn path_stat(
    guest: &Guest,
    memory: &GuestMemory<'_>,
    dir_fd: u32,
    (pointer, len): (u32, u32),
    follow: u32,
) -> Result<Stat, Errno> {
    let (dir, path) = (dir(guest, dir_fd)?, memory.bytes(pointer, len)?);
    let stat = path::stat(&guest.ctx, dir, path, follow_last(follow))?;
    Ok(if shows_as_regular(&stat, dir, path) { as_regular(stat) } else { stat })
}

fn put_owner(memory: &mut GuestMemory<'_>, stat: &Stat, uid_out: u32, gid_out: u32) -> Result<(), Errno> {
    memory.check(gid_out, 4)?;
    memory.put_u32(uid_out, stat.uid.0)?;
    memory.put_u32(gid_out, stat.gid.0)
}

pub(super) fn fchmod(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    mode: u32,
) -> Result<(), Errno> {
    file::chmod(&guest.ctx, fd(raw)?, Mode::new(mode & 0o7777))
}

pub(super) fn fd_chown(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    uid: u32,
    gid: u32,
) -> Result<(), Errno> {
    file::chown(&guest.ctx, fd(raw)?, optional_uid(uid), optional_gid(gid))
}

pub(super) fn ftruncate(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    len: i64,
) -> Result<(), Errno> {
    file::truncate(&guest.ctx, fd(raw)?, u64::try_from(len).map_err(|_| Errno::EINVAL)?)
}

/// Kept for the next `path_open`, whether or not that creates a file.
pub(super) fn set_open_mode(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    mode: u32,
) -> Result<(), Errno> {
    guest.open_mode = Some(Mode::new(mode & 0o7777));
    Ok(())
}

/// There is no page cache to go around.
pub(super) fn set_open_direct(
    _guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    _direct: u32,
) -> Result<(), Errno> {
    Ok(())
}

pub(super) fn follow_last(follow: u32) -> Follow {
    if follow != 0 { Follow::Yes } else { Follow::No }
}

pub(super) fn optional_uid(raw: u32) -> Option<Uid> {
    (raw != UNCHANGED).then_some(Uid(raw))
}

pub(super) fn optional_gid(raw: u32) -> Option<Gid> {
    (raw != UNCHANGED).then_some(Gid(raw))
}
