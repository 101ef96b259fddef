//! Socket options. Those that only tune a real network are accepted and mean nothing here.

use std::time::Duration;

use vm_abi::Errno;
use vm_kernel::syscall::{SocketType, socket};

use crate::convert::fd;
use crate::guest::Guest;
use crate::memory::GuestMemory;

/// `SOL_SOCKET` of wasi-libc and of Linux.
const SOCKET_LEVELS: [u32; 2] = [0x7fff_ffff, 1];
const IP_LEVEL: u32 = 0;
const TCP_LEVEL: u32 = 6;
const IPV6_LEVEL: u32 = 41;

/// Options of a socket, with the numbers of Linux.
mod number {
    pub(super) const REUSE_ADDRESS: u32 = 2;
    pub(super) const TYPE: u32 = 3;
    pub(super) const ERROR: u32 = 4;
    pub(super) const BROADCAST: u32 = 6;
    pub(super) const SEND_BUFFER: u32 = 7;
    pub(super) const RECEIVE_BUFFER: u32 = 8;
    pub(super) const KEEP_ALIVE: u32 = 9;
    pub(super) const LINGER: u32 = 13;
    pub(super) const REUSE_PORT: u32 = 15;
    pub(super) const RECEIVE_TIMEOUTS: [u32; 2] = [20, 66];
    pub(super) const SEND_TIMEOUTS: [u32; 2] = [21, 67];
    pub(super) const ACCEPTS_CONNECTIONS: u32 = 30;
}

pub(super) fn net_setsockopt(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    level: u32,
    option: u32,
    value: u32,
    len: u32,
) -> Result<(), Errno> {
    let fd = fd(raw)?;
    let value = memory.bytes(value, len)?;
    let mut timeouts = socket::timeouts(&guest.ctx, fd)?;
    if matches!(level, IP_LEVEL | TCP_LEVEL | IPV6_LEVEL) {
        return Ok(());
    }
    if !SOCKET_LEVELS.contains(&level) {
        return Err(Errno::EINVAL);
    }
    match option {
        _ if number::RECEIVE_TIMEOUTS.contains(&option) => timeouts.receive = timeout(value)?,
        _ if number::SEND_TIMEOUTS.contains(&option) => timeouts.send = timeout(value)?,
        number::REUSE_ADDRESS
        | number::REUSE_PORT
        | number::BROADCAST
        | number::SEND_BUFFER
        | number::RECEIVE_BUFFER
        | number::KEEP_ALIVE
        | number::LINGER => return Ok(()),
        _ => return Err(Errno::EINVAL),
    }
    socket::set_timeouts(&guest.ctx, fd, timeouts)
}

/// Reads a `timeval`; zero is no timeout.
fn timeout(value: &[u8]) -> Result<Option<Duration>, Errno> {
    let (words, rest) = value.as_chunks::<8>();
    let [seconds, microseconds] = words else { return Err(Errno::EINVAL) };
    if !rest.is_empty() {
        return Err(Errno::EINVAL);
    }
    let seconds = u64::try_from(i64::from_le_bytes(*seconds)).map_err(|_| Errno::EDOM)?;
    let microseconds = u32::try_from(i64::from_le_bytes(*microseconds)).map_err(|_| Errno::EDOM)?;
    if microseconds >= 1_000_000 {
        return Err(Errno::EDOM);
    }
    let timeout = Duration::new(seconds, microseconds * 1000);
    Ok((!timeout.is_zero()).then_some(timeout))
}

/// Writes an `i32`; `len` holds the buffer's size and then 4.
pub(super) fn net_getsockopt(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    level: u32,
    option: u32,
    value: u32,
    len: u32,
) -> Result<(), Errno> {
    let fd = fd(raw)?;
    if memory.u32(len)? < 4 {
        return Err(Errno::EINVAL);
    }
    memory.check(value, 4)?;
    let (_, socket_type) = socket::kind(&guest.ctx, fd)?;
    if !SOCKET_LEVELS.contains(&level) {
        return Err(Errno::EINVAL);
    }
    let answer = match option {
        number::ERROR => socket::take_error(&guest.ctx, fd)?.map_or(0, |errno| u32::from(errno as u16)),
        number::TYPE => match socket_type {
            SocketType::Stream | SocketType::SeqPacket => 6,
            SocketType::Datagram => 5,
        },
        number::ACCEPTS_CONNECTIONS => u32::from(socket::check_listening(&guest.ctx, fd).is_ok()),
        _ => return Err(Errno::EINVAL),
    };
    memory.put_u32(value, answer)?;
    memory.put_u32(len, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeval(seconds: i64, microseconds: i64) -> Vec<u8> {
        [seconds.to_le_bytes(), microseconds.to_le_bytes()].concat()
    }

    #[test]
    fn a_timeval_of_zero_is_no_timeout() {
        assert_eq!(timeout(&timeval(0, 0)), Ok(None));
        assert_eq!(timeout(&timeval(1, 500_000)), Ok(Some(Duration::from_millis(1500))));
    }

    #[test]
    fn a_timeval_out_of_range_is_refused() {
        assert_eq!(timeout(&timeval(0, 1_000_000)), Err(Errno::EDOM));
        assert_eq!(timeout(&timeval(-1, 0)), Err(Errno::EDOM));
        assert_eq!(timeout(&[0; 8]), Err(Errno::EINVAL));
    }
}
