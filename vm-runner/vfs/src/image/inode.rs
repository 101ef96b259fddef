//! The inodes of an image: a number and the image it counts in.

use std::sync::Arc;

use vm_abi::{DeviceNumber, Errno, FileType, Gid, Stat, Uid};

use super::{Body, Directory, FileContent, Image, Node};
use crate::content::{ContentId, Mapping};
use crate::error::VfsResult;
use crate::inode::{DirEntry, Inode, Parent};
use crate::path::Name;

pub(super) struct ImageInode {
    image: Arc<Image>,
    index: usize,
}

impl ImageInode {
    pub(super) const fn new(image: Arc<Image>, index: usize) -> Self {
        Self { image, index }
    }

    fn node(&self) -> &Node {
        &self.image.nodes[self.index]
    }

    fn at(&self, index: usize) -> Arc<dyn Inode> {
        Arc::new(Self::new(Arc::clone(&self.image), index))
    }

    fn directory(&self) -> VfsResult<&Directory> {
        match &self.node().body {
            Body::Directory(directory) => Ok(directory),
            Body::File(_) | Body::Symlink(_) => Err(Errno::ENOTDIR.into()),
        }
    }

    fn content(&self) -> VfsResult<&FileContent> {
        match &self.node().body {
            Body::File(content) => Ok(content),
            Body::Directory(_) | Body::Symlink(_) => Err(self.file_error()),
        }
    }
}

const fn ino_of(index: usize) -> u64 {
    index as u64 + 1
}

const fn type_of(node: &Node) -> FileType {
    match &node.body {
        Body::Directory(_) => FileType::Directory,
        Body::File(_) => FileType::Regular,
        Body::Symlink(_) => FileType::Symlink,
    }
}

impl Inode for ImageInode {
    fn ino(&self) -> u64 {
        ino_of(self.index)
    }

    fn file_type(&self) -> FileType {
        type_of(self.node())
    }

    fn stat(&self) -> VfsResult<Stat> {
        let node = self.node();
        let (size, nlink) = match &node.body {
            Body::Directory(directory) => (0, 2 + directory.subdirectories),
            Body::File(content) => (content.size, 1),
            Body::Symlink(target) => (target.len() as u64, 1),
        };
        Ok(Stat {
            dev: 0,
            ino: self.ino(),
            mode: self.file_type().mode_bits() | node.mode.bits(),
            nlink,
            uid: Uid::ROOT,
            gid: Gid::ROOT,
            rdev: DeviceNumber::NONE,
            size,
            blocks: if self.file_type().is_regular() { size.div_ceil(512) } else { 0 },
            atime: node.mtime,
            mtime: node.mtime,
            ctime: node.mtime,
        })
    }

    fn lookup(&self, name: Name<'_>) -> VfsResult<Arc<dyn Inode>> {
        let entries = &self.directory()?.entries;
        let found = entries.binary_search_by(|(entry, _)| entry.as_bytes().cmp(name.as_bytes()));
        let position = found.map_err(|_| Errno::ENOENT)?;
        Ok(self.at(entries[position].1))
    }

    fn parent(&self) -> Parent {
        let node = self.node();
        match (&node.body, &node.name) {
            (Body::Directory(_), Some(name)) => {
                Parent::In { directory: self.at(node.parent), name: name.clone() }
            }
            (Body::Directory(_), None) => Parent::Root,
            (Body::File(_) | Body::Symlink(_), _) => Parent::Detached,
        }
    }

    fn read_dir(&self) -> VfsResult<Vec<DirEntry>> {
        let entry = |(name, index): &(_, usize)| DirEntry {
            name: crate::path::NameBuf::clone(name),
            ino: ino_of(*index),
            file_type: type_of(&self.image.nodes[*index]),
        };
        Ok(self.directory()?.entries.iter().map(entry).collect())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> VfsResult<usize> {
        let content = self.content()?;
        if offset >= content.size || buffer.is_empty() {
            return Ok(0);
        }
        let mapping = content.mapping()?;
        let rest = mapping.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn map(&self) -> Option<Mapping> {
        self.content().ok()?.mapping().ok().cloned()
    }

    fn content_id(&self) -> Option<ContentId> {
        self.content().ok()?.content_id()
    }

    fn read_link(&self) -> VfsResult<Vec<u8>> {
        match &self.node().body {
            Body::Symlink(target) => Ok(target.clone()),
            Body::Directory(_) | Body::File(_) => Err(Errno::EINVAL.into()),
        }
    }
}
