//! A place in the namespace: an inode, and the mount through which it was reached.
//!
//! Operations on an already open file (`fchmod`, `fstat`, ...) are methods here; operations on a path find a location
//! first. Permissions and read-only mounts are enforced here, not in file systems.

use std::fmt;
use std::sync::Arc;

use bitflags::bitflags;
use vm_abi::{Access, Credentials, Errno, FileType, Gid, Mode, Stat, Uid};

use crate::error::VfsResult;
use crate::file_system::{FileSystem, StatFs};
use crate::inode::{Allocation, Appended, Inode, SetAttr, SetTime};
use crate::notify::{Notifier, Origin};
use crate::path::NameBuf;

bitflags! {
    /// What a mount forbids.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MountFlags: u32 {
        /// Changes fail with `EROFS`.
        const READ_ONLY = 1;
        /// Device nodes cannot be opened (`EACCES`).
        const NO_DEV = 2;
        /// Programs cannot be executed; the kernel looks at it.
        const NO_EXEC = 4;
    }
}

/// A file system, or a part of one, attached to the namespace.
pub struct Mount {
    pub(crate) id: u64,
    pub(crate) dev: u64,
    pub(crate) file_system: Arc<dyn FileSystem>,
    pub(crate) root: Arc<dyn Inode>,
    pub(crate) flags: MountFlags,
    /// Where it is attached; `None` for the namespace's root.
    pub(crate) mount_point: Option<Location>,
    /// Who watches the namespace; `None` for what lies at no path.
    pub(crate) notifier: Option<Arc<Notifier>>,
}

impl Mount {
    /// A number that no other mount of the namespace ever had.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The device number of the file system.
    #[must_use]
    pub const fn dev(&self) -> u64 {
        self.dev
    }

    /// What is mounted.
    #[must_use]
    pub fn file_system(&self) -> &Arc<dyn FileSystem> {
        &self.file_system
    }

    /// What it forbids.
    #[must_use]
    pub const fn flags(&self) -> MountFlags {
        self.flags
    }

    /// Whether nothing can be changed through it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.flags.contains(MountFlags::READ_ONLY) || self.file_system.is_read_only()
    }

    /// Whether this inode of the mounted file system is the topmost one.
    pub(crate) fn is_root(&self, inode: &dyn Inode) -> bool {
        self.root.ino() == inode.ino()
    }
}

/// Identifies a file among all files of a namespace, for as long as it exists or is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The file system.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
}

/// An inode and the mount through which it was reached. Cheap to clone.
#[derive(Clone)]
pub struct Location {
    pub(crate) mount: Arc<Mount>,
    pub(crate) inode: Arc<dyn Inode>,
    /// Where a file that is written was found, for those who watch it.
    origin: Option<Arc<Origin>>,
}

impl Location {
    pub(crate) const fn new(mount: Arc<Mount>, inode: Arc<dyn Inode>) -> Self {
        Self { mount, inode, origin: None }
    }

    /// The same, remembering where it was found.
    pub(crate) fn found_in(mut self, directory: &Self, name: &NameBuf) -> Self {
        let directory = Self { origin: None, ..directory.clone() };
        self.origin = Some(Arc::new(Origin { directory, name: name.clone() }));
        self
    }

    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// A location of this inode in the same mount.
    #[must_use]
    pub fn with_inode(&self, inode: Arc<dyn Inode>) -> Self {
        Self::new(Arc::clone(&self.mount), inode)
    }

    /// A location of something that lies at no path: a pipe, a socket. `dev` sets its files apart from all others.
    #[must_use]
    pub fn anonymous(file_system: Arc<dyn FileSystem>, dev: u64, inode: Arc<dyn Inode>) -> Self {
        let root = file_system.root();
        let flags = MountFlags::empty();
        let (mount_point, notifier) = (None, None);
        let mount = Mount { id: u64::MAX, dev, file_system, root, flags, mount_point, notifier };
        Self::new(Arc::new(mount), inode)
    }

    /// The mount.
    #[must_use]
    pub fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    /// The inode.
    #[must_use]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// The type of the file.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        self.inode.file_type()
    }

    /// Identifies the file.
    #[must_use]
    pub fn file_id(&self) -> FileId {
        FileId { dev: self.mount.dev, ino: self.inode.ino() }
    }

    /// Whether both are the same file reached through the same mount.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && self.inode.ino() == other.inode.ino()
    }

    /// The facts about the file, with its device number.
    ///
    /// # Errors
    /// What the medium answers.
    pub fn stat(&self) -> VfsResult<Stat> {
        Ok(Stat { dev: self.mount.dev, ..self.inode.stat()? })
    }

    /// Space and inodes of the file system.
    ///
    /// # Errors
    /// `ENOSYS` if it does not count.
    pub fn statfs(&self) -> VfsResult<StatFs> {
        self.mount.file_system.statfs()
    }

    /// Fails unless these credentials may access the file so. Root may everything but execute what nobody may execute.
    ///
    /// # Errors
    /// `EACCES`; `EROFS` for writing to files, directories and links of a read-only mount.
    pub fn check_access(&self, credentials: &Credentials, wanted: Access) -> VfsResult<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let file_type = self.file_type();
        let is_stored = file_type.is_regular() || file_type.is_directory() || file_type.is_symlink();
        if wanted.contains(Access::WRITE) && is_stored && self.mount.is_read_only() {
            return Err(Errno::EROFS.into());
        }
        if credentials.is_privileged() && (file_type.is_directory() || !wanted.contains(Access::EXECUTE)) {
            return Ok(());
        }
        let stat = self.inode.stat()?;
        let is_granted = if credentials.is_privileged() {
            stat.permissions().has_execute()
        } else {
            stat.permissions().granted(stat.uid, stat.gid, credentials).contains(wanted)
        };
        if is_granted { Ok(()) } else { Err(Errno::EACCES.into()) }
    }

    /// Tells those who watch that content or attributes changed.
    fn note_changed(&self) {
        if let Some(notifier) = &self.mount.notifier {
            notifier.changed(self);
        }
    }

    /// Writes at an offset of an open file; see [`Inode::write_at`]. That it was opened for writing is the caller's to
    /// know.
    ///
    /// # Errors
    /// Those of the inode.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> VfsResult<usize> {
        let count = self.inode.write_at(offset, bytes)?;
        self.note_changed();
        Ok(count)
    }

    /// Writes at the end of an open file; see [`Inode::append`].
    ///
    /// # Errors
    /// Those of the inode.
    pub fn append(&self, bytes: &[u8]) -> VfsResult<Appended> {
        let appended = self.inode.append(bytes)?;
        self.note_changed();
        Ok(appended)
    }

    /// Reserves or gives back space of an open file; see [`Inode::allocate`].
    ///
    /// # Errors
    /// Those of the inode.
    pub fn allocate(&self, offset: u64, len: u64, how: Allocation) -> VfsResult<()> {
        self.inode.allocate(offset, len, how)?;
        self.note_changed();
        Ok(())
    }

    fn set_attr(&self, attributes: &SetAttr) -> VfsResult<()> {
        self.inode.set_attr(attributes)?;
        self.note_changed();
        Ok(())
    }

    /// Fails if the mount is read-only.
    pub(crate) fn check_writable_mount(&self) -> VfsResult<()> {
        if self.mount.is_read_only() { Err(Errno::EROFS.into()) } else { Ok(()) }
    }

    /// Changes the permission bits (`fchmod`).
    ///
    /// # Errors
    /// `EROFS`; `EPERM` unless owner or root.
    pub fn change_mode(&self, credentials: &Credentials, mode: Mode) -> VfsResult<()> {
        self.check_writable_mount()?;
        let stat = self.inode.stat()?;
        check_owner(&stat, credentials)?;
        let strips_set_gid = !credentials.is_privileged() && !credentials.is_member(stat.gid);
        let mode = if strips_set_gid { mode.without(Mode::SET_GID) } else { mode };
        self.set_attr(&SetAttr { mode: Some(mode), ..SetAttr::default() })
    }

    /// Changes owner and group (`fchown`); `None` leaves one as it is. Clears set-id bits of files.
    ///
    /// # Errors
    /// `EROFS`; `EPERM` unless root, or the owner who gives the file to one of his groups.
    pub fn change_owner(
        &self,
        credentials: &Credentials,
        uid: Option<Uid>,
        gid: Option<Gid>,
    ) -> VfsResult<()> {
        self.check_writable_mount()?;
        let stat = self.inode.stat()?;
        if !credentials.is_privileged() {
            let keeps_owner = uid.is_none_or(|uid| uid == stat.uid);
            let may_give = gid.is_none_or(|gid| gid == stat.gid || credentials.is_member(gid));
            if stat.uid != credentials.euid || !keeps_owner || !may_give {
                return Err(Errno::EPERM.into());
            }
        }
        let set_ids = Mode::SET_UID.with(Mode::SET_GID);
        let keeps_set_ids =
            stat.file_type().is_directory() || stat.permissions().without(set_ids) == stat.permissions();
        let mode = if keeps_set_ids { None } else { Some(stat.permissions().without(set_ids)) };
        self.set_attr(&SetAttr { mode, uid, gid, ..SetAttr::default() })
    }

    /// Sets the times (`futimens`); `None` leaves one as it is.
    ///
    /// # Errors
    /// `EROFS`; `EACCES`/`EPERM`: now may be set by who may write, other times by the owner or root.
    pub fn set_times(
        &self,
        credentials: &Credentials,
        atime: Option<SetTime>,
        mtime: Option<SetTime>,
    ) -> VfsResult<()> {
        if atime.is_none() && mtime.is_none() {
            return Ok(());
        }
        self.check_writable_mount()?;
        let stat = self.inode.stat()?;
        if check_owner(&stat, credentials).is_err() {
            let only_now = atime == Some(SetTime::Now) && mtime == Some(SetTime::Now);
            if !only_now {
                return Err(Errno::EPERM.into());
            }
            self.check_access(credentials, Access::WRITE)?;
        }
        self.set_attr(&SetAttr { atime, mtime, ..SetAttr::default() })
    }

    /// Sets the size of an open file (`ftruncate`); that it was opened for writing is the caller's to know.
    ///
    /// # Errors
    /// `EROFS`, `EINVAL` unless a regular file, `EFBIG`, `ENOSPC`.
    pub fn set_size(&self, size: u64) -> VfsResult<()> {
        if !self.file_type().is_regular() {
            return Err(self.inode.file_error());
        }
        self.check_writable_mount()?;
        self.set_attr(&SetAttr { size: Some(size), ..SetAttr::default() })
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({} {:?})", self.mount.file_system.kind(), self.file_id())
    }
}

fn check_owner(stat: &Stat, credentials: &Credentials) -> VfsResult<()> {
    if credentials.is_privileged() || credentials.euid == stat.uid {
        Ok(())
    } else {
        Err(Errno::EPERM.into())
    }
}
