//! Clocks and sleeping.

use std::time::Duration;

use vm_abi::{Errno, Timespec};

use crate::context::ProcessContext;
use crate::poll::{Deadline, Waiter, wait_ready};
use crate::trace::show::Other;
use crate::trace::traced;

/// A clock that a guest can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockId {
    /// The time of day.
    Realtime,
    /// Time since the VM booted.
    Monotonic,
    /// CPU time of the process.
    Process,
}

/// What a clock shows.
#[must_use]
pub fn now(ctx: &ProcessContext, clock: ClockId) -> Timespec {
    let source = &ctx.kernel().clock;
    match clock {
        ClockId::Realtime => source.realtime(),
        ClockId::Monotonic => Timespec::since_epoch(source.monotonic()),
        ClockId::Process => Timespec::since_epoch(ctx.process().cpu.used_at(source.monotonic())),
    }
}

/// How finely a clock counts.
#[must_use]
pub fn resolution(clock: ClockId) -> Duration {
    match clock {
        ClockId::Realtime | ClockId::Monotonic | ClockId::Process => Duration::from_nanos(1),
    }
}

/// Waits for a time to pass.
///
/// # Errors
/// `EINTR`.
pub async fn sleep(ctx: &ProcessContext, duration: Duration) -> Result<(), Errno> {
    traced!(ctx, "nanosleep", [Other(&duration)], async {
        let clock = &*ctx.kernel().clock;
        let deadline = Deadline { clock, instant: clock.monotonic().saturating_add(duration) };
        let never = || Err::<(), _>(Errno::EAGAIN);
        match wait_ready(Waiter::Process(ctx), &[], Some(deadline), never).await {
            Err(Errno::ETIMEDOUT) => Ok(()),
            other => other,
        }
    })
}

/// Charges the process for CPU time and waits while the VM has used up its share.
///
/// For drivers whose guests compute on threads of their own, at the end of each time slice. Others need not call it:
/// the time in which a program's future is polled is charged anyway, and it is not polled while it has to wait.
///
/// # Errors
/// `EINTR`.
pub async fn preempt(ctx: &ProcessContext, used: Duration) -> Result<(), Errno> {
    let (governor, time) = (&ctx.kernel().cpu, &ctx.process().cpu);
    governor.charge(time, used);
    while let Some(instant) = governor.held_until(time) {
        let deadline = Deadline { clock: &*ctx.kernel().clock, instant };
        let has_share = || if governor.held_until(time).is_none() { Ok(()) } else { Err(Errno::EAGAIN) };
        match wait_ready(Waiter::Process(ctx), &[], Some(deadline), has_share).await {
            Err(Errno::ETIMEDOUT) => {}
            done => return done,
        }
    }
    Ok(())
}

/// Charges the process for CPU time that its driver has used for it, and that could not be divided: compiling its
/// program. It goes on at once; the VM has less in the time that follows. Also for a process that has ended.
pub fn owe(ctx: &ProcessContext, used: Duration) {
    ctx.kernel().cpu.owe(&ctx.process().cpu, used);
}

/// Waits until a clock shows a time.
///
/// # Errors
/// `EINTR`.
pub async fn sleep_until(ctx: &ProcessContext, clock: ClockId, time: Timespec) -> Result<(), Errno> {
    let left = time.as_nanos().saturating_sub(now(ctx, clock).as_nanos());
    sleep(ctx, Duration::from_nanos(left)).await
}
