//! The driver as the kernel sees it.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use vm_abi::Errno;
use vm_kernel::driver::{Driver, Program, ProgramImage};

use crate::engine::WasmEngine;
use crate::error::Result;
use crate::module_cache::{ModuleCache, Sha256Digest};
use crate::run::WasmProgram;

/// First bytes of every WebAssembly file.
const WASM_MAGIC: &[u8] = b"\0asm";
/// Largest program file that is read to find out which module it is.
const MAX_PROGRAM_BYTES: usize = 128 << 20;

/// Runs WebAssembly programs that were compiled ahead of time.
pub struct WasmDriver {
    cache: Arc<ModuleCache>,
}

impl WasmDriver {
    /// Opens a software folder, as the software build leaves it.
    ///
    /// # Errors
    /// When it is missing, damaged or made for another engine.
    pub fn open(engine: WasmEngine, folder: &Path) -> Result<Self> {
        Ok(Self { cache: Arc::new(ModuleCache::open(engine, folder)?) })
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
        let sha256 = match image.content_id() {
            Some(sha256) => sha256,
            None => sha256_of(image)?,
        };
        let path = String::from_utf8_lossy(image.path());
        match self.cache.module(&sha256) {
            Some(Ok(module)) => Ok(Arc::new(WasmProgram { cache: Arc::clone(&self.cache), module })),
            Some(Err(error)) => {
                tracing::error!(%path, %error, "the program cannot be loaded");
                Err(Errno::EIO)
            }
            None => {
                tracing::warn!(%path, "the program was not compiled ahead of time, so it cannot run");
                Err(Errno::ENOEXEC)
            }
        }
    }
}

fn sha256_of(image: &ProgramImage) -> Result<Sha256Digest, Errno> {
    if let Some(content) = image.map() {
        return Ok(Sha256::digest(&content[..]).into());
    }
    Ok(Sha256::digest(image.read_all(MAX_PROGRAM_BYTES)?).into())
}
