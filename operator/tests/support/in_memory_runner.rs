//! A runner in memory: keeps what it is told, refuses what it doesn't know, and fails when told to.

use crate::workspace_state::never_used;
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
    Problem, ProblemCode, Run, RunEnd, RunList, RunRequest, WorkspaceChange, WorkspaceConfig, WorkspaceState,
};

/// A runner in memory.
#[derive(Debug, Default)]
pub(crate) struct InMemoryRunner(Mutex<State>);

/// A change, or the end of the stream.
type Told = Option<WorkspaceChange>;

#[derive(Debug, Default)]
struct State {
    workspaces: BTreeMap<String, WorkspaceConfig>,
    /// What is on its volume: the epoch of each workspace.
    volume: BTreeMap<String, u64>,
    /// What it says about a workspace, in place of what one says that was never used.
    said: BTreeMap<String, WorkspaceState>,
    puts: usize,
    deletes: Vec<(String, u64)>,
    is_hung: bool,
    /// The time of day, as it writes it.
    time: String,
    /// Runs by UID of the workspace and name.
    runs: BTreeMap<(String, String), Run>,
    /// The runs that began, in order.
    begun: Vec<(String, RunRequest)>,
    /// The runs that were asked to stop, in order.
    stopped: Vec<String>,
    /// How often a run was asked for.
    asked: usize,
    /// Answers about runs get lost from now on, after they had their effect.
    loses_answers: bool,
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

    /// Sets its clock.
    pub(crate) fn set_time(&self, time: String) {
        self.0.lock().unwrap().time = time;
    }

    /// The names of the runs that began, in order.
    pub(crate) fn begun(&self) -> Vec<String> {
        self.0.lock().unwrap().begun.iter().map(|(name, _)| name.clone()).collect()
    }

    /// How often a run was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }

    /// The names of the runs that go on.
    pub(crate) fn going_on(&self) -> Vec<String> {
        let inner = self.0.lock().unwrap();
        let going_on = inner.runs.iter().filter(|(_, run)| !run.is_finished());
        going_on.map(|((_, name), _)| name.clone()).collect()
    }

    /// What the last run that began was asked for.
    pub(crate) fn last_request(&self) -> RunRequest {
        self.0.lock().unwrap().begun.last().unwrap().1.clone()
    }

    /// The names of the runs that were asked to stop, in order.
    pub(crate) fn stopped(&self) -> Vec<String> {
        self.0.lock().unwrap().stopped.clone()
    }

    /// Makes its answers about runs get lost after they had their effect, or arrive again.
    pub(crate) fn lose_answers(&self, loses_answers: bool) {
        self.0.lock().unwrap().loses_answers = loses_answers;
    }

    /// A run ends at this instant, and everybody who watches is told.
    pub(crate) fn finish(&self, name: &str, at: &str, end: RunEnd, exit_code: Option<u8>, tail: &str) {
        let (uid, run) = {
            let mut inner = self.0.lock().unwrap();
            let ((uid, _), run) = inner.runs.iter_mut().find(|((_, known), _)| known == name).unwrap();
            run.finished_at = Some(at.to_owned());
            (run.end, run.exit_code) = (Some(end), exit_code);
            run.output_tail = tail.to_owned();
            (uid.clone(), run.clone())
        };
        self.tell(WorkspaceChange::Run { uid, run: Box::new(run) });
    }

    /// Loses its volume: runs are forgotten.
    pub(crate) fn forget_runs(&self) {
        self.0.lock().unwrap().runs.clear();
    }

    /// The answer to a request about runs, or what becomes of it on its way.
    fn answer_run<T>(&self, answer: T) -> Result<T, Error> {
        if self.0.lock().unwrap().loses_answers {
            return Err(Error::Timeout(Duration::from_secs(10)));
        }
        Ok(answer)
    }

    /// Tells everybody who watches.
    pub(crate) fn tell(&self, change: WorkspaceChange) {
        for watcher in &self.0.lock().unwrap().watchers {
            let _ = watcher.unbounded_send(Some(change.clone()));
        }
    }

    /// From now on it says this about a workspace, if it is asked.
    pub(crate) fn say(&self, state: WorkspaceState) {
        self.0.lock().unwrap().said.insert(state.uid.clone(), state);
    }

    /// What it says about its workspaces.
    pub(crate) fn states(&self) -> Vec<WorkspaceState> {
        let inner = self.0.lock().unwrap();
        inner.workspaces.iter().map(|(uid, config)| inner.state(uid, config)).collect()
    }

    /// Its volume is replaced by an empty one.
    pub(crate) fn lose_volume(&self) {
        self.0.lock().unwrap().volume.clear();
        self.forget_runs();
    }

    /// Forgets everything but what is on its volume and its runs, and ends its streams. Runs that went on are lost.
    pub(crate) fn restart(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.said.clear();
        inner.workspaces.clear();
        for run in inner.runs.values_mut().filter(|run| !run.is_finished()) {
            run.finished_at = Some(run.started_at.clone());
            run.end = Some(RunEnd::Lost);
        }
        for watcher in inner.watchers.drain(..) {
            let _ = watcher.unbounded_send(None);
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.0.lock().unwrap().is_hung { Err(Error::Timeout(Duration::from_secs(10))) } else { Ok(()) }
    }
}

impl State {
    fn state(&self, uid: &str, config: &WorkspaceConfig) -> WorkspaceState {
        self.said.get(uid).cloned().unwrap_or_else(|| never_used(uid, config))
    }

    /// Refuses whoever's binding is over.
    fn check_epoch(&self, uid: &str, epoch: u64) -> Result<(), Error> {
        match self.volume.get(uid) {
            Some(known) if epoch < *known => {
                Err(refusal(ProblemCode::StaleEpoch, "a later epoch owns this workspace"))
            }
            _ => Ok(()),
        }
    }
}

fn refusal(code: ProblemCode, detail: &str) -> Error {
    Error::Refused(Box::new(Problem::new(code, detail)))
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
        inner.check_epoch(uid, config.epoch)?;
        inner.volume.insert(uid.to_owned(), config.epoch);
        inner.workspaces.insert(uid.to_owned(), config.clone());
        let state = inner.state(uid, config);
        Ok(WorkspaceState { generation: config.generation, epoch: config.epoch, ..state })
    }

    async fn get(&self, uid: &str) -> Result<WorkspaceState, Error> {
        self.check()?;
        let inner = self.0.lock().unwrap();
        match inner.workspaces.get(uid) {
            Some(config) => Ok(inner.state(uid, config)),
            None if inner.volume.contains_key(uid) => {
                Err(refusal(ProblemCode::WorkspaceNotBound, "it was not told its configuration yet"))
            }
            None => Err(refusal(ProblemCode::WorkspaceNotFound, "this runner has no such workspace")),
        }
    }

    async fn delete(&self, uid: &str, epoch: u64) -> Result<(), Error> {
        self.check()?;
        let mut inner = self.0.lock().unwrap();
        inner.check_epoch(uid, epoch)?;
        inner.workspaces.remove(uid);
        inner.volume.remove(uid);
        inner.deletes.push((uid.to_owned(), epoch));
        Ok(())
    }

    async fn put_run(&self, uid: &str, name: &str, request: &RunRequest) -> Result<Run, Error> {
        self.check()?;
        let run = {
            let mut inner = self.0.lock().unwrap();
            let Some(config) = inner.workspaces.get(uid) else {
                return Err(refusal(ProblemCode::WorkspaceNotFound, "this runner has no such workspace"));
            };
            if request.epoch < config.epoch {
                return Err(refusal(ProblemCode::StaleEpoch, "a later epoch owns this workspace"));
            }
            let key = (uid.to_owned(), name.to_owned());
            if !inner.runs.contains_key(&key) {
                let is_asleep = config.power == vm_api::PowerIntent::Asleep;
                let started_at = inner.time.clone();
                let mut run = Run { name: name.to_owned(), started_at, ..Run::default() };
                if is_asleep {
                    run.finished_at = Some(run.started_at.clone());
                    run.end = Some(RunEnd::NotStarted);
                    run.output_tail = "spec.power is Asleep".to_owned();
                }
                inner.runs.insert(key.clone(), run);
                inner.begun.push((name.to_owned(), request.clone()));
            }
            inner.runs[&key].clone()
        };
        self.answer_run(run)
    }

    async fn get_run(&self, uid: &str, name: &str) -> Result<Run, Error> {
        self.0.lock().unwrap().asked += 1;
        self.check()?;
        let run = self.0.lock().unwrap().runs.get(&(uid.to_owned(), name.to_owned())).cloned();
        match run {
            Some(run) => self.answer_run(run),
            None => Err(refusal(ProblemCode::RunNotFound, "there is no such run")),
        }
    }

    async fn list_runs(&self, uid: &str) -> Result<RunList, Error> {
        self.check()?;
        let inner = self.0.lock().unwrap();
        let items = inner.runs.iter().filter(|((of, _), _)| of == uid).map(|(_, run)| run.clone());
        Ok(RunList { items: items.collect() })
    }

    async fn stop_run(&self, uid: &str, name: &str) -> Result<Run, Error> {
        self.check()?;
        self.0.lock().unwrap().stopped.push(name.to_owned());
        self.get_run(uid, name).await
    }

    async fn watch(&self) -> Result<BoxStream<'static, Result<WorkspaceChange, Error>>, Error> {
        let mut inner = self.0.lock().unwrap();
        let (watcher, changes) = unbounded();
        for (uid, config) in &inner.workspaces {
            let _ = watcher
                .unbounded_send(Some(WorkspaceChange::State { state: Box::new(never_used(uid, config)) }));
        }
        let _ = watcher.unbounded_send(Some(WorkspaceChange::Synced));
        inner.watchers.push(watcher);
        let until_the_end = changes.take_while(|told| std::future::ready(told.is_some()));
        Ok(until_the_end.filter_map(|told| std::future::ready(told.map(Ok))).boxed())
    }
}
