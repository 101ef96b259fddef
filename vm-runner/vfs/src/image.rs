//! A tree of files that never changes: what software packages and host folders are served from.
//!
//! An [`ImageBuilder`] collects directories, files and links, from any number of packages and folders, at any paths;
//! [`ImageBuilder::build`] makes a read-only file system of them. File content is mapped, never copied; a host file is
//! opened when first read. Everything belongs to root. Inode numbers follow the order of building, so the same tree
//! has the same numbers after a restart.
//!
//! This module knows neither where content comes from nor any package format.

mod builder;
mod inode;

use std::sync::{Arc, OnceLock};

use vm_abi::{Errno, Mode, Timespec};

pub use builder::ImageBuilder;
use inode::ImageInode;

use crate::content::{ContentId, Mapping};
use crate::error::VfsResult;
use crate::file_system::{FileSystem, StatFs};
use crate::host_folder::HostFile;
use crate::inode::Inode;
use crate::path::NameBuf;

/// Files above this size are not hashed on demand; their identity must be known beforehand or stays unknown.
const MAX_HASHED_BYTES: u64 = 256 * 1024 * 1024;

/// A read-only file system made by an [`ImageBuilder`].
pub struct Image {
    kind: &'static str,
    source: String,
    /// Node 0 is the root directory.
    nodes: Vec<Node>,
}

struct Node {
    /// The directory it is in; the root's is itself.
    parent: usize,
    name: Option<NameBuf>,
    mode: Mode,
    mtime: Timespec,
    body: Body,
}

enum Body {
    Directory(Directory),
    File(FileContent),
    Symlink(Vec<u8>),
}

/// Entries, sorted by name once the image is built.
#[derive(Default)]
struct Directory {
    entries: Vec<(NameBuf, usize)>,
    subdirectories: u64,
}

/// The content of a file: in memory, or in a host file that is mapped when first needed.
pub(crate) struct FileContent {
    size: u64,
    host_file: Option<HostFile>,
    mapping: OnceLock<Mapping>,
    content_id: OnceLock<ContentId>,
}

impl FileContent {
    /// Content that is in memory.
    pub(crate) fn mapped(mapping: Mapping) -> Self {
        let size = mapping.len() as u64;
        Self { size, host_file: None, mapping: OnceLock::from(mapping), content_id: OnceLock::new() }
    }

    /// Content of a host file.
    pub(crate) const fn host(file: HostFile, size: u64) -> Self {
        Self { size, host_file: Some(file), mapping: OnceLock::new(), content_id: OnceLock::new() }
    }

    /// The same content, whose hash is known.
    pub(crate) fn with_content_id(mut self, content_id: Option<ContentId>) -> Self {
        if let Some(content_id) = content_id {
            self.content_id = OnceLock::from(content_id);
        }
        self
    }

    fn mapping(&self) -> VfsResult<&Mapping> {
        if let Some(mapping) = self.mapping.get() {
            return Ok(mapping);
        }
        let host_file = self.host_file.as_ref().ok_or(Errno::EIO)?;
        let mapping = host_file.map().map_err(|_| Errno::EIO)?;
        // A host file that changed since the image was built is not served half.
        if mapping.len() as u64 != self.size {
            return Err(Errno::EIO.into());
        }
        Ok(self.mapping.get_or_init(|| mapping))
    }

    fn content_id(&self) -> Option<ContentId> {
        if let Some(content_id) = self.content_id.get() {
            return Some(*content_id);
        }
        if self.size > MAX_HASHED_BYTES {
            return None;
        }
        let mapping = self.mapping().ok()?;
        Some(*self.content_id.get_or_init(|| ContentId::of(mapping)))
    }
}

/// The mountable form of an image: inodes hold on to it.
struct ImageFileSystem {
    image: Arc<Image>,
}

impl Image {
    /// This image, to be mounted.
    #[must_use]
    pub fn into_file_system(self) -> Arc<dyn FileSystem> {
        Arc::new(ImageFileSystem { image: Arc::new(self) })
    }

    /// How many files, directories and links it has.
    #[must_use]
    pub const fn inode_count(&self) -> usize {
        self.nodes.len()
    }
}

impl FileSystem for ImageFileSystem {
    fn kind(&self) -> &'static str {
        self.image.kind
    }

    fn source(&self) -> String {
        self.image.source.clone()
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(ImageInode::new(Arc::clone(&self.image), 0))
    }

    fn statfs(&self) -> VfsResult<StatFs> {
        let size = |node: &Node| match &node.body {
            Body::File(content) => content.size,
            Body::Directory(_) | Body::Symlink(_) => 0,
        };
        Ok(StatFs {
            total_bytes: self.image.nodes.iter().map(size).sum(),
            free_bytes: 0,
            total_inodes: self.image.nodes.len() as u64,
            free_inodes: 0,
            block_bytes: 4096,
        })
    }

    fn is_read_only(&self) -> bool {
        true
    }
}
