//! A log of the system calls of some processes, as `strace` writes it, on the host's request.
//!
//! A process that nobody traces pays one relaxed atomic load per call. For a traced one, every call of `syscall` writes
//! a line, by the macro [`traced`]: `openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3</etc/passwd> <0.000012>`. How values
//! look is in [`show`]; the bounded [`log`] is between the processes and the reader, who learns what was lost.
//!
//! Secrets: no environment is shown, and of what is read and written only the first bytes.

pub(crate) mod log;
pub(crate) mod show;

use std::fmt::Write as _;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::time::Duration;

use vm_abi::Errno;

use crate::context::ProcessContext;
use crate::process::Process;
use log::Log;
pub use log::{StraceLine, StraceReader};
use show::{Filled, Outcome, Show};

/// A system call of a traced process, from its arguments to its result.
pub(crate) struct Call<'a> {
    ctx: &'a ProcessContext,
    logs: Vec<Arc<Log>>,
    /// Name and arguments, without the closing bracket.
    text: String,
    began: Duration,
    has_arguments: bool,
    has_ended: bool,
}

impl<'a> Call<'a> {
    /// Begins a call; `None` if nobody traces the process.
    #[inline]
    pub(crate) fn begin(
        ctx: &'a ProcessContext,
        name: &str,
        arguments: impl FnOnce(&mut Self),
    ) -> Option<Box<Self>> {
        if ctx.process().tracing.is_off() { None } else { Self::begin_traced(ctx, name, arguments) }
    }

    #[cold]
    fn begin_traced(
        ctx: &'a ProcessContext,
        name: &str,
        arguments: impl FnOnce(&mut Self),
    ) -> Option<Box<Self>> {
        let logs = ctx.process().tracing.logs();
        if logs.is_empty() {
            return None;
        }
        let began = ctx.kernel().clock.monotonic();
        let text = format!("{name}(");
        let mut call = Box::new(Self { ctx, logs, text, began, has_arguments: false, has_ended: false });
        arguments(&mut call);
        Some(call)
    }

    /// Adds an argument.
    pub(crate) fn argument(&mut self, value: &dyn Show) {
        if self.has_arguments {
            self.text.push_str(", ");
        }
        self.has_arguments = true;
        value.show(self.ctx, &mut self.text);
    }

    /// Ends the call, with what it gave.
    pub(crate) fn end(mut self, outcome: &dyn Outcome) {
        self.has_ended = true;
        outcome.show_outcome(self.ctx, &mut self.text);
        let took = self.ctx.kernel().clock.monotonic().saturating_sub(self.began);
        // Writing to a string cannot fail.
        let _ = write!(self.text, " <{}.{:06}>", took.as_secs(), took.subsec_micros());
        self.write();
    }

    /// Ends a call that has filled buffers, as far as its result says.
    pub(crate) fn end_filled(mut self, outcome: &Result<usize, Errno>, room: &[IoSliceMut<'_>]) {
        let filled = outcome.unwrap_or(0);
        let head: Vec<u8> =
            room.iter().flat_map(|buffer| buffer.iter()).copied().take(filled.min(65)).collect();
        self.argument(&Filled { head: &head, room: room.iter().map(|buffer| buffer.len()).sum() });
        self.end(outcome);
    }

    fn write(&mut self) {
        let text = std::mem::take(&mut self.text);
        write_line(self.ctx.process(), self.ctx.kernel().clock.realtime(), &self.logs, &text);
    }
}

impl Drop for Call<'_> {
    /// The process was killed within the call.
    fn drop(&mut self) {
        if !self.has_ended {
            self.text.push_str(" <unfinished ...>");
            self.write();
        }
    }
}

fn write_line(process: &Process, at: vm_abi::Timespec, logs: &[Arc<Log>], text: &str) {
    for log in logs {
        log.push(StraceLine { pid: process.pid, at, text: text.to_owned(), lost: 0 });
    }
}

/// Runs the body of a system call and writes a line about it if the process is traced.
///
/// `traced!(ctx, "name", [argument, argument], body)`, where `?` and `return` in the body end the body only.
macro_rules! traced {
    ($ctx:expr, $name:literal, [$($argument:expr),* $(,)?], async $body:block) => {{
        let call = $crate::trace::Call::begin($ctx, $name, |_call| { $(_call.argument(&$argument);)* });
        let outcome = async $body.await;
        if let Some(call) = call {
            call.end(&outcome);
        }
        outcome
    }};
    ($ctx:expr, $name:literal, [$($argument:expr),* $(,)?], $body:block) => {{
        let call = $crate::trace::Call::begin($ctx, $name, |_call| { $(_call.argument(&$argument);)* });
        let outcome = $crate::trace::run(|| $body);
        if let Some(call) = call {
            call.end(&outcome);
        }
        outcome
    }};
}

pub(crate) use traced;

/// Calls a function: what makes `?` end a body and not its caller.
#[inline]
pub(crate) fn run<T>(body: impl FnOnce() -> T) -> T {
    body()
}
