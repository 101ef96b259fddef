//! `host_tty`: the terminal. `read` answers a count, `isatty` a boolean, the others 0 or Linux's number for `ENOTTY`.

use std::time::Duration;

use vm_abi::Errno;
use vm_kernel::syscall::{Fd, TtyMode, file, tty};

use crate::convert::fd;
use crate::guest::Guest;
use crate::host_call::{HostLinker, Restart, async_calls, sync_calls};
use crate::memory::GuestMemory;

/// Name that programs import from.
const MODULE: &str = "host_tty";
/// No timeout.
const FOREVER: u32 = 0xffff_ffff;
/// `ENOTTY` on Linux; this module does not use WASI's numbers.
const LINUX_ENOTTY: i32 = 25;

/// Defines the module's functions.
pub(crate) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        set_raw_mode(raw: u32) = set_raw_mode;
        isatty(fd: u32) = isatty;
        get_size(fd: u32, columns_out: u32, rows_out: u32) = get_size;
    }
    async_calls! { host, MODULE, Restart::Never;
        read(out: u32, len: u32, timeout_ms: u32) = read;
    }
    Ok(())
}

/// Bytes read from the terminal that is fd 0; 0 after the timeout, at the end, and when there is no terminal.
async fn read(guest: &mut Guest, memory: &mut GuestMemory<'_>, out: u32, len: u32, timeout_ms: u32) -> i32 {
    let timeout = (timeout_ms != FOREVER).then(|| Duration::from_millis(u64::from(timeout_ms)));
    let (Ok(fd), Ok(buffer)) = (standard_input(), memory.bytes_mut(out, len)) else { return 0 };
    match tty::read_timeout(&guest.ctx, fd, buffer, timeout).await {
        Ok(count) => i32::try_from(count).unwrap_or(i32::MAX),
        Err(_) => 0,
    }
}

fn set_raw_mode(guest: &mut Guest, _memory: &mut GuestMemory<'_>, raw: u32) -> i32 {
    let mode = if raw != 0 { TtyMode::Raw } else { TtyMode::Cooked };
    answer(standard_input().and_then(|fd| tty::set_mode(&guest.ctx, fd, mode)))
}

fn isatty(guest: &mut Guest, _memory: &mut GuestMemory<'_>, raw: u32) -> i32 {
    let is_terminal = fd(raw).and_then(|fd| file::is_terminal(&guest.ctx, fd));
    i32::from(is_terminal.unwrap_or(false))
}

fn get_size(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    columns_out: u32,
    rows_out: u32,
) -> i32 {
    let size = fd(raw).and_then(|fd| tty::window_size(&guest.ctx, fd));
    answer(size.and_then(|size| {
        memory.check(rows_out, 2)?;
        memory.put_u16(columns_out, size.columns)?;
        memory.put_u16(rows_out, size.rows)
    }))
}

fn standard_input() -> Result<Fd, Errno> {
    fd(0)
}

fn answer(result: Result<(), Errno>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(_) => LINUX_ENOTTY,
    }
}
