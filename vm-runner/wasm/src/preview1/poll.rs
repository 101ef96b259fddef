//! `poll_oneoff`: sleeping, and waiting for fds with a timeout.

use std::time::Duration;

use vm_abi::{Errno, PollEvents, Timespec};
use vm_kernel::syscall::{ClockId, PollFd, poll, time};

use super::clock::clock_id;
use crate::convert::fd;
use crate::guest::Guest;
use crate::layout::{EVENT_BYTES, SUBSCRIPTION_BYTES, event, event_type};
use crate::memory::GuestMemory;

/// Most subscriptions of one call.
const MAX_SUBSCRIPTIONS: u32 = 4096;
/// Clock subscriptions with this flag name a point in time.
const ABSOLUTE_TIME: u16 = 1;

struct Subscription {
    userdata: [u8; 8],
    what: What,
}

enum What {
    /// After this long.
    Clock(Duration),
    /// When the entry of the poll array at this index is ready.
    Fd { event_type: u8, index: usize },
}

pub(super) async fn poll_oneoff(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    subscriptions: u32,
    events: u32,
    count: u32,
    count_out: u32,
) -> Result<(), Errno> {
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Err(Errno::EINVAL);
    }
    memory.check(count_out, 4)?;
    memory.check(events, count * EVENT_BYTES as u32)?;
    let records = memory.bytes(subscriptions, count * SUBSCRIPTION_BYTES)?;
    let mut fds = Vec::new();
    let mut subscribed = Vec::with_capacity(count as usize);
    for record in records.chunks_exact(SUBSCRIPTION_BYTES as usize) {
        subscribed.push(subscription(guest, record, &mut fds)?);
    }
    let timeout = subscribed.iter().filter_map(|subscription| match subscription.what {
        What::Clock(duration) => Some(duration),
        What::Fd { .. } => None,
    });
    let timeout = timeout.min();
    match timeout {
        Some(duration) if fds.is_empty() => time::sleep(&guest.ctx, duration).await?,
        _ => drop(poll::poll(&guest.ctx, &mut fds, timeout, None).await?),
    }
    let happened = subscribed.iter().filter_map(|subscription| happened(subscription, &fds, timeout));
    let mut written = 0;
    for event in happened {
        memory.put(events + written * EVENT_BYTES as u32, &event)?;
        written += 1;
    }
    memory.put_u32(count_out, written)
}

fn subscription(guest: &Guest, record: &[u8], fds: &mut Vec<PollFd>) -> Result<Subscription, Errno> {
    let userdata = field(record, 0);
    let event_type = record[8];
    let what = match event_type {
        event_type::CLOCK => What::Clock(duration(guest, record)?),
        event_type::FD_READ | event_type::FD_WRITE => {
            let raw = u32::from_le_bytes(field(record, 16));
            let events = if event_type == event_type::FD_READ { PollEvents::IN } else { PollEvents::OUT };
            fds.push(PollFd { fd: Some(fd(raw)?), events, revents: PollEvents::empty() });
            What::Fd { event_type, index: fds.len() - 1 }
        }
        _ => return Err(Errno::EINVAL),
    };
    Ok(Subscription { userdata, what })
}

fn duration(guest: &Guest, record: &[u8]) -> Result<Duration, Errno> {
    let clock = clock_id(u32::from_le_bytes(field(record, 16)))?;
    let nanoseconds = u64::from_le_bytes(field(record, 24));
    let flags = u16::from_le_bytes(field(record, 40));
    if flags & ABSOLUTE_TIME == 0 {
        return Ok(Duration::from_nanos(nanoseconds));
    }
    let now = now(guest, clock).as_nanos();
    Ok(Duration::from_nanos(nanoseconds.saturating_sub(now)))
}

fn now(guest: &Guest, clock: ClockId) -> Timespec {
    time::now(&guest.ctx, clock)
}

fn happened(
    subscription: &Subscription,
    fds: &[PollFd],
    timeout: Option<Duration>,
) -> Option<[u8; EVENT_BYTES]> {
    let any_ready = fds.iter().any(|fd| !fd.revents.is_empty());
    match subscription.what {
        What::Clock(duration) => (!any_ready && Some(duration) == timeout)
            .then(|| event(subscription.userdata, 0, event_type::CLOCK, 0, false)),
        What::Fd { event_type, index } => {
            let revents = fds.get(index)?.revents;
            if revents.is_empty() {
                return None;
            }
            let errno = if revents.contains(PollEvents::NVAL) { Errno::EBADF as u16 } else { 0 };
            let is_hangup = revents.contains(PollEvents::HUP);
            Some(event(subscription.userdata, errno, event_type, u64::from(errno == 0), is_hangup))
        }
    }
}

fn field<const N: usize>(record: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&record[offset..offset + N]);
    bytes
}
