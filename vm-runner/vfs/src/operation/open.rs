//! Opening, with or without making the file.

use vm_abi::{Access, Errno, Mode, OpenFlags};

use crate::error::VfsResult;
use crate::inode::{NodeKind, NodeOpen};
use crate::location::{Location, MountFlags};
use crate::walk::{Follow, LastComponent, LinkTarget, ParentLocation, Walk, WalkContext};

/// A file that was opened.
pub struct Opened {
    /// Where it is.
    pub location: Location,
    /// How to read and write it.
    pub node: NodeOpen,
    /// Whether opening made it.
    pub is_new: bool,
}

impl WalkContext<'_> {
    /// Opens a file; makes it with this mode if asked to and it is missing.
    ///
    /// # Errors
    /// Those of the walk; `EEXIST`, `EISDIR`, `ENOTDIR`, `ELOOP` (no-follow), `EACCES`, `EROFS`, `ENXIO`, `ENOSPC`,
    /// `EINVAL` for flags that contradict each other.
    pub fn open(&self, path: &[u8], flags: OpenFlags, mode: Mode) -> VfsResult<Opened> {
        if flags.contains(OpenFlags::TMPFILE) {
            return self.open_unnamed(path, flags, mode);
        }
        if flags.contains(OpenFlags::CREATE | OpenFlags::DIRECTORY) {
            return Err(Errno::EINVAL.into());
        }
        if flags.contains(OpenFlags::CREATE) && !flags.contains(OpenFlags::PATH) {
            return self.open_or_create(path, flags, mode);
        }
        let follow = if flags.contains(OpenFlags::NOFOLLOW) { Follow::No } else { Follow::Yes };
        self.open_existing(self.resolve_noting(path, follow, flags.is_writable())?, flags)
    }

    /// Opens what is already found (`/proc/self/fd`, a program's interpreter), with all checks.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_existing(&self, location: Location, flags: OpenFlags) -> VfsResult<Opened> {
        let file_type = location.file_type();
        if flags.contains(OpenFlags::DIRECTORY) && !file_type.is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        if flags.contains(OpenFlags::PATH) {
            return Ok(Opened { location, node: NodeOpen::Plain, is_new: false });
        }
        if file_type.is_symlink() {
            return Err(Errno::ELOOP.into());
        }
        let wanted = flags.required_access();
        if file_type.is_directory() && wanted.contains(Access::WRITE) {
            return Err(Errno::EISDIR.into());
        }
        let is_device = matches!(file_type, vm_abi::FileType::CharDevice | vm_abi::FileType::BlockDevice);
        if is_device && location.mount.flags().contains(MountFlags::NO_DEV) {
            return Err(Errno::EACCES.into());
        }
        location.check_access(self.credentials, wanted)?;
        let node = location.inode.open(self.caller, flags)?;
        if flags.contains(OpenFlags::TRUNC) && file_type.is_regular() {
            location.set_size(0)?;
        }
        Ok(Opened { location, node, is_new: false })
    }

    fn open_or_create(&self, path: &[u8], flags: OpenFlags, mode: Mode) -> VfsResult<Opened> {
        let mut walk = Walk::new(self);
        let mut parent = walk.parent(self.start, path)?;
        loop {
            let LastComponent::Name(name) = &parent.last else {
                let is_exclusive = flags.contains(OpenFlags::EXCL);
                return Err(if is_exclusive { Errno::EEXIST } else { Errno::EISDIR }.into());
            };
            if parent.trailing_slash {
                return Err(Errno::EISDIR.into());
            }
            let found = match walk.lookup(&parent.directory, name.as_name()) {
                Ok(found) => found,
                Err(error) if error == Errno::ENOENT => {
                    match self.create_and_open(&parent, flags, mode) {
                        // Somebody else made it since; unless that is an error, open theirs.
                        Err(error) if error == Errno::EEXIST && !flags.contains(OpenFlags::EXCL) => {
                            walk.count_retry()?;
                            continue;
                        }
                        result => return result,
                    }
                }
                Err(error) => return Err(error),
            };
            if flags.contains(OpenFlags::EXCL) {
                return Err(Errno::EEXIST.into());
            }
            if !found.file_type().is_symlink() || flags.contains(OpenFlags::NOFOLLOW) {
                let found = if flags.is_writable() { found.found_in(&parent.directory, name) } else { found };
                return self.open_found(found, flags);
            }
            match walk.link_target(&found)? {
                LinkTarget::Jump(location) => return self.open_found(location, flags),
                LinkTarget::Path(target) => parent = walk.parent(&parent.directory, &target)?,
            }
        }
    }

    fn open_found(&self, found: Location, flags: OpenFlags) -> VfsResult<Opened> {
        if found.file_type().is_directory() {
            return Err(Errno::EISDIR.into());
        }
        self.open_existing(found, flags)
    }

    /// The permissions of the new file do not bind the one who makes it.
    fn create_and_open(&self, parent: &ParentLocation, flags: OpenFlags, mode: Mode) -> VfsResult<Opened> {
        let LastComponent::Name(name) = &parent.last else {
            return Err(Errno::EISDIR.into());
        };
        let location = self.make_at(&parent.directory, name, NodeKind::Regular, mode)?;
        let location = location.found_in(&parent.directory, name);
        let node = location.inode.open(self.caller, flags)?;
        Ok(Opened { location, node, is_new: true })
    }

    fn open_unnamed(&self, path: &[u8], flags: OpenFlags, mode: Mode) -> VfsResult<Opened> {
        if !flags.is_writable() {
            return Err(Errno::EINVAL.into());
        }
        let directory = self.resolve(path)?;
        if !directory.file_type().is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        directory.check_writable_mount()?;
        directory.check_access(self.credentials, Access::WRITE | Access::EXECUTE)?;
        let (mode, owner) = self.inherit(&directory, NodeKind::Regular, mode)?;
        let location = directory.with_inode(directory.inode.create_unnamed(mode, owner)?);
        let node = location.inode.open(self.caller, flags)?;
        Ok(Opened { location, node, is_new: true })
    }
}
