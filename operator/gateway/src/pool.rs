//! Connections to runners that wait for their next request.
//!
//! They belong to a pod, not to its name: a pod that takes the name of another never gets its connections. The one that
//! was used last is used next, so that those that are not needed become old and go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::dial::Connection;

/// Shorter than any server keeps an idle connection, so that requests do not meet one that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often old ones are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Idle connections kept per runner.
const MOST_PER_RUNNER: usize = 256;

/// Idle connections by UID of the pod.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    parked: Mutex<HashMap<Arc<str>, Vec<Parked>>>,
}

#[derive(Debug)]
struct Parked {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// A connection that can take a request now.
    pub(crate) fn take(&self, pod_uid: &str) -> Option<Connection> {
        let now = Instant::now();
        let mut parked = self.lock();
        let connections = parked.get_mut(pod_uid)?;
        // The last ones may still be at the end of their last request.
        let at = connections.iter().rposition(|parked| parked.connection.sender.is_ready())?;
        let Parked { connection, since } = connections.swap_remove(at);
        (now.duration_since(since) < IDLE_TIMEOUT).then_some(connection)
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(crate) fn park(&self, pod_uid: &Arc<str>, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let since = Instant::now();
        let mut parked = self.lock();
        let connections = match parked.get_mut(pod_uid) {
            Some(connections) => connections,
            None => parked.entry(pod_uid.clone()).or_default(),
        };
        if connections.len() < MOST_PER_RUNNER {
            connections.push(Parked { connection, since });
        }
    }

    /// Closes what nobody needs, for ever.
    pub(crate) async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.close_old();
        }
    }

    fn close_old(&self) {
        let now = Instant::now();
        self.lock().retain(|_, connections| {
            connections.retain(|parked| {
                now.duration_since(parked.since) < IDLE_TIMEOUT && !parked.connection.sender.is_closed()
            });
            !connections.is_empty()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Vec<Parked>>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::body::OutboundBody;

    /// A connection that is ready, what drives it, and its other end.
    async fn connection() -> (Connection, JoinHandle<()>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        let (mut sender, driver) = http1::handshake::<_, OutboundBody>(TokioIo::new(ours)).await.unwrap();
        let driver = tokio::spawn(async { drop(driver.await) });
        sender.ready().await.unwrap();
        (Connection { sender, host: HeaderValue::from_static("r") }, driver, theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_belongs_to_a_pod() {
        let (pool, (connection, _driver, _theirs)) = (Pool::default(), connection().await);
        pool.park(&"pod-1".into(), connection);
        assert!(pool.take("pod-2").is_none());
        assert!(pool.take("pod-1").is_some());
        assert!(pool.take("pod-1").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_not_used_for_long_is_closed() {
        let (pool, (connection, driver, _theirs)) = (Arc::new(Pool::default()), connection().await);
        let _sweeper = tokio::spawn(pool.clone().sweep());
        pool.park(&"pod-1".into(), connection);
        driver.await.unwrap();
        assert!(pool.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_the_runner_has_closed_is_not_used() {
        let (pool, (connection, driver, theirs)) = (Pool::default(), connection().await);
        pool.park(&"pod-1".into(), connection);
        drop(theirs);
        driver.await.unwrap();
        assert!(pool.take("pod-1").is_none());
        pool.close_old();
        assert!(pool.lock().is_empty());
    }
}
