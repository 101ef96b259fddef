//! What happens in workspaces: collected from their VMs, kept (`journal`), and told to those who ask.
//!
//! ```text
//!   VM ──its events──▶ collector ──▶ journal ──▶ state.db
//!                        owner's own ──▶│  └ grown ──▶ followers ──▶ GET events
//! ```
//! Neither collecting nor following wakes a workspace or keeps it awake. Events are told as they were kept, so that who
//! follows and who comes later see the same.

mod collector;
mod feed;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vm_api::{Problem, ProblemCode, VmEvent};

pub(super) use self::collector::Collected;
pub(crate) use self::collector::Collector;
use self::collector::{Keeper, Order};
pub(crate) use self::feed::Feed;
use super::client::VmClient;
use super::journal::{Entry, Error, Journal};
use super::uid::Uid;

/// Most who follow the events of one workspace at once.
const MAX_FOLLOWERS: usize = 64;
/// Most who follow events at once.
const MAX_FOLLOWERS_OF_ALL: usize = 4096;
/// How long collectors get for what is on its way when the supervisor stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// The events of all workspaces. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    journal: Journal,
    /// Guarded by itself; a leaf in the lock order.
    followed: Mutex<Followed>,
    /// Who collects. Guarded by itself; a leaf in the lock order.
    collecting: Mutex<JoinSet<()>>,
}

/// The workspaces that somebody follows.
#[derive(Debug, Default)]
struct Followed {
    workspaces: HashMap<Uid, Followers>,
    count: usize,
}

#[derive(Debug)]
struct Followers {
    /// Says that there is more.
    grown: watch::Sender<()>,
    count: usize,
}

/// Somebody who follows a workspace's events.
#[derive(Debug)]
struct Follower {
    events: Events,
    uid: Uid,
    grown: watch::Receiver<()>,
}

impl Events {
    pub(crate) fn new(journal: Journal) -> Self {
        let inner = Inner { journal, followed: Mutex::default(), collecting: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Begins to collect the events of a VM, beginning with `booted`, once those of the VM before are kept.
    pub(crate) fn collect(
        &self,
        uid: &Uid,
        epoch: u64,
        vm: &Arc<VmClient>,
        booted: VmEvent,
        before: Option<Collected>,
    ) -> (Collector, Collected) {
        let (last, told) = oneshot::channel();
        let (done, collected) = oneshot::channel();
        let epoch = Arc::new(AtomicU64::new(epoch));
        let line = collector::Line::default();
        let collector = Collector { last, epoch: Arc::clone(&epoch), line: line.clone() };
        let order = Order {
            keeper: Keeper { events: self.clone(), uid: uid.clone(), epoch },
            vm: Arc::clone(vm),
            booted: Entry::of(booted),
            before,
            last: told,
            done,
            line,
        };
        let mut collecting = self.inner.collecting.lock().unwrap_or_else(PoisonError::into_inner);
        while collecting.try_join_next().is_some() {}
        collecting.spawn(collector::collect(order));
        (collector, collected)
    }

    /// Keeps events and tells those who follow. What cannot be kept is lost.
    pub(crate) async fn append(&self, uid: &Uid, epoch: u64, entries: Vec<Entry>) {
        match self.inner.journal.append(uid, epoch, entries).await {
            Ok(_) => self.grown(uid),
            // Deleted meanwhile.
            Err(Error::NoFolder) => {}
            Err(error) => tracing::warn!(workspace = %uid, %error, "events are lost"),
        }
    }

    /// Tells those who follow that there is more.
    pub(crate) fn grown(&self, uid: &Uid) {
        if let Some(followers) = self.followed().workspaces.get(uid) {
            followers.grown.send_replace(());
        }
    }

    /// Ends the streams of those who follow a workspace that is gone.
    pub(crate) fn end(&self, uid: &Uid) {
        let mut followed = self.followed();
        if let Some(followers) = followed.workspaces.remove(uid) {
            followed.count = followed.count.saturating_sub(followers.count);
        }
    }

    /// Follows the events of a workspace after an id.
    pub(crate) async fn follow(
        &self,
        uid: &Uid,
        epoch: u64,
        after: u64,
        stop: CancellationToken,
    ) -> Result<Feed, Problem> {
        let follower = self.enter(uid)?;
        Feed::begin(follower, epoch, after, stop).await
    }

    /// Waits until what is collected is kept. The VMs must have ended before.
    pub(crate) async fn finish(&self) {
        let mut collecting =
            std::mem::take(&mut *self.inner.collecting.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async { while collecting.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH_TIMEOUT, ended).await.is_err() {
            tracing::warn!("the last events of some VMs are lost");
        }
        self.inner.journal.flush().await;
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.inner.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, uid: &Uid) -> Result<Follower, Problem> {
        let mut followed = self.followed();
        let theirs = followed.workspaces.get(uid).map_or(0, |followers| followers.count);
        let (limit, most) = match (theirs < MAX_FOLLOWERS, followed.count < MAX_FOLLOWERS_OF_ALL) {
            (true, true) => {
                followed.count += 1;
                let entry = followed.workspaces.entry(uid.clone());
                let followers =
                    entry.or_insert_with(|| Followers { grown: watch::Sender::new(()), count: 0 });
                followers.count += 1;
                let grown = followers.grown.subscribe();
                return Ok(Follower { events: self.clone(), uid: uid.clone(), grown });
            }
            (false, _) => ("readers of the events of a workspace", MAX_FOLLOWERS),
            (true, false) => ("readers of events at this runner", MAX_FOLLOWERS_OF_ALL),
        };
        let limit = format!("{most} {limit}");
        let detail = format!("{limit} at once is the most; end some");
        Err(Problem::new(ProblemCode::LimitStreams, detail).with_limit(limit))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut followed = self.events.followed();
        let Some(followers) = followed.workspaces.get_mut(&self.uid) else { return };
        if !followers.grown.subscribe().same_channel(&self.grown) {
            // Those of a workspace that was deleted were counted out then.
            return;
        }
        followers.count -= 1;
        if followers.count == 0 {
            followed.workspaces.remove(&self.uid);
        }
        followed.count = followed.count.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests look at the data folder")]

    use vm_api::WakeCause;

    use super::*;
    use crate::vm::server::event::stream::Messages as _;

    fn uid(text: &str) -> Uid {
        text.parse().unwrap()
    }

    fn events(data: &std::path::Path) -> Events {
        std::fs::create_dir_all(data.join("a")).unwrap();
        Events::new(Journal::start(data).unwrap())
    }

    fn booted(number: u64) -> Vec<Entry> {
        let event = VmEvent::VmBooted { cause: WakeCause::Exec, queued_ms: number, booted_ms: 0 };
        vec![Entry::of(event)]
    }

    #[tokio::test]
    async fn who_follows_is_told_what_was_and_what_comes() {
        let data = tempfile::tempdir().unwrap();
        let events = events(data.path());
        let a = uid("a");
        events.append(&a, 1, booted(1)).await;
        let stop = CancellationToken::new();
        let mut feed = events.follow(&a, 1, 0, stop.clone()).await.unwrap();
        let (id, text) = feed.next().await.unwrap();
        assert_eq!((id, text.contains("\"queuedMs\":1")), (1, true), "{text}");
        let (next, ()) = tokio::join!(feed.next(), events.append(&a, 1, booted(2)));
        let (id, text) = next.unwrap();
        assert_eq!((id, text.contains("\"queuedMs\":2")), (2, true), "{text}");
        stop.cancel();
        assert!(feed.next().await.is_none());
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_workspace_and_counts_no_longer() {
        let data = tempfile::tempdir().unwrap();
        let events = events(data.path());
        let a = uid("a");
        let mut feed = events.follow(&a, 1, 0, CancellationToken::new()).await.unwrap();
        events.end(&a);
        assert!(feed.next().await.is_none());
        let again = events.follow(&a, 1, 0, CancellationToken::new()).await.unwrap();
        drop(feed);
        assert_eq!(events.followed().count, 1);
        drop(again);
        let left = events.followed();
        assert_eq!((left.count, left.workspaces.len()), (0, 0));
    }

    #[tokio::test]
    async fn there_are_only_so_many_followers_of_a_workspace() {
        let data = tempfile::tempdir().unwrap();
        let events = events(data.path());
        let a = uid("a");
        let followers: Vec<_> = (0..MAX_FOLLOWERS).map(|_| events.enter(&a).unwrap()).collect();
        assert!(events.enter(&a).unwrap_err().is(ProblemCode::LimitStreams));
        assert!(events.enter(&uid("b")).is_ok());
        drop(followers);
        assert!(events.enter(&a).is_ok());
    }

    #[tokio::test]
    async fn an_id_that_was_never_given_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let events = events(data.path());
        let problem = events.follow(&uid("a"), 1, 7, CancellationToken::new()).await.unwrap_err();
        assert!(problem.is(ProblemCode::InvalidQuery), "{problem}");
    }
}
