//! Renaming.

use std::sync::Arc;

use vm_abi::{Access, Errno};

use crate::error::VfsResult;
use crate::inode::{Parent, RenameFlags};
use crate::location::Location;
use crate::notify::Origin;
use crate::path::NameBuf;
use crate::walk::{LastComponent, ParentLocation, Walk, WalkContext};

impl WalkContext<'_> {
    /// Moves an entry, replacing what is at the new path. The new path is found from `new_context`.
    ///
    /// # Errors
    /// `ENOENT`, `EXDEV`, `EISDIR`, `ENOTDIR`, `ENOTEMPTY`, `EINVAL` (into its own subtree), `EEXIST` (no-replace),
    /// `EBUSY` (mount point; last component `.` or `..`), `EROFS`, `EACCES`, `EPERM` (sticky directory).
    pub fn rename(
        &self,
        path: &[u8],
        new_context: &Self,
        new_path: &[u8],
        flags: RenameFlags,
    ) -> VfsResult<()> {
        if flags.contains(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE) {
            return Err(Errno::EINVAL.into());
        }
        let mut walk = Walk::new(self);
        let old = walk.parent(self.start, path)?;
        let new = Walk::new(new_context).parent(new_context.start, new_path)?;
        if !Arc::ptr_eq(&old.directory.mount, &new.directory.mount) {
            return Err(Errno::EXDEV.into());
        }
        let old_name = movable_name(&old, Errno::EBUSY)?;
        let is_no_replace = flags.contains(RenameFlags::NOREPLACE);
        let new_name = movable_name(&new, if is_no_replace { Errno::EEXIST } else { Errno::EBUSY })?;
        old.directory.check_writable_mount()?;

        let moved = walk.lookup_covered(&old.directory, old_name.as_name())?;
        let replaced = match walk.lookup_covered(&new.directory, new_name.as_name()) {
            Ok(_) if is_no_replace => return Err(Errno::EEXIST.into()),
            Ok(replaced) => Some(replaced),
            Err(error) if error == Errno::ENOENT && !flags.contains(RenameFlags::EXCHANGE) => None,
            Err(error) => return Err(error),
        };
        check_shape(&old, &new, &moved, replaced.as_ref(), flags)?;
        self.check_rename(&old.directory, &moved, &new.directory, replaced.as_ref(), flags)?;
        let is_busy =
            |location: &Location| walk.table.is_mount_point(location) || location.is_same(self.root);
        if is_busy(&moved) || replaced.as_ref().is_some_and(is_busy) {
            return Err(Errno::EBUSY.into());
        }
        old.directory.inode.rename(old_name.as_name(), &new.directory.inode, new_name.as_name(), flags)?;
        if self.namespace.notifier().is_active() {
            let place = |parent: &ParentLocation, name: &NameBuf| Origin {
                directory: parent.directory.clone(),
                name: name.clone(),
            };
            self.note_rename(
                &place(&old, old_name),
                &place(&new, new_name),
                &moved,
                replaced.as_ref(),
                flags,
            );
        }
        Ok(())
    }

    /// Tells those who watch. An exchange is two moves, each of which replaced something.
    fn note_rename(
        &self,
        old: &Origin,
        new: &Origin,
        moved: &Location,
        replaced: Option<&Location>,
        flags: RenameFlags,
    ) {
        // A file that has two names under which it is to be renamed stays what it is.
        if replaced.is_some_and(|replaced| replaced.is_same(moved)) {
            return;
        }
        let notifier = self.namespace.notifier();
        let path = |place: &Origin| notifier.path_in(&place.directory, &place.name);
        notifier.moved(path(old), new, moved, replaced.is_some());
        if let Some(replaced) = replaced
            && flags.contains(RenameFlags::EXCHANGE)
        {
            notifier.moved(path(new), old, replaced, true);
        }
    }

    fn check_rename(
        &self,
        old_directory: &Location,
        moved: &Location,
        new_directory: &Location,
        replaced: Option<&Location>,
        flags: RenameFlags,
    ) -> VfsResult<()> {
        self.check_removal(old_directory, moved)?;
        match replaced {
            None => new_directory.check_access(self.credentials, Access::WRITE | Access::EXECUTE)?,
            Some(replaced) => {
                self.check_removal(new_directory, replaced)?;
                let is_exchange = flags.contains(RenameFlags::EXCHANGE);
                match (moved.file_type().is_directory(), replaced.file_type().is_directory()) {
                    (true, false) if !is_exchange => return Err(Errno::ENOTDIR.into()),
                    (false, true) if !is_exchange => return Err(Errno::EISDIR.into()),
                    (true | false, true | false) => {}
                }
            }
        }
        // The entry `..` of a moved directory changes.
        if moved.file_type().is_directory() && !old_directory.is_same(new_directory) {
            moved.check_access(self.credentials, Access::WRITE)?;
        }
        Ok(())
    }
}

fn movable_name(parent: &ParentLocation, otherwise: Errno) -> VfsResult<&NameBuf> {
    match &parent.last {
        LastComponent::Name(name) => Ok(name),
        LastComponent::Dot | LastComponent::DotDot | LastComponent::Root => Err(otherwise.into()),
    }
}

/// Slashes after names that are no directories, and directories moved into themselves.
fn check_shape(
    old: &ParentLocation,
    new: &ParentLocation,
    moved: &Location,
    replaced: Option<&Location>,
    flags: RenameFlags,
) -> VfsResult<()> {
    let is_exchange = flags.contains(RenameFlags::EXCHANGE);
    let moved_is_directory = moved.file_type().is_directory();
    if !moved_is_directory && (old.trailing_slash || (!is_exchange && new.trailing_slash)) {
        return Err(Errno::ENOTDIR.into());
    }
    if let Some(replaced) = replaced
        && is_exchange
        && new.trailing_slash
        && !replaced.file_type().is_directory()
    {
        return Err(Errno::ENOTDIR.into());
    }
    if moved_is_directory && is_within(&new.directory, moved) {
        return Err(Errno::EINVAL.into());
    }
    if let Some(replaced) = replaced
        && replaced.file_type().is_directory()
        && is_within(&old.directory, replaced)
    {
        return Err(if is_exchange { Errno::EINVAL } else { Errno::ENOTEMPTY }.into());
    }
    Ok(())
}

/// Whether a directory is another one or lies below it, in one file system.
fn is_within(directory: &Location, ancestor: &Location) -> bool {
    let mut at = Arc::clone(&directory.inode);
    loop {
        if at.ino() == ancestor.inode.ino() {
            return true;
        }
        match at.parent() {
            Parent::In { directory, name: _ } => at = directory,
            Parent::Root | Parent::Detached => return false,
        }
    }
}
