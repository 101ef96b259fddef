//! Descriptor calls that preview 1 lacks: pipes, dup, flags, locks, descriptor passing.

use vm_abi::{Errno, OpenFlags};
use vm_kernel::syscall::{
    Blocking, FdFlags, Flock, HeldLock, LockKind, LockRange, WindowSize, file, pipe, tty,
};

use crate::convert::fd;
use crate::guest::Guest;
use crate::memory::GuestMemory;

pub(super) fn fd_pipe(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    read_out: u32,
    write_out: u32,
) -> Result<(), Errno> {
    memory.check(read_out, 4)?;
    memory.check(write_out, 4)?;
    let (read_end, write_end) = pipe::pipe(&guest.ctx, OpenFlags::empty())?;
    memory.put_u32(read_out, read_end.raw())?;
    memory.put_u32(write_out, write_end.raw())
}

pub(super) fn fd_dup(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    fd_out: u32,
) -> Result<(), Errno> {
    memory.check(fd_out, 4)?;
    let new = file::dup(&guest.ctx, fd(raw)?)?;
    memory.put_u32(fd_out, new.raw())
}

pub(super) fn fd_dup2(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    old: u32,
    new: u32,
) -> Result<(), Errno> {
    file::dup2(&guest.ctx, fd(old)?, fd(new)?)
}

pub(super) fn fd_dup_min(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    minimum: u32,
    fd_out: u32,
) -> Result<(), Errno> {
    memory.check(fd_out, 4)?;
    let minimum = fd(minimum).map_err(|_| Errno::EINVAL)?;
    let new = file::dup_min(&guest.ctx, fd(raw)?, minimum)?;
    memory.put_u32(fd_out, new.raw())
}

pub(super) fn fd_getfd(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    flags_out: u32,
) -> Result<(), Errno> {
    let flags = file::fd_flags(&guest.ctx, fd(raw)?)?;
    memory.put_u32(flags_out, u32::from(flags.contains(FdFlags::CLOEXEC)))
}

pub(super) fn fd_setfd(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    flags: u32,
) -> Result<(), Errno> {
    let flags = if flags & 1 != 0 { FdFlags::CLOEXEC } else { FdFlags::empty() };
    file::set_fd_flags(&guest.ctx, fd(raw)?, flags)
}

pub(super) fn proc_closefrom(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    low: u32,
) -> Result<(), Errno> {
    if let Ok(low) = fd(low) {
        file::close_from(&guest.ctx, low);
    }
    Ok(())
}

pub(super) async fn fd_flock(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    op: u32,
) -> Result<(), Errno> {
    let blocking = if op & 4 != 0 { Blocking::Try } else { Blocking::Wait };
    let lock = match op & !4 {
        1 => Flock::Shared,
        2 => Flock::Exclusive,
        8 => Flock::Unlock,
        _ => return Err(Errno::EINVAL),
    };
    file::flock(&guest.ctx, fd(raw)?, lock, blocking).await
}

pub(super) async fn fd_record_lock(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    command: u32,
    kind: u32,
    start: i64,
    len: i64,
    kind_out: u32,
    pid_out: u32,
    start_out: u32,
    len_out: u32,
) -> Result<(), Errno> {
    const GET: u32 = 12;
    const SET: u32 = 13;
    const SET_AND_WAIT: u32 = 14;
    const UNLOCKED: u32 = 2;
    let fd = fd(raw)?;
    let range = LockRange::new(start, len)?;
    let kind = match kind {
        0 => Some(LockKind::Read),
        1 => Some(LockKind::Write),
        UNLOCKED => None,
        _ => return Err(Errno::EINVAL),
    };
    match command {
        GET => {
            let kind = kind.ok_or(Errno::EINVAL)?;
            for (out, bytes) in [(kind_out, 4), (pid_out, 4), (start_out, 8), (len_out, 8)] {
                memory.check(out, bytes)?;
            }
            let Some(HeldLock { kind, range, pid }) = file::conflicting_lock(&guest.ctx, fd, kind, range)?
            else {
                return memory.put_u32(kind_out, UNLOCKED);
            };
            memory.put_u32(kind_out, u32::from(kind == LockKind::Write))?;
            memory.put_u32(pid_out, pid.raw().cast_unsigned())?;
            memory.put_u64(start_out, range.start())?;
            memory.put_u64(len_out, range.len())
        }
        SET | SET_AND_WAIT => {
            let blocking = if command == SET { Blocking::Try } else { Blocking::Wait };
            match kind {
                Some(kind) => file::lock_range(&guest.ctx, fd, kind, range, blocking).await,
                None => file::unlock_range(&guest.ctx, fd, range),
            }
        }
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn pty_open(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    master_out: u32,
    replica_out: u32,
) -> Result<(), Errno> {
    memory.check(master_out, 4)?;
    memory.check(replica_out, 4)?;
    let (master, replica) = tty::open_pty(&guest.ctx, WindowSize::default(), OpenFlags::empty())?;
    memory.put_u32(master_out, master.raw())?;
    memory.put_u32(replica_out, replica.raw())
}
