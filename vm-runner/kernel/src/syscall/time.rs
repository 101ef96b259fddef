//! Clocks and sleeping.

use std::time::Duration;

use vm_abi::{Errno, Timespec};

use crate::context::ProcessContext;
use crate::poll::{Deadline, Waiter, wait_ready};

/// A clock that a guest can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockId {
    /// The time of day.
    Realtime,
    /// Time since the VM booted.
    Monotonic,
    /// Time the process has existed: nobody counts its CPU time.
    Process,
}

/// What a clock shows.
#[must_use]
pub fn now(ctx: &ProcessContext, clock: ClockId) -> Timespec {
    let source = &ctx.kernel().clock;
    match clock {
        ClockId::Realtime => source.realtime(),
        ClockId::Monotonic => Timespec::since_epoch(source.monotonic()),
        ClockId::Process => Timespec::since_epoch(source.monotonic().saturating_sub(ctx.process().started)),
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
    let clock = &*ctx.kernel().clock;
    let deadline = Deadline { clock, instant: clock.monotonic().saturating_add(duration) };
    let never = || Err::<(), _>(Errno::EAGAIN);
    match wait_ready(Waiter::Process(ctx), &[], Some(deadline), never).await {
        Err(Errno::ETIMEDOUT) => Ok(()),
        other => other,
    }
}

/// Waits until a clock shows a time.
///
/// # Errors
/// `EINTR`.
pub async fn sleep_until(ctx: &ProcessContext, clock: ClockId, time: Timespec) -> Result<(), Errno> {
    let left = time.as_nanos().saturating_sub(now(ctx, clock).as_nanos());
    sleep(ctx, Duration::from_nanos(left)).await
}
