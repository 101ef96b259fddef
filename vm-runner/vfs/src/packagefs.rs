//! A published software package, served from its `.aospkg` file without unpacking it.
//!
//! The file is mapped; files inside are slices of the mapping. Everything is read-only and belongs to root. Commands
//! that the package declares are executable, whatever mode its packer gave them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use vm_abi::{Mode, Timespec};

use crate::aospkg::{self, IndexBody, IndexEntry, Manifest, ParseError};
use crate::content::{ContentId, Mapping};
use crate::host_folder;
use crate::image::{FileContent, Image, ImageBuilder};
use crate::path::VPath;

/// How many links are followed from a declared command to its file.
const MAX_LINKS: u32 = 8;

/// Why a package cannot be opened or placed.
#[derive(Debug, Error)]
pub enum PackageError {
    /// The host refused.
    #[error("cannot read package {path}: {source}")]
    Host {
        /// The package's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no package.
    #[error("cannot use package {path}: {source}")]
    Parse {
        /// The package's file.
        path: PathBuf,
        /// Why.
        source: ParseError,
    },
    /// The image has something else at one of its paths.
    #[error("cannot place {entry} of package {name}: {source}")]
    Place {
        /// The package.
        name: String,
        /// The path in the package.
        entry: VPath,
        /// Why.
        source: crate::Error,
    },
}

/// An open package: mapped, decoded and checked. Cheap to place many times.
pub struct PackageFile {
    package: aospkg::Package,
    content: Mapping,
}

impl PackageFile {
    /// Opens a package's file.
    ///
    /// # Errors
    /// If the host refuses, or the file is no package.
    pub fn open(path: &Path) -> Result<Self, PackageError> {
        let bytes = host_folder::map_file(path);
        let bytes = bytes.map_err(|source| PackageError::Host { path: path.to_owned(), source })?;
        Self::parse(&bytes).map_err(|source| PackageError::Parse { path: path.to_owned(), source })
    }

    /// A package in memory.
    ///
    /// # Errors
    /// If the bytes are no package.
    pub fn parse(bytes: &Mapping) -> Result<Self, ParseError> {
        let package = aospkg::parse(bytes)?;
        let content = bytes.slice(package.content.start, package.content.len());
        Ok(Self { package, content: content.ok_or(ParseError::Truncated("content"))? })
    }

    /// What the package says about itself.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.package.manifest
    }

    /// The package's tree.
    #[must_use]
    pub fn entries(&self) -> &[IndexEntry] {
        &self.package.entries
    }

    /// The content of a file of the package, by its path.
    #[must_use]
    pub fn content(&self, path: &VPath) -> Option<Mapping> {
        match &self.entry(path)?.body {
            IndexBody::File(range) => self.content.slice(range.start, range.len()),
            IndexBody::Directory | IndexBody::Symlink(_) => None,
        }
    }

    /// Adds the package's tree to an image, below `at`. `content_ids` are hashes known beforehand, by path relative
    /// to the package (`bin/sh`); others are computed when asked for.
    ///
    /// # Errors
    /// If the image has something else at one of the paths.
    pub fn place<S: std::hash::BuildHasher>(
        &self,
        builder: &mut ImageBuilder,
        at: &VPath,
        content_ids: &HashMap<Vec<u8>, ContentId, S>,
    ) -> Result<(), PackageError> {
        let programs = self.program_paths();
        for entry in &self.package.entries {
            let target = entry.path.components().fold(at.clone(), VPath::join);
            let mtime = Timespec::from_secs(entry.mtime);
            let result = match &entry.body {
                IndexBody::Directory => builder.directory(&target, entry.mode, mtime),
                IndexBody::Symlink(link) => builder.symlink(&target, link.as_bytes(), mtime),
                IndexBody::File(range) => {
                    let executable = if programs.contains(&entry.path) { 0o555 } else { 0 };
                    let content_id = content_ids.get(&entry.path.as_bytes()[1..]).copied();
                    let content = self.content.slice(range.start, range.len());
                    let content =
                        FileContent::mapped(content.unwrap_or_else(empty)).with_content_id(content_id);
                    builder.file_content(&target, entry.mode.with(Mode::new(executable)), mtime, content)
                }
            };
            result.map_err(|source| PackageError::Place {
                name: self.package.manifest.name.clone(),
                entry: entry.path.clone(),
                source,
            })?;
        }
        Ok(())
    }

    /// An image of this package alone.
    ///
    /// # Errors
    /// If the package has more files than an image may.
    pub fn image<S: std::hash::BuildHasher>(
        &self,
        content_ids: &HashMap<Vec<u8>, ContentId, S>,
    ) -> Result<Image, PackageError> {
        let Manifest { name, version, .. } = &self.package.manifest;
        let mut builder = ImageBuilder::new("packagefs", &format!("{name}@{version}"));
        self.place(&mut builder, &VPath::root(), content_ids)?;
        Ok(builder.build())
    }

    /// The files that the package's commands start, links followed.
    fn program_paths(&self) -> HashSet<VPath> {
        let commands = self.package.manifest.commands.iter();
        commands.filter_map(|command| self.resolve_program(&command.entry)).collect()
    }

    fn resolve_program(&self, entry: &str) -> Option<VPath> {
        let mut path = join_lexically(&VPath::root(), entry)?;
        for _ in 0..MAX_LINKS {
            match &self.entry(&path)?.body {
                IndexBody::File(_) => return Some(path),
                IndexBody::Directory => return None,
                IndexBody::Symlink(target) => path = join_lexically(&parent(&path), target)?,
            }
        }
        None
    }

    fn entry(&self, path: &VPath) -> Option<&IndexEntry> {
        let entries = &self.package.entries;
        let position = entries.binary_search_by(|entry| entry.path.cmp(path)).ok()?;
        entries.get(position)
    }
}

fn empty() -> Mapping {
    Mapping::new(std::sync::Arc::new([0_u8; 0]))
}

fn parent(path: &VPath) -> VPath {
    let names: Vec<_> = path.components().collect();
    names.iter().take(names.len().saturating_sub(1)).fold(VPath::root(), |path, &name| path.join(name))
}

/// A path relative to a directory of the package, `..` taken literally; `None` for an absolute path or one that leaves
/// the package.
fn join_lexically(directory: &VPath, relative: &str) -> Option<VPath> {
    if relative.starts_with('/') {
        return None;
    }
    let mut path = directory.clone();
    for component in relative.split('/') {
        path = match component {
            "" | "." => path,
            ".." if path == VPath::root() => return None,
            ".." => parent(&path),
            name => path.join(crate::path::Name::new(name.as_bytes()).ok()?),
        };
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use vm_abi::{Errno, Gid, Uid};

    use super::{PackageError, PackageFile};
    use crate::aospkg::tests::{ROOT, directory, file, link, package};
    use crate::image::ImageBuilder;
    use crate::{ContentId, FileSystem, Inode, Mapping, Name, VPath};

    fn sample() -> PackageFile {
        let entries = [
            ROOT,
            directory("/bin"),
            file("/bin/tool", 0, 5, 0o644),
            link("/bin/via", "../lib/script"),
            directory("/lib"),
            file("/lib/data", 2, 3, 0o600),
            file("/lib/script", 0, 0, 0o640),
        ];
        let bytes = package(&[("tool", "bin/tool"), ("via", "bin/via")], &entries, b"hello");
        PackageFile::parse(&Mapping::new(Arc::new(bytes))).unwrap()
    }

    fn find(file_system: &dyn FileSystem, path: &str) -> Arc<dyn Inode> {
        let path = VPath::try_from(path).unwrap();
        path.components().fold(file_system.root(), |at, name| at.lookup(name).unwrap())
    }

    #[test]
    fn files_are_slices_of_the_package_and_belong_to_root() {
        let file_system = sample().image(&HashMap::new()).unwrap().into_file_system();
        assert_eq!(file_system.source(), "sample@1.2.3");
        let data = find(&*file_system, "/lib/data");
        let stat = data.stat().unwrap();
        assert_eq!((stat.uid, stat.gid, stat.mode, stat.size), (Uid::ROOT, Gid::ROOT, 0o100_600, 3));
        assert_eq!(&*data.map().unwrap(), b"llo");
        let mut buffer = [0; 8];
        assert_eq!(data.read_at(1, &mut buffer).unwrap(), 2);
        assert_eq!(data.read_at(3, &mut buffer).unwrap(), 0);
        assert_eq!(file_system.root().stat().unwrap().nlink, 4);
        let missing = file_system.root().lookup(Name::new(b"none").unwrap());
        assert_eq!(missing.err().unwrap(), Errno::ENOENT);
    }

    #[test]
    fn declared_commands_are_executable_also_through_links() {
        let file_system = sample().image(&HashMap::new()).unwrap().into_file_system();
        assert_eq!(find(&*file_system, "/bin/tool").stat().unwrap().mode, 0o100_755);
        assert_eq!(find(&*file_system, "/lib/script").stat().unwrap().mode, 0o100_755);
        assert_eq!(find(&*file_system, "/lib/data").stat().unwrap().mode, 0o100_600);
    }

    #[test]
    fn known_hashes_are_believed_and_others_computed() {
        let known = HashMap::from([(b"bin/tool".to_vec(), ContentId([1; 32]))]);
        let file_system = sample().image(&known).unwrap().into_file_system();
        assert_eq!(find(&*file_system, "/bin/tool").content_id(), Some(ContentId([1; 32])));
        assert_eq!(find(&*file_system, "/lib/data").content_id(), Some(ContentId::of(b"llo")));
        assert_eq!(find(&*file_system, "/lib").content_id(), None);
    }

    #[test]
    fn a_package_is_placed_below_a_path_and_the_first_one_keeps_its_files() {
        let mut builder = ImageBuilder::new("image", "test");
        let at = VPath::try_from("/opt/sample").unwrap();
        sample().place(&mut builder, &at, &HashMap::new()).unwrap();
        let error = sample().place(&mut builder, &at, &HashMap::new()).unwrap_err();
        assert!(
            matches!(error, PackageError::Place { ref entry, .. } if entry.as_bytes() == b"/bin/tool"),
            "{error}"
        );
        let file_system = builder.build().into_file_system();
        assert_eq!(&*find(&*file_system, "/opt/sample/bin/tool").map().unwrap(), b"hello");
    }

    #[test]
    fn a_missing_package_is_named_in_the_error() {
        let error = PackageFile::open(std::path::Path::new("/none/x.aospkg")).err().unwrap();
        assert!(error.to_string().contains("/none/x.aospkg"));
    }
}
