//! The reference: a file system as simple as it can be said, of which every answer is known to be right.
//!
//! One user, root. No times, no limits, no locks: maps of inodes and entries.

mod file;

use std::collections::BTreeMap;

use vm_abi::{Errno, FileType};
use vm_vfs::RenameFlags;

use super::operation::SLOTS;

pub(crate) type Outcome<T> = Result<T, Errno>;
pub(crate) type Id = usize;

const ROOT: Id = 0;
const MAX_LINKS: usize = 40;

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    inodes: BTreeMap<Id, Inode>,
    next: Id,
    pub(crate) held: [Option<Held>; SLOTS],
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) id: Id,
    pub(crate) is_writable: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) body: Body,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Names of a file; a directory has its own count.
    names: u64,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    File(Vec<u8>),
    Directory { entries: BTreeMap<String, Id>, parent: Id },
    Symlink(String),
    Fifo,
}

/// What `stat` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) file_type: FileType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) nlink: u64,
    /// Of directories the file system's own affair.
    pub(crate) size: Option<u64>,
}

impl Facts {
    /// Whether these are the facts that were expected. A directory with one link is one whose subdirectories nobody
    /// counts.
    pub(crate) fn are(&self, expected: &Self) -> bool {
        let is_uncounted = self.file_type.is_directory() && self.nlink == 1;
        *self == Self { nlink: if is_uncounted { 1 } else { expected.nlink }, ..expected.clone() }
    }
}

/// Everything but the last component, walked.
struct Place {
    directory: Id,
    last: Last,
    has_slash: bool,
}

enum Last {
    Name(String),
    Dot,
    DotDot,
    Root,
}

impl Inode {
    pub(crate) fn new(body: Body, mode: u32) -> Self {
        Self { body, mode, uid: 0, gid: 0, names: 0, xattrs: BTreeMap::new() }
    }

    pub(crate) fn file_type(&self) -> FileType {
        match self.body {
            Body::File(_) => FileType::Regular,
            Body::Directory { .. } => FileType::Directory,
            Body::Symlink(_) => FileType::Symlink,
            Body::Fifo => FileType::Fifo,
        }
    }

    fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory { .. })
    }
}

impl Reference {
    pub(crate) fn new() -> Self {
        let root = Inode::new(Body::Directory { entries: BTreeMap::new(), parent: ROOT }, 0o755);
        Self { inodes: BTreeMap::from([(ROOT, root)]), next: 1, held: [None; SLOTS] }
    }

    pub(crate) fn root(&self) -> Id {
        ROOT
    }

    pub(crate) fn inode(&self, id: Id) -> &Inode {
        &self.inodes[&id]
    }

    fn inode_mut(&mut self, id: Id) -> &mut Inode {
        self.inodes.get_mut(&id).expect("an inode that is named or held")
    }

    pub(crate) fn entries(&self, directory: Id) -> &BTreeMap<String, Id> {
        match &self.inode(directory).body {
            Body::Directory { entries, parent: _ } => entries,
            Body::File(_) | Body::Symlink(_) | Body::Fifo => panic!("not a directory"),
        }
    }

    fn entries_mut(&mut self, directory: Id) -> &mut BTreeMap<String, Id> {
        match &mut self.inode_mut(directory).body {
            Body::Directory { entries, parent: _ } => entries,
            Body::File(_) | Body::Symlink(_) | Body::Fifo => panic!("not a directory"),
        }
    }

    fn parent(&self, directory: Id) -> Id {
        match &self.inode(directory).body {
            Body::Directory { entries: _, parent } => *parent,
            Body::File(_) | Body::Symlink(_) | Body::Fifo => panic!("not a directory"),
        }
    }

    // ---- walking ----

    pub(crate) fn resolve(&self, path: &str, follows: bool) -> Outcome<Id> {
        self.walk(ROOT, path, follows, &mut 0)
    }

    fn walk(&self, start: Id, path: &str, follows: bool, links: &mut usize) -> Outcome<Id> {
        let place = self.place(start, path, links)?;
        let found = match &place.last {
            Last::Root | Last::Dot => place.directory,
            Last::DotDot => self.parent(place.directory),
            Last::Name(name) => {
                let found = *self.entries(place.directory).get(name).ok_or(Errno::ENOENT)?;
                match &self.inode(found).body {
                    Body::Symlink(target) if follows || place.has_slash => {
                        self.follow(place.directory, target, links)?
                    }
                    Body::Symlink(_) | Body::File(_) | Body::Directory { .. } | Body::Fifo => found,
                }
            }
        };
        if place.has_slash && !self.inode(found).is_directory() { Err(Errno::ENOTDIR) } else { Ok(found) }
    }

    fn follow(&self, directory: Id, target: &str, links: &mut usize) -> Outcome<Id> {
        *links += 1;
        if *links > MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        self.walk(directory, target, true, links)
    }

    fn place(&self, start: Id, path: &str, links: &mut usize) -> Outcome<Place> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut at = if path.starts_with('/') { ROOT } else { start };
        let components: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        let Some((last, before)) = components.split_last() else {
            return Ok(Place { directory: at, last: Last::Root, has_slash: true });
        };
        for component in before {
            at = match *component {
                "." => at,
                ".." => self.parent(at),
                name => {
                    let found = *self.entries(at).get(name).ok_or(Errno::ENOENT)?;
                    match &self.inode(found).body {
                        Body::Symlink(target) => self.follow(at, target, links)?,
                        Body::File(_) | Body::Directory { .. } | Body::Fifo => found,
                    }
                }
            };
            if !self.inode(at).is_directory() {
                return Err(Errno::ENOTDIR);
            }
        }
        let last = match *last {
            "." => Last::Dot,
            ".." => Last::DotDot,
            name => Last::Name(name.to_owned()),
        };
        Ok(Place { directory: at, last, has_slash: path.ends_with('/') })
    }

    /// Directory and name of an entry to make, which is missing.
    fn vacancy(&self, path: &str, is_directory: bool) -> Outcome<(Id, String)> {
        let place = self.place(ROOT, path, &mut 0)?;
        let Last::Name(name) = place.last else { return Err(Errno::EEXIST) };
        if self.entries(place.directory).contains_key(&name) {
            return Err(Errno::EEXIST);
        }
        if place.has_slash && !is_directory { Err(Errno::ENOENT) } else { Ok((place.directory, name)) }
    }

    fn is_within(&self, directory: Id, ancestor: Id) -> bool {
        let mut at = directory;
        loop {
            if at == ancestor {
                return true;
            }
            if at == ROOT {
                return false;
            }
            at = self.parent(at);
        }
    }

    // ---- entries ----

    fn insert(&mut self, directory: Id, name: String, id: Id) {
        match &mut self.inode_mut(id).body {
            Body::Directory { entries: _, parent } => *parent = directory,
            Body::File(_) | Body::Symlink(_) | Body::Fifo => self.inode_mut(id).names += 1,
        }
        self.entries_mut(directory).insert(name, id);
    }

    fn remove(&mut self, directory: Id, name: &str) {
        let id = self.entries_mut(directory).remove(name).expect("an entry");
        if !self.inode(id).is_directory() {
            self.inode_mut(id).names -= 1;
        }
        self.forget(id);
    }

    /// Lets go of what nobody names or holds.
    fn forget(&mut self, id: Id) {
        let is_held = self.held.iter().flatten().any(|held| held.id == id);
        let is_named = self.inodes.values().any(|inode| match &inode.body {
            Body::Directory { entries, parent: _ } => entries.values().any(|entry| *entry == id),
            Body::File(_) | Body::Symlink(_) | Body::Fifo => false,
        });
        if !is_held && !is_named {
            self.inodes.remove(&id);
        }
    }

    fn add(&mut self, directory: Id, name: String, inode: Inode) -> Id {
        let id = self.next;
        self.next += 1;
        self.inodes.insert(id, inode);
        self.insert(directory, name, id);
        id
    }

    pub(crate) fn mkdir(&mut self, path: &str, mode: u32) -> Outcome<()> {
        let (directory, name) = self.vacancy(path, true)?;
        self.add(
            directory,
            name,
            Inode::new(Body::Directory { entries: BTreeMap::new(), parent: directory }, mode),
        );
        Ok(())
    }

    pub(crate) fn make(&mut self, path: &str, body: Body, mode: u32) -> Outcome<()> {
        let (directory, name) = self.vacancy(path, false)?;
        self.add(directory, name, Inode::new(body, mode));
        Ok(())
    }

    pub(crate) fn link(&mut self, old: &str, new: &str) -> Outcome<()> {
        let id = self.resolve(old, false)?;
        self.link_inode(id, new)
    }

    pub(crate) fn link_inode(&mut self, id: Id, new: &str) -> Outcome<()> {
        let (directory, name) = self.vacancy(new, false)?;
        let inode = self.inode(id);
        if inode.is_directory() {
            return Err(Errno::EPERM);
        }
        if inode.names == 0 {
            return Err(Errno::ENOENT);
        }
        self.insert(directory, name, id);
        Ok(())
    }

    pub(crate) fn unlink(&mut self, path: &str) -> Outcome<()> {
        let place = self.place(ROOT, path, &mut 0)?;
        let Last::Name(name) = place.last else { return Err(Errno::EISDIR) };
        let id = *self.entries(place.directory).get(&name).ok_or(Errno::ENOENT)?;
        match (self.inode(id).is_directory(), place.has_slash) {
            (true, _) => return Err(Errno::EISDIR),
            (false, true) => return Err(Errno::ENOTDIR),
            (false, false) => self.remove(place.directory, &name),
        }
        Ok(())
    }

    pub(crate) fn rmdir(&mut self, path: &str) -> Outcome<()> {
        let place = self.place(ROOT, path, &mut 0)?;
        let name = match place.last {
            Last::Name(name) => name,
            Last::Dot => return Err(Errno::EINVAL),
            Last::DotDot => return Err(Errno::ENOTEMPTY),
            Last::Root => return Err(Errno::EBUSY),
        };
        let id = *self.entries(place.directory).get(&name).ok_or(Errno::ENOENT)?;
        if !self.inode(id).is_directory() {
            return Err(Errno::ENOTDIR);
        }
        if !self.entries(id).is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.remove(place.directory, &name);
        Ok(())
    }

    pub(crate) fn rename(&mut self, old: &str, new: &str, flags: RenameFlags) -> Outcome<()> {
        let (keeps, swaps) = (flags.contains(RenameFlags::NOREPLACE), flags.contains(RenameFlags::EXCHANGE));
        let from = self.place(ROOT, old, &mut 0)?;
        let to = self.place(ROOT, new, &mut 0)?;
        let Last::Name(old_name) = from.last else { return Err(Errno::EBUSY) };
        let Last::Name(new_name) = to.last else {
            return Err(if keeps { Errno::EEXIST } else { Errno::EBUSY });
        };
        let moved = *self.entries(from.directory).get(&old_name).ok_or(Errno::ENOENT)?;
        let replaced = self.entries(to.directory).get(&new_name).copied();
        if keeps && replaced.is_some() {
            return Err(Errno::EEXIST);
        }
        if swaps && replaced.is_none() {
            return Err(Errno::ENOENT);
        }
        let is_directory = |id: Id| self.inode(id).is_directory();
        let wants_directory = from.has_slash || (to.has_slash && !swaps);
        if !is_directory(moved) && wants_directory {
            return Err(Errno::ENOTDIR);
        }
        if swaps && to.has_slash && replaced.is_some_and(|id| !is_directory(id)) {
            return Err(Errno::ENOTDIR);
        }
        if is_directory(moved) && self.is_within(to.directory, moved) {
            return Err(Errno::EINVAL);
        }
        if let Some(replaced) = replaced {
            if is_directory(replaced) && self.is_within(from.directory, replaced) {
                return Err(if swaps { Errno::EINVAL } else { Errno::ENOTEMPTY });
            }
            match (is_directory(moved), is_directory(replaced)) {
                (true, false) if !swaps => return Err(Errno::ENOTDIR),
                (false, true) if !swaps => return Err(Errno::EISDIR),
                (true | false, true | false) => {}
            }
            if moved == replaced {
                return Ok(());
            }
            if !swaps && is_directory(replaced) && !self.entries(replaced).is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
        }
        self.move_entry((from.directory, old_name), (to.directory, new_name), replaced.filter(|_| swaps));
        Ok(())
    }

    fn move_entry(&mut self, from: (Id, String), to: (Id, String), swapped: Option<Id>) {
        let moved = self.entries_mut(from.0).remove(&from.1).expect("an entry");
        if self.entries(to.0).contains_key(&to.1) {
            match swapped {
                Some(_) => drop(self.entries_mut(to.0).remove(&to.1)),
                None => self.remove(to.0, &to.1),
            }
        }
        for (id, (directory, name)) in [(Some(moved), to), (swapped, from)] {
            let Some(id) = id else { continue };
            self.insert(directory, name, id);
            // It was counted all along.
            if !self.inode(id).is_directory() {
                self.inode_mut(id).names -= 1;
            }
        }
    }
}
