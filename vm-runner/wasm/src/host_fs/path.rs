//! Paths: access, modes, owners, special files, file system sizes.

use vm_abi::{Access, DeviceNumber, Errno, FileType, Mode, OpenFlags};
use vm_kernel::syscall::{AccessIds, Follow, NodeKind, RenameFlags, path};

use super::attribute::{follow_last, optional_gid, optional_uid};
use crate::convert::{dir, libc_open_flags};
use crate::guest::Guest;
use crate::memory::GuestMemory;

pub(super) fn path_access(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    mode: u32,
    effective: u32,
) -> Result<(), Errno> {
    let access = u8::try_from(mode).ok().and_then(Access::from_bits).ok_or(Errno::EINVAL)?;
    let ids = if effective != 0 { AccessIds::Effective } else { AccessIds::Real };
    path::access(&guest.ctx, dir(guest, dir_fd)?, memory.bytes(path, len)?, access, ids, Follow::Yes)
}

pub(super) fn chmod(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    mode: u32,
) -> Result<(), Errno> {
    let mode = Mode::new(mode & 0o7777);
    path::chmod(&guest.ctx, dir(guest, dir_fd)?, memory.bytes(path, len)?, mode, Follow::Yes)
}

pub(super) fn path_chown(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    uid: u32,
    gid: u32,
    follow: u32,
) -> Result<(), Errno> {
    let (uid, gid) = (optional_uid(uid), optional_gid(gid));
    path::chown(&guest.ctx, dir(guest, dir_fd)?, memory.bytes(path, len)?, uid, gid, follow_last(follow))
}

pub(super) fn path_mknod(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    mode: u32,
    rdev: u64,
) -> Result<(), Errno> {
    let kind = match FileType::from_mode_bits(mode) {
        Some(FileType::Regular) | None => NodeKind::Regular,
        Some(FileType::Fifo) => NodeKind::Fifo,
        Some(FileType::Socket) => NodeKind::Socket,
        Some(FileType::CharDevice) => NodeKind::CharDevice(DeviceNumber(rdev)),
        Some(FileType::BlockDevice) => NodeKind::BlockDevice(DeviceNumber(rdev)),
        Some(FileType::Directory | FileType::Symlink) => return Err(Errno::EINVAL),
    };
    path::mknod(&guest.ctx, dir(guest, dir_fd)?, memory.bytes(path, len)?, kind, Mode::new(mode & 0o7777))
}

pub(super) fn path_renameat2(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    old_dir: u32,
    old: u32,
    old_len: u32,
    new_dir: u32,
    new: u32,
    new_len: u32,
    flags: u32,
) -> Result<(), Errno> {
    let mut rename_flags = RenameFlags::empty();
    rename_flags.set(RenameFlags::NOREPLACE, flags & 1 != 0);
    rename_flags.set(RenameFlags::EXCHANGE, flags & 2 != 0);
    if flags & !3 != 0 {
        return Err(Errno::EINVAL);
    }
    let (old, new) = (memory.bytes(old, old_len)?, memory.bytes(new, new_len)?);
    path::rename(&guest.ctx, dir(guest, old_dir)?, old, dir(guest, new_dir)?, new, rename_flags)
}

pub(super) fn path_statfs(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    total_out: u32,
    used_out: u32,
    available_out: u32,
    inodes_out: u32,
    free_inodes_out: u32,
) -> Result<(), Errno> {
    let stat = path::statfs(&guest.ctx, dir(guest, dir_fd)?, memory.bytes(path, len)?)?;
    let values = [
        (total_out, stat.total_bytes),
        (used_out, stat.total_bytes.saturating_sub(stat.free_bytes)),
        (available_out, stat.free_bytes),
        (inodes_out, stat.total_inodes),
        (free_inodes_out, stat.free_inodes),
    ];
    for (out, _) in values {
        memory.check(out, 8)?;
    }
    values.into_iter().try_for_each(|(out, value)| memory.put_u64(out, value))
}

/// Mounts are the workspace's affair.
pub(super) fn remount(
    _guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    path: u32,
    len: u32,
    options: u32,
    options_len: u32,
) -> Result<(), Errno> {
    memory.check(path, len)?;
    memory.check(options, options_len)?;
    Err(Errno::EPERM)
}

pub(super) async fn open_tmpfile(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    flags: u32,
    mode: u32,
    fd_out: u32,
) -> Result<(), Errno> {
    memory.check(fd_out, 4)?;
    let access = libc_open_flags(flags) & (OpenFlags::READ | OpenFlags::WRITE | OpenFlags::EXCL);
    let flags = access | OpenFlags::TMPFILE;
    let dir = dir(guest, dir_fd)?;
    let mode = Mode::new(mode & 0o7777);
    let fd = path::open(&guest.ctx, dir, memory.bytes(path, len)?, flags, mode).await?;
    memory.put_u32(fd_out, fd.raw())
}
