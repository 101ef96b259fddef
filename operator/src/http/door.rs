//! A listener with room for a few connections. When there are more the oldest one is closed: somebody who holds connections
//! without using them costs little, and keeps out nobody.

use axum::serve::Listener;
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

/// Connections at once; probes and scrapes need two or three.
const CONNECTIONS: usize = 32;

/// Lets connections in.
pub(super) struct Door {
    listener: TcpListener,
    /// The oldest first; one that has ended is cancelled.
    open: VecDeque<CancellationToken>,
}

impl Door {
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, open: VecDeque::with_capacity(CONNECTIONS) })
    }

    /// Makes room for one more.
    fn admit(&mut self) -> CancellationToken {
        self.open.retain(|connection| !connection.is_cancelled());
        if self.open.len() >= CONNECTIONS
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.cancel();
        }
        let connection = CancellationToken::new();
        self.open.push_back(connection.clone());
        connection
    }
}

impl Listener for Door {
    type Io = Visitor;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visitor, SocketAddr) {
        let (tcp, address) = Listener::accept(&mut self.listener).await;
        let connection = self.admit();
        let (sent_away, ended) = (Box::pin(connection.clone().cancelled_owned()), connection.drop_guard());
        (Visitor { tcp, sent_away, _ended: ended }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that may be closed for the sake of another one.
pub(super) struct Visitor {
    tcp: TcpStream,
    sent_away: Pin<Box<WaitForCancellationFutureOwned>>,
    _ended: DropGuard,
}

impl Visitor {
    /// The stream, unless it has to go.
    fn stream(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        match self.sent_away.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(Pin::new(&mut self.tcp)),
        }
    }
}

impl AsyncRead for Visitor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.stream(cx)?.poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, routing::get};
    use std::time::Duration;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    #[tokio::test]
    async fn who_holds_connections_does_not_keep_out_the_kubelet() {
        let door = Door::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = door.local_addr().unwrap();
        let router = Router::new().route("/healthz", get(|| async { "ok\n" }));
        let server = tokio::spawn(axum::serve(door, router).into_future());
        let mut held = Vec::new();
        for _ in 0..3 * CONNECTIONS {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        probe.write_all(b"GET /healthz HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(5), probe.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
        // The first ones had to go, the last ones are still there.
        let closed = timeout(Duration::from_secs(5), held[0].read(&mut [0; 1])).await.unwrap();
        assert!(!matches!(closed, Ok(1..)), "{closed:?}");
        let last = held.last_mut().unwrap();
        assert!(
            timeout(Duration::from_millis(50), last.read(&mut [0; 1])).await.is_err(),
            "the last one stays"
        );
        server.abort();
    }
}
