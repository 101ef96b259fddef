//! Calls on paths.

use std::sync::Arc;

use vm_abi::{Access, Credentials, Errno, Gid, Mode, OpenFlags, Stat, Uid};
use vm_vfs::{Follow, Location, NodeKind, RenameFlags, SetTime, StatFs, WalkContext, XattrSet};

use super::{Fd, FdFlags};
use crate::context::ProcessContext;
use crate::file::open;
use crate::trace::show::{Data, Other, Path};
use crate::trace::traced;

/// Where a relative path starts. Absolute paths start at the root, whatever this says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirFd {
    /// The working directory.
    Cwd,
    /// The root directory.
    Root,
    /// An open directory.
    Fd(Fd),
}

/// Which ids an access check uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessIds {
    /// The real ones, as `access(2)` does.
    Real,
    /// The effective ones, as `open` does.
    Effective,
}

/// A caller's paths, from one start.
struct Paths<'a> {
    ctx: &'a ProcessContext,
    start: Location,
    credentials: Arc<Credentials>,
}

impl<'a> Paths<'a> {
    fn from(ctx: &'a ProcessContext, dir: DirFd) -> Result<Self, Errno> {
        let start = match dir {
            DirFd::Cwd => ctx.process().cwd().location.clone(),
            DirFd::Root => ctx.kernel().namespace.root(),
            DirFd::Fd(fd) => ctx.description(fd)?.location().clone(),
        };
        Ok(Self { ctx, start, credentials: ctx.process().credentials() })
    }

    fn walk<T>(&self, walk: impl FnOnce(&WalkContext<'_>) -> vm_vfs::VfsResult<T>) -> Result<T, Errno> {
        Ok(self.ctx.walk(&self.start, &self.credentials, walk)?)
    }
}

/// The start of a relative path; for absolute ones a bad fd does not matter.
fn paths<'a>(ctx: &'a ProcessContext, dir: DirFd, path: &[u8]) -> Result<Paths<'a>, Errno> {
    Paths::from(ctx, if path.first() == Some(&b'/') { DirFd::Root } else { dir })
}

/// Opens a file as the lowest free fd; makes it with this mode, less the umask, if asked to. Waits for the other side
/// of a named pipe.
///
/// # Errors
/// `ENOENT`, `EEXIST`, `EISDIR`, `ENOTDIR`, `ELOOP`, `EACCES`, `EROFS`, `ENXIO`, `ENOSPC`, `EMFILE`, `ENFILE`, `EINTR`.
pub async fn open(
    ctx: &ProcessContext,
    dir: DirFd,
    path: &[u8],
    flags: OpenFlags,
    mode: Mode,
) -> Result<Fd, Errno> {
    traced!(ctx, "openat", [dir, Path(path), flags, mode], async {
        let from = paths(ctx, dir, path)?;
        let mode = mode.without(ctx.process().umask());
        let cwd = ctx.process().cwd();
        let opener = open::Opener {
            ctx,
            credentials: &from.credentials,
            start: &from.start,
            start_path: match dir {
                DirFd::Cwd => Some(&cwd.path),
                DirFd::Root => Some(b"/"),
                DirFd::Fd(_) => None,
            },
        };
        let description = open::open(opener, path, flags, mode).await?;
        let fd_flags = if flags.contains(OpenFlags::CLOEXEC) { FdFlags::CLOEXEC } else { FdFlags::empty() };
        let limit = ctx.process().fd_limit();
        let fd = ctx.process().with_fds(|fds| fds.insert(description, fd_flags, 0, limit));
        fd.map_err(|errno| ctx.fds_refused(errno, limit))
    })
}

/// The facts about a file.
///
/// # Errors
/// Those of the walk.
pub fn stat(ctx: &ProcessContext, dir: DirFd, path: &[u8], follow: Follow) -> Result<Stat, Errno> {
    traced!(ctx, "fstatat", [dir, Path(path), Other(&follow)], {
        paths(ctx, dir, path)?.walk(|walk| walk.stat(path, follow))
    })
}

/// Makes a directory with this mode, less the umask.
///
/// # Errors
/// `EEXIST`, `ENOENT`, `EROFS`, `EACCES`, `ENOSPC`.
pub fn mkdir(ctx: &ProcessContext, dir: DirFd, path: &[u8], mode: Mode) -> Result<(), Errno> {
    traced!(ctx, "mkdirat", [dir, Path(path), mode], {
        let mode = mode.without(ctx.process().umask());
        paths(ctx, dir, path)?.walk(|walk| walk.mkdir(path, mode)).map(drop)
    })
}

/// Removes an empty directory.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`, `EBUSY`, `EROFS`, `EACCES`, `EPERM`, `EINVAL`.
pub fn rmdir(ctx: &ProcessContext, dir: DirFd, path: &[u8]) -> Result<(), Errno> {
    traced!(ctx, "rmdir", [dir, Path(path)], { paths(ctx, dir, path)?.walk(|walk| walk.rmdir(path)) })
}

/// Removes a name of something that is no directory.
///
/// # Errors
/// `ENOENT`, `EISDIR`, `EBUSY`, `EROFS`, `EACCES`, `EPERM`.
pub fn unlink(ctx: &ProcessContext, dir: DirFd, path: &[u8]) -> Result<(), Errno> {
    traced!(ctx, "unlinkat", [dir, Path(path)], { paths(ctx, dir, path)?.walk(|walk| walk.unlink(path)) })
}

/// Moves an entry, replacing what is at the new path.
///
/// # Errors
/// `ENOENT`, `EXDEV`, `EISDIR`, `ENOTDIR`, `ENOTEMPTY`, `EINVAL`, `EEXIST`, `EBUSY`, `EROFS`, `EACCES`, `EPERM`.
pub fn rename(
    ctx: &ProcessContext,
    dir: DirFd,
    path: &[u8],
    new_dir: DirFd,
    new_path: &[u8],
    flags: RenameFlags,
) -> Result<(), Errno> {
    traced!(ctx, "renameat", [dir, Path(path), new_dir, Path(new_path), flags.bits()], {
        let new_start = paths(ctx, new_dir, new_path)?.start;
        paths(ctx, dir, path)?.walk(|walk| walk.rename(path, &walk.starting_at(&new_start), new_path, flags))
    })
}

/// Gives a file one more name.
///
/// # Errors
/// `EEXIST`, `EXDEV`, `EPERM`, `EMLINK`, `EROFS`, `EACCES`.
pub fn link(
    ctx: &ProcessContext,
    dir: DirFd,
    path: &[u8],
    follow: Follow,
    new_dir: DirFd,
    new_path: &[u8],
) -> Result<(), Errno> {
    traced!(ctx, "linkat", [dir, Path(path), new_dir, Path(new_path)], {
        let file = paths(ctx, dir, path)?.walk(|walk| walk.resolve_with(path, follow))?;
        link_location(ctx, &file, new_dir, new_path)
    })
}

/// Gives an open file one more name, or an unnamed one its first.
///
/// # Errors
/// As [`link`]; `EBADF`.
pub fn link_fd(ctx: &ProcessContext, fd: Fd, new_dir: DirFd, new_path: &[u8]) -> Result<(), Errno> {
    traced!(ctx, "linkat", [fd, new_dir, Path(new_path)], {
        let description = ctx.description(fd)?;
        link_location(ctx, description.location(), new_dir, new_path)
    })
}

fn link_location(
    ctx: &ProcessContext,
    file: &Location,
    new_dir: DirFd,
    new_path: &[u8],
) -> Result<(), Errno> {
    paths(ctx, new_dir, new_path)?.walk(|walk| walk.link_location(file, walk, new_path))
}

/// Makes a symbolic link that points to `target`.
///
/// # Errors
/// `EEXIST`, `ENOENT`, `ENAMETOOLONG`, `EROFS`, `EACCES`, `ENOSPC`.
pub fn symlink(ctx: &ProcessContext, target: &[u8], dir: DirFd, path: &[u8]) -> Result<(), Errno> {
    traced!(ctx, "symlinkat", [Path(target), dir, Path(path)], {
        paths(ctx, dir, path)?.walk(|walk| walk.symlink(target, path)).map(drop)
    })
}

/// Where a symbolic link points.
///
/// # Errors
/// `EINVAL` if it is none.
pub fn read_link(ctx: &ProcessContext, dir: DirFd, path: &[u8]) -> Result<Vec<u8>, Errno> {
    traced!(ctx, "readlinkat", [dir, Path(path)], {
        paths(ctx, dir, path)?.walk(|walk| walk.read_link(path))
    })
}

/// Changes the permission bits.
///
/// # Errors
/// `EPERM`, `EROFS`, `ENOTSUP` for a link itself.
pub fn chmod(ctx: &ProcessContext, dir: DirFd, path: &[u8], mode: Mode, follow: Follow) -> Result<(), Errno> {
    traced!(ctx, "fchmodat", [dir, Path(path), mode], {
        paths(ctx, dir, path)?.walk(|walk| walk.chmod(path, mode, follow))
    })
}

/// Changes owner and group; `None` leaves one as it is.
///
/// # Errors
/// `EPERM`, `EROFS`.
pub fn chown(
    ctx: &ProcessContext,
    dir: DirFd,
    path: &[u8],
    uid: Option<Uid>,
    gid: Option<Gid>,
    follow: Follow,
) -> Result<(), Errno> {
    traced!(ctx, "fchownat", [dir, Path(path), Other(&uid), Other(&gid)], {
        paths(ctx, dir, path)?.walk(|walk| walk.chown(path, uid, gid, follow))
    })
}

/// Sets the times; `None` leaves one as it is.
///
/// # Errors
/// `EPERM`, `EACCES`, `EROFS`.
pub fn set_times(
    ctx: &ProcessContext,
    dir: DirFd,
    path: &[u8],
    atime: Option<SetTime>,
    mtime: Option<SetTime>,
    follow: Follow,
) -> Result<(), Errno> {
    traced!(ctx, "utimensat", [dir, Path(path), Other(&atime), Other(&mtime)], {
        paths(ctx, dir, path)?.walk(|walk| walk.set_times(path, atime, mtime, follow))
    })
}

/// Fails unless the process may access a file so; empty `wanted` asks whether it exists.
///
/// # Errors
/// `EACCES`, `EROFS`, those of the walk.
pub fn access(
    ctx: &ProcessContext,
    dir: DirFd,
    path: &[u8],
    wanted: Access,
    ids: AccessIds,
    follow: Follow,
) -> Result<(), Errno> {
    traced!(ctx, "faccessat", [dir, Path(path), Other(&wanted)], {
        let mut from = paths(ctx, dir, path)?;
        match ids {
            AccessIds::Effective => {}
            AccessIds::Real => from.credentials = Arc::new(from.credentials.with_real_ids()),
        }
        from.walk(|walk| walk.access(path, wanted, follow))
    })
}

/// Makes a file, named pipe, socket or device node with this mode, less the umask.
///
/// # Errors
/// `EEXIST`, `EPERM`, `EROFS`, `EACCES`, `ENOSPC`.
pub fn mknod(
    ctx: &ProcessContext,
    dir: DirFd,
    path: &[u8],
    kind: NodeKind<'_>,
    mode: Mode,
) -> Result<(), Errno> {
    traced!(ctx, "mknodat", [dir, Path(path), Other(&kind), mode], {
        let mode = mode.without(ctx.process().umask());
        paths(ctx, dir, path)?.walk(|walk| walk.mknod(path, kind, mode)).map(drop)
    })
}

/// Space and inodes of the file system that holds a file.
///
/// # Errors
/// `ENOSYS`, those of the walk.
pub fn statfs(ctx: &ProcessContext, dir: DirFd, path: &[u8]) -> Result<StatFs, Errno> {
    traced!(ctx, "statfs", [dir, Path(path)], { paths(ctx, dir, path)?.walk(|walk| walk.statfs(path)) })
}

/// Sets the size of a file.
///
/// # Errors
/// `EISDIR`, `EINVAL`, `EACCES`, `EROFS`, `EFBIG`, `ENOSPC`.
pub fn truncate(ctx: &ProcessContext, dir: DirFd, path: &[u8], size: u64) -> Result<(), Errno> {
    traced!(ctx, "truncate", [dir, Path(path), size], {
        ctx.check_file_size(size)?;
        paths(ctx, dir, path)?.walk(|walk| walk.truncate(path, size))
    })
}

/// The absolute path of a directory, free of links; `ENOENT` if it was removed.
///
/// # Errors
/// Those of the walk.
pub fn canonicalize(ctx: &ProcessContext, dir: DirFd, path: &[u8]) -> Result<Vec<u8>, Errno> {
    traced!(ctx, "realpath", [dir, Path(path)], {
        paths(ctx, dir, path)?.walk(|walk| walk.canonicalize(path)).map(|path| path.as_bytes().to_vec())
    })
}

/// Makes another directory the working directory.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `EACCES`.
pub fn change_dir(ctx: &ProcessContext, path: &[u8]) -> Result<(), Errno> {
    traced!(ctx, "chdir", [Path(path)], {
        let process = ctx.process();
        let caller = process.pid.as_caller();
        let cwd = ctx.kernel().find_directory(&process.cwd(), &process.credentials(), caller, path)?;
        process.set_cwd(cwd);
        Ok(())
    })
}

/// Makes an open directory the working directory.
///
/// # Errors
/// `EBADF`, `ENOTDIR`, `EACCES`.
pub fn change_dir_to(ctx: &ProcessContext, fd: Fd) -> Result<(), Errno> {
    traced!(ctx, "fchdir", [fd], {
        let location = ctx.description(fd)?.location().clone();
        let credentials = ctx.process().credentials();
        ctx.process().set_cwd(ctx.kernel().working_directory(location, &credentials, None)?);
        Ok(())
    })
}

/// The value of an extended attribute.
///
/// # Errors
/// `ENODATA`, `ENOTSUP`, `EACCES`.
pub fn get_xattr(
    ctx: &ProcessContext,
    dir: DirFd,
    path: &[u8],
    follow: Follow,
    name: &[u8],
) -> Result<Vec<u8>, Errno> {
    traced!(ctx, "getxattr", [dir, Path(path), Path(name)], {
        paths(ctx, dir, path)?.walk(|walk| walk.resolve_with(path, follow)?.get_xattr(walk.credentials, name))
    })
}

/// The names of all extended attributes.
///
/// # Errors
/// `ENOTSUP`.
pub fn list_xattr(
    ctx: &ProcessContext,
    dir: DirFd,
    path: &[u8],
    follow: Follow,
) -> Result<Vec<Vec<u8>>, Errno> {
    traced!(ctx, "listxattr", [dir, Path(path)], {
        paths(ctx, dir, path)?.walk(|walk| walk.resolve_with(path, follow)?.list_xattr(walk.credentials))
    })
}

/// Sets an extended attribute.
///
/// # Errors
/// `EEXIST`, `ENODATA`, `EPERM`, `EACCES`, `EROFS`, `ERANGE`, `E2BIG`, `ENOSPC`, `ENOTSUP`.
pub fn set_xattr(
    ctx: &ProcessContext,
    dir: DirFd,
    path: &[u8],
    follow: Follow,
    name: &[u8],
    value: &[u8],
    how: XattrSet,
) -> Result<(), Errno> {
    traced!(ctx, "setxattr", [dir, Path(path), Path(name), Data(value)], {
        let from = paths(ctx, dir, path)?;
        from.walk(|walk| walk.resolve_with(path, follow)?.set_xattr(walk.credentials, name, value, how))
    })
}

/// Removes an extended attribute.
///
/// # Errors
/// `ENODATA`, `EPERM`, `EACCES`, `EROFS`, `ERANGE`, `ENOTSUP`.
pub fn remove_xattr(
    ctx: &ProcessContext,
    dir: DirFd,
    path: &[u8],
    follow: Follow,
    name: &[u8],
) -> Result<(), Errno> {
    traced!(ctx, "removexattr", [dir, Path(path), Path(name)], {
        paths(ctx, dir, path)?
            .walk(|walk| walk.resolve_with(path, follow)?.remove_xattr(walk.credentials, name))
    })
}
