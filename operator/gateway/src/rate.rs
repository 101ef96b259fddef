//! How often somebody may ask, and how much at once: a token bucket and a count for each user, and for each address.
//!
//! Knows neither requests nor users, only keys. Bounded: whoever has been quiet long enough to have a full bucket is
//! forgotten, which changes nothing for them.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Rate;

/// Keys that are kept; more push out those that are quiet, and if all are busy, any.
const CAPACITY: usize = 16_384;

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Too often; once more after this.
    Rate(Duration),
    /// Too many at once.
    AtOnce,
}

/// Buckets and counts by key.
#[derive(Debug)]
pub(crate) struct Meters<K> {
    rate: Rate,
    most_at_once: usize,
    meters: Mutex<HashMap<K, Meter>>,
}

#[derive(Clone, Copy, Debug)]
struct Meter {
    /// How many more may come at `at`.
    left: f64,
    at: Instant,
    at_once: usize,
}

impl<K: Clone + Eq + Hash> Meters<K> {
    pub(crate) fn new(rate: Rate, most_at_once: usize) -> Self {
        Self { rate, most_at_once, meters: Mutex::default() }
    }

    /// Counts one more, if there may be one.
    pub(crate) fn enter(self: &Arc<Self>, key: K) -> Result<Stay<K>, Excess> {
        self.count(key.clone(), 1)?;
        Ok(Stay { meters: self.clone(), key })
    }

    /// Takes one from the bucket, if there is one.
    pub(crate) fn take(&self, key: K) -> Result<(), Excess> {
        self.count(key, 0)
    }

    /// Puts one back that [`Self::take`] took.
    pub(crate) fn give_back(&self, key: &K) {
        if let Some(meter) = self.lock().get_mut(key) {
            meter.left = (meter.left + 1.0).min(f64::from(self.rate.burst.max(1)));
        }
    }

    fn count(&self, key: K, stays: usize) -> Result<(), Excess> {
        let now = Instant::now();
        let burst = f64::from(self.rate.burst.max(1));
        let mut meters = self.lock();
        if meters.len() >= CAPACITY && !meters.contains_key(&key) {
            self.make_room(&mut meters, now);
        }
        let meter = meters.entry(key).or_insert(Meter { left: burst, at: now, at_once: 0 });
        if stays > 0 && meter.at_once >= self.most_at_once {
            return Err(Excess::AtOnce);
        }
        if self.rate.per_second > 0 {
            let per_second = f64::from(self.rate.per_second);
            meter.left = (meter.left + now.duration_since(meter.at).as_secs_f64() * per_second).min(burst);
            meter.at = now;
            if meter.left < 1.0 {
                return Err(Excess::Rate(Duration::from_secs_f64((1.0 - meter.left) / per_second)));
            }
            meter.left -= 1.0;
        }
        meter.at_once += stays;
        Ok(())
    }

    /// Forgets whoever would be the same if they were new. If nobody is, everybody who has nothing going on starts anew.
    fn make_room(&self, meters: &mut HashMap<K, Meter>, now: Instant) {
        let (burst, per_second) = (f64::from(self.rate.burst.max(1)), f64::from(self.rate.per_second));
        let is_full = |meter: &Meter| {
            per_second == 0.0 || meter.left + now.duration_since(meter.at).as_secs_f64() * per_second >= burst
        };
        meters.retain(|_, meter| meter.at_once > 0 || !is_full(meter));
        if meters.len() >= CAPACITY {
            meters.retain(|_, meter| meter.at_once > 0);
        }
    }

    fn leave(&self, key: &K) {
        if let Some(meter) = self.lock().get_mut(key) {
            meter.at_once = meter.at_once.saturating_sub(1);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, Meter>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of those that are counted at once; ends when dropped.
#[derive(Debug)]
pub(crate) struct Stay<K: Clone + Eq + Hash> {
    meters: Arc<Meters<K>>,
    key: K,
}

impl<K: Clone + Eq + Hash> Drop for Stay<K> {
    fn drop(&mut self) {
        self.meters.leave(&self.key);
    }
}

/// What an address is counted as: IPv6 networks give each customer at least a /64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meters(per_second: u32, burst: u32, most_at_once: usize) -> Arc<Meters<u32>> {
        Arc::new(Meters::new(Rate { per_second, burst }, most_at_once))
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_burst_there_is_room_again_at_the_rate() {
        let meters = meters(10, 3, 9);
        for _ in 0..3 {
            meters.take(1).unwrap();
        }
        let Err(Excess::Rate(wait)) = meters.take(1) else { panic!("a fourth was taken") };
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(meters.take(2), Ok(()), "others have buckets of their own");
        tokio::time::advance(Duration::from_millis(101)).await;
        assert_eq!(meters.take(1), Ok(()));
        assert!(meters.take(1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_can_be_taken_again() {
        let meters = meters(1, 1, 9);
        meters.take(1).unwrap();
        meters.give_back(&1);
        assert_eq!(meters.take(1), Ok(()));
        assert!(meters.take(1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_stay_at_once() {
        let meters = meters(0, 0, 2);
        let first = meters.enter(1).unwrap();
        let _second = meters.enter(1).unwrap();
        assert_eq!(meters.enter(1).unwrap_err(), Excess::AtOnce);
        drop(first);
        assert!(meters.enter(1).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_quiet_is_forgotten_before_there_are_too_many() {
        let meters = meters(1, 1, 9);
        let _stays = meters.enter(0).unwrap();
        for key in 1..100_000 {
            meters.take(key).unwrap();
        }
        let kept = meters.lock();
        assert!(kept.len() <= CAPACITY && kept.contains_key(&0), "{}", kept.len());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_counted_together() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2:3::4"), network("2001:db8:1:2:5::6"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
    }
}
