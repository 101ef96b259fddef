//! Single files of the reference: opening, content, attributes.

use vm_abi::{Errno, FileType};
use vm_vfs::{Allocation, XattrSet};

use super::{Body, Facts, Held, Id, Inode, Last, MAX_LINKS, Outcome, ROOT, Reference};
use crate::operation::Open;

impl Reference {
    // ---- opening ----

    /// The file that opening for writing gives, made if need be.
    pub(crate) fn open(&mut self, path: &str, how: Open) -> Outcome<Id> {
        let id = if how.creates { self.open_or_create(path, how)? } else { self.resolve(path, true)? };
        if self.inode(id).is_directory() {
            return Err(Errno::EISDIR);
        }
        if let (true, Body::File(content)) = (how.truncates, &mut self.inode_mut(id).body) {
            content.clear();
        }
        Ok(id)
    }

    fn open_or_create(&mut self, path: &str, how: Open) -> Outcome<Id> {
        let mut links = 0;
        let mut place = self.place(ROOT, path, &mut links)?;
        loop {
            let Last::Name(name) = place.last else {
                return Err(if how.is_exclusive { Errno::EEXIST } else { Errno::EISDIR });
            };
            if place.has_slash {
                return Err(Errno::EISDIR);
            }
            let Some(found) = self.entries(place.directory).get(&name).copied() else {
                return Ok(self.add(place.directory, name, Inode::new(Body::File(Vec::new()), 0o644)));
            };
            if how.is_exclusive {
                return Err(Errno::EEXIST);
            }
            let Body::Symlink(target) = &self.inode(found).body else { return Ok(found) };
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::ELOOP);
            }
            place = self.place(place.directory, target, &mut links)?;
        }
    }

    pub(crate) fn open_existing(&self, path: &str, is_writable: bool) -> Outcome<Id> {
        let id = self.resolve(path, true)?;
        if is_writable && self.inode(id).is_directory() { Err(Errno::EISDIR) } else { Ok(id) }
    }

    pub(crate) fn hold(&mut self, slot: usize, id: Id, is_writable: bool) {
        self.drop_held(slot);
        self.held[slot] = Some(Held { id, is_writable });
    }

    pub(crate) fn drop_held(&mut self, slot: usize) {
        if let Some(held) = self.held[slot].take()
            && held.id != ROOT
        {
            self.forget(held.id);
        }
    }

    // ---- content ----

    fn content(&self, id: Id) -> Outcome<&Vec<u8>> {
        match &self.inode(id).body {
            Body::File(content) => Ok(content),
            Body::Directory { .. } => Err(Errno::EISDIR),
            Body::Symlink(_) | Body::Fifo => Err(Errno::EINVAL),
        }
    }

    fn content_mut(&mut self, id: Id) -> Outcome<&mut Vec<u8>> {
        self.content(id)?;
        match &mut self.inode_mut(id).body {
            Body::File(content) => Ok(content),
            Body::Directory { .. } | Body::Symlink(_) | Body::Fifo => Err(Errno::EINVAL),
        }
    }

    pub(crate) fn read(&self, id: Id, offset: u64, len: usize) -> Outcome<Vec<u8>> {
        let content = self.content(id)?;
        let start = content.len().min(offset as usize);
        Ok(content[start..content.len().min(start + len)].to_vec())
    }

    pub(crate) fn write(&mut self, id: Id, offset: u64, bytes: &[u8]) -> Outcome<usize> {
        let content = self.content_mut(id)?;
        let offset = offset as usize;
        if !bytes.is_empty() {
            content.resize(content.len().max(offset + bytes.len()), 0);
            content[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    pub(crate) fn append(&mut self, id: Id, bytes: &[u8]) -> Outcome<(usize, u64)> {
        let end = self.content(id)?.len() as u64;
        self.write(id, end, bytes)?;
        Ok((bytes.len(), end + bytes.len() as u64))
    }

    pub(crate) fn truncate(&mut self, id: Id, size: u64) -> Outcome<()> {
        self.content_mut(id)?.resize(size as usize, 0);
        Ok(())
    }

    pub(crate) fn allocate(&mut self, id: Id, offset: u64, len: u64, how: Allocation) -> Outcome<()> {
        let content = self.content_mut(id)?;
        let (start, end) = (offset as usize, (offset + len) as usize);
        if let Allocation::Extend | Allocation::Zero = how {
            content.resize(content.len().max(end), 0);
        }
        if let Allocation::PunchHole | Allocation::Zero = how {
            let size = content.len();
            content[start.min(size)..end.min(size)].fill(0);
        }
        Ok(())
    }

    // ---- attributes ----

    pub(crate) fn facts(&self, id: Id) -> Facts {
        let inode = self.inode(id);
        let (nlink, size) = match &inode.body {
            Body::File(content) => (inode.names, Some(content.len() as u64)),
            Body::Symlink(target) => (inode.names, Some(target.len() as u64)),
            Body::Fifo => (inode.names, Some(0)),
            Body::Directory { entries, parent: _ } => {
                (2 + entries.values().filter(|id| self.inode(**id).is_directory()).count() as u64, None)
            }
        };
        let Inode { mode, uid, gid, .. } = *inode;
        Facts { file_type: inode.file_type(), mode, uid, gid, nlink, size }
    }

    pub(crate) fn chmod(&mut self, path: &str, mode: u32) -> Outcome<()> {
        let id = self.resolve(path, true)?;
        self.inode_mut(id).mode = mode;
        Ok(())
    }

    pub(crate) fn chown(&mut self, path: &str, uid: u32, gid: u32) -> Outcome<()> {
        let id = self.resolve(path, true)?;
        let inode = self.inode_mut(id);
        (inode.uid, inode.gid) = (uid, gid);
        Ok(())
    }

    fn has_xattrs(&self, id: Id) -> bool {
        matches!(self.inode(id).body, Body::File(_) | Body::Directory { .. })
    }

    pub(crate) fn set_xattr(&mut self, path: &str, name: &str, value: Vec<u8>, how: XattrSet) -> Outcome<()> {
        let id = self.resolve(path, false)?;
        if !self.has_xattrs(id) {
            return Err(Errno::EPERM);
        }
        let xattrs = &mut self.inode_mut(id).xattrs;
        match (how, xattrs.contains_key(name)) {
            (XattrSet::Create, true) => return Err(Errno::EEXIST),
            (XattrSet::Replace, false) => return Err(Errno::ENODATA),
            (XattrSet::Any | XattrSet::Create | XattrSet::Replace, true | false) => {}
        }
        xattrs.insert(name.to_owned(), value);
        Ok(())
    }

    pub(crate) fn remove_xattr(&mut self, path: &str, name: &str) -> Outcome<()> {
        let id = self.resolve(path, false)?;
        if !self.has_xattrs(id) {
            return Err(Errno::EPERM);
        }
        self.inode_mut(id).xattrs.remove(name).map(drop).ok_or(Errno::ENODATA)
    }

    pub(crate) fn read_link(&self, path: &str) -> Outcome<Vec<u8>> {
        match &self.inode(self.resolve(path, false)?).body {
            Body::Symlink(target) => Ok(target.clone().into_bytes()),
            Body::File(_) | Body::Directory { .. } | Body::Fifo => Err(Errno::EINVAL),
        }
    }

    pub(crate) fn read_dir(&self, path: &str) -> Outcome<Vec<(String, FileType)>> {
        let id = self.resolve(path, true)?;
        if !self.inode(id).is_directory() {
            return Err(Errno::ENOTDIR);
        }
        Ok(self.entries(id).iter().map(|(name, id)| (name.clone(), self.inode(*id).file_type())).collect())
    }

    /// The path of a directory.
    pub(crate) fn canonicalize(&self, path: &str) -> Outcome<Option<String>> {
        let id = self.resolve(path, true)?;
        if !self.inode(id).is_directory() {
            // A file has as many paths as names.
            return Ok(None);
        }
        let mut names = Vec::new();
        let mut at = id;
        while at != ROOT {
            let parent = self.parent(at);
            let (name, _) = self.entries(parent).iter().find(|(_, id)| **id == at).expect("its entry");
            names.push(name.clone());
            at = parent;
        }
        names.reverse();
        Ok(Some(format!("/{}", names.join("/"))))
    }
}
