//! The software build: from `node_modules` and `packages.json` to a folder that VMs run from.
//!
//! Safe to repeat and to interrupt: every file appears complete or not at all, what is there is kept, and the two
//! descriptions (`index.json`, `manifest.json`) are written last. One build at a time holds the folder.

use std::path::PathBuf;

use super::compile::{self, Compilation};
use super::index::{self, Index};
use super::manifest::{self, Manifest, Package, Source};
use super::place;
use super::recipe::{PackageRecipe, Recipe};
use super::tree::{self, Programs, Tree};
use crate::engine::Compiler;
use crate::error::{Error, Result};

/// What to build from and to.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The folder `node_modules` that holds the published packages.
    pub node_modules: PathBuf,
    /// The file `packages.json`.
    pub packages: PathBuf,
    /// The software folder.
    pub out: PathBuf,
    /// Folder that keeps compiled modules of all fingerprints for other software folders, usually
    /// `~/.cache/lodge/cwasm`.
    pub cache: Option<PathBuf>,
    /// Modules compiled at the same time.
    pub threads: usize,
}

/// How far a build is.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// The package file or folder is in place.
    Tree {
        /// Name of the npm package.
        name: &'a str,
        /// Its version.
        version: &'a str,
    },
    /// One more module is in place.
    Module {
        /// Modules in place.
        done: usize,
        /// Modules in all.
        total: usize,
        /// Modules of those in place that had to be compiled.
        compiled: usize,
    },
}

/// What a build did.
#[derive(Clone, Debug)]
pub struct Report {
    /// Packages that a workspace can name.
    pub packages: usize,
    /// Distinct modules.
    pub modules: usize,
    /// Modules that had to be compiled.
    pub compiled: usize,
    /// Bytes of WebAssembly of the distinct modules.
    pub wasm_bytes: u64,
    /// Bytes of machine code.
    pub compiled_bytes: u64,
    /// The engine's fingerprint.
    pub fingerprint: String,
}

/// Builds the software folder.
///
/// # Errors
/// When a package is missing (run `npm ci` first), a module does not compile, or a file cannot be written.
pub fn build(options: &BuildOptions, progress: &(dyn Fn(Progress<'_>) + Sync)) -> Result<Report> {
    let BuildOptions { node_modules, packages, out, cache, threads } = options;
    let recipe = Recipe::read(packages)?;
    let compiler = Compiler::new()?;
    let compiled = out.join(index::COMPILED);
    place::make_folder(&out.join("packages"))?;
    let _lock = place::lock(out)?;
    compile::prepare(&compiled, compiler.fingerprint())?;
    let cache = cache.as_ref().map(|cache| cache.join(compiler.fingerprint()));
    if let Some(cache) = &cache {
        place::make_folder(cache)?;
    }

    let mut programs = Programs::new();
    let mut trees = Vec::new();
    for tree_recipe in &recipe.trees {
        let selected = recipe.commands_of(&tree_recipe.name);
        let tree = tree::install(tree_recipe, selected, node_modules, out, &mut programs)?;
        progress(Progress::Tree { name: &tree.name, version: &tree.version });
        trees.push(tree);
    }
    let compilation = Compilation { compiler: &compiler, programs: &programs, compiled, cache, progress };
    let (modules, newly_compiled) = compilation.run(*threads)?;
    compilation.remove_others()?;
    remove_other_trees(options, &trees)?;

    let fingerprint = compiler.fingerprint().to_owned();
    let contents = trees.iter().map(|tree| (tree.path.clone(), tree.contents.clone())).collect();
    let index = Index { fingerprint: fingerprint.clone(), modules, contents };
    let manifest = manifest(&recipe, &trees, &fingerprint)?;
    write_json(options, index::FILE, &index)?;
    write_json(options, manifest::FILE, &manifest)?;
    Ok(Report {
        packages: manifest.packages.len(),
        modules: index.modules.len(),
        compiled: newly_compiled,
        wasm_bytes: index.modules.values().map(|module| module.size).sum(),
        compiled_bytes: index.modules.values().map(|module| module.compiled_size).sum(),
        fingerprint,
    })
}

fn manifest(recipe: &Recipe, trees: &[Tree], fingerprint: &str) -> Result<Manifest> {
    let packages = recipe.packages.iter().map(|recipe| package(recipe, trees)).collect::<Result<_>>()?;
    Ok(Manifest { schema: manifest::SCHEMA, engine: fingerprint.to_owned(), packages })
}

fn package(recipe: &PackageRecipe, trees: &[Tree]) -> Result<Package> {
    let mut commands: Vec<String> = Vec::new();
    let mut sources = Vec::new();
    let mut version = None;
    for part in &recipe.parts {
        let Some(tree) = trees.iter().find(|tree| tree.name == part.tree) else { continue };
        if part.commands.is_empty() {
            commands.extend(tree.commands().map(str::to_owned));
        }
        for command in &part.commands {
            if !tree.commands().any(|name| name == command) {
                let reason =
                    format!("package {} names the command {command}, which is not a program", recipe.name);
                return Err(Error::Format { path: tree.path.clone().into(), reason });
            }
            commands.push(command.clone());
        }
        version.get_or_insert_with(|| tree.version.clone());
        sources.push(Source { path: tree.path.clone(), commands: part.commands.clone() });
    }
    commands.sort_unstable();
    commands.dedup();
    Ok(Package {
        name: recipe.name.clone(),
        version: version.unwrap_or_default(),
        description: recipe.description.clone(),
        license: recipe.license.clone(),
        sources,
        includes: Vec::new(),
        commands,
    })
}

fn remove_other_trees(options: &BuildOptions, trees: &[Tree]) -> Result<()> {
    let packages = options.out.join("packages");
    for name in place::names_in(&packages)? {
        if !trees.iter().any(|tree| tree.path == format!("packages/{name}")) {
            place::remove(&packages.join(name))?;
        }
    }
    Ok(())
}

fn write_json(options: &BuildOptions, name: &str, value: &impl serde::Serialize) -> Result<()> {
    let path = options.out.join(name);
    let mut json = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::Format { path: path.clone(), reason: error.to_string() })?;
    json.push(b'\n');
    place::write(&path, &json)
}
