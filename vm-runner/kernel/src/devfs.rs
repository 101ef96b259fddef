//! The file system of devices, to be mounted at `/dev`.
//!
//! Nodes name devices by number; what opening them gives is `device.rs`'s matter. Links lead to the caller's own open
//! files through procfs. Nothing in it can be changed; `shm` and `mqueue` are there to be mounted over.

use std::sync::{Arc, Weak};

use vm_abi::{DeviceNumber, Errno, FileType, Mode, Stat, Timespec};
use vm_vfs::{DirEntry, FileSystem, Inode, Name, NameBuf, Parent, StatFs, VfsResult};

use crate::anonymous::{bare_stat, no_space};
use crate::device;
use crate::pty::PTMX;

/// A tree of devices.
pub(crate) struct DevFs {
    root: Arc<Node>,
}

struct Node {
    ino: u64,
    made_at: Timespec,
    kind: NodeContent,
}

enum NodeContent {
    Root(Vec<(NameBuf, Arc<Node>)>),
    /// An empty directory, to be mounted over.
    MountPoint {
        root: Weak<Node>,
        name: NameBuf,
    },
    Device(DeviceNumber),
    Link(&'static [u8]),
}

const DEVICES: [(&[u8], DeviceNumber); 7] = [
    (b"full", device::FULL),
    (b"null", device::NULL),
    (b"ptmx", PTMX),
    (b"random", device::RANDOM),
    (b"tty", device::TTY),
    (b"urandom", device::URANDOM),
    (b"zero", device::ZERO),
];

const LINKS: [(&[u8], &[u8]); 4] = [
    (b"fd", b"/proc/self/fd"),
    (b"stderr", b"/proc/self/fd/2"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
];

const MOUNT_POINTS: [&[u8]; 3] = [b"mqueue", b"pts", b"shm"];

impl DevFs {
    /// The tree, made now.
    pub(crate) fn new(now: Timespec) -> Arc<Self> {
        let root = Arc::new_cyclic(|root| Node {
            ino: 1,
            made_at: now,
            kind: NodeContent::Root(entries(root, now)),
        });
        Arc::new(Self { root })
    }
}

fn entries(root: &Weak<Node>, now: Timespec) -> Vec<(NameBuf, Arc<Node>)> {
    let devices = DEVICES.iter().map(|(name, number)| (*name, NodeContent::Device(*number)));
    let links = LINKS.iter().map(|(name, target)| (*name, NodeContent::Link(target)));
    let named =
        devices.chain(links).filter_map(|(name, kind)| Some((Name::new(name).ok()?.to_owned(), kind)));
    let mount_points = MOUNT_POINTS.iter().filter_map(|name| {
        let name = Name::new(name).ok()?.to_owned();
        Some((name.clone(), NodeContent::MountPoint { root: Weak::clone(root), name }))
    });
    let mut entries: Vec<_> = named
        .chain(mount_points)
        .zip(2..)
        .map(|((name, kind), ino)| (name, Arc::new(Node { ino, made_at: now, kind })))
        .collect();
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries
}

impl FileSystem for DevFs {
    fn kind(&self) -> &'static str {
        "devtmpfs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::clone(&self.root) as _
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn statfs(&self) -> VfsResult<StatFs> {
        Ok(no_space())
    }
}

impl Inode for Node {
    fn ino(&self) -> u64 {
        self.ino
    }

    fn file_type(&self) -> FileType {
        match self.kind {
            NodeContent::Root(_) | NodeContent::MountPoint { .. } => FileType::Directory,
            NodeContent::Device(_) => FileType::CharDevice,
            NodeContent::Link(_) => FileType::Symlink,
        }
    }

    fn stat(&self) -> VfsResult<Stat> {
        let (mode, rdev, size) = match &self.kind {
            NodeContent::Root(_) | NodeContent::MountPoint { .. } => (0o755, DeviceNumber::NONE, 0),
            NodeContent::Device(number) => (0o666, *number, 0),
            NodeContent::Link(target) => (0o777, DeviceNumber::NONE, target.len() as u64),
        };
        let stat = bare_stat(self.ino, self.file_type(), Mode::new(mode));
        Ok(Stat { rdev, size, atime: self.made_at, mtime: self.made_at, ctime: self.made_at, ..stat })
    }

    fn lookup(&self, name: Name<'_>) -> VfsResult<Arc<dyn Inode>> {
        let NodeContent::Root(entries) = &self.kind else {
            return Err(self.directory_error(Errno::ENOENT));
        };
        let found = entries.iter().find(|(own, _)| own.as_name() == name);
        found.map(|(_, node)| Arc::clone(node) as _).ok_or_else(|| Errno::ENOENT.into())
    }

    fn parent(&self) -> Parent {
        match &self.kind {
            NodeContent::Root(_) => Parent::Root,
            NodeContent::MountPoint { root, name } => match root.upgrade() {
                Some(root) => Parent::In { directory: root, name: name.clone() },
                None => Parent::Detached,
            },
            NodeContent::Device(_) | NodeContent::Link(_) => Parent::Detached,
        }
    }

    fn read_dir(&self) -> VfsResult<Vec<DirEntry>> {
        match &self.kind {
            NodeContent::Root(entries) => Ok(entries
                .iter()
                .map(|(name, node)| DirEntry {
                    name: name.clone(),
                    ino: node.ino,
                    file_type: node.file_type(),
                })
                .collect()),
            NodeContent::MountPoint { .. } => Ok(Vec::new()),
            NodeContent::Device(_) | NodeContent::Link(_) => Err(Errno::ENOTDIR.into()),
        }
    }

    fn read_link(&self) -> VfsResult<Vec<u8>> {
        match self.kind {
            NodeContent::Link(target) => Ok(target.to_vec()),
            NodeContent::Root(_) | NodeContent::MountPoint { .. } | NodeContent::Device(_) => {
                Err(Errno::EINVAL.into())
            }
        }
    }
}
