//! Compiles many modules side by side, through a cache that outlives the software folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::build::Progress;
use super::index::ModuleEntry;
use super::place;
use super::tree::Programs;
use crate::engine::Compiler;
use crate::error::{Error, Result};

/// Where compiled modules go and come from.
pub(super) struct Compilation<'a> {
    pub(super) compiler: &'a Compiler,
    pub(super) programs: &'a Programs,
    /// `compiled/` of the software folder.
    pub(super) compiled: PathBuf,
    /// Folder of this fingerprint in the cache.
    pub(super) cache: Option<PathBuf>,
    pub(super) progress: &'a (dyn Fn(Progress<'_>) + Sync),
}

/// How a module came to be in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    Present,
    Cached,
    Compiled,
}

impl Compilation<'_> {
    /// Puts every program's machine code in place. Returns the modules and how many had to be compiled.
    pub(super) fn run(&self, threads: usize) -> Result<(BTreeMap<String, ModuleEntry>, usize)> {
        // The largest first, so that no thread is left alone with a large one at the end.
        let mut queue: Vec<(&String, &Vec<u8>)> = self.programs.iter().collect();
        queue.sort_unstable_by_key(|(sha256, wasm)| (std::cmp::Reverse(wasm.len()), *sha256));
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let done = Mutex::new(Done::default());
        let work = || {
            while let Some((sha256, wasm)) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                if failed.load(Ordering::Relaxed) {
                    return;
                }
                let module = self.module(sha256, wasm);
                failed.fetch_or(module.is_err(), Ordering::Relaxed);
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.add(sha256, wasm.len(), module);
                (self.progress)(Progress::Module {
                    done: done.modules.len(),
                    total: queue.len(),
                    compiled: done.compiled,
                });
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, queue.len().max(1)) {
                scope.spawn(work);
            }
        });
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        match done.error {
            Some(error) => Err(error),
            None => Ok((done.modules, done.compiled)),
        }
    }

    fn module(&self, sha256: &str, wasm: &[u8]) -> Result<(u64, Origin)> {
        let file = self.compiled.join(file_name(sha256));
        if let Some(size) = place::size_of(&file) {
            return Ok((size, Origin::Present));
        }
        let cached = self.cache.as_deref().map(|cache| cache.join(file_name(sha256)));
        if let Some(cached) = &cached
            && place::size_of(cached).is_some()
        {
            place::link_or_copy(cached, &file)?;
            return Ok((place::size_of(&file).unwrap_or_default(), Origin::Cached));
        }
        let code = self.compiler.compile(wasm)?;
        place::write(&file, &code)?;
        if let Some(cached) = &cached {
            place::link_or_copy(&file, cached)?;
        }
        Ok((code.len() as u64, Origin::Compiled))
    }

    /// Removes what no program of this build needs.
    pub(super) fn remove_others(&self) -> Result<()> {
        for name in place::names_in(&self.compiled)? {
            let is_needed =
                name.strip_suffix(".cwasm").is_some_and(|sha256| self.programs.contains_key(sha256));
            if !is_needed && name != FINGERPRINT {
                place::remove(&self.compiled.join(name))?;
            }
        }
        Ok(())
    }
}

/// File in `compiled/` that says which fingerprint the modules there have, also after an interrupted build.
const FINGERPRINT: &str = "fingerprint";

/// Makes `compiled/` a folder for this fingerprint: what is there for another one is removed.
pub(super) fn prepare(compiled: &Path, fingerprint: &str) -> Result<()> {
    let mark = compiled.join(FINGERPRINT);
    if place::size_of(&mark).is_some() && place::read(&mark)? == fingerprint.as_bytes() {
        return Ok(());
    }
    place::remove(compiled)?;
    place::make_folder(compiled)?;
    place::write(&mark, fingerprint.as_bytes())
}

/// Name of the compiled module of a program.
pub(crate) fn file_name(sha256: &str) -> String {
    format!("{sha256}.cwasm")
}

#[derive(Default)]
struct Done {
    modules: BTreeMap<String, ModuleEntry>,
    compiled: usize,
    error: Option<Error>,
}

impl Done {
    fn add(&mut self, sha256: &str, size: usize, module: Result<(u64, Origin)>) {
        match module {
            Ok((compiled_size, origin)) => {
                self.modules.insert(sha256.to_owned(), ModuleEntry { size: size as u64, compiled_size });
                self.compiled += usize::from(origin == Origin::Compiled);
            }
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
    }
}
