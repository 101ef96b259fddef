//! Directories of a tmpfs, and every change of the tree.
//!
//! Invariant: an entry's node is counted by its `nlink`; a directory has exactly one entry, and knows it. Only the
//! holder of `Shared::changes` changes entries or locks more than one directory.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard, Weak};

use vm_abi::{Errno, Mode};

use super::node::Node;
use crate::error::VfsResult;
use crate::inode::{DirEntry, Inode, NodeKind, Owner, Parent, RenameFlags};
use crate::path::{Name, NameBuf};

/// How many names a file can have (`EMLINK`).
const MAX_LINKS: u64 = 65_000;
/// What `stat` tells as a directory's size, per entry.
const ENTRY_BYTES: u64 = 32;

pub(super) struct Directory {
    entries: BTreeMap<NameBuf, Arc<Node>>,
    place: Place,
}

/// Where a directory hangs.
enum Place {
    Root,
    In {
        directory: Weak<Node>,
        name: NameBuf,
    },
    /// Not yet, or no more.
    Nowhere,
}

impl Directory {
    pub(super) const fn root() -> Self {
        Self { entries: BTreeMap::new(), place: Place::Root }
    }

    pub(super) const fn detached() -> Self {
        Self { entries: BTreeMap::new(), place: Place::Nowhere }
    }

    pub(super) fn size(&self) -> u64 {
        (self.entries.len() as u64 + 2) * ENTRY_BYTES
    }

    pub(super) fn list(&self) -> Vec<DirEntry> {
        let entry = |(name, node): (&NameBuf, &Arc<Node>)| DirEntry {
            name: name.clone(),
            ino: node.ino(),
            file_type: node.file_type(),
        };
        self.entries.iter().map(entry).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Arc<Node>> {
        std::mem::take(&mut self.entries).into_values().collect()
    }

    fn get(&self, name: Name<'_>) -> VfsResult<&Arc<Node>> {
        self.entries.get(name.as_bytes()).ok_or_else(|| Errno::ENOENT.into())
    }

    /// Fails unless a new entry may be made here.
    fn check_vacant(&self, name: Name<'_>) -> VfsResult<()> {
        match self.place {
            Place::Nowhere => Err(Errno::ENOENT.into()),
            Place::Root | Place::In { .. } if self.entries.contains_key(name.as_bytes()) => {
                Err(Errno::EEXIST.into())
            }
            Place::Root | Place::In { .. } => Ok(()),
        }
    }
}

impl Node {
    pub(super) fn find(&self, name: Name<'_>) -> VfsResult<Arc<Self>> {
        self.entries()?.get(name).map(Arc::clone)
    }

    pub(super) fn parent_entry(&self) -> Parent {
        let Ok(entries) = self.entries() else {
            return Parent::Detached;
        };
        match &entries.place {
            Place::Root => Parent::Root,
            Place::Nowhere => Parent::Detached,
            Place::In { directory, name } => match directory.upgrade() {
                Some(directory) => Parent::In { directory, name: name.clone() },
                None => Parent::Detached,
            },
        }
    }

    pub(super) fn make_entry(
        &self,
        name: Name<'_>,
        kind: NodeKind<'_>,
        mode: Mode,
        owner: Owner,
    ) -> VfsResult<Arc<Self>> {
        let _changing = self.lock_changes();
        let mut entries = self.entries_mut()?;
        entries.check_vacant(name)?;
        let node = Self::new(&self.shared, kind, mode, owner)?;
        node.gain_name();
        self.insert(&mut entries, name, Arc::clone(&node));
        self.touch();
        Ok(node)
    }

    pub(super) fn link_entry(&self, name: Name<'_>, target: &Arc<Self>) -> VfsResult<()> {
        let _changing = self.lock_changes();
        let mut entries = self.entries_mut()?;
        if target.file_type().is_directory() {
            return Err(Errno::EPERM.into());
        }
        entries.check_vacant(name)?;
        {
            let mut attributes = target.attributes();
            match attributes.nlink {
                0 if !attributes.is_linkable => return Err(Errno::ENOENT.into()),
                // The first name is paid for with the inode.
                0 => {}
                MAX_LINKS.. => return Err(Errno::EMLINK.into()),
                _ => self.shared.inodes.take(1)?,
            }
            attributes.ctime = self.shared.now();
        }
        target.gain_name();
        self.insert(&mut entries, name, Arc::clone(target));
        self.touch();
        Ok(())
    }

    pub(super) fn unlink_entry(&self, name: Name<'_>) -> VfsResult<()> {
        let _changing = self.lock_changes();
        let entries = self.entries_mut()?;
        if entries.get(name)?.file_type().is_directory() {
            return Err(Errno::EISDIR.into());
        }
        self.remove_for_good(entries, name)
    }

    pub(super) fn rmdir_entry(&self, name: Name<'_>) -> VfsResult<()> {
        let _changing = self.lock_changes();
        let entries = self.entries_mut()?;
        entries.get(name)?.check_empty_directory()?;
        self.remove_for_good(entries, name)
    }

    pub(super) fn rename_entry(
        &self,
        name: Name<'_>,
        new_parent: &Arc<Self>,
        new_name: Name<'_>,
        flags: RenameFlags,
    ) -> VfsResult<()> {
        let _changing = self.lock_changes();
        let moved = self.find(name)?;
        let replaced = match new_parent.find(new_name) {
            Ok(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Errno::EEXIST.into()),
            Ok(replaced) => Some(replaced),
            Err(error) if error == Errno::ENOENT => None,
            Err(error) => return Err(error),
        };
        // Two names of one file: nothing to do, says POSIX.
        if replaced.as_ref().is_some_and(|replaced| Arc::ptr_eq(&moved, replaced)) {
            return Ok(());
        }
        if moved.file_type().is_directory() && new_parent.is_within(&moved) {
            return Err(Errno::EINVAL.into());
        }
        if let Place::Nowhere = new_parent.entries()?.place {
            return Err(Errno::ENOENT.into());
        }
        if flags.contains(RenameFlags::EXCHANGE) {
            let other = replaced.ok_or(Errno::ENOENT)?;
            return self.exchange((name, moved), new_parent, (new_name, other));
        }
        if let Some(replaced) = &replaced {
            match (moved.file_type().is_directory(), replaced.file_type().is_directory()) {
                (true, _) => replaced.check_empty_directory()?,
                (false, true) => return Err(Errno::EISDIR.into()),
                (false, false) => {}
            }
        }
        let mut pair = Pair::lock(self, new_parent)?;
        self.remove(&mut pair.old, name);
        if let Some(replaced) = new_parent.remove(pair.target(), new_name) {
            replaced.lose_name();
        }
        moved.attributes().ctime = self.shared.now();
        new_parent.insert(pair.target(), new_name, moved);
        drop(pair);
        self.touch();
        new_parent.touch();
        // A last reference to `replaced` goes here, with no directory locked.
        drop(replaced);
        Ok(())
    }

    fn exchange(
        &self,
        (name, moved): (Name<'_>, Arc<Self>),
        new_parent: &Arc<Self>,
        (new_name, other): (Name<'_>, Arc<Self>),
    ) -> VfsResult<()> {
        let contains_old_parent = other.file_type().is_directory() && self.is_within(&other);
        if contains_old_parent {
            return Err(Errno::EINVAL.into());
        }
        let now = self.shared.now();
        moved.attributes().ctime = now;
        other.attributes().ctime = now;
        let mut pair = Pair::lock(self, new_parent)?;
        self.remove(&mut pair.old, name);
        new_parent.remove(pair.target(), new_name);
        new_parent.insert(pair.target(), new_name, moved);
        self.insert(&mut pair.old, name, other);
        drop(pair);
        self.touch();
        new_parent.touch();
        Ok(())
    }

    fn remove_for_good(&self, mut entries: RwLockWriteGuard<'_, Directory>, name: Name<'_>) -> VfsResult<()> {
        let removed = self.remove(&mut entries, name).ok_or(Errno::ENOENT)?;
        removed.lose_name();
        drop(entries);
        self.touch();
        Ok(())
    }

    /// Puts an entry in, and tells a directory where it hangs now.
    fn insert(&self, entries: &mut Directory, name: Name<'_>, node: Arc<Self>) {
        if let Ok(mut child) = node.entries_mut() {
            child.place = Place::In { directory: Weak::clone(&self.this), name: name.to_owned() };
            self.attributes().nlink += 1;
        }
        entries.entries.insert(name.to_owned(), node);
    }

    /// Takes an entry out; the node keeps its count of names, because it may get another at once.
    fn remove(&self, entries: &mut Directory, name: Name<'_>) -> Option<Arc<Self>> {
        let node = entries.entries.remove(name.as_bytes())?;
        if node.file_type().is_directory() {
            self.attributes().nlink -= 1;
        }
        Some(node)
    }

    fn gain_name(&self) {
        if !self.file_type().is_directory() {
            self.attributes().nlink += 1;
        }
    }

    fn lose_name(&self) {
        if let Ok(mut entries) = self.entries_mut() {
            entries.place = Place::Nowhere;
        }
        let mut attributes = self.attributes();
        attributes.ctime = self.shared.now();
        attributes.is_linkable = false;
        if self.file_type().is_directory() {
            attributes.nlink = 0;
            return;
        }
        attributes.nlink -= 1;
        if attributes.nlink > 0 {
            self.shared.inodes.give(1);
        }
    }

    /// The entries changed.
    fn touch(&self) {
        self.attributes().touch_content(self.shared.now());
    }

    fn check_empty_directory(&self) -> VfsResult<()> {
        if self.entries()?.entries.is_empty() { Ok(()) } else { Err(Errno::ENOTEMPTY.into()) }
    }

    /// Whether this directory is the other one or lies below it.
    fn is_within(&self, ancestor: &Arc<Self>) -> bool {
        let mut at = self.this.upgrade();
        while let Some(directory) = at {
            if Arc::ptr_eq(&directory, ancestor) {
                return true;
            }
            at = directory.entries().ok().and_then(|entries| match &entries.place {
                Place::In { directory, name: _ } => directory.upgrade(),
                Place::Root | Place::Nowhere => None,
            });
        }
        false
    }

    fn lock_changes(&self) -> MutexGuard<'_, ()> {
        self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> VfsResult<RwLockReadGuard<'_, Directory>> {
        Ok(self.directory()?.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn entries_mut(&self) -> VfsResult<RwLockWriteGuard<'_, Directory>> {
        Ok(self.directory()?.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One or two directories, locked for a move between them, so that nobody sees a half of it.
struct Pair<'a> {
    old: RwLockWriteGuard<'a, Directory>,
    /// `None` if both are one.
    other: Option<RwLockWriteGuard<'a, Directory>>,
}

impl<'a> Pair<'a> {
    fn lock(old: &'a Node, new: &'a Node) -> VfsResult<Self> {
        let other = if std::ptr::eq(old, new) { None } else { Some(new.entries_mut()?) };
        Ok(Self { old: old.entries_mut()?, other })
    }

    fn target(&mut self) -> &mut Directory {
        self.other.as_deref_mut().unwrap_or(&mut self.old)
    }
}
