//! Making new entries.

use vm_abi::{Access, Errno, Mode};

use crate::error::VfsResult;
use crate::inode::{NodeKind, Owner};
use crate::location::Location;
use crate::notify::ChangeKind;
use crate::path::{MAX_PATH_BYTES, NameBuf};
use crate::walk::{Follow, LastComponent, ParentLocation, Walk, WalkContext};

impl WalkContext<'_> {
    /// Makes a directory.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`, `EROFS`, `EACCES`, `ENOSPC`.
    pub fn mkdir(&self, path: &[u8], mode: Mode) -> VfsResult<Location> {
        self.make(path, NodeKind::Directory, mode)
    }

    /// Makes a symbolic link at `path` that points to `target`.
    ///
    /// # Errors
    /// As [`mkdir`](Self::mkdir); `ENOENT` for an empty target, `ENAMETOOLONG` for one above [`MAX_PATH_BYTES`].
    pub fn symlink(&self, target: &[u8], path: &[u8]) -> VfsResult<Location> {
        match target {
            b"" => Err(Errno::ENOENT.into()),
            _ if target.len() >= MAX_PATH_BYTES => Err(Errno::ENAMETOOLONG.into()),
            _ => self.make(path, NodeKind::Symlink(target), Mode::new(0o777)),
        }
    }

    /// Makes a file, pipe, socket or device node.
    ///
    /// # Errors
    /// As [`mkdir`](Self::mkdir); `EPERM` for devices unless root, and for directories and links.
    pub fn mknod(&self, path: &[u8], kind: NodeKind<'_>, mode: Mode) -> VfsResult<Location> {
        match kind {
            NodeKind::Regular | NodeKind::Fifo | NodeKind::Socket => {}
            NodeKind::CharDevice(_) | NodeKind::BlockDevice(_) if self.credentials.is_privileged() => {}
            NodeKind::CharDevice(_)
            | NodeKind::BlockDevice(_)
            | NodeKind::Directory
            | NodeKind::Symlink(_) => {
                return Err(Errno::EPERM.into());
            }
        }
        self.make(path, kind, mode)
    }

    /// Gives an existing file one more name.
    ///
    /// # Errors
    /// `EEXIST`, `EXDEV`, `EPERM` for directories, `EMLINK`, `EROFS`, `EACCES`.
    pub fn link(&self, path: &[u8], follow: Follow, new_path: &[u8]) -> VfsResult<()> {
        self.link_location(&self.resolve_with(path, follow)?, self, new_path)
    }

    /// Gives an open file one more name, or an unnamed one its first. The new name is found from `new_context`.
    ///
    /// # Errors
    /// As [`link`](Self::link).
    pub fn link_location(&self, file: &Location, new_context: &Self, new_path: &[u8]) -> VfsResult<()> {
        let mut walk = Walk::new(new_context);
        let parent = walk.parent(new_context.start, new_path)?;
        let name = walk.new_name(&parent, NodeKind::Regular)?;
        if !std::sync::Arc::ptr_eq(&file.mount, &parent.directory.mount) {
            return Err(Errno::EXDEV.into());
        }
        parent.directory.check_writable_mount()?;
        parent.directory.check_access(self.credentials, Access::WRITE | Access::EXECUTE)?;
        if file.file_type().is_directory() {
            return Err(Errno::EPERM.into());
        }
        parent.directory.inode.link(name.as_name(), &file.inode)?;
        let notifier = self.namespace.notifier();
        notifier.entry(ChangeKind::Created, &parent.directory, &name, file.file_type());
        Ok(())
    }

    fn make(&self, path: &[u8], kind: NodeKind<'_>, mode: Mode) -> VfsResult<Location> {
        let mut walk = Walk::new(self);
        let parent = walk.parent(self.start, path)?;
        let name = walk.new_name(&parent, kind)?;
        self.make_at(&parent.directory, &name, kind, mode)
    }

    /// Makes an entry that is known to be missing.
    pub(super) fn make_at(
        &self,
        directory: &Location,
        name: &NameBuf,
        kind: NodeKind<'_>,
        mode: Mode,
    ) -> VfsResult<Location> {
        directory.check_writable_mount()?;
        directory.check_access(self.credentials, Access::WRITE | Access::EXECUTE)?;
        let (mode, owner) = self.inherit(directory, kind, mode)?;
        let made = directory.with_inode(directory.inode.create(name.as_name(), kind, mode, owner)?);
        self.namespace.notifier().entry(ChangeKind::Created, directory, name, kind.file_type());
        Ok(made)
    }

    /// Mode and owner of a new entry: below a set-group-id directory it gets that directory's group.
    pub(super) fn inherit(
        &self,
        directory: &Location,
        kind: NodeKind<'_>,
        mode: Mode,
    ) -> VfsResult<(Mode, Owner)> {
        let mut owner = Owner::from(self.credentials);
        let stat = directory.inode.stat()?;
        if !stat.permissions().contains(Mode::SET_GID) {
            return Ok((mode, owner));
        }
        owner.gid = stat.gid;
        let mode = if kind == NodeKind::Directory {
            mode.with(Mode::SET_GID)
        } else if self.credentials.is_privileged() || self.credentials.is_member(stat.gid) {
            mode
        } else {
            mode.without(Mode::SET_GID)
        };
        Ok((mode, owner))
    }
}

impl Walk<'_> {
    /// The name of an entry to make; it must not exist.
    fn new_name(&self, parent: &ParentLocation, kind: NodeKind<'_>) -> VfsResult<NameBuf> {
        let LastComponent::Name(name) = &parent.last else {
            return Err(Errno::EEXIST.into());
        };
        match self.lookup(&parent.directory, name.as_name()) {
            Ok(_) => Err(Errno::EEXIST.into()),
            Err(error) if error == Errno::ENOENT => {
                if parent.trailing_slash && kind != NodeKind::Directory {
                    return Err(Errno::ENOENT.into());
                }
                Ok(name.clone())
            }
            Err(error) => Err(error),
        }
    }
}
