//! Sockets on the VM's own loopback, and Unix domain sockets.
//!
//! A [`Socket`] is an open socket, a [`SocketNode`] what it leads to. Each has an [`Endpoint`] from birth: what it
//! received and who waits for it. Connected sockets know each other's endpoint and put what they send straight into
//! it; there is no wire. A [`Network`] knows who is bound where.
//!
//! Nothing leaves the VM: addresses outside of it are refused with `EACCES`, as long as nobody grants egress.
//!
//! A socket that is sent through itself keeps itself alive; `max_sockets` bounds that.

pub(crate) mod address;
mod datagram;
mod inbox;
mod listener;
mod port_table;
pub(crate) mod resolver;
pub(crate) mod stream;
mod unix;

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bitflags::bitflags;
use vm_abi::{Credentials, Errno, FileType, Mode, OpenFlags, PollEvents, Stat, Timespec};
use vm_vfs::{Caller, Inode, NodeOpen, SetAttr, VfsResult};

use crate::anonymous::AnonymousNode;
use crate::file::fd_table::Slot;
use crate::file::{File, FileKind};
use crate::limit::Refusals;
use crate::limits::Limits;
use crate::mutex::Mutex;
use crate::poll::Readiness;
use crate::usage::{Charge, Meter};
use address::{SocketAddress, UnixAddress};
use inbox::{Boundaries, Inbox};
use port_table::PortTable;
use unix::UnixTable;

/// What kind of address a socket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
    /// Unix domain.
    Unix,
}

/// How a socket carries data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketType {
    /// As one stream of bytes.
    Stream,
    /// As messages that need no connection.
    Datagram,
    /// As messages over a connection.
    SeqPacket,
}

bitflags! {
    /// How one message is sent or received, with Linux's bits.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MessageFlags: u32 {
        /// Leave what is received where it is.
        const PEEK = 0x2;
        /// Tell the length of the whole message, even if it was cut.
        const TRUNC = 0x20;
        /// Do not wait.
        const DONTWAIT = 0x40;
        /// Wait until the buffer is full.
        const WAITALL = 0x100;
        /// No `SIGPIPE`.
        const NOSIGNAL = 0x4000;
    }
}

/// Which half of a connection is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing more is received.
    Read,
    /// Nothing more is sent.
    Write,
    /// Both.
    Both,
}

/// How long calls on a socket may wait; `None` is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketTimeouts {
    /// For receiving and accepting.
    pub receive: Option<Duration>,
    /// For sending.
    pub send: Option<Duration>,
}

/// Who is bound where, and what limits sockets.
pub(crate) struct Network {
    ports: Mutex<PortTable>,
    unix: Mutex<UnixTable>,
    meter: Arc<Meter>,
    bytes: Arc<Meter>,
    refusals: Arc<Refusals>,
    buffer_bytes: usize,
    max_backlog: usize,
}

/// An open socket. Dropping it closes it.
pub(crate) struct Socket(Arc<SocketNode>);

/// What an open socket leads to.
pub(crate) struct SocketNode {
    node: AnonymousNode,
    domain: Domain,
    socket_type: SocketType,
    network: Arc<Network>,
    endpoint: Arc<Endpoint>,
    state: Mutex<State>,
    _charge: Charge,
}

/// What a socket received, and who waits for it.
struct Endpoint {
    inbox: Mutex<Inbox>,
    readiness: Readiness,
}

#[derive(Default)]
struct State {
    local: Option<SocketAddress>,
    peer: Option<Peer>,
    /// Where datagrams go that say nothing else.
    destination: Option<SocketAddr>,
    backlog: Option<Backlog>,
    is_write_shut: bool,
    timeouts: SocketTimeouts,
}

/// The other side of a connection.
#[derive(Clone)]
struct Peer {
    endpoint: Arc<Endpoint>,
    address: SocketAddress,
}

/// Connections that wait to be accepted.
struct Backlog {
    waiting: VecDeque<Socket>,
    limit: usize,
}

/// What was received.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Bytes in the buffer.
    pub(crate) len: usize,
    /// Bytes of the whole message; as `len` for streams.
    pub(crate) message_len: usize,
    /// Who sent it; only of datagrams.
    pub(crate) from: Option<SocketAddress>,
    /// Files that came with it.
    pub(crate) rights: Vec<Slot>,
}

impl Network {
    /// Nobody is bound anywhere.
    pub(crate) fn new(
        meter: Arc<Meter>,
        bytes: Arc<Meter>,
        refusals: Arc<Refusals>,
        limits: &Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            ports: Mutex::default(),
            unix: Mutex::default(),
            meter,
            bytes,
            refusals,
            buffer_bytes: limits.socket_buffer_bytes,
            max_backlog: limits.max_listen_backlog,
        })
    }

    /// A socket that is neither bound nor connected. `ENFILE` if there are too many.
    pub(crate) fn new_socket(
        self: &Arc<Self>,
        domain: Domain,
        socket_type: SocketType,
        ino: u64,
        owner: &Credentials,
        now: Timespec,
    ) -> Result<Socket, Errno> {
        if socket_type == SocketType::SeqPacket && domain != Domain::Unix {
            return Err(Errno::EPROTONOSUPPORT);
        }
        let charge = self.meter.take_one()?;
        let boundaries = match socket_type {
            SocketType::Stream => Boundaries::None,
            SocketType::Datagram | SocketType::SeqPacket => Boundaries::Messages,
        };
        let inbox = Inbox::new(boundaries, self.buffer_bytes, self.bytes.empty_charge());
        Ok(Socket(Arc::new(SocketNode {
            node: AnonymousNode::new(ino, FileType::Socket, Mode::new(0o777), owner, now),
            domain,
            socket_type,
            network: Arc::clone(self),
            endpoint: Arc::new(Endpoint { inbox: Mutex::new(inbox), readiness: Readiness::new() }),
            state: Mutex::default(),
            _charge: charge,
        })))
    }
}

impl Socket {
    /// What it leads to.
    pub(crate) fn node(&self) -> &Arc<SocketNode> {
        &self.0
    }

    /// Connects two fresh sockets with each other.
    pub(crate) fn pair(one: &Self, other: &Self) {
        let unnamed = SocketAddress::Unix(UnixAddress::Unnamed);
        one.0.set_peer(&other.0, unnamed.clone());
        other.0.set_peer(&one.0, unnamed);
    }
}

impl SocketNode {
    /// The kind of its addresses.
    pub(crate) fn domain(&self) -> Domain {
        self.domain
    }

    /// How it carries data.
    pub(crate) fn socket_type(&self) -> SocketType {
        self.socket_type
    }

    /// Whether it carries a stream of bytes.
    pub(crate) fn is_stream(&self) -> bool {
        self.socket_type == SocketType::Stream
    }

    /// Whether it needs a connection.
    pub(crate) fn is_connection_based(&self) -> bool {
        self.socket_type != SocketType::Datagram
    }

    /// Who waits for it.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.endpoint.readiness
    }

    /// Its own address; that of nothing if it is not bound.
    pub(crate) fn local_address(&self) -> SocketAddress {
        self.state.lock().local.clone().unwrap_or_else(|| SocketAddress::unbound(self.domain))
    }

    /// The address of the other side. `ENOTCONN` without one.
    pub(crate) fn peer_address(&self) -> Result<SocketAddress, Errno> {
        let state = self.state.lock();
        let connected = state.peer.as_ref().map(|peer| peer.address.clone());
        connected.or_else(|| state.destination.map(SocketAddress::Inet)).ok_or(Errno::ENOTCONN)
    }

    /// How long calls on it may wait.
    pub(crate) fn timeouts(&self) -> SocketTimeouts {
        self.state.lock().timeouts
    }

    /// Sets how long calls on it may wait.
    pub(crate) fn set_timeouts(&self, timeouts: SocketTimeouts) {
        self.state.lock().timeouts = timeouts;
    }

    /// The error that waits to be told (`SO_ERROR`); it is told once.
    pub(crate) fn take_error(&self) -> Option<Errno> {
        self.endpoint.inbox.lock().take_error()
    }

    /// Sends over a connection or to the connected side; tells how many bytes were taken. Given rights are taken with
    /// the first byte.
    pub(crate) fn try_send(&self, buffers: &[IoSlice<'_>], rights: &mut Vec<Slot>) -> Result<usize, Errno> {
        match self.socket_type {
            SocketType::Stream | SocketType::SeqPacket => self.try_send_connected(buffers, rights),
            SocketType::Datagram => self.try_send_datagram(buffers, rights),
        }
    }

    /// Receives.
    pub(crate) fn try_receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        flags: MessageFlags,
    ) -> Result<Received, Errno> {
        let peer = {
            let state = self.state.lock();
            if self.socket_type != SocketType::Datagram && state.peer.is_none() {
                return Err(Errno::ENOTCONN);
            }
            state.peer.clone()
        };
        let received = self.endpoint.inbox.lock().receive(buffers, flags)?;
        if let Some(peer) = peer {
            peer.endpoint.readiness.notify(PollEvents::OUT);
        }
        Ok(received)
    }

    /// Ends one or both halves of a connection.
    pub(crate) fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let peer = {
            let mut state = self.state.lock();
            let peer = state.peer.clone().ok_or(Errno::ENOTCONN)?;
            state.is_write_shut |= how != Shutdown::Read;
            peer
        };
        if how != Shutdown::Read && self.socket_type != SocketType::Datagram {
            peer.endpoint.inbox.lock().end();
        }
        if how != Shutdown::Write {
            self.endpoint.inbox.lock().end();
        }
        peer.endpoint.readiness.notify(PollEvents::HUP);
        self.endpoint.readiness.notify(PollEvents::HUP);
        Ok(())
    }

    fn set_peer(&self, peer: &Self, address: SocketAddress) {
        let peer = Peer { endpoint: Arc::clone(&peer.endpoint), address };
        self.state.lock().peer = Some(peer);
        self.endpoint.readiness.notify(PollEvents::IN | PollEvents::OUT);
    }

    /// Nobody has it open any more.
    fn close(self: &Arc<Self>) {
        let (local, peer, backlog) = {
            let mut state = self.state.lock();
            (state.local.take(), state.peer.take(), state.backlog.take())
        };
        if let Some(local) = local {
            self.network.release(&local, self);
        }
        let unread = self.endpoint.inbox.lock().close();
        if let Some(peer) = peer.filter(|_| self.is_connection_based()) {
            let mut inbox = peer.endpoint.inbox.lock();
            if !unread.is_empty() && self.domain != Domain::Unix {
                inbox.fail(Errno::ECONNRESET);
            }
            inbox.end();
            drop(inbox);
            peer.endpoint.readiness.notify(PollEvents::HUP);
        }
        // Open files that nobody received close here, with no lock held.
        drop((unread, backlog));
    }

    fn is_listening(&self) -> bool {
        self.state.lock().backlog.is_some()
    }
}

impl Network {
    fn release(&self, local: &SocketAddress, socket: &Arc<SocketNode>) {
        let socket: Weak<SocketNode> = Arc::downgrade(socket);
        match local {
            SocketAddress::Inet(address) => self.ports.lock().release(address.port(), &socket),
            SocketAddress::Unix(address) => self.unix.lock().release(address, &socket),
        }
    }
}

impl File for Socket {
    fn kind(&self) -> FileKind {
        match self.0.socket_type {
            SocketType::Stream | SocketType::SeqPacket => FileKind::StreamSocket,
            SocketType::Datagram => FileKind::DatagramSocket,
        }
    }

    fn try_read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        let received = self.0.try_receive(buffers, MessageFlags::empty())?;
        Ok(received.len)
    }

    fn try_write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        self.0.try_send(buffers, &mut Vec::new())
    }

    fn events(&self) -> PollEvents {
        self.0.events()
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(self.0.readiness())
    }
}

impl SocketNode {
    fn events(&self) -> PollEvents {
        let (peer, has_connection_waiting, is_write_shut) = {
            let state = self.state.lock();
            if let Some(backlog) = &state.backlog {
                (None, Some(!backlog.waiting.is_empty()), false)
            } else {
                (state.peer.clone(), None, state.is_write_shut)
            }
        };
        let mut events = PollEvents::empty();
        if let Some(has_connection_waiting) = has_connection_waiting {
            events.set(PollEvents::IN | PollEvents::RDNORM, has_connection_waiting);
            return events;
        }
        let (is_readable, has_ended, has_failed) = {
            let inbox = self.endpoint.inbox.lock();
            (inbox.is_readable(), inbox.has_ended(), inbox.has_failed())
        };
        events.set(PollEvents::IN | PollEvents::RDNORM, is_readable);
        events.set(PollEvents::ERR, has_failed);
        events.set(PollEvents::RDHUP, has_ended);
        if !self.is_connection_based() {
            return events | PollEvents::OUT | PollEvents::WRNORM;
        }
        let (is_writable, is_gone) = match &peer {
            Some(peer) => {
                let mut inbox = peer.endpoint.inbox.lock();
                (inbox.is_writable(), has_ended && (inbox.is_closed() || is_write_shut))
            }
            None => (true, true),
        };
        events.set(PollEvents::OUT | PollEvents::WRNORM, is_writable);
        events.set(PollEvents::HUP, is_gone);
        events
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Inode for SocketNode {
    fn ino(&self) -> u64 {
        self.node.ino()
    }

    fn file_type(&self) -> FileType {
        self.node.file_type()
    }

    fn stat(&self) -> VfsResult<Stat> {
        Ok(self.node.stat())
    }

    fn set_attr(&self, attributes: &SetAttr) -> VfsResult<()> {
        self.node.set_attr(attributes);
        Ok(())
    }

    fn open(&self, _caller: Caller, _flags: OpenFlags) -> VfsResult<NodeOpen> {
        Err(Errno::ENXIO.into())
    }
}
