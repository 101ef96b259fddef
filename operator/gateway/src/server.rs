//! The HTTPS listener: accepts, shakes hands, and serves HTTP/1.1 and HTTP/2 on each connection until it is told to stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::client_ca::PeerCertificate;
use crate::config::{HEADERS_PER_REQUEST, Limits, STREAMS_PER_CONNECTION, Timeouts};
use crate::handle::{Handler, Peer};
use crate::metrics::Metrics;
use crate::spawn::Spawner;
use crate::stall::StallGuard;
use crate::tls::TlsStore;

/// When the system has no room for another connection, it is asked again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// HTTP/2 connections are asked whether they still live, so that dead ones do not pile up.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves clients.
pub(crate) struct Server {
    pub(crate) handler: Arc<Handler>,
    pub(crate) tls: Arc<TlsStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
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
                Some(Some((slot, Ok((tcp, address))))) => {
                    let server = self.clone();
                    self.spawner.spawn(async move {
                        let _slot = slot;
                        server.metrics.connections.inc();
                        server.connection(tcp, address).await;
                        server.metrics.connections.dec();
                    });
                }
                Some(Some((_, Err(error)))) => {
                    tracing::warn!(%error, "no connection accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(&self, tcp: TcpStream, address: SocketAddr) {
        let Some(material) = self.tls.current() else { return };
        // Fails on a connection that is gone already, which shows soon enough.
        let _ = tcp.set_nodelay(true);
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
        self.serve(tls, address).await;
    }

    async fn serve(&self, tls: TlsStream<TcpStream>, address: SocketAddr) {
        let certificate = PeerCertificate::from_chain(tls.get_ref().1.peer_certificates());
        let peer = Arc::new(Peer { address: address.ip().to_canonical(), certificate });
        let handler = self.handler.clone();
        let service = service_fn(move |request| {
            let (handler, peer) = (handler.clone(), peer.clone());
            async move { Ok::<_, Infallible>(handler.handle(request, &peer).await) }
        });
        let io = TokioIo::new(StallGuard::new(tls, self.timeouts.stall));
        let builder = self.builder();
        let mut connection = std::pin::pin!(builder.serve_connection(io, service));
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%address, error, "connection ended");
        }
    }

    fn builder(&self) -> Builder<Spawner> {
        let mut builder = Builder::new(self.spawner.clone());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.header)
            .max_headers(HEADERS_PER_REQUEST)
            .max_buf_size(self.limits.header_bytes as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .max_header_list_size(self.limits.header_bytes)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        builder
    }
}
