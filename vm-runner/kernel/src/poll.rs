//! Waiting: the only place in the kernel where anything waits.
//!
//! Kernel objects offer `try_` operations that answer `EAGAIN`, and a [`Readiness`] that tells when trying again may
//! help. [`wait_ready`] turns the one into the other, and is the only place that knows timeouts and signals.
//! [`run_until_killed`] drives a program and is the only place that knows how a process is killed and stopped: the
//! program's future is dropped, or not polled, wherever it waits.
//!
//! A waiter registers before it tries for the last time, and its registration goes when its future is dropped; so no
//! wake-up is lost and no waiter leaks.

mod readiness;

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use vm_abi::{Errno, PollEvents, Signal};

use crate::clock::Clock;
use crate::context::ProcessContext;
use crate::cpu::Turn;
use crate::driver::ProgramEnd;
use crate::kernel::KernelInner;
use crate::process::Process;

pub(crate) use readiness::{Readiness, Registration};

/// What a waiter waits for: an object, and which of its events.
#[derive(Clone, Copy)]
pub(crate) struct Interest<'a> {
    /// The object's readiness.
    pub(crate) readiness: &'a Readiness,
    /// The events that matter; errors and hang-ups always do.
    pub(crate) events: PollEvents,
}

/// Who waits, which tells what interrupts it.
#[derive(Clone, Copy)]
pub(crate) enum Waiter<'a> {
    /// A process, interrupted by a signal it catches.
    Process(&'a ProcessContext),
    /// The host, which drops the future when it has waited enough.
    Host,
}

/// Until when to wait.
pub(crate) struct Deadline<'a> {
    /// Whose time counts.
    pub(crate) clock: &'a dyn Clock,
    /// The instant, on the monotonic clock.
    pub(crate) instant: Duration,
}

/// Tries an operation until it answers anything but `EAGAIN`, waiting for the object in between.
///
/// # Errors
/// What the operation answers; `EINTR` if a signal with a handler arrives first, `ETIMEDOUT` at the deadline. An
/// operation that is ready wins over both.
pub(crate) async fn wait_ready<T>(
    waiter: Waiter<'_>,
    interests: &[Interest<'_>],
    deadline: Option<Deadline<'_>>,
    mut try_op: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    // Whoever never has to wait lets others run now and then. Before the operation, for this may be cancelled.
    tokio::task::coop::consume_budget().await;
    match try_op() {
        Err(Errno::EAGAIN) => {}
        done => return done,
    }
    let mut registrations: Vec<Registration<'_>> = Vec::new();
    let mut timer = deadline.map(|deadline| deadline.clock.sleep_until(deadline.instant));
    poll_fn(|cx| {
        register_all(&mut registrations, waiter, interests, cx);
        match try_op() {
            Err(Errno::EAGAIN) => {}
            done => return Poll::Ready(done),
        }
        if waiter.is_interrupted() {
            return Poll::Ready(Err(Errno::EINTR));
        }
        if timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Err(Errno::ETIMEDOUT));
        }
        Poll::Pending
    })
    .await
}

fn register_all<'a>(
    registrations: &mut Vec<Registration<'a>>,
    waiter: Waiter<'a>,
    interests: &[Interest<'a>],
    cx: &Context<'_>,
) {
    if !registrations.is_empty() {
        registrations.iter().for_each(|registration| registration.update(cx.waker()));
        return;
    }
    registrations.reserve_exact(interests.len() + 1);
    for interest in interests {
        registrations.push(interest.readiness.register(interest.events, cx.waker()));
    }
    if let Waiter::Process(ctx) = waiter {
        registrations.push(ctx.process().interrupt.register(PollEvents::IN, cx.waker()));
    }
}

impl Waiter<'_> {
    fn is_interrupted(self) -> bool {
        match self {
            Self::Process(ctx) => ctx.process().is_interrupted(),
            Self::Host => false,
        }
    }
}

/// Waits while the calling process is killed or stopped, so that a syscall which did that to its own process does not
/// return to it. For a killed process this never returns; [`run_until_killed`] drops it.
pub(crate) async fn checkpoint(ctx: &ProcessContext) {
    let process = ctx.process();
    if !process.control.is_held() {
        return;
    }
    let mut registration = None;
    poll_fn(|cx| {
        registration = Some(process.interrupt.register(PollEvents::IN, cx.waker()));
        if process.control.is_held() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

/// How running a program ended.
pub(crate) enum RunEnd {
    /// The program said how.
    Finished(ProgramEnd),
    /// A signal killed it.
    Killed(Signal),
    /// The driver itself failed.
    Panicked,
}

/// Runs a program until it ends or its process is killed. A stopped process's program is not polled, nor is one that
/// has no turn on a CPU. Fires the process's alarm timer.
pub(crate) async fn run_until_killed(
    process: &Arc<Process>,
    kernel: &KernelInner,
    program: BoxFuture<'static, ProgramEnd>,
) -> RunEnd {
    let mut program = AssertUnwindSafe(program).catch_unwind();
    let mut alarm = AlarmTimer::default();
    let mut turn = Turn::new(&kernel.cpu, &process.cpu);
    poll_fn(|cx| {
        process.control.register(cx.waker());
        alarm.poll(process, &*kernel.clock, cx);
        if let Some(signal) = process.control.killed_by() {
            return Poll::Ready(RunEnd::Killed(signal));
        }
        if process.control.is_stopped() {
            turn.cancel();
            return Poll::Pending;
        }
        let Some(polled) = turn.poll(cx, |cx| Pin::new(&mut program).poll(cx)) else {
            return Poll::Pending;
        };
        process.check_cpu_limit(kernel);
        // However a program ends that is killed: it is killed.
        match (process.control.killed_by(), polled) {
            (Some(signal), _) => Poll::Ready(RunEnd::Killed(signal)),
            (None, Poll::Ready(Ok(end))) => Poll::Ready(RunEnd::Finished(end)),
            (None, Poll::Ready(Err(_panic))) => Poll::Ready(RunEnd::Panicked),
            (None, Poll::Pending) => Poll::Pending,
        }
    })
    .await
}

/// The timer of a process's alarm, made anew when the process sets another one.
#[derive(Default)]
struct AlarmTimer {
    armed: Option<(Duration, BoxFuture<'static, ()>)>,
}

impl AlarmTimer {
    fn poll(&mut self, process: &Process, clock: &dyn Clock, cx: &mut Context<'_>) {
        loop {
            let wanted = process.alarm.deadline();
            if wanted != self.armed.as_ref().map(|(instant, _)| *instant) {
                self.armed = wanted.map(|instant| (instant, clock.sleep_until(instant)));
            }
            let Some((_, timer)) = &mut self.armed else { return };
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
            self.armed = None;
            process.fire_alarm(clock.monotonic());
        }
    }
}
