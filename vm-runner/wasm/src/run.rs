//! Runs one program: instance, start function, and what its end means.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use vm_abi::Signal;
use vm_kernel::context::ProcessContext;
use vm_kernel::driver::{Program, ProgramEnd, ProgramImage};
use vm_kernel::syscall::{self, Fd};
use wasmtime::{Func, Instance, ModuleExport, PoolConcurrencyLimitError, Store, Trap, Val};

use crate::convert::halves;
use crate::engine::WasmEngine;
use crate::guest::Guest;
use crate::guest_code::GuestCode;
use crate::module_cache::{LinkedModule, LoadedModule, ModuleCache, Sha256Digest};
use crate::standard::Standard;

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
    /// A call of a host function that there is not.
    #[error("it called {module}.{name}, which does not exist here")]
    UnknownCall {
        /// The module it is imported from.
        module: String,
        /// Its name there.
        name: String,
    },
}

/// What a shell answers for a file that cannot be executed.
const CANNOT_EXECUTE: u8 = 126;

/// A program that is loaded.
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

/// A program that a guest brought, and that may have to be compiled first.
pub(crate) struct GuestProgram {
    pub(crate) cache: Arc<ModuleCache>,
    pub(crate) guest_code: Arc<GuestCode>,
    pub(crate) sha256: Sha256Digest,
    pub(crate) image: ProgramImage,
}

impl Program for GuestProgram {
    fn run(self: Arc<Self>, ctx: ProcessContext) -> BoxFuture<'static, ProgramEnd> {
        Box::pin(async move {
            let compiled_for = ctx.clone();
            let payer = Box::new(move |used| syscall::time::owe(&compiled_for, used));
            match self.guest_code.module(self.sha256, &self.image, payer).await {
                Ok(module) => {
                    let program = WasmProgram { cache: Arc::clone(&self.cache), module };
                    Arc::new(program).run(ctx).await
                }
                Err(reason) => {
                    complain(&ctx, &format!("cannot execute: {reason}")).await;
                    ProgramEnd::Exited(CANNOT_EXECUTE)
                }
            }
        })
    }
}

/// Tells whoever reads the program's standard error why it does not run: an error number could not name the cause.
async fn complain(ctx: &ProcessContext, what: &str) {
    let Ok(stderr) = Fd::try_from(2) else { return };
    let line = [ctx.program_path(), b": ", what.as_bytes(), b"\n"].concat();
    if let Err(errno) = syscall::file::write(ctx, stderr, &line).await {
        tracing::debug!(errno = errno.name(), what, "nobody reads why a program does not run");
    }
}

impl WasmProgram {
    async fn run_to_end(&self, ctx: ProcessContext) -> ProgramEnd {
        let Err(error) = self.start(ctx.clone()).await else { return ProgramEnd::Exited(0) };
        if let Some(unknown @ Unwind::UnknownCall { .. }) = error.downcast_ref::<Unwind>() {
            complain(&ctx, &unknown.to_string()).await;
        }
        program_end(&error)
    }

    async fn start(&self, ctx: ProcessContext) -> wasmtime::Result<()> {
        if let Some(linked) = self.module.pooled() {
            let mut store = store(linked, ctx.clone()).await;
            match linked.instance_pre.instantiate_async(&mut store).await {
                Ok(instance) => return run_instance(linked, store, instance).await,
                Err(error) if error.is::<PoolConcurrencyLimitError>() => {}
                Err(error) => return Err(error),
            }
        }
        let linked = self.cache.on_demand(&self.module).map_err(wasmtime::Error::new)?;
        // That took so long, the first time, that the ticker may have gone to sleep.
        self.cache.engine().ticker().guest_runs();
        let mut store = store(linked, ctx).await;
        let instance = linked.instance_pre.instantiate_async(&mut store).await?;
        run_instance(linked, store, instance).await
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

async fn store(linked: &LinkedModule, ctx: ProcessContext) -> Store<Guest> {
    let mut guest = Guest::new(ctx);
    if linked.is_standard {
        guest.standard = Some(Box::new(Standard::open(&guest.ctx).await));
    }
    let mut store = Store::new(linked.instance_pre.module().engine(), guest);
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
            Unwind::UnknownCall { .. } => {
                ProgramEnd::Trapped { signal: Signal::SIGSYS, message: unwind.to_string() }
            }
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
