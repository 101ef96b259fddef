//! What the gateway is told at its start. Read once, in `main`; every number says what it protects.

use std::net::SocketAddr;
use std::time::Duration;

/// Configuration of a gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the HTTPS listener.
    pub listen: SocketAddr,
    /// Address of `/healthz` and `/readyz`.
    pub health_listen: SocketAddr,
    /// Address of `/metrics`.
    pub metrics_listen: SocketAddr,
    /// Namespace that Lodge is installed in.
    pub namespace: String,
    /// Secret with the certificate shown to clients and to runners, and with the CA of runners.
    pub tls_secret: String,
    /// Secret with the certificate shown to clients that ask for one of its names.
    pub serving_secret: Option<String>,
    /// Audiences that bearer tokens must be meant for; empty means the API server's own.
    pub token_audiences: Vec<String>,
    /// Label selector of the runners' pods.
    pub runner_selector: String,
    /// Port of the runners' API.
    pub runner_port: u16,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How much of everything there may be.
    pub limits: Limits,
}

/// How long things may take, and how long answers are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A request waits so long for its workspace to be bound and its runner to answer. Then: 503 with `Retry-After`.
    pub hold: Duration,
    /// A request waits so long for a workspace that the gateway's watch may not have delivered yet. Then: 404.
    pub unknown_grace: Duration,
    /// The identity behind a token is remembered so long; bounds how long a revoked token still works.
    pub token: Duration,
    /// A refused token is remembered so long; protects the API server from clients that try again at once.
    pub refused_token: Duration,
    /// A granted permission is remembered so long; bounds how long a withdrawn permission still works.
    pub allowed: Duration,
    /// A denied permission is remembered so long; bounds how long a new permission does not work yet.
    pub denied: Duration,
    /// Who holds a stream is reviewed again this often, and the stream ended if the answer is no any longer.
    pub stream_recheck: Duration,
    /// What the API server last granted still counts so long while it does not answer; zero: not at all.
    pub outage_grace: Duration,
    /// A review by the API server may take so long, the wait for a place included. Then: 503.
    pub review: Duration,
    /// A TLS handshake may take so long. Then the connection is closed.
    pub handshake: Duration,
    /// The head of a request may take so long, idle time of the connection included. Then the connection is closed.
    pub header: Duration,
    /// A client may neither send nor take a byte of a body for so long. Then: 408, or the connection is closed.
    pub stall: Duration,
    /// Connections are still accepted so long after the signal to stop, until everybody has noticed that it is not ready.
    pub stop_delay: Duration,
    /// Requests may go on so long after the signal to stop. Then they are dropped.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(10),
            unknown_grace: Duration::from_millis(250),
            token: Duration::from_secs(8),
            refused_token: Duration::from_secs(2),
            allowed: Duration::from_secs(8),
            denied: Duration::from_secs(2),
            stream_recheck: Duration::from_secs(4),
            outage_grace: Duration::from_secs(60),
            review: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            stop_delay: Duration::from_secs(3),
            drain: Duration::from_secs(30),
        }
    }
}

/// How much of everything there may be. The names in errors are those of the command line (`--max-…`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of clients; protects memory and file descriptors. More wait in the listener's backlog.
    pub connections: usize,
    /// Connections of one client's address, so that one cannot take all. More are closed at once.
    pub connections_per_address: usize,
    /// Requests at once; protects memory. More get 503.
    pub requests: usize,
    /// Requests at once of one user, so that one cannot take all; streams count. More get 429.
    pub user_requests: usize,
    /// How often one user may ask. More get 429.
    pub user_rate: Rate,
    /// How often one client's address may come with credentials that are not known to be good, and without any. More get
    /// 429, and users who are known are not touched by that; protects the API server.
    pub stranger_rate: Rate,
    /// Requests that wait for one workspace; one workspace must not use up `held`. More get 429.
    pub held_per_workspace: usize,
    /// Requests that wait for a workspace; protects memory. More get 503.
    pub held: usize,
    /// Reviews of each kind (of tokens, of permissions) asked of the API server at once; protects the API server. Four
    /// times as many wait within the review timeout. More get 503.
    pub reviews: usize,
    /// Remembered identities, and as many permissions; protects memory. The one that expires first goes first.
    pub cached_reviews: usize,
    /// Bytes of a request's head; protects memory. More get 431.
    pub header_bytes: u32,
    /// Bytes of a JSON document: an exec, a process, a shell, a move. More get 413.
    pub exec_body_bytes: u64,
    /// Bytes of an upload: a file, an archive, a batch of files, standard input. More get 413.
    pub file_body_bytes: u64,
}

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many times a second; zero: as often as one likes.
    pub per_second: u32,
    /// So many times at once, after a quiet time.
    pub burst: u32,
}

/// Bodies up to this size are kept until the runner has taken the request, so that it can be sent again.
pub const REPLAYABLE_BODY_BYTES: u64 = 64 * 1024;
/// HTTP/2 streams of one connection.
pub const STREAMS_PER_CONNECTION: u32 = 128;
/// Headers of one request.
pub const HEADERS_PER_REQUEST: usize = 100;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 1024,
            requests: 4096,
            user_requests: 1024,
            user_rate: Rate { per_second: 2000, burst: 4000 },
            stranger_rate: Rate { per_second: 20, burst: 100 },
            held_per_workspace: 64,
            held: 1024,
            reviews: 64,
            cached_reviews: 16_384,
            header_bytes: 64 * 1024,
            exec_body_bytes: 16 * 1024 * 1024,
            file_body_bytes: 16 * 1024 * 1024 * 1024,
        }
    }
}
