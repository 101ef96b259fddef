//! Makes one module ready to run: from the folder of compiled code if it is there, else by compiling it.
//!
//! Runs on the compiling thread only. Everything that can be wrong with a guest's file ends as a [`Failure`] in words.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use vm_abi::Errno;
use vm_kernel::driver::ProgramImage;

use super::folder::{CodeFolder, GuestCodeCache};
use super::{MAX_MODULE_BYTES, scan};
use crate::engine::{Compiler, hex};
use crate::error::{Error, Result};
use crate::module_cache::{Code, LoadedModule, ModuleCache, Sha256Digest};

/// The lowest priority there is: what computes for a guest that runs goes first.
const NICEST: i32 = 19;

/// Why a module cannot run, in words for the guest.
pub(super) struct Failure {
    pub(super) reason: String,
    /// Whether this content can never run.
    pub(super) is_lasting: bool,
}

/// What a compilation needs.
pub(super) struct Compilers {
    modules: Arc<ModuleCache>,
    /// Made when the first module needs it.
    compiler: OnceLock<Compiler>,
    /// Guarded by itself; a leaf in the lock order.
    folder: Mutex<Folder>,
}

/// Where compiled modules are kept.
#[derive(Default)]
enum Folder {
    #[default]
    None,
    /// Nobody has needed it yet: a boot does not wait for it to be looked through.
    Closed(GuestCodeCache),
    Open(CodeFolder),
}

impl Compilers {
    pub(super) fn new(modules: Arc<ModuleCache>) -> Self {
        Self { modules, compiler: OnceLock::new(), folder: Mutex::default() }
    }

    pub(super) fn keep_in(&self, cache: GuestCodeCache) {
        *self.lock_folder() = Folder::Closed(cache);
    }

    /// The module of a program.
    pub(super) fn module(
        &self,
        sha256: &Sha256Digest,
        image: &ProgramImage,
    ) -> Result<Arc<LoadedModule>, Failure> {
        let name = hex(sha256);
        if let Some(module) = self.kept(&name) {
            return Ok(Arc::new(module));
        }
        let started = std::time::Instant::now();
        let wasm = content(sha256, image)?;
        let code = self.compile(&wasm)?;
        let path = self.in_folder(|folder| folder.put(&name, &code));
        let is_kept = path.is_some();
        let code_bytes = code.len();
        let loaded = self.modules.adopt(path.map_or_else(|| Code::Bytes(code), Code::File));
        let took = started.elapsed();
        let program = String::from_utf8_lossy(image.path());
        tracing::debug!(%program, sha256 = name, wasm_bytes = wasm.len(), code_bytes, is_kept, ?took, "compiled");
        loaded.map(Arc::new).map_err(|error| {
            if is_kept {
                self.forget(&name);
            }
            error.into()
        })
    }

    /// The module from the folder, if there is one and it has this module whole.
    fn kept(&self, name: &str) -> Option<LoadedModule> {
        let path: PathBuf = self.in_folder(|folder| folder.find(name))?;
        match self.modules.adopt(Code::File(path)) {
            Ok(module) => Some(module),
            Err(error) => {
                tracing::warn!(%error, "a kept module does not load and is compiled again");
                self.forget(name);
                None
            }
        }
    }

    fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, Failure> {
        scan::check(wasm).map_err(Failure::lasting)?;
        let compiler = match self.compiler.get() {
            Some(compiler) => compiler,
            None => {
                let compiler = Compiler::new()?;
                self.compiler.get_or_init(|| compiler)
            }
        };
        // Whatever a hostile module may find in the code generator ends this compilation only.
        let compiled = catch_unwind(AssertUnwindSafe(|| compiler.compile(wasm)));
        compiled.map_err(|_| Failure::lasting("the code generator gave up on it"))?.map_err(Failure::from)
    }

    fn forget(&self, name: &str) {
        self.in_folder(|folder| {
            folder.remove(name);
            Some(())
        });
    }

    /// Does something with the folder, if there is one.
    fn in_folder<T>(&self, act: impl FnOnce(&mut CodeFolder) -> Option<T>) -> Option<T> {
        let mut folder = self.lock_folder();
        if let Folder::Closed(cache) = &*folder {
            *folder = Folder::Open(CodeFolder::open(cache.clone(), self.modules.engine().fingerprint()));
        }
        match &mut *folder {
            Folder::Open(folder) => act(folder),
            Folder::None | Folder::Closed(_) => None,
        }
    }

    fn lock_folder(&self) -> MutexGuard<'_, Folder> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_lasting: true }
    }

    fn once(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_lasting: false }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Unrunnable(reason) => Self::lasting(reason),
            Error::Compile(reason) => Self::lasting(format!("it is no valid WebAssembly module: {reason:#}")),
            other => {
                tracing::error!(error = %other, "a guest's program cannot be loaded");
                Self::once("the machine cannot load it now")
            }
        }
    }
}

/// Reads the file again: a queue of whole programs would be a way to use up memory.
fn content(sha256: &Sha256Digest, image: &ProgramImage) -> Result<Vec<u8>, Failure> {
    let wasm = image.read_all(MAX_MODULE_BYTES).map_err(|errno: Errno| Failure::once(errno.message()))?;
    if Sha256::digest(&wasm)[..] != sha256[..] {
        return Err(Failure::once("it was changed while it waited to be compiled"));
    }
    Ok(wasm)
}

/// CPU time that the calling thread has used.
pub(super) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Lowers the priority of the calling thread.
pub(super) fn lower_priority() {
    // On Linux every thread has a priority of its own, and this call without a number means the calling one's.
    if let Err(errno) = rustix::process::setpriority_process(None, NICEST) {
        tracing::debug!(%errno, "guest programs are compiled at normal priority");
    }
}
