//! Remembers the API server's answers for a few seconds, and never asks the same question twice at the same time.
//!
//! Keys are hashes, so that neither tokens nor names are kept. The way of a remembered answer is one read lock and no
//! allocation. While nobody answers, the last answer counts for a while longer, and nobody who has one waits for more than
//! [`PATIENCE`]: a question goes on as long as somebody waits for its answer, and where there is a last answer, in a task
//! until its own deadline, so that what is answered late (a refusal above all) is remembered at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::time::Instant;

use crate::spawn::Spawner;

/// Hash of a question.
pub(crate) type Key = [u8; 32];

/// An answer, and how long it may be remembered from the moment the question was asked.
#[derive(Clone, Debug)]
pub(crate) struct Reviewed<T> {
    pub(crate) answer: T,
    pub(crate) ttl: Duration,
    /// For how much longer it counts while nobody answers. Answers with any are kept until others need their room; those
    /// without are easily asked for by strangers, and are the first to go.
    pub(crate) grace: Duration,
}

/// What comes of a question.
pub(crate) type Review<T, E> = Result<Reviewed<T>, E>;

/// Why there is no answer.
pub(crate) trait Failure {
    /// Whether nobody answers, so that the last answer has to do.
    fn is_outage(&self) -> bool;
}

/// Any age that an answer may be remembered at.
pub(crate) const ANY_AGE: Duration = Duration::MAX;
/// While nobody answers, they are asked again after this.
const OUTAGE_PAUSE: Duration = Duration::from_secs(1);
/// Whoever has a last answer waits so long for a fresh one; not at all if the last question brought none.
const PATIENCE: Duration = Duration::from_secs(1);

/// A question on its way.
type Pending<T, E> = BoxFuture<'static, Result<T, E>>;

/// Answers by question.
pub(crate) struct ReviewCache<T, E> {
    memory: Arc<Memory<T>>,
    pending: Mutex<HashMap<Key, WeakShared<Pending<T, E>>>>,
    /// For questions that go on by themselves.
    spawner: Spawner,
}

/// What is remembered; questions on their way write into it.
struct Memory<T> {
    capacity: usize,
    /// Answers that have a grace.
    kept: RwLock<HashMap<Key, Entry<T>>>,
    /// Answers that have none.
    passing: RwLock<HashMap<Key, Entry<T>>>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    answer: T,
    asked: Instant,
    expires: Instant,
    /// When it stops counting while nobody answers.
    dies: Instant,
    /// Nobody answered a moment ago: until then it counts without being asked for.
    rests: Option<Instant>,
}

impl<T> Entry<T> {
    fn counts(&self, now: Instant, most_age: Duration) -> bool {
        let is_fresh = now < self.expires && now.duration_since(self.asked) <= most_age;
        is_fresh || (self.rests.is_some_and(|until| now < until) && now < self.dies)
    }
}

impl<T, E> ReviewCache<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Failure + Clone + Send + Sync + 'static,
{
    /// A cache of so many answers of each sort, whose questions go on in tasks of this spawner.
    pub(crate) fn new(capacity: usize, spawner: Spawner) -> Self {
        let memory = Memory { capacity, kept: RwLock::default(), passing: RwLock::default() };
        Self { memory: Arc::new(memory), pending: Mutex::default(), spawner }
    }

    /// The remembered answer, if it is fresh and no older than that.
    pub(crate) fn get(&self, key: &Key, most_age: Duration) -> Option<T> {
        let (now, memory) = (Instant::now(), &self.memory);
        [&memory.kept, &memory.passing].into_iter().find_map(|entries| {
            let entries = entries.read().unwrap_or_else(PoisonError::into_inner);
            entries.get(key).filter(|entry| entry.counts(now, most_age)).map(|entry| entry.answer.clone())
        })
    }

    /// The last answer that had a grace, fresh or not.
    pub(crate) fn last(&self, key: &Key) -> Option<T> {
        let kept = self.memory.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).map(|entry| entry.answer.clone())
    }

    /// The remembered answer, or the one that `ask` brings. Failures are not remembered.
    pub(crate) async fn get_or_ask<F>(
        &self,
        key: Key,
        most_age: Duration,
        ask: impl FnOnce() -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Review<T, E>> + Send + 'static,
    {
        if let Some(answer) = self.get(&key, most_age) {
            return Ok(answer);
        }
        let (question, is_new) = self.join_or_start(key, ask);
        let patience = self.memory.patience(&key);
        let outcome = match patience {
            None => question.await,
            Some(patience) => {
                if is_new {
                    let question = question.clone();
                    self.spawner.spawn(async move { drop(question.await) });
                }
                let outcome = match patience.is_zero() {
                    true => None,
                    false => tokio::time::timeout(patience, question.clone()).await.ok(),
                };
                match outcome {
                    Some(outcome) => outcome,
                    // What was known may be over by now; then there is nothing but to wait.
                    None => match self.memory.last_answer(&key) {
                        Some(answer) => return Ok(answer),
                        None => question.await,
                    },
                }
            }
        };
        self.forget_pending(&key);
        match outcome {
            Ok(answer) => Ok(answer),
            Err(error) if error.is_outage() => self.memory.last_answer(&key).ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// The question on its way, and whether it sets out only now.
    fn join_or_start<F>(&self, key: Key, ask: impl FnOnce() -> F) -> (Shared<Pending<T, E>>, bool)
    where
        F: Future<Output = Review<T, E>> + Send + 'static,
    {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let on_its_way = pending.get(&key).and_then(WeakShared::upgrade);
        if let Some(shared) = on_its_way.filter(|shared| shared.peek().is_none()) {
            return (shared, false);
        }
        let (asked, memory, question) = (Instant::now(), self.memory.clone(), ask());
        let shared = async move {
            question.await.map(|Reviewed { answer, ttl, grace }| {
                let expires = asked + ttl;
                let entry =
                    Entry { answer: answer.clone(), asked, expires, dies: expires + grace, rests: None };
                memory.remember(key, entry);
                answer
            })
        }
        .boxed()
        .shared();
        // Questions whose askers all left are swept here, so that the map stays as small as the traffic.
        if pending.len() >= self.memory.capacity {
            pending.retain(|_, weak| weak.upgrade().is_some());
        }
        if let Some(weak) = shared.downgrade() {
            pending.insert(key, weak);
        }
        (shared, true)
    }

    fn forget_pending(&self, key: &Key) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |weak: &WeakShared<_>| weak.upgrade().is_none_or(|shared| shared.peek().is_some());
        if pending.get(key).is_some_and(is_over) {
            pending.remove(key);
        }
    }
}

impl<T: Clone> Memory<T> {
    /// How long to wait for a fresh answer, if there is one that counts while nobody answers.
    fn patience(&self, key: &Key) -> Option<Duration> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let entry = kept.get(key).filter(|entry| Instant::now() < entry.dies)?;
        Some(if entry.rests.is_some() { Duration::ZERO } else { PATIENCE })
    }

    /// The last answer, if it still counts while nobody answers.
    fn last_answer(&self, key: &Key) -> Option<T> {
        let now = Instant::now();
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let entry = kept.get_mut(key).filter(|entry| now < entry.dies)?;
        entry.rests = Some(now + OUTAGE_PAUSE);
        Some(entry.answer.clone())
    }

    fn remember(&self, key: Key, entry: Entry<T>) {
        if self.capacity == 0 {
            return;
        }
        if entry.dies > entry.expires {
            self.passing.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
            self.keep(key, entry);
        } else {
            self.kept.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
            let mut passing = self.passing.write().unwrap_or_else(PoisonError::into_inner);
            // They live for seconds; to look for the oldest of them would cost more than to ask again.
            if passing.len() >= self.capacity {
                passing.clear();
            }
            passing.insert(key, entry);
        }
    }

    fn keep(&self, key: Key, entry: Entry<T>) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.capacity && !kept.contains_key(&key) {
            let now = Instant::now();
            kept.retain(|_, entry| now < entry.dies);
            if kept.len() >= self.capacity
                && let Some(first) = kept.iter().min_by_key(|(_, entry)| entry.dies).map(|(key, _)| *key)
            {
                kept.remove(&first);
            }
        }
        kept.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio_util::sync::CancellationToken;

    use super::*;

    type Cache = ReviewCache<usize, &'static str>;

    fn cache(capacity: usize) -> Cache {
        Cache::new(capacity, Spawner::new(CancellationToken::new()))
    }

    impl Failure for &'static str {
        fn is_outage(&self) -> bool {
            *self == "down"
        }
    }

    fn kept(answer: usize, ttl: u64) -> Reviewed<usize> {
        Reviewed { answer, ttl: Duration::from_secs(ttl), grace: Duration::from_secs(60) }
    }

    fn passing(answer: usize) -> Reviewed<usize> {
        Reviewed { grace: Duration::ZERO, ..kept(answer, 2) }
    }

    async fn remember(cache: &Cache, key: u8, reviewed: Reviewed<usize>) {
        tokio::time::advance(Duration::from_millis(1)).await;
        cache.get_or_ask([key; 32], Duration::ZERO, || async { Ok(reviewed) }).await.unwrap();
    }

    /// A question that takes a second and is answered with how often it was asked.
    fn ask(count: &Arc<AtomicUsize>) -> impl Future<Output = Review<usize, &'static str>> + Send + 'static {
        let count = count.clone();
        async move {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(kept(number, 10))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_remembered_for_its_lifetime_from_the_question_on() {
        let (cache, count) = (cache(8), Arc::default());
        assert_eq!(cache.get_or_ask([1; 32], ANY_AGE, || ask(&count)).await, Ok(1));
        tokio::time::advance(Duration::from_millis(8_900)).await;
        assert_eq!(cache.get_or_ask([1; 32], ANY_AGE, || ask(&count)).await, Ok(1));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(cache.get_or_ask([1; 32], ANY_AGE, || ask(&count)).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_asked_once_however_many_wait_for_its_answer() {
        let (cache, count) = (cache(8), Arc::default());
        let askers = (0..20).map(|_| cache.get_or_ask([1; 32], ANY_AGE, || ask(&count)));
        let answers = futures::future::join_all(askers).await;
        assert!(answers.iter().all(|answer| *answer == Ok(1)), "{answers:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_goes_on_when_the_one_who_asked_first_leaves() {
        let (cache, count) = (cache(8), Arc::default());
        let mut first = Box::pin(cache.get_or_ask([1; 32], ANY_AGE, || ask(&count)));
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(cache.get_or_ask([1; 32], ANY_AGE, || ask(&count)));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await, Ok(1));
        assert_eq!(cache.get(&[1; 32], ANY_AGE), Some(1), "whoever stayed remembers the answer");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_not_remembered() {
        let (cache, count) = (cache(8), Arc::default());
        let failure = cache.get_or_ask([1; 32], ANY_AGE, || async { Err("down") }).await;
        assert_eq!(failure, Err("down"));
        assert_eq!(cache.get_or_ask([1; 32], ANY_AGE, || ask(&count)).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_cache_forgets_what_expires_first() {
        let cache = cache(2);
        for (key, ttl) in [(1, 30), (2, 10), (3, 20)] {
            remember(&cache, key, kept(usize::from(key), ttl)).await;
        }
        let known = [1, 2, 3].map(|key| cache.get(&[key; 32], ANY_AGE));
        assert_eq!(known, [Some(1), None, Some(3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_refusals_makes_nobody_unknown() {
        let cache = cache(4);
        remember(&cache, 200, kept(7, 10)).await;
        tokio::time::advance(Duration::from_secs(11)).await;
        for key in 0..100 {
            remember(&cache, key, passing(0)).await;
        }
        assert!(cache.last(&[200; 32]).is_some(), "it has expired, and it was good");
        assert!(cache.last(&[99; 32]).is_none());
        assert_eq!(cache.get(&[99; 32], ANY_AGE), Some(0));
        assert!(cache.memory.passing.read().unwrap().len() <= 4);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_refused_later_is_not_remembered_as_good() {
        let cache = cache(4);
        remember(&cache, 1, kept(1, 10)).await;
        remember(&cache, 1, passing(0)).await;
        assert!(cache.last(&[1; 32]).is_none());
        assert_eq!(cache.get(&[1; 32], ANY_AGE), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_wants_a_younger_answer_asks_again_for_all() {
        let cache = cache(4);
        remember(&cache, 1, kept(1, 10)).await;
        tokio::time::advance(Duration::from_secs(5)).await;
        let young = Duration::from_secs(4);
        assert_eq!(cache.get(&[1; 32], young), None);
        let answer = cache.get_or_ask([1; 32], young, || async { Ok(kept(2, 10)) }).await;
        assert_eq!((answer, cache.get(&[1; 32], ANY_AGE)), (Ok(2), Some(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn while_nobody_answers_the_last_answer_counts_for_its_grace() {
        let (cache, asked) = (cache(4), Arc::new(AtomicUsize::new(0)));
        let ask = |error: &'static str| {
            asked.fetch_add(1, Ordering::SeqCst);
            async move { Err::<Reviewed<usize>, _>(error) }
        };
        remember(&cache, 1, kept(1, 10)).await;
        remember(&cache, 2, passing(0)).await;
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(
            cache.get_or_ask([1; 32], ANY_AGE, || ask("busy")).await,
            Err("busy"),
            "that is our fault"
        );
        asked.store(0, Ordering::SeqCst);
        assert_eq!(cache.get_or_ask([1; 32], ANY_AGE, || ask("down")).await, Ok(1));
        assert_eq!(
            cache.get_or_ask([1; 32], ANY_AGE, || ask("down")).await,
            Ok(1),
            "they are not asked at once"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert_eq!(cache.get_or_ask([2; 32], ANY_AGE, || ask("down")).await, Err("down"));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(cache.get_or_ask([1; 32], ANY_AGE, || ask("down")).await, Err("down"));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_a_last_answer_does_not_wait_for_one_who_never_answers() {
        let cache = cache(4);
        let silence = || async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Err::<Reviewed<usize>, _>("down")
        };
        remember(&cache, 1, kept(1, 10)).await;
        tokio::time::advance(Duration::from_secs(11)).await;
        let began = Instant::now();
        let mut waited = Vec::new();
        while began.elapsed() < Duration::from_secs(30) {
            let asked = Instant::now();
            assert_eq!(cache.get_or_ask([1; 32], ANY_AGE, silence).await, Ok(1));
            waited.push(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let waits: Vec<_> = waited.iter().filter(|wait| **wait > Duration::ZERO).collect();
        assert!(waits.len() == 1 && *waits[0] <= PATIENCE + Duration::from_millis(1), "{waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_counts_from_then_on_whoever_waited() {
        for (answer, later) in [(kept(2, 10), 2), (passing(0), 0)] {
            let cache = cache(4);
            remember(&cache, 1, kept(1, 10)).await;
            tokio::time::advance(Duration::from_secs(11)).await;
            let slow = move || async move {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                Ok(answer)
            };
            assert_eq!(cache.get_or_ask([1; 32], ANY_AGE, slow).await, Ok(1), "they wait for a second");
            tokio::time::sleep(Duration::from_millis(600)).await;
            assert_eq!(cache.get(&[1; 32], ANY_AGE), Some(later));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn questions_that_nobody_waits_for_do_not_pile_up() {
        let (cache, count) = (cache(2), Arc::default());
        for key in 0..10 {
            let mut asker = Box::pin(cache.get_or_ask([key; 32], ANY_AGE, || ask(&count)));
            assert!(futures::poll!(&mut asker).is_pending());
        }
        assert!(cache.pending.lock().unwrap().len() <= 3);
    }
}
