//! Socket addresses as text: `ip:port`, `[v6]:port`, `v6:port`, and five forms of Unix addresses.

use std::net::SocketAddr;

use vm_abi::Errno;
use vm_kernel::syscall::{SocketAddress, UnixAddress, socket};

use super::address_text::{TextAddress, parse};
use crate::engine::hex;
use crate::guest::Guest;
use crate::memory::GuestMemory;

/// Longest address: a Unix path, in hexadecimal digits.
const MAX_BYTES: u32 = 512;

/// Reads an address from guest memory; a host that is a name is looked up.
pub(super) fn read(
    guest: &Guest,
    memory: &GuestMemory<'_>,
    pointer: u32,
    len: u32,
) -> Result<SocketAddress, Errno> {
    if len > MAX_BYTES {
        return Err(Errno::EINVAL);
    }
    let bytes = memory.bytes(pointer, len)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = bytes.get(..end).unwrap_or_default();
    match parse(text)? {
        TextAddress::Socket(address) => Ok(address),
        TextAddress::Name { host, port } => {
            let addresses = socket::resolve(&guest.ctx, host)?;
            let address = addresses.first().copied().ok_or(Errno::ENOENT)?;
            Ok(SocketAddress::Inet(SocketAddr::new(address, port)))
        }
    }
}

/// Writes an address; `len` holds the buffer's size and then the address's.
pub(super) fn write(
    memory: &mut GuestMemory<'_>,
    address: &SocketAddress,
    out: u32,
    len: u32,
) -> Result<(), Errno> {
    let text = format(address);
    let capacity = memory.u32(len)?;
    memory.check(out, capacity)?;
    let text_len = u32::try_from(text.len()).map_err(|_| Errno::EOVERFLOW)?;
    let written = text_len.min(capacity);
    memory.put(out, text.as_bytes().get(..written as usize).unwrap_or_default())?;
    memory.put_u32(len, text_len)
}

fn format(address: &SocketAddress) -> String {
    match address {
        SocketAddress::Inet(address) => address.to_string(),
        SocketAddress::Unix(UnixAddress::Unnamed) => "unix-unnamed".to_owned(),
        SocketAddress::Unix(UnixAddress::Autobind) => "unix-autobind".to_owned(),
        SocketAddress::Unix(UnixAddress::Path(path)) => match std::str::from_utf8(path) {
            Ok(path) => format!("unix:{path}"),
            Err(_) => format!("unix-path-hex:{}", hex(path)),
        },
        SocketAddress::Unix(UnixAddress::Abstract(name)) => format!("unix-abstract:{}", hex(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> String {
        match parse(text.as_bytes()).unwrap() {
            TextAddress::Socket(address) => format(&address),
            TextAddress::Name { host, port } => format!("name {} {port}", String::from_utf8_lossy(host)),
        }
    }

    #[test]
    fn internet_addresses_are_split_at_the_last_colon() {
        assert_eq!(round_trip("1.2.3.4:80"), "1.2.3.4:80");
        assert_eq!(round_trip("[::1]:80"), "[::1]:80");
        assert_eq!(round_trip("::1:80"), "[::1]:80");
        assert_eq!(round_trip("localhost:80"), "name localhost 80");
        assert_eq!(parse(b"1.2.3.4"), Err(Errno::EINVAL));
        assert_eq!(parse(b"1.2.3.4:65536"), Err(Errno::EINVAL));
    }

    #[test]
    fn unix_addresses_have_five_forms() {
        for text in ["unix:/tmp/s", "unix-autobind", "unix-unnamed", "unix-abstract:00ff", "unix-path-hex:ff"]
        {
            assert_eq!(round_trip(text), text);
        }
        assert_eq!(round_trip("unix-path-hex:2f61"), "unix:/a");
        assert_eq!(parse(b"unix-abstract:0"), Err(Errno::EINVAL));
        assert_eq!(parse(b"unix-abstract:zz"), Err(Errno::EINVAL));
    }
}
