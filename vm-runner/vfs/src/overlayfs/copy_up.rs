//! Copying a lower file to the upper layer before its first change.
//!
//! The data of a regular file goes into an unnamed upper file while nothing but the node's own `copying` is locked;
//! then, with the tree held, the copy gets its name at once. Nobody ever sees half a copy, and a failed one leaves
//! nothing behind.

use std::sync::{Arc, PoisonError};

use vm_abi::{Errno, FileType, Stat};

use super::Changing;
use super::lower_cache::LowerStack;
use super::marker::{self, PRIVATE_XATTR_PREFIX};
use super::node::{Node, Place};
use crate::error::VfsResult;
use crate::inode::{Extent, Inode, NodeKind, Owner, SetAttr, SetTime, XattrSet};
use crate::path::{Name, NameBuf};

/// How much is copied at a time.
const BLOCK_BYTES: usize = 128 * 1024;

impl Node {
    /// The upper part, made now if there is none. Of a regular file only the first `data_limit` bytes are copied, for
    /// a caller who is going to cut it there.
    ///
    /// Precondition: the tree is not held.
    pub(super) fn copy_up(&self, data_limit: u64) -> VfsResult<Arc<dyn Inode>> {
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        if !self.file_type.is_regular() {
            return self.copy_up_held(&self.shared.change());
        }
        let _copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        let copy = self.copy_data(data_limit)?;
        self.commit_file(&self.shared.change(), copy)
    }

    /// The upper part, made now if there is none.
    pub(super) fn copy_up_held(&self, changing: &Changing<'_>) -> VfsResult<Arc<dyn Inode>> {
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        match self.file_type {
            FileType::Directory => self.copy_up_directory(changing),
            FileType::Regular => self.commit_file(changing, self.copy_data(u64::MAX)?),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharDevice
            | FileType::BlockDevice => self.copy_special(changing),
        }
    }

    /// The upper part of a directory, made now, with those of all directories above, if there is none.
    pub(super) fn copy_up_directory(&self, changing: &Changing<'_>) -> VfsResult<Arc<dyn Inode>> {
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        let mut missing = Vec::new();
        let mut at = self.this.upgrade().ok_or(Errno::ENOENT)?;
        let mut upper = loop {
            if let Some(upper) = at.upper() {
                break upper;
            }
            let (directory, name) = at.entry()?;
            missing.push((at, name));
            at = directory;
        };
        while let Some((node, name)) = missing.pop() {
            upper = node.make_directory_copy(changing, &*upper, name.as_name())?;
        }
        Ok(upper)
    }

    /// Makes sure that the upper layer has this file at this name, which may be another than it was copied up by.
    pub(super) fn settle(
        &self,
        changing: &Changing<'_>,
        upper_directory: &dyn Inode,
        name: Name<'_>,
    ) -> VfsResult<Arc<dyn Inode>> {
        let upper = self.copy_up_held(changing)?;
        match upper_directory.lookup(name) {
            Err(error) if error == Errno::ENOENT => {
                keeping_times(upper_directory, || upper_directory.link(name, &upper))?;
                Ok(upper)
            }
            Ok(_) => Ok(upper),
            Err(error) => Err(error),
        }
    }

    /// Ends the merging of a directory, all of whose entries the upper layer has or hides.
    pub(super) fn detach_lowers(&self, _changing: &Changing<'_>) -> VfsResult<()> {
        let mut state = self.state_mut();
        let Some(upper) = state.upper.as_ref().filter(|_| !state.lowers.is_empty()) else {
            return Ok(());
        };
        keeping_times(&**upper, || marker::make_opaque(&**upper))?;
        self.shared.table.add_origin(upper.ino(), self.ino);
        state.lowers = LowerStack::default();
        Ok(())
    }

    /// Where the node is found; `ENOENT` if nowhere.
    fn entry(&self) -> VfsResult<(Arc<Self>, NameBuf)> {
        match &self.state().place {
            Place::In { directory, name } => Ok((Arc::clone(directory), name.clone())),
            Place::Root | Place::Unnamed | Place::Nowhere => Err(Errno::ENOENT.into()),
        }
    }

    fn make_directory_copy(
        &self,
        _changing: &Changing<'_>,
        upper_parent: &dyn Inode,
        name: Name<'_>,
    ) -> VfsResult<Arc<dyn Inode>> {
        let lower = self.active()?;
        let stat = lower.stat()?;
        let make = || upper_parent.create(name, NodeKind::Directory, stat.permissions(), owner_of(&stat));
        let copy = keeping_times(upper_parent, make)?;
        if let Err(error) = copy_attributes(&*lower, &stat, &*copy) {
            // A directory without its attributes is worse than none; the error tells.
            let _ = keeping_times(upper_parent, || upper_parent.rmdir(name));
            return Err(error);
        }
        self.state_mut().upper = Some(Arc::clone(&copy));
        Ok(copy)
    }

    /// An unnamed upper file with the content and attributes of this lower one.
    fn copy_data(&self, data_limit: u64) -> VfsResult<Arc<dyn Inode>> {
        let lower = self.active()?;
        let stat = lower.stat()?;
        let copy = self.shared.upper.root().create_unnamed(stat.permissions(), owner_of(&stat))?;
        copy_content(&*lower, stat.size.min(data_limit), &*copy)?;
        copy_attributes(&*lower, &stat, &*copy)?;
        Ok(copy)
    }

    /// Gives a finished copy the node's name. If the node was copied up meanwhile, that copy stays.
    fn commit_file(&self, changing: &Changing<'_>, copy: Arc<dyn Inode>) -> VfsResult<Arc<dyn Inode>> {
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        // A file that lost its name stays without one.
        if let Ok((directory, name)) = self.entry() {
            let parent = directory.copy_up_directory(changing)?;
            keeping_times(&*parent, || parent.link(name.as_name(), &copy))?;
        }
        self.adopt(changing, &copy)?;
        Ok(copy)
    }

    /// Links, pipes, sockets and devices have no data to copy; they are made at their name.
    fn copy_special(&self, changing: &Changing<'_>) -> VfsResult<Arc<dyn Inode>> {
        let (directory, name) = self.entry()?;
        let lower = self.active()?;
        let stat = lower.stat()?;
        let target = if self.file_type.is_symlink() { lower.read_link()? } else { Vec::new() };
        let kind = match self.file_type {
            FileType::Symlink => NodeKind::Symlink(&target),
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
            FileType::CharDevice => NodeKind::CharDevice(stat.rdev),
            FileType::BlockDevice => NodeKind::BlockDevice(stat.rdev),
            FileType::Regular => NodeKind::Regular,
            FileType::Directory => NodeKind::Directory,
        };
        let parent = directory.copy_up_directory(changing)?;
        let make = || parent.create(name.as_name(), kind, stat.permissions(), owner_of(&stat));
        let copy = keeping_times(&*parent, make)?;
        copy_attributes(&*lower, &stat, &*copy)?;
        self.adopt(changing, &copy)?;
        Ok(copy)
    }

    /// From now on the copy is the file.
    fn adopt(&self, _changing: &Changing<'_>, copy: &Arc<dyn Inode>) -> VfsResult<()> {
        let lower = self.active()?;
        self.shared.table.add_origin(copy.ino(), self.ino);
        if lower.stat()?.nlink > 1 {
            self.shared.table.add_copied_link(self.ino, Arc::clone(copy));
        }
        let mut state = self.state_mut();
        state.upper = Some(Arc::clone(copy));
        state.lowers = LowerStack::default();
        Ok(())
    }
}

/// Does something to a directory that its users shall not notice by its times.
pub(super) fn keeping_times<T>(directory: &dyn Inode, change: impl FnOnce() -> VfsResult<T>) -> VfsResult<T> {
    let before = directory.stat()?;
    let result = change()?;
    directory.set_attr(&times_of(&before))?;
    Ok(result)
}

fn copy_content(from: &dyn Inode, size: u64, to: &dyn Inode) -> VfsResult<()> {
    let mapping = from.map();
    let mut buffer = if mapping.is_some() { Vec::new() } else { vec![0; BLOCK_BYTES] };
    let mut offset = 0;
    while offset < size {
        let start = match from.seek_extent(offset, Extent::Data) {
            Ok(start) if start < size => start,
            Ok(_) => break,
            Err(error) if error == Errno::ENXIO => break,
            Err(error) => return Err(error),
        };
        let end = from.seek_extent(start, Extent::Hole)?.min(size);
        offset = start;
        while offset < end {
            let len = (end - offset).min(BLOCK_BYTES as u64) as usize;
            let block = match &mapping {
                Some(mapping) => mapping.get(offset as usize..offset as usize + len).ok_or(Errno::EIO)?,
                None => {
                    let read = from.read_at(offset, &mut buffer[..len])?;
                    &buffer[..read]
                }
            };
            if block.is_empty() {
                return Err(Errno::EIO.into());
            }
            offset += to.write_at(offset, block)? as u64;
        }
    }
    to.set_attr(&SetAttr { size: Some(size), ..SetAttr::default() })
}

fn copy_attributes(from: &dyn Inode, stat: &Stat, to: &dyn Inode) -> VfsResult<()> {
    for name in from.list_xattr()? {
        if !name.starts_with(PRIVATE_XATTR_PREFIX) {
            to.set_xattr(&name, &from.get_xattr(&name)?, XattrSet::Any)?;
        }
    }
    to.set_attr(&times_of(stat))
}

fn times_of(stat: &Stat) -> SetAttr {
    let (atime, mtime) = (Some(SetTime::At(stat.atime)), Some(SetTime::At(stat.mtime)));
    SetAttr { atime, mtime, ctime: Some(stat.ctime), ..SetAttr::default() }
}

const fn owner_of(stat: &Stat) -> Owner {
    Owner { uid: stat.uid, gid: stat.gid }
}
