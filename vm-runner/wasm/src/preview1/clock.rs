//! Clocks.

use vm_abi::Errno;
use vm_kernel::syscall::{ClockId, time};

use crate::guest::Guest;
use crate::memory::GuestMemory;

pub(super) fn clock_res_get(
    _guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    clock: u32,
    out: u32,
) -> Result<(), Errno> {
    let resolution = time::resolution(clock_id(clock)?);
    memory.put_u64(out, u64::try_from(resolution.as_nanos()).unwrap_or(u64::MAX))
}

pub(super) fn clock_time_get(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    clock: u32,
    _precision: u64,
    out: u32,
) -> Result<(), Errno> {
    let now = time::now(&guest.ctx, clock_id(clock)?);
    memory.put_u64(out, now.as_nanos())
}

/// Preview 1's clocks: real time, monotonic, CPU time of the process and of the thread.
pub(super) fn clock_id(raw: u32) -> Result<ClockId, Errno> {
    match raw {
        0 => Ok(ClockId::Realtime),
        1 => Ok(ClockId::Monotonic),
        2 | 3 => Ok(ClockId::Process),
        _ => Err(Errno::EINVAL),
    }
}
