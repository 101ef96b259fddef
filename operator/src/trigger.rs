//! Asking for a reconcile from elsewhere: a set of objects to look at again.
//!
//! It is bounded by the number of objects there are, because asking twice for the same object before it is looked at asks
//! once. There is one reader.
//!
//! Lock order: the set's lock is a leaf; nothing else is locked while it is held.

use futures::Stream;
use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Objects to look at again.
#[derive(Debug)]
pub struct Triggers<K>(Arc<Shared<K>>);

#[derive(Debug)]
struct Shared<K> {
    waiting: Mutex<HashSet<K>>,
    changed: Notify,
}

impl<K> Clone for Triggers<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for Triggers<K> {
    fn default() -> Self {
        Self(Arc::new(Shared { waiting: Mutex::default(), changed: Notify::new() }))
    }
}

impl<K: Eq + Hash> Triggers<K> {
    /// Asks for these objects.
    pub fn extend(&self, keys: impl IntoIterator<Item = K>) {
        self.waiting().extend(keys);
        self.0.changed.notify_one();
    }

    /// Asks for this object.
    pub fn push(&self, key: K) {
        self.extend([key]);
    }

    /// What is asked for by now, without waiting.
    pub fn try_take(&self) -> Vec<K> {
        self.waiting().drain().collect()
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<K>> {
        // A set is whole after every operation, even if its user panicked.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects asked for, as they are asked for. Never ends.
    pub fn stream(&self) -> impl Stream<Item = K> + Send + use<K>
    where
        K: Send,
    {
        futures::stream::unfold((self.clone(), Vec::new()), |(triggers, mut batch)| async move {
            loop {
                if let Some(key) = batch.pop() {
                    return Some((key, (triggers, batch)));
                }
                batch = triggers.try_take();
                if batch.is_empty() {
                    triggers.0.changed.notified().await;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    #[tokio::test]
    async fn asking_twice_asks_once_and_nothing_is_lost() {
        let triggers = Triggers::default();
        triggers.extend([1, 1, 2]);
        let mut stream = Box::pin(triggers.stream());
        let mut seen = vec![stream.next().await.unwrap(), stream.next().await.unwrap()];
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        let other = triggers.clone();
        let (next, ()) = tokio::join!(stream.next(), async { other.push(3) });
        assert_eq!(next, Some(3));
    }
}
