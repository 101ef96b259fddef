//! Puts the gateway together, and takes it down again: not ready, no new connections, drain, end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::Client;
use rustls::crypto::CryptoProvider;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::authenticate::Authenticator;
use crate::authorize::Authorizer;
use crate::client_ca::ClientCa;
use crate::config::Config;
use crate::deliver::Postman;
use crate::dial::Dialer;
use crate::directory::Directory;
use crate::forward::Forwarder;
use crate::handle::Handler;
use crate::hold::WaitingRoom;
use crate::lease::Leases;
use crate::metrics::{Levels, Metrics};
use crate::openapi::OpenApi;
use crate::peer::Seats;
use crate::plain::{self, Report};
use crate::pool::Pool;
use crate::rate::Meters;
use crate::request_id::RequestIds;
use crate::review::Reviewer;
use crate::server::Server;
use crate::spawn::Spawner;
use crate::tls::TlsStore;
use crate::watch;

/// Before everything is dropped, those who wait for an answer are told that it will not come, for so long.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Why a gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// A gateway that listens, and does not serve yet.
pub struct Gateway {
    clients: TcpListener,
    probes: Vec<TcpListener>,
    state: Arc<State>,
    server: Arc<Server>,
    watches: Watches,
    config: Config,
    /// Watches, probes and connections to runners.
    background: Spawner,
    /// Cancelled when the gateway has drained, or has given up draining.
    end: CancellationToken,
}

/// What clients are served in.
struct Foreground {
    /// Connections of clients, and tunnels.
    spawner: Spawner,
    closing: CancellationToken,
    last_call: CancellationToken,
}

/// What the watches need.
struct Watches {
    client: Client,
    client_ca: Arc<ClientCa>,
}

/// What everybody may look at.
struct State {
    directory: Arc<Directory>,
    room: Arc<WaitingRoom>,
    tls: Arc<TlsStore>,
    metrics: Arc<Metrics>,
    is_stopping: AtomicBool,
}

impl Report for State {
    fn not_ready(&self) -> Option<&'static str> {
        if self.is_stopping.load(Ordering::Acquire) {
            Some("the gateway is stopping")
        } else if self.tls.current().is_none() {
            Some("the certificate is not loaded: the TLS Secret does not exist yet or is not usable")
        } else if !self.directory.is_synced() {
            Some("the list of workspaces and runners is not complete")
        } else {
            None
        }
    }

    fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.metrics.render(Levels {
            held: self.room.len(),
            workspaces: self.directory.workspaces().len(),
            runners: self.directory.runners().len(),
            certificate_expiry: self.tls.expiry(),
        })
    }
}

impl Gateway {
    /// Listens on every address of the configuration.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub async fn bind(config: Config, client: Client) -> Result<Self, Error> {
        let clients = listen(config.listen).await?;
        let mut probes = vec![listen(config.health_listen).await?];
        if config.metrics_listen != config.health_listen {
            probes.push(listen(config.metrics_listen).await?);
        }

        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
        let metrics = Arc::new(Metrics::new());
        let state = Arc::new(State {
            directory: Arc::default(),
            room: Arc::new(WaitingRoom::new(config.limits.held_per_workspace, config.limits.held)),
            tls: Arc::new(TlsStore::new(provider.clone())),
            metrics: metrics.clone(),
            is_stopping: AtomicBool::new(false),
        });
        let client_ca = Arc::new(ClientCa::new(provider));
        let end = CancellationToken::new();
        let background = Spawner::new(end.clone());
        let foreground = Foreground {
            spawner: Spawner::new(end.clone()),
            closing: CancellationToken::new(),
            last_call: CancellationToken::new(),
        };
        let handler = build_handler(&config, &client, &state, client_ca.clone(), &background, &foreground);
        let server = Arc::new(Server {
            handler: Arc::new(handler),
            tls: state.tls.clone(),
            metrics,
            timeouts: config.timeouts.clone(),
            limits: config.limits.clone(),
            seats: Arc::new(Seats::new(config.limits.connections_per_address)),
            spawner: foreground.spawner,
            closing: foreground.closing,
        });
        let watches = Watches { client, client_ca };
        Ok(Self { clients, probes, state, server, watches, config, background, end })
    }

    /// The address that clients connect to.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.clients.local_addr()
    }

    /// The address of the probes.
    ///
    /// # Errors
    /// The system does not say.
    pub fn health_address(&self) -> Option<std::io::Result<SocketAddr>> {
        self.probes.first().map(TcpListener::local_addr)
    }

    /// Serves until `stop` is cancelled and everything that was begun has ended, or the drain timeout is over.
    pub async fn run(self, stop: CancellationToken) {
        let Self { clients, probes, state, server, watches, config, background, end } = self;
        watches.start(&config, &state, &background);
        for listener in probes {
            background.spawn(plain::serve(listener, state.clone(), background.clone()));
        }
        let (closing, last_call) = (server.closing.clone(), server.handler.leases.last_call.clone());
        let connections = server.spawner.clone();
        let accepting = server.run(clients);
        let stopping = async {
            stop.cancelled().await;
            tracing::info!(drain = ?config.timeouts.drain, "stopping");
            state.is_stopping.store(true, Ordering::Release);
            // Clients are still sent here until everybody has noticed.
            tokio::time::sleep(config.timeouts.stop_delay).await;
            closing.cancel();
        };
        tokio::join!(accepting, stopping);
        let patience = config.timeouts.drain.saturating_sub(LAST_CALL);
        if tokio::time::timeout(patience, connections.ended()).await.is_err() {
            tracing::warn!("requests still go on: --drain-timeout is over in a moment");
            last_call.cancel();
            let rest = config.timeouts.drain.saturating_sub(patience);
            // What is left now is dropped with the token below.
            let _ = tokio::time::timeout(rest, connections.ended()).await;
        }
        end.cancel();
        connections.ended().await;
        background.ended().await;
        tracing::info!("stopped");
    }
}

impl Watches {
    fn start(self, config: &Config, state: &State, spawner: &Spawner) {
        let Self { client, client_ca } = self;
        let (directory, room) = (&state.directory, &state.room);
        spawner.spawn(watch::workspaces(client.clone(), directory.clone(), room.clone()));
        let selector = config.runner_selector.clone();
        spawner.spawn(watch::runners(client.clone(), selector, directory.clone(), room.clone()));
        let (namespace, name) = (config.namespace.clone(), config.tls_secret.clone());
        spawner.spawn(watch::tls_secret(client.clone(), namespace, name, state.tls.clone()));
        if let Some(name) = config.serving_secret.clone() {
            let namespace = config.namespace.clone();
            spawner.spawn(watch::serving_secret(client.clone(), namespace, name, state.tls.clone()));
        }
        spawner.spawn(watch::client_ca(client, client_ca));
    }
}

fn build_handler(
    config: &Config,
    client: &Client,
    state: &State,
    client_ca: Arc<ClientCa>,
    background: &Spawner,
    foreground: &Foreground,
) -> Handler {
    let Config { timeouts, limits, .. } = config;
    let metrics = &state.metrics;
    let reviewer = Reviewer::new(client.clone(), limits.reviews, timeouts.review, metrics.clone());
    let pool = Arc::new(Pool::default());
    background.spawn(pool.clone().sweep());
    let dialer = Dialer::new(state.tls.clone(), config.runner_port, background.clone());
    let authenticator = Authenticator::new(
        reviewer.clone(),
        &config.token_audiences,
        timeouts.clone(),
        limits.cached_reviews,
        client_ca,
        limits.stranger_rate,
        background.clone(),
    );
    let authorizer = Authorizer::new(reviewer, timeouts.clone(), limits.cached_reviews, background.clone());
    let leases = Leases {
        authenticator: Arc::new(authenticator),
        authorizer: Arc::new(authorizer),
        timeouts: timeouts.clone(),
        closing: foreground.closing.clone(),
        last_call: foreground.last_call.clone(),
    };
    Handler {
        leases: Arc::new(leases),
        postman: Postman {
            directory: state.directory.clone(),
            room: state.room.clone(),
            forwarder: Forwarder { dialer, pool },
            metrics: metrics.clone(),
            timeouts: timeouts.clone(),
        },
        openapi: OpenApi::default(),
        metrics: metrics.clone(),
        limits: limits.clone(),
        slots: Arc::new(Semaphore::new(limits.requests)),
        users: Arc::new(Meters::new(limits.user_rate, limits.user_requests)),
        request_ids: RequestIds::default(),
        spawner: foreground.spawner.clone(),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}
