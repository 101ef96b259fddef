//! Signals: actions, masks, timers, and `ppoll`. Handlers themselves run at the exit of calls, see `host_call`.

use std::time::Duration;

use vm_abi::{Errno, SignalSet};
use vm_kernel::syscall::{ActionFlags, Disposition, Itimer, KillTarget, MaskChange, process, signal};

use crate::convert;
use crate::guest::Guest;
use crate::host_net::poll_fds;
use crate::memory::GuestMemory;

/// Flags of an action, as on Linux.
const SA_RESTART: u32 = 0x1000_0000;
const SA_NODEFER: u32 = 0x4000_0000;
const SA_RESETHAND: u32 = 0x8000_0000;

pub(super) async fn proc_kill(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    pid: i32,
    raw: u32,
) -> Result<(), Errno> {
    let signal = if raw == 0 { None } else { Some(convert::signal(raw)?) };
    process::kill(&guest.ctx, KillTarget::from_raw(pid), signal).await
}

pub(super) fn proc_sigaction(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    action: u32,
    mask_low: u32,
    mask_high: u32,
    raw_flags: u32,
) -> Result<(), Errno> {
    let disposition = match action {
        0 => Disposition::Default,
        1 => Disposition::Ignore,
        2 => {
            let mut flags = ActionFlags::empty();
            flags.set(ActionFlags::RESTART, raw_flags & SA_RESTART != 0);
            flags.set(ActionFlags::NODEFER, raw_flags & SA_NODEFER != 0);
            flags.set(ActionFlags::RESETHAND, raw_flags & SA_RESETHAND != 0);
            Disposition::Caught { mask: convert::signal_set(mask_low, mask_high), flags }
        }
        _ => return Err(Errno::EINVAL),
    };
    signal::set_disposition(&guest.ctx, convert::signal(raw)?, disposition).map(drop)
}

pub(super) async fn proc_signal_mask_v2(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    how: u32,
    low: u32,
    high: u32,
    low_out: u32,
    high_out: u32,
) -> Result<(), Errno> {
    memory.check(low_out, 4)?;
    memory.check(high_out, 4)?;
    let set = convert::signal_set(low, high);
    let previous = match how {
        0 => signal::change_mask(&guest.ctx, MaskChange::Block, set).await,
        1 => signal::change_mask(&guest.ctx, MaskChange::Unblock, set).await,
        2 => signal::change_mask(&guest.ctx, MaskChange::Set, set).await,
        3 => signal::mask(&guest.ctx),
        _ => return Err(Errno::EINVAL),
    };
    put_mask(memory, previous, low_out, high_out)
}

fn put_mask(memory: &mut GuestMemory<'_>, set: SignalSet, low_out: u32, high_out: u32) -> Result<(), Errno> {
    let (low, high) = convert::halves(set);
    memory.put_u32(low_out, low)?;
    memory.put_u32(high_out, high)
}

/// Microseconds both ways; answers what was set before.
pub(super) fn proc_itimer_real(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    op: u32,
    value: u64,
    interval: u64,
    remaining_out: u32,
    interval_out: u32,
) -> Result<(), Errno> {
    memory.check(remaining_out, 8)?;
    memory.check(interval_out, 8)?;
    let previous = match op {
        0 => process::itimer(&guest.ctx),
        1 => {
            let timer =
                Itimer { remaining: Duration::from_micros(value), interval: Duration::from_micros(interval) };
            process::set_itimer(&guest.ctx, timer)
        }
        _ => return Err(Errno::EINVAL),
    };
    memory.put_u64(remaining_out, microseconds(previous.remaining))?;
    memory.put_u64(interval_out, microseconds(previous.interval))
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Polls with another signal mask. Both parts of the timeout -1: no timeout.
pub(super) async fn proc_ppoll_v1(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    fds: u32,
    count: u32,
    seconds: i64,
    nanoseconds: i64,
    mask_low: u32,
    mask_high: u32,
    has_mask: u32,
    ready_out: u32,
) -> Result<(), Errno> {
    let timeout = if (seconds, nanoseconds) == (-1, -1) {
        None
    } else {
        let nanoseconds = u32::try_from(nanoseconds).ok().filter(|nanoseconds| *nanoseconds < 1_000_000_000);
        let seconds = u64::try_from(seconds).map_err(|_| Errno::EINVAL)?;
        Some(Duration::new(seconds, nanoseconds.ok_or(Errno::EINVAL)?))
    };
    let mask = (has_mask != 0).then(|| convert::signal_set(mask_low, mask_high));
    poll_fds(guest, memory, (fds, count), timeout, mask, ready_out).await
}
