//! What the driver keeps per running program: its kernel context, its memory, and what is left of one-shot requests.

use vm_abi::{Errno, Mode};
use vm_kernel::context::ProcessContext;
use wasmtime::{AsContextMut, Caller, Memory, ResourceLimiter, TypedFunc};

use crate::memory::GuestMemory;

/// Most elements of all tables of function pointers of one program.
const MAX_TABLE_ELEMENTS: usize = 1 << 20;

/// Data of a program's store.
pub(crate) struct Guest {
    pub(crate) ctx: ProcessContext,
    /// Set once the module is instantiated.
    pub(crate) memory: Option<Memory>,
    /// The program's `__wasi_signal_trampoline`: it can catch signals.
    pub(crate) trampoline: Option<TypedFunc<i32, ()>>,
    /// Permission bits for the next file that `path_open` creates.
    pub(crate) open_mode: Option<Mode>,
}

impl Guest {
    pub(crate) fn new(ctx: ProcessContext) -> Self {
        Self { ctx, memory: None, trampoline: None, open_mode: None }
    }
}

/// A host call's view of its guest.
pub(crate) fn split<'a>(caller: &'a mut Caller<'_, Guest>) -> (GuestMemory<'a>, &'a mut Guest) {
    if caller.data().memory.is_none() {
        let memory = caller.get_export("memory").and_then(wasmtime::Extern::into_memory);
        caller.data_mut().memory = memory;
    }
    let Some(memory) = caller.data().memory else {
        // A module without a memory: every pointer is wrong.
        return (GuestMemory::new(&mut []), caller.data_mut());
    };
    let (bytes, guest) = memory.data_and_store_mut(caller.as_context_mut());
    (GuestMemory::new(bytes), guest)
}

impl ResourceLimiter for Guest {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        match self.ctx.set_memory(desired as u64) {
            Ok(()) => Ok(true),
            Err(error) => {
                self.report_memory_limit(desired, error);
                Ok(false)
            }
        }
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}

impl Guest {
    fn report_memory_limit(&self, desired: usize, error: Errno) {
        tracing::warn!(
            limit = "spec.limits.memory",
            pid = self.ctx.pid().raw(),
            program = %String::from_utf8_lossy(self.ctx.program_path()),
            desired_bytes = desired,
            limit_bytes = self.ctx.limits().max_memory_bytes,
            "{}: the program may not use more memory; raise spec.limits.memory",
            error.name(),
        );
    }
}
