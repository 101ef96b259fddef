//! `host_tty`
use crate::convert::fd;
use crate::guest::Guest;
use crate::host_call::{HostLinker, sync_calls};
use crate::memory::GuestMemory;
use vm_kernel::syscall::file;
const MODULE: &str = "host_tty";
pub(crate) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        isatty(fd: u32) = isatty;
    }
    Ok(())
}
fn isatty(guest: &mut Guest, _memory: &mut GuestMemory<'_>, raw: u32) -> i32 {
    i32::from(fd(raw).and_then(|fd| file::is_terminal(&guest.ctx, fd)).unwrap_or(false))
}
