//! The wasmtime engine: how guest code is compiled, and what an instance is made of.
//!
//! One engine per vm process. Code is compiled ahead of time ([`WasmEngine::compile`]) and only loaded here; instances
//! come from a pool of slots whose address space is reserved once, and fall back to single allocations when the pool is
//! used up. Everything that decides whether compiled code fits an engine is summed up in its fingerprint.
//! Neighbours: `ticker` (epochs), `module_cache` (loaded modules). Knows no process and no file.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy,
};

use crate::error::{Error, Result};
use crate::ticker::Ticker;
use crate::trim::Trimmer;

/// Address space kept for one linear memory, so that no access needs a bounds check.
pub(crate) const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;
/// Inaccessible pages behind each memory, for accesses with a static offset.
const MEMORY_GUARD_BYTES: u64 = 32 << 20;
/// How deep guest code may recurse before it dies with a stack overflow. Native Linux gives 8 MiB to frames of about
/// twice the size.
const GUEST_STACK_BYTES: usize = 1 << 20;
/// Stack of one process: guest frames, and the host functions called from the deepest of them.
const FIBER_STACK_BYTES: usize = GUEST_STACK_BYTES + (1 << 20);
/// Bytes of each pooled stack that stay allocated between two programs.
const STACK_KEEP_RESIDENT_BYTES: usize = 64 << 10;
/// Largest table of function pointers of a module; the largest published module has a third of it.
const TABLE_ELEMENTS: usize = 32_768;
/// CPU features that compiled code relies on: those of every x86-64 server since 2009, so that software compiled while
/// an image is built runs on any node.
#[cfg(target_arch = "x86_64")]
const CPU_FEATURES: &[&str] =
    &["has_cmpxchg16b", "has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];
#[cfg(not(target_arch = "x86_64"))]
const CPU_FEATURES: &[&str] = &[];

/// How large the engine of a vm process is.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Instances that come from the pool. More than these at once still run, but start slower.
    pub pooled_instances: u32,
    /// Bytes of each pooled memory that stay allocated between two programs.
    pub keep_resident_bytes: usize,
    /// Free slots that stay with the program that ran in them last before another one gets them, rather than a slot that
    /// was never used. None, so that only as many slots are ever used as programs run at once.
    pub warm_slots: u32,
}

impl Default for EngineOptions {
    fn default() -> Self {
        // From 128 on wasmtime divides the pool among threads, and the same program has pages in each part.
        Self { pooled_instances: 127, keep_resident_bytes: 512 << 10, warm_slots: 0 }
    }
}

/// A wasmtime engine with this driver's settings, and what keeps its clock of epochs running.
#[derive(Clone)]
pub struct WasmEngine {
    inner: Arc<Inner>,
}

struct Inner {
    pooled: Engine,
    fingerprint: String,
    on_demand: OnceLock<Engine>,
    trimmer: OnceLock<Trimmer>,
    ticker: Ticker,
}

impl WasmEngine {
    /// Creates an engine.
    ///
    /// # Errors
    /// When the machine cannot run it, for example when the address space is limited.
    pub fn new(options: &EngineOptions) -> Result<Self> {
        let mut config = config()?;
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
        let pooled = Engine::new(&config).map_err(Error::Engine)?;
        let ticker = Ticker::start(pooled.weak())?;
        let fingerprint = fingerprint(&pooled);
        let (on_demand, trimmer) = (OnceLock::new(), OnceLock::new());
        Ok(Self { inner: Arc::new(Inner { pooled, fingerprint, on_demand, trimmer, ticker }) })
    }

    /// What code for this engine depends on, see [`Compiler::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.inner.fingerprint
    }

    /// The engine whose instances come from the pool.
    pub(crate) fn pooled(&self) -> &Engine {
        &self.inner.pooled
    }

    /// The engine for the instances that the pool has no slot for; made when first needed.
    pub(crate) fn on_demand(&self) -> Result<&Engine> {
        if let Some(engine) = self.inner.on_demand.get() {
            return Ok(engine);
        }
        let engine = Engine::new(&config()?).map_err(Error::Engine)?;
        self.inner.ticker.add(engine.weak());
        Ok(self.inner.on_demand.get_or_init(|| engine))
    }

    /// Gives back the memory that ended programs left in the pool. Returns how many slots were trimmed.
    pub(crate) fn trim(&self) -> Result<usize> {
        if let Some(trimmer) = self.inner.trimmer.get() {
            return Ok(trimmer.trim());
        }
        let trimmer = Trimmer::new(&self.inner.pooled)?;
        Ok(self.inner.trimmer.get_or_init(|| trimmer).trim())
    }

    pub(crate) fn ticker(&self) -> &Ticker {
        &self.inner.ticker
    }
}

/// Compiles modules ahead of time, for engines of the same build.
pub struct Compiler {
    engine: Engine,
    fingerprint: String,
}

impl Compiler {
    /// A compiler for this machine's architecture.
    ///
    /// # Errors
    /// When there is no code generator for it.
    pub fn new() -> Result<Self> {
        let mut config = config()?;
        // Whoever compiles many modules runs several compilers side by side.
        config.parallel_compilation(false);
        let engine = Engine::new(&config).map_err(Error::Engine)?;
        let fingerprint = fingerprint(&engine);
        Ok(Self { engine, fingerprint })
    }

    /// What code compiled here depends on: wasmtime's version, its settings, the architecture. Code with another
    /// fingerprint must not be loaded.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Translates a WebAssembly module to machine code, to be loaded by [`crate::WasmDriver`].
    ///
    /// # Errors
    /// When `wasm` is not a valid module.
    pub fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>> {
        self.engine.precompile_module(wasm).map_err(Error::Compile)
    }
}

fn config() -> Result<Config> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        // One program's deep recursion is not kept for the next ones.
        .async_stack_zeroing(true)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .memory_guard_size(MEMORY_GUARD_BYTES)
        .memory_init_cow(true)
        .concurrency_support(false)
        // Nobody reads backtraces of the packaged programs: they have no names. Leaving them out halves the files.
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false)
        .generate_address_map(false)
        // The target is named so that the features of the machine that compiles are not used.
        .target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .map_err(Error::Engine)?;
    for feature in CPU_FEATURES {
        enable_cpu_feature(&mut config, feature);
    }
    Ok(config)
}

fn fingerprint(engine: &Engine) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let mut digits = hex(&hasher.0.finalize());
    digits.truncate(32);
    digits
}

#[expect(
    unsafe_code,
    reason = "wasmtime marks every Cranelift setting unsafe; CPU features are checked when code is loaded"
)]
fn enable_cpu_feature(config: &mut Config, feature: &str) {
    // SAFETY: the flag only tells which instructions may be used; loading code on a CPU that lacks one is refused.
    unsafe {
        config.cranelift_flag_enable(feature);
    }
}

fn pool(options: &EngineOptions) -> PoolingAllocationConfig {
    let EngineOptions { pooled_instances, keep_resident_bytes, warm_slots } = options;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(*pooled_instances)
        .total_memories(*pooled_instances)
        .total_tables(*pooled_instances)
        // A signal handler runs on a stack of its own, beside that of the program it interrupts.
        .total_stacks(pooled_instances.saturating_mul(2))
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(*keep_resident_bytes)
        .table_keep_resident(*keep_resident_bytes)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(*warm_slots);
    pool
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_compilers_agree_on_the_fingerprint() {
        let (one, other) = (Compiler::new().unwrap(), Compiler::new().unwrap());
        assert_eq!(one.fingerprint(), other.fingerprint());
        assert_eq!(one.fingerprint().len(), 32);
    }

    #[test]
    fn an_engine_with_a_pool_accepts_what_the_compiler_makes() {
        let engine = WasmEngine::new(&EngineOptions::default()).unwrap();
        assert_eq!(engine.fingerprint(), Compiler::new().unwrap().fingerprint());
        assert_eq!(fingerprint(engine.on_demand().unwrap()), engine.fingerprint());
    }

    #[test]
    fn bytes_that_are_no_module_do_not_compile() {
        let error = Compiler::new().unwrap().compile(b"#!/bin/sh\n").unwrap_err();
        assert!(matches!(error, Error::Compile(_)), "{error}");
    }

    #[test]
    fn hexadecimal_digits_are_lower_case() {
        assert_eq!(hex(&[0x00, 0xaf, 0x10]), "00af10");
    }
}
