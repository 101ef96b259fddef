//! Runs: commands that begin at most once, by name (`vm_api::run`).
//!
//! ```text
//!  PUT runs/{name} ──▶ known? ──▶ remembered on disk ──▶ VM booted ──▶ command ──▶ end remembered, told
//!                        └ what became of it
//! ```
//! A run is remembered before it begins (`journal`), and from then on it is the supervisor's: whoever asked may go. It
//! holds its workspace awake. A run that another supervisor began, or whose end could not be kept, is lost.

mod conduct;
mod tail;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vm_api::run::MAX_ACTIVE;
use vm_api::{Problem, ProblemCode, Run, RunEnd, RunRequest, WorkspaceChange};

use self::conduct::{Conduct, conduct};
use self::tail::Tail;
use super::fleet::Fleet;
use super::uid::Uid;
use super::workspace::{Workspace, shutting_down, stale_epoch};

/// Longest name: that of a DNS label.
const MAX_NAME_BYTES: usize = 63;
/// Runs of an earlier supervisor that are told as lost to whoever begins to watch.
const MAX_LOST: usize = 4096;
/// How long runs get to have their end remembered when the supervisor stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// The runs of all workspaces.
#[derive(Debug)]
pub(crate) struct Runs {
    fleet: Arc<Fleet>,
    /// Cancelled when VMs are to end.
    stop: CancellationToken,
    /// Guarded by itself; a leaf in the lock order.
    known: Mutex<Known>,
    /// Who conducts them. Guarded by itself; a leaf in the lock order.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Those that go on, or are about to begin.
    active: HashMap<Uid, HashMap<String, Arc<Active>>>,
    /// Those of an earlier supervisor.
    lost: Vec<(Uid, Run)>,
}

/// A run that goes on, or is about to begin.
#[derive(Debug)]
struct Active {
    name: String,
    started_at: String,
    /// Guarded by itself; a leaf in the lock order.
    tail: Mutex<Tail>,
    /// Somebody wants it to stop.
    stop: CancellationToken,
    recorded: watch::Sender<Recorded>,
}

/// Whether a run is remembered.
#[derive(Clone, Debug)]
enum Recorded {
    NotYet,
    Yes,
    /// It was known before, so it does not begin.
    Before(Run),
    /// It cannot be, so it does not begin.
    Never(Problem),
}

impl Active {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            started_at: jiff::Timestamp::now().to_string(),
            tail: Mutex::default(),
            stop: CancellationToken::new(),
            recorded: watch::Sender::new(Recorded::NotYet),
        }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run as it is now.
    fn run(&self) -> Run {
        Run {
            name: self.name.clone(),
            started_at: self.started_at.clone(),
            output_tail: self.tail().text(),
            ..Run::default()
        }
    }

    /// Waits until it is remembered. Answers the run, and whether it begins.
    async fn wait_recorded(&self) -> Result<(Run, bool), Problem> {
        let mut recorded = self.recorded.subscribe();
        let recorded = recorded.wait_for(|recorded| !matches!(recorded, Recorded::NotYet)).await;
        match recorded.as_deref() {
            Ok(Recorded::Yes) => Ok((self.run(), true)),
            Ok(Recorded::Before(run)) => Ok((run.clone(), false)),
            Ok(Recorded::Never(problem)) => Err(problem.clone()),
            Ok(Recorded::NotYet) | Err(_) => {
                Err(Problem::new(ProblemCode::Internal, "the run was not begun; try again"))
            }
        }
    }
}

impl Runs {
    pub(crate) fn new(fleet: Arc<Fleet>, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self { fleet, stop, known: Mutex::default(), tasks: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares lost what an earlier supervisor left going on.
    pub(crate) async fn recover(&self, unfinished: Vec<(Uid, u64)>) {
        for (uid, epoch) in unfinished {
            match self.fleet.journal.settle(&uid, epoch).await {
                Ok(runs) => {
                    tracing::warn!(workspace = %uid, runs = runs.len(), "runs of an earlier supervisor are lost");
                    let mut known = self.known();
                    let room = MAX_LOST.saturating_sub(known.lost.len());
                    known.lost.extend(runs.into_iter().take(room).map(|run| (uid.clone(), run)));
                }
                Err(error) => tracing::error!(workspace = %uid, %error, "its runs are not known"),
            }
        }
    }

    /// Begins a run unless one of its name is known. Answers it, and whether it begins now.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        workspace: Workspace,
        uid: &Uid,
        name: &str,
        request: RunRequest,
    ) -> Result<(Run, bool), Problem> {
        check_name(name)?;
        let epoch = workspace.state().epoch;
        check_epoch(uid, request.epoch, epoch)?;
        if let Some(active) = self.active(uid, name) {
            return active.wait_recorded().await.map(|(run, _)| (run, false));
        }
        if let Some(run) = self.fleet.journal.run(uid, epoch, name).await?
            && let Some(run) = self.as_it_is(uid, run)
        {
            return Ok((run, false));
        }
        let active = match self.enter(uid, name)? {
            Ok(active) => active,
            Err(known) => return known.wait_recorded().await.map(|(run, _)| (run, false)),
        };
        let order = Conduct {
            runs: Arc::clone(self),
            workspace,
            uid: uid.clone(),
            epoch,
            active: Arc::clone(&active),
            exec: request.exec,
        };
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            // Not a part of this request: it is begun whole even if whoever asked goes away now.
            tasks.spawn(conduct(order));
        }
        active.wait_recorded().await
    }

    /// A run, if it is known.
    pub(crate) async fn get(&self, uid: &Uid, epoch: u64, name: &str) -> Result<Run, Problem> {
        if let Some(active) = self.active(uid, name) {
            return active.wait_recorded().await.map(|(run, _)| run);
        }
        let run = self.fleet.journal.run(uid, epoch, name).await?;
        run.and_then(|run| self.as_it_is(uid, run)).ok_or_else(|| {
            let detail = format!("the workspace {uid} has no run {name:?}, or it ended long ago");
            Problem::new(ProblemCode::RunNotFound, detail)
        })
    }

    /// All runs that are known, newest first.
    pub(crate) async fn list(&self, uid: &Uid, epoch: u64) -> Result<Vec<Run>, Problem> {
        let runs = self.fleet.journal.runs(uid, epoch).await?;
        Ok(runs.into_iter().filter_map(|run| self.as_it_is(uid, run)).collect())
    }

    /// Stops a run. Answers it as it is now; its end is told to those who watch.
    pub(crate) async fn stop(&self, uid: &Uid, epoch: u64, name: &str) -> Result<Run, Problem> {
        if let Some(active) = self.active(uid, name) {
            active.stop.cancel();
        }
        self.get(uid, epoch, name).await
    }

    /// Runs that go on, and those that an earlier supervisor left going on.
    pub(crate) fn to_tell(&self) -> Vec<(Uid, Run)> {
        let known = self.known();
        let active = known.active.iter().flat_map(|(uid, runs)| {
            let is_recorded = |active: &&Arc<Active>| matches!(*active.recorded.borrow(), Recorded::Yes);
            runs.values().filter(is_recorded).map(|active| (uid.clone(), active.run()))
        });
        known.lost.iter().cloned().chain(active).collect()
    }

    /// Forgets the runs of a workspace that is deleted.
    pub(crate) fn forget(&self, uid: &Uid) {
        self.known().lost.retain(|(theirs, _)| theirs != uid);
    }

    /// Waits until the ends of all runs are remembered. Stopping must have begun.
    pub(crate) async fn finish(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH_TIMEOUT, ended).await.is_err() {
            tracing::warn!(
                "the ends of some runs are not remembered; the next supervisor declares them lost"
            );
        }
    }

    fn active(&self, uid: &Uid, name: &str) -> Option<Arc<Active>> {
        self.known().active.get(uid)?.get(name).cloned()
    }

    /// A run as it is, from what is remembered of it; `None` if it is about to be remembered and does not count yet.
    fn as_it_is(&self, uid: &Uid, run: Run) -> Option<Run> {
        if run.is_finished() {
            return Some(run);
        }
        match self.active(uid, &run.name) {
            Some(active) => matches!(*active.recorded.borrow(), Recorded::Yes).then(|| active.run()),
            // Its end could not be kept.
            None => Some(Run { end: Some(RunEnd::Lost), ..run }),
        }
    }

    /// Takes a place for a run, or answers the one of that name.
    fn enter(&self, uid: &Uid, name: &str) -> Result<Result<Arc<Active>, Arc<Active>>, Problem> {
        if self.stop.is_cancelled() {
            return Err(shutting_down());
        }
        let mut known = self.known();
        let runs = known.active.entry(uid.clone()).or_default();
        if let Some(active) = runs.get(name) {
            return Ok(Err(Arc::clone(active)));
        }
        if runs.len() >= MAX_ACTIVE {
            let limit = format!("{MAX_ACTIVE} runs of a workspace");
            let detail = format!("{limit} at once is the most; wait until some have ended, or stop some");
            return Err(Problem::new(ProblemCode::LimitRuns, detail).with_limit(limit));
        }
        let active = Arc::new(Active::new(name));
        runs.insert(name.to_owned(), Arc::clone(&active));
        Ok(Ok(active))
    }

    fn leave(&self, uid: &Uid, name: &str) {
        let mut known = self.known();
        if let Some(runs) = known.active.get_mut(uid) {
            runs.remove(name);
            if runs.is_empty() {
                known.active.remove(uid);
            }
        }
    }

    fn announce(&self, uid: &Uid, run: Run) {
        self.fleet.changes.announce(WorkspaceChange::Run { uid: uid.to_string(), run: Box::new(run) });
        self.fleet.events.grown(uid);
    }
}

fn check_name(name: &str) -> Result<(), Problem> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_valid = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| is_inner(byte) || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if is_valid {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_NAME_BYTES).collect();
    let detail = format!(
        "{shown:?} cannot be the name of a run: 1 to {MAX_NAME_BYTES} lower-case letters, digits and dashes, no dash at \
         either end"
    );
    Err(Problem::new(ProblemCode::InvalidRequest, detail).with_field("name"))
}

fn check_epoch(uid: &Uid, theirs: u64, ours: u64) -> Result<(), Problem> {
    if theirs < ours {
        return Err(stale_epoch(uid, theirs, ours));
    }
    if theirs > ours {
        let detail = format!(
            "this runner knows epoch {ours} of workspace {uid}, not {theirs} yet; tell it the configuration first"
        );
        return Err(Problem::new(ProblemCode::WorkspaceNotBound, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
