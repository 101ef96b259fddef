//! Waiting for several files at once: `poll` and `select`.

use std::sync::Arc;
use std::time::Duration;

use vm_abi::{Errno, PollEvents, SignalSet};

use super::Fd;
use crate::context::ProcessContext;
use crate::file::FileKind;
use crate::file::description::FileDescription;
use crate::limit::Limit;
use crate::poll::{Deadline, Interest, Waiter, wait_ready};
use crate::trace::show::{Other, PollFds};
use crate::trace::traced;

/// A file to wait for, and what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollFd {
    /// The file; `None` is passed over.
    pub fd: Option<Fd>,
    /// What to wait for.
    pub events: PollEvents,
    /// What is the case. Errors and hang-ups are told unasked; an fd that is not open is `NVAL`.
    pub revents: PollEvents,
}

/// Waits until a file is ready, the timeout passes, or a signal with a handler arrives; tells how many files have
/// something to tell. A `mask` replaces the signal mask meanwhile; if the call ends with `EINTR`, the old mask is back
/// after the handler has run.
///
/// # Errors
/// `EINTR`, `EINVAL` if there are too many files.
pub async fn poll(
    ctx: &ProcessContext,
    files: &mut [PollFd],
    timeout: Option<Duration>,
    mask: Option<SignalSet>,
) -> Result<usize, Errno> {
    traced!(ctx, "poll", [PollFds(files), Other(&timeout), Other(&mask)], async {
        if files.len() > ctx.limits().max_poll_fds {
            return Err(ctx.kernel().refusals.note(Limit::PollFds));
        }
        let Some(mask) = mask else {
            return poll_with_own_mask(ctx, files, timeout).await;
        };
        let effect = ctx.process().change_signals(|signals| signals.begin_wait_mask(mask));
        ctx.kernel().carry_out(ctx.process(), effect);
        let _guard = WaitMask(ctx);
        poll_with_own_mask(ctx, files, timeout).await
    })
}

/// Puts the old mask back, however the wait ends.
struct WaitMask<'a>(&'a ProcessContext);

impl Drop for WaitMask<'_> {
    fn drop(&mut self) {
        let effect = self.0.process().change_signals(|signals| signals.end_wait_mask());
        self.0.kernel().carry_out(self.0.process(), effect);
    }
}

async fn poll_with_own_mask(
    ctx: &ProcessContext,
    files: &mut [PollFd],
    timeout: Option<Duration>,
) -> Result<usize, Errno> {
    let open: Vec<Option<Arc<FileDescription>>> =
        files.iter().map(|file| file.fd.and_then(|fd| ctx.description(fd).ok())).collect();
    let interests = interests(files, &open);
    let is_at_terminal = timeout.is_none() && waits_for_typing(files, &open);
    let _at_terminal = is_at_terminal.then(|| ctx.process().wait_at_terminal());
    let clock = &*ctx.kernel().clock;
    let deadline =
        timeout.map(|timeout| Deadline { clock, instant: clock.monotonic().saturating_add(timeout) });
    let probes_only = timeout.is_some_and(|timeout| timeout.is_zero());
    let try_op = || match look(files, &open) {
        0 if !probes_only => Err(Errno::EAGAIN),
        count => Ok(count),
    };
    match wait_ready(Waiter::Process(ctx), &interests, deadline, try_op).await {
        Err(Errno::ETIMEDOUT) => Ok(0),
        other => other,
    }
}

/// What to wait for: each object once, however many entries name it.
fn interests<'a>(files: &[PollFd], open: &'a [Option<Arc<FileDescription>>]) -> Vec<Interest<'a>> {
    let of_file = |(open, file): (&'a Option<Arc<FileDescription>>, &PollFd)| {
        let readiness = open.as_ref()?.file().readiness()?;
        Some(Interest { readiness, events: wanted(file.events) })
    };
    let mut interests: Vec<Interest<'a>> = open.iter().zip(files).filter_map(of_file).collect();
    let address = |interest: &Interest<'_>| std::ptr::from_ref(interest.readiness).addr();
    interests.sort_unstable_by_key(address);
    interests.dedup_by(|other, kept| {
        let is_same = std::ptr::eq(other.readiness, kept.readiness);
        if is_same {
            kept.events |= other.events;
        }
        is_same
    });
    interests
}

/// Whether somebody may type what the wait is for.
fn waits_for_typing(files: &[PollFd], open: &[Option<Arc<FileDescription>>]) -> bool {
    let is_read = |file: &PollFd| file.events.intersects(PollEvents::IN | PollEvents::RDNORM);
    let is_terminal = |open: &Arc<FileDescription>| open.file().kind() == FileKind::Terminal;
    files.iter().zip(open).any(|(file, open)| is_read(file) && open.as_ref().is_some_and(is_terminal))
}

fn look(files: &mut [PollFd], open: &[Option<Arc<FileDescription>>]) -> usize {
    let mut count = 0;
    for (file, open) in files.iter_mut().zip(open) {
        file.revents = match (file.fd, open) {
            (None, _) => PollEvents::empty(),
            (Some(_), None) => PollEvents::NVAL,
            (Some(_), Some(open)) => open.file().events() & (file.events | PollEvents::ERR | PollEvents::HUP),
        };
        count += usize::from(!file.revents.is_empty());
    }
    count
}

/// The events to be woken for: objects tell of reading and writing without the distinction of bands.
fn wanted(events: PollEvents) -> PollEvents {
    let mut wanted = events;
    if events.intersects(PollEvents::RDNORM | PollEvents::PRI | PollEvents::RDHUP) {
        wanted |= PollEvents::IN;
    }
    if events.intersects(PollEvents::WRNORM) {
        wanted |= PollEvents::OUT;
    }
    wanted
}
