//! Waiting for children.

use std::time::Duration;

use bitflags::bitflags;
use vm_abi::{Errno, PollEvents, Signal};

use super::{ExitStatus, Pgid, Pid};
use crate::context::ProcessContext;
use crate::driver::Threads;
use crate::poll::{Deadline, Interest, Waiter, wait_ready};

/// Which children to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitTarget {
    /// Any.
    Any,
    /// This one.
    Child(Pid),
    /// Those of this group.
    Group(Pgid),
    /// Those of the caller's group.
    OwnGroup,
}

bitflags! {
    /// What to wait for, and whether. The bits are Linux's.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct WaitOptions: u32 {
        /// Do not wait for something to happen.
        const NOHANG = 1;
        /// Tell of stopped children.
        const UNTRACED = 2;
        /// Tell of continued children.
        const CONTINUED = 8;
    }
}

/// News of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitStatus {
    /// It ended by itself, with this code.
    Exited(u8),
    /// A signal ended it.
    Signaled(Signal),
    /// A signal stopped it.
    Stopped(Signal),
    /// It goes on.
    Continued,
}

/// News of a child, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitResult {
    /// The child.
    pub pid: Pid,
    /// The news.
    pub status: WaitStatus,
}

/// How long a wait that must not wait stays all the same when there is no news: shells ask in a loop (wasm-abi.md
/// 2.1.4).
const PARK: Duration = Duration::from_millis(2);

impl WaitTarget {
    /// Whether this child is meant.
    pub(crate) fn includes(self, pid: Pid, group: Pgid, own_group: Pgid) -> bool {
        match self {
            Self::Any => true,
            Self::Child(child) => child == pid,
            Self::Group(wanted) => wanted == group,
            Self::OwnGroup => own_group == group,
        }
    }
}

impl WaitStatus {
    /// As Linux writes it into `wait`'s status word.
    #[must_use]
    pub fn raw(self) -> i32 {
        match self {
            Self::Exited(code) => i32::from(code) << 8,
            Self::Signaled(signal) => i32::from(signal.raw()),
            Self::Stopped(signal) => i32::from(signal.raw()) << 8 | 0x7f,
            Self::Continued => 0xffff,
        }
    }
}

impl From<ExitStatus> for WaitStatus {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Exited(code) => Self::Exited(code),
            ExitStatus::Signaled(signal) => Self::Signaled(signal),
        }
    }
}

/// Waits for news of a child. With `NOHANG` and no news, stays a moment and answers `None`.
pub(crate) async fn wait(
    ctx: &ProcessContext,
    target: WaitTarget,
    options: WaitOptions,
) -> Result<Option<WaitResult>, Errno> {
    let table = &ctx.kernel().table;
    let try_op = || match table.try_wait(ctx.pid(), target, options) {
        Ok(None) => Err(Errno::EAGAIN),
        other => other,
    };
    let interest = Interest { readiness: &ctx.process().child_change, events: PollEvents::IN };
    if !options.contains(WaitOptions::NOHANG) {
        return wait_ready(Waiter::Process(ctx), &[interest], None, try_op).await;
    }
    if ctx.process().image().program.threads() == Threads::Many {
        return table.try_wait(ctx.pid(), target, options);
    }
    let clock = &*ctx.kernel().clock;
    let deadline = Deadline { clock, instant: clock.monotonic().saturating_add(PARK) };
    match wait_ready(Waiter::Process(ctx), &[interest], Some(deadline), try_op).await {
        Err(Errno::ETIMEDOUT | Errno::EINTR) => Ok(None),
        other => other,
    }
}
