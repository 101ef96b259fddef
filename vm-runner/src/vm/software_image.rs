//! The read-only image of the software that a workspace chose.
//!
//! Each package file or folder stands below `/opt/agentos/pkgs`, each command is a link in `/opt/agentos/bin`; of two
//! commands with one name, the first counts. Content stays where it is on the host and is mapped.
#![expect(clippy::disallowed_methods, reason = "host-facing: reads the host's certificate bundle, once")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use vm_abi::Timespec;
use vm_api::{Problem, ProblemCode, SoftwareRef};
use vm_vfs::folderfs::{self, FolderOptions};
use vm_vfs::image::ImageBuilder;
use vm_vfs::packagefs::PackageFile;
use vm_vfs::{ContentId, FileSystem, Mapping, VPath};
use vm_wasm::software::{Index, Package, Source};

use super::{etc, root};
use crate::software::Catalog;

/// Where hosts keep their certificate authorities.
pub(super) const CERTIFICATE_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// Largest bundle that is taken.
const MAX_BUNDLE_BYTES: usize = 4 << 20;
/// The command that nearly every other one is started by.
const SHELL: &str = "sh";
const PACKAGES: &str = "/opt/agentos/pkgs";

/// The image, and what it brings besides files.
#[derive(Clone)]
pub(crate) struct SoftwareImage {
    pub(crate) file_system: Arc<dyn FileSystem>,
    /// Variables that packages want set; the first package wins.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) has_git: bool,
    /// The program behind `sh`.
    pub(crate) shell: Option<ContentId>,
}

/// Builds images out of a software folder, and keeps the last one.
pub(crate) struct Images {
    catalog: Catalog,
    contents: BTreeMap<String, HashMap<Vec<u8>, ContentId>>,
    certificates: Option<Mapping>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the software folder: {0}")]
    Index(#[from] vm_wasm::Error),
    #[error(transparent)]
    Package(#[from] vm_vfs::packagefs::PackageError),
    #[error(transparent)]
    Folder(#[from] vm_vfs::folderfs::FolderError),
    #[error("{path}: {source}")]
    Place { path: String, source: vm_vfs::Error },
    #[error(transparent)]
    System(#[from] root::Error),
    #[error("{0}")]
    Unknown(Problem),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Unknown(problem) => problem,
            other => Self::new(ProblemCode::BootFailed, format!("the software of the VM: {other}")),
        }
    }
}

impl Images {
    /// Reads what is needed of the software folder.
    pub(crate) fn open(catalog: Catalog) -> Result<Self, Error> {
        let index = Index::read(catalog.folder())?;
        let contents = index.contents.into_iter().map(|(source, files)| {
            let files = files
                .into_iter()
                .filter_map(|(path, hash)| Some((path.into_bytes(), ContentId::from_hex(&hash)?)));
            (source, files.collect())
        });
        Ok(Self { contents: contents.collect(), certificates: host_certificates(), catalog })
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The image of a choice of packages.
    pub(crate) fn build(&self, choice: &[SoftwareRef]) -> Result<SoftwareImage, Error> {
        let packages = self.catalog.resolve(choice).map_err(Error::Unknown)?;
        let mut placing = Placing {
            images: self,
            builder: ImageBuilder::new("image", "software"),
            placed: HashSet::new(),
            environment: Vec::new(),
            commands: HashSet::new(),
            shell: None,
        };
        for package in packages {
            placing.package(package)?;
        }
        root::place_system(&mut placing.builder, self.certificates.as_ref())?;
        let has_git = placing.commands.contains("git");
        Ok(SoftwareImage {
            file_system: placing.builder.build().into_file_system(),
            environment: placing.environment,
            has_git,
            shell: placing.shell,
        })
    }
}

/// An image under construction.
struct Placing<'a> {
    images: &'a Images,
    builder: ImageBuilder,
    /// Sources that stand in the image already.
    placed: HashSet<String>,
    environment: Vec<(String, String)>,
    commands: HashSet<String>,
    shell: Option<ContentId>,
}

impl Placing<'_> {
    fn package(&mut self, package: &Package) -> Result<(), Error> {
        for source in &package.sources {
            if source.path.ends_with(".aospkg") {
                self.package_file(source)?;
            } else {
                self.folder(source, &package.commands)?;
            }
        }
        Ok(())
    }

    fn package_file(&mut self, source: &Source) -> Result<(), Error> {
        let file = PackageFile::open(&self.images.catalog.folder().join(&source.path))?;
        let manifest = file.manifest();
        let base = format!("{PACKAGES}/{}/{}", manifest.name, manifest.version);
        if self.placed.insert(source.path.clone()) {
            let known = self.images.contents.get(&source.path);
            let none = HashMap::new();
            file.place(&mut self.builder, &vpath(&base)?, known.unwrap_or(&none))?;
            self.link(&format!("{PACKAGES}/{}/current", manifest.name), &manifest.version)?;
            self.provided(&base, manifest.provides.as_ref())?;
        }
        for command in &manifest.commands {
            if source.commands.is_empty() || source.commands.contains(&command.command) {
                if command.command == SHELL && self.shell.is_none() {
                    let known = self.images.contents.get(&source.path);
                    self.shell = known.and_then(|known| known.get(command.entry.as_bytes())).copied();
                }
                self.command(&command.command, &format!("{base}/{}", command.entry))?;
            }
        }
        Ok(())
    }

    /// A folder of programs: `bin/` holds one file per command.
    fn folder(&mut self, source: &Source, commands: &[String]) -> Result<(), Error> {
        let name = Path::new(&source.path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let base = format!("{PACKAGES}/{name}");
        if self.placed.insert(source.path.clone()) {
            let content_ids = self.images.contents.get(&source.path).cloned().unwrap_or_default();
            let options = FolderOptions { only: None, all_executable: true, content_ids };
            let folder = self.images.catalog.folder().join(&source.path);
            folderfs::place(&mut self.builder, &vpath(&base)?, &folder, &options)?;
        }
        let commands = if source.commands.is_empty() { commands } else { &source.commands };
        for command in commands {
            self.command(command, &format!("{base}/bin/{command}"))?;
        }
        Ok(())
    }

    fn provided(&mut self, base: &str, provides: Option<&vm_vfs::aospkg::Provides>) -> Result<(), Error> {
        let Some(provides) = provides else { return Ok(()) };
        for (name, value) in &provides.env {
            if !self.environment.iter().any(|(known, _)| known == name) {
                self.environment.push((name.clone(), value.clone()));
            }
        }
        for file in &provides.files {
            self.link(&file.target, &format!("{base}/{}", file.source.trim_start_matches('/')))?;
        }
        Ok(())
    }

    fn command(&mut self, command: &str, target: &str) -> Result<(), Error> {
        if self.commands.insert(command.to_owned()) {
            self.link(&format!("{}/{command}", etc::COMMANDS), target)?;
        }
        Ok(())
    }

    fn link(&mut self, at: &str, target: &str) -> Result<(), Error> {
        let path = vpath(at)?;
        match self.builder.symlink(&path, target.as_bytes(), Timespec::EPOCH) {
            // The first package wins.
            Err(error) if error != vm_abi::Errno::EEXIST => {
                Err(Error::Place { path: at.to_owned(), source: error })
            }
            _ => Ok(()),
        }
    }
}

fn vpath(text: &str) -> Result<VPath, Error> {
    VPath::try_from(text).map_err(|source| Error::Place { path: text.to_owned(), source })
}

fn host_certificates() -> Option<Mapping> {
    let bytes = CERTIFICATE_BUNDLES.iter().find_map(|path| std::fs::read(path).ok())?;
    (bytes.len() <= MAX_BUNDLE_BYTES).then(|| Mapping::new(Arc::new(bytes)))
}
