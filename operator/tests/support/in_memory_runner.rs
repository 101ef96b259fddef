//! A runner in memory: keeps what it is told, refuses what it doesn't know, and fails when told to.

use async_trait::async_trait;
use futures::{
    channel::mpsc::{UnboundedSender, unbounded},
    stream::{BoxStream, StreamExt},
};
use operator::runner_client::{Error, RunnerConnection};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use vm_api::{
    Power, Problem, ProblemCode, SleepReason, StorageState, WorkspaceChange, WorkspaceConfig, WorkspaceState,
};

/// A runner in memory.
#[derive(Debug, Default)]
pub(crate) struct InMemoryRunner(Mutex<State>);

/// A change, or the end of the stream.
type Told = Option<WorkspaceChange>;

#[derive(Debug, Default)]
struct State {
    workspaces: BTreeMap<String, WorkspaceConfig>,
    puts: usize,
    deletes: Vec<(String, u64)>,
    is_hung: bool,
    watchers: Vec<UnboundedSender<Told>>,
}

impl InMemoryRunner {
    /// A runner that knows nothing.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What it was last told about a workspace.
    pub(crate) fn config(&self, uid: &str) -> Option<WorkspaceConfig> {
        self.0.lock().unwrap().workspaces.get(uid).cloned()
    }

    /// How often it was told something.
    pub(crate) fn puts(&self) -> usize {
        self.0.lock().unwrap().puts
    }

    /// The deletions it was asked for, with their epochs.
    pub(crate) fn deletes(&self) -> Vec<(String, u64)> {
        self.0.lock().unwrap().deletes.clone()
    }

    /// Makes it answer nothing any more, or again.
    pub(crate) fn hang(&self, is_hung: bool) {
        self.0.lock().unwrap().is_hung = is_hung;
    }

    /// Tells everybody who watches.
    pub(crate) fn tell(&self, change: WorkspaceChange) {
        for watcher in &self.0.lock().unwrap().watchers {
            let _ = watcher.unbounded_send(Some(change.clone()));
        }
    }

    /// Forgets everything, and ends its streams.
    pub(crate) fn restart(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.workspaces.clear();
        for watcher in inner.watchers.drain(..) {
            let _ = watcher.unbounded_send(None);
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.0.lock().unwrap().is_hung { Err(Error::Timeout(Duration::from_secs(10))) } else { Ok(()) }
    }
}

/// What a runner says about a workspace that was never used.
pub(crate) fn state(uid: &str, config: &WorkspaceConfig) -> WorkspaceState {
    WorkspaceState {
        uid: uid.to_owned(),
        namespace: config.namespace.clone(),
        name: config.name.clone(),
        generation: config.generation,
        epoch: config.epoch,
        power: Power::Asleep,
        sleep: Some(SleepReason::NotStarted),
        message: None,
        restart_required: Vec::new(),
        storage: StorageState { persistent: false, reason: None },
        last_wake: None,
        usage: None,
    }
}

#[async_trait]
impl RunnerConnection for InMemoryRunner {
    async fn put(&self, uid: &str, config: &WorkspaceConfig) -> Result<WorkspaceState, Error> {
        self.check()?;
        let mut inner = self.0.lock().unwrap();
        inner.puts += 1;
        if let Some(index) = config.software.iter().position(|package| package.name == "nope") {
            let problem = Problem::new(
                ProblemCode::SoftwareUnknown,
                "there is no package \"nope\": this runner has common",
            )
            .with_field(format!("spec.software[{index}].name"));
            return Err(Error::Refused(Box::new(problem)));
        }
        inner.workspaces.insert(uid.to_owned(), config.clone());
        Ok(state(uid, config))
    }

    async fn delete(&self, uid: &str, epoch: u64) -> Result<(), Error> {
        self.check()?;
        let mut inner = self.0.lock().unwrap();
        inner.workspaces.remove(uid);
        inner.deletes.push((uid.to_owned(), epoch));
        Ok(())
    }

    async fn watch(&self) -> Result<BoxStream<'static, Result<WorkspaceChange, Error>>, Error> {
        let mut inner = self.0.lock().unwrap();
        let (watcher, changes) = unbounded();
        for (uid, config) in &inner.workspaces {
            let _ =
                watcher.unbounded_send(Some(WorkspaceChange::State { state: Box::new(state(uid, config)) }));
        }
        let _ = watcher.unbounded_send(Some(WorkspaceChange::Synced));
        inner.watchers.push(watcher);
        let until_the_end = changes.take_while(|told| std::future::ready(told.is_some()));
        Ok(until_the_end.filter_map(|told| std::future::ready(told.map(Ok))).boxed())
    }
}
