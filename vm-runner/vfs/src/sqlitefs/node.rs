//! A file, directory, link or special file, in memory.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError, Weak,
};

use vm_abi::{DeviceNumber, Errno, FileType, Mode};

use super::Shared;
use super::attributes::Attributes;
use super::batch::{Gone, NodeChange};
use super::content::{Content, Env, Eviction};
use super::directory::{Directory, Place};
use super::row::InodeRow;
use super::schema::MAX_INO;
use crate::error::VfsResult;
use crate::inode::{Inode, NodeKind, Owner};

pub(super) struct Node {
    /// Itself, to hand out.
    pub(super) this: Weak<Self>,
    pub(super) shared: Arc<Shared>,
    ino: u64,
    pub(super) body: Body,
    attributes: Mutex<Attributes>,
    /// What the file in all was charged. Shared with the registry of files without a name.
    charge: Arc<AtomicU64>,
    /// As the content has it, to be read without waiting for the content.
    pub(super) size: AtomicU64,
    /// What the content was charged, likewise.
    pub(super) content_bytes: AtomicU64,
    /// Whether the next batch will look at it.
    is_queued: AtomicBool,
    /// Whether the batch that is being written has something of it.
    is_in_flight: AtomicBool,
    /// The last batch that had something of it.
    last_batch: AtomicU64,
    /// Whether it was found since it was last asked to go.
    is_used: AtomicBool,
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
    /// A new one, which the caller enters into the table. It has paid for its inode and its target. `place` is where a
    /// directory will hang.
    pub(super) fn create(
        shared: &Arc<Shared>,
        kind: NodeKind<'_>,
        (mode, owner): (Mode, Owner),
        nlink: u64,
        place: Place,
    ) -> VfsResult<Arc<Self>> {
        let target_bytes = match kind {
            NodeKind::Symlink(target) => target.len() as u64,
            NodeKind::Regular
            | NodeKind::Directory
            | NodeKind::Fifo
            | NodeKind::Socket
            | NodeKind::CharDevice(_)
            | NodeKind::BlockDevice(_) => 0,
        };
        shared.inodes.take(1)?;
        if let Err(error) = shared.bytes.take(target_bytes) {
            shared.inodes.give(1);
            return Err(error);
        }
        let ino = shared.next_ino.fetch_add(1, Ordering::Relaxed);
        if ino >= MAX_INO {
            shared.inodes.give(1);
            shared.bytes.give(target_bytes);
            return Err(Errno::ENOSPC.into());
        }
        let body = match kind {
            NodeKind::Regular => Body::Regular(RwLock::default()),
            NodeKind::Directory => Body::Directory(RwLock::new(Directory::new(place))),
            NodeKind::Symlink(target) => Body::Symlink(target.into()),
            NodeKind::Fifo => Body::Fifo,
            NodeKind::Socket => Body::Socket,
            NodeKind::CharDevice(device) => Body::CharDevice(device),
            NodeKind::BlockDevice(device) => Body::BlockDevice(device),
        };
        let attributes = Attributes::new(mode, owner, nlink, shared.now());
        let node = Self::build(shared, ino, body, attributes, target_bytes);
        node.queue();
        Ok(node)
    }

    /// One that the database has.
    pub(super) fn stored(shared: &Arc<Shared>, row: InodeRow) -> Arc<Self> {
        let attributes = Attributes::stored(&row);
        let InodeRow { ino, file_type, rdev, size, content_bytes, xattr_bytes, place, target, .. } = row;
        let body = match file_type {
            FileType::Regular => Body::Regular(RwLock::new(Content::stored(size, content_bytes))),
            FileType::Directory => {
                let place = match place {
                    Some((parent, name)) => Place::In { parent, name },
                    None if ino == super::schema::ROOT_INO => Place::Root,
                    None => Place::Nowhere,
                };
                Body::Directory(RwLock::new(Directory::stored(place, size)))
            }
            FileType::Symlink => Body::Symlink(target.unwrap_or_default().into()),
            FileType::Fifo => Body::Fifo,
            FileType::Socket => Body::Socket,
            FileType::CharDevice => Body::CharDevice(rdev),
            FileType::BlockDevice => Body::BlockDevice(rdev),
        };
        let target_bytes = if let Body::Symlink(target) = &body { target.len() as u64 } else { 0 };
        // A damaged database may have any numbers.
        let charge = content_bytes.saturating_add(xattr_bytes).saturating_add(target_bytes);
        let node = Self::build(shared, ino, body, attributes, charge);
        node.size.store(size, Ordering::Relaxed);
        node.content_bytes.store(content_bytes, Ordering::Relaxed);
        node
    }

    fn build(shared: &Arc<Shared>, ino: u64, body: Body, attributes: Attributes, charge: u64) -> Arc<Self> {
        let size = if let Body::Symlink(target) = &body { target.len() as u64 } else { 0 };
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            shared: Arc::clone(shared),
            ino,
            body,
            attributes: Mutex::new(attributes),
            charge: Arc::new(AtomicU64::new(charge)),
            size: AtomicU64::new(size),
            content_bytes: AtomicU64::new(0),
            is_queued: AtomicBool::new(false),
            is_in_flight: AtomicBool::new(false),
            last_batch: AtomicU64::new(0),
            is_used: AtomicBool::new(true),
        })
    }

    pub(super) const fn ino(&self) -> u64 {
        self.ino
    }

    pub(super) const fn kind(&self) -> FileType {
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

    pub(super) const fn rdev(&self) -> DeviceNumber {
        match &self.body {
            Body::CharDevice(device) | Body::BlockDevice(device) => *device,
            Body::Regular(_) | Body::Directory(_) | Body::Symlink(_) | Body::Fifo | Body::Socket => {
                DeviceNumber::NONE
            }
        }
    }

    pub(super) fn attributes(&self) -> MutexGuard<'_, Attributes> {
        self.attributes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries, if this is a directory.
    pub(super) fn directory(&self) -> VfsResult<&RwLock<Directory>> {
        if let Body::Directory(directory) = &self.body { Ok(directory) } else { Err(Errno::ENOTDIR.into()) }
    }

    pub(super) fn entries(&self) -> VfsResult<RwLockReadGuard<'_, Directory>> {
        Ok(self.directory()?.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn entries_mut(&self) -> VfsResult<RwLockWriteGuard<'_, Directory>> {
        Ok(self.directory()?.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn content(&self) -> VfsResult<&RwLock<Content>> {
        if let Body::Regular(content) = &self.body { Ok(content) } else { Err(self.file_error()) }
    }

    pub(super) fn env(&self) -> Env<'_> {
        let Shared { database, bytes, memory, .. } = &*self.shared;
        Env { ino: self.ino, database, bytes, memory, charge: &self.charge }
    }

    pub(super) const fn charge(&self) -> &Arc<AtomicU64> {
        &self.charge
    }

    /// A node of the same file system; `EXDEV` for any other inode.
    pub(super) fn sibling(&self, inode: &Arc<dyn Inode>) -> VfsResult<Arc<Self>> {
        let any: Arc<dyn Any + Send + Sync> = Arc::clone(inode) as Arc<dyn Any + Send + Sync>;
        let node = any.downcast::<Self>().map_err(|_| Errno::EXDEV)?;
        if Arc::ptr_eq(&self.shared, &node.shared) { Ok(node) } else { Err(Errno::EXDEV.into()) }
    }

    // ---- for the table ----

    pub(super) fn use_it(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since this was last asked.
    pub(super) fn was_used(&self) -> bool {
        self.is_used.swap(false, Ordering::Relaxed)
    }

    /// Whether it differs from the database.
    pub(super) fn is_pinned(&self) -> bool {
        self.is_queued.load(Ordering::Acquire) || self.is_in_flight.load(Ordering::Relaxed)
    }

    /// Lets the entries of a directory go, if the database has them.
    pub(super) fn forget_entries(&self) {
        if let Ok(mut entries) = self.entries_mut()
            && !self.is_pinned()
            && !entries.is_changed()
        {
            entries.forget(&self.shared.memory);
        }
    }

    pub(super) fn evict(&self, index: u32) -> Eviction {
        let Body::Regular(content) = &self.body else { return Eviction::Done };
        match content.try_write() {
            Ok(mut content) => content.evict(&self.shared.memory, index),
            Err(TryLockError::Poisoned(content)) => content.into_inner().evict(&self.shared.memory, index),
            Err(TryLockError::WouldBlock) => Eviction::Later,
        }
    }

    pub(super) fn is_offered(&self, index: u32) -> bool {
        let Body::Regular(content) = &self.body else { return false };
        content.read().unwrap_or_else(PoisonError::into_inner).is_offered(index)
    }

    // ---- for batches ----

    /// Sees to it that the next batch looks at this. Only while changing.
    pub(super) fn queue(&self) {
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            self.shared.memory.add_dirty_node();
            self.shared.flush.queue(self.ino, Weak::clone(&self.this));
        }
    }

    /// What the next batch writes of this. Only while nobody changes anything.
    pub(super) fn collect(&self, batch: u64) -> NodeChange {
        self.is_in_flight.store(true, Ordering::Relaxed);
        self.last_batch.store(batch, Ordering::Relaxed);
        // Last, for who sees it without a lock has to see the two others (`is_pinned`, `settled_in`).
        self.is_queued.store(false, Ordering::Release);
        let mut change = NodeChange::new(self.ino);
        match &self.body {
            Body::Regular(content) => {
                change.content = content.write().unwrap_or_else(PoisonError::into_inner).collect();
            }
            Body::Directory(directory) => {
                change.entries = directory.write().unwrap_or_else(PoisonError::into_inner).collect();
            }
            Body::Symlink(_) | Body::Fifo | Body::Socket | Body::CharDevice(_) | Body::BlockDevice(_) => {}
        }
        let place = self.place();
        let mut attributes = self.attributes();
        change.xattrs = attributes.collect_xattrs();
        if std::mem::take(&mut attributes.is_changed) {
            change.row = Some(self.row(&attributes, place));
            attributes.is_stored = true;
            let is_orphan = attributes.nlink == 0;
            if attributes.is_stored_orphan != is_orphan {
                attributes.is_stored_orphan = is_orphan;
                change.orphan = Some(is_orphan);
            }
        }
        change
    }

    /// The batch with this change is in the database.
    pub(super) fn committed(&self, change: &NodeChange) {
        match &self.body {
            Body::Regular(content) => {
                let indices = change.content.chunks.iter().map(|(index, _)| *index);
                let mut content = content.write().unwrap_or_else(PoisonError::into_inner);
                content.committed(&self.env(), indices);
            }
            Body::Directory(directory) => {
                directory.write().unwrap_or_else(PoisonError::into_inner).committed();
            }
            Body::Symlink(_) | Body::Fifo | Body::Socket | Body::CharDevice(_) | Body::BlockDevice(_) => {}
        }
        if change.xattrs.is_some() {
            self.attributes().xattrs_committed(&self.env());
        }
        self.is_in_flight.store(false, Ordering::Relaxed);
    }

    /// The last batch that had something of this, if no later one has to.
    pub(super) fn settled_in(&self) -> Option<u64> {
        (!self.is_queued.load(Ordering::Acquire)).then(|| self.last_batch.load(Ordering::Relaxed))
    }

    fn place(&self) -> Option<(u64, crate::path::NameBuf)> {
        match &self.entries().ok()?.place {
            Place::In { parent, name } => Some((*parent, name.clone())),
            Place::Root | Place::Nowhere => None,
        }
    }

    fn row(&self, attributes: &Attributes, place: Option<(u64, crate::path::NameBuf)>) -> InodeRow {
        let target = if let Body::Symlink(target) = &self.body { Some(target.to_vec()) } else { None };
        InodeRow {
            ino: self.ino,
            file_type: self.kind(),
            mode: attributes.mode,
            uid: attributes.uid,
            gid: attributes.gid,
            nlink: attributes.nlink,
            rdev: self.rdev(),
            size: self.size.load(Ordering::Relaxed),
            content_bytes: self.content_bytes.load(Ordering::Relaxed),
            xattr_bytes: attributes.xattr_bytes(),
            atime: attributes.atime,
            mtime: attributes.mtime,
            ctime: attributes.ctime,
            place,
            target,
        }
    }
}

/// A node that goes is either one that the database has whole, or one without a name: then the file goes with it.
impl Drop for Node {
    fn drop(&mut self) {
        let memory = &self.shared.memory;
        let mut chunks_end = 0;
        match &mut self.body {
            Body::Regular(content) => {
                let content = content.get_mut().unwrap_or_else(PoisonError::into_inner);
                content.drop_all(memory);
                chunks_end = content.stored_end();
            }
            Body::Directory(directory) => {
                directory.get_mut().unwrap_or_else(PoisonError::into_inner).drop_all(memory);
            }
            Body::Symlink(_) | Body::Fifo | Body::Socket | Body::CharDevice(_) | Body::BlockDevice(_) => {}
        }
        let attributes = self.attributes.get_mut().unwrap_or_else(PoisonError::into_inner);
        attributes.drop_all(memory);
        if attributes.nlink > 0 {
            return;
        }
        let gone = Gone { ino: self.ino, chunks_end };
        self.shared.bury(gone, attributes.is_stored, self.charge.load(Ordering::Relaxed));
    }
}
