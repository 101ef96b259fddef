//! Remembers the API server's answers for a few seconds, and never asks the same question twice at the same time.
//!
//! Keys are hashes, so that neither tokens nor names are kept. The way of a remembered answer is one read lock and no
//! allocation. A question goes on as long as somebody waits for its answer; nobody owns a task.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::time::Instant;

/// Hash of a question.
pub(crate) type Key = [u8; 32];

/// An answer, and how long it may be remembered from the moment the question was asked.
pub(crate) type Review<T, E> = Result<(T, Duration), E>;

/// A question on its way; its answer comes with the moment when it expires.
type Pending<T, E> = BoxFuture<'static, Result<(T, Instant), E>>;

/// Answers by question.
pub(crate) struct ReviewCache<T, E> {
    capacity: usize,
    entries: RwLock<HashMap<Key, Entry<T>>>,
    pending: Mutex<HashMap<Key, WeakShared<Pending<T, E>>>>,
}

struct Entry<T> {
    answer: T,
    expires: Instant,
}

impl<T, E> ReviewCache<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, entries: RwLock::default(), pending: Mutex::default() }
    }

    /// The remembered answer, if it is fresh.
    pub(crate) fn get(&self, key: &Key) -> Option<T> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|entry| Instant::now() < entry.expires).map(|entry| entry.answer.clone())
    }

    /// The remembered answer, or the one that `ask` brings. Failures are not remembered.
    pub(crate) async fn get_or_ask<F>(&self, key: Key, ask: impl FnOnce() -> F) -> Result<T, E>
    where
        F: Future<Output = Review<T, E>> + Send + 'static,
    {
        if let Some(answer) = self.get(&key) {
            return Ok(answer);
        }
        let outcome = self.join_or_start(key, ask).await;
        self.forget_pending(&key);
        let (answer, expires) = outcome?;
        self.remember(key, answer.clone(), expires);
        Ok(answer)
    }

    fn join_or_start<F>(&self, key: Key, ask: impl FnOnce() -> F) -> Shared<Pending<T, E>>
    where
        F: Future<Output = Review<T, E>> + Send + 'static,
    {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = pending.get(&key).and_then(WeakShared::upgrade) {
            return shared;
        }
        let asked = Instant::now();
        let question = ask();
        let shared =
            async move { question.await.map(|(answer, ttl)| (answer, asked + ttl)) }.boxed().shared();
        // Questions whose askers all left are swept here, so that the map stays as small as the traffic.
        if pending.len() >= self.capacity {
            pending.retain(|_, weak| weak.upgrade().is_some());
        }
        if let Some(weak) = shared.downgrade() {
            pending.insert(key, weak);
        }
        shared
    }

    fn forget_pending(&self, key: &Key) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |weak: &WeakShared<_>| weak.upgrade().is_none_or(|shared| shared.peek().is_some());
        if pending.get(key).is_some_and(is_over) {
            pending.remove(key);
        }
    }

    fn remember(&self, key: Key, answer: T, expires: Instant) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.capacity && !entries.contains_key(&key) {
            let now = Instant::now();
            entries.retain(|_, entry| now < entry.expires);
            if entries.len() >= self.capacity
                && let Some(first) =
                    entries.iter().min_by_key(|(_, entry)| entry.expires).map(|(key, _)| *key)
            {
                entries.remove(&first);
            }
        }
        if self.capacity > 0 {
            entries.insert(key, Entry { answer, expires });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    type Cache = ReviewCache<usize, &'static str>;

    /// A question that takes a second and is answered with how often it was asked.
    fn ask(count: &Arc<AtomicUsize>) -> impl Future<Output = Review<usize, &'static str>> + Send + 'static {
        let count = count.clone();
        async move {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok((number, Duration::from_secs(10)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_remembered_for_its_lifetime_from_the_question_on() {
        let (cache, count) = (Cache::new(8), Arc::default());
        assert_eq!(cache.get_or_ask([1; 32], || ask(&count)).await, Ok(1));
        tokio::time::advance(Duration::from_millis(8_900)).await;
        assert_eq!(cache.get_or_ask([1; 32], || ask(&count)).await, Ok(1));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(cache.get_or_ask([1; 32], || ask(&count)).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_asked_once_however_many_wait_for_its_answer() {
        let (cache, count) = (Cache::new(8), Arc::default());
        let askers = (0..20).map(|_| cache.get_or_ask([1; 32], || ask(&count)));
        let answers = futures::future::join_all(askers).await;
        assert!(answers.iter().all(|answer| *answer == Ok(1)), "{answers:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_goes_on_when_the_one_who_asked_first_leaves() {
        let (cache, count) = (Cache::new(8), Arc::default());
        let mut first = Box::pin(cache.get_or_ask([1; 32], || ask(&count)));
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(cache.get_or_ask([1; 32], || ask(&count)));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await, Ok(1));
        assert_eq!(cache.get(&[1; 32]), Some(1), "whoever stayed remembers the answer");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_not_remembered() {
        let (cache, count) = (Cache::new(8), Arc::default());
        let failure = cache.get_or_ask([1; 32], || async { Err("down") }).await;
        assert_eq!(failure, Err("down"));
        assert_eq!(cache.get_or_ask([1; 32], || ask(&count)).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_cache_forgets_what_expires_first() {
        let cache = Cache::new(2);
        for (key, ttl) in [(1, 30), (2, 10), (3, 20)] {
            let review = async move { Ok((usize::from(key), Duration::from_secs(ttl))) };
            cache.get_or_ask([key; 32], || review).await.unwrap();
        }
        assert_eq!((cache.get(&[1; 32]), cache.get(&[2; 32]), cache.get(&[3; 32])), (Some(1), None, Some(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn questions_that_nobody_waits_for_do_not_pile_up() {
        let (cache, count) = (Cache::new(2), Arc::default());
        for key in 0..10 {
            let mut asker = Box::pin(cache.get_or_ask([key; 32], || ask(&count)));
            assert!(futures::poll!(&mut asker).is_pending());
        }
        assert!(cache.pending.lock().unwrap().len() <= 3);
    }
}
