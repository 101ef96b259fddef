//! Compiled modules: mapped once per vm process, linked once, instantiated often. Those of the software folder are kept
//! here for good; those that guests brought are adopted from `guest_code`, which keeps them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use wasmtime::{Engine, InstancePre, Module, ModuleExport};

use crate::engine::{WasmEngine, hex};
use crate::entry;
use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::link::Linkers;
use crate::software::{COMPILED, Index, file_name, place};

/// sha256 of a module's WebAssembly.
pub(crate) type Sha256Digest = [u8; 32];

/// The modules of a software folder.
pub(crate) struct ModuleCache {
    engine: WasmEngine,
    folder: PathBuf,
    index: Index,
    pooled: Linkers,
    on_demand: OnceLock<Linkers>,
    loaded: Mutex<HashMap<Sha256Digest, Arc<LoadedModule>>>,
}

/// A module, ready to be instantiated.
pub(crate) struct LoadedModule {
    /// `None` for code that is in no file.
    path: Option<PathBuf>,
    /// `None` for a module that the slots of the pool are too small for.
    pooled: Option<LinkedModule>,
    on_demand: OnceLock<LinkedModule>,
    code_bytes: usize,
}

/// Machine code that this process or an earlier one of the same workspace compiled.
pub(crate) enum Code {
    /// A file that only this process writes.
    File(PathBuf),
    /// As the compiler left it.
    Bytes(Vec<u8>),
}

/// A module in one of the engines, with its imports, and where its exports are.
pub(crate) struct LinkedModule {
    pub(crate) instance_pre: InstancePre<Guest>,
    pub(crate) memory: Option<ModuleExport>,
    pub(crate) start: ModuleExport,
    pub(crate) trampoline: Option<ModuleExport>,
    pub(crate) initial_mask: Option<ModuleExport>,
    /// Whether it was built with a standard library, see `standard`.
    pub(crate) is_standard: bool,
}

impl ModuleCache {
    /// Opens a software folder.
    ///
    /// # Errors
    /// When its index is missing or was made for another engine.
    pub(crate) fn open(engine: WasmEngine, folder: &Path) -> Result<Self> {
        let index = Index::read(folder)?;
        let fingerprint = engine.fingerprint();
        if index.fingerprint != fingerprint {
            let reason = format!("compiled for engine {}, but this one is {fingerprint}", index.fingerprint);
            return Err(Error::Load { path: folder.join(COMPILED), reason });
        }
        let pooled = Linkers::new(engine.pooled())?;
        let loaded = Mutex::new(HashMap::new());
        Ok(Self { engine, folder: folder.to_owned(), index, pooled, on_demand: OnceLock::new(), loaded })
    }

    pub(crate) fn engine(&self) -> &WasmEngine {
        &self.engine
    }

    /// Whether the software folder has a module of this WebAssembly.
    pub(crate) fn has(&self, sha256: &Sha256Digest) -> bool {
        self.loaded().contains_key(sha256) || self.index.modules.contains_key(&hex(sha256))
    }

    /// The module of this WebAssembly; `None` if it was not compiled ahead of time.
    pub(crate) fn module(&self, sha256: &Sha256Digest) -> Option<Result<Arc<LoadedModule>>> {
        if let Some(module) = self.loaded().get(sha256) {
            return Some(Ok(Arc::clone(module)));
        }
        let name = hex(sha256);
        self.index.modules.get(&name)?;
        let path = self.folder.join(COMPILED).join(file_name(&name));
        let loaded = self.adopt(Code::File(path)).map(Arc::new);
        // Two processes may load the same module at the same time; the first stays.
        Some(loaded.map(|loaded| Arc::clone(self.loaded().entry(*sha256).or_insert(loaded))))
    }

    /// Loads a module.
    ///
    /// # Errors
    /// [`Error::Unrunnable`] if nothing can be done about it: no entry point, imports that do not exist.
    pub(crate) fn adopt(&self, code: Code) -> Result<LoadedModule> {
        match deserialize(self.engine.pooled(), &code) {
            Ok(module) => {
                let pooled = Some(link(&self.pooled, &module)?);
                let code_bytes = module.image_range_len();
                Ok(LoadedModule { path: code.into_path(), pooled, on_demand: OnceLock::new(), code_bytes })
            }
            // More memories or tables than a slot of the pool has, or larger ones. If it is damaged, it does not load
            // here, either.
            Err(error) => {
                let (engine, linkers) = self.on_demand_linkers()?;
                let module = deserialize(engine, &code).map_err(|_| error)?;
                let on_demand = OnceLock::from(link(linkers, &module)?);
                let code_bytes = module.image_range_len();
                Ok(LoadedModule { path: code.into_path(), pooled: None, on_demand, code_bytes })
            }
        }
    }

    /// The module for the engine without a pool; loaded a second time when first needed.
    pub(crate) fn on_demand<'a>(&self, module: &'a LoadedModule) -> Result<&'a LinkedModule> {
        if let Some(linked) = module.on_demand.get() {
            return Ok(linked);
        }
        let (engine, linkers) = self.on_demand_linkers()?;
        // The file of a guest's program may have been removed to make room for others.
        let code = match (&module.path, &module.pooled) {
            (Some(path), _) if place::size_of(path).is_some() => Code::File(path.clone()),
            (_, Some(pooled)) => {
                Code::Bytes(pooled.instance_pre.module().serialize().map_err(Error::Compile)?)
            }
            (path, None) => Code::File(path.clone().unwrap_or_default()),
        };
        let linked = link(linkers, &deserialize(engine, &code)?)?;
        Ok(module.on_demand.get_or_init(|| linked))
    }

    fn on_demand_linkers(&self) -> Result<(&Engine, &Linkers)> {
        let engine = self.engine.on_demand()?;
        if let Some(linkers) = self.on_demand.get() {
            return Ok((engine, linkers));
        }
        let linkers = Linkers::new(engine)?;
        Ok((engine, self.on_demand.get_or_init(|| linkers)))
    }

    fn loaded(&self) -> MutexGuard<'_, HashMap<Sha256Digest, Arc<LoadedModule>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoadedModule {
    /// Does now what the first instance would do: the image that memories are copied from on write.
    pub(crate) fn prepare(&self) -> Result<()> {
        let Some(linked) = &self.pooled else { return Ok(()) };
        let prepared = linked.instance_pre.module().initialize_copy_on_write_image();
        prepared.map_err(|error| load_error(self.path.as_deref(), &error))
    }

    pub(crate) fn pooled(&self) -> Option<&LinkedModule> {
        self.pooled.as_ref()
    }

    /// Bytes of machine code and its tables.
    pub(crate) fn code_bytes(&self) -> usize {
        self.code_bytes
    }
}

impl Code {
    fn into_path(self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Bytes(_) => None,
        }
    }
}

trait ImageLen {
    fn image_range_len(&self) -> usize;
}

impl ImageLen for Module {
    fn image_range_len(&self) -> usize {
        let range = self.image_range();
        range.end.addr() - range.start.addr()
    }
}

fn link(linkers: &Linkers, module: &Module) -> Result<LinkedModule> {
    let start = entry::check(module).map_err(Error::Unrunnable)?;
    let trampoline = entry::function(module, entry::TRAMPOLINE);
    Ok(LinkedModule {
        instance_pre: linkers.link(module, trampoline.is_some())?,
        memory: module.get_export_index("memory"),
        start,
        trampoline,
        initial_mask: entry::function(module, entry::INITIAL_MASK),
        is_standard: entry::is_standard(module),
    })
}

fn deserialize(engine: &Engine, code: &Code) -> Result<Module> {
    match code {
        Code::File(path) => deserialize_file(engine, path),
        Code::Bytes(bytes) => deserialize_bytes(engine, bytes),
    }
}

#[expect(
    unsafe_code,
    reason = "wasmtime loads machine code as it is; here from files that were compiled before"
)]
fn deserialize_file(engine: &Engine, path: &Path) -> Result<Module> {
    // SAFETY: the file is machine code that runs with this process's rights. It comes from the software folder, which
    // only the software build writes and no guest can reach, or from the folder of guest code, which only this process
    // writes and whose files are checked against the hash in their name. Its fingerprint equals the engine's (checked
    // when the folder is opened, and wasmtime checks version, target and settings again). Files are replaced by
    // renaming, never changed in place, so the mapping stays what it was.
    let module = unsafe { Module::deserialize_file(engine, path) };
    module.map_err(|error| load_error(Some(path), &error))
}

#[expect(
    unsafe_code,
    reason = "wasmtime loads machine code as it is; here what this process has just compiled"
)]
pub(crate) fn deserialize_bytes(engine: &Engine, code: &[u8]) -> Result<Module> {
    // SAFETY: the bytes come from this process's own compiler, or from a module that wasmtime wrote out again.
    let module = unsafe { Module::deserialize(engine, code) };
    module.map_err(|error| load_error(None, &error))
}

fn load_error(path: Option<&Path>, error: &wasmtime::Error) -> Error {
    let path = path.unwrap_or(Path::new("code in memory")).to_owned();
    Error::Load { path, reason: format!("{error:#}") }
}
