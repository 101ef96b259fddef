//! The HTTPS listener: accepts, shakes hands, and serves HTTP/1.1 and HTTP/2 on each connection until it is told to stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::client_ca::PeerCertificate;
use crate::config::{HEADERS_PER_REQUEST, Limits, STREAMS_PER_CONNECTION, Timeouts};
use crate::handle::Handler;
use crate::metrics::Metrics;
use crate::peer::{Activity, Peer, Seat, Seats};
use crate::socket;
use crate::spawn::Spawner;
use crate::stall::StallGuard;
use crate::tls::TlsStore;

/// When the system has no room for another connection, it is asked again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// HTTP/2 connections are asked whether they still live, so that dead ones do not pile up.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// An HTTP/2 connection that was told to go because it was idle has so long to do so.
const IDLE_GOODBYE: Duration = Duration::from_secs(2);

/// Serves clients.
pub(crate) struct Server {
    pub(crate) handler: Arc<Handler>,
    pub(crate) tls: Arc<TlsStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
    pub(crate) seats: Arc<Seats>,
    pub(crate) spawner: Spawner,
    /// No new requests, please.
    pub(crate) closing: CancellationToken,
}

impl Server {
    /// Accepts connections until closing.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let accepted = self
                .closing
                .run_until_cancelled(async {
                    // Who finds no slot waits in the listener's backlog.
                    let slot = slots.clone().acquire_owned().await.ok()?;
                    Some((slot, listener.accept().await))
                })
                .await;
            match accepted {
                None | Some(None) => return,
                Some(Some((slot, Ok((tcp, address))))) => self.clone().welcome(slot, tcp, address),
                Some(Some((_, Err(error)))) => {
                    tracing::warn!(%error, "no connection accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn welcome(self: Arc<Self>, slot: OwnedSemaphorePermit, tcp: TcpStream, address: SocketAddr) {
        let Some(seat) = self.seats.take(address.ip().to_canonical(), slot) else {
            tracing::debug!(%address, "closed: --max-connections-per-address");
            self.metrics.limited("connections-per-address");
            return;
        };
        let spawner = self.spawner.clone();
        spawner.spawn(async move {
            self.metrics.connections.inc();
            self.connection(tcp, address, seat).await;
            self.metrics.connections.dec();
        });
    }

    async fn connection(&self, tcp: TcpStream, address: SocketAddr, seat: Seat) {
        let Some(material) = self.tls.current() else { return };
        socket::prepare(&tcp);
        let handshake = TlsAcceptor::from(material.server.clone()).accept(tcp);
        let tls = match tokio::time::timeout(self.timeouts.handshake, handshake).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "TLS handshake failed");
                return;
            }
            Err(_) => {
                tracing::debug!(%address, "TLS handshake took longer than --handshake-timeout");
                return;
            }
        };
        let certificate = PeerCertificate::from_chain(tls.get_ref().1.peer_certificates());
        let peer = Arc::new(Peer {
            address: address.ip().to_canonical(),
            certificate,
            activity: Activity::default(),
            _seat: Some(seat),
        });
        // Clients that speak both say so; nobody is waited for to find out.
        let ended = match tls.get_ref().1.alpn_protocol() {
            Some(b"h2") => self.serve_http2(tls, peer).await,
            Some(_) | None => self.serve_http1(tls, peer).await,
        };
        if let Err(error) = ended {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(%address, error, "connection ended");
        }
    }

    async fn serve_http1(&self, tls: TlsStream<TcpStream>, peer: Arc<Peer>) -> hyper::Result<()> {
        let handler = self.handler.clone();
        let service = service_fn(move |request| {
            let (handler, peer) = (handler.clone(), peer.clone());
            async move { Ok::<_, Infallible>(handler.handle(request, &peer).await) }
        });
        let io = TokioIo::new(StallGuard::new(tls, self.timeouts.stall));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.header)
            .max_headers(HEADERS_PER_REQUEST)
            .max_buf_size(self.limits.header_bytes as usize)
            .serve_connection(io, service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }

    async fn serve_http2(&self, tls: TlsStream<TcpStream>, peer: Arc<Peer>) -> hyper::Result<()> {
        let (handler, theirs) = (self.handler.clone(), peer.clone());
        let service = service_fn(move |request| {
            let (handler, peer) = (handler.clone(), theirs.clone());
            async move { Ok::<_, Infallible>(handler.handle(request, &peer).await) }
        });
        let io = TokioIo::new(StallGuard::new(tls, self.timeouts.stall));
        let connection = http2::Builder::new(self.spawner.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .max_header_list_size(self.limits.header_bytes)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .enable_connect_protocol()
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        // HTTP/1.1 has a timeout for this of its own.
        let is_idle = tokio::select! {
            ended = connection.as_mut() => return ended,
            () = self.closing.cancelled() => false,
            () = peer.activity.idle_for(self.timeouts.header) => true,
        };
        connection.as_mut().graceful_shutdown();
        if !is_idle {
            return connection.await;
        }
        // Whoever has not even begun to speak HTTP/2 does not notice.
        tokio::time::timeout(IDLE_GOODBYE, connection).await.unwrap_or(Ok(()))
    }
}
