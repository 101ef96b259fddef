//! `poll` and `select` of the guest: records of `i32 fd; u16 events; u16 revents`, bits as on Linux.

use std::time::Duration;

use vm_abi::{Errno, PollEvents, SignalSet};
use vm_kernel::syscall::{Fd, PollFd, poll};

use crate::guest::Guest;
use crate::memory::GuestMemory;

/// Bytes of a record.
const RECORD_BYTES: u32 = 8;
/// A number beyond every limit on open files.
const CLOSED_FD: u32 = 0xf_fffe;

pub(super) async fn net_poll(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    fds: u32,
    count: u32,
    timeout_ms: i32,
    ready_out: u32,
) -> Result<(), Errno> {
    let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
    poll_fds(guest, memory, (fds, count), timeout, None, ready_out).await
}

/// Polls the records in guest memory. When a signal interrupts, nothing is ready.
pub(crate) async fn poll_fds(
    guest: &Guest,
    memory: &mut GuestMemory<'_>,
    (records, count): (u32, u32),
    timeout: Option<Duration>,
    mask: Option<SignalSet>,
    ready_out: u32,
) -> Result<(), Errno> {
    if count as usize > guest.ctx.limits().max_poll_fds {
        return Err(Errno::EINVAL);
    }
    memory.check(ready_out, 4)?;
    let block = memory.bytes(records, count * RECORD_BYTES)?;
    let mut fds: Vec<PollFd> = block.chunks_exact(RECORD_BYTES as usize).map(decode).collect();
    let polled = poll::poll(&guest.ctx, &mut fds, timeout, mask).await;
    if polled == Err(Errno::EINTR) {
        memory.put_u32(ready_out, 0)?;
    }
    let ready = polled?;
    for (index, fd) in (0..).zip(&fds) {
        memory.put_u16(records + index * RECORD_BYTES + 6, fd.revents.bits())?;
    }
    memory.put_u32(ready_out, ready as u32)
}

/// Records with a negative fd are skipped; numbers that no fd can have are answered like closed ones.
fn decode(record: &[u8]) -> PollFd {
    let word = |at: usize| i32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
    let fd = u32::try_from(word(0))
        .ok()
        .and_then(|raw| Fd::try_from(raw).or_else(|_| Fd::try_from(CLOSED_FD)).ok());
    let events = PollEvents::from_bits_truncate(u16::from_le_bytes([record[4], record[5]]));
    PollFd { fd, events, revents: PollEvents::empty() }
}
