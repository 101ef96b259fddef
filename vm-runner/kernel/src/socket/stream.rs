//! Connections: making them, and sending over them.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

use vm_abi::{Credentials, Errno, PollEvents, Timespec};
use vm_vfs::WalkContext;

use super::address::{SocketAddress, UnixAddress, is_local, loopback};
use super::{Domain, Peer, SocketNode, SocketType};
use crate::file::fd_table::Slot;

/// What the other side of a new connection is made with.
pub(crate) struct Birth<'a> {
    /// Its inode number.
    pub(crate) ino: u64,
    /// Whose it is.
    pub(crate) owner: &'a Credentials,
    /// When it is made.
    pub(crate) now: Timespec,
}

impl SocketNode {
    /// Connects to an address. Inside of the VM that never waits: somebody listens there or nobody does.
    ///
    /// `EACCES` for addresses outside of the VM.
    pub(crate) fn connect(
        self: &Arc<Self>,
        address: &SocketAddress,
        walk: &WalkContext<'_>,
        birth: Birth<'_>,
    ) -> Result<(), Errno> {
        if self.socket_type == SocketType::Datagram {
            return self.connect_datagram(address, walk);
        }
        {
            let state = self.state.lock();
            match (&state.peer, &state.backlog) {
                (Some(_), _) => return Err(Errno::EISCONN),
                (None, Some(_)) => return Err(Errno::EINVAL),
                (None, None) => {}
            }
        }
        let listener = self.find(address, walk)?;
        if listener.socket_type != self.socket_type {
            return Err(Errno::EPROTOTYPE);
        }
        let Birth { ino, owner, now } = birth;
        let accepted = self.network.new_socket(listener.domain, self.socket_type, ino, owner, now)?;
        let own = self.source_address(address)?;
        accepted.node().state.lock().local = Some(accepted_address(&listener, address));
        accepted.node().set_peer(self, own);
        let (node, peer) = (Arc::clone(accepted.node()), address.clone());
        if let Err(refused) = listener.push_connection(accepted) {
            // It must not end this side when it is closed.
            refused.node().state.lock().peer = None;
            return Err(Errno::ECONNREFUSED);
        }
        self.set_peer(&node, peer);
        Ok(())
    }

    /// The socket that is bound to an address, as seen from this one.
    pub(super) fn find(&self, address: &SocketAddress, walk: &WalkContext<'_>) -> Result<Arc<Self>, Errno> {
        match (address, self.domain) {
            (SocketAddress::Unix(address), Domain::Unix) => self.network.find_unix(address, walk),
            (SocketAddress::Inet(address), Domain::Inet | Domain::Inet6) => self.find_port(*address),
            (SocketAddress::Unix(_), _) | (SocketAddress::Inet(_), Domain::Unix) => Err(Errno::EAFNOSUPPORT),
        }
    }

    pub(super) fn find_port(&self, address: SocketAddr) -> Result<Arc<Self>, Errno> {
        if !is_local(address.ip()) {
            return Err(Errno::EACCES);
        }
        // Connecting to no address in particular means to oneself.
        let is_unspecified = address.ip().to_canonical().is_unspecified();
        let ip = if is_unspecified { loopback(self.domain) } else { address.ip() };
        let found = self.network.ports.lock().find(SocketAddr::new(ip, address.port()), self.socket_type);
        found.ok_or(Errno::ECONNREFUSED)
    }

    /// The address that the other side sees, bound for the purpose if need be.
    pub(super) fn source_address(self: &Arc<Self>, target: &SocketAddress) -> Result<SocketAddress, Errno> {
        let bound = self.bind_automatically()?;
        Ok(match (bound, target) {
            (SocketAddress::Inet(own), SocketAddress::Inet(target)) if own.ip().is_unspecified() => {
                let ip = if target.ip().is_unspecified() { loopback(self.domain) } else { target.ip() };
                SocketAddress::Inet(SocketAddr::new(ip, own.port()))
            }
            (own, _) => own,
        })
    }

    /// Sends over a connection.
    pub(super) fn try_send_connected(
        &self,
        buffers: &[IoSlice<'_>],
        rights: &mut Vec<Slot>,
    ) -> Result<usize, Errno> {
        let Peer { endpoint, address: _ } = {
            let state = self.state.lock();
            if state.is_write_shut {
                return Err(Errno::EPIPE);
            }
            state.peer.clone().ok_or(Errno::ENOTCONN)?
        };
        let count = endpoint.inbox.lock().accept(buffers, rights, None)?;
        endpoint.readiness.notify(PollEvents::IN);
        Ok(count)
    }
}

/// The address that an accepted socket has on its side.
fn accepted_address(listener: &SocketNode, target: &SocketAddress) -> SocketAddress {
    match (listener.local_address(), target) {
        (SocketAddress::Inet(own), SocketAddress::Inet(target)) if own.ip().is_unspecified() => {
            let ip = if target.ip().is_unspecified() { loopback(listener.domain) } else { target.ip() };
            SocketAddress::Inet(SocketAddr::new(ip, own.port()))
        }
        (SocketAddress::Unix(UnixAddress::Autobind), _) => SocketAddress::Unix(UnixAddress::Unnamed),
        (own, _) => own,
    }
}
