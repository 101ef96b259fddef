//! HTTP to one vm process, over connections that are kept.
//!
//! A connection is driven by the task that uses it, so that a request costs no change of task. Responses stream
//! through; dropping one closes its connection, which tells the VM that nobody waits any more.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::net::UnixStream;

use crate::control;
use crate::http::{Body, BodyError, Response};
use crate::task::{self, Task};

/// The body of a request to a vm process.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// Connections that are kept while nobody uses them.
const MAX_IDLE_CONNECTIONS: usize = 64;

/// Why a request to a vm process failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no vm process any more; the request was not sent.
    #[error("the vm process is gone")]
    Gone(#[source] io::Error),
    /// The connection could not be set up.
    #[error("setting up a connection to the vm process")]
    Handshake(#[source] hyper::Error),
    /// The vm process ended, or broke the protocol, after the request was sent.
    #[error("the vm process ended the connection")]
    Broken(#[source] hyper::Error),
    /// The connection ended without an answer.
    #[error("the vm process closed the connection without an answer")]
    Closed,
}

/// Talks to one vm process.
#[derive(Debug)]
pub(crate) struct VmClient {
    line: OwnedFd,
    /// The process, by a descriptor that never means another.
    process: Option<OwnedFd>,
    /// Guarded by itself; a leaf in the lock order.
    idle: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
struct Connection {
    sender: http1::SendRequest<RequestBody>,
    driver: http1::Connection<TokioIo<UnixStream>, RequestBody>,
}

impl VmClient {
    /// A client for the process at the other end of `line`.
    pub(crate) fn new(line: OwnedFd, pid: Option<Pid>) -> Self {
        // Without one (Linux before 5.3), a process that hangs waits for somebody to stop it.
        let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Self { line, process, idle: Mutex::new(Vec::new()) }
    }

    /// Gets a connection that can take a request.
    ///
    /// # Errors
    /// When the vm process is gone.
    pub(crate) async fn connect(self: &Arc<Self>) -> Result<Channel, Error> {
        while let Some(mut connection) = self.pop() {
            if connection.is_usable().await {
                return Ok(Channel { connection, client: Arc::clone(self) });
            }
        }
        let connection = self.open(control::Use::Now).await?;
        Ok(Channel { connection, client: Arc::clone(self) })
    }

    /// Opens a connection for the first request to a process that nobody wants yet.
    ///
    /// # Errors
    /// When the vm process is gone.
    pub(crate) async fn prepare(&self) -> Result<(), Error> {
        let connection = self.open(control::Use::Later).await?;
        self.push(connection);
        Ok(())
    }

    async fn open(&self, usage: control::Use) -> Result<Connection, Error> {
        let socket = control::connect(self.line.as_fd(), usage).map_err(|error| self.gone(error))?;
        let socket = UnixStream::from_std(socket).map_err(Error::Gone)?;
        let (sender, driver) = http1::handshake(TokioIo::new(socket)).await.map_err(Error::Handshake)?;
        Ok(Connection { sender, driver })
    }

    /// Nothing will ever reach a process that has closed its line. If it is still there it is out of its mind: it is
    /// ended, so that the next request boots another.
    fn gone(&self, error: io::Error) -> Error {
        let is_closed = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
        if let Some(process) = self.process.as_ref().filter(|_| is_closed) {
            // It may have ended by itself.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        Error::Gone(error)
    }

    fn pop(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn push(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push(connection);
        }
    }
}

impl Connection {
    /// Whether the connection is still open and has nothing left to do.
    async fn is_usable(&mut self) -> bool {
        poll_fn(|cx| {
            let ended = Pin::new(&mut self.driver).poll(cx).is_ready();
            let is_ready = matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())));
            Poll::Ready(!ended && is_ready)
        })
        .await
    }
}

/// What a vm process answers to a request for another protocol.
pub(crate) struct Switch {
    pub(crate) response: Response,
    /// The connection, if the answer is yes; to be awaited after the client was told.
    pub(crate) connection: Option<OnUpgrade>,
    /// Drives the connection until then.
    pub(crate) driver: Task<()>,
}

/// A connection for one request.
#[derive(Debug)]
pub(crate) struct Channel {
    connection: Connection,
    client: Arc<VmClient>,
}

impl Channel {
    /// Sends the request and waits for the head of its response.
    ///
    /// # Errors
    /// When the vm process ends before it answers.
    pub(crate) async fn send(self, request: http::Request<RequestBody>) -> Result<Response, Error> {
        let Self { mut connection, client } = self;
        let response = {
            let answer = connection.sender.send_request(request);
            let mut answer = std::pin::pin!(answer);
            let driver = &mut connection.driver;
            poll_fn(|cx| {
                let ended = Pin::new(&mut *driver).poll(cx).is_ready();
                match answer.as_mut().poll(cx) {
                    Poll::Ready(result) => Poll::Ready(result.map_err(Error::Broken)),
                    Poll::Pending if ended => Poll::Ready(Err(Error::Closed)),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await?
        };
        let (head, body) = response.into_parts();
        let body = ForwardedBody { body, connection: Some(connection), client };
        Ok(http::Response::from_parts(head, Body::new(body)))
    }
}

impl Channel {
    /// Sends a request for another protocol and waits for the head of its response.
    ///
    /// # Errors
    /// When the vm process ends before it answers.
    pub(crate) async fn switch(self, request: http::Request<RequestBody>) -> Result<Switch, Error> {
        let Connection { mut sender, driver } = self.connection;
        let driver = task::spawn(async move {
            // How it ends is told to those who use it.
            let _ = driver.with_upgrades().await;
        });
        let mut response = sender.send_request(request).await.map_err(Error::Broken)?;
        let is_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let connection = is_switched.then(|| hyper::upgrade::on(&mut response));
        let response = response.map(|body| Body::new(body.map_err(BodyError::Upstream)));
        Ok(Switch { response, connection, driver })
    }
}

/// A response's body on its way through. Gives the connection back when it has ended.
struct ForwardedBody {
    body: Incoming,
    connection: Option<Connection>,
    client: Arc<VmClient>,
}

impl ForwardedBody {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // The body asks its driver for more; the driver reads it; then it is there.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Upstream)));
        }
        if let Some(connection) = &mut self.connection
            && Pin::new(&mut connection.driver).poll(cx).is_ready()
        {
            self.connection = None;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Upstream)))
    }

    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.client.push(connection);
        }
    }
}

impl http_body::Body for ForwardedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.poll_body(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.give_back();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ForwardedBody {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.give_back();
        }
    }
}

/// The body of a request that is there already.
pub(crate) fn full(bytes: impl Into<Bytes>) -> RequestBody {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
