//! Socket pairs, and files that travel in messages.

use vm_abi::{Errno, OpenFlags};
use vm_kernel::syscall::{FdFlags, RightsRequest, SocketType, socket};

use crate::convert::fd;
use crate::guest::Guest;
use crate::host_net::message_flags;
use crate::memory::GuestMemory;

/// Most descriptors that one message carries.
const MAX_RIGHTS: u32 = 253;
/// Received descriptors are closed on exec.
const CLOSE_ON_EXEC: u32 = 0x4000_0000;

pub(super) fn fd_socketpair(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    kind: u32,
    non_blocking: u32,
    close_on_exec: u32,
    first_out: u32,
    second_out: u32,
) -> Result<(), Errno> {
    memory.check(first_out, 4)?;
    memory.check(second_out, 4)?;
    let socket_type = match kind {
        1 => SocketType::Stream,
        2 => SocketType::Datagram,
        3 => SocketType::SeqPacket,
        _ => return Err(Errno::EINVAL),
    };
    let mut flags = OpenFlags::empty();
    flags.set(OpenFlags::NONBLOCK, non_blocking != 0);
    flags.set(OpenFlags::CLOEXEC, close_on_exec != 0);
    let (first, second) = socket::pair(&guest.ctx, socket_type, flags)?;
    memory.put_u32(first_out, first.raw())?;
    memory.put_u32(second_out, second.raw())
}

pub(super) async fn fd_sendmsg_rights(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    data: u32,
    len: u32,
    rights: u32,
    count: u32,
    flags: u32,
    sent_out: u32,
) -> Result<(), Errno> {
    memory.check(sent_out, 4)?;
    if count > MAX_RIGHTS {
        return Err(Errno::EINVAL);
    }
    let rights = memory.u32_array(rights, count)?.into_iter().map(fd).collect::<Result<Vec<_>, _>>()?;
    let data = memory.bytes(data, len)?;
    let sent = socket::send_rights(&guest.ctx, fd(raw)?, data, &rights, message_flags(flags)).await?;
    memory.put_u32(sent_out, sent as u32)
}

pub(super) async fn fd_recvmsg_rights(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    data: u32,
    len: u32,
    rights: u32,
    capacity: u32,
    flags: u32,
    received_out: u32,
    count_out: u32,
    flags_out: u32,
) -> Result<(), Errno> {
    if capacity > MAX_RIGHTS {
        return Err(Errno::EINVAL);
    }
    memory.check(rights, capacity * 4)?;
    for out in [received_out, count_out, flags_out] {
        memory.check(out, 4)?;
    }
    let fd_flags = if flags & CLOSE_ON_EXEC != 0 { FdFlags::CLOEXEC } else { FdFlags::empty() };
    let request = RightsRequest { max: capacity as usize, flags: fd_flags };
    let buffer = memory.bytes_mut(data, len)?;
    let received =
        socket::receive_rights(&guest.ctx, fd(raw)?, buffer, message_flags(flags), request).await?;
    for (index, fd) in (0..).zip(&received.fds) {
        memory.put_u32(rights + 4 * index, fd.raw())?;
    }
    memory.put_u32(received_out, received.len as u32)?;
    memory.put_u32(count_out, received.fds.len() as u32)?;
    let cut = u32::from(received.len < received.message_len) | u32::from(received.are_rights_cut) << 1;
    memory.put_u32(flags_out, cut | (received.message_len as u32) << 2)
}
