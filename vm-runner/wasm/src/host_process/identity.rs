//! Who a process is: numbers, groups, limits, umask; and sleeping.

use std::time::Duration;

use vm_abi::{Errno, Mode};
use vm_kernel::syscall::{Pgid, Pid, Rlimit, process, time};

use crate::guest::Guest;
use crate::memory::GuestMemory;

/// `RLIMIT_NOFILE`, the only limit that programs ask for.
const NUMBER_OF_FILES: u32 = 7;

pub(super) fn proc_getpid(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    pid_out: u32,
) -> Result<(), Errno> {
    memory.put_u32(pid_out, guest.ctx.pid().raw().cast_unsigned())
}

pub(super) fn proc_getppid(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    pid_out: u32,
) -> Result<(), Errno> {
    memory.put_u32(pid_out, process::parent(&guest.ctx).cast_unsigned())
}

pub(super) fn proc_getpgid(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    pid: i32,
    group_out: u32,
) -> Result<(), Errno> {
    let group = process::group(&guest.ctx, optional_pid(pid)?)?;
    memory.put_u32(group_out, group.raw().cast_unsigned())
}

pub(super) fn proc_setpgid(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    pid: i32,
    group: i32,
) -> Result<(), Errno> {
    let group = match group {
        0 => None,
        _ => Some(Pgid::new(group).ok_or(Errno::EINVAL)?),
    };
    process::set_group(&guest.ctx, optional_pid(pid)?, group)
}

/// 0 is the caller.
fn optional_pid(raw: i32) -> Result<Option<Pid>, Errno> {
    match raw {
        0 => Ok(None),
        _ => Pid::new(raw).map(Some).ok_or(Errno::ESRCH),
    }
}

pub(super) fn proc_getrlimit(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    resource: u32,
    soft_out: u32,
    hard_out: u32,
) -> Result<(), Errno> {
    check_resource(resource)?;
    memory.check(hard_out, 8)?;
    let Rlimit { soft, hard } = process::open_files_limit(&guest.ctx);
    memory.put_u64(soft_out, soft)?;
    memory.put_u64(hard_out, hard)
}

pub(super) fn proc_setrlimit(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    resource: u32,
    soft: u64,
    hard: u64,
) -> Result<(), Errno> {
    check_resource(resource)?;
    process::set_open_files_limit(&guest.ctx, Rlimit { soft, hard })
}

fn check_resource(raw: u32) -> Result<(), Errno> {
    if raw == NUMBER_OF_FILES { Ok(()) } else { Err(Errno::ENOTSUP) }
}

pub(super) fn proc_umask(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    mask: u32,
    previous_out: u32,
) -> Result<(), Errno> {
    memory.check(previous_out, 4)?;
    let previous = process::umask(&guest.ctx, Some(Mode::new(mask & 0o777)));
    memory.put_u32(previous_out, previous.bits())
}

/// Sets the mask only if `set`.
pub(super) fn umask(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    mask: u32,
    set: u32,
    previous_out: u32,
) -> Result<(), Errno> {
    memory.check(previous_out, 4)?;
    let previous = process::umask(&guest.ctx, (set != 0).then(|| Mode::new(mask & 0o777)));
    memory.put_u32(previous_out, previous.bits())
}

/// Answers success even when a signal cut the sleep short.
pub(super) async fn sleep_ms(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    milliseconds: u32,
) -> Result<(), Errno> {
    match time::sleep(&guest.ctx, Duration::from_millis(u64::from(milliseconds))).await {
        Err(Errno::EINTR) | Ok(()) => Ok(()),
        Err(errno) => Err(errno),
    }
}
