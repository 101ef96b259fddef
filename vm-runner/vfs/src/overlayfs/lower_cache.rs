//! What the lower layers have at a name, remembered.
//!
//! Lower layers never change, so what was found stays true, absence too. Bounded: entries live in two generations;
//! when the younger one is full it becomes the older one, whose entries go unless they are asked for again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ino_map::InoMap;
use crate::inode::Inode;
use crate::path::{Name, NameBuf};

/// How many names one generation remembers.
const GENERATION_ENTRIES: usize = 8 * 1024;

/// An inode of a lower layer.
#[derive(Clone)]
pub(super) struct LowerInode {
    /// Which layer; 0 is the topmost.
    pub(super) layer: usize,
    pub(super) inode: Arc<dyn Inode>,
}

/// What the lower layers have at one place, topmost first: nothing, one file, or the directories that are merged.
pub(super) type LowerStack = Arc<[LowerInode]>;

/// Stacks by directory and name.
#[derive(Default)]
pub(super) struct LowerCache {
    young: Generation,
    old: Generation,
}

#[derive(Default)]
struct Generation {
    directories: InoMap<HashMap<NameBuf, LowerStack>>,
    entries: usize,
}

impl LowerCache {
    /// What is known of a name in the directory with this inode number.
    pub(super) fn get(&mut self, directory: u64, name: Name<'_>) -> Option<LowerStack> {
        if let Some(stack) = self.young.get(directory, name) {
            return Some(Arc::clone(stack));
        }
        let stack = Arc::clone(self.old.get(directory, name)?);
        self.insert(directory, name, Arc::clone(&stack));
        Some(stack)
    }

    pub(super) fn insert(&mut self, directory: u64, name: Name<'_>, stack: LowerStack) {
        if self.young.entries >= GENERATION_ENTRIES {
            self.old = std::mem::take(&mut self.young);
        }
        let names = self.young.directories.entry(directory).or_default();
        if names.insert(name.to_owned(), stack).is_none() {
            self.young.entries += 1;
        }
    }
}

impl Generation {
    fn get(&self, directory: u64, name: Name<'_>) -> Option<&LowerStack> {
        self.directories.get(&directory)?.get(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::{GENERATION_ENTRIES, LowerCache, LowerStack};
    use crate::path::Name;

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_asked_for() {
        let mut cache = LowerCache::default();
        let name = |index: usize| format!("name{index}").into_bytes();
        for index in 0..5 * GENERATION_ENTRIES {
            cache.insert(1, Name::new(&name(index)).unwrap(), LowerStack::default());
            assert!(cache.get(1, Name::new(&name(0)).unwrap()).is_some());
        }
        assert!(cache.young.entries + cache.old.entries <= 2 * GENERATION_ENTRIES);
        assert!(cache.get(1, Name::new(&name(1)).unwrap()).is_none());
        assert!(cache.get(2, Name::new(&name(0)).unwrap()).is_none());
    }
}
