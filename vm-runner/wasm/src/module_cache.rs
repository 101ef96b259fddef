//! Compiled modules of the software folder: mapped once per vm process, linked once, instantiated often.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use wasmtime::{Engine, InstancePre, Module, ModuleExport};

use crate::engine::{WasmEngine, hex};
use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::link::Linkers;
use crate::software::{COMPILED, Index, file_name};

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
    path: PathBuf,
    pooled: LinkedModule,
    on_demand: OnceLock<LinkedModule>,
}

/// A module in one of the engines, with its imports, and where its exports are.
pub(crate) struct LinkedModule {
    pub(crate) instance_pre: InstancePre<Guest>,
    pub(crate) memory: Option<ModuleExport>,
    pub(crate) start: ModuleExport,
    pub(crate) trampoline: Option<ModuleExport>,
    pub(crate) initial_mask: Option<ModuleExport>,
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

    /// The module of this WebAssembly; `None` if it was not compiled ahead of time.
    pub(crate) fn module(&self, sha256: &Sha256Digest) -> Option<Result<Arc<LoadedModule>>> {
        if let Some(module) = self.loaded().get(sha256) {
            return Some(Ok(Arc::clone(module)));
        }
        let name = hex(sha256);
        self.index.modules.get(&name)?;
        let path = self.folder.join(COMPILED).join(file_name(&name));
        let loaded = self.load(path).map(Arc::new);
        // Two processes may load the same module at the same time; the first stays.
        Some(loaded.map(|loaded| Arc::clone(self.loaded().entry(*sha256).or_insert(loaded))))
    }

    fn load(&self, path: PathBuf) -> Result<LoadedModule> {
        let pooled = load(self.engine.pooled(), &self.pooled, &path)?;
        Ok(LoadedModule { path, pooled, on_demand: OnceLock::new() })
    }

    /// The module for the engine without a pool; loaded a second time when first needed.
    pub(crate) fn on_demand<'a>(&self, module: &'a LoadedModule) -> Result<&'a LinkedModule> {
        if let Some(linked) = module.on_demand.get() {
            return Ok(linked);
        }
        let engine = self.engine.on_demand()?;
        let linkers = match self.on_demand.get() {
            Some(linkers) => linkers,
            None => {
                let linkers = Linkers::new(engine)?;
                self.on_demand.get_or_init(|| linkers)
            }
        };
        let linked = load(engine, linkers, &module.path)?;
        Ok(module.on_demand.get_or_init(|| linked))
    }

    fn loaded(&self) -> MutexGuard<'_, HashMap<Sha256Digest, Arc<LoadedModule>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoadedModule {
    /// Does now what the first instance would do: the image that memories are copied from on write.
    pub(crate) fn prepare(&self) -> Result<()> {
        let module = self.pooled.instance_pre.module();
        let prepared = module.initialize_copy_on_write_image();
        prepared.map_err(|error| Error::Load { path: self.path.clone(), reason: format!("{error:#}") })
    }

    pub(crate) fn pooled(&self) -> &LinkedModule {
        &self.pooled
    }
}

fn load(engine: &Engine, linkers: &Linkers, path: &Path) -> Result<LinkedModule> {
    let module = deserialize(engine, path)?;
    let Some(start) = module.get_export_index("_start") else {
        return Err(Error::Load { path: path.to_owned(), reason: "it exports no _start".to_owned() });
    };
    let trampoline = module.get_export_index("__wasi_signal_trampoline");
    Ok(LinkedModule {
        instance_pre: linkers.link(&module, trampoline.is_some())?,
        memory: module.get_export_index("memory"),
        start,
        trampoline,
        initial_mask: module.get_export_index("__agentos_set_initial_sigmask"),
    })
}

#[expect(unsafe_code, reason = "wasmtime loads machine code as it is; this is the one place where it does")]
fn deserialize(engine: &Engine, path: &Path) -> Result<Module> {
    // SAFETY: the file is machine code that runs with this process's rights. It comes from the software folder, which
    // only the software build writes and no guest can reach; its fingerprint equals the engine's (checked when the
    // folder is opened, and wasmtime checks version, target and settings again). Files are replaced by renaming, never
    // changed in place, so the mapping stays what it was.
    let module = unsafe { Module::deserialize_file(engine, path) };
    module.map_err(|error| Error::Load { path: path.to_owned(), reason: format!("{error:#}") })
}
