//! Accepting connections, and serving HTTP on each until it ends or the server stops.
//!
//! Knows no route: what answers requests is given by the caller, per connection.
#![expect(clippy::disallowed_methods, reason = "host-facing: the server that listens")]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::ListenAddress;
use crate::http::Response;
use crate::supervisor::peer::Peer;
use crate::supervisor::tls::Tls;

/// Connections at once; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 8192;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection without TLS may say nothing before it is closed: anybody can open those.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may be idle, or take to send the head of a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// HTTP/2 streams at once on one connection.
const MAX_STREAMS: u32 = 1024;

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot listen on {address}: {source}")]
    Bind { address: String, source: io::Error },
}

/// An address that is listened on.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
}

/// Removes the socket's file when dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may have been removed already.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Begins to listen.
    pub(crate) async fn bind(address: &ListenAddress) -> Result<Self, Error> {
        let failed = |source| Error::Bind { address: address.to_string(), source };
        match address {
            ListenAddress::Unix(path) => bind_unix(path).map_err(failed),
            ListenAddress::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await.map_err(failed)?)),
        }
    }

    /// Where it listens; with the port that was chosen, if none was given.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Unix(_, file) => format!("unix:{}", file.0.display()),
            Self::Tcp(listener) => {
                listener.local_addr().as_ref().map_or_else(ToString::to_string, SocketAddr::to_string)
            }
        }
    }

    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(listener, _) => Ok(Socket::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
        }
    }
}

/// A socket that nobody listens on any more is replaced; a live one is not.
fn bind_unix(path: &Path) -> io::Result<Listener> {
    if std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(Listener::Unix(listener, SocketFile(path.to_owned())))
}

enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// What clients may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1 only, for anybody: finding out which protocol it is takes as long as a client likes.
    Http1,
    /// HTTP/1.1 and HTTP/2, for clients that are known.
    Any,
}

/// Serves until `stop`; then lets requests in flight end, for `drain` at most.
pub(crate) async fn serve<F, S>(
    listener: Listener,
    (tls, protocol): (Option<Tls>, Protocol),
    service_for: F,
    stop: CancellationToken,
    drain: Duration,
) where
    F: Fn(Peer) -> S + Clone + Send + Sync + 'static,
    S: Service<hyper::Request<Incoming>, Response = Response, Error = hyper::Error> + Send + 'static,
    S::Future: Send + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(socket) => {
                let (tls, service_for, stop) = (tls.clone(), service_for.clone(), stop.clone());
                connections.spawn(async move {
                    let _place = place;
                    serve_socket(socket, (tls, protocol), service_for, stop).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                // Out of file descriptors, usually: others have to end first.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(drain, async { while connections.join_next().await.is_some() {} }).await;
}

async fn serve_socket<F, S>(
    socket: Socket,
    (tls, protocol): (Option<Tls>, Protocol),
    service_for: F,
    stop: CancellationToken,
) where
    F: Fn(Peer) -> S,
    S: Service<hyper::Request<Incoming>, Response = Response, Error = hyper::Error> + Send + 'static,
    S::Future: Send + 'static,
{
    match (socket, tls) {
        (Socket::Unix(stream), _) => {
            if speaks(stream.async_io(Interest::READABLE, || peek(stream.as_fd())), &stop).await {
                serve_stream(stream, service_for(Peer::Developer), protocol, stop).await;
            }
        }
        (Socket::Tcp(stream), None) => {
            if speaks(stream.async_io(Interest::READABLE, || peek(stream.as_fd())), &stop).await {
                serve_stream(stream, service_for(Peer::Developer), protocol, stop).await;
            }
        }
        (Socket::Tcp(stream), Some(tls)) => {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await {
                Ok(Ok(stream)) => {
                    let certificates = stream.get_ref().1.peer_certificates();
                    let leaf = certificates.and_then(|chain| chain.first());
                    let peer = leaf.map_or(Peer::Stranger, |leaf| Peer::from_certificate(leaf));
                    serve_stream(stream, service_for(peer), protocol, stop).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        }
    }
}

/// Whether a connection says anything in time. Nothing else bounds that: the protocol is not known before.
async fn speaks(first: impl Future<Output = io::Result<()>>, stop: &CancellationToken) -> bool {
    tokio::select! {
        first = tokio::time::timeout(FIRST_BYTE_TIMEOUT, first) => matches!(first, Ok(Ok(()))),
        () = stop.cancelled() => false,
    }
}

/// Whether there is anything to read, or the end. A new socket's readiness alone does not tell.
fn peek(socket: BorrowedFd<'_>) -> io::Result<()> {
    rustix::net::recv(socket, &mut [0_u8; 1][..], RecvFlags::PEEK)?;
    Ok(())
}

async fn serve_stream<I, S>(stream: I, service: S, protocol: Protocol, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<hyper::Request<Incoming>, Response = Response, Error = hyper::Error> + Send + 'static,
    S::Future: Send + 'static,
{
    if protocol == Protocol::Http1 {
        return serve_http1(stream, service, stop).await;
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(IDLE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .adaptive_window(true);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The time for the head of a request begins at once here, and not when the protocol is known.
async fn serve_http1<I, S>(stream: I, service: S, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<hyper::Request<Incoming>, Response = Response, Error = hyper::Error> + Send + 'static,
    S::Future: Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use hyper::service::service_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::http::empty;
    use crate::task;

    /// What a client reads that says this much.
    async fn answer_to(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = Listener::bind(&ListenAddress::Unix(path.clone())).await.unwrap();
        let service_for = |_| service_fn(|_| async { Ok(empty(StatusCode::NO_CONTENT)) });
        let stop = CancellationToken::new();
        let _server =
            task::spawn(serve(listener, (None, Protocol::Http1), service_for, stop, Duration::ZERO));
        let mut client = UnixStream::connect(&path).await.unwrap();
        client.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_does_not_stay() {
        assert_eq!(answer_to("").await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_finish_its_first_word_does_not_stay() {
        for word in ["P", "PRI * HT", "GET / HTTP/1.1\r\nhost"] {
            let answer = answer_to(word).await;
            assert!(!answer.contains("204"), "{word}: {answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_speaks_is_answered() {
        let answer = answer_to("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }
}
