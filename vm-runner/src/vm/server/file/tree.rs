//! A tree of files, depth first, without recursion.
//!
//! Directories are held by their inodes, not by their paths: a guest that puts a link into the place of a directory
//! meanwhile leads nobody elsewhere. The memory it takes is the names of one directory a level.

use std::vec;

use vm_abi::Errno;
use vm_vfs::{DirEntry, Follow, Location, NameBuf, VfsResult, WalkContext};

/// A walk through a tree.
#[derive(Default)]
pub(super) struct Tree {
    levels: Vec<Level>,
    /// The path of the innermost directory, below the top; empty for the top itself.
    path: Vec<u8>,
}

struct Level {
    directory: Location,
    entries: vec::IntoIter<DirEntry>,
    /// How long the path above it is.
    parent_len: usize,
}

/// What comes next.
pub(super) enum Step {
    /// An entry of this directory. To go into it, enter it.
    Entry { directory: Location, entry: DirEntry },
    /// All of a directory has been seen; the path is its parent's again. Not told for the top.
    Left { directory: Location, name: Vec<u8> },
    /// That was all.
    End,
}

impl Tree {
    /// Goes into a directory, the top or an entry that was just told.
    pub(super) fn enter(
        &mut self,
        walk: &WalkContext<'_>,
        directory: Location,
        name: &[u8],
    ) -> VfsResult<()> {
        if !directory.file_type().is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        let mut entries = walk.starting_at(&directory).read_dir(b".")?;
        entries.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        let parent_len = self.path.len();
        if !self.levels.is_empty() {
            if parent_len > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
        }
        self.levels.push(Level { directory, entries: entries.into_iter(), parent_len });
        Ok(())
    }

    pub(super) fn next(&mut self) -> Step {
        let Some(level) = self.levels.last_mut() else { return Step::End };
        if let Some(entry) = level.entries.next() {
            return Step::Entry { directory: level.directory.clone(), entry };
        }
        let Some(Level { directory, entries: _, parent_len }) = self.levels.pop() else { return Step::End };
        if self.levels.is_empty() {
            return Step::End;
        }
        let name = self.path.split_off(parent_len);
        let name = name.strip_prefix(b"/").map_or_else(|| name.clone(), <[u8]>::to_vec);
        Step::Left { directory, name }
    }

    /// The directory that holds the entries that are told now.
    pub(super) fn directory(&self) -> Option<&Location> {
        self.levels.last().map(|level| &level.directory)
    }

    /// How many directories are above the next entry: 1 for entries of the top.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// The path of an entry of the innermost directory, below the top.
    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { [&self.path[..], b"/", name].concat() }
    }
}

/// An entry of a directory, whatever it is by now. A link is not followed.
pub(super) fn child(walk: &WalkContext<'_>, directory: &Location, name: &NameBuf) -> VfsResult<Location> {
    walk.starting_at(directory).resolve_with(name.as_bytes(), Follow::No)
}
