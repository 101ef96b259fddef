//! What the methods of an inode take and answer.

use bitflags::bitflags;
use vm_abi::{Credentials, DeviceNumber, FileType, Gid, Mode, Timespec, Uid};

use crate::path::NameBuf;

/// What to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind<'a> {
    /// An empty file.
    Regular,
    /// An empty directory.
    Directory,
    /// A symbolic link to this path.
    Symlink(&'a [u8]),
    /// A named pipe.
    Fifo,
    /// A Unix domain socket.
    Socket,
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
}

impl NodeKind<'_> {
    /// The type of the new file.
    #[must_use]
    pub const fn file_type(self) -> FileType {
        match self {
            Self::Regular => FileType::Regular,
            Self::Directory => FileType::Directory,
            Self::Symlink(_) => FileType::Symlink,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
            Self::CharDevice(_) => FileType::CharDevice,
            Self::BlockDevice(_) => FileType::BlockDevice,
        }
    }
}

/// To whom a new file belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
}

impl Owner {
    /// Root and root's group.
    pub const ROOT: Self = Self { uid: Uid::ROOT, gid: Gid::ROOT };
}

/// The effective ids.
impl From<&Credentials> for Owner {
    fn from(credentials: &Credentials) -> Self {
        Self { uid: credentials.euid, gid: credentials.egid }
    }
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The file system's now.
    Now,
    /// This time.
    At(Timespec),
}

impl SetTime {
    /// The time, where it is `now` by the file system's clock.
    pub(crate) const fn at(self, now: Timespec) -> Timespec {
        match self {
            Self::Now => now,
            Self::At(time) => time,
        }
    }
}

/// Attributes to change; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits.
    pub mode: Option<Mode>,
    /// Owner.
    pub uid: Option<Uid>,
    /// Group.
    pub gid: Option<Gid>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Time of the last read.
    pub atime: Option<SetTime>,
    /// Time of the last change of the content.
    pub mtime: Option<SetTime>,
    /// Time of the last change at all. No system call sets it; it is for copying a file with its history.
    pub ctime: Option<Timespec>,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name.
    pub name: NameBuf,
    /// The inode number it names.
    pub ino: u64,
    /// The type of that inode.
    pub file_type: FileType,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// How many bytes were written.
    pub written: usize,
    /// The offset after them.
    pub end: u64,
}

/// What `allocate` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Reserves; the file grows to the end of the range.
    Extend,
    /// Reserves; the size stays.
    KeepSize,
    /// Makes the range a hole; the size stays.
    PunchHole,
    /// Makes the range zeros; the file grows to its end.
    Zero,
}

/// What `seek_extent` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Stored bytes.
    Data,
    /// A range that reads as zeros and takes no space.
    Hole,
}

/// What `sync` makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncScope {
    /// Content, and what is needed to find it.
    DataOnly,
    /// Content and all attributes.
    Everything,
}

/// How an extended attribute is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XattrSet {
    /// Made or replaced.
    #[default]
    Any,
    /// Made; `EEXIST` if there.
    Create,
    /// Replaced; `ENODATA` if missing.
    Replace,
}

bitflags! {
    /// How a rename treats its target.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RenameFlags: u32 {
        /// Fail with `EEXIST` instead of replacing.
        const NOREPLACE = 1;
        /// Swap the two.
        const EXCHANGE = 2;
    }
}
