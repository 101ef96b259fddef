//! The driver as the kernel sees it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vm_abi::Errno;
use vm_kernel::driver::{Driver, Program, ProgramImage};

use crate::engine::WasmEngine;
use crate::error::Result;
use crate::guest_code::{Digests, GuestCode, GuestCodeCache};
use crate::module_cache::ModuleCache;
use crate::run::{GuestProgram, WasmProgram};

/// First bytes of every WebAssembly file.
const WASM_MAGIC: &[u8] = b"\0asm";

/// Runs WebAssembly programs: those of the software folder, which were compiled ahead of time, and any that a guest
/// brings, which are compiled when they are first run.
pub struct WasmDriver {
    cache: Arc<ModuleCache>,
    guest_code: Arc<GuestCode>,
    digests: Digests,
    /// Whether a program was loaded since the pool was trimmed last.
    is_used: AtomicBool,
}

impl WasmDriver {
    /// Opens a software folder, as the software build leaves it.
    ///
    /// # Errors
    /// When it is missing, damaged or made for another engine.
    pub fn open(engine: WasmEngine, folder: &Path) -> Result<Self> {
        let cache = Arc::new(ModuleCache::open(engine, folder)?);
        let guest_code = Arc::new(GuestCode::new(Arc::clone(&cache)));
        Ok(Self { cache, guest_code, digests: Digests::default(), is_used: AtomicBool::new(false) })
    }

    /// Gives back the memory that ended programs left for the next ones: for a VM that has nothing to do. Takes some
    /// microseconds per program that ran at once with others, and nothing if none was started since the last time; the
    /// next ones start a little slower. Returns how many slots were trimmed.
    ///
    /// # Errors
    /// When the machine has no memory left to do it.
    pub fn trim(&self) -> Result<usize> {
        if !self.is_used.swap(false, Ordering::Relaxed) {
            return Ok(0);
        }
        self.cache.engine().trim()
    }

    /// Keeps what is compiled for guests in a folder from now on, and uses what is there already.
    pub fn keep_guest_code(&self, cache: GuestCodeCache) {
        self.guest_code.keep_in(cache);
    }

    /// Loads modules by the sha256 of their WebAssembly before they are needed, as a spare VM process does. Unknown
    /// ones are left out. Returns how many are loaded.
    ///
    /// # Errors
    /// When a module is damaged.
    pub fn prewarm(&self, programs: &[[u8; 32]]) -> Result<usize> {
        let mut loaded = 0;
        for module in programs.iter().filter_map(|sha256| self.cache.module(sha256)) {
            module?.prepare()?;
            loaded += 1;
        }
        Ok(loaded)
    }
}

impl Driver for WasmDriver {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn recognizes(&self, head: &[u8]) -> bool {
        head.starts_with(WASM_MAGIC)
    }

    fn load(&self, image: &ProgramImage) -> Result<Arc<dyn Program>, Errno> {
        self.is_used.store(true, Ordering::Relaxed);
        let sha256 = match image.content_id() {
            Some(sha256) if self.cache.has(&sha256) => sha256,
            _ => self.digests.of(image)?,
        };
        match self.cache.module(&sha256).or_else(|| self.guest_code.loaded(&sha256).map(Ok)) {
            Some(Ok(module)) => Ok(Arc::new(WasmProgram { cache: Arc::clone(&self.cache), module })),
            Some(Err(error)) => {
                let path = String::from_utf8_lossy(image.path());
                tracing::error!(%path, %error, "the program cannot be loaded");
                Err(Errno::EIO)
            }
            // The process itself waits until it is compiled, not whoever spawns it.
            None => Ok(Arc::new(GuestProgram {
                cache: Arc::clone(&self.cache),
                guest_code: Arc::clone(&self.guest_code),
                sha256,
                image: image.clone(),
            })),
        }
    }
}
