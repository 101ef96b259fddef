//! Gives back the memory that ended programs left in the slots of the pool.
//!
//! The pool keeps pages of a free slot, so that the next program does not wait for new ones. That is right while commands
//! come one after the other, and too much for a VM that has nothing to do. wasmtime has no call for it: so each free slot
//! that was used gets an instance of a module with an empty memory, whose pages, all zeros by then, are given back.

use std::ffi::c_void;

use rustix::mm::{Advice, madvise};
use wasmtime::{AsContext, Engine, Instance, Memory, Module, Store};

use crate::engine::{Compiler, MEMORY_RESERVATION_BYTES};
use crate::error::Result;

/// `(module (memory (export "m") 0))`
const EMPTY_MEMORY: &[u8] = b"\0asm\x01\0\0\0\x05\x03\x01\0\0\x07\x05\x01\x01m\x02\0";
/// Name of its memory.
const MEMORY: &str = "m";

/// Trims the pool of an engine.
pub(crate) struct Trimmer {
    module: Module,
}

impl Trimmer {
    pub(crate) fn new(pooled: &Engine) -> Result<Self> {
        let code = Compiler::new()?.compile(EMPTY_MEMORY)?;
        let module = crate::module_cache::deserialize_bytes(pooled, &code)?;
        Ok(Self { module })
    }

    /// Gives back what free slots keep. Returns how many slots that was.
    pub(crate) fn trim(&self) -> usize {
        let engine = self.module.engine();
        let free = engine.pooling_allocator_metrics().map_or(0, |metrics| metrics.unused_warm_memories());
        // All of them at once, or the same slot would be taken again and again.
        let mut taken = Vec::new();
        for _ in 0..free {
            let mut store = Store::new(engine, ());
            let memory = Instance::new(&mut store, &self.module, &[])
                .ok()
                .and_then(|instance| instance.get_memory(&mut store, MEMORY));
            let Some(memory) = memory else { break };
            give_back(&store, memory);
            taken.push(store);
        }
        taken.len()
    }
}

impl std::fmt::Debug for Trimmer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Trimmer").finish_non_exhaustive()
    }
}

#[expect(unsafe_code, reason = "wasmtime has no safe call that gives back the pages of a memory")]
fn give_back(store: impl AsContext, memory: Memory) {
    let start = memory.data_ptr(store).cast::<c_void>();
    let Ok(len) = usize::try_from(MEMORY_RESERVATION_BYTES) else { return };
    // SAFETY: the range is the whole slot that this memory has for itself while its store exists: private anonymous
    // memory, reserved by the pool. wasmtime has reset it to zeros when the program before ended, and replaced that
    // program's image by zeros when it made this memory, which is empty and has none. Nobody accesses it now. What is
    // given back reads as zeros again, so that nothing changes but the use of memory.
    if let Err(errno) = unsafe { madvise(start, len, Advice::LinuxDontNeed) } {
        tracing::debug!(%errno, "a free slot keeps its memory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineOptions, WasmEngine};

    #[test]
    fn free_slots_are_trimmed_and_can_be_used_again() {
        let engine = WasmEngine::new(&EngineOptions::default()).unwrap();
        let trimmer = Trimmer::new(engine.pooled()).unwrap();
        assert_eq!(trimmer.trim(), 0, "no slot was used yet");
        let text = "(module (memory (export \"m\") 16) (data (i32.const 8) \"abc\"))";
        let code = Compiler::new().unwrap().compile(&wat::parse_str(text).unwrap()).unwrap();
        let module = crate::module_cache::deserialize_bytes(engine.pooled(), &code).unwrap();
        for _ in 0..3 {
            let mut stores = Vec::new();
            for _ in 0..3 {
                let mut store = Store::new(engine.pooled(), ());
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                let memory = instance.get_memory(&mut store, "m").unwrap();
                let bytes = memory.data_mut(&mut store);
                assert_eq!(&bytes[8..11], b"abc");
                assert!(bytes[11..].iter().all(|byte| *byte == 0));
                bytes.fill(1);
                stores.push(store);
            }
            drop(stores);
            assert_eq!(trimmer.trim(), 3);
        }
    }
}
