//! The roster: which runners are connected, and what they told about their workspaces.
//!
//! Written by [`crate::follow`] (one task per runner pod) and by whoever pushes a configuration; read by reconciles. It holds
//! nothing that can't be learned again: after a restart of the operator it fills itself.
//!
//! A runner is here once it has told everything that it knows. What was pushed to it on an earlier connection doesn't count, so
//! everything is pushed again; and what it didn't tell of, it has forgotten.
//!
//! Lock order: the roster's lock is a leaf; nothing else is locked, and nothing awaited, while it is held.

use crate::{follow::stray::Stray, runner::name::RunnerId, runner_client::RunnerConnection};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};
use vm_api::WorkspaceState;

/// At most so many requests to one runner at the same time.
const MAX_REQUESTS: usize = 16;

/// Which runners are connected, and what they told.
#[derive(Debug)]
pub struct Roster {
    /// When this operator began to look for runners.
    started: Instant,
    runners: Mutex<HashMap<RunnerId, Runner>>,
}

#[derive(Debug)]
struct Runner {
    presence: Presence,
    workspaces: HashMap<String, Known>,
    /// Why the last attempt to connect failed.
    failure: Option<String>,
}

#[derive(Debug)]
enum Presence {
    Connected { connection: Arc<dyn RunnerConnection>, permits: Arc<Semaphore> },
    Away { since: Instant, is_told: bool },
}

/// What is known of a workspace at a runner.
#[derive(Clone, Debug, Default)]
struct Known {
    state: Option<WorkspaceState>,
    pushed: Option<Digest>,
}

/// A digest of a configuration.
pub type Digest = [u8; 32];

/// A workspace at a runner.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The connection to the runner.
    pub connection: Arc<dyn RunnerConnection>,
    /// Permits to make it work: so few that a runner which hangs doesn't hold up those of other namespaces.
    pub permits: Arc<Semaphore>,
    /// What the runner last told about the workspace.
    pub state: Option<WorkspaceState>,
    /// Digest of the configuration that the runner was last sent on this connection.
    pub pushed: Option<Digest>,
}

/// Whether a runner can be talked to.
#[derive(Clone, Debug)]
pub enum Reach {
    /// It is connected.
    Here(Box<Placement>),
    /// It has been away for so long, as far as this operator can know.
    Away(Duration),
}

impl Default for Roster {
    fn default() -> Self {
        Self { started: Instant::now(), runners: Mutex::default() }
    }
}

impl Roster {
    /// A workspace at a runner, as far as is known.
    pub fn reach(&self, runner: &RunnerId, uid: &str) -> Reach {
        let runners = self.lock();
        let Some(Runner { presence, workspaces, failure: _ }) = runners.get(runner) else {
            return Reach::Away(self.started.elapsed());
        };
        match presence {
            Presence::Away { since, is_told: _ } => Reach::Away(since.elapsed()),
            Presence::Connected { connection, permits } => {
                let Known { state, pushed } = workspaces.get(uid).cloned().unwrap_or_default();
                Reach::Here(Box::new(Placement {
                    connection: Arc::clone(connection),
                    permits: Arc::clone(permits),
                    state,
                    pushed,
                }))
            }
        }
    }

    /// A runner was connected, and told all of its workspaces. What it knew before doesn't count.
    pub fn connected(
        &self,
        runner: &RunnerId,
        connection: Arc<dyn RunnerConnection>,
        told: impl IntoIterator<Item = WorkspaceState>,
    ) {
        let presence = Presence::Connected { connection, permits: Arc::new(Semaphore::new(MAX_REQUESTS)) };
        let known = |state: WorkspaceState| (state.uid.clone(), Known { state: Some(state), pushed: None });
        let workspaces = told.into_iter().map(known).collect();
        self.lock().insert(runner.clone(), Runner { presence, workspaces, failure: None });
    }

    /// The runner of a namespace that has this workspace; the one of the latest binding, if several believe to.
    pub fn holder(&self, namespace: &str, uid: &str) -> Option<RunnerId> {
        let runners = self.lock();
        let epoch = |runner: &Runner| Some(runner.workspaces.get(uid)?.state.as_ref()?.epoch);
        let holders = runners
            .iter()
            .filter(|(id, _)| id.namespace == namespace)
            .filter_map(|(id, runner)| Some((epoch(runner)?, id)));
        holders.max().map(|(_, id)| id.clone())
    }

    /// The connection to a runner ended, or could not be made.
    pub fn disconnected(&self, runner: &RunnerId, failure: Option<String>) {
        let mut runners = self.lock();
        let since = match runners.get(runner).map(|known| &known.presence) {
            None => self.started,
            Some(Presence::Connected { .. }) => Instant::now(),
            Some(Presence::Away { .. }) => {
                if let Some(known) = runners.get_mut(runner) {
                    known.failure = failure.or(known.failure.take());
                }
                return;
            }
        };
        let presence = Presence::Away { since, is_told: false };
        runners.insert(runner.clone(), Runner { presence, workspaces: HashMap::new(), failure });
    }

    /// Why the last attempt to connect to a runner failed.
    pub fn failure(&self, runner: &RunnerId) -> Option<String> {
        self.lock().get(runner)?.failure.clone()
    }

    /// The runners that have been away for longer than `grace`, each told once per absence.
    pub fn overdue(&self, grace: Duration) -> Vec<RunnerId> {
        let mut overdue = Vec::new();
        for (id, runner) in self.lock().iter_mut() {
            if let Presence::Away { since, is_told } = &mut runner.presence
                && !*is_told
                && since.elapsed() >= grace
            {
                *is_told = true;
                overdue.push(id.clone());
            }
        }
        overdue
    }

    /// A runner is gone for good.
    pub fn forget(&self, runner: &RunnerId) {
        self.lock().remove(runner);
    }

    /// A runner told about a workspace. Returns whether that is news.
    pub fn observe(&self, runner: &RunnerId, state: WorkspaceState) -> bool {
        let mut runners = self.lock();
        let Some(known) = runners.get_mut(runner) else { return false };
        let known = known.workspaces.entry(state.uid.clone()).or_default();
        // The stream may lag behind the answer to a push.
        let rank = |state: &WorkspaceState| (state.epoch, state.generation);
        let is_old = known.state.as_ref().is_some_and(|before| rank(before) > rank(&state));
        let news = !is_old && known.state.as_ref() != Some(&state);
        if news {
            known.state = Some(state);
        }
        news
    }

    /// A runner accepted a configuration on this connection, and answered with this state.
    pub fn pushed(
        &self,
        runner: &RunnerId,
        connection: &Arc<dyn RunnerConnection>,
        digest: Digest,
        state: WorkspaceState,
    ) {
        if let Some(Runner {
            presence: Presence::Connected { connection: current, permits: _ },
            workspaces,
            failure: _,
        }) = self.lock().get_mut(runner)
            && Arc::ptr_eq(current, connection)
        {
            workspaces.insert(state.uid.clone(), Known { pushed: Some(digest), state: Some(state) });
        }
    }

    /// A runner has nothing to do with a workspace any more. Returns whether it had.
    pub fn drop_workspace(&self, runner: &RunnerId, uid: &str) -> bool {
        self.lock().get_mut(runner).is_some_and(|known| known.workspaces.remove(uid).is_some())
    }

    /// What the runners of a namespace have of a workspace.
    pub fn copies(&self, namespace: &str, uid: &str) -> Vec<Stray> {
        let runners = self.lock();
        let nearby = runners.iter().filter(|(id, _)| id.namespace == namespace);
        let copy = |(id, runner): (&RunnerId, &Runner)| {
            Some(Stray::told(id, runner.workspaces.get(uid)?.state.as_ref()?))
        };
        nearby.filter_map(copy).collect()
    }

    /// What runners have that isn't among these.
    pub fn strays(&self, uids: &HashSet<String>) -> Vec<Stray> {
        let runners = self.lock();
        let all =
            runners.iter().flat_map(|(id, runner)| runner.workspaces.iter().map(move |known| (id, known)));
        let strays = all.filter(|(_, (uid, _))| !uids.contains(*uid));
        strays.filter_map(|(id, (_, known))| Some(Stray::told(id, known.state.as_ref()?))).collect()
    }

    /// How many runners are connected.
    pub fn count_connected(&self) -> usize {
        self.lock().values().filter(|runner| matches!(runner.presence, Presence::Connected { .. })).count()
    }

    /// Whether a runner is connected.
    pub fn is_connected(&self, runner: &RunnerId) -> bool {
        self.lock().get(runner).is_some_and(|known| matches!(known.presence, Presence::Connected { .. }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunnerId, Runner>> {
        // Each operation leaves the map whole.
        self.runners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner_client::Error;
    use async_trait::async_trait;
    use futures::stream::{BoxStream, StreamExt};
    use vm_api::{Power, Run, RunList, RunRequest, StorageState, WorkspaceChange, WorkspaceConfig};

    #[derive(Debug)]
    struct Silent;

    #[async_trait]
    impl RunnerConnection for Silent {
        async fn put(&self, _: &str, _: &WorkspaceConfig) -> Result<WorkspaceState, Error> {
            Err(Error::NoCertificate)
        }
        async fn get(&self, _: &str) -> Result<WorkspaceState, Error> {
            Err(Error::NoCertificate)
        }
        async fn delete(&self, _: &str, _: u64) -> Result<(), Error> {
            Ok(())
        }
        async fn put_run(&self, _: &str, _: &str, _: &RunRequest) -> Result<Run, Error> {
            Err(Error::NoCertificate)
        }
        async fn get_run(&self, _: &str, _: &str) -> Result<Run, Error> {
            Err(Error::NoCertificate)
        }
        async fn list_runs(&self, _: &str) -> Result<RunList, Error> {
            Err(Error::NoCertificate)
        }
        async fn stop_run(&self, _: &str, _: &str) -> Result<Run, Error> {
            Err(Error::NoCertificate)
        }
        async fn watch(&self) -> Result<BoxStream<'static, Result<WorkspaceChange, Error>>, Error> {
            Ok(futures::stream::pending().boxed())
        }
    }

    fn runner() -> RunnerId {
        RunnerId { namespace: "team-a".to_owned(), pod: "lodge-runner-0".to_owned() }
    }

    fn state(generation: i64) -> WorkspaceState {
        WorkspaceState {
            uid: "u".to_owned(),
            namespace: "team-a".to_owned(),
            name: "ada".to_owned(),
            generation,
            epoch: 1,
            power: Power::Asleep,
            sleep: None,
            message: None,
            restart_required: Vec::new(),
            storage: StorageState { persistent: false, reason: None },
            last_wake: None,
            usage: None,
        }
    }

    fn placement(roster: &Roster) -> Option<Placement> {
        match roster.reach(&runner(), "u") {
            Reach::Here(placement) => Some(*placement),
            Reach::Away(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_pushed_on_an_earlier_connection_does_not_count() {
        let roster = Roster::default();
        let (first, second): (Arc<dyn RunnerConnection>, Arc<dyn RunnerConnection>) =
            (Arc::new(Silent), Arc::new(Silent));
        roster.connected(&runner(), Arc::clone(&first), []);
        roster.pushed(&runner(), &first, [1; 32], state(1));
        assert_eq!(placement(&roster).unwrap().pushed, Some([1; 32]));
        roster.connected(&runner(), second, []);
        assert_eq!(placement(&roster).unwrap().pushed, None);
        roster.pushed(&runner(), &first, [1; 32], state(1));
        assert_eq!(placement(&roster).unwrap().pushed, None, "its answer came too late");
    }

    #[tokio::test(start_paused = true)]
    async fn an_absence_is_told_once_when_it_lasts() {
        let (roster, grace) = (Roster::default(), Duration::from_secs(10));
        roster.connected(&runner(), Arc::new(Silent), []);
        assert!(roster.overdue(grace).is_empty());
        roster.disconnected(&runner(), Some("refused".to_owned()));
        tokio::time::advance(Duration::from_secs(9)).await;
        roster.disconnected(&runner(), None);
        assert!(roster.overdue(grace).is_empty(), "trying again doesn't begin it anew, nor end it");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(roster.overdue(grace), [runner()]);
        assert!(roster.overdue(grace).is_empty());
        assert_eq!(roster.failure(&runner()).as_deref(), Some("refused"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_lags_behind_does_not_overwrite_an_answer() {
        let roster = Roster::default();
        let connection: Arc<dyn RunnerConnection> = Arc::new(Silent);
        roster.connected(&runner(), Arc::clone(&connection), []);
        roster.pushed(&runner(), &connection, [1; 32], state(2));
        assert!(!roster.observe(&runner(), state(1)));
        assert_eq!(placement(&roster).unwrap().state.unwrap().generation, 2);
        assert!(roster.observe(&runner(), state(3)));
    }
}
