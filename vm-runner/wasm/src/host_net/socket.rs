//! Sockets. Domains and types have WASI's numbers, or Linux's from Rust programs; addresses are text.

use vm_abi::{Errno, OpenFlags};
use vm_kernel::syscall::{Domain, MessageFlags, Received, SocketType, file, socket};

use super::address;
use crate::convert::fd;
use crate::guest::Guest;
use crate::memory::GuestMemory;

/// Bits beside a socket's type.
const NON_BLOCKING: u32 = 0x4000;
const CLOSE_ON_EXEC: u32 = 0x2000;

pub(super) fn net_socket(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    domain: u32,
    kind: u32,
    _protocol: u32,
    fd_out: u32,
) -> Result<(), Errno> {
    memory.check(fd_out, 4)?;
    let domain = match domain {
        1 => Domain::Inet,
        2 => Domain::Inet6,
        3 => Domain::Unix,
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    let socket_type = match kind & !(NON_BLOCKING | CLOSE_ON_EXEC) {
        1 | 6 => SocketType::Stream,
        2 | 5 => SocketType::Datagram,
        _ => return Err(Errno::EPROTONOSUPPORT),
    };
    let mut flags = OpenFlags::empty();
    flags.set(OpenFlags::NONBLOCK, kind & NON_BLOCKING != 0);
    flags.set(OpenFlags::CLOEXEC, kind & CLOSE_ON_EXEC != 0);
    let fd = socket::socket(&guest.ctx, domain, socket_type, flags)?;
    memory.put_u32(fd_out, fd.raw())
}

pub(super) async fn net_connect(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    address: u32,
    len: u32,
) -> Result<(), Errno> {
    let fd = fd(raw)?;
    let address = address::read(guest, memory, address, len)?;
    socket::connect(&guest.ctx, fd, &address).await
}

pub(super) fn net_bind(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    address: u32,
    len: u32,
) -> Result<(), Errno> {
    let fd = fd(raw)?;
    let address = address::read(guest, memory, address, len)?;
    socket::bind(&guest.ctx, fd, &address)
}

pub(super) fn net_listen(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    backlog: u32,
) -> Result<(), Errno> {
    socket::listen(&guest.ctx, fd(raw)?, backlog as usize)
}

/// Libraries ask for no flags: the new socket blocks and survives exec, as on Linux.
pub(super) async fn net_accept(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    fd_out: u32,
    address: u32,
    len: u32,
) -> Result<(), Errno> {
    memory.check(fd_out, 4)?;
    let capacity = memory.u32(len)?;
    memory.check(address, capacity)?;
    let (accepted, from) = socket::accept(&guest.ctx, fd(raw)?, OpenFlags::empty()).await?;
    address::write(memory, &from, address, len)?;
    memory.put_u32(fd_out, accepted.raw())
}

pub(super) fn net_validate_socket(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
) -> Result<(), Errno> {
    socket::kind(&guest.ctx, fd(raw)?).map(drop)
}

pub(super) fn net_validate_accept(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
) -> Result<(), Errno> {
    socket::check_listening(&guest.ctx, fd(raw)?)
}

pub(super) fn net_getsockname(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    out: u32,
    len: u32,
) -> Result<(), Errno> {
    let local = socket::local_address(&guest.ctx, fd(raw)?)?;
    address::write(memory, &local, out, len)
}

pub(super) fn net_getpeername(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    out: u32,
    len: u32,
) -> Result<(), Errno> {
    let peer = socket::peer_address(&guest.ctx, fd(raw)?)?;
    address::write(memory, &peer, out, len)
}

pub(super) async fn net_send(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    data: u32,
    len: u32,
    flags: u32,
    sent_out: u32,
) -> Result<(), Errno> {
    memory.check(sent_out, 4)?;
    let sent = socket::send(&guest.ctx, fd(raw)?, memory.bytes(data, len)?, message_flags(flags)).await?;
    memory.put_u32(sent_out, sent as u32)
}

pub(super) async fn net_recv(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    data: u32,
    len: u32,
    flags: u32,
    received_out: u32,
) -> Result<(), Errno> {
    memory.check(received_out, 4)?;
    let flags = message_flags(flags);
    let received = socket::receive(&guest.ctx, fd(raw)?, memory.bytes_mut(data, len)?, flags).await?;
    memory.put_u32(received_out, reported_len(&received, flags))
}

pub(super) async fn net_sendto(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    data: u32,
    len: u32,
    flags: u32,
    address: u32,
    address_len: u32,
    sent_out: u32,
) -> Result<(), Errno> {
    memory.check(sent_out, 4)?;
    let fd = fd(raw)?;
    let to = address::read(guest, memory, address, address_len)?;
    let sent = socket::send_to(&guest.ctx, fd, memory.bytes(data, len)?, message_flags(flags), &to).await?;
    memory.put_u32(sent_out, sent as u32)
}

/// The sender is that of a datagram, or the other side of a connection.
pub(super) async fn net_recvfrom(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    data: u32,
    len: u32,
    flags: u32,
    received_out: u32,
    address: u32,
    address_len: u32,
) -> Result<(), Errno> {
    memory.check(received_out, 4)?;
    let capacity = memory.u32(address_len)?;
    memory.check(address, capacity)?;
    let (fd, flags) = (fd(raw)?, message_flags(flags));
    let received = socket::receive(&guest.ctx, fd, memory.bytes_mut(data, len)?, flags).await?;
    let from = match &received.from {
        Some(from) => from.clone(),
        None => socket::peer_address(&guest.ctx, fd)?,
    };
    address::write(memory, &from, address, address_len)?;
    memory.put_u32(received_out, reported_len(&received, flags))
}

/// With `TRUNC` a message tells how long it was before it was cut.
fn reported_len(received: &Received, flags: MessageFlags) -> u32 {
    let len = if flags.contains(MessageFlags::TRUNC) { received.message_len } else { received.len };
    len as u32
}

pub(super) fn net_close(guest: &mut Guest, _memory: &mut GuestMemory<'_>, raw: u32) -> Result<(), Errno> {
    file::close(&guest.ctx, fd(raw)?)
}

pub(super) fn net_set_nonblock(
    guest: &mut Guest,
    _memory: &mut GuestMemory<'_>,
    raw: u32,
    enable: u32,
) -> Result<(), Errno> {
    let fd = fd(raw)?;
    let mut flags = file::status_flags(&guest.ctx, fd)?;
    flags.set(OpenFlags::NONBLOCK, enable != 0);
    file::set_status_flags(&guest.ctx, fd, flags)
}

/// Flags as on Linux; unknown ones are left out.
pub(crate) fn message_flags(raw: u32) -> MessageFlags {
    MessageFlags::from_bits_truncate(raw)
}
