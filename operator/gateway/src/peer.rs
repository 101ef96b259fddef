//! Who is at the other end of a connection, and whether they are doing anything.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::client_ca::PeerCertificate;
use crate::rate::network;

/// The other end of a connection. Lives as long as anything that goes on there, also after the connection has left HTTP.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) certificate: Option<PeerCertificate>,
    pub(crate) activity: Activity,
    /// What the connection takes up.
    pub(crate) _seat: Option<Seat>,
}

/// What goes on at a connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    going_on: AtomicUsize,
    changed: Notify,
}

impl Activity {
    fn begin(&self) {
        self.going_on.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
    }

    fn end(&self) {
        self.going_on.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// Completes when nothing has been going on for so long.
    pub(crate) async fn idle_for(&self, patience: Duration) {
        loop {
            let changed = self.changed.notified();
            if self.going_on.load(Ordering::Acquire) > 0 {
                changed.await;
            } else if tokio::time::timeout(patience, changed).await.is_err() {
                return;
            }
        }
    }
}

/// Something that goes on; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Presence(Arc<Peer>);

impl Presence {
    pub(crate) fn of(peer: &Arc<Peer>) -> Self {
        peer.activity.begin();
        Self(peer.clone())
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.activity.end();
    }
}

/// How many connections each address has.
#[derive(Debug)]
pub(crate) struct Seats {
    most_per_address: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place among all, and among those of its address.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    address: IpAddr,
    _slot: OwnedSemaphorePermit,
}

impl Seats {
    pub(crate) fn new(most_per_address: usize) -> Self {
        Self { most_per_address, taken: Mutex::default() }
    }

    /// Takes a place, unless the address has as many as it may.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr, slot: OwnedSemaphorePermit) -> Option<Seat> {
        let address = network(address);
        let mut taken = self.lock();
        let count = taken.entry(address).or_default();
        if *count >= self.most_per_address {
            return None;
        }
        *count += 1;
        Some(Seat { seats: self.clone(), address, _slot: slot })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::sync::Semaphore;
    use tokio::time::Instant;

    use super::*;

    fn peer() -> Arc<Peer> {
        let address = "127.0.0.1".parse().unwrap();
        Arc::new(Peer { address, certificate: None, activity: Activity::default(), _seat: None })
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_nothing_has_been_going_on_for_long() {
        let peer = peer();
        let patience = Duration::from_secs(60);
        let began = Instant::now();
        let mut idle = Box::pin(peer.activity.idle_for(patience));
        assert!((&mut idle).now_or_never().is_none());
        tokio::time::advance(Duration::from_secs(59)).await;
        let presence = Presence::of(&peer);
        assert!((&mut idle).now_or_never().is_none());
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!((&mut idle).now_or_never().is_none(), "somebody waits for an answer");
        drop(presence);
        idle.await;
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(59 + 600 + 60), "{took:?}");
    }

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let (seats, slots) = (Arc::new(Seats::new(1)), Arc::new(Semaphore::new(9)));
        let take =
            |address: &str| seats.take(address.parse().unwrap(), slots.clone().try_acquire_owned().unwrap());
        let first = take("10.0.0.1");
        assert!(first.is_some() && take("10.0.0.1").is_none() && take("10.0.0.2").is_some());
        drop(first);
        assert!(take("10.0.0.1").is_some());
        assert!(seats.lock().is_empty());
    }
}
