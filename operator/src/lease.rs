//! Leader election by a Lease: of several replicas, one reconciles.
//!
//! A holder renews its Lease three times within its duration. A replica takes a Lease over when it has seen no renewal for a
//! whole duration *by its own clock* (clocks of machines are never compared), or when it was released. A holder that can't
//! renew stops after two thirds of the duration: before anybody else may start. It counts from before the write, others count
//! from after it.
//!
//! [`judge`] is the pure rule; [`Elector`] reads, writes and waits. Writes carry the version that was read, so of two
//! replicas that take over at once one fails.

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Name of the operator's Lease.
pub const LEASE_NAME: &str = "lodge-operator";

/// A replica that wants to lead.
#[derive(Clone, Debug)]
pub struct Elector {
    api: Api<Lease>,
    identity: String,
    duration: Duration,
}

/// A Lease that this replica holds.
#[derive(Debug)]
pub struct Held {
    lease: Lease,
    /// When the last write that succeeded began.
    renewed: Instant,
}

/// What a replica saw of the Lease, and since when it has looked like that.
#[derive(Clone, Debug, PartialEq)]
struct Sighting {
    holder: Option<String>,
    renewed: Option<MicroTime>,
    since: Instant,
}

/// What to do about a Lease.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Take,
    Wait,
}

impl Elector {
    /// A replica that wants the Lease in this namespace.
    pub fn new(client: Client, namespace: &str, identity: String, duration: Duration) -> Self {
        Self { api: Api::namespaced(client, namespace), identity, duration }
    }

    /// Waits until this replica leads. Failures of the API server are logged and waited out.
    pub async fn acquire(&self) -> Held {
        let mut seen: Option<Sighting> = None;
        loop {
            match self.try_acquire(&mut seen).await {
                Ok(Some(held)) => return held,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not read or take the lease {LEASE_NAME}, trying again")
                }
            }
            sleep(self.duration / 8).await;
        }
    }

    /// Renews the Lease until that fails for too long, or somebody else has it. Ends in time whatever the API server does,
    /// even if it doesn't answer at all.
    pub async fn hold(&self, held: &mut Held) {
        let mut wait = self.duration / 3;
        loop {
            let deadline = held.renewed + self.duration * 2 / 3;
            let attempt = async {
                sleep(wait).await;
                self.keep(held).await
            };
            match timeout_at(deadline, attempt).await {
                Ok(Some(pause)) => wait = pause,
                Ok(None) => return tracing::warn!("another replica took the lease {LEASE_NAME}"),
                Err(_) => return tracing::warn!("could not renew the lease {LEASE_NAME} in time"),
            }
        }
    }

    /// Tries to renew the Lease. Returns when to try next; `None` if somebody else has it.
    async fn keep(&self, held: &mut Held) -> Option<Duration> {
        let soon = self.duration / 15;
        let Err(error) = self.renew(held).await else { return Some(self.duration / 3) };
        if !is_conflict(&error) {
            tracing::warn!(%error, "could not renew the lease {LEASE_NAME}, trying again");
            return Some(soon);
        }
        match self.api.get(LEASE_NAME).await {
            // Our own write whose answer was lost, or metadata changed by somebody.
            Ok(lease) if holder(&lease) == Some(self.identity.as_str()) => {
                held.lease = lease;
                Some(Duration::ZERO)
            }
            Ok(_) => None,
            Err(_) => Some(soon),
        }
    }

    /// Gives the Lease back, so that another replica leads at once.
    ///
    /// # Errors
    /// If the API server refuses; the Lease then runs out by itself.
    pub async fn release(&self, held: Held) -> kube::Result<()> {
        let mut lease = held.lease;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        self.api.replace(LEASE_NAME, &PostParams::default(), &lease).await.map(|_| ())
    }

    async fn try_acquire(&self, seen: &mut Option<Sighting>) -> kube::Result<Option<Held>> {
        let Some(lease) = self.api.get_opt(LEASE_NAME).await? else {
            let metadata = ObjectMeta { name: Some(LEASE_NAME.to_owned()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(None)) };
            return lost_if_conflict(self.timed(self.api.create(&PostParams::default(), &lease)).await);
        };
        let sighting = sight(&lease, seen.take(), Instant::now());
        let verdict = judge(&sighting, &self.identity, self.duration, Instant::now());
        *seen = Some(sighting);
        match verdict {
            Verdict::Wait => Ok(None),
            Verdict::Take => {
                let taken = Lease { metadata: lease.metadata, spec: Some(self.spec(lease.spec.as_ref())) };
                let parameters = PostParams::default();
                lost_if_conflict(self.timed(self.api.replace(LEASE_NAME, &parameters, &taken)).await)
            }
        }
    }

    async fn renew(&self, held: &mut Held) -> kube::Result<()> {
        let mut lease = held.lease.clone();
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        let parameters = PostParams::default();
        *held = self.timed(self.api.replace(LEASE_NAME, &parameters, &lease)).await?;
        Ok(())
    }

    /// Waits for a write of the Lease, but not for long.
    async fn timed(&self, write: impl Future<Output = kube::Result<Lease>>) -> kube::Result<Held> {
        let renewed = Instant::now();
        let timed_out = |_| kube::Error::Service("timed out".into());
        let lease = timeout(self.duration / 3, write).await.map_err(timed_out)??;
        Ok(Held { lease, renewed })
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            acquire_time: Some(now.clone()),
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)),
            lease_transitions: Some(if before.is_some() { transitions.saturating_add(1) } else { 0 }),
            renew_time: Some(now),
            preferred_holder: None,
            strategy: None,
        }
    }
}

fn lost_if_conflict(result: kube::Result<Held>) -> kube::Result<Option<Held>> {
    match result {
        Ok(held) => Ok(Some(held)),
        Err(error) if is_conflict(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn sight(lease: &Lease, before: Option<Sighting>, now: Instant) -> Sighting {
    let holder = holder(lease).map(str::to_owned);
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
    match before {
        Some(before) if before.holder == holder && before.renewed == renewed => before,
        _ => Sighting { holder, renewed, since: now },
    }
}

fn judge(seen: &Sighting, identity: &str, duration: Duration, now: Instant) -> Verdict {
    match &seen.holder {
        None => Verdict::Take,
        // The same pod before a restart of its container: two of them never run at once.
        Some(holder) if holder == identity => Verdict::Take,
        Some(_) if now.duration_since(seen.since) >= duration => Verdict::Take,
        Some(_) => Verdict::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn lease(holder: Option<&str>, second: i64) -> Lease {
        let renew_time = Some(MicroTime(Timestamp::from_second(second).unwrap()));
        let holder_identity = holder.map(str::to_owned);
        Lease {
            spec: Some(LeaseSpec { holder_identity, renew_time, ..LeaseSpec::default() }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_released_lease_and_ones_own_are_taken_at_once() {
        let now = Instant::now();
        for holder in [None, Some(""), Some("me")] {
            assert_eq!(
                judge(&sight(&lease(holder, 1), None, now), "me", DURATION, now),
                Verdict::Take,
                "{holder:?}"
            );
        }
    }

    #[test]
    fn a_lease_is_taken_over_when_it_was_not_renewed_for_its_duration_by_our_clock() {
        let start = Instant::now();
        // Its time is long past by any clock, but that says nothing.
        let seen = sight(&lease(Some("other"), 1), None, start);
        assert_eq!(judge(&seen, "me", DURATION, start), Verdict::Wait);
        let later = start + DURATION / 2;
        let renewed = sight(&lease(Some("other"), 2), Some(seen), later);
        assert_eq!(judge(&renewed, "me", DURATION, start + DURATION), Verdict::Wait);
        let still = sight(&lease(Some("other"), 2), Some(renewed), later + DURATION);
        assert_eq!(judge(&still, "me", DURATION, later + DURATION), Verdict::Take);
    }
}
