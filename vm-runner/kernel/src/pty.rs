//! Pseudo terminals: a master that types and sees, a replica that programs use, and the file system that names them.

pub(crate) mod host;
mod master;
mod replica;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use vm_abi::{Credentials, DeviceNumber, Errno, FileType, Mode, OpenFlags, Stat};
use vm_vfs::{Caller, DirEntry, FileSystem, Inode, Name, NodeOpen, Parent, SetAttr, VfsResult};

use crate::anonymous::{AnonymousNode, bare_stat};
use crate::file::description::FileDescription;
use crate::kernel::KernelInner;
use crate::mutex::Mutex;
use crate::tty::Terminal;
use crate::tty::window_size::WindowSize;

pub(crate) use master::Master;
pub(crate) use replica::Replica;

/// The device that makes pseudo terminals.
pub(crate) const PTMX: DeviceNumber = DeviceNumber::new(5, 2);
/// The major device number of replicas.
const REPLICA_MAJOR: u32 = 136;

/// The pseudo terminals whose master is open.
#[derive(Default)]
pub(crate) struct PtyTable {
    nodes: Mutex<BTreeMap<u32, Arc<PtyNode>>>,
}

/// The inode of a replica.
pub(crate) struct PtyNode {
    node: AnonymousNode,
    terminal: Arc<Terminal>,
}

impl PtyNode {
    fn number(&self) -> DeviceNumber {
        DeviceNumber::new(REPLICA_MAJOR, self.terminal.index())
    }
}

impl KernelInner {
    /// Makes a pseudo terminal; gives its master. `ENOSPC` if there are too many.
    pub(crate) fn new_pty(
        self: &Arc<Self>,
        owner: &Credentials,
        window: WindowSize,
    ) -> Result<Master, Errno> {
        let charge = self.meters.terminals.take_one()?;
        let mut nodes = self.ptys.nodes.lock();
        let index = (0..).find(|index| !nodes.contains_key(index)).ok_or(Errno::ENOSPC)?;
        let terminal = Arc::new(Terminal::new(index, window, charge));
        let now = self.clock.realtime();
        // As Linux numbers them: the entry of terminal 0 is inode 3.
        let ino = u64::from(index) + 3;
        let node = AnonymousNode::new(ino, FileType::CharDevice, Mode::new(0o620), owner, now);
        nodes.insert(index, Arc::new(PtyNode { node, terminal: Arc::clone(&terminal) }));
        Ok(Master::new(terminal, Arc::downgrade(self)))
    }

    /// The terminal of a number. `ENXIO` if its master is gone.
    pub(crate) fn pty(&self, number: DeviceNumber) -> Result<Arc<PtyNode>, Errno> {
        if number.major() != REPLICA_MAJOR {
            return Err(Errno::ENXIO);
        }
        self.ptys.nodes.lock().get(&number.minor()).cloned().ok_or(Errno::ENXIO)
    }

    /// The inode of a terminal. `ENXIO` if its master is gone.
    pub(crate) fn pty_node(&self, terminal: &Terminal) -> Result<Arc<PtyNode>, Errno> {
        self.pty(DeviceNumber::new(REPLICA_MAJOR, terminal.index()))
    }

    /// The master is gone, and with it the name.
    fn remove_pty(&self, terminal: &Terminal) {
        let removed = self.ptys.nodes.lock().remove(&terminal.index());
        drop(removed);
    }

    /// An open replica that lies at no path.
    pub(crate) fn describe_replica(&self, node: &Arc<PtyNode>) -> Result<Arc<FileDescription>, Errno> {
        let location = self.anonymous.with_inode(Arc::clone(node) as _);
        let file = Box::new(Replica::open(&node.terminal)?);
        self.describe(location, file, OpenFlags::READ | OpenFlags::WRITE)
    }
}

impl PtyNode {
    /// The terminal.
    pub(crate) fn terminal(&self) -> &Arc<Terminal> {
        &self.terminal
    }
}

impl Inode for PtyNode {
    fn ino(&self) -> u64 {
        self.node.ino()
    }

    fn file_type(&self) -> FileType {
        FileType::CharDevice
    }

    fn stat(&self) -> VfsResult<Stat> {
        Ok(Stat { rdev: self.number(), ..self.node.stat() })
    }

    fn set_attr(&self, attributes: &SetAttr) -> VfsResult<()> {
        self.node.set_attr(attributes);
        Ok(())
    }

    fn open(&self, _caller: Caller, _flags: OpenFlags) -> VfsResult<NodeOpen> {
        Ok(NodeOpen::Device(self.number()))
    }
}

/// The file system that names the replicas, to be mounted at `/dev/pts`.
pub(crate) struct DevPts {
    kernel: Weak<KernelInner>,
}

struct Directory {
    kernel: Weak<KernelInner>,
}

impl DevPts {
    /// The names of a kernel's terminals.
    pub(crate) fn new(kernel: &Arc<KernelInner>) -> Arc<Self> {
        Arc::new(Self { kernel: Arc::downgrade(kernel) })
    }
}

impl FileSystem for DevPts {
    fn kind(&self) -> &'static str {
        "devpts"
    }

    fn statfs(&self) -> VfsResult<vm_vfs::StatFs> {
        Ok(crate::anonymous::no_space())
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(Directory { kernel: Weak::clone(&self.kernel) })
    }
}

impl Inode for Directory {
    fn ino(&self) -> u64 {
        1
    }

    fn file_type(&self) -> FileType {
        FileType::Directory
    }

    fn stat(&self) -> VfsResult<Stat> {
        Ok(bare_stat(1, FileType::Directory, Mode::new(0o755)))
    }

    fn lookup(&self, name: Name<'_>) -> VfsResult<Arc<dyn Inode>> {
        let text = std::str::from_utf8(name.as_bytes()).map_err(|_| Errno::ENOENT)?;
        let index: u32 = text.parse().map_err(|_| Errno::ENOENT)?;
        if index.to_string() != text {
            return Err(Errno::ENOENT.into());
        }
        let kernel = self.kernel.upgrade().ok_or(Errno::ENOENT)?;
        let found = kernel.ptys.nodes.lock().get(&index).cloned();
        found.map(|node| node as _).ok_or_else(|| Errno::ENOENT.into())
    }

    fn parent(&self) -> Parent {
        Parent::Root
    }

    fn read_dir(&self) -> VfsResult<Vec<DirEntry>> {
        let kernel = self.kernel.upgrade().ok_or(Errno::ENOENT)?;
        let nodes = kernel.ptys.nodes.lock();
        let entry = |(index, node): (&u32, &Arc<PtyNode>)| {
            let name = Name::new(index.to_string().as_bytes()).ok()?.to_owned();
            Some(DirEntry { name, ino: node.ino(), file_type: FileType::CharDevice })
        };
        Ok(nodes.iter().filter_map(entry).collect())
    }
}
