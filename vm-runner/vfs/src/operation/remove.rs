//! Removing entries.

use vm_abi::{Access, Errno, Mode};

use crate::error::VfsResult;
use crate::location::Location;
use crate::notify::ChangeKind;
use crate::path::NameBuf;
use crate::walk::{LastComponent, Walk, WalkContext};

impl WalkContext<'_> {
    /// Removes a name of something that is no directory.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, `EROFS`, `EACCES`, `EPERM` (sticky directory), `EBUSY` (mount point).
    pub fn unlink(&self, path: &[u8]) -> VfsResult<()> {
        let mut walk = Walk::new(self);
        let parent = walk.parent(self.start, path)?;
        let LastComponent::Name(name) = &parent.last else {
            return Err(Errno::EISDIR.into());
        };
        parent.directory.check_writable_mount()?;
        let victim = walk.lookup_covered(&parent.directory, name.as_name())?;
        let is_directory = victim.file_type().is_directory();
        if parent.trailing_slash {
            return Err(if is_directory { Errno::EISDIR } else { Errno::ENOTDIR }.into());
        }
        self.check_removal(&parent.directory, &victim)?;
        if is_directory {
            return Err(Errno::EISDIR.into());
        }
        if walk.table.is_mount_point(&victim) {
            return Err(Errno::EBUSY.into());
        }
        parent.directory.inode.unlink(name.as_name())?;
        let notifier = self.namespace.notifier();
        notifier.entry(ChangeKind::Removed, &parent.directory, name, victim.file_type());
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`, `EROFS`, `EACCES`, `EPERM` (sticky directory), `EBUSY` (mount point, root),
    /// `EINVAL` (last component `.`).
    pub fn rmdir(&self, path: &[u8]) -> VfsResult<()> {
        let mut walk = Walk::new(self);
        let parent = walk.parent(self.start, path)?;
        let name: &NameBuf = match &parent.last {
            LastComponent::Name(name) => name,
            LastComponent::Dot => return Err(Errno::EINVAL.into()),
            LastComponent::DotDot => return Err(Errno::ENOTEMPTY.into()),
            LastComponent::Root => return Err(Errno::EBUSY.into()),
        };
        parent.directory.check_writable_mount()?;
        let victim = walk.lookup_covered(&parent.directory, name.as_name())?;
        self.check_removal(&parent.directory, &victim)?;
        if !victim.file_type().is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        if walk.table.is_mount_point(&victim) || victim.is_same(self.root) {
            return Err(Errno::EBUSY.into());
        }
        parent.directory.inode.rmdir(name.as_name())?;
        let notifier = self.namespace.notifier();
        notifier.entry(ChangeKind::Removed, &parent.directory, name, victim.file_type());
        Ok(())
    }

    /// Whether the walker may take this entry out of its directory: who may write the directory, and if that is
    /// sticky only the owner of either.
    pub(super) fn check_removal(&self, directory: &Location, victim: &Location) -> VfsResult<()> {
        directory.check_access(self.credentials, Access::WRITE | Access::EXECUTE)?;
        if self.credentials.is_privileged() {
            return Ok(());
        }
        let stat = directory.inode.stat()?;
        let is_allowed = !stat.permissions().contains(Mode::STICKY)
            || stat.uid == self.credentials.euid
            || victim.inode.stat()?.uid == self.credentials.euid;
        if is_allowed { Ok(()) } else { Err(Errno::EPERM.into()) }
    }
}
