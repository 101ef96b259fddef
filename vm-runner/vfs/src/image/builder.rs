//! Collecting the tree of an image.

use std::collections::HashMap;

use vm_abi::{Errno, Mode, Timespec};

use super::{Body, Directory, FileContent, Image, Node};
use crate::content::Mapping;
use crate::error::{Error, VfsResult};
use crate::path::{MAX_PATH_BYTES, Name, VPath};

/// How many files, directories and links an image may have (`ENOSPC`): what a host that serves it keeps in memory.
const MAX_NODES: usize = 1 << 20;
/// Mode of directories that nobody described.
const DEFAULT_DIRECTORY_MODE: Mode = Mode::new(0o755);

/// Collects the tree of an [`Image`]. What is added first stays: adding something else at its path is `EEXIST`.
pub struct ImageBuilder {
    image: Image,
    /// Nodes by directory and name, while building.
    index: HashMap<(usize, Vec<u8>), usize>,
}

impl ImageBuilder {
    /// An image of this kind and source, as `/proc/mounts` shall tell them, with an empty root directory.
    #[must_use]
    pub fn new(kind: &'static str, source: &str) -> Self {
        let root = Node {
            parent: 0,
            name: None,
            mode: DEFAULT_DIRECTORY_MODE,
            mtime: Timespec::EPOCH,
            body: Body::Directory(Directory::default()),
        };
        Self { image: Image { kind, source: source.to_owned(), nodes: vec![root] }, index: HashMap::new() }
    }

    /// Adds a directory and, with default modes, those above it. One that is there already stays as it is.
    ///
    /// # Errors
    /// `ENOTDIR` if something else is at the path or on the way; `ENOSPC` above the limit.
    pub fn directory(&mut self, path: &VPath, mode: Mode, mtime: Timespec) -> VfsResult<()> {
        let Some((parent, name)) = self.make_parents(path)? else {
            return Ok(());
        };
        self.make_directory(parent, name, mode, mtime).map(|_| ())
    }

    /// Adds a file with content in memory.
    ///
    /// # Errors
    /// `EEXIST`, `ENOTDIR`; `ENOSPC` above the limit.
    pub fn file(&mut self, path: &VPath, mode: Mode, mtime: Timespec, content: Mapping) -> VfsResult<()> {
        self.file_content(path, mode, mtime, FileContent::mapped(content))
    }

    pub(crate) fn file_content(
        &mut self,
        path: &VPath,
        mode: Mode,
        mtime: Timespec,
        content: FileContent,
    ) -> VfsResult<()> {
        self.leaf(path, mode, mtime, Body::File(content))
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// `EEXIST`, `ENOTDIR`, `EINVAL` for a target that cannot be one; `ENOSPC` above the limit.
    pub fn symlink(&mut self, path: &VPath, target: &[u8], mtime: Timespec) -> VfsResult<()> {
        if target.is_empty() || target.len() >= MAX_PATH_BYTES || target.contains(&0) {
            return Err(Errno::EINVAL.into());
        }
        self.leaf(path, Mode::new(0o777), mtime, Body::Symlink(target.to_vec()))
    }

    /// The finished image.
    #[must_use]
    pub fn build(self) -> Image {
        let mut image = self.image;
        for node in &mut image.nodes {
            if let Body::Directory(directory) = &mut node.body {
                directory.entries.sort_unstable();
            }
        }
        image
    }

    fn leaf(&mut self, path: &VPath, mode: Mode, mtime: Timespec, body: Body) -> VfsResult<()> {
        let (parent, name) = self.make_parents(path)?.ok_or(Errno::EEXIST)?;
        if self.find(parent, name).is_some() {
            return Err(Errno::EEXIST.into());
        }
        self.insert(parent, name, mode, mtime, body).map(|_| ())
    }

    /// Makes the directories above a path; tells the last of them and the last name. `None` for the root.
    fn make_parents<'p>(&mut self, path: &'p VPath) -> VfsResult<Option<(usize, Name<'p>)>> {
        let mut components = path.components();
        let Some(mut name) = components.next() else {
            return Ok(None);
        };
        let mut parent = 0;
        for next in components {
            parent = self.make_directory(parent, name, DEFAULT_DIRECTORY_MODE, Timespec::EPOCH)?;
            name = next;
        }
        Ok(Some((parent, name)))
    }

    fn make_directory(
        &mut self,
        parent: usize,
        name: Name<'_>,
        mode: Mode,
        mtime: Timespec,
    ) -> VfsResult<usize> {
        match self.find(parent, name) {
            Some(index) if matches!(self.image.nodes[index].body, Body::Directory(_)) => Ok(index),
            Some(_) => Err(Errno::ENOTDIR.into()),
            None => self.insert(parent, name, mode, mtime, Body::Directory(Directory::default())),
        }
    }

    fn find(&self, parent: usize, name: Name<'_>) -> Option<usize> {
        self.index.get(&(parent, name.as_bytes().to_vec())).copied()
    }

    fn insert(
        &mut self,
        parent: usize,
        name: Name<'_>,
        mode: Mode,
        mtime: Timespec,
        body: Body,
    ) -> VfsResult<usize> {
        let index = self.image.nodes.len();
        if index >= MAX_NODES {
            return Err(Error::limit(Errno::ENOSPC, "files of an image"));
        }
        if let Body::Directory(directory) = &mut self.image.nodes[parent].body {
            directory.entries.push((name.to_owned(), index));
            directory.subdirectories += u64::from(matches!(body, Body::Directory(_)));
        }
        self.image.nodes.push(Node { parent, name: Some(name.to_owned()), mode, mtime, body });
        self.index.insert((parent, name.as_bytes().to_vec()), index);
        Ok(index)
    }
}
