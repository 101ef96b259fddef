//! A plain host folder, read-only.
//!
//! The folder is listed once, when it is placed; file content is mapped when first read. What appears in the folder
//! later is not seen, and a file that changed its size is an input/output error. Links inside are served as links, to
//! be resolved in the guest; they never lead the host anywhere.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use vm_abi::{Mode, Timespec};

use crate::content::ContentId;
use crate::host_folder::{HostBody, HostEntry, HostFolder};
use crate::image::{FileContent, Image, ImageBuilder};
use crate::path::{Name, VPath};

/// How deep folders are descended.
const MAX_DEPTH: usize = 64;

/// How a folder is placed into an image.
#[derive(Clone, Debug, Default)]
pub struct FolderOptions {
    /// Only these top-level names; everything if `None`.
    pub only: Option<HashSet<Vec<u8>>>,
    /// Files are programs: readable and executable by all, whatever their mode on the host.
    pub all_executable: bool,
    /// Known hashes, by path relative to the folder (`bin/sh`). Others are computed when asked for.
    pub content_ids: HashMap<Vec<u8>, ContentId>,
}

/// Why a folder cannot be placed.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The host refused.
    #[error("cannot read folder {path}: {source}")]
    Host {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot stand in the image.
    #[error("cannot place {entry} of folder {path}: {source}")]
    Place {
        /// The folder.
        path: PathBuf,
        /// The file.
        entry: String,
        /// Why.
        source: crate::Error,
    },
    /// The folder is nested too deeply.
    #[error(
        "folder {path} is nested deeper than {MAX_DEPTH} levels; remove the link or loop that makes it so"
    )]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
}

/// Adds a host folder's tree to an image, below `at`.
///
/// # Errors
/// If the host refuses, or the image has something else at one of the paths.
pub fn place(
    builder: &mut ImageBuilder,
    at: &VPath,
    path: &Path,
    options: &FolderOptions,
) -> Result<(), FolderError> {
    let folder =
        HostFolder::open(path).map_err(|source| FolderError::Host { path: path.to_owned(), source })?;
    let mut placing = Placing { builder, folder, path, options };
    placing.folder(at, &CString::default(), 0)
}

/// An image of one host folder.
///
/// # Errors
/// As [`place`].
pub fn open(path: &Path, options: &FolderOptions) -> Result<Image, FolderError> {
    let mut builder = ImageBuilder::new("folderfs", &path.display().to_string());
    place(&mut builder, &VPath::root(), path, options)?;
    Ok(builder.build())
}

struct Placing<'a> {
    builder: &'a mut ImageBuilder,
    folder: HostFolder,
    path: &'a Path,
    options: &'a FolderOptions,
}

impl Placing<'_> {
    fn folder(&mut self, at: &VPath, relative: &CString, depth: usize) -> Result<(), FolderError> {
        if depth > MAX_DEPTH {
            return Err(FolderError::TooDeep { path: self.path.to_owned() });
        }
        let entries = self.folder.entries(relative);
        let entries = entries.map_err(|source| FolderError::Host { path: self.path.to_owned(), source })?;
        for entry in entries {
            let is_wanted =
                depth > 0 || self.options.only.as_ref().is_none_or(|only| only.contains(&entry.name));
            if is_wanted {
                self.entry(at, entry, depth)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, at: &VPath, entry: HostEntry, depth: usize) -> Result<(), FolderError> {
        let HostEntry { name, path: relative, body, mode, mtime } = entry;
        let refuse = |source| FolderError::Place {
            path: self.path.to_owned(),
            entry: relative.to_string_lossy().into_owned(),
            source,
        };
        let target = at.clone().join(Name::new(&name).map_err(refuse)?);
        let mtime = Timespec::new(mtime.0, mtime.1).unwrap_or_default();
        match body {
            HostBody::Folder => {
                self.builder.directory(&target, Mode::new(mode & 0o777 | 0o555), mtime).map_err(refuse)?;
                self.folder(&target, &relative, depth + 1)
            }
            HostBody::File { size } => {
                let executable = if self.options.all_executable { 0o555 } else { 0 };
                let mode = Mode::new(mode & 0o777 | 0o444 | executable);
                let content_id = self.options.content_ids.get(relative.to_bytes()).copied();
                let content = FileContent::host(self.folder.file(relative.clone()), size);
                let content = content.with_content_id(content_id);
                self.builder.file_content(&target, mode, mtime, content).map_err(refuse)
            }
            HostBody::Symlink(link) => self.builder.symlink(&target, &link, mtime).map_err(refuse),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use vm_abi::{Errno, FileType};

    use super::{FolderError, FolderOptions, open};
    use crate::{ContentId, Inode, Name};

    #[expect(clippy::disallowed_methods, reason = "tests make host folders to serve")]
    fn sample() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("bin")).unwrap();
        std::fs::write(folder.path().join("bin/tool"), b"\0asm tool").unwrap();
        std::fs::set_permissions(folder.path().join("bin/tool"), PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(folder.path().join("empty"), b"").unwrap();
        symlink("/etc/passwd", folder.path().join("link")).unwrap();
        folder
    }

    fn lookup(from: &dyn Inode, name: &str) -> std::sync::Arc<dyn Inode> {
        from.lookup(Name::new(name.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_folder_is_served_with_its_files_links_and_folders() {
        let folder = sample();
        let options = FolderOptions { all_executable: true, ..FolderOptions::default() };
        let file_system = open(folder.path(), &options).unwrap().into_file_system();
        let root = file_system.root();
        let names: Vec<_> =
            root.read_dir().unwrap().into_iter().map(|entry| entry.name.to_string()).collect();
        assert_eq!(names, ["bin", "empty", "link"]);
        let tool = lookup(&*lookup(&*root, "bin"), "tool");
        assert_eq!(tool.stat().unwrap().mode & 0o777, 0o755);
        let mut buffer = [0; 16];
        assert_eq!(tool.read_at(5, &mut buffer).unwrap(), 4);
        assert_eq!(&buffer[..4], b"tool");
        assert_eq!(&*tool.map().unwrap(), b"\0asm tool");
        assert_eq!(tool.content_id(), Some(ContentId::of(b"\0asm tool")));
        assert_eq!(lookup(&*root, "empty").map().unwrap().len(), 0);
        assert_eq!(lookup(&*root, "link").read_link().unwrap(), b"/etc/passwd");
        assert_eq!(tool.write_at(0, b"x").unwrap_err(), Errno::EROFS);
    }

    #[test]
    fn only_the_wanted_names_are_placed_and_known_hashes_are_believed() {
        let folder = sample();
        let options = FolderOptions {
            only: Some(HashSet::from([b"empty".to_vec()])),
            content_ids: [(b"empty".to_vec(), ContentId([7; 32]))].into(),
            ..FolderOptions::default()
        };
        let file_system = open(folder.path(), &options).unwrap().into_file_system();
        let root = file_system.root();
        assert_eq!(root.read_dir().unwrap().len(), 1);
        assert_eq!(lookup(&*root, "empty").content_id(), Some(ContentId([7; 32])));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test changes a host file behind the image's back")]
    fn a_file_that_changed_or_became_a_link_is_an_io_error() {
        let folder = sample();
        let file_system = open(folder.path(), &FolderOptions::default()).unwrap().into_file_system();
        let tool = lookup(&*lookup(&*file_system.root(), "bin"), "tool");
        let path = folder.path().join("bin/tool");
        std::fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        assert_eq!(tool.read_at(0, &mut [0; 4]).unwrap_err(), Errno::EIO);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"other").unwrap();
        assert_eq!(tool.read_at(0, &mut [0; 4]).unwrap_err(), Errno::EIO);
        assert_eq!(tool.file_type(), FileType::Regular);
    }

    #[test]
    fn a_missing_folder_is_named_in_the_error() {
        let folder = sample();
        let error = open(&folder.path().join("none"), &FolderOptions::default()).err().unwrap();
        assert!(matches!(error, FolderError::Host { .. }));
        assert!(error.to_string().contains("none"));
    }
}
