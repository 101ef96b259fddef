//! Runs one program: instance, start function, and what its end means.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use vm_abi::Signal;
use vm_kernel::context::ProcessContext;
use vm_kernel::driver::{Program, ProgramEnd};
use vm_kernel::syscall;
use wasmtime::{Func, Instance, ModuleExport, PoolConcurrencyLimitError, Store, Trap, Val};

use crate::convert::halves;
use crate::engine::WasmEngine;
use crate::guest::Guest;
use crate::module_cache::{LinkedModule, LoadedModule, ModuleCache};

/// Ticks of the epoch until a program that computes yields.
const TICKS_PER_TURN: u64 = 1;

/// Ends a program from within a host function.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwind {
    /// `proc_exit`.
    #[error("the program exited with {0}")]
    Exited(u8),
    /// `proc_exec`; the kernel runs the other program.
    #[error("the program executed another")]
    Replaced,
}

/// A program of the software folder.
pub(crate) struct WasmProgram {
    pub(crate) cache: Arc<ModuleCache>,
    pub(crate) module: Arc<LoadedModule>,
}

impl Program for WasmProgram {
    fn run(self: Arc<Self>, ctx: ProcessContext) -> BoxFuture<'static, ProgramEnd> {
        let engine = self.cache.engine().clone();
        let program = async move { self.run_to_end(ctx).await };
        Box::pin(Ticking { engine, program: Box::pin(program) })
    }
}

impl WasmProgram {
    async fn run_to_end(&self, ctx: ProcessContext) -> ProgramEnd {
        match self.start(ctx).await {
            Ok(()) => ProgramEnd::Exited(0),
            Err(error) => program_end(&error),
        }
    }

    async fn start(&self, ctx: ProcessContext) -> wasmtime::Result<()> {
        let linked = self.module.pooled();
        let mut store = store(linked, ctx.clone());
        match linked.instance_pre.instantiate_async(&mut store).await {
            Ok(instance) => run_instance(linked, store, instance).await,
            Err(error) if error.is::<PoolConcurrencyLimitError>() => {
                drop(store);
                let linked = self.cache.on_demand(&self.module).map_err(wasmtime::Error::new)?;
                // That took so long, the first time, that the ticker may have gone to sleep.
                self.cache.engine().ticker().guest_runs();
                let mut store = self::store(linked, ctx);
                let instance = linked.instance_pre.instantiate_async(&mut store).await?;
                run_instance(linked, store, instance).await
            }
            Err(error) => Err(error),
        }
    }
}

async fn run_instance(
    linked: &LinkedModule,
    mut store: Store<Guest>,
    instance: Instance,
) -> wasmtime::Result<()> {
    let memory = linked.memory.as_ref().and_then(|export| instance.get_module_export(&mut store, export));
    store.data_mut().memory = memory.and_then(wasmtime::Extern::into_memory);
    if let Some(trampoline) = function(&mut store, instance, linked.trampoline.as_ref()) {
        store.data_mut().trampoline = Some(trampoline.typed(&store)?);
    }
    if let Some(initial_mask) = function(&mut store, instance, linked.initial_mask.as_ref()) {
        tell_mask(&mut store, initial_mask).await?;
    }
    let start = function(&mut store, instance, Some(&linked.start)).ok_or_else(no_start)?;
    start.typed::<(), ()>(&store)?.call_async(&mut store, ()).await
}

fn function(store: &mut Store<Guest>, instance: Instance, export: Option<&ModuleExport>) -> Option<Func> {
    instance.get_module_export(store, export?)?.into_func()
}

/// Tells the program's library which signals were blocked when it started, if any were.
async fn tell_mask(store: &mut Store<Guest>, initial_mask: Func) -> wasmtime::Result<()> {
    let mask = syscall::signal::mask(&store.data().ctx);
    if mask.is_empty() {
        return Ok(());
    }
    let (low, high) = halves(mask);
    // Newer libraries answer a status, older ones nothing.
    let mut results = vec![Val::I32(0); initial_mask.ty(&*store).results().len()];
    let parameters = [Val::I32(low.cast_signed()), Val::I32(high.cast_signed())];
    initial_mask.call_async(&mut *store, &parameters, &mut results).await
}

fn store(linked: &LinkedModule, ctx: ProcessContext) -> Store<Guest> {
    let mut store = Store::new(linked.instance_pre.module().engine(), Guest::new(ctx));
    store.limiter(|guest| guest);
    store.set_epoch_deadline(TICKS_PER_TURN);
    store.epoch_deadline_async_yield_and_update(TICKS_PER_TURN);
    store
}

fn no_start() -> wasmtime::Error {
    wasmtime::Error::msg("the program's _start is no function")
}

/// How the kernel sees what ended the program.
fn program_end(error: &wasmtime::Error) -> ProgramEnd {
    if let Some(unwind) = error.downcast_ref::<Unwind>() {
        return match unwind {
            Unwind::Exited(code) => ProgramEnd::Exited(*code),
            Unwind::Replaced => ProgramEnd::Replaced,
        };
    }
    let signal = error.downcast_ref::<Trap>().map_or(Signal::SIGKILL, |trap| trap_signal(*trap));
    ProgramEnd::Trapped { signal, message: format!("{error:#}") }
}

/// The signal that a native program would have got.
fn trap_signal(trap: Trap) -> Signal {
    match trap {
        Trap::StackOverflow | Trap::MemoryOutOfBounds | Trap::HeapMisaligned | Trap::TableOutOfBounds => {
            Signal::SIGSEGV
        }
        Trap::IntegerDivisionByZero | Trap::IntegerOverflow | Trap::BadConversionToInteger => Signal::SIGFPE,
        Trap::IndirectCallToNull | Trap::BadSignature => Signal::SIGILL,
        // What abort() and a panic compile to, and all that newer versions of wasmtime may add.
        _ => Signal::SIGABRT,
    }
}

/// Keeps the epochs advancing while its program is polled.
struct Ticking {
    engine: WasmEngine,
    program: BoxFuture<'static, ProgramEnd>,
}

impl Future for Ticking {
    type Output = ProgramEnd;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ProgramEnd> {
        self.engine.ticker().guest_runs();
        self.program.as_mut().poll(context)
    }
}
