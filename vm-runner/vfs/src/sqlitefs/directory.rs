//! The entries of a directory, as far as they are in memory.
//!
//! Invariants: an entry that differs from the database is in memory, and its name is in `changed` until a batch takes
//! it. A directory that a batch has to write, or is writing, forgets nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::database::Entry;
use super::memory::Memory;
use crate::path::{Name, NameBuf};

/// Up to this many entries are read at once, when the first is asked for.
const SMALL: u64 = 256;
/// Up to this many entries are read at once, when several have been asked for.
const MEDIUM: u64 = 16 * 1024;
/// How many entries of a medium directory are read one by one before all are.
const PATIENCE: u32 = 16;

pub(super) struct Directory {
    /// `None` is a name that is known to be free.
    entries: BTreeMap<NameBuf, Option<Entry>>,
    /// Whether names that are not in `entries` are free. If so, `entries` has no `None`.
    is_complete: bool,
    /// How many entries there are, in memory or not.
    count: u64,
    /// Names that the next batch has to write.
    changed: BTreeSet<NameBuf>,
    /// Advances with every change, so that somebody who read the database meanwhile notices.
    version: u64,
    /// How many entries were read one by one.
    misses: u32,
    pub(super) place: Place,
}

/// Where a directory hangs.
#[derive(Clone)]
pub(super) enum Place {
    Root,
    In {
        parent: u64,
        name: NameBuf,
    },
    /// No more.
    Nowhere,
}

/// What is known about a name.
pub(super) enum Known {
    Yes(Option<Entry>),
    /// Nothing; ask the database for this.
    No(Ask),
}

/// What to ask the database for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    One,
    All,
}

impl Directory {
    /// An empty one.
    pub(super) const fn new(place: Place) -> Self {
        Self {
            entries: BTreeMap::new(),
            is_complete: true,
            count: 0,
            changed: BTreeSet::new(),
            version: 0,
            misses: 0,
            place,
        }
    }

    /// One in the database.
    pub(super) const fn stored(place: Place, count: u64) -> Self {
        let mut directory = Self::new(place);
        directory.is_complete = count == 0;
        directory.count = count;
        directory
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether the next batch has to write an entry.
    pub(super) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// See [`Self::offer`] and [`Self::fill`].
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn find(&self, name: Name<'_>) -> Known {
        match self.entries.get(name.as_bytes()) {
            Some(entry) => Known::Yes(*entry),
            None if self.is_complete => Known::Yes(None),
            None if self.count <= SMALL => Known::No(Ask::All),
            None if self.count <= MEDIUM && self.misses >= PATIENCE => Known::No(Ask::All),
            None => Known::No(Ask::One),
        }
    }

    /// All entries by name, if all are in memory.
    pub(super) fn list(&self) -> Option<impl Iterator<Item = (&NameBuf, Entry)>> {
        let entries = || self.entries.iter().filter_map(|(name, entry)| Some((name, (*entry)?)));
        self.is_complete.then(entries)
    }

    /// How many names are in memory.
    pub(super) fn known(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn insert(&mut self, memory: &Memory, name: Name<'_>, entry: Entry) {
        self.count += 1;
        self.set(memory, name, Some(entry));
    }

    /// Takes out an entry that is there.
    pub(super) fn remove(&mut self, memory: &Memory, name: Name<'_>) {
        self.count = self.count.saturating_sub(1);
        self.set(memory, name, None);
    }

    /// Takes in what the database had at a name when this was at `version`, unless it has changed since.
    pub(super) fn offer(
        &mut self,
        memory: &Memory,
        version: u64,
        name: Name<'_>,
        entry: Option<Entry>,
    ) -> bool {
        if self.version != version || self.is_complete {
            return false;
        }
        self.misses = self.misses.saturating_add(1);
        // That a name is free is remembered only where all names will be known soon; there is no end of free names.
        if entry.is_some() || self.count <= MEDIUM {
            self.put(memory, name.to_owned(), entry);
        }
        true
    }

    /// Takes in all that the database had when this was at `version`, unless it has changed since.
    pub(super) fn fill(&mut self, memory: &Memory, version: u64, entries: Vec<(NameBuf, Entry)>) -> bool {
        // What is complete has forgotten which names became free; the database may still have those.
        if self.version != version || self.is_complete {
            return false;
        }
        for (name, entry) in entries {
            if !self.entries.contains_key(&name) {
                self.put(memory, name, Some(entry));
            }
        }
        self.become_complete(memory);
        true
    }

    /// What the next batch writes; `None` is an entry to be removed.
    pub(super) fn collect(&mut self) -> Vec<(NameBuf, Option<Entry>)> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|name| {
                let entry = self.entries.get(&name).copied().flatten();
                (name, entry)
            })
            .collect()
    }

    /// A batch with entries of this directory is in the database.
    pub(super) const fn committed(&mut self) {
        self.version += 1;
    }

    /// Lets go of all that the database has. Nothing is changed, and no batch is on its way.
    pub(super) fn forget(&mut self, memory: &Memory) {
        self.drop_all(memory);
        self.is_complete = self.count == 0;
        self.misses = 0;
    }

    /// Lets go of everything, because the node goes.
    pub(super) fn drop_all(&mut self, memory: &Memory) {
        memory.subtract_entries(self.entries.len() as u64);
        self.entries = BTreeMap::new();
    }

    fn set(&mut self, memory: &Memory, name: Name<'_>, entry: Option<Entry>) {
        self.version += 1;
        self.changed.insert(name.to_owned());
        if entry.is_none() && self.is_complete {
            if self.entries.remove(name.as_bytes()).is_some() {
                memory.subtract_entries(1);
            }
        } else {
            self.put(memory, name.to_owned(), entry);
        }
    }

    fn put(&mut self, memory: &Memory, name: NameBuf, entry: Option<Entry>) {
        if self.entries.insert(name, entry).is_none() {
            memory.add_entries(1);
        }
    }

    fn become_complete(&mut self, memory: &Memory) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.is_some());
        memory.subtract_entries((before - self.entries.len()) as u64);
        self.is_complete = true;
    }
}

#[cfg(test)]
mod tests {
    use vm_abi::FileType;

    use super::{Ask, Directory, Entry, Known, Memory, Place};
    use crate::path::Name;

    #[test]
    fn readers_that_come_late_bring_back_nothing_that_was_removed() {
        let (memory, name) = (Memory::default(), Name::new(b"f").unwrap());
        let entry = Entry { ino: 7, file_type: FileType::Regular };
        let mut directory = Directory::stored(Place::Root, 1);
        assert!(directory.fill(&memory, directory.version(), vec![(name.to_owned(), entry)]));
        directory.forget(&memory);
        assert!(matches!(directory.find(name), Known::No(Ask::All)));
        directory.remove(&memory, name);
        // Two readers ask the database, which still has the entry, and come back one after the other.
        let version = directory.version();
        assert!(directory.fill(&memory, version, vec![(name.to_owned(), entry)]));
        directory.fill(&memory, version, vec![(name.to_owned(), entry)]);
        directory.offer(&memory, version, name, Some(entry));
        assert!(matches!(directory.find(name), Known::Yes(None)));
        assert_eq!(directory.collect(), vec![(name.to_owned(), None)]);
        assert_eq!(memory.entries(), 0);
    }
}
