//! The file system of things that have no path: pipes and sockets.
//!
//! It gives them what every open file has, a location with an inode, so that `fstat`, `fchmod` and `/proc/PID/fd` need
//! no special case. It is never mounted.

use std::sync::Arc;

use vm_abi::{Credentials, DeviceNumber, FileType, Gid, Mode, Stat, Timespec, Uid};
use vm_vfs::{FileSystem, Inode, Location, Owner, SetAttr, SetTime, VfsResult};

use crate::mutex::Mutex;

/// No mounted file system reaches this device number.
const DEVICE: DeviceNumber = DeviceNumber::new(0, 0xf_ffff);

/// The location that all anonymous files are made from, with [`Location::with_inode`].
pub(crate) fn anonymous_location() -> Location {
    let root: Arc<dyn Inode> = Arc::new(AnonymousRoot);
    Location::anonymous(Arc::new(AnonymousFs { root: Arc::clone(&root) }), DEVICE.0, root)
}

struct AnonymousFs {
    root: Arc<dyn Inode>,
}

struct AnonymousRoot;

impl FileSystem for AnonymousFs {
    fn kind(&self) -> &'static str {
        "anon"
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::clone(&self.root)
    }
}

impl Inode for AnonymousRoot {
    fn ino(&self) -> u64 {
        1
    }

    fn file_type(&self) -> FileType {
        FileType::Directory
    }

    fn stat(&self) -> VfsResult<Stat> {
        Ok(bare_stat(1, FileType::Directory, Mode::new(0o500)))
    }
}

/// Number and attributes of an anonymous file.
#[derive(Debug)]
pub(crate) struct AnonymousNode {
    ino: u64,
    file_type: FileType,
    attributes: Mutex<Attributes>,
}

#[derive(Clone, Copy, Debug)]
struct Attributes {
    mode: Mode,
    uid: Uid,
    gid: Gid,
    atime: Timespec,
    mtime: Timespec,
}

impl AnonymousNode {
    /// A new file that belongs to the effective user.
    pub(crate) fn new(
        ino: u64,
        file_type: FileType,
        mode: Mode,
        credentials: &Credentials,
        now: Timespec,
    ) -> Self {
        let Owner { uid, gid } = credentials.into();
        Self { ino, file_type, attributes: Mutex::new(Attributes { mode, uid, gid, atime: now, mtime: now }) }
    }

    /// Its number.
    pub(crate) fn ino(&self) -> u64 {
        self.ino
    }

    /// Its type.
    pub(crate) fn file_type(&self) -> FileType {
        self.file_type
    }

    /// The facts about it.
    pub(crate) fn stat(&self) -> Stat {
        let Attributes { mode, uid, gid, atime, mtime } = *self.attributes.lock();
        Stat { uid, gid, atime, mtime, ctime: mtime, ..bare_stat(self.ino, self.file_type, mode) }
    }

    /// Changes attributes; a size is passed over, as it has none.
    pub(crate) fn set_attr(&self, change: &SetAttr) {
        let SetAttr { mode, uid, gid, size: _, atime, mtime, ctime: _ } = *change;
        let mut attributes = self.attributes.lock();
        attributes.mode = mode.unwrap_or(attributes.mode);
        attributes.uid = uid.unwrap_or(attributes.uid);
        attributes.gid = gid.unwrap_or(attributes.gid);
        if let Some(SetTime::At(time)) = atime {
            attributes.atime = time;
        }
        if let Some(SetTime::At(time)) = mtime {
            attributes.mtime = time;
        }
    }
}

/// The facts about a file of root's that has no size and no history.
pub(crate) fn bare_stat(ino: u64, file_type: FileType, mode: Mode) -> Stat {
    Stat {
        dev: 0,
        ino,
        mode: file_type.mode_bits() | mode.bits(),
        nlink: 1,
        uid: Uid::ROOT,
        gid: Gid::ROOT,
        rdev: DeviceNumber::NONE,
        size: 0,
        blocks: 0,
        atime: Timespec::EPOCH,
        mtime: Timespec::EPOCH,
        ctime: Timespec::EPOCH,
    }
}

/// What a file system that holds nothing has: as Linux's procfs, no blocks and no inodes.
pub(crate) fn no_space() -> vm_vfs::StatFs {
    vm_vfs::StatFs { total_bytes: 0, free_bytes: 0, total_inodes: 0, free_inodes: 0, block_bytes: 4096 }
}
