//! Names of hosts. Only the VM itself has any: names outside of it are the egress's to resolve.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vm_abi::Errno;

/// The addresses of a name: a numeric one is its own.
///
/// `ENOENT` if it is not known.
pub(crate) fn resolve(host: &[u8], hostname: &str) -> Result<Vec<IpAddr>, Errno> {
    let text = std::str::from_utf8(host).map_err(|_| Errno::ENOENT)?;
    let numeric = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = numeric.parse() {
        return Ok(vec![ip]);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_own = name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || (!hostname.is_empty() && name.eq_ignore_ascii_case(hostname));
    if is_own {
        Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)])
    } else {
        Err(Errno::ENOENT)
    }
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn numbers_are_themselves_and_only_the_machine_has_names() {
        assert_eq!(resolve(b"10.1.2.3", "ada").unwrap(), ["10.1.2.3".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(resolve(b"[::1]", "ada").unwrap(), ["::1".parse::<std::net::IpAddr>().unwrap()]);
        for name in ["localhost", "LocalHost.", "db.localhost", "ada"] {
            assert_eq!(resolve(name.as_bytes(), "ada").unwrap().len(), 2, "{name}");
        }
        for name in [&b"example.com"[..], b"", b"\xff"] {
            assert!(resolve(name, "ada").is_err());
        }
    }
}
