//! Paths.

use vm_abi::{Errno, Mode, OpenFlags};
use vm_kernel::syscall::{Follow, RenameFlags, path};

use super::descriptor::time_changes;
use crate::convert::{PREOPEN_TAG, as_regular, dir_of, shows_as_regular, status_flags};
use crate::guest::Guest;
use crate::layout::{FILESTAT_BYTES, filestat, rights};
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
    let path = memory.bytes(path, len)?;
    path::mkdir(&guest.ctx, dir_of(guest, dir_fd, path)?, path, DIRECTORY_MODE)
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
    memory.check(out, FILESTAT_BYTES as u32)?;
    let path = memory.bytes(path, len)?;
    let dir = dir_of(guest, dir_fd, path)?;
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
    let path = memory.bytes(path, len)?;
    path::set_times(&guest.ctx, dir_of(guest, dir_fd, path)?, path, atime, mtime, follow(flags))
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
    let (old_dir, new_dir) = (dir_of(guest, old_dir, old)?, dir_of(guest, new_dir, new)?);
    path::link(&guest.ctx, old_dir, old, follow(flags), new_dir, new)
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
    let path = memory.bytes(path, len)?;
    let target = path::read_link(&guest.ctx, dir_of(guest, dir_fd, path)?, path)?;
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
    let path = memory.bytes(path, len)?;
    path::rmdir(&guest.ctx, dir_of(guest, dir_fd, path)?, path)
}

pub(super) fn path_unlink_file(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Errno> {
    let path = memory.bytes(path, len)?;
    path::unlink(&guest.ctx, dir_of(guest, dir_fd, path)?, path)
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
    let (old_dir, new_dir) = (dir_of(guest, old_dir, old)?, dir_of(guest, new_dir, new)?);
    path::rename(&guest.ctx, old_dir, old, new_dir, new, RenameFlags::empty())
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
    let dir = dir_of(guest, dir_fd, path)?;
    if target.first() == Some(&b'/') {
        // Where such a link would lead, one that is given the directory as its root cannot know.
        dir_of(guest, dir_fd, target)?;
    }
    path::symlink(&guest.ctx, target, dir, path)
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
    let path = memory.bytes(path, len)?;
    let dir = dir_of(guest, dir_fd, path)?;
    let flags = kernel_flags(lookup, open_flags, rights, fd_flags);
    let asks_to_write = flags.contains(OpenFlags::DIRECTORY) && rights & rights::WRITE != 0;
    if asks_to_write && guest.standard.is_some() && dir_fd & PREOPEN_TAG == 0 {
        return Err(Errno::EISDIR);
    }
    if flags.contains(OpenFlags::TRUNC) {
        guest.check_rights(dir_fd, rights::PATH_FILESTAT_SET_SIZE)?;
    }
    let fd = path::open(&guest.ctx, dir, path, flags, mode).await?;
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
