//! Name resolution.

use std::net::IpAddr;

use vm_abi::Errno;
use vm_kernel::syscall::socket;

use crate::convert::fd;
use crate::guest::Guest;
use crate::memory::GuestMemory;

/// Longest host name.
const MAX_NAME_BYTES: u32 = 255;
/// What the guest's library reads at most.
const MAX_ANSWER_BYTES: usize = 4095;

/// Writes a JSON list of `{"addr": ..., "family": 4 or 6}`; `len` holds the buffer's size and then the list's.
pub(super) fn net_getaddrinfo(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    host: u32,
    host_len: u32,
    service: u32,
    service_len: u32,
    family: u32,
    out: u32,
    len: u32,
) -> Result<(), Errno> {
    if host_len > MAX_NAME_BYTES {
        return Err(Errno::EINVAL);
    }
    memory.check(service, service_len)?;
    let capacity = memory.u32(len)?;
    memory.check(out, capacity)?;
    let addresses = socket::resolve(&guest.ctx, memory.bytes(host, host_len)?)?;
    let json = json(&addresses, family);
    if json.len() > capacity as usize {
        return Err(Errno::EOVERFLOW);
    }
    memory.put(out, json.as_bytes())?;
    memory.put_u32(len, json.len() as u32)
}

/// Record types that libraries ask for: names of addresses, and fingerprints of hosts' keys.
const RECORD_TYPES: [u32; 2] = [12, 44];

/// There is no name server: what is asked for correctly is unreachable.
pub(super) fn net_dns_query_rr_v1(
    _guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    name: u32,
    name_len: u32,
    record_type: u32,
    out: u32,
    capacity: u32,
    len_out: u32,
    ttl_out: u32,
    flags_out: u32,
) -> Result<(), Errno> {
    memory.check(out, capacity)?;
    for number in [len_out, ttl_out, flags_out] {
        memory.check(number, 4)?;
    }
    if name_len > MAX_NAME_BYTES {
        return Err(Errno::EINVAL);
    }
    memory.check(name, name_len)?;
    if RECORD_TYPES.contains(&record_type) { Err(Errno::ENETUNREACH) } else { Err(Errno::ENOTSUP) }
}

/// Encrypting a connection is the guest's own libraries' work; the host does not speak TLS for it.
pub(super) fn net_tls_connect(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    host: u32,
    host_len: u32,
    _flags: u32,
) -> Result<(), Errno> {
    memory.check(host, host_len)?;
    // A bad fd, what is no socket, and what is not connected come first.
    socket::peer_address(&guest.ctx, fd(raw)?)?;
    Err(Errno::EPROTONOSUPPORT)
}

fn json(addresses: &[IpAddr], family: u32) -> String {
    let mut json = String::from("[");
    for address in addresses {
        let number = if address.is_ipv4() { 4 } else { 6 };
        if family != 0 && family != number {
            continue;
        }
        let separator = if json.len() > 1 { "," } else { "" };
        let item = format!(r#"{separator}{{"addr":"{address}","family":{number}}}"#);
        if json.len() + item.len() + 1 > MAX_ANSWER_BYTES {
            break;
        }
        json.push_str(&item);
    }
    json.push(']');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_listed_by_family() {
        let addresses = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(json(&addresses, 0), r#"[{"addr":"127.0.0.1","family":4},{"addr":"::1","family":6}]"#);
        assert_eq!(json(&addresses, 6), r#"[{"addr":"::1","family":6}]"#);
        assert_eq!(json(&[], 0), "[]");
    }

    #[test]
    fn a_long_list_is_cut_to_what_the_guest_reads() {
        let many = vec!["255.255.255.255".parse().unwrap(); 1000];
        let json = json(&many, 0);
        assert!(json.len() <= MAX_ANSWER_BYTES);
        assert!(json.ends_with("}]"));
    }
}
