//! A file of an overlay: its parts in the layers, and itself as an inode.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use vm_abi::{Errno, FileType, Mode, OpenFlags, Stat};

use super::Shared;
use super::lower_cache::LowerStack;
use super::marker::PRIVATE_XATTR_PREFIX;
use crate::content::{ContentId, Mapping};
use crate::error::VfsResult;
use crate::inode::{
    Allocation, Appended, Caller, DirEntry, Extent, Inode, NodeKind, NodeOpen, Owner, Parent, RenameFlags,
    SetAttr, SyncScope, XattrSet,
};
use crate::path::{Name, NameBuf};

pub(super) struct Node {
    /// Itself, to hand out.
    pub(super) this: Weak<Self>,
    pub(super) shared: Arc<Shared>,
    pub(super) ino: u64,
    pub(super) file_type: FileType,
    /// Held while the file's data is copied up, so that it is copied once.
    pub(super) copying: Mutex<()>,
    state: RwLock<State>,
}

/// The parts of a file. They change only while the tree is held exclusively.
pub(super) struct State {
    /// The upper part: all of a file, the topmost part of a directory.
    pub(super) upper: Option<Arc<dyn Inode>>,
    /// The lower part, of directories possibly several. A file has either an upper or a lower part.
    pub(super) lowers: LowerStack,
    /// Where it is found; of files that have an upper part it does not matter.
    pub(super) place: Place,
}

/// Where a file is found.
#[derive(Clone)]
pub(super) enum Place {
    /// It is the root directory.
    Root,
    /// It is an entry of a directory.
    In { directory: Arc<Node>, name: NameBuf },
    /// It was made without a name, and may get one.
    Unnamed,
    /// It lost its name.
    Nowhere,
}

impl Node {
    pub(super) fn new(
        shared: &Arc<Shared>,
        ino: u64,
        file_type: FileType,
        upper: Option<Arc<dyn Inode>>,
        lowers: LowerStack,
        place: Place,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            shared: Arc::clone(shared),
            ino,
            file_type,
            copying: Mutex::new(()),
            state: RwLock::new(State { upper, lowers, place }),
        })
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only while the tree is held exclusively.
    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn upper(&self) -> Option<Arc<dyn Inode>> {
        self.state().upper.clone()
    }

    /// The part that stands for the whole: attributes, and the content of a file.
    pub(super) fn active(&self) -> VfsResult<Arc<dyn Inode>> {
        self.state().active().map(Arc::clone)
    }

    /// A node of the same overlay; `EXDEV` for any other inode.
    pub(super) fn sibling(&self, inode: &Arc<dyn Inode>) -> VfsResult<Arc<Self>> {
        let any: Arc<dyn Any + Send + Sync> = Arc::clone(inode) as Arc<dyn Any + Send + Sync>;
        let node = any.downcast::<Self>().map_err(|_| Errno::EXDEV)?;
        if Arc::ptr_eq(&self.shared, &node.shared) { Ok(node) } else { Err(Errno::EXDEV.into()) }
    }

    /// The upper part for changing content or attributes, copied up if need be.
    fn for_change(&self) -> VfsResult<Arc<dyn Inode>> {
        self.copy_up(u64::MAX)
    }

    /// As `for_change`, of what must be a regular file.
    fn for_write(&self) -> VfsResult<Arc<dyn Inode>> {
        if self.file_type.is_regular() { self.for_change() } else { Err(self.file_error()) }
    }
}

impl Inode for Node {
    fn ino(&self) -> u64 {
        self.ino
    }

    fn file_type(&self) -> FileType {
        self.file_type
    }

    fn stat(&self) -> VfsResult<Stat> {
        let state = self.state();
        let mut stat = state.active()?.stat()?;
        stat.ino = self.ino;
        let parts = state.lowers.len() + usize::from(state.upper.is_some());
        if self.file_type.is_directory() && parts > 1 {
            // Nobody counts the subdirectories of a merged directory; 1 says so.
            stat.nlink = 1;
        }
        if let (Place::Nowhere, None) = (&state.place, &state.upper) {
            stat.nlink = 0;
        }
        Ok(stat)
    }

    fn set_attr(&self, attributes: &SetAttr) -> VfsResult<()> {
        if attributes.size.is_some() && !self.file_type.is_regular() {
            return Err(self.file_error());
        }
        // What a smaller size cuts off need not be copied.
        self.copy_up(attributes.size.unwrap_or(u64::MAX))?.set_attr(attributes)
    }

    fn lookup(&self, name: Name<'_>) -> VfsResult<Arc<dyn Inode>> {
        if !self.file_type.is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        let _looking = self.shared.look();
        Ok(self.find(name)?)
    }

    fn parent(&self) -> Parent {
        match &self.state().place {
            Place::Root => Parent::Root,
            Place::In { directory, name } if self.file_type.is_directory() => {
                Parent::In { directory: Arc::clone(directory) as Arc<dyn Inode>, name: name.clone() }
            }
            Place::In { .. } | Place::Unnamed | Place::Nowhere => Parent::Detached,
        }
    }

    fn create(
        &self,
        name: Name<'_>,
        kind: NodeKind<'_>,
        mode: Mode,
        owner: Owner,
    ) -> VfsResult<Arc<dyn Inode>> {
        Ok(self.create_entry(name, kind, mode, owner)?)
    }

    fn create_unnamed(&self, mode: Mode, owner: Owner) -> VfsResult<Arc<dyn Inode>> {
        Ok(self.create_without_entry(mode, owner)?)
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
        if !self.file_type.is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        let _looking = self.shared.look();
        self.list()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> VfsResult<usize> {
        self.active()?.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> VfsResult<usize> {
        if bytes.is_empty() {
            return self.active()?.read_at(offset, &mut []);
        }
        self.for_write()?.write_at(offset, bytes)
    }

    fn append(&self, bytes: &[u8]) -> VfsResult<Appended> {
        if bytes.is_empty() && self.file_type.is_regular() {
            return Ok(Appended { written: 0, end: self.active()?.stat()?.size });
        }
        self.for_write()?.append(bytes)
    }

    fn allocate(&self, offset: u64, len: u64, how: Allocation) -> VfsResult<()> {
        self.for_write()?.allocate(offset, len, how)
    }

    fn seek_extent(&self, offset: u64, extent: Extent) -> VfsResult<u64> {
        self.active()?.seek_extent(offset, extent)
    }

    fn sync(&self, scope: SyncScope) -> VfsResult<()> {
        self.upper().map_or(Ok(()), |upper| upper.sync(scope))
    }

    fn map(&self) -> Option<Mapping> {
        self.active().ok()?.map()
    }

    fn content_id(&self) -> Option<ContentId> {
        self.active().ok()?.content_id()
    }

    fn read_link(&self) -> VfsResult<Vec<u8>> {
        self.active()?.read_link()
    }

    fn open(&self, caller: Caller, flags: OpenFlags) -> VfsResult<NodeOpen> {
        self.active()?.open(caller, flags)
    }

    fn get_xattr(&self, name: &[u8]) -> VfsResult<Vec<u8>> {
        if name.starts_with(PRIVATE_XATTR_PREFIX) {
            return Err(Errno::ENODATA.into());
        }
        match self.active()?.get_xattr(name) {
            // A lower layer without extended attributes has just none; the upper one could have them.
            Err(error) if error == Errno::ENOTSUP && self.upper().is_none() => Err(Errno::ENODATA.into()),
            result => result,
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], how: XattrSet) -> VfsResult<()> {
        if name.starts_with(PRIVATE_XATTR_PREFIX) {
            return Err(Errno::EPERM.into());
        }
        self.for_change()?.set_xattr(name, value, how)
    }

    fn list_xattr(&self) -> VfsResult<Vec<Vec<u8>>> {
        let mut names = self.active()?.list_xattr()?;
        names.retain(|name| !name.starts_with(PRIVATE_XATTR_PREFIX));
        Ok(names)
    }

    fn remove_xattr(&self, name: &[u8]) -> VfsResult<()> {
        self.get_xattr(name)?;
        self.for_change()?.remove_xattr(name)
    }
}

/// Leaves the table, and lets go of the directories above in a loop: a guest can nest deeper than the host's stack.
impl Drop for Node {
    fn drop(&mut self) {
        let ino = self.ino;
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Only of a file that was copied up anything is remembered: it is shown by the lower file's number.
        let upper = state.upper.take().filter(|upper| upper.ino() != ino);
        let gone = upper.filter(|upper| upper.stat().is_ok_and(|stat| stat.nlink == 0));
        let mut above = state.take_parent();
        self.shared.table.forget(ino, gone.map(|upper| upper.ino()));
        while let Some(directory) = above {
            let last = Arc::into_inner(directory);
            above = last.and_then(|mut node| {
                node.state.get_mut().unwrap_or_else(PoisonError::into_inner).take_parent()
            });
        }
    }
}

impl State {
    /// The part that stands for the whole.
    fn active(&self) -> VfsResult<&Arc<dyn Inode>> {
        let lower = self.lowers.first().map(|lower| &lower.inode);
        self.upper.as_ref().or(lower).ok_or_else(|| Errno::EIO.into())
    }

    fn take_parent(&mut self) -> Option<Arc<Node>> {
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::In { directory, name: _ } => Some(directory),
            Place::Root | Place::Unnamed | Place::Nowhere => None,
        }
    }
}
