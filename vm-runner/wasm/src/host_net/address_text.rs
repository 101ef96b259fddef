//! Socket addresses as guests write them, read.
//!
//! Pure: `vm-fuzz` includes this file by its path.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use vm_abi::Errno;
use vm_kernel::syscall::{SocketAddress, UnixAddress};

/// An address whose host may still be a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TextAddress<'a> {
    /// A whole address.
    Socket(SocketAddress),
    /// A name to look up.
    Name { host: &'a [u8], port: u16 },
}

/// Reads an address: `EINVAL` for what is none.
pub(crate) fn parse(text: &[u8]) -> Result<TextAddress<'_>, Errno> {
    if let Some(unix) = parse_unix(text) {
        return unix.map(|address| TextAddress::Socket(SocketAddress::Unix(address)));
    }
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let (host, port) = text.rsplit_once(':').ok_or(Errno::EINVAL)?;
    let port = port.parse().map_err(|_| Errno::EINVAL)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let socket = |ip| TextAddress::Socket(SocketAddress::Inet(SocketAddr::new(ip, port)));
    if let Ok(ip) = bare.parse::<Ipv4Addr>() {
        return Ok(socket(IpAddr::V4(ip)));
    }
    if let Ok(ip) = bare.parse::<Ipv6Addr>() {
        return Ok(socket(IpAddr::V6(ip)));
    }
    Ok(TextAddress::Name { host: host.as_bytes(), port })
}

fn parse_unix(text: &[u8]) -> Option<Result<UnixAddress, Errno>> {
    let address = if text == b"unix-autobind" {
        Ok(UnixAddress::Autobind)
    } else if text == b"unix-unnamed" {
        Ok(UnixAddress::Unnamed)
    } else if let Some(path) = text.strip_prefix(b"unix:") {
        Ok(UnixAddress::Path(path.to_vec()))
    } else if let Some(digits) = text.strip_prefix(b"unix-path-hex:") {
        unhex(digits).map(UnixAddress::Path)
    } else if let Some(digits) = text.strip_prefix(b"unix-abstract:") {
        unhex(digits).map(UnixAddress::Abstract)
    } else {
        return None;
    };
    Some(address)
}

fn unhex(digits: &[u8]) -> Result<Vec<u8>, Errno> {
    let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(Errno::EINVAL);
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Errno::EINVAL);
    }
    pairs.iter().map(|[high, low]| Ok((digit(*high)? << 4 | digit(*low)?) as u8)).collect()
}
