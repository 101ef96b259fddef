//! `host_net`: sockets, name resolution, and the `poll` of every kind of fd.

mod poll;

pub(crate) use poll::poll_fds;

use vm_abi::Errno;
use vm_kernel::syscall::file;

use crate::convert::fd;
use crate::guest::Guest;
use crate::host_call::{HostLinker, Restart, async_calls, sync_calls};
use crate::memory::GuestMemory;

/// Name that programs import from.
const MODULE: &str = "host_net";

/// Defines the module's functions.
pub(crate) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        net_send(fd: u32, data: u32, len: u32, flags: u32, sent_out: u32) = no_socket;
        net_recv(fd: u32, data: u32, len: u32, flags: u32, received_out: u32) = no_socket;
        net_validate_socket(fd: u32) = validate;
        net_validate_accept(fd: u32) = validate;
    }
    async_calls! { host, MODULE, Restart::Never;
        net_poll(fds: u32, count: u32, timeout_ms: i32, ready_out: u32) = poll::net_poll;
    }
    Ok(())
}

fn no_socket(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
) -> Result<(), Errno> {
    validate(guest, _memory, raw)
}

fn validate(guest: &mut Guest, _memory: &mut GuestMemory<'_>, raw: u32) -> Result<(), Errno> {
    file::fd_flags(&guest.ctx, fd(raw)?)?;
    Err(Errno::ENOTSOCK)
}
