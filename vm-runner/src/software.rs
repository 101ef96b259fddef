//! The software that this runner offers, and what a workspace's choice of it comes to.
//!
//! The folder is made by `vm-runner software build`; it is read once, when the process starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vm_api::{Problem, ProblemCode, SoftwarePackage, SoftwareRef};
use vm_wasm::Compiler;
use vm_wasm::software::{Manifest, Package};

/// Packages that a choice may come to, with what they include.
const MAX_PACKAGES: usize = 256;

/// Why there is no software.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no software in {folder}: {source}; `vm-runner software build` makes it")]
    Manifest { folder: PathBuf, source: vm_wasm::Error },
    #[error("the software folder {folder}: {source}")]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error("the engine: {0}")]
    Engine(#[source] vm_wasm::Error),
    #[error(
        "the programs in {folder} were compiled by another version of vm-runner (engine {found}, this one is {wanted}); \
         `vm-runner software build` compiles them again"
    )]
    Foreign { folder: PathBuf, found: String, wanted: String },
}

/// The packages of a software folder. Clones are cheap.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    folder: Arc<Path>,
    manifest: Arc<Manifest>,
}

impl Catalog {
    /// Reads the manifest of a software folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let manifest =
            Manifest::read(folder).map_err(|source| Error::Manifest { folder: folder.to_owned(), source })?;
        let folder = std::path::absolute(folder)
            .map_err(|source| Error::Folder { folder: folder.to_owned(), source })?;
        Ok(Self { folder: folder.into(), manifest: Arc::new(manifest) })
    }

    /// Checks that this version can run the compiled programs, so that it is told once and at the start.
    pub(crate) fn check_engine(&self) -> Result<(), Error> {
        let wanted = Compiler::new().map_err(Error::Engine)?.fingerprint().to_owned();
        if self.manifest.engine == wanted {
            return Ok(());
        }
        Err(Error::Foreign { folder: self.folder.to_path_buf(), found: self.manifest.engine.clone(), wanted })
    }

    /// The folder, absolute.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is on offer, for the API.
    pub(crate) fn list(&self) -> Vec<SoftwarePackage> {
        self.manifest
            .packages
            .iter()
            .map(|package| SoftwarePackage {
                name: package.name.clone(),
                version: package.version.clone(),
                description: package.description.clone(),
                license: package.license.clone(),
                includes: package.includes.clone(),
                commands: package.commands.clone(),
            })
            .collect()
    }

    /// The packages that a choice comes to: each once, in order, a package before what it includes.
    ///
    /// # Errors
    /// A problem that names the entry of `spec.software` that does not exist here.
    pub(crate) fn resolve(&self, choice: &[SoftwareRef]) -> Result<Vec<&Package>, Problem> {
        let mut chosen: Vec<&Package> = Vec::new();
        for (index, wanted) in choice.iter().enumerate() {
            let package = self
                .find(wanted)
                .map_err(|problem| problem.with_field(format!("spec.software[{index}].name")))?;
            self.add(package, &mut chosen);
        }
        Ok(chosen)
    }

    fn add<'a>(&'a self, package: &'a Package, chosen: &mut Vec<&'a Package>) {
        if chosen.len() >= MAX_PACKAGES || chosen.iter().any(|known| known.name == package.name) {
            return;
        }
        chosen.push(package);
        for name in &package.includes {
            if let Some(included) = self.manifest.packages.iter().find(|package| package.name == *name) {
                self.add(included, chosen);
            }
        }
    }

    fn find(&self, wanted: &SoftwareRef) -> Result<&Package, Problem> {
        let Some(package) = self.manifest.packages.iter().find(|package| package.name == wanted.name) else {
            let names: Vec<_> = self.manifest.packages.iter().map(|package| package.name.as_str()).collect();
            let detail =
                format!("there is no software package {:?}; there are {}", wanted.name, names.join(", "));
            return Err(Problem::new(ProblemCode::SoftwareUnknown, detail));
        };
        match &wanted.version {
            Some(version) if *version != package.version => Err(Problem::new(
                ProblemCode::SoftwareUnknown,
                format!(
                    "software package {:?} is here in version {}, not {version}; leave the version out to take what is here",
                    package.name, package.version
                ),
            )),
            _ => Ok(package),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(packages: Vec<Package>) -> Self {
        let manifest = Manifest { schema: 1, engine: String::new(), packages };
        Self { folder: Path::new("/nowhere").into(), manifest: Arc::new(manifest) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn package(name: &str, includes: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            version: "1".to_owned(),
            description: String::new(),
            license: String::new(),
            sources: Vec::new(),
            includes: includes.iter().map(|name| (*name).to_owned()).collect(),
            commands: Vec::new(),
        }
    }

    fn wanted(name: &str, version: Option<&str>) -> SoftwareRef {
        SoftwareRef { name: name.to_owned(), version: version.map(str::to_owned) }
    }

    #[test]
    fn an_unknown_package_is_named_with_its_place_and_what_there_is() {
        let catalog = Catalog::for_tests(vec![package("common", &[]), package("git", &[])]);
        let problem = catalog.resolve(&[wanted("common", None), wanted("gti", None)]).unwrap_err();
        assert!(problem.is(ProblemCode::SoftwareUnknown));
        assert_eq!(problem.field.as_deref(), Some("spec.software[1].name"));
        assert!(
            problem.detail.contains("\"gti\"") && problem.detail.contains("common, git"),
            "{}",
            problem.detail
        );
    }

    #[test]
    fn programs_of_another_engine_are_refused_with_the_way_out() {
        let error = Catalog::for_tests(Vec::new()).check_engine().unwrap_err().to_string();
        assert!(error.contains("/nowhere") && error.contains("software build"), "{error}");
    }

    #[test]
    fn a_version_that_is_not_here_is_refused_with_the_one_that_is() {
        let catalog = Catalog::for_tests(vec![package("git", &[])]);
        let problem = catalog.resolve(&[wanted("git", Some("2"))]).unwrap_err();
        assert!(problem.detail.contains("version 1, not 2"), "{}", problem.detail);
        assert!(catalog.resolve(&[wanted("git", Some("1"))]).is_ok());
    }

    #[test]
    fn what_a_package_includes_comes_once_and_after_it() {
        let catalog = Catalog::for_tests(vec![package("a", &["b"]), package("b", &["a"]), package("c", &[])]);
        let chosen = catalog.resolve(&[wanted("a", None), wanted("b", None), wanted("c", None)]).unwrap();
        let names: Vec<_> = chosen.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
}
