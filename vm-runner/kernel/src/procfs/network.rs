//! What `/proc/net` shows of the loopback, the only network that a VM has.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::kernel::KernelInner;

/// Kind of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// State numbers of TCP sockets.
const ESTABLISHED: u8 = 0x01;
const CLOSED: u8 = 0x07;
const LISTEN: u8 = 0x0A;

/// `/proc/net/dev`: nobody counts what the loopback carries.
pub(super) fn devices() -> Vec<u8> {
    let zeros = " 0".repeat(15);
    format!(
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls \
         carrier compressed\n    lo: 0{zeros}\n"
    )
    .into_bytes()
}

/// `/proc/net/tcp`: sockets that are bound to ports.
pub(super) fn tcp(kernel: &KernelInner, family: Family) -> Vec<u8> {
    let mut text = header(family);
    let bound = kernel.network.bound_streams();
    let of_family = bound.iter().filter(|socket| socket.local.is_ipv4() == (family == Family::V4));
    for (number, socket) in of_family.enumerate() {
        let state = match socket.peer {
            _ if socket.is_listening => LISTEN,
            Some(_) => ESTABLISHED,
            None => CLOSED,
        };
        let unspecified = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let peer = socket.peer.unwrap_or(SocketAddr::new(unspecified, 0));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{number:>4}: {} {} {state:02X} 00000000:00000000 00:00000000 00000000 {:>5}        0 {} 1 0000000000000000 \
             100 0 0 10 0",
            address(socket.local),
            address(peer),
            socket.uid,
            socket.ino,
        );
    }
    text.into_bytes()
}

/// `/proc/net/udp`, without sockets.
pub(super) fn udp_header(family: Family) -> Vec<u8> {
    header(family).into_bytes()
}

/// `/proc/net/unix`, without sockets.
pub(super) fn unix() -> Vec<u8> {
    b"Num       RefCount Protocol Flags    Type St Inode Path\n".to_vec()
}

fn header(family: Family) -> String {
    let gap = if family == Family::V4 { "" } else { "                        " };
    format!(
        "  sl  local_address{gap} rem_address{gap}   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    )
}

/// An address as the kernel's words of it look on a little-endian machine.
fn address(address: SocketAddr) -> String {
    let words = |bytes: &[u8]| {
        let swapped = bytes.chunks(4).flat_map(|word| word.iter().rev());
        swapped.map(|byte| format!("{byte:02X}")).collect::<String>()
    };
    let ip = match address.ip() {
        IpAddr::V4(ip) => words(&ip.octets()),
        IpAddr::V6(ip) => words(&ip.octets()),
    };
    format!("{ip}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses_look_as_on_linux() {
        assert_eq!(address("127.0.0.1:8080".parse().unwrap()), "0100007F:1F90");
        assert_eq!(address("[::1]:80".parse().unwrap()), "00000000000000000000000001000000:0050");
    }
}
