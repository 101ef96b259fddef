//! Calls on sockets. All answer `ENOTSOCK` for anything else.
//!
//! Sockets reach the VM itself only: other addresses are `EACCES`.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use vm_abi::{Errno, OpenFlags, PollEvents};
use vm_vfs::WalkContext;

use super::{Domain, Fd, FdFlags, MessageFlags, Shutdown, SocketAddress, SocketTimeouts, SocketType};
use crate::context::ProcessContext;
use crate::file::description::FileDescription;
use crate::file::fd_table::Slot;
use crate::poll::{Deadline, Interest, Waiter, wait_ready};
use crate::socket::stream::Birth;
use crate::socket::{Received as Arrived, Socket, SocketNode, resolver};
use crate::trace::show::{Data, Other, Path};
use crate::trace::{Call, traced};

/// What a call received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes in the buffer; 0 at the end of a stream.
    pub len: usize,
    /// Bytes of the whole message, which may have been cut; as `len` for streams.
    pub message_len: usize,
    /// Who sent it; only of datagrams.
    pub from: Option<SocketAddress>,
    /// Files that came with it, opened.
    pub fds: Vec<Fd>,
    /// Whether more files came than were opened.
    pub are_rights_cut: bool,
}

/// How files that come with a message are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RightsRequest {
    /// At most so many.
    pub max: usize,
    /// With these flags.
    pub flags: FdFlags,
}

/// The most files that one message can carry, as on Linux.
pub const MAX_RIGHTS: usize = 253;

/// Makes a socket. Of the flags only `CLOEXEC` and `NONBLOCK` count.
///
/// # Errors
/// `EPROTONOSUPPORT`, `EMFILE`, `ENFILE`.
pub fn socket(
    ctx: &ProcessContext,
    domain: Domain,
    socket_type: SocketType,
    flags: OpenFlags,
) -> Result<Fd, Errno> {
    traced!(ctx, "socket", [Other(&domain), Other(&socket_type), flags], {
        install(ctx, new_socket(ctx, domain, socket_type)?, flags)
    })
}

/// Makes two Unix domain sockets that are connected with each other.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn pair(ctx: &ProcessContext, socket_type: SocketType, flags: OpenFlags) -> Result<(Fd, Fd), Errno> {
    traced!(ctx, "socketpair", [Other(&socket_type), flags], {
        let one = new_socket(ctx, Domain::Unix, socket_type)?;
        let other = new_socket(ctx, Domain::Unix, socket_type)?;
        Socket::pair(&one, &other);
        ctx.insert_pair(describe(ctx, one, flags)?, describe(ctx, other, flags)?, fd_flags(flags))
    })
}

/// Gives a socket an address; port 0 is one of the kernel's choice.
///
/// # Errors
/// `EADDRINUSE`, `EADDRNOTAVAIL`, `EAFNOSUPPORT`, `EINVAL` if it has one; for paths those of the walk.
pub fn bind(ctx: &ProcessContext, fd: Fd, address: &SocketAddress) -> Result<(), Errno> {
    traced!(ctx, "bind", [fd, Other(address)], {
        let umask = ctx.process().umask();
        with_socket(ctx, fd, |node| walk(ctx, |walk| node.bind(address, walk, umask)))
    })
}

/// Connects a socket.
///
/// # Errors
/// `ECONNREFUSED`, `EACCES` for addresses outside of the VM, `EISCONN`, `EAFNOSUPPORT`, `EPROTOTYPE`; for paths those
/// of the walk.
pub async fn connect(ctx: &ProcessContext, fd: Fd, address: &SocketAddress) -> Result<(), Errno> {
    traced!(ctx, "connect", [fd, Other(address)], async {
        let kernel = ctx.kernel();
        let credentials = ctx.process().credentials();
        let birth = Birth { ino: kernel.next_ino(), owner: &credentials, now: kernel.clock.realtime() };
        with_socket(ctx, fd, |node| walk(ctx, |walk| node.connect(address, walk, birth)))
    })
}

/// Waits for connections from now on; so many may wait.
///
/// # Errors
/// `ENOTSUP` for datagrams, `EINVAL` if it is connected, `EADDRINUSE`.
pub fn listen(ctx: &ProcessContext, fd: Fd, backlog: usize) -> Result<(), Errno> {
    traced!(ctx, "listen", [fd, backlog], { with_socket(ctx, fd, |node| node.listen(backlog)) })
}

/// Whether a socket waits for connections.
///
/// # Errors
/// `EINVAL` if it does not.
pub fn check_listening(ctx: &ProcessContext, fd: Fd) -> Result<(), Errno> {
    with_socket(ctx, fd, |node| node.check_listening())
}

/// Waits for a connection; tells its socket and who it is from. Of the flags only `CLOEXEC` and `NONBLOCK` count.
///
/// # Errors
/// `EINVAL` unless it listens, `EAGAIN` (may not wait), `EINTR`, `EMFILE`, `ENFILE`.
pub async fn accept(ctx: &ProcessContext, fd: Fd, flags: OpenFlags) -> Result<(Fd, SocketAddress), Errno> {
    traced!(ctx, "accept4", [fd, flags], async {
        let description = ctx.description(fd)?;
        let node = node(&description)?;
        let wait = Wait::new(&description, node.timeouts().receive, MessageFlags::empty());
        let (socket, from) = wait.run(ctx, node, PollEvents::IN, || node.try_accept()).await?;
        Ok((install(ctx, socket, flags)?, from))
    })
}

/// The socket's own address.
///
/// # Errors
/// `EBADF`, `ENOTSOCK`.
pub fn local_address(ctx: &ProcessContext, fd: Fd) -> Result<SocketAddress, Errno> {
    with_socket(ctx, fd, |node| Ok(node.local_address()))
}

/// The address of the other side.
///
/// # Errors
/// `ENOTCONN`.
pub fn peer_address(ctx: &ProcessContext, fd: Fd) -> Result<SocketAddress, Errno> {
    with_socket(ctx, fd, |node| node.peer_address())
}

/// Sends all bytes of a stream, or a message.
///
/// # Errors
/// `ENOTCONN`, `EPIPE` (after `SIGPIPE`, unless told otherwise), `EAGAIN` (may not wait), `EINTR`, `EMSGSIZE`,
/// `EDESTADDRREQ`.
pub async fn send(ctx: &ProcessContext, fd: Fd, bytes: &[u8], flags: MessageFlags) -> Result<usize, Errno> {
    send_rights(ctx, fd, bytes, &[], flags).await
}

/// Sends a message to an address; over a connection, the address must be left out.
///
/// # Errors
/// As [`send`]; `EISCONN`, `EACCES` for addresses outside of the VM.
pub async fn send_to(
    ctx: &ProcessContext,
    fd: Fd,
    bytes: &[u8],
    flags: MessageFlags,
    to: &SocketAddress,
) -> Result<usize, Errno> {
    traced!(ctx, "sendto", [fd, Data(bytes), Other(&flags), Other(to)], async {
        let description = ctx.description(fd)?;
        let node = node(&description)?;
        if node.is_connection_based() {
            return Err(Errno::EISCONN);
        }
        let destination = walk(ctx, |walk| node.destination(to, walk))?;
        let wait = Wait::new(&description, node.timeouts().send, flags);
        let try_op = || node.try_send_to(&[IoSlice::new(bytes)], &destination, to);
        wait.run(ctx, node, PollEvents::OUT, try_op).await
    })
}

/// Sends bytes and open files along (`SCM_RIGHTS`), over Unix domain sockets.
///
/// # Errors
/// As [`send`]; `EINVAL` for too many files or another kind of socket, `EBADF`.
pub async fn send_rights(
    ctx: &ProcessContext,
    fd: Fd,
    bytes: &[u8],
    fds: &[Fd],
    flags: MessageFlags,
) -> Result<usize, Errno> {
    traced!(ctx, "sendmsg", [fd, Data(bytes), Other(&fds), Other(&flags)], async {
        let description = ctx.description(fd)?;
        let node = node(&description)?;
        if fds.len() > MAX_RIGHTS || (!fds.is_empty() && node.domain() != Domain::Unix) {
            return Err(Errno::EINVAL);
        }
        let slot = |fd: &Fd| ctx.description(*fd).map(Slot::new);
        let mut rights = fds.iter().map(slot).collect::<Result<Vec<_>, _>>()?;
        let wait = Wait::new(&description, node.timeouts().send, flags);
        let mut sent = 0;
        let result = loop {
            let try_op = || node.try_send(&[IoSlice::new(&bytes[sent..])], &mut rights);
            match wait.run(ctx, node, PollEvents::OUT, try_op).await {
                Ok(count) => sent += count,
                Err(errno) => break Err(errno),
            }
            if sent >= bytes.len() || !wait.may_wait {
                break Ok(sent);
            }
        };
        if result == Err(Errno::EPIPE) && sent == 0 && !flags.contains(MessageFlags::NOSIGNAL) {
            ctx.broken_pipe().await;
        }
        if sent > 0 { Ok(sent) } else { result }
    })
}

/// Receives bytes of a stream, or a message; waits for the first, or (`WAITALL`) until the buffer is full.
///
/// # Errors
/// `ENOTCONN`, `ECONNRESET`, `EAGAIN` (may not wait), `EINTR`.
pub async fn receive(
    ctx: &ProcessContext,
    fd: Fd,
    buffer: &mut [u8],
    flags: MessageFlags,
) -> Result<Received, Errno> {
    receive_rights(ctx, fd, buffer, flags, RightsRequest { max: 0, flags: FdFlags::empty() }).await
}

/// Receives as [`receive`], and opens files that come along.
///
/// # Errors
/// As [`receive`]; `EINVAL` for too many files.
pub async fn receive_rights(
    ctx: &ProcessContext,
    fd: Fd,
    buffer: &mut [u8],
    flags: MessageFlags,
    request: RightsRequest,
) -> Result<Received, Errno> {
    let call = Call::begin(ctx, "recvmsg", |call| call.argument(&fd));
    let result = receive_message(ctx, fd, buffer, flags, request).await;
    if let Some(call) = call {
        let len = result.as_ref().map(|received| received.len).map_err(|errno| *errno);
        call.end_filled(&len, &[IoSliceMut::new(buffer)]);
    }
    result
}

async fn receive_message(
    ctx: &ProcessContext,
    fd: Fd,
    buffer: &mut [u8],
    flags: MessageFlags,
    request: RightsRequest,
) -> Result<Received, Errno> {
    if request.max > MAX_RIGHTS {
        return Err(Errno::EINVAL);
    }
    let description = ctx.description(fd)?;
    let node = node(&description)?;
    let wait = Wait::new(&description, node.timeouts().receive, flags);
    let mut all = Arrived::default();
    loop {
        let rest = &mut buffer[all.len..];
        let is_full = rest.is_empty();
        let try_op = || node.try_receive(&mut [IoSliceMut::new(rest)], flags);
        let arrived = match wait.run(ctx, node, PollEvents::IN, try_op).await {
            Ok(arrived) => arrived,
            Err(_) if all.len > 0 => break,
            Err(errno) => return Err(errno),
        };
        let is_over = arrived.len == 0 || is_full || !arrived.rights.is_empty();
        all.len += arrived.len;
        all.message_len += arrived.message_len;
        all.from = arrived.from;
        all.rights.extend(arrived.rights);
        let goes_on = flags.contains(MessageFlags::WAITALL)
            && !flags.contains(MessageFlags::PEEK)
            && node.is_stream()
            && all.len < buffer.len();
        if is_over || !goes_on {
            break;
        }
    }
    Ok(open_rights(ctx, all, request))
}

/// Ends one or both halves of a connection.
///
/// # Errors
/// `ENOTCONN`.
pub fn shutdown(ctx: &ProcessContext, fd: Fd, how: Shutdown) -> Result<(), Errno> {
    traced!(ctx, "shutdown", [fd, Other(&how)], { with_socket(ctx, fd, |node| node.shutdown(how)) })
}

/// The error that waits to be told (`SO_ERROR`), told once.
///
/// # Errors
/// `EBADF`, `ENOTSOCK`.
pub fn take_error(ctx: &ProcessContext, fd: Fd) -> Result<Option<Errno>, Errno> {
    with_socket(ctx, fd, |node| Ok(node.take_error()))
}

/// How long calls may wait.
///
/// # Errors
/// `EBADF`, `ENOTSOCK`.
pub fn timeouts(ctx: &ProcessContext, fd: Fd) -> Result<SocketTimeouts, Errno> {
    with_socket(ctx, fd, |node| Ok(node.timeouts()))
}

/// Sets how long calls may wait; after that they answer `EAGAIN`.
///
/// # Errors
/// `EBADF`, `ENOTSOCK`.
pub fn set_timeouts(ctx: &ProcessContext, fd: Fd, timeouts: SocketTimeouts) -> Result<(), Errno> {
    with_socket(ctx, fd, |node| {
        node.set_timeouts(timeouts);
        Ok(())
    })
}

/// Kind of addresses and of transport.
///
/// # Errors
/// `EBADF`, `ENOTSOCK`.
pub fn kind(ctx: &ProcessContext, fd: Fd) -> Result<(Domain, SocketType), Errno> {
    with_socket(ctx, fd, |node| Ok((node.domain(), node.socket_type())))
}

/// The addresses of a name. Numeric ones are their own; besides those only the VM itself has a name.
///
/// # Errors
/// `ENOENT`.
pub fn resolve(ctx: &ProcessContext, host: &[u8]) -> Result<Vec<IpAddr>, Errno> {
    traced!(ctx, "getaddrinfo", [Path(host)], { resolver::resolve(host, &ctx.kernel().hostname) })
}

/// Addresses on which somebody in the VM waits for connections, ascending by port.
#[must_use]
pub fn listening(ctx: &ProcessContext) -> Vec<SocketAddr> {
    ctx.kernel().network.listening()
}

/// Whether and how long a call may wait.
struct Wait {
    may_wait: bool,
    timeout: Option<Duration>,
}

impl Wait {
    fn new(description: &FileDescription, timeout: Option<Duration>, flags: MessageFlags) -> Self {
        let may_wait =
            !description.flags().contains(OpenFlags::NONBLOCK) && !flags.contains(MessageFlags::DONTWAIT);
        Self { may_wait, timeout }
    }

    async fn run<T>(
        &self,
        ctx: &ProcessContext,
        node: &SocketNode,
        events: PollEvents,
        mut try_op: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if !self.may_wait {
            return try_op();
        }
        let clock = &*ctx.kernel().clock;
        let deadline = self
            .timeout
            .map(|timeout| Deadline { clock, instant: clock.monotonic().saturating_add(timeout) });
        let interest = Interest { readiness: node.readiness(), events };
        match wait_ready(Waiter::Process(ctx), &[interest], deadline, try_op).await {
            Err(Errno::ETIMEDOUT) => Err(Errno::EAGAIN),
            other => other,
        }
    }
}

fn node(description: &FileDescription) -> Result<&Arc<SocketNode>, Errno> {
    description.file().downcast::<Socket>().map(Socket::node).ok_or(Errno::ENOTSOCK)
}

fn with_socket<T>(
    ctx: &ProcessContext,
    fd: Fd,
    work: impl FnOnce(&Arc<SocketNode>) -> Result<T, Errno>,
) -> Result<T, Errno> {
    work(node(&*ctx.description(fd)?)?)
}

fn walk<T>(ctx: &ProcessContext, work: impl FnOnce(&WalkContext<'_>) -> T) -> T {
    let (cwd, credentials) = (ctx.process().cwd(), ctx.process().credentials());
    ctx.walk(&cwd.location, &credentials, work)
}

fn new_socket(ctx: &ProcessContext, domain: Domain, socket_type: SocketType) -> Result<Socket, Errno> {
    let kernel = ctx.kernel();
    let credentials = ctx.process().credentials();
    let now = kernel.clock.realtime();
    kernel.network.new_socket(domain, socket_type, kernel.next_ino(), &credentials, now)
}

fn describe(ctx: &ProcessContext, socket: Socket, flags: OpenFlags) -> Result<Arc<FileDescription>, Errno> {
    let kernel = ctx.kernel();
    let location = kernel.anonymous.with_inode(Arc::clone(socket.node()) as _);
    let status = OpenFlags::READ | OpenFlags::WRITE | (flags & OpenFlags::NONBLOCK);
    kernel.describe(location, Box::new(socket), status)
}

fn install(ctx: &ProcessContext, socket: Socket, flags: OpenFlags) -> Result<Fd, Errno> {
    let description = describe(ctx, socket, flags)?;
    let limit = ctx.process().fd_limit();
    let fd = ctx.process().with_fds(|fds| fds.insert(description, fd_flags(flags), 0, limit));
    fd.map_err(|errno| ctx.fds_refused(errno, limit))
}

fn fd_flags(flags: OpenFlags) -> FdFlags {
    if flags.contains(OpenFlags::CLOEXEC) { FdFlags::CLOEXEC } else { FdFlags::empty() }
}

/// Opens files that came with a message, as many as are asked for and fit.
fn open_rights(ctx: &ProcessContext, arrived: Arrived, request: RightsRequest) -> Received {
    let Arrived { len, message_len, from, rights } = arrived;
    let limit = ctx.process().fd_limit();
    let mut received = Received { len, message_len, from, fds: Vec::new(), are_rights_cut: false };
    for slot in &rights {
        let description = Arc::clone(slot.description());
        let opened = if received.fds.len() < request.max {
            ctx.process().with_fds(|fds| fds.insert(description, request.flags, 0, limit))
        } else {
            Err(Errno::EMFILE)
        };
        match opened {
            Ok(fd) => received.fds.push(fd),
            Err(_) => received.are_rights_cut = true,
        }
    }
    received
}
