//! A tree: one published package file or folder of programs, and its copy in the software folder.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::recipe::TreeRecipe;
use super::{package_file, place};
use crate::engine::hex;
use crate::error::{Error, Result};

/// First bytes of every WebAssembly file.
const WASM_MAGIC: &[u8] = b"\0asm";
/// What npm knows of a package.
const PACKAGE_JSON: &str = "package.json";
/// Extension of package files.
const PACKAGE_EXTENSION: &str = "aospkg";

/// A tree in the software folder.
pub(super) struct Tree {
    /// Name of the npm package.
    pub(super) name: String,
    pub(super) version: String,
    /// Where it is, relative to the software folder.
    pub(super) path: String,
    /// sha256 of each program by its path in the tree.
    pub(super) contents: BTreeMap<String, String>,
}

impl Tree {
    /// The commands in it, sorted.
    pub(super) fn commands(&self) -> impl Iterator<Item = &str> {
        self.contents.keys().filter_map(|path| path.strip_prefix("bin/"))
    }
}

/// Programs by their sha256.
pub(super) type Programs = HashMap<String, Vec<u8>>;

/// Puts a tree in place and collects its programs.
pub(super) fn install(
    recipe: &TreeRecipe,
    selected: Option<Vec<&str>>,
    node_modules: &Path,
    out: &Path,
    programs: &mut Programs,
) -> Result<Tree> {
    let npm = node_modules.join(&recipe.name);
    if place::size_of(&npm.join(PACKAGE_JSON)).is_none() {
        return Err(Error::MissingPackage {
            name: recipe.name.clone(),
            node_modules: node_modules.to_owned(),
        });
    }
    let version = npm_version(&npm)?;
    let source = npm.join(&recipe.from);
    let short_name = recipe.name.rsplit('/').next().unwrap_or(&recipe.name);
    let is_package =
        Path::new(&recipe.from).extension().is_some_and(|extension| extension == PACKAGE_EXTENSION);
    let path = if is_package {
        format!("packages/{short_name}-{version}.{PACKAGE_EXTENSION}")
    } else {
        format!("packages/{short_name}-{version}")
    };
    let target = out.join(&path);
    let contents = if is_package {
        install_package(&source, &target, programs)?
    } else {
        install_folder(&source, selected, &target, programs)?
    };
    Ok(Tree { name: recipe.name.clone(), version, path, contents })
}

fn install_package(
    source: &Path,
    target: &Path,
    programs: &mut Programs,
) -> Result<BTreeMap<String, String>> {
    let package = place::read(source)?;
    let files = package_file::files(&package).ok_or_else(|| Error::Format {
        path: source.to_owned(),
        reason: "not an .aospkg of format 1".to_owned(),
    })?;
    let mut contents = BTreeMap::new();
    for (path, range) in files {
        let bytes = &package[range];
        if bytes.starts_with(WASM_MAGIC) {
            contents.insert(path, remember(programs, bytes.to_vec()));
        }
    }
    if place::size_of(target) != Some(package.len() as u64) || place::read(target)? != package {
        place::write(target, &package)?;
    }
    Ok(contents)
}

fn install_folder(
    source: &Path,
    selected: Option<Vec<&str>>,
    target: &Path,
    programs: &mut Programs,
) -> Result<BTreeMap<String, String>> {
    let names = match selected {
        Some(names) => names.into_iter().map(str::to_owned).collect(),
        None => place::names_in(source)?,
    };
    let bin = target.join("bin");
    place::make_folder(&bin)?;
    for name in place::names_in(&bin)? {
        if !names.contains(&name) {
            place::remove(&bin.join(name))?;
        }
    }
    let mut contents = BTreeMap::new();
    let mut first_with: HashMap<String, PathBuf> = HashMap::new();
    for name in names {
        let bytes = place::read(&source.join(&name))?;
        let file = bin.join(&name);
        let (len, sha256) = (bytes.len() as u64, remember(programs, bytes));
        if place::size_of(&file) != Some(len) || sha256_of(&place::read(&file)?) != sha256 {
            match first_with.get(&sha256) {
                Some(first) => place::link_or_copy(first, &file)?,
                None => place::write(&file, &programs[&sha256])?,
            }
        }
        first_with.entry(sha256.clone()).or_insert(file);
        contents.insert(format!("bin/{name}"), sha256);
    }
    Ok(contents)
}

fn remember(programs: &mut Programs, bytes: Vec<u8>) -> String {
    let sha256 = sha256_of(&bytes);
    programs.entry(sha256.clone()).or_insert(bytes);
    sha256
}

fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn npm_version(npm: &Path) -> Result<String> {
    #[derive(Deserialize)]
    struct PackageJson {
        version: String,
    }
    let path = npm.join(PACKAGE_JSON);
    let bytes = place::read(&path)?;
    let parsed: PackageJson =
        serde_json::from_slice(&bytes).map_err(|error| Error::Format { path, reason: error.to_string() })?;
    Ok(parsed.version)
}
