//! Where sockets are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Domain;

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SocketAddress {
    /// Address and port.
    Inet(SocketAddr),
    /// Unix domain.
    Unix(UnixAddress),
}

/// The address of a Unix domain socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixAddress {
    /// None.
    Unnamed,
    /// An abstract name that the kernel chooses; only to bind to.
    Autobind,
    /// A path.
    Path(Vec<u8>),
    /// A name that is no path.
    Abstract(Vec<u8>),
}

impl SocketAddress {
    /// The address of a socket that has none.
    #[must_use]
    pub const fn unbound(domain: Domain) -> Self {
        match domain {
            Domain::Inet => Self::Inet(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)),
            Domain::Inet6 => Self::Inet(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)),
            Domain::Unix => Self::Unix(UnixAddress::Unnamed),
        }
    }
}

/// The loopback address of a domain's family.
pub(super) const fn loopback(domain: Domain) -> IpAddr {
    match domain {
        Domain::Inet | Domain::Unix => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Domain::Inet6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// Whether an address is the VM's own. IPv4 addresses in IPv6 form count as what they are.
pub(super) fn is_local(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified()
}
