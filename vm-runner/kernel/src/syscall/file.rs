//! Calls on open files.

use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::sync::Arc;

use vm_abi::{Errno, Gid, Mode, OpenFlags, Stat, Uid, Whence};
use vm_vfs::{Allocation, SetTime, StatFs, SyncScope, XattrSet};

use super::{Blocking, DirRecord, Fd, FdFlags, FileKind, Flock, HeldLock, LockKind, LockRange};
use crate::context::ProcessContext;
use crate::file::Direction;
use crate::file::directory::Directory;
use crate::poll::checkpoint;
use crate::trace::show::{Data, Other, Path, Pieces};
use crate::trace::{Call, traced};

/// Reads the next bytes, waiting for the first; 0 at the end.
///
/// # Errors
/// `EBADF`, `EISDIR`, `EAGAIN` (non-blocking), `EINTR`, `EDEADLK` (only the caller itself could write).
pub async fn read(ctx: &ProcessContext, fd: Fd, buffer: &mut [u8]) -> Result<usize, Errno> {
    readv(ctx, fd, &mut [IoSliceMut::new(buffer)]).await
}

/// Reads the next bytes into several buffers.
///
/// # Errors
/// As [`read`].
pub async fn readv(ctx: &ProcessContext, fd: Fd, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
    let call = Call::begin(ctx, "read", |call| call.argument(&fd));
    let result = async { ctx.description(fd)?.read(ctx, buffers).await }.await;
    ctx.process().count_transfer(result.unwrap_or(0), 0);
    if let Some(call) = call {
        call.end_filled(&result, buffers);
    }
    result
}

/// Writes all bytes, waiting for room.
///
/// # Errors
/// `EBADF`, `EAGAIN` (non-blocking), `EINTR`, `ENOSPC`, `EPIPE` (after `SIGPIPE`), `EDEADLK` (only the caller itself
/// could read).
pub async fn write(ctx: &ProcessContext, fd: Fd, bytes: &[u8]) -> Result<usize, Errno> {
    writev(ctx, fd, &[IoSlice::new(bytes)]).await
}

/// Writes all bytes of several buffers, as one write.
///
/// # Errors
/// As [`write`].
pub async fn writev(ctx: &ProcessContext, fd: Fd, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
    traced!(ctx, "write", [fd, Pieces(buffers)], async {
        let result = ctx.description(fd)?.write(ctx, buffers).await;
        ctx.process().count_transfer(0, result.unwrap_or(0));
        if result == Err(Errno::EPIPE) {
            ctx.broken_pipe().await;
        }
        if result == Err(Errno::EFBIG) {
            // SIGXFSZ may have killed it.
            checkpoint(ctx).await;
        }
        result
    })
}

/// Reads at an offset.
///
/// # Errors
/// `EBADF`, `EISDIR`, `ESPIPE`.
pub fn pread(ctx: &ProcessContext, fd: Fd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let call = Call::begin(ctx, "pread64", |call| call.argument(&fd));
    let buffers = &mut [IoSliceMut::new(buffer)];
    let result = ctx.description(fd).and_then(|description| description.read_at(offset, buffers));
    if let Some(mut call) = call {
        call.argument(&offset);
        call.end_filled(&result, buffers);
    }
    result
}

/// Writes at an offset.
///
/// # Errors
/// `EBADF`, `ESPIPE`, `ENOSPC`, `EFBIG`.
pub fn pwrite(ctx: &ProcessContext, fd: Fd, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
    traced!(ctx, "pwrite64", [fd, Data(bytes), offset], {
        ctx.description(fd)?.write_at(ctx, offset, &[IoSlice::new(bytes)])
    })
}

/// Moves the offset; tells the new one.
///
/// # Errors
/// `EBADF`, `ESPIPE`, `EINVAL`, `ENXIO`.
pub fn seek(ctx: &ProcessContext, fd: Fd, distance: i64, whence: Whence) -> Result<u64, Errno> {
    traced!(ctx, "lseek", [fd, distance, whence], { ctx.description(fd)?.seek(distance, whence) })
}

/// Tells the offset.
///
/// # Errors
/// `EBADF`, `ESPIPE`.
pub fn tell(ctx: &ProcessContext, fd: Fd) -> Result<u64, Errno> {
    seek(ctx, fd, 0, Whence::Current)
}

/// Closes an fd.
///
/// # Errors
/// `EBADF`.
pub fn close(ctx: &ProcessContext, fd: Fd) -> Result<(), Errno> {
    traced!(ctx, "close", [fd], {
        let entry = ctx.process().with_fds(|fds| fds.remove(fd))?;
        ctx.close_entry(entry);
        Ok(())
    })
}

/// Closes all fds from one on.
pub fn close_from(ctx: &ProcessContext, low: Fd) {
    let closed = ctx.process().with_fds(|fds| fds.remove_from(low));
    closed.into_iter().for_each(|entry| ctx.close_entry(entry));
}

/// Duplicates an fd to the lowest free one.
///
/// # Errors
/// `EBADF`, `EMFILE`.
pub fn dup(ctx: &ProcessContext, fd: Fd) -> Result<Fd, Errno> {
    dup_at_least(ctx, fd, 0)
}

/// Duplicates an fd to the lowest free one not below `min` (`F_DUPFD`).
///
/// # Errors
/// `EBADF`, `EMFILE`, `EINVAL` if `min` is at or above the limit.
pub fn dup_min(ctx: &ProcessContext, fd: Fd, min: Fd) -> Result<Fd, Errno> {
    dup_at_least(ctx, fd, min.raw())
}

fn dup_at_least(ctx: &ProcessContext, fd: Fd, min: u32) -> Result<Fd, Errno> {
    traced!(ctx, "fcntl", [fd, Other(&"F_DUPFD"), min], {
        let limit = ctx.process().fd_limit();
        let fd = ctx.process().with_fds(|fds| {
            let description = Arc::clone(fds.get(fd)?);
            if min > 0 && min >= limit {
                return Err(Errno::EINVAL);
            }
            fds.insert(description, FdFlags::empty(), min, limit)
        });
        fd.map_err(|errno| ctx.fds_refused(errno, limit))
    })
}

/// Makes `target` a duplicate of `source`, closing what it was.
///
/// # Errors
/// `EBADF` if `source` is not open or `target` is at or above the limit.
pub fn dup2(ctx: &ProcessContext, source: Fd, target: Fd) -> Result<(), Errno> {
    traced!(ctx, "dup2", [source, target], {
        let limit = ctx.process().fd_limit();
        let closed = ctx.process().with_fds(|fds| {
            let description = Arc::clone(fds.get(source)?);
            if source == target {
                return Ok(None);
            }
            fds.insert_at(target, description, FdFlags::empty(), limit)
        })?;
        closed.into_iter().for_each(|entry| ctx.close_entry(entry));
        Ok(())
    })
}

/// Moves an fd to another number, closing what that was.
///
/// # Errors
/// `EBADF`.
pub fn renumber(ctx: &ProcessContext, from: Fd, to: Fd) -> Result<(), Errno> {
    dup2(ctx, from, to)?;
    if from == to { Ok(()) } else { close(ctx, from) }
}

/// The flags of an fd.
///
/// # Errors
/// `EBADF`.
pub fn fd_flags(ctx: &ProcessContext, fd: Fd) -> Result<FdFlags, Errno> {
    ctx.process().with_fds(|fds| fds.entry(fd).map(|entry| entry.flags))
}

/// Sets the flags of an fd.
///
/// # Errors
/// `EBADF`.
pub fn set_fd_flags(ctx: &ProcessContext, fd: Fd, flags: FdFlags) -> Result<(), Errno> {
    traced!(ctx, "fcntl", [fd, Other(&"F_SETFD"), flags.bits()], {
        ctx.process().with_fds(|fds| fds.entry_mut(fd).map(|entry| entry.flags = flags))
    })
}

/// How a file was opened (`READ`, `WRITE`), and its status flags (`APPEND`, `NONBLOCK`, `SYNC`, `DSYNC`).
///
/// # Errors
/// `EBADF`.
pub fn status_flags(ctx: &ProcessContext, fd: Fd) -> Result<OpenFlags, Errno> {
    Ok(ctx.description(fd)?.flags())
}

/// Sets the status flags; others are passed over.
///
/// # Errors
/// `EBADF`.
pub fn set_status_flags(ctx: &ProcessContext, fd: Fd, flags: OpenFlags) -> Result<(), Errno> {
    traced!(ctx, "fcntl", [fd, Other(&"F_SETFL"), flags], {
        ctx.description(fd)?.set_status(flags);
        Ok(())
    })
}

/// The facts about a file.
///
/// # Errors
/// `EBADF`.
pub fn stat(ctx: &ProcessContext, fd: Fd) -> Result<Stat, Errno> {
    traced!(ctx, "fstat", [fd], { Ok(ctx.description(fd)?.location().stat()?) })
}

/// What an open file is.
///
/// # Errors
/// `EBADF`.
pub fn kind(ctx: &ProcessContext, fd: Fd) -> Result<FileKind, Errno> {
    Ok(ctx.description(fd)?.file().kind())
}

/// Whether an open file is a terminal.
///
/// # Errors
/// `EBADF`.
pub fn is_terminal(ctx: &ProcessContext, fd: Fd) -> Result<bool, Errno> {
    Ok(kind(ctx, fd)? == FileKind::Terminal)
}

/// Makes what was written durable.
///
/// # Errors
/// `EBADF`, `EINVAL` for pipes, sockets and terminals, what the medium answers.
pub fn sync(ctx: &ProcessContext, fd: Fd, scope: SyncScope) -> Result<(), Errno> {
    traced!(ctx, "fsync", [fd, Other(&scope)], {
        let description = ctx.description(fd)?;
        match description.file().kind() {
            FileKind::Regular | FileKind::Directory => {
                Ok(ctx.block(|| description.location().inode().sync(scope))?)
            }
            FileKind::Pipe
            | FileKind::Terminal
            | FileKind::CharDevice
            | FileKind::StreamSocket
            | FileKind::DatagramSocket => Err(Errno::EINVAL),
        }
    })
}

/// Sets the size.
///
/// # Errors
/// `EINVAL` unless it is a regular file open for writing, `EFBIG`, `ENOSPC`.
pub fn truncate(ctx: &ProcessContext, fd: Fd, size: u64) -> Result<(), Errno> {
    traced!(ctx, "ftruncate", [fd, size], {
        let description = ctx.description(fd)?;
        description.check_open_for(Direction::Write).map_err(|_| Errno::EINVAL)?;
        ctx.check_file_size(size)?;
        Ok(description.location().set_size(size)?)
    })
}

/// Reserves space for a range, or gives it back.
///
/// # Errors
/// `EBADF` unless open for writing, `ESPIPE`, `ENODEV`, `EINVAL`, `ENOSPC`, `EFBIG`, `ENOTSUP`.
pub fn allocate(ctx: &ProcessContext, fd: Fd, offset: u64, len: u64, how: Allocation) -> Result<(), Errno> {
    traced!(ctx, "fallocate", [fd, Other(&how), offset, len], {
        let description = ctx.description(fd)?;
        description.check_open_for(Direction::Write)?;
        match description.file().kind() {
            _ if len == 0 => Err(Errno::EINVAL),
            FileKind::Regular => {
                ctx.check_file_size(offset.saturating_add(len))?;
                Ok(description.location().allocate(offset, len, how)?)
            }
            FileKind::Pipe => Err(Errno::ESPIPE),
            FileKind::Directory
            | FileKind::Terminal
            | FileKind::CharDevice
            | FileKind::StreamSocket
            | FileKind::DatagramSocket => Err(Errno::ENODEV),
        }
    })
}

/// Changes the permission bits.
///
/// # Errors
/// `EBADF`, `EPERM`, `EROFS`.
pub fn chmod(ctx: &ProcessContext, fd: Fd, mode: Mode) -> Result<(), Errno> {
    traced!(ctx, "fchmod", [fd, mode], {
        let credentials = ctx.process().credentials();
        Ok(ctx.description(fd)?.location().change_mode(&credentials, mode)?)
    })
}

/// Changes owner and group; `None` leaves one as it is.
///
/// # Errors
/// `EBADF`, `EPERM`, `EROFS`.
pub fn chown(ctx: &ProcessContext, fd: Fd, uid: Option<Uid>, gid: Option<Gid>) -> Result<(), Errno> {
    traced!(ctx, "fchown", [fd, Other(&uid), Other(&gid)], {
        let credentials = ctx.process().credentials();
        Ok(ctx.description(fd)?.location().change_owner(&credentials, uid, gid)?)
    })
}

/// Sets the times; `None` leaves one as it is.
///
/// # Errors
/// `EBADF`, `EPERM`, `EACCES`, `EROFS`.
pub fn set_times(
    ctx: &ProcessContext,
    fd: Fd,
    atime: Option<SetTime>,
    mtime: Option<SetTime>,
) -> Result<(), Errno> {
    traced!(ctx, "futimens", [fd, Other(&atime), Other(&mtime)], {
        let credentials = ctx.process().credentials();
        Ok(ctx.description(fd)?.location().set_times(&credentials, atime, mtime)?)
    })
}

/// Space and inodes of the file system.
///
/// # Errors
/// `EBADF`, `ENOSYS`.
pub fn statfs(ctx: &ProcessContext, fd: Fd) -> Result<StatFs, Errno> {
    traced!(ctx, "fstatfs", [fd], { Ok(ctx.description(fd)?.location().statfs()?) })
}

/// Gives the entries of a directory from a cookie on to the sink, until it breaks. Cookie 0 is the start and lists
/// anew; `.` and `..` come first.
///
/// # Errors
/// `EBADF`, `ENOTDIR`.
pub fn read_dir(
    ctx: &ProcessContext,
    fd: Fd,
    cookie: u64,
    sink: &mut dyn FnMut(DirRecord<'_>) -> ControlFlow<()>,
) -> Result<(), Errno> {
    traced!(ctx, "getdents64", [fd, cookie], {
        let description = ctx.description(fd)?;
        description.check_open_for(Direction::Read)?;
        let directory = description.file().downcast::<Directory>().ok_or(Errno::ENOTDIR)?;
        let location = description.location();
        let credentials = ctx.process().credentials();
        let above = ctx.walk(location, &credentials, |walk| walk.resolve(b".."));
        let parent_ino = above.map_or_else(|_| location.inode().ino(), |above| above.inode().ino());
        directory.read(ctx.pid().as_caller(), parent_ino, cookie, sink)
    })
}

/// Locks or unlocks a whole file for all duplicates of an fd.
///
/// # Errors
/// `EBADF`, `EAGAIN` (may not wait), `EINTR`, `ENOLCK`.
pub async fn flock(ctx: &ProcessContext, fd: Fd, operation: Flock, blocking: Blocking) -> Result<(), Errno> {
    traced!(ctx, "flock", [fd, Other(&operation), Other(&blocking)], async {
        let description = ctx.description(fd)?;
        ctx.kernel().locks.flock(ctx, &description, operation, blocking).await
    })
}

/// The lock that would keep the process from locking a range so.
///
/// # Errors
/// `EBADF`.
pub fn conflicting_lock(
    ctx: &ProcessContext,
    fd: Fd,
    kind: LockKind,
    range: LockRange,
) -> Result<Option<HeldLock>, Errno> {
    traced!(ctx, "fcntl", [fd, Other(&"F_GETLK"), Other(&kind), Other(&range)], {
        let file = ctx.description(fd)?.location().file_id();
        Ok(ctx.kernel().locks.conflict(file, ctx.pid(), kind, range))
    })
}

/// Locks a range of a file for the process.
///
/// # Errors
/// `EBADF` (also if not open for reading or writing, as the kind needs), `EAGAIN` (may not wait), `EINTR`, `EDEADLK`,
/// `ENOLCK`.
pub async fn lock_range(
    ctx: &ProcessContext,
    fd: Fd,
    kind: LockKind,
    range: LockRange,
    blocking: Blocking,
) -> Result<(), Errno> {
    traced!(ctx, "fcntl", [fd, Other(&"F_SETLK"), Other(&kind), Other(&range), Other(&blocking)], async {
        let description = ctx.description(fd)?;
        description.check_open_for(match kind {
            LockKind::Read => Direction::Read,
            LockKind::Write => Direction::Write,
        })?;
        let file = description.location().file_id();
        ctx.kernel().locks.lock_record(ctx, file, kind, range, blocking).await
    })
}

/// Unlocks a range of a file.
///
/// # Errors
/// `EBADF`, `ENOLCK`.
pub fn unlock_range(ctx: &ProcessContext, fd: Fd, range: LockRange) -> Result<(), Errno> {
    traced!(ctx, "fcntl", [fd, Other(&"F_SETLK"), Other(&"F_UNLCK"), Other(&range)], {
        let file = ctx.description(fd)?.location().file_id();
        ctx.kernel().locks.unlock_record(file, ctx.pid(), range)
    })
}

/// The value of an extended attribute.
///
/// # Errors
/// `EBADF`, `ENODATA`, `ENOTSUP`.
pub fn get_xattr(ctx: &ProcessContext, fd: Fd, name: &[u8]) -> Result<Vec<u8>, Errno> {
    traced!(ctx, "fgetxattr", [fd, Path(name)], {
        Ok(ctx.description(fd)?.location().get_xattr(&ctx.process().credentials(), name)?)
    })
}

/// The names of all extended attributes.
///
/// # Errors
/// `EBADF`, `ENOTSUP`.
pub fn list_xattr(ctx: &ProcessContext, fd: Fd) -> Result<Vec<Vec<u8>>, Errno> {
    traced!(ctx, "flistxattr", [fd], {
        Ok(ctx.description(fd)?.location().list_xattr(&ctx.process().credentials())?)
    })
}

/// Sets an extended attribute.
///
/// # Errors
/// `EBADF`, `EEXIST`, `ENODATA`, `ENOSPC`, `ENOTSUP`, `EROFS`.
pub fn set_xattr(
    ctx: &ProcessContext,
    fd: Fd,
    name: &[u8],
    value: &[u8],
    how: XattrSet,
) -> Result<(), Errno> {
    traced!(ctx, "fsetxattr", [fd, Path(name), Data(value)], {
        Ok(ctx.description(fd)?.location().set_xattr(&ctx.process().credentials(), name, value, how)?)
    })
}

/// Removes an extended attribute.
///
/// # Errors
/// `EBADF`, `ENODATA`, `ENOTSUP`, `EROFS`.
pub fn remove_xattr(ctx: &ProcessContext, fd: Fd, name: &[u8]) -> Result<(), Errno> {
    traced!(ctx, "fremovexattr", [fd, Path(name)], {
        Ok(ctx.description(fd)?.location().remove_xattr(&ctx.process().credentials(), name)?)
    })
}
