//! Calls about signals, and how a driver delivers them.
//!
//! A driver asks [`ProcessContext::has_deliverable`] at every return to the guest, and after `EINTR`. If so, it takes
//! one [`Delivery`] after the other with [`take_deliverable`], runs the guest's handler, and gives it back with
//! [`finish_delivery`]. A call that ended with `EINTR` is made again if every delivery said `restart` and the call is
//! one that Linux restarts; else the guest sees `EINTR`.

use vm_abi::{Errno, Signal, SignalSet};

use super::{Delivery, Disposition, MaskChange};
use crate::context::ProcessContext;
use crate::poll::{Waiter, checkpoint, wait_ready};
use crate::trace::show::Other;
use crate::trace::{Call, traced};

/// What happens about a signal.
#[must_use]
pub fn disposition(ctx: &ProcessContext, signal: Signal) -> Disposition {
    ctx.process().signals(|signals| signals.disposition(signal))
}

/// Sets what happens about a signal; tells what it was.
///
/// # Errors
/// `EINVAL` for `SIGKILL` and `SIGSTOP`.
pub fn set_disposition(ctx: &ProcessContext, signal: Signal, new: Disposition) -> Result<Disposition, Errno> {
    traced!(ctx, "rt_sigaction", [signal, Other(&new)], {
        if !signal.is_catchable() {
            return Err(Errno::EINVAL);
        }
        let (old, effect) = ctx.process().change_signals(|signals| {
            let old = signals.disposition(signal);
            (old, signals.set_disposition(signal, new))
        });
        ctx.kernel().carry_out(ctx.process(), effect);
        Ok(old)
    })
}

/// The blocked signals.
#[must_use]
pub fn mask(ctx: &ProcessContext) -> SignalSet {
    ctx.process().signals(|signals| signals.mask())
}

/// Changes the mask; tells the old one. Does not return if an unblocked signal kills the caller.
pub async fn change_mask(ctx: &ProcessContext, change: MaskChange, set: SignalSet) -> SignalSet {
    let call = Call::begin(ctx, "rt_sigprocmask", |call| {
        call.argument(&Other(&change));
        call.argument(&Other(&set));
    });
    let (old, effect) = ctx.process().change_signals(|signals| signals.change_mask(change, set));
    ctx.kernel().carry_out(ctx.process(), effect);
    checkpoint(ctx).await;
    if let Some(call) = call {
        call.end(&Ok(()));
    }
    old
}

/// The signals that wait to be unblocked or delivered.
#[must_use]
pub fn pending(ctx: &ProcessContext) -> SignalSet {
    ctx.process().signals(|signals| signals.pending())
}

/// The next signal whose handler has to run now.
#[must_use]
pub fn take_deliverable(ctx: &ProcessContext) -> Option<Delivery> {
    match ctx.process().change_signals(|signals| signals.take_deliverable()) {
        Ok(delivery) => {
            let (process, now) = (ctx.process(), ctx.kernel().clock.realtime());
            process.tracing.note(process, now, || format!("--- {} ---", delivery.signal));
            Some(delivery)
        }
        Err(effect) => {
            ctx.kernel().carry_out(ctx.process(), effect);
            None
        }
    }
}

/// The handler of a delivery has run. Does not return if a signal that this unblocks kills the caller.
pub async fn finish_delivery(ctx: &ProcessContext, delivery: Delivery) {
    let effect = ctx.process().change_signals(|signals| signals.finish_delivery(delivery));
    ctx.kernel().carry_out(ctx.process(), effect);
    checkpoint(ctx).await;
}

/// Waits for a signal with a handler (`pause`); with a mask, that one is in force meanwhile (`sigsuspend`).
pub async fn pause(ctx: &ProcessContext, mask: Option<SignalSet>) -> Errno {
    let call = Call::begin(ctx, "pause", |call| call.argument(&Other(&mask)));
    let errno = wait_for_signal(ctx, mask).await;
    if let Some(call) = call {
        call.end(&Err::<(), _>(errno));
    }
    errno
}

async fn wait_for_signal(ctx: &ProcessContext, mask: Option<SignalSet>) -> Errno {
    let nothing = &mut [];
    match mask {
        Some(_) => super::poll::poll(ctx, nothing, None, mask).await.err().unwrap_or(Errno::EINTR),
        None => {
            let never = || Err::<(), _>(Errno::EAGAIN);
            wait_ready(Waiter::Process(ctx), &[], None, never).await.err().unwrap_or(Errno::EINTR)
        }
    }
}
