//! Sockets that wait for connections.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use vm_abi::{Errno, Mode, PollEvents, Uid};
use vm_vfs::WalkContext;

use super::address::{SocketAddress, UnixAddress, is_local};
use super::{Backlog, Domain, Network, Socket, SocketNode, SocketType};
use crate::limit::Limit;

impl SocketNode {
    /// Gives the socket an address. `EINVAL` if it has one.
    pub(crate) fn bind(
        self: &Arc<Self>,
        address: &SocketAddress,
        walk: &WalkContext<'_>,
        umask: Mode,
    ) -> Result<(), Errno> {
        if self.state.lock().local.is_some() {
            return Err(Errno::EINVAL);
        }
        let local = match address {
            SocketAddress::Inet(address) => SocketAddress::Inet(self.bind_port(*address)?),
            SocketAddress::Unix(_) if self.domain != Domain::Unix => return Err(Errno::EAFNOSUPPORT),
            SocketAddress::Unix(address) => self.network.bind_unix(self, address, walk, umask)?,
        };
        self.state.lock().local = Some(local);
        Ok(())
    }

    fn bind_port(self: &Arc<Self>, address: SocketAddr) -> Result<SocketAddr, Errno> {
        let is_own_family = match self.domain {
            Domain::Inet => address.is_ipv4(),
            Domain::Inet6 => address.is_ipv6(),
            Domain::Unix => false,
        };
        if !is_own_family {
            return Err(Errno::EAFNOSUPPORT);
        }
        if !is_local(address.ip()) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        self.network.ports.lock().bind(address, self)
    }

    /// Gives a socket that has no address one of the kernel's choice.
    pub(super) fn bind_automatically(self: &Arc<Self>) -> Result<SocketAddress, Errno> {
        if let Some(local) = &self.state.lock().local {
            return Ok(local.clone());
        }
        let SocketAddress::Inet(unbound) = SocketAddress::unbound(self.domain) else {
            return Ok(SocketAddress::Unix(UnixAddress::Unnamed));
        };
        let local = SocketAddress::Inet(self.network.ports.lock().bind(unbound, self)?);
        self.state.lock().local = Some(local.clone());
        Ok(local)
    }

    /// Waits for connections from now on, or changes how many may wait.
    pub(crate) fn listen(self: &Arc<Self>, backlog: usize) -> Result<(), Errno> {
        if self.socket_type == SocketType::Datagram {
            return Err(Errno::ENOTSUP);
        }
        if self.domain == Domain::Unix && self.state.lock().local.is_none() {
            return Err(Errno::EINVAL);
        }
        self.bind_automatically()?;
        let limit = backlog.clamp(1, self.network.max_backlog);
        let mut state = self.state.lock();
        if state.peer.is_some() {
            return Err(Errno::EINVAL);
        }
        match &mut state.backlog {
            Some(backlog) => backlog.limit = limit,
            None => state.backlog = Some(Backlog { waiting: VecDeque::new(), limit }),
        }
        Ok(())
    }

    /// Whether it waits for connections. `EINVAL` if not.
    pub(crate) fn check_listening(&self) -> Result<(), Errno> {
        if self.is_listening() { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// The next connection, and who it is from.
    pub(crate) fn try_accept(&self) -> Result<(Socket, SocketAddress), Errno> {
        let mut state = self.state.lock();
        let backlog = state.backlog.as_mut().ok_or(Errno::EINVAL)?;
        let socket = backlog.waiting.pop_front().ok_or(Errno::EAGAIN)?;
        drop(state);
        let from = socket.node().peer_address().unwrap_or_else(|_| SocketAddress::unbound(self.domain));
        Ok((socket, from))
    }

    /// A connection arrives. It is given back if nobody waits for it, or too many wait already.
    pub(super) fn push_connection(&self, socket: Socket) -> Result<(), Socket> {
        let mut state = self.state.lock();
        match &mut state.backlog {
            Some(backlog) if backlog.waiting.len() < backlog.limit => backlog.waiting.push_back(socket),
            full @ (Some(_) | None) => {
                let is_full = full.is_some();
                drop(state);
                if is_full {
                    self.network.refusals.note(Limit::ListenBacklog);
                }
                return Err(socket);
            }
        }
        drop(state);
        self.endpoint.readiness.notify(PollEvents::IN);
        Ok(())
    }
}

/// A stream socket that is bound to a port.
pub(crate) struct BoundStream {
    pub(crate) local: SocketAddr,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) is_listening: bool,
    pub(crate) ino: u64,
    pub(crate) uid: Uid,
}

impl Network {
    /// Stream sockets that are bound to ports, ascending by port.
    pub(crate) fn bound_streams(&self) -> Vec<BoundStream> {
        let bound: Vec<_> = self.ports.lock().stream_ports().collect();
        let describe = |(local, socket): (SocketAddr, Arc<SocketNode>)| BoundStream {
            local,
            peer: socket.peer_address().ok().and_then(|address| match address {
                SocketAddress::Inet(address) => Some(address),
                SocketAddress::Unix(_) => None,
            }),
            is_listening: socket.is_listening(),
            ino: socket.node.ino(),
            uid: socket.node.stat().uid,
        };
        bound.into_iter().map(describe).collect()
    }

    /// Addresses on which somebody waits for connections, ascending by port.
    pub(crate) fn listening(&self) -> Vec<SocketAddr> {
        let bound: Vec<_> = self.ports.lock().stream_ports().collect();
        bound.into_iter().filter(|(_, socket)| socket.is_listening()).map(|(address, _)| address).collect()
    }
}
