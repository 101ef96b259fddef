//! Preview 1's few socket calls; `host_net` has the others.

use vm_abi::{Errno, OpenFlags};
use vm_kernel::syscall::{MessageFlags, Shutdown, socket};

use super::descriptor::not_a_directory;
use super::read_write::{gather, scatter, total};
use crate::convert::fd;
use crate::guest::Guest;
use crate::memory::{Buffers, GuestMemory};

pub(super) fn sock_shutdown(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    how: u32,
) -> Result<(), Errno> {
    let how = match how {
        1 => Shutdown::Read,
        2 => Shutdown::Write,
        3 => Shutdown::Both,
        _ => return Err(Errno::EINVAL),
    };
    not_a_directory(guest, raw)?;
    socket::shutdown(&guest.ctx, fd(raw)?, how)
}

pub(super) async fn sock_accept(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    flags: u32,
    fd_out: u32,
) -> Result<(), Errno> {
    memory.check(fd_out, 4)?;
    let flags = if flags & 4 != 0 { OpenFlags::NONBLOCK } else { OpenFlags::empty() };
    let (accepted, _peer) = socket::accept(&guest.ctx, fd(raw)?, flags).await?;
    memory.put_u32(fd_out, accepted.raw())
}

pub(super) async fn sock_recv(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    buffers: u32,
    count: u32,
    flags: u32,
    len_out: u32,
    flags_out: u32,
) -> Result<(), Errno> {
    memory.check(len_out, 4)?;
    memory.check(flags_out, 2)?;
    let fd = fd(raw)?;
    let mut message_flags = MessageFlags::empty();
    message_flags.set(MessageFlags::PEEK, flags & 1 != 0);
    message_flags.set(MessageFlags::WAITALL, flags & 2 != 0);
    let received = match memory.buffers(buffers, count)? {
        Buffers::One(range) => {
            socket::receive(&guest.ctx, fd, memory.buffer_mut(range)?, message_flags).await?
        }
        Buffers::Many(ranges) => {
            let mut copy = vec![0; total(&ranges)];
            let received = socket::receive(&guest.ctx, fd, &mut copy, message_flags).await?;
            scatter(memory, &ranges, &copy[..received.len])?;
            received
        }
    };
    memory.put_u32(len_out, received.len as u32)?;
    memory.put_u16(flags_out, u16::from(received.len < received.message_len))
}

pub(super) async fn sock_send(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    buffers: u32,
    count: u32,
    _flags: u32,
    len_out: u32,
) -> Result<(), Errno> {
    memory.check(len_out, 4)?;
    let fd = fd(raw)?;
    let none = MessageFlags::empty();
    let len = match memory.buffers(buffers, count)? {
        Buffers::One(range) => socket::send(&guest.ctx, fd, memory.buffer(range)?, none).await?,
        Buffers::Many(ranges) => socket::send(&guest.ctx, fd, &gather(memory, &ranges)?, none).await?,
    };
    memory.put_u32(len_out, len as u32)
}
