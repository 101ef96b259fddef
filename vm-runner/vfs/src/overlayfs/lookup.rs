//! Looking around: finding and listing merged entries. The tree is held, shared or exclusively.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use vm_abi::{Errno, FileType};

use super::lower_cache::{LowerInode, LowerStack};
use super::marker::{self, LayerEntry};
use super::node::{Node, Place};
use super::table::{layered_ino, lower_ino};
use crate::error::VfsResult;
use crate::inode::{DirEntry, Inode};
use crate::path::{Name, NameBuf};

impl Node {
    /// The entry of this name.
    pub(super) fn find(&self, name: Name<'_>) -> VfsResult<Arc<Self>> {
        // The tree is held, so nobody waits to change this.
        let state = self.state();
        let upper =
            state.upper.as_deref().map_or(Ok(LayerEntry::Missing), |upper| LayerEntry::find(upper, name));
        let (upper, lowers) = match upper? {
            LayerEntry::Whiteout => return Err(Errno::ENOENT.into()),
            LayerEntry::Missing => (None, self.entry_below(&state.lowers, name)?),
            LayerEntry::Present(upper) => {
                let lowers = self.merged_below(&state.lowers, name, &*upper)?;
                (Some(upper), lowers)
            }
        };
        drop(state);
        if upper.is_none() && lowers.is_empty() {
            return Err(Errno::ENOENT.into());
        }
        let directory = self.this.upgrade().ok_or(Errno::ENOENT)?;
        self.shared.node(upper, lowers, Place::In { directory, name: name.to_owned() })
    }

    /// What the upper layer has at a name.
    pub(super) fn upper_entry(&self, name: Name<'_>) -> VfsResult<LayerEntry> {
        self.upper().map_or(Ok(LayerEntry::Missing), |upper| LayerEntry::find(&*upper, name))
    }

    /// What the lower layers have at a name of this directory.
    pub(super) fn lower_entry(&self, name: Name<'_>) -> VfsResult<LowerStack> {
        let lowers = Arc::clone(&self.state().lowers);
        self.entry_below(&lowers, name)
    }

    /// What the layers have at a name of these parts of a directory.
    fn entry_below(&self, lowers: &LowerStack, name: Name<'_>) -> VfsResult<LowerStack> {
        // The topmost part identifies the whole stack of lower directories.
        let Some(topmost) = lowers.first() else {
            return Ok(LowerStack::default());
        };
        let directory = lower_ino(topmost)?;
        let known = self.shared.table.lower_cache().get(directory, name);
        if let Some(stack) = known {
            return Ok(stack);
        }
        let stack = search(lowers, name)?;
        self.shared.table.lower_cache().insert(directory, name, Arc::clone(&stack));
        Ok(stack)
    }

    /// All entries, by name.
    pub(super) fn list(&self) -> VfsResult<Vec<DirEntry>> {
        let lowers = Arc::clone(&self.state().lowers);
        let mut seen = HashSet::new();
        let mut listed: BTreeMap<NameBuf, (u64, FileType)> = BTreeMap::new();
        let mut in_upper = Vec::new();
        if let Some(upper) = self.upper() {
            for entry in upper.read_dir()? {
                seen.insert(entry.name.clone());
                if !is_whiteout_entry(&*upper, &entry)? {
                    in_upper.push(entry);
                }
            }
        }
        let mut below = HashSet::new();
        for lower in lowers.iter() {
            for entry in lower.inode.read_dir()? {
                below.insert(entry.name.clone());
                if seen.insert(entry.name.clone()) && !is_whiteout_entry(&*lower.inode, &entry)? {
                    listed.insert(entry.name, (layered_ino(lower.layer, entry.ino)?, entry.file_type));
                }
            }
        }
        for entry in in_upper {
            // A directory that is merged has the number of its lower part.
            let is_merged = entry.file_type.is_directory() && below.contains(&entry.name);
            let ino = if is_merged {
                self.find(entry.name.as_name())?.ino
            } else {
                self.shared.table.ino_of_upper(entry.ino)
            };
            listed.insert(entry.name, (ino, entry.file_type));
        }
        Ok(listed.into_iter().map(|(name, (ino, file_type))| DirEntry { name, ino, file_type }).collect())
    }

    /// The lower parts that are merged with an upper one.
    fn merged_below(&self, below: &LowerStack, name: Name<'_>, upper: &dyn Inode) -> VfsResult<LowerStack> {
        if !upper.file_type().is_directory() {
            return Ok(LowerStack::default());
        }
        let lowers = self.entry_below(below, name)?;
        let is_mergeable = lowers.first().is_some_and(|lower| lower.inode.file_type().is_directory());
        if is_mergeable && !marker::is_opaque(upper)? { Ok(lowers) } else { Ok(LowerStack::default()) }
    }
}

/// Searches the parts of a lower directory, from the top.
fn search(lowers: &LowerStack, name: Name<'_>) -> VfsResult<LowerStack> {
    let mut found = Vec::new();
    for lower in lowers.iter() {
        let inode = match LayerEntry::find(&*lower.inode, name)? {
            LayerEntry::Missing => continue,
            LayerEntry::Whiteout => break,
            LayerEntry::Present(inode) => inode,
        };
        let is_directory = inode.file_type().is_directory();
        if !is_directory && !found.is_empty() {
            break;
        }
        let ends_search = !is_directory || marker::is_opaque(&*inode)?;
        found.push(LowerInode { layer: lower.layer, inode });
        if ends_search {
            break;
        }
    }
    Ok(found.into())
}

fn is_whiteout_entry(directory: &dyn Inode, entry: &DirEntry) -> VfsResult<bool> {
    if entry.file_type != FileType::CharDevice {
        return Ok(false);
    }
    marker::is_whiteout(&*directory.lookup(entry.name.as_name())?)
}
