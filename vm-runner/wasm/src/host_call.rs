//! How host functions are defined: macros that adapt `fn(&mut Guest, &mut GuestMemory, ...) -> Result<_, Errno>` to
//! what wasmtime links, and what happens at the exit of a call.
//!
//! Calls that never block are plain functions; the others are futures, polled on the program's stack. Signal handlers
//! of the guest run at the exit of calls, in programs that can have any: those get a linker in which every call may
//! deliver signals. A call that a signal interrupted is made again if the handler wants that (`SA_RESTART`).

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use vm_abi::Errno;
use vm_kernel::syscall;
use wasmtime::{Caller, Engine, Linker};

use crate::guest::Guest;

/// A linker with this driver's host functions.
pub(crate) struct HostLinker {
    pub(crate) linker: Linker<Guest>,
    /// Whether calls deliver signals at their exit.
    pub(crate) delivers: bool,
    /// Parameter types of the functions by module and name.
    parameters: Parameters,
}

/// Parameter types of functions by module and name: `i` for 32 bits, `I` for 64.
pub(crate) type Parameters = HashMap<(&'static str, &'static str), String>;

impl HostLinker {
    pub(crate) fn new(engine: &Engine, delivers: bool) -> Self {
        Self { linker: Linker::new(engine), delivers, parameters: Parameters::new() }
    }

    /// Notes the Rust types of a function's parameters.
    pub(crate) fn note(&mut self, module: &'static str, name: &'static str, types: &[&str]) {
        let letters = types.iter().map(|ty| if ty.ends_with("64") { 'I' } else { 'i' }).collect();
        self.parameters.insert((module, name), letters);
    }

    pub(crate) fn finish(self) -> (Linker<Guest>, Parameters) {
        (self.linker, self.parameters)
    }
}

/// What a host call answers, as the guest sees it.
pub(crate) trait Answer {
    /// The wasm value.
    type Value: wasmtime::WasmTy;

    fn value(self) -> Self::Value;

    /// Whether a signal interrupted the call.
    fn is_interrupted(&self) -> bool;
}

/// Most calls: an errno, 0 for success.
impl Answer for Result<(), Errno> {
    type Value = i32;

    fn value(self) -> i32 {
        match self {
            Ok(()) => 0,
            Err(errno) => i32::from(errno as u16),
        }
    }

    fn is_interrupted(&self) -> bool {
        *self == Err(Errno::EINTR)
    }
}

/// Calls that answer a value in their own way.
impl Answer for i32 {
    type Value = Self;

    fn value(self) -> Self {
        self
    }

    fn is_interrupted(&self) -> bool {
        false
    }
}

/// Calls that answer a large value in their own way.
impl Answer for i64 {
    type Value = Self;

    fn value(self) -> Self {
        self
    }

    fn is_interrupted(&self) -> bool {
        false
    }
}

/// Whether a call that a signal interrupted may be made again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    Never,
    IfHandlerAsks,
}

/// What the exit of a call decides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Return,
    CallAgain,
}

/// Runs the handlers of signals that can be delivered now.
///
/// # Errors
/// What ends the program: a trap or an exit within a handler.
pub(crate) async fn deliver(
    caller: &mut Caller<'_, Guest>,
    is_interrupted: bool,
    restart: Restart,
) -> wasmtime::Result<Exit> {
    let mut delivered = false;
    let mut all_restart = true;
    while caller.data().ctx.has_deliverable() {
        let guest = caller.data();
        let Some(trampoline) = guest.trampoline.clone() else { break };
        let Some(delivery) = syscall::signal::take_deliverable(&guest.ctx) else { break };
        delivered = true;
        all_restart &= delivery.restart;
        caller.data_mut().enter_handler().map_err(wasmtime::Error::new)?;
        trampoline.call_async(&mut *caller, i32::from(delivery.signal.raw())).await?;
        caller.data_mut().leave_handler();
        syscall::signal::finish_delivery(&caller.data().ctx, delivery).await;
    }
    if is_interrupted && delivered && all_restart && restart == Restart::IfHandlerAsks {
        return Ok(Exit::CallAgain);
    }
    Ok(Exit::Return)
}

/// Defines calls that never block: `module; name(arg: type, ...) = function;`
macro_rules! sync_calls {
    ($host:expr, $module:expr; $($name:ident($($arg:ident: $ty:ty),*) = $call:path;)*) => { $(
        $host.note($module, stringify!($name), &[$(stringify!($ty)),*]);
        if $host.delivers {
            $host.linker.func_wrap_async(
                $module,
                stringify!($name),
                |mut caller: wasmtime::Caller<'_, $crate::guest::Guest>, ($($arg,)*): ($($ty,)*)| Box::new(async move {
                    let answer = {
                        let (mut memory, guest) = $crate::guest::split(&mut caller);
                        $call(guest, &mut memory, $($arg),*)
                    };
                    $crate::host_call::trace!(caller, stringify!($name), [$($arg),*], answer);
                    if caller.data().ctx.has_deliverable() {
                        $crate::host_call::deliver(&mut caller, false, $crate::host_call::Restart::Never).await?;
                    }
                    wasmtime::Result::Ok($crate::host_call::Answer::value(answer))
                }),
            )?;
        } else {
            $host.linker.func_wrap(
                $module,
                stringify!($name),
                |mut caller: wasmtime::Caller<'_, $crate::guest::Guest>, $($arg: $ty),*| {
                    let (mut memory, guest) = $crate::guest::split(&mut caller);
                    let answer = $call(guest, &mut memory, $($arg),*);
                    $crate::host_call::trace!(caller, stringify!($name), [$($arg),*], answer);
                    $crate::host_call::Answer::value(answer)
                },
            )?;
        }
    )* };
}

/// Defines calls that may block: `module, restart; name(arg: type, ...) = async function;`
macro_rules! async_calls {
    ($host:expr, $module:expr, $restart:expr; $($name:ident($($arg:ident: $ty:ty),*) = $call:path;)*) => { $(
        $host.note($module, stringify!($name), &[$(stringify!($ty)),*]);
        $host.linker.func_wrap_async(
            $module,
            stringify!($name),
            |mut caller: wasmtime::Caller<'_, $crate::guest::Guest>, ($($arg,)*): ($($ty,)*)| Box::new(async move {
                loop {
                    let answer = {
                        let (mut memory, guest) = $crate::guest::split(&mut caller);
                        $call(guest, &mut memory, $($arg),*).await
                    };
                    $crate::host_call::trace!(caller, stringify!($name), [$($arg),*], answer);
                    if caller.data().trampoline.is_some() && caller.data().ctx.has_deliverable() {
                        let is_interrupted = $crate::host_call::Answer::is_interrupted(&answer);
                        let exit = $crate::host_call::deliver(&mut caller, is_interrupted, $restart).await?;
                        if exit == $crate::host_call::Exit::CallAgain {
                            continue;
                        }
                    }
                    return wasmtime::Result::Ok($crate::host_call::Answer::value(answer));
                }
            }),
        )?;
    )* };
}

/// Logs a call, its raw arguments and its answer: `vm_wasm=trace` is what `strace` is elsewhere.
macro_rules! trace {
    ($caller:expr, $name:expr, [$($arg:expr),*], $answer:expr) => {
        tracing::trace!(
            target: "vm_wasm::host_call",
            pid = $caller.data().ctx.pid().raw(),
            arguments = ?(&[$(i128::from($arg)),*] as &[i128]),
            answer = ?$answer,
            $name
        )
    };
}

pub(crate) use {async_calls, sync_calls, trace};

/// Lets other tasks run once.
pub(crate) async fn yield_now() {
    struct YieldNow(bool);
    impl Future for YieldNow {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            if self.0 {
                return Poll::Ready(());
            }
            self.0 = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }
    YieldNow(false).await;
}
