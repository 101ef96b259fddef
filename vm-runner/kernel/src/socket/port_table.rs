//! Which sockets are bound to which ports of the loopback.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use vm_abi::Errno;

use super::{SocketNode, SocketType};

/// Ports that are handed out to sockets that ask for none, as on Linux.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// All bound ports.
#[derive(Default)]
pub(super) struct PortTable {
    bound: BTreeMap<u16, Vec<Bound>>,
    last_ephemeral: u16,
}

struct Bound {
    ip: IpAddr,
    socket_type: SocketType,
    socket: Weak<SocketNode>,
}

impl PortTable {
    /// Binds a socket; picks a port if none is asked for. `EADDRINUSE`.
    pub(super) fn bind(
        &mut self,
        address: SocketAddr,
        socket: &Arc<SocketNode>,
    ) -> Result<SocketAddr, Errno> {
        let mut address = address;
        if address.port() == 0 {
            address.set_port(self.free_port(address.ip(), socket.socket_type)?);
        } else if self.is_taken(address, socket.socket_type) {
            return Err(Errno::EADDRINUSE);
        }
        let bound =
            Bound { ip: address.ip(), socket_type: socket.socket_type, socket: Arc::downgrade(socket) };
        self.bound.entry(address.port()).or_default().push(bound);
        Ok(address)
    }

    /// Gives a port up.
    pub(super) fn release(&mut self, port: u16, socket: &Weak<SocketNode>) {
        if let Some(bound) = self.bound.get_mut(&port) {
            bound.retain(|bound| !bound.socket.ptr_eq(socket));
            if bound.is_empty() {
                self.bound.remove(&port);
            }
        }
    }

    /// Who gets what is sent to an address: whoever is bound to exactly it, else to all addresses.
    pub(super) fn find(&self, address: SocketAddr, socket_type: SocketType) -> Option<Arc<SocketNode>> {
        let ip = address.ip().to_canonical();
        let bound = self.bound.get(&address.port())?.iter().filter(|bound| bound.socket_type == socket_type);
        let exact = bound.clone().find(|bound| bound.ip.to_canonical() == ip);
        // A socket bound to all IPv6 addresses gets what is sent to IPv4 ones, too.
        let covers = |own: IpAddr| own.is_unspecified() && (own.is_ipv6() || ip.is_ipv4());
        exact.or_else(|| bound.clone().find(|bound| covers(bound.ip)))?.socket.upgrade()
    }

    /// Ports with a stream socket bound to them, ascending.
    pub(super) fn stream_ports(&self) -> impl Iterator<Item = (SocketAddr, Arc<SocketNode>)> {
        self.bound.iter().flat_map(|(port, bound)| {
            bound
                .iter()
                .filter(|bound| bound.socket_type == SocketType::Stream)
                .filter_map(|bound| Some((SocketAddr::new(bound.ip, *port), bound.socket.upgrade()?)))
        })
    }

    fn is_taken(&self, address: SocketAddr, socket_type: SocketType) -> bool {
        let ip = address.ip().to_canonical();
        let overlaps = |bound: &Bound| {
            let other = bound.ip.to_canonical();
            bound.socket_type == socket_type
                && (other == ip
                    || ((other.is_unspecified() || ip.is_unspecified()) && other.is_ipv4() == ip.is_ipv4()))
        };
        self.bound.get(&address.port()).is_some_and(|bound| bound.iter().any(overlaps))
    }

    fn free_port(&mut self, ip: IpAddr, socket_type: SocketType) -> Result<u16, Errno> {
        for _ in EPHEMERAL {
            let next = self.last_ephemeral.checked_add(1).filter(|port| EPHEMERAL.contains(port));
            let port = next.unwrap_or(*EPHEMERAL.start());
            self.last_ephemeral = port;
            if !self.is_taken(SocketAddr::new(ip, port), socket_type) {
                return Ok(port);
            }
        }
        Err(Errno::EADDRINUSE)
    }
}
