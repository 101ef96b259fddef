//! Connects to runners: TCP, mutual TLS, HTTP/1.1. A runner that could not be reached is tried by one request at a time
//! until it answers, so that many who wait for it do not knock all at once.
//!
//! The TLS server name comes from namespace, Service and name, so that only a certificate of that namespace counts.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::body::OutboundBody;
use crate::directory::RunnerEntry;
use crate::socket;
use crate::spawn::Spawner;
use crate::tls::TlsStore;

/// A TCP connection to a runner takes less than this, or the runner is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// So does the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A runner that was not reached is left alone for so long.
const REST: Duration = Duration::from_millis(50);
/// Runners that were not reached, at most; more are forgotten and tried at once.
const MOST_RESTING: usize = 4096;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Its pod runs nowhere.
    #[error("its pod has no address")]
    NoAddress,
    /// There is no certificate to show.
    #[error("the gateway has no certificate yet")]
    NoCertificate,
    /// Its name is not one that Kubernetes gives.
    #[error("its name cannot be used: {0}")]
    Name(#[from] InvalidDnsNameError),
    /// The network says no.
    #[error("connecting: {0}")]
    Connect(io::Error),
    /// TLS says no.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// Nothing came.
    #[error("{0} took too long")]
    TimedOut(&'static str),
    /// Its HTTP is not ours.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// Somebody else is trying, or has just tried.
    #[error("it was not reached a moment ago")]
    Resting,
}

/// A connection to a runner that takes one request at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<OutboundBody>,
    /// What requests on it say in `Host`.
    pub(crate) host: HeaderValue,
}

/// Connects to runners.
pub(crate) struct Dialer {
    tls: Arc<TlsStore>,
    port: u16,
    /// Drives the connections.
    spawner: Spawner,
    /// Until when nobody else tries, by UID of the pod.
    resting: Mutex<HashMap<Arc<str>, Instant>>,
}

impl Dialer {
    pub(crate) fn new(tls: Arc<TlsStore>, port: u16, spawner: Spawner) -> Self {
        Self { tls, port, spawner, resting: Mutex::default() }
    }

    /// A new connection.
    pub(crate) async fn dial(&self, runner: &RunnerEntry) -> Result<Connection, Error> {
        let mut turn = self.claim(runner)?;
        let outcome = self.connect(runner).await;
        turn.was_reached = Some(outcome.is_ok());
        outcome
    }

    /// Takes the turn of trying a runner that was not reached before. Everybody may try any other.
    fn claim<'a>(&'a self, runner: &'a RunnerEntry) -> Result<Turn<'a>, Error> {
        let now = Instant::now();
        match self.lock().get_mut(&runner.pod_uid) {
            Some(until) if now < *until => return Err(Error::Resting),
            Some(until) => *until = now + CONNECT_TIMEOUT + HANDSHAKE_TIMEOUT,
            None => {}
        }
        Ok(Turn { dialer: self, pod_uid: &runner.pod_uid, was_reached: None })
    }

    async fn connect(&self, runner: &RunnerEntry) -> Result<Connection, Error> {
        let address = SocketAddr::new(runner.address.ok_or(Error::NoAddress)?, self.port);
        let material = self.tls.current().ok_or(Error::NoCertificate)?;
        let name = server_name(runner);
        let server = ServerName::try_from(name.clone())?;
        // Every DNS name can be a header's value.
        let host = HeaderValue::try_from(name).unwrap_or_else(|_| HeaderValue::from_static("runner"));

        let tcp = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|_| Error::TimedOut("connecting"))?
            .map_err(Error::Connect)?;
        socket::prepare(&tcp);
        let handshake = TlsConnector::from(material.client.clone()).connect(server, tcp);
        let tls = timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| Error::TimedOut("the TLS handshake"))?
            .map_err(Error::Tls)?;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        self.spawner.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a runner ended");
            }
        });
        Ok(Connection { sender, host })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn of trying a runner; over when it is dropped.
struct Turn<'a> {
    dialer: &'a Dialer,
    pod_uid: &'a Arc<str>,
    /// Nothing if whoever tried has left.
    was_reached: Option<bool>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut resting = self.dialer.lock();
        match self.was_reached {
            Some(true) => drop(resting.remove(self.pod_uid)),
            Some(false) => {
                if resting.len() >= MOST_RESTING {
                    resting.clear();
                }
                resting.insert(self.pod_uid.clone(), Instant::now() + REST);
            }
            None => {
                if let Some(until) = resting.get_mut(self.pod_uid) {
                    *until = Instant::now();
                }
            }
        }
    }
}

/// What a runner's certificate says.
fn server_name(runner: &RunnerEntry) -> String {
    format!("{}.{}.{}.svc", runner.name, runner.service, runner.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner() -> RunnerEntry {
        RunnerEntry {
            namespace: "team-a".into(),
            name: "lodge-runner-0".into(),
            service: "lodge-runner".into(),
            pod_uid: "p".into(),
            address: None,
            is_ready: true,
        }
    }

    #[test]
    fn a_runner_is_known_by_a_certificate_of_its_namespace() {
        assert_eq!(server_name(&runner()), "lodge-runner-0.lodge-runner.team-a.svc");
    }

    #[tokio::test(start_paused = true)]
    async fn a_runner_that_was_not_reached_is_tried_by_one_at_a_time() {
        let tls = Arc::new(TlsStore::new(Arc::new(rustls::crypto::ring::default_provider())));
        let dialer = Dialer::new(tls, 1, Spawner::new(tokio_util::sync::CancellationToken::new()));
        assert!(matches!(dialer.dial(&runner()).await, Err(Error::NoAddress)));
        assert!(matches!(dialer.dial(&runner()).await, Err(Error::Resting)));
        tokio::time::advance(REST).await;
        let runner = runner();
        let turn = dialer.claim(&runner).unwrap();
        assert!(matches!(dialer.claim(&runner), Err(Error::Resting)), "somebody else tries");
        drop(turn);
        assert!(dialer.claim(&runner).is_ok(), "whoever tried has left");
    }
}
