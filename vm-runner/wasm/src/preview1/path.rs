//! Paths.

use vm_abi::{Errno, Mode, OpenFlags};
use vm_kernel::syscall::{Follow, RenameFlags, path};

use super::descriptor::time_changes;
use crate::convert::{as_regular, dir, shows_as_regular, status_flags};
use crate::guest::Guest;
use crate::layout::{filestat, rights};
use crate::memory::GuestMemory;

/// Permission bits of a directory before the umask: `path_create_directory` has no mode.
const DIRECTORY_MODE: Mode = Mode::new(0o777);
/// Permission bits of a file before the umask, unless `set_open_mode` said otherwise.
const FILE_MODE: Mode = Mode::new(0o666);

pub(super) fn path_create_directory(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Errno> {
    path::mkdir(&guest.ctx, dir(guest, dir_fd)?, memory.bytes(path, len)?, DIRECTORY_MODE)
}

pub(super) fn path_filestat_get(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    flags: u32,
    path: u32,
    len: u32,
    out: u32,
) -> Result<(), Errno> {
    let (dir, path) = (dir(guest, dir_fd)?, memory.bytes(path, len)?);
    let stat = path::stat(&guest.ctx, dir, path, follow(flags))?;
    let stat = if shows_as_regular(&stat, dir, path) { as_regular(stat) } else { stat };
    memory.put(out, &filestat(&stat))
}

pub(super) fn path_filestat_set_times(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    flags: u32,
    path: u32,
    len: u32,
    atime: u64,
    mtime: u64,
    time_flags: u32,
) -> Result<(), Errno> {
    let (atime, mtime) = time_changes(atime, mtime, time_flags)?;
    path::set_times(&guest.ctx, dir(guest, dir_fd)?, memory.bytes(path, len)?, atime, mtime, follow(flags))
}

pub(super) fn path_link(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    old_dir: u32,
    flags: u32,
    old: u32,
    old_len: u32,
    new_dir: u32,
    new: u32,
    new_len: u32,
) -> Result<(), Errno> {
    let (old, new) = (memory.bytes(old, old_len)?, memory.bytes(new, new_len)?);
    path::link(&guest.ctx, dir(guest, old_dir)?, old, follow(flags), dir(guest, new_dir)?, new)
}

/// Cuts the target at the end of the buffer, as `readlink` does.
pub(super) fn path_readlink(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    out: u32,
    out_len: u32,
    len_out: u32,
) -> Result<(), Errno> {
    memory.check(len_out, 4)?;
    memory.check(out, out_len)?;
    let target = path::read_link(&guest.ctx, dir(guest, dir_fd)?, memory.bytes(path, len)?)?;
    let copied = &target[..target.len().min(out_len as usize)];
    memory.put(out, copied)?;
    memory.put_u32(len_out, copied.len() as u32)
}

pub(super) fn path_remove_directory(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Errno> {
    path::rmdir(&guest.ctx, dir(guest, dir_fd)?, memory.bytes(path, len)?)
}

pub(super) fn path_unlink_file(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Errno> {
    path::unlink(&guest.ctx, dir(guest, dir_fd)?, memory.bytes(path, len)?)
}

pub(super) fn path_rename(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    old_dir: u32,
    old: u32,
    old_len: u32,
    new_dir: u32,
    new: u32,
    new_len: u32,
) -> Result<(), Errno> {
    let (old, new) = (memory.bytes(old, old_len)?, memory.bytes(new, new_len)?);
    path::rename(&guest.ctx, dir(guest, old_dir)?, old, dir(guest, new_dir)?, new, RenameFlags::empty())
}

pub(super) fn path_symlink(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    target: u32,
    target_len: u32,
    dir_fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Errno> {
    let (target, path) = (memory.bytes(target, target_len)?, memory.bytes(path, len)?);
    path::symlink(&guest.ctx, target, dir(guest, dir_fd)?, path)
}

pub(super) async fn path_open(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    lookup: u32,
    path: u32,
    len: u32,
    open_flags: u32,
    rights: u64,
    _inheriting: u64,
    fd_flags: u32,
    fd_out: u32,
) -> Result<(), Errno> {
    memory.check(fd_out, 4)?;
    let mode = guest.open_mode.take().unwrap_or(FILE_MODE);
    let dir = dir(guest, dir_fd)?;
    let flags = kernel_flags(lookup, open_flags, rights, fd_flags);
    let fd = path::open(&guest.ctx, dir, memory.bytes(path, len)?, flags, mode).await?;
    memory.put_u32(fd_out, fd.raw())
}

fn kernel_flags(lookup: u32, open_flags: u32, rights: u64, fd_flags: u32) -> OpenFlags {
    let mut flags = status_flags(fd_flags);
    let is_writable = rights & rights::WRITE != 0;
    flags.set(OpenFlags::WRITE, is_writable);
    // A file that is opened for neither can at least be asked about; so it is opened for reading.
    flags.set(OpenFlags::READ, rights & rights::READ != 0 || !is_writable);
    flags.set(OpenFlags::CREATE, open_flags & 1 != 0);
    flags.set(OpenFlags::DIRECTORY, open_flags & 2 != 0);
    flags.set(OpenFlags::EXCL, open_flags & 4 != 0);
    flags.set(OpenFlags::TRUNC, open_flags & 8 != 0);
    flags.set(OpenFlags::NOFOLLOW, lookup & 1 == 0);
    if flags.contains(OpenFlags::DIRECTORY) {
        // opendir asks for non-blocking mode and for every right.
        flags.remove(OpenFlags::NONBLOCK | OpenFlags::WRITE);
        flags.insert(OpenFlags::READ);
    }
    flags
}

fn follow(lookup_flags: u32) -> Follow {
    if lookup_flags & 1 != 0 { Follow::Yes } else { Follow::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_modes_come_from_rights() {
        let flags = |rights| kernel_flags(1, 0, rights, 0);
        assert_eq!(flags(0x3fff_bffd), OpenFlags::WRITE);
        assert_eq!(flags(0x3fff_bfbe), OpenFlags::READ);
        assert_eq!(flags(0), OpenFlags::READ);
        assert_eq!(
            kernel_flags(0, 2, rights::ALL, 4),
            OpenFlags::READ | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW
        );
    }
}
