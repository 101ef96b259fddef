//! Messages without a connection.

use std::io::IoSlice;
use std::sync::Arc;

use vm_abi::{Errno, PollEvents};
use vm_vfs::WalkContext;

use super::address::SocketAddress;
use super::{Domain, Endpoint, Peer, SocketNode};
use crate::file::fd_table::Slot;
use crate::file::total_len;

/// The largest UDP payload.
const MAX_UDP_BYTES: usize = 65_507;

/// Where a datagram goes, found before it is sent: finding may need a path walk.
pub(crate) struct Destination(Option<Arc<SocketNode>>);

impl SocketNode {
    /// Where datagrams to an address go. Inside of the VM; if nobody is there, a UDP one goes nowhere.
    pub(crate) fn destination(
        self: &Arc<Self>,
        address: &SocketAddress,
        walk: &WalkContext<'_>,
    ) -> Result<Destination, Errno> {
        self.source_address(address)?;
        match self.find(address, walk) {
            Ok(found) => Ok(Destination(Some(found))),
            Err(Errno::ECONNREFUSED) if self.domain != Domain::Unix => Ok(Destination(None)),
            Err(errno) => Err(errno),
        }
    }

    /// Sends to an address from now on.
    pub(super) fn connect_datagram(
        self: &Arc<Self>,
        address: &SocketAddress,
        walk: &WalkContext<'_>,
    ) -> Result<(), Errno> {
        let found = self.destination(address, walk)?.0;
        let own = self.source_address(address)?;
        let mut state = self.state.lock();
        state.local = Some(own);
        match address {
            SocketAddress::Inet(address) => state.destination = Some(*address),
            SocketAddress::Unix(_) => {
                let peer = |found: Arc<Self>| Peer {
                    endpoint: Arc::clone(&found.endpoint),
                    address: address.clone(),
                };
                state.peer = found.map(peer);
            }
        }
        Ok(())
    }

    /// Sends a datagram to where it goes.
    pub(crate) fn try_send_to(
        self: &Arc<Self>,
        buffers: &[IoSlice<'_>],
        destination: &Destination,
        to: &SocketAddress,
    ) -> Result<usize, Errno> {
        self.check_size(buffers)?;
        let from = self.source_address(to)?;
        match &destination.0 {
            Some(found) => self.deliver(buffers, &mut Vec::new(), &found.endpoint, from),
            None => Ok(total_len(buffers)),
        }
    }

    /// Sends a datagram to the connected side.
    pub(super) fn try_send_datagram(
        &self,
        buffers: &[IoSlice<'_>],
        rights: &mut Vec<Slot>,
    ) -> Result<usize, Errno> {
        self.check_size(buffers)?;
        let (peer, destination, from) = {
            let state = self.state.lock();
            if state.is_write_shut {
                return Err(Errno::EPIPE);
            }
            (state.peer.clone(), state.destination, state.local.clone())
        };
        let from = from.unwrap_or_else(|| SocketAddress::unbound(self.domain));
        if let Some(peer) = peer {
            return self.deliver(buffers, rights, &peer.endpoint, from);
        }
        match self.find_port(destination.ok_or(Errno::EDESTADDRREQ)?) {
            Ok(found) => self.deliver(buffers, rights, &found.endpoint, from),
            Err(Errno::ECONNREFUSED) => {
                // As the answer of a host that has no such port: the next call is told.
                self.endpoint.inbox.lock().fail(Errno::ECONNREFUSED);
                self.endpoint.readiness.notify(PollEvents::ERR);
                Ok(total_len(buffers))
            }
            Err(errno) => Err(errno),
        }
    }

    fn deliver(
        &self,
        buffers: &[IoSlice<'_>],
        rights: &mut Vec<Slot>,
        to: &Endpoint,
        from: SocketAddress,
    ) -> Result<usize, Errno> {
        let result = to.inbox.lock().accept(buffers, rights, Some(from));
        to.readiness.notify(PollEvents::IN);
        self.outcome(buffers, result)
    }

    /// UDP loses what does not fit or arrives nowhere; Unix domain sockets lose nothing.
    fn outcome(&self, buffers: &[IoSlice<'_>], result: Result<usize, Errno>) -> Result<usize, Errno> {
        match result {
            Err(Errno::EAGAIN) if self.domain != Domain::Unix => Ok(total_len(buffers)),
            Err(Errno::EPIPE) => Err(Errno::ECONNREFUSED),
            other => other,
        }
    }

    fn check_size(&self, buffers: &[IoSlice<'_>]) -> Result<(), Errno> {
        let is_too_long = self.domain != Domain::Unix && total_len(buffers) > MAX_UDP_BYTES;
        if is_too_long { Err(Errno::EMSGSIZE) } else { Ok(()) }
    }
}
