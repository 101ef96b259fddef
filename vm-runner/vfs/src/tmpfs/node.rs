//! A node of a tmpfs: file, directory, link or special file.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use vm_abi::{DeviceNumber, Errno, FileType, Mode, Stat};

use super::attributes::Attributes;
use super::content::{Content, PAGE_BYTES};
use super::directory::Directory;
use super::{Shared, initial_bytes};
use crate::error::VfsResult;
use crate::inode::{
    Allocation, Appended, DirEntry, Extent, Inode, NodeKind, Owner, Parent, RenameFlags, SetAttr, XattrSet,
};
use crate::path::Name;

pub(super) struct Node {
    /// Itself, to hand out.
    pub(super) this: Weak<Self>,
    pub(super) shared: Arc<Shared>,
    ino: u64,
    pub(super) body: Body,
    attributes: Mutex<Attributes>,
}

pub(super) enum Body {
    Regular(RwLock<Content>),
    Directory(RwLock<Directory>),
    Symlink(Box<[u8]>),
    Fifo,
    Socket,
    CharDevice(DeviceNumber),
    BlockDevice(DeviceNumber),
}

impl Node {
    /// The root directory. It counts as an inode, so a tmpfs has room for at least it.
    pub(super) fn new_root(shared: &Arc<Shared>, mode: Mode, owner: Owner) -> Arc<Self> {
        // Nothing else has been taken, and the budget is at least one.
        let _ = shared.inodes.take(1);
        Self::build(shared, Body::Directory(RwLock::new(Directory::root())), mode, owner, 2)
    }

    /// A node that no directory names yet; it has paid for its inode and initial bytes.
    pub(super) fn new(
        shared: &Arc<Shared>,
        kind: NodeKind<'_>,
        mode: Mode,
        owner: Owner,
    ) -> VfsResult<Arc<Self>> {
        shared.inodes.take(1)?;
        if let Err(error) = shared.bytes.take(initial_bytes(kind)) {
            shared.inodes.give(1);
            return Err(error);
        }
        let (body, nlink) = match kind {
            NodeKind::Regular => (Body::Regular(RwLock::default()), 0),
            NodeKind::Directory => (Body::Directory(RwLock::new(Directory::detached())), 2),
            NodeKind::Symlink(target) => (Body::Symlink(target.into()), 0),
            NodeKind::Fifo => (Body::Fifo, 0),
            NodeKind::Socket => (Body::Socket, 0),
            NodeKind::CharDevice(device) => (Body::CharDevice(device), 0),
            NodeKind::BlockDevice(device) => (Body::BlockDevice(device), 0),
        };
        Ok(Self::build(shared, body, mode, owner, nlink))
    }

    fn build(shared: &Arc<Shared>, body: Body, mode: Mode, owner: Owner, nlink: u64) -> Arc<Self> {
        let attributes = Attributes::new(mode, owner, nlink, shared.now());
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            shared: Arc::clone(shared),
            ino: shared.allocate_ino(),
            body,
            attributes: Mutex::new(attributes),
        })
    }

    pub(super) fn attributes(&self) -> MutexGuard<'_, Attributes> {
        self.attributes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries, if this is a directory.
    pub(super) fn directory(&self) -> VfsResult<&RwLock<Directory>> {
        match &self.body {
            Body::Directory(directory) => Ok(directory),
            Body::Regular(_)
            | Body::Symlink(_)
            | Body::Fifo
            | Body::Socket
            | Body::CharDevice(_)
            | Body::BlockDevice(_) => Err(Errno::ENOTDIR.into()),
        }
    }

    fn content(&self) -> VfsResult<&RwLock<Content>> {
        match &self.body {
            Body::Regular(content) => Ok(content),
            Body::Directory(_)
            | Body::Symlink(_)
            | Body::Fifo
            | Body::Socket
            | Body::CharDevice(_)
            | Body::BlockDevice(_) => Err(self.file_error()),
        }
    }

    /// A node of the same tmpfs; `EXDEV` for any other inode.
    pub(super) fn sibling(&self, inode: &Arc<dyn Inode>) -> VfsResult<Arc<Self>> {
        let any: Arc<dyn Any + Send + Sync> = Arc::clone(inode) as Arc<dyn Any + Send + Sync>;
        let node = any.downcast::<Self>().map_err(|_| Errno::EXDEV)?;
        if Arc::ptr_eq(&self.shared, &node.shared) { Ok(node) } else { Err(Errno::EXDEV.into()) }
    }

    /// Changes the content under its lock and notes the time.
    fn change_content<T>(&self, change: impl FnOnce(&mut Content) -> VfsResult<T>) -> VfsResult<T> {
        let mut content = self.content()?.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut content)?;
        self.attributes().touch_content(self.shared.now());
        Ok(result)
    }

    fn size_and_charge(&self) -> (u64, u64) {
        match &self.body {
            Body::Regular(content) => {
                let content = content.read().unwrap_or_else(PoisonError::into_inner);
                (content.size(), content.charged())
            }
            Body::Directory(directory) => {
                (directory.read().unwrap_or_else(PoisonError::into_inner).size(), 0)
            }
            Body::Symlink(target) => (target.len() as u64, 0),
            Body::Fifo | Body::Socket | Body::CharDevice(_) | Body::BlockDevice(_) => (0, 0),
        }
    }
}

impl Inode for Node {
    fn ino(&self) -> u64 {
        self.ino
    }

    fn file_type(&self) -> FileType {
        match &self.body {
            Body::Regular(_) => FileType::Regular,
            Body::Directory(_) => FileType::Directory,
            Body::Symlink(_) => FileType::Symlink,
            Body::Fifo => FileType::Fifo,
            Body::Socket => FileType::Socket,
            Body::CharDevice(_) => FileType::CharDevice,
            Body::BlockDevice(_) => FileType::BlockDevice,
        }
    }

    fn stat(&self) -> VfsResult<Stat> {
        let (size, charged) = self.size_and_charge();
        let rdev = match &self.body {
            Body::CharDevice(device) | Body::BlockDevice(device) => *device,
            Body::Regular(_) | Body::Directory(_) | Body::Symlink(_) | Body::Fifo | Body::Socket => {
                DeviceNumber::NONE
            }
        };
        let attributes = self.attributes();
        Ok(Stat {
            dev: 0,
            ino: self.ino,
            mode: self.file_type().mode_bits() | attributes.mode.bits(),
            nlink: attributes.nlink,
            uid: attributes.uid,
            gid: attributes.gid,
            rdev,
            size,
            blocks: charged / 512,
            atime: attributes.atime,
            mtime: attributes.mtime,
            ctime: attributes.ctime,
        })
    }

    fn set_attr(&self, change: &SetAttr) -> VfsResult<()> {
        if let Some(size) = change.size {
            let mut content = self.content()?.write().unwrap_or_else(PoisonError::into_inner);
            content.set_size(size, &self.shared.bytes)?;
        }
        self.attributes().apply(change, self.shared.now());
        Ok(())
    }

    fn lookup(&self, name: Name<'_>) -> VfsResult<Arc<dyn Inode>> {
        Ok(self.find(name)?)
    }

    fn parent(&self) -> Parent {
        self.parent_entry()
    }

    fn create(
        &self,
        name: Name<'_>,
        kind: NodeKind<'_>,
        mode: Mode,
        owner: Owner,
    ) -> VfsResult<Arc<dyn Inode>> {
        Ok(self.make_entry(name, kind, mode, owner)?)
    }

    fn create_unnamed(&self, mode: Mode, owner: Owner) -> VfsResult<Arc<dyn Inode>> {
        self.directory()?;
        Ok(Self::new(&self.shared, NodeKind::Regular, mode, owner)?)
    }

    fn link(&self, name: Name<'_>, target: &Arc<dyn Inode>) -> VfsResult<()> {
        self.link_entry(name, &self.sibling(target)?)
    }

    fn unlink(&self, name: Name<'_>) -> VfsResult<()> {
        self.unlink_entry(name)
    }

    fn rmdir(&self, name: Name<'_>) -> VfsResult<()> {
        self.rmdir_entry(name)
    }

    fn rename(
        &self,
        name: Name<'_>,
        new_parent: &Arc<dyn Inode>,
        new_name: Name<'_>,
        flags: RenameFlags,
    ) -> VfsResult<()> {
        self.rename_entry(name, &self.sibling(new_parent)?, new_name, flags)
    }

    fn read_dir(&self) -> VfsResult<Vec<DirEntry>> {
        Ok(self.directory()?.read().unwrap_or_else(PoisonError::into_inner).list())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> VfsResult<usize> {
        Ok(self.content()?.read().unwrap_or_else(PoisonError::into_inner).read(offset, buffer))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> VfsResult<usize> {
        if bytes.is_empty() {
            return self.content().map(|_| 0);
        }
        self.change_content(|content| content.write(offset, bytes, &self.shared.bytes))
    }

    fn append(&self, bytes: &[u8]) -> VfsResult<Appended> {
        if bytes.is_empty() {
            return self.content().map(|_| Appended { written: 0, end: self.size_and_charge().0 });
        }
        self.change_content(|content| {
            let written = content.write(content.size(), bytes, &self.shared.bytes)?;
            Ok(Appended { written, end: content.size() })
        })
    }

    fn allocate(&self, offset: u64, len: u64, how: Allocation) -> VfsResult<()> {
        let budget = &self.shared.bytes;
        self.change_content(|content| {
            let old_size = content.size();
            if let Allocation::Extend | Allocation::Zero = how {
                let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
                content.set_size(end.max(old_size), budget)?;
            }
            if let Allocation::Zero | Allocation::PunchHole = how {
                content.punch(offset, len, budget)?;
            }
            match how {
                Allocation::PunchHole => Ok(()),
                Allocation::Extend | Allocation::Zero | Allocation::KeepSize => {
                    let result = content.reserve_range(offset, len, budget);
                    if result.is_err() {
                        content.set_size(old_size, budget)?;
                    }
                    result
                }
            }
        })
    }

    fn seek_extent(&self, offset: u64, extent: Extent) -> VfsResult<u64> {
        let content = self.content()?.read().unwrap_or_else(PoisonError::into_inner);
        content.seek(offset, extent).ok_or_else(|| Errno::ENXIO.into())
    }

    fn read_link(&self) -> VfsResult<Vec<u8>> {
        match &self.body {
            Body::Symlink(target) => Ok(target.to_vec()),
            Body::Regular(_)
            | Body::Directory(_)
            | Body::Fifo
            | Body::Socket
            | Body::CharDevice(_)
            | Body::BlockDevice(_) => Err(Errno::EINVAL.into()),
        }
    }

    fn get_xattr(&self, name: &[u8]) -> VfsResult<Vec<u8>> {
        self.attributes().get_xattr(name)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], how: XattrSet) -> VfsResult<()> {
        self.attributes().set_xattr(name, value, how, &self.shared.bytes, self.shared.now())
    }

    fn list_xattr(&self) -> VfsResult<Vec<Vec<u8>>> {
        Ok(self.attributes().list_xattr())
    }

    fn remove_xattr(&self, name: &[u8]) -> VfsResult<()> {
        self.attributes().remove_xattr(name, &self.shared.bytes, self.shared.now())
    }
}

/// Gives back what the node took. A directory's nodes are dropped in a loop, not by recursion: a guest can nest
/// directories deeper than the host's stack.
impl Drop for Node {
    fn drop(&mut self) {
        let mut orphans = self.take_children();
        while let Some(orphan) = orphans.pop() {
            if let Some(mut last) = Arc::into_inner(orphan) {
                orphans.append(&mut last.take_children());
            }
        }
        let own_bytes = match &self.body {
            Body::Symlink(target) => target.len() as u64,
            Body::Regular(_) => self.size_and_charge().1,
            Body::Directory(_) | Body::Fifo | Body::Socket | Body::CharDevice(_) | Body::BlockDevice(_) => 0,
        };
        self.shared.bytes.give(own_bytes + self.attributes().charged());
        self.shared.inodes.give(1);
    }
}

impl Node {
    fn take_children(&mut self) -> Vec<Arc<Self>> {
        match &mut self.body {
            Body::Directory(directory) => {
                directory.get_mut().unwrap_or_else(PoisonError::into_inner).take_all()
            }
            Body::Regular(_)
            | Body::Symlink(_)
            | Body::Fifo
            | Body::Socket
            | Body::CharDevice(_)
            | Body::BlockDevice(_) => Vec::new(),
        }
    }
}

const _: () = assert!(PAGE_BYTES.is_multiple_of(512), "blocks are counted in 512 bytes");
