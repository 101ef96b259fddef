//! The outlook of a namespace: what stands in the way of its runners, and since when nobody needs them.
//!
//! Written by the reconcile of the namespace; read by the reconciles of its Workspaces, which put it into their conditions.
//!
//! Lock order: the lock is a leaf.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The outlook of each namespace.
#[derive(Debug, Default)]
pub struct Outlook(Mutex<HashMap<String, Entry>>);

/// What stands in the way of a namespace's runners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Whether somebody has to change something; if not, the operator goes on by itself.
    pub is_refusal: bool,
    /// What, for people.
    pub message: String,
}

#[derive(Debug, Default)]
struct Entry {
    obstacle: Option<Obstacle>,
    idle_since: Option<Instant>,
}

impl Outlook {
    /// What stands in the way of a namespace's runners.
    pub fn obstacle(&self, namespace: &str) -> Option<Obstacle> {
        self.lock().get(namespace)?.obstacle.clone()
    }

    /// Sets what stands in the way. Returns whether that is news.
    pub fn set_obstacle(&self, namespace: &str, obstacle: Option<Obstacle>) -> bool {
        let mut entries = self.lock();
        if obstacle.is_none() && !entries.contains_key(namespace) {
            return false;
        }
        let entry = entries.entry(namespace.to_owned()).or_default();
        let news = entry.obstacle != obstacle;
        entry.obstacle = obstacle;
        news
    }

    /// A namespace needs no runner. Returns how long that has been so.
    pub fn idle(&self, namespace: &str) -> Duration {
        let mut entries = self.lock();
        entries.entry(namespace.to_owned()).or_default().idle_since.get_or_insert_with(Instant::now).elapsed()
    }

    /// A namespace needs runners.
    pub fn busy(&self, namespace: &str) {
        if let Some(entry) = self.lock().get_mut(namespace) {
            entry.idle_since = None;
        }
    }

    /// A namespace has no runners any more.
    pub fn forget(&self, namespace: &str) {
        self.lock().remove(namespace);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        // Each operation leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
