//! Waiting for children.

use vm_abi::Errno;
use vm_kernel::syscall::{Pgid, Pid, WaitOptions, WaitResult, WaitStatus, WaitTarget, process};

use crate::guest::Guest;
use crate::memory::GuestMemory;

/// Bits of the options.
const NO_HANG: u32 = 1;
const UNTRACED: u32 = 2;
const CONTINUED: u32 = 8;

/// The oldest call: status is the exit code, or 128 and the signal.
pub(super) async fn proc_waitpid(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    pid: i32,
    options: u32,
    status_out: u32,
    pid_out: u32,
) -> Result<(), Errno> {
    check_outputs(memory, &[status_out, pid_out])?;
    let waited = process::wait(&guest.ctx, target(pid)?, wait_options(options, NO_HANG)?).await?;
    let (pid, status) = match waited {
        None => (0, 0),
        Some(WaitResult { pid, status }) => (pid.raw().cast_unsigned(), shell_status(status)),
    };
    memory.put_u32(status_out, status)?;
    memory.put_u32(pid_out, pid)
}

/// Exit code and signal apart. With nothing to report only the pid is written.
pub(super) async fn proc_waitpid_v2(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    pid: i32,
    options: u32,
    code_out: u32,
    signal_out: u32,
    pid_out: u32,
    core_out: u32,
) -> Result<(), Errno> {
    check_outputs(memory, &[code_out, signal_out, pid_out, core_out])?;
    let waited = process::wait(&guest.ctx, target(pid)?, wait_options(options, NO_HANG)?).await?;
    let Some(WaitResult { pid, status }) = waited else {
        return memory.put_u32(pid_out, 0);
    };
    let (code, signal) = match status {
        WaitStatus::Exited(code) => (u32::from(code), 0),
        WaitStatus::Signaled(signal) | WaitStatus::Stopped(signal) => (0, u32::from(signal.raw())),
        WaitStatus::Continued => (0, 0),
    };
    memory.put_u32(code_out, code)?;
    memory.put_u32(signal_out, signal)?;
    memory.put_u32(core_out, 0)?;
    memory.put_u32(pid_out, pid.raw().cast_unsigned())
}

/// The status as on Linux.
pub(super) async fn proc_waitpid_v3(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    pid: i32,
    options: u32,
    status_out: u32,
    pid_out: u32,
) -> Result<(), Errno> {
    check_outputs(memory, &[status_out, pid_out])?;
    let options = wait_options(options, NO_HANG | UNTRACED | CONTINUED)?;
    let (pid, status) = match process::wait(&guest.ctx, target(pid)?, options).await? {
        None => (0, 0),
        Some(WaitResult { pid, status }) => (pid.raw().cast_unsigned(), status.raw().cast_unsigned()),
    };
    memory.put_u32(status_out, status)?;
    memory.put_u32(pid_out, pid)
}

fn check_outputs(memory: &GuestMemory<'_>, outputs: &[u32]) -> Result<(), Errno> {
    outputs.iter().try_for_each(|out| memory.check(*out, 4))
}

fn target(pid: i32) -> Result<WaitTarget, Errno> {
    match pid {
        -1 => Ok(WaitTarget::Any),
        0 => Ok(WaitTarget::OwnGroup),
        1.. => Pid::new(pid).map(WaitTarget::Child).ok_or(Errno::ECHILD),
        _ => pid.checked_neg().and_then(Pgid::new).map(WaitTarget::Group).ok_or(Errno::ECHILD),
    }
}

fn wait_options(raw: u32, known: u32) -> Result<WaitOptions, Errno> {
    if raw & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let mut options = WaitOptions::empty();
    options.set(WaitOptions::NOHANG, raw & NO_HANG != 0);
    options.set(WaitOptions::UNTRACED, raw & UNTRACED != 0);
    options.set(WaitOptions::CONTINUED, raw & CONTINUED != 0);
    Ok(options)
}

fn shell_status(status: WaitStatus) -> u32 {
    match status {
        WaitStatus::Exited(code) => u32::from(code),
        WaitStatus::Signaled(signal) | WaitStatus::Stopped(signal) => 128 + u32::from(signal.raw()),
        WaitStatus::Continued => 0,
    }
}
