//! Finding entries, and every change of the tree.
//!
//! Only the holder of `Shared::tree` changes entries or locks more than one directory. An entry's node is counted by
//! its `nlink`; a directory has exactly one entry, and knows it.

use std::sync::{Arc, MutexGuard, PoisonError, RwLockWriteGuard};

use vm_abi::{Errno, Mode};

use super::Shared;
use super::database::Entry;
use super::directory::{Ask, Directory, Known, Place};
use super::flush::Intent;
use super::node::Node;
use crate::error::VfsResult;
use crate::inode::{DirEntry, NodeKind, Owner, Parent, RenameFlags};
use crate::path::Name;

/// How many names a file can have (`EMLINK`).
const MAX_LINKS: u64 = 65_000;

impl Node {
    pub(super) fn find(&self, name: Name<'_>) -> VfsResult<Arc<Self>> {
        let mut entry = self.entry(name)?.ok_or(Errno::ENOENT)?;
        loop {
            let found = self.shared.node(entry.ino);
            if !matches!(&found, Err(error) if *error == Errno::ENOENT) {
                return found;
            }
            // Another file may have taken the name while this one went.
            match self.entry(name)? {
                Some(now) if now != entry => entry = now,
                Some(_) | None => return found,
            }
        }
    }

    pub(super) fn list(&self) -> VfsResult<Vec<DirEntry>> {
        loop {
            let version = {
                let entries = self.entries()?;
                if let Some(all) = entries.list() {
                    let entry = |(name, entry): (&crate::path::NameBuf, Entry)| DirEntry {
                        name: name.clone(),
                        ino: entry.ino,
                        file_type: entry.file_type,
                    };
                    let mut listed = Vec::with_capacity(entries.known());
                    listed.extend(all.map(entry));
                    return Ok(listed);
                }
                entries.version()
            };
            let stored = self.shared.database.read(|turn| turn.entries(self.ino()))?;
            self.entries_mut()?.fill(&self.shared.memory, version, stored);
        }
    }

    pub(super) fn parent_entry(&self) -> Parent {
        let Ok(entries) = self.entries() else { return Parent::Detached };
        let (parent, name) = match &entries.place {
            Place::Root => return Parent::Root,
            Place::Nowhere => return Parent::Detached,
            Place::In { parent, name } => (*parent, name.clone()),
        };
        drop(entries);
        self.shared.node(parent).map_or(Parent::Detached, |directory| Parent::In { directory, name })
    }

    pub(super) fn make_entry(
        &self,
        name: Name<'_>,
        kind: NodeKind<'_>,
        mode: Mode,
        owner: Owner,
    ) -> VfsResult<Arc<Self>> {
        self.directory()?;
        let _changing = self.shared.begin(Intent::Add)?;
        let _tree = self.shared.lock_tree();
        self.check_vacant(name)?;
        let nlink = if kind == NodeKind::Directory { 2 } else { 1 };
        let place = Place::In { parent: self.ino(), name: name.to_owned() };
        let node = Self::create(&self.shared, kind, (mode, owner), nlink, place)?;
        self.shared.table.add(&node);
        self.put(&mut *self.entries_mut()?, name, &node);
        self.touch_entries();
        Ok(node)
    }

    pub(super) fn make_unnamed(&self, mode: Mode, owner: Owner) -> VfsResult<Arc<Self>> {
        self.directory()?;
        let _changing = self.shared.begin(Intent::Add)?;
        let node = Self::create(&self.shared, NodeKind::Regular, (mode, owner), 0, Place::Nowhere)?;
        self.shared.lose(&node);
        Ok(node)
    }

    pub(super) fn link_entry(&self, name: Name<'_>, target: &Arc<Self>) -> VfsResult<()> {
        self.directory()?;
        let _changing = self.shared.begin(Intent::Add)?;
        let _tree = self.shared.lock_tree();
        if target.kind().is_directory() {
            return Err(Errno::EPERM.into());
        }
        self.check_vacant(name)?;
        {
            let mut attributes = target.attributes();
            match attributes.nlink {
                0 if !attributes.is_linkable => return Err(Errno::ENOENT.into()),
                // The first name is paid for with the inode.
                0 => self.shared.name(target),
                MAX_LINKS.. => return Err(Errno::EMLINK.into()),
                _ => self.shared.inodes.take(1)?,
            }
            attributes.nlink += 1;
            attributes.touch(self.shared.now());
        }
        target.queue();
        self.put(&mut *self.entries_mut()?, name, target);
        self.touch_entries();
        Ok(())
    }

    pub(super) fn unlink_entry(&self, name: Name<'_>) -> VfsResult<()> {
        let _changing = self.shared.begin(Intent::Remove)?;
        let _tree = self.shared.lock_tree();
        let node = self.find(name)?;
        if node.kind().is_directory() {
            return Err(Errno::EISDIR.into());
        }
        self.take(&mut *self.entries_mut()?, name, &node);
        node.lose_name();
        self.touch_entries();
        Ok(())
    }

    pub(super) fn rmdir_entry(&self, name: Name<'_>) -> VfsResult<()> {
        let _changing = self.shared.begin(Intent::Remove)?;
        let _tree = self.shared.lock_tree();
        let node = self.find(name)?;
        node.check_empty_directory()?;
        self.take(&mut *self.entries_mut()?, name, &node);
        node.lose_name();
        self.touch_entries();
        Ok(())
    }

    pub(super) fn rename_entry(
        &self,
        name: Name<'_>,
        new_parent: &Arc<Self>,
        new_name: Name<'_>,
        flags: RenameFlags,
    ) -> VfsResult<()> {
        let _changing = self.shared.begin(Intent::Add)?;
        let _tree = self.shared.lock_tree();
        let moved = self.find(name)?;
        let replaced = match new_parent.find(new_name) {
            Ok(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Errno::EEXIST.into()),
            Ok(replaced) => Some(replaced),
            Err(error) if error == Errno::ENOENT => None,
            Err(error) => return Err(error),
        };
        // Two names of one file: nothing to do, says POSIX.
        if replaced.as_ref().is_some_and(|replaced| moved.ino() == replaced.ino()) {
            return Ok(());
        }
        if moved.kind().is_directory() && new_parent.is_within(&moved)? {
            return Err(Errno::EINVAL.into());
        }
        new_parent.check_alive()?;
        if flags.contains(RenameFlags::EXCHANGE) {
            let other = replaced.ok_or(Errno::ENOENT)?;
            return self.exchange((name, &moved), new_parent, (new_name, &other));
        }
        if let Some(replaced) = &replaced {
            match (moved.kind().is_directory(), replaced.kind().is_directory()) {
                (true, _) => replaced.check_empty_directory()?,
                (false, true) => return Err(Errno::EISDIR.into()),
                (false, false) => {}
            }
        }
        let mut pair = Pair::lock(self, new_parent)?;
        self.take(&mut pair.old, name, &moved);
        if let Some(replaced) = &replaced {
            new_parent.take(pair.target(), new_name, replaced);
        }
        new_parent.put(pair.target(), new_name, &moved);
        drop(pair);
        if let Some(replaced) = &replaced {
            replaced.lose_name();
        }
        moved.touch();
        self.touch_entries();
        new_parent.touch_entries();
        Ok(())
    }

    fn exchange(
        &self,
        (name, moved): (Name<'_>, &Arc<Self>),
        new_parent: &Arc<Self>,
        (new_name, other): (Name<'_>, &Arc<Self>),
    ) -> VfsResult<()> {
        if other.kind().is_directory() && self.is_within(other)? {
            return Err(Errno::EINVAL.into());
        }
        let mut pair = Pair::lock(self, new_parent)?;
        self.take(&mut pair.old, name, moved);
        new_parent.take(pair.target(), new_name, other);
        new_parent.put(pair.target(), new_name, moved);
        self.put(&mut pair.old, name, other);
        drop(pair);
        moved.touch();
        other.touch();
        self.touch_entries();
        new_parent.touch_entries();
        Ok(())
    }

    /// Puts an entry in, and tells a directory where it hangs now.
    fn put(&self, entries: &mut Directory, name: Name<'_>, node: &Self) {
        if let Ok(mut child) = node.entries_mut() {
            child.place = Place::In { parent: self.ino(), name: name.to_owned() };
            self.attributes().nlink += 1;
        }
        entries.insert(&self.shared.memory, name, Entry { ino: node.ino(), file_type: node.kind() });
        self.note_count(entries);
    }

    /// Takes an entry out; the node keeps its count of names, because it may get another at once.
    fn take(&self, entries: &mut Directory, name: Name<'_>, node: &Self) {
        if node.kind().is_directory() {
            let mut attributes = self.attributes();
            attributes.nlink = attributes.nlink.saturating_sub(1);
        }
        entries.remove(&self.shared.memory, name);
        self.note_count(entries);
    }

    fn note_count(&self, entries: &Directory) {
        self.size.store(entries.count(), std::sync::atomic::Ordering::Relaxed);
    }

    fn lose_name(self: &Arc<Self>) {
        if let Ok(mut entries) = self.entries_mut() {
            entries.place = Place::Nowhere;
        }
        let is_gone = {
            let mut attributes = self.attributes();
            attributes.touch(self.shared.now());
            attributes.is_linkable = false;
            attributes.nlink =
                if self.kind().is_directory() { 0 } else { attributes.nlink.saturating_sub(1) };
            attributes.nlink == 0
        };
        self.queue();
        if is_gone {
            self.shared.lose(self);
        } else {
            self.shared.inodes.give(1);
        }
    }

    /// The entries changed.
    fn touch_entries(&self) {
        self.attributes().touch_content(self.shared.now());
        self.queue();
    }

    fn touch(&self) {
        self.attributes().touch(self.shared.now());
        self.queue();
    }

    /// The entry of a name, from memory or the database.
    fn entry(&self, name: Name<'_>) -> VfsResult<Option<Entry>> {
        let database = &self.shared.database;
        loop {
            let (version, ask) = {
                let entries = self.entries()?;
                match entries.find(name) {
                    Known::Yes(entry) => return Ok(entry),
                    Known::No(ask) => (entries.version(), ask),
                }
            };
            match ask {
                Ask::One => {
                    let entry = database.read(|turn| turn.entry(self.ino(), name))?;
                    if self.entries_mut()?.offer(&self.shared.memory, version, name, entry) {
                        return Ok(entry);
                    }
                }
                Ask::All => {
                    let all = database.read(|turn| turn.entries(self.ino()))?;
                    self.entries_mut()?.fill(&self.shared.memory, version, all);
                }
            }
        }
    }

    /// Fails unless a new entry may be made here.
    fn check_vacant(&self, name: Name<'_>) -> VfsResult<()> {
        self.check_alive()?;
        if self.entry(name)?.is_some() { Err(Errno::EEXIST.into()) } else { Ok(()) }
    }

    fn check_alive(&self) -> VfsResult<()> {
        match self.entries()?.place {
            Place::Nowhere => Err(Errno::ENOENT.into()),
            Place::Root | Place::In { .. } => Ok(()),
        }
    }

    fn check_empty_directory(&self) -> VfsResult<()> {
        if self.entries()?.count() == 0 { Ok(()) } else { Err(Errno::ENOTEMPTY.into()) }
    }

    /// Whether this directory is the other one or lies below it.
    fn is_within(&self, ancestor: &Self) -> VfsResult<bool> {
        if self.ino() == ancestor.ino() {
            return Ok(true);
        }
        let Place::In { parent, .. } = self.entries()?.place.clone() else { return Ok(false) };
        let mut at = parent;
        // A damaged database could lead in a circle.
        for _ in 0..=self.shared.inodes.used() {
            if at == ancestor.ino() {
                return Ok(true);
            }
            at = match self.shared.node(at)?.entries()?.place {
                Place::In { parent, .. } => parent,
                Place::Root | Place::Nowhere => return Ok(false),
            };
        }
        Err(Errno::EIO.into())
    }
}

impl Shared {
    fn lock_tree(&self) -> MutexGuard<'_, ()> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
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
        let other = if old.ino() == new.ino() { None } else { Some(new.entries_mut()?) };
        Ok(Self { old: old.entries_mut()?, other })
    }

    fn target(&mut self) -> &mut Directory {
        self.other.as_deref_mut().unwrap_or(&mut self.old)
    }
}
