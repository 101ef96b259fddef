//! Exit, signals to oneself, randomness, yielding.

use vm_abi::Errno;
use vm_kernel::syscall::{self, KillTarget};

use crate::convert::signal;
use crate::guest::Guest;
use crate::host_call::yield_now;
use crate::memory::GuestMemory;
use crate::run::Unwind;

pub(super) fn proc_exit(code: u32) -> wasmtime::Result<()> {
    Err(wasmtime::Error::new(Unwind::Exited((code & 0xff) as u8)))
}

pub(super) async fn proc_raise(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
) -> Result<(), Errno> {
    let signal = signal(raw)?;
    syscall::process::kill(&guest.ctx, KillTarget::Process(guest.ctx.pid()), Some(signal)).await
}

pub(super) async fn sched_yield(_guest: &mut Guest, _memory: &mut GuestMemory<'_>) -> Result<(), Errno> {
    yield_now().await;
    Ok(())
}

pub(super) fn random_get(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    out: u32,
    len: u32,
) -> Result<(), Errno> {
    syscall::random::fill(&guest.ctx, memory.bytes_mut(out, len)?)
}
