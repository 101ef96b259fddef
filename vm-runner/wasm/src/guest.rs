//! What the driver keeps per running program: its kernel context, its memory, and what is left of one-shot requests.

use vm_abi::{Errno, Mode};
use vm_kernel::context::ProcessContext;
use wasmtime::{AsContextMut, Caller, Memory, ResourceLimiter, Trap, TypedFunc};

use crate::memory::GuestMemory;
use crate::standard::Standard;

/// Most elements of one table of function pointers.
const MAX_TABLE_ELEMENTS: usize = 1 << 20;
/// What an element of a table costs.
const TABLE_ELEMENT_BYTES: usize = 8;
/// Elements that a table has for free: no published program has more, and none pays for what the others have, too.
const FREE_TABLE_ELEMENTS: usize = 32_768;
/// Handlers of signals that may interrupt each other, each on a stack of its own.
const MAX_HANDLERS: u32 = 16;

/// Data of a program's store.
pub(crate) struct Guest {
    pub(crate) ctx: ProcessContext,
    /// Set once the module is instantiated.
    pub(crate) memory: Option<Memory>,
    /// The program's `__wasi_signal_trampoline`: it can catch signals.
    pub(crate) trampoline: Option<TypedFunc<i32, ()>>,
    /// Permission bits for the next file that `path_open` creates.
    pub(crate) open_mode: Option<Mode>,
    /// What a program has that knows preview 1 only.
    pub(crate) standard: Option<Box<Standard>>,
    /// Bytes of all its memories and tables, as the kernel was told.
    charged_bytes: u64,
    /// Whether the log says that it wanted too much.
    is_reported: bool,
    /// Handlers of signals that run now, each interrupting the one before.
    handlers: u32,
}

impl Guest {
    pub(crate) fn new(ctx: ProcessContext) -> Self {
        Self {
            ctx,
            memory: None,
            trampoline: None,
            open_mode: None,
            standard: None,
            charged_bytes: 0,
            is_reported: false,
            handlers: 0,
        }
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
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.charge(desired.saturating_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > MAX_TABLE_ELEMENTS {
            return Ok(false);
        }
        let charged = |elements: usize| elements.saturating_sub(FREE_TABLE_ELEMENTS) * TABLE_ELEMENT_BYTES;
        Ok(self.charge(charged(desired).saturating_sub(charged(current))))
    }
}

impl Guest {
    /// What a program of preview 1 has been left of the rights of an fd is enough for this; others may do everything.
    pub(crate) fn check_rights(&self, fd: u32, needed: u64) -> Result<(), Errno> {
        self.standard.as_ref().map_or(Ok(()), |standard| standard.check(fd, needed))
    }

    /// Charges more memory; `false` at the VM's limit. What then fails to grow stays charged until the program ends: it
    /// is the host that lacks memory.
    fn charge(&mut self, more: usize) -> bool {
        let wanted = self.charged_bytes.saturating_add(more as u64);
        match self.ctx.set_memory(wanted) {
            Ok(()) => {
                self.charged_bytes = wanted;
                true
            }
            Err(error) => {
                self.report_memory_limit(wanted, error);
                false
            }
        }
    }

    /// Notes that a handler of a signal begins.
    ///
    /// # Errors
    /// A stack overflow when handlers interrupt each other endlessly, as on a native stack.
    pub(crate) fn enter_handler(&mut self) -> Result<(), Trap> {
        if self.handlers == MAX_HANDLERS {
            return Err(Trap::StackOverflow);
        }
        self.handlers += 1;
        Ok(())
    }

    /// Notes that the last handler has ended.
    pub(crate) fn leave_handler(&mut self) {
        self.handlers = self.handlers.saturating_sub(1);
    }

    /// Says it once: a program may ask again and again.
    fn report_memory_limit(&mut self, desired_bytes: u64, error: Errno) {
        if std::mem::replace(&mut self.is_reported, true) {
            return;
        }
        tracing::warn!(
            limit = "spec.limits.memory",
            pid = self.ctx.pid().raw(),
            program = %String::from_utf8_lossy(self.ctx.program_path()),
            desired_bytes,
            limit_bytes = self.ctx.limits().max_memory_bytes,
            "{}: the program may not use more memory; raise spec.limits.memory",
            error.name(),
        );
    }
}
