//! The file itself: what a file system implements.
//!
//! Methods take names, never paths; they check no permissions and no mount flags. Both is the path walk's and
//! [`WalkContext`](crate::WalkContext)'s work, so a file system cannot get it wrong. Every method has a default that
//! answers the right error for a file that lacks the ability.

mod argument;

use std::any::Any;
use std::sync::Arc;

use vm_abi::{DeviceNumber, Errno, FileType, Mode, OpenFlags, Stat};

pub use argument::{
    Allocation, Appended, DirEntry, Extent, NodeKind, Owner, RenameFlags, SetAttr, SetTime, SyncScope,
    XattrSet,
};

use crate::content::{ContentId, Mapping};
use crate::error::{Error, VfsResult};
use crate::location::Location;
use crate::path::{Name, NameBuf};

/// The longest extended attribute name, in bytes (`ERANGE`).
pub const MAX_XATTR_NAME_BYTES: usize = 255;
/// The longest extended attribute value, in bytes (`E2BIG`).
pub const MAX_XATTR_VALUE_BYTES: usize = 64 * 1024;

/// A file, directory, link or other thing in a file system.
///
/// All methods are synchronous, thread-safe, and never wait for a guest.
pub trait Inode: Any + Send + Sync {
    /// The inode number: not 0, unique within the file system, the same for the life of the file.
    fn ino(&self) -> u64;

    /// The type; it never changes.
    fn file_type(&self) -> FileType;

    /// The facts about the file; `dev` may be 0, the mount fills it in.
    ///
    /// # Errors
    /// What the medium answers.
    fn stat(&self) -> VfsResult<Stat>;

    /// Changes attributes; all given ones or, on an error, none. Advances `ctime` unless that is given. A new size cuts or zero-fills.
    ///
    /// # Errors
    /// `EROFS`, `EISDIR`/`EINVAL` for the size of something that has none, `EFBIG`, `ENOSPC`.
    fn set_attr(&self, attributes: &SetAttr) -> VfsResult<()> {
        let _ = attributes;
        Err(Errno::EROFS.into())
    }

    // ---- directories ----

    /// The entry of this name.
    ///
    /// # Errors
    /// `ENOENT`; `ENOTDIR` if this is no directory.
    fn lookup(&self, name: Name<'_>) -> VfsResult<Arc<dyn Inode>> {
        let _ = name;
        Err(self.directory_error(Errno::ENOENT))
    }

    /// As [`lookup`](Self::lookup), by a known process. Only file systems that show each process something else
    /// (procfs) implement it.
    ///
    /// # Errors
    /// As `lookup`.
    fn lookup_for(&self, caller: Caller, name: Name<'_>) -> VfsResult<Arc<dyn Inode>> {
        let _ = caller;
        self.lookup(name)
    }

    /// Where a directory hangs. Files answer `Detached`.
    fn parent(&self) -> Parent {
        Parent::Detached
    }

    /// Makes a new entry and the inode it names. `mode` has the umask applied.
    ///
    /// # Errors
    /// `EEXIST`, `ENOTDIR`, `EROFS`, `ENOSPC`, `EPERM` if the file system knows no such kind; `ENOENT` if this
    /// directory was removed.
    fn create(
        &self,
        name: Name<'_>,
        kind: NodeKind<'_>,
        mode: Mode,
        owner: Owner,
    ) -> VfsResult<Arc<dyn Inode>> {
        let _ = (name, kind, mode, owner);
        Err(self.directory_error(Errno::EROFS))
    }

    /// Makes a regular file without a name, living until the last reference drops. [`link`](Self::link) may name it.
    ///
    /// # Errors
    /// `ENOTSUP` if the file system cannot, and those of `create`.
    fn create_unnamed(&self, mode: Mode, owner: Owner) -> VfsResult<Arc<dyn Inode>> {
        let _ = (mode, owner);
        Err(self.directory_error(Errno::ENOTSUP))
    }

    /// Gives an inode of the same file system, not a directory, one more name.
    ///
    /// # Errors
    /// `EEXIST`, `EXDEV` for a foreign inode, `EMLINK`, `ENOTDIR`, `EROFS`, `EPERM` for directories.
    fn link(&self, name: Name<'_>, target: &Arc<dyn Inode>) -> VfsResult<()> {
        let _ = (name, target);
        Err(self.directory_error(Errno::EROFS))
    }

    /// Removes a name of something that is no directory. Open files stay usable.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, `ENOTDIR`, `EROFS`.
    fn unlink(&self, name: Name<'_>) -> VfsResult<()> {
        let _ = name;
        Err(self.directory_error(Errno::EROFS))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`, `EROFS`.
    fn rmdir(&self, name: Name<'_>) -> VfsResult<()> {
        let _ = name;
        Err(self.directory_error(Errno::EROFS))
    }

    /// Moves an entry of this directory, replacing what `new_name` names. Renaming a file to another of its own names
    /// does nothing.
    ///
    /// # Errors
    /// `ENOENT`, `EXDEV`, `EISDIR`, `ENOTDIR`, `ENOTEMPTY`, `EINVAL` (into its own subtree), `EEXIST` (NOREPLACE),
    /// `EROFS`.
    fn rename(
        &self,
        name: Name<'_>,
        new_parent: &Arc<dyn Inode>,
        new_name: Name<'_>,
        flags: RenameFlags,
    ) -> VfsResult<()> {
        let _ = (name, new_parent, new_name, flags);
        Err(self.directory_error(Errno::EROFS))
    }

    /// All entries as of now, without `.` and `..`. A reader keeps the list, so that removing entries on the way
    /// disturbs nothing.
    ///
    /// # Errors
    /// `ENOTDIR`.
    fn read_dir(&self) -> VfsResult<Vec<DirEntry>> {
        Err(self.directory_error(Errno::EIO))
    }

    /// As [`read_dir`](Self::read_dir), by a known process.
    ///
    /// # Errors
    /// As `read_dir`.
    fn read_dir_for(&self, caller: Caller) -> VfsResult<Vec<DirEntry>> {
        let _ = caller;
        self.read_dir()
    }

    // ---- regular files ----

    /// Reads at an offset; 0 at and after the end. Short only at the end.
    ///
    /// # Errors
    /// `EISDIR` for directories, `EINVAL` for what cannot be read so.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> VfsResult<usize> {
        let _ = (offset, buffer);
        Err(self.file_error())
    }

    /// Writes at an offset and tells how much. Short only if the file system fills up on the way.
    ///
    /// # Errors
    /// `EROFS`, `ENOSPC`, `EFBIG`, `EISDIR`, `EINVAL`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> VfsResult<usize> {
        let _ = (offset, bytes);
        Err(if self.file_type().is_regular() { Errno::EROFS.into() } else { self.file_error() })
    }

    /// Writes at the end, whatever else writes meanwhile; tells the new end of what was written and how much.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn append(&self, bytes: &[u8]) -> VfsResult<Appended> {
        let _ = bytes;
        Err(if self.file_type().is_regular() { Errno::EROFS.into() } else { self.file_error() })
    }

    /// Reserves space for a range, or gives it back, as `fallocate(2)`.
    ///
    /// # Errors
    /// `ENOTSUP`, `ENOSPC`, `EFBIG`, `EROFS`.
    fn allocate(&self, offset: u64, len: u64, how: Allocation) -> VfsResult<()> {
        let _ = (offset, len, how);
        Err(if self.file_type().is_regular() { Errno::ENOTSUP.into() } else { self.file_error() })
    }

    /// The offset of the next data (or hole) at or after `offset`, as `lseek(2)`. The end of the file counts as a hole.
    ///
    /// # Errors
    /// `ENXIO` beyond the end or if no data follows; `EISDIR` or `EINVAL` for what has no extents.
    fn seek_extent(&self, offset: u64, extent: Extent) -> VfsResult<u64> {
        if !self.file_type().is_regular() {
            return Err(self.file_error());
        }
        let size = self.stat()?.size;
        match extent {
            _ if offset >= size => Err(Errno::ENXIO.into()),
            Extent::Data => Ok(offset),
            Extent::Hole => Ok(size),
        }
    }

    /// Makes what was written durable; attributes too unless `DataOnly`.
    ///
    /// # Errors
    /// What the medium answers.
    fn sync(&self, scope: SyncScope) -> VfsResult<()> {
        let _ = scope;
        Ok(())
    }

    /// The whole content without a copy, if the file is read-only content in memory.
    fn map(&self) -> Option<Mapping> {
        None
    }

    /// The hash of the content, if it is cheap to tell and the content cannot change under it.
    fn content_id(&self) -> Option<ContentId> {
        None
    }

    // ---- links, devices ----

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// `EINVAL` if this is none.
    fn read_link(&self) -> VfsResult<Vec<u8>> {
        Err(Errno::EINVAL.into())
    }

    /// As [`read_link`](Self::read_link), by a known process (`/proc/self`).
    ///
    /// # Errors
    /// As `read_link`.
    fn read_link_for(&self, caller: Caller) -> VfsResult<Vec<u8>> {
        let _ = caller;
        self.read_link()
    }

    /// For a link that no path can express (`/proc/self/fd/3`): where following it arrives. `None` for ordinary
    /// links, whose text is walked.
    fn jump(&self, caller: Caller) -> Option<VfsResult<Location>> {
        let _ = caller;
        None
    }

    /// What opening gives; called after all checks. Ordinary files are read and written through this trait.
    ///
    /// # Errors
    /// `ENXIO` for sockets and absent devices, or what the device answers.
    fn open(&self, caller: Caller, flags: OpenFlags) -> VfsResult<NodeOpen> {
        let _ = (caller, flags);
        match self.file_type() {
            FileType::Regular | FileType::Directory => Ok(NodeOpen::Plain),
            FileType::Fifo => Ok(NodeOpen::Fifo),
            FileType::CharDevice | FileType::BlockDevice => Ok(NodeOpen::Device(self.stat()?.rdev)),
            FileType::Socket => Err(Errno::ENXIO.into()),
            FileType::Symlink => Err(Errno::ELOOP.into()),
        }
    }

    // ---- extended attributes ----

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`; `ENOTSUP` if the file system has none.
    fn get_xattr(&self, name: &[u8]) -> VfsResult<Vec<u8>> {
        let _ = name;
        Err(Errno::ENOTSUP.into())
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA` (by `how`), `ENOSPC`, `ENOTSUP`, `EROFS`.
    fn set_xattr(&self, name: &[u8], value: &[u8], how: XattrSet) -> VfsResult<()> {
        let _ = (name, value, how);
        Err(Errno::ENOTSUP.into())
    }

    /// The names of all extended attributes.
    ///
    /// # Errors
    /// `ENOTSUP`.
    fn list_xattr(&self) -> VfsResult<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`, `ENOTSUP`, `EROFS`.
    fn remove_xattr(&self, name: &[u8]) -> VfsResult<()> {
        let _ = name;
        Err(Errno::ENOTSUP.into())
    }

    // ---- for the defaults ----

    /// `ENOTDIR` unless this is a directory, then the given error.
    fn directory_error(&self, otherwise: Errno) -> Error {
        if self.file_type().is_directory() { otherwise.into() } else { Errno::ENOTDIR.into() }
    }

    /// Why this cannot be read or written at an offset.
    fn file_error(&self) -> Error {
        if self.file_type().is_directory() { Errno::EISDIR.into() } else { Errno::EINVAL.into() }
    }
}

/// Where a directory hangs in its file system.
#[derive(Clone)]
pub enum Parent {
    /// It is the root.
    Root,
    /// It is an entry of another directory.
    In {
        /// The other directory.
        directory: Arc<dyn Inode>,
        /// Its name there.
        name: NameBuf,
    },
    /// It was removed, or is no directory.
    Detached,
}

/// What opening an inode gives its opener.
#[derive(Clone)]
pub enum NodeOpen {
    /// Read and write through the inode.
    Plain,
    /// A named pipe: the kernel keeps its buffer, by the file's identity.
    Fifo,
    /// A device that the kernel knows by number.
    Device(DeviceNumber),
    /// Something of the kernel's own, which it put there itself.
    Object(Arc<dyn Any + Send + Sync>),
}

/// Which process asks, for file systems that show each process something else. The kernel gives it meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller(pub u64);
