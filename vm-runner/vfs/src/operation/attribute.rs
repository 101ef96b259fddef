//! Reading and changing what is known about a file.

use vm_abi::{Access, Errno, Gid, Mode, Stat, Uid};

use crate::error::VfsResult;
use crate::file_system::StatFs;
use crate::inode::{DirEntry, SetTime};
use crate::walk::{Follow, WalkContext};

impl WalkContext<'_> {
    /// The facts about a file.
    ///
    /// # Errors
    /// Those of the walk.
    pub fn stat(&self, path: &[u8], follow: Follow) -> VfsResult<Stat> {
        self.resolve_with(path, follow)?.stat()
    }

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// `EINVAL` if it is none.
    pub fn read_link(&self, path: &[u8]) -> VfsResult<Vec<u8>> {
        let location = self.resolve_with(path, Follow::No)?;
        if !location.file_type().is_symlink() {
            return Err(Errno::EINVAL.into());
        }
        location.inode().read_link_for(self.caller)
    }

    /// The entries of a directory, without `.` and `..`.
    ///
    /// # Errors
    /// `ENOTDIR`, `EACCES`.
    pub fn read_dir(&self, path: &[u8]) -> VfsResult<Vec<DirEntry>> {
        let location = self.resolve(path)?;
        if !location.file_type().is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        location.check_access(self.credentials, Access::READ)?;
        location.inode().read_dir_for(self.caller)
    }

    /// Fails unless the walker may access a file so; empty `wanted` asks whether it exists. For `access(2)` give the
    /// walker real ids first.
    ///
    /// # Errors
    /// `EACCES`, `EROFS`.
    pub fn access(&self, path: &[u8], wanted: Access, follow: Follow) -> VfsResult<()> {
        self.resolve_with(path, follow)?.check_access(self.credentials, wanted)
    }

    /// Changes the permission bits.
    ///
    /// # Errors
    /// `EPERM`, `EROFS`; `ENOTSUP` for a symbolic link itself.
    pub fn chmod(&self, path: &[u8], mode: Mode, follow: Follow) -> VfsResult<()> {
        let location = self.resolve_noting(path, follow, self.namespace.notifier().is_active())?;
        if location.file_type().is_symlink() {
            return Err(Errno::ENOTSUP.into());
        }
        location.change_mode(self.credentials, mode)
    }

    /// Changes owner and group; `None` leaves one as it is.
    ///
    /// # Errors
    /// `EPERM`, `EROFS`.
    pub fn chown(&self, path: &[u8], uid: Option<Uid>, gid: Option<Gid>, follow: Follow) -> VfsResult<()> {
        self.resolve_noting(path, follow, self.namespace.notifier().is_active())?.change_owner(
            self.credentials,
            uid,
            gid,
        )
    }

    /// Sets the times; `None` leaves one as it is.
    ///
    /// # Errors
    /// `EPERM`, `EACCES`, `EROFS`.
    pub fn set_times(
        &self,
        path: &[u8],
        atime: Option<SetTime>,
        mtime: Option<SetTime>,
        follow: Follow,
    ) -> VfsResult<()> {
        self.resolve_noting(path, follow, self.namespace.notifier().is_active())?.set_times(
            self.credentials,
            atime,
            mtime,
        )
    }

    /// Sets the size of a file.
    ///
    /// # Errors
    /// `EISDIR`, `EINVAL`, `EACCES`, `EROFS`, `EFBIG`, `ENOSPC`.
    pub fn truncate(&self, path: &[u8], size: u64) -> VfsResult<()> {
        let location = self.resolve_noting(path, Follow::Yes, self.namespace.notifier().is_active())?;
        if !location.file_type().is_regular() {
            return Err(location.inode().file_error());
        }
        location.check_access(self.credentials, Access::WRITE)?;
        location.set_size(size)
    }

    /// Space and inodes of the file system that holds a file.
    ///
    /// # Errors
    /// `ENOSYS` if it does not count.
    pub fn statfs(&self, path: &[u8]) -> VfsResult<StatFs> {
        self.resolve(path)?.statfs()
    }
}
