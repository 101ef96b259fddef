//! The task that owns one workspace: it feeds the machine and does what it says.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use vm_api::{
    Problem, ProblemCode, Usage, Wake, WakeCause, WorkspaceChange, WorkspaceConfig, WorkspaceState,
};

use super::boot::{self, Booted};
use super::machine::{Effect, Input, Machine, Refusal};
use super::report::{state, whole_ms};
use super::restart::restart_required;
use super::usage::{self, has_changed_much};
use super::{Awake, View, WakeTiming};
use crate::supervisor::child::VmProcess;
use crate::supervisor::fleet::Fleet;
use crate::supervisor::registry::Registry;
use crate::supervisor::uid::Uid;
use crate::task::{self, Task};

/// The pause after the first failure of a VM that should be awake; doubles up to [`MAX_RETRY_PAUSE`].
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(500);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(60);
/// How long a VM that ran before its next failure counts as healthy.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// How long a running VM may take to accept a new configuration.
const RECONFIGURE_TIMEOUT: Duration = Duration::from_secs(2);

/// What can be asked of the owner.
#[derive(Debug)]
pub(super) enum Request {
    Configure { config: Box<WorkspaceConfig>, reply: oneshot::Sender<Result<Arc<WorkspaceState>, Problem>> },
    Wake { cause: WakeCause, asked: Instant, reply: oneshot::Sender<Result<Awake, Problem>> },
    Delete { epoch: Option<u64>, reply: oneshot::Sender<Result<(), Problem>> },
    FirstByte(Duration),
}

/// What the owner waits for, besides requests.
enum Happened {
    Requested(Request),
    /// All handles are gone, or the supervisor stops.
    Abandoned,
    BootEnded(Box<Result<Booted, Problem>>),
    VmExited(String),
    Stopped,
    RetryDue,
    Measured(Option<Usage>),
}

struct Waiter {
    asked: Instant,
    reply: oneshot::Sender<Result<Awake, Problem>>,
}

/// The owner.
pub(super) struct Owner {
    fleet: Arc<Fleet>,
    registry: Weak<Registry>,
    uid: Uid,
    epoch: u64,
    config: Arc<WorkspaceConfig>,
    machine: Machine,
    inbox: mpsc::Receiver<Request>,
    view: watch::Sender<View>,
    boot: Option<Task<Result<Booted, Problem>>>,
    vm: Option<Running>,
    stopping: Option<Task<()>>,
    retry: Option<Pin<Box<Sleep>>>,
    retry_pause: Duration,
    waiters: Vec<Waiter>,
    deleters: Vec<oneshot::Sender<Result<(), Problem>>>,
    wake_cause: WakeCause,
    last_wake: Option<Wake>,
    /// How long the last boot took, exactly.
    booted: Duration,
    message: Option<String>,
    /// Why the last boot failed, for those who waited for it.
    boot_problem: Option<Problem>,
}

struct Running {
    process: VmProcess,
    config: Arc<WorkspaceConfig>,
    since: Instant,
    usage: Option<Usage>,
    measuring: Option<Task<Option<Usage>>>,
}

impl Owner {
    pub(super) fn new(
        fleet: Arc<Fleet>,
        registry: Weak<Registry>,
        uid: Uid,
        epoch: u64,
        config: Arc<WorkspaceConfig>,
        inbox: mpsc::Receiver<Request>,
    ) -> (Self, watch::Receiver<View>) {
        let machine = Machine::new();
        let state = Arc::new(state(&uid, epoch, &config, &machine));
        fleet.metrics.moved(None, Some(state.power));
        let (view, receiver) = watch::channel(View { state, vm: None });
        let owner = Self {
            fleet,
            registry,
            uid,
            epoch,
            config,
            machine,
            inbox,
            view,
            boot: None,
            vm: None,
            stopping: None,
            retry: None,
            retry_pause: FIRST_RETRY_PAUSE,
            waiters: Vec::new(),
            deleters: Vec::new(),
            wake_cause: WakeCause::Spec,
            last_wake: None,
            booted: Duration::ZERO,
            message: None,
            boot_problem: None,
        };
        (owner, receiver)
    }

    /// Runs until the workspace is deleted or the supervisor stops.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while self.machine.stage() != super::machine::Stage::Gone {
            let happened = tokio::select! {
                biased;
                () = stop.cancelled() => Happened::Abandoned,
                happened = self.happening() => happened,
            };
            match happened {
                Happened::Abandoned => return self.abandon().await,
                Happened::Requested(request) => self.requested(request).await,
                Happened::BootEnded(result) => self.boot_ended(*result).await,
                Happened::VmExited(how) => self.vm_exited(how).await,
                Happened::Stopped => self.step(Input::Stopped).await,
                Happened::RetryDue => self.step(Input::RetryDue).await,
                Happened::Measured(usage) => self.measured(usage),
            }
            self.publish();
        }
        let power = self.view.borrow().state.power;
        self.fleet.metrics.moved(Some(power), None);
        if let Some(registry) = self.registry.upgrade() {
            registry.forget(&self.uid);
        }
        self.fleet.changes.announce(WorkspaceChange::Deleted { uid: self.uid.to_string() });
        self.inbox.close();
        for reply in self.deleters.drain(..) {
            let _ = reply.send(Ok(()));
        }
    }

    async fn happening(&mut self) -> Happened {
        tokio::select! {
            request = self.inbox.recv() => request.map_or(Happened::Abandoned, Happened::Requested),
            result = optional(&mut self.boot) => {
                self.boot = None;
                Happened::BootEnded(Box::new(result.unwrap_or_else(|error| {
                    Err(Problem::new(ProblemCode::Internal, format!("the boot ended abnormally: {error}")))
                })))
            }
            happened = vm_happening(&mut self.vm) => happened,
            _ = optional(&mut self.stopping) => {
                self.stopping = None;
                Happened::Stopped
            }
            () = optional(&mut self.retry) => {
                self.retry = None;
                Happened::RetryDue
            }
        }
    }

    /// The supervisor stops: the VM ends, and with it this task. The workspace stays.
    async fn abandon(mut self) {
        self.boot = None;
        if let Some(running) = self.vm.take() {
            running.process.stop(self.fleet.stop_grace).await;
        }
        if let Some(stopping) = self.stopping.take() {
            let _ = stopping.await;
        }
    }

    async fn requested(&mut self, request: Request) {
        match request {
            Request::Configure { config, reply } => {
                let result = self.configure(*config).await;
                self.publish();
                let _ = reply.send(result.map(|()| Arc::clone(&self.view.borrow().state)));
            }
            Request::Wake { cause, asked, reply } => {
                if self.vm.is_none() && self.boot.is_none() {
                    self.wake_cause = cause;
                }
                self.waiters.push(Waiter { asked, reply });
                self.step(Input::Wake).await;
            }
            Request::Delete { epoch, reply } => match self.check_epoch(epoch.unwrap_or(u64::MAX)) {
                Err(problem) => {
                    let _ = reply.send(Err(problem));
                }
                Ok(()) => {
                    self.deleters.push(reply);
                    self.step(Input::Delete).await;
                }
            },
            Request::FirstByte(after) => {
                if let Some(wake) = &mut self.last_wake {
                    wake.first_byte_ms.get_or_insert(whole_ms(after));
                }
            }
        }
    }

    async fn configure(&mut self, config: WorkspaceConfig) -> Result<(), Problem> {
        if self.machine.is_deleting() {
            return Err(Problem::new(
                ProblemCode::WorkspaceDeleting,
                format!("the workspace {} is being deleted", self.uid),
            ));
        }
        self.check_epoch(config.epoch)?;
        if config.epoch == self.epoch && config.generation < self.config.generation {
            // An older write that was overtaken: what is known already is the newer truth.
            return Ok(());
        }
        if config.epoch > self.epoch {
            self.save_epoch(config.epoch).await?;
        }
        let power = config.power;
        self.config = Arc::new(config);
        if let Some(running) = &self.vm {
            let update = boot::reconfigure(running.process.client(), &self.config);
            match tokio::time::timeout(RECONFIGURE_TIMEOUT, update).await {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => {
                    self.message = Some(format!("the VM did not take the new settings: {problem}"))
                }
                Err(_) => self.message = Some("the VM did not take the new settings in time".to_owned()),
            }
        }
        self.step(Input::Configured(power)).await;
        Ok(())
    }

    fn check_epoch(&self, epoch: u64) -> Result<(), Problem> {
        if epoch >= self.epoch {
            return Ok(());
        }
        Err(stale_epoch(&self.uid, epoch, self.epoch))
    }

    async fn save_epoch(&mut self, epoch: u64) -> Result<(), Problem> {
        let (fleet, uid) = (Arc::clone(&self.fleet), self.uid.clone());
        let saved = tokio::task::spawn_blocking(move || fleet.state_dir.save_epoch(&uid, epoch)).await;
        let reason = match saved {
            Ok(Ok(())) => {
                self.epoch = epoch;
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(Problem::new(ProblemCode::Internal, format!("the runner cannot keep the epoch: {reason}")))
    }

    async fn boot_ended(&mut self, result: Result<Booted, Problem>) {
        match result {
            Ok(booted) => {
                let Booted { process, config, queued, duration } = booted;
                self.last_wake = Some(Wake {
                    at: jiff::Timestamp::now().to_string(),
                    cause: self.wake_cause,
                    queued_ms: whole_ms(queued),
                    booted_ms: whole_ms(duration),
                    first_byte_ms: None,
                });
                self.booted = duration;
                self.message = None;
                let measuring =
                    Some(task::spawn(usage::measure_first(Arc::clone(process.client()), self.uid.clone())));
                self.vm = Some(Running { process, config, since: Instant::now(), usage: None, measuring });
                // Published before those who wait go on, so that the next request needs no question.
                self.publish_vm();
                self.step(Input::Booted).await;
            }
            Err(problem) => {
                self.message = Some(problem.detail.clone());
                self.boot_problem = Some(problem);
                self.step(Input::BootFailed).await;
            }
        }
    }

    async fn vm_exited(&mut self, how: String) {
        let lifetime = self.vm.take().map_or(Duration::ZERO, |running| running.since.elapsed());
        if lifetime > HEALTHY_AFTER {
            self.retry_pause = FIRST_RETRY_PAUSE;
        }
        tracing::warn!(workspace = %self.uid, ?lifetime, "{how}");
        self.fleet.metrics.count_vm_death();
        self.message = Some(how);
        self.step(Input::VmExited).await;
    }

    fn measured(&mut self, usage: Option<Usage>) {
        let Some(running) = &mut self.vm else { return };
        if let Some(new) = usage
            && has_changed_much(running.usage, new)
        {
            running.usage = Some(new);
        }
        let vm = Arc::clone(running.process.client());
        running.measuring = Some(task::spawn(usage::measure_next(vm, self.uid.clone())));
    }

    async fn step(&mut self, input: Input) {
        for effect in self.machine.step(input) {
            match effect {
                Effect::Boot => {
                    self.retry = None;
                    let config = Arc::clone(&self.config);
                    self.boot =
                        Some(task::spawn(boot::boot(Arc::clone(&self.fleet), self.uid.clone(), config)));
                }
                Effect::Stop => self.stop(),
                Effect::Admit => self.admit(),
                Effect::Refuse(refusal) => self.refuse(refusal),
                Effect::RetryLater => {
                    self.retry = Some(Box::pin(sleep(self.retry_pause)));
                    self.retry_pause = (self.retry_pause * 2).min(MAX_RETRY_PAUSE);
                }
                Effect::Remove => self.remove().await,
            }
        }
    }

    fn stop(&mut self) {
        let boot = self.boot.take();
        let vm = self.vm.take();
        let grace = self.fleet.stop_grace;
        self.stopping = Some(task::spawn(async move {
            if let Some(boot) = boot {
                // Dropping a boot kills the process that it was given.
                boot.abort();
                let _ = boot.await;
            }
            if let Some(running) = vm {
                running.process.stop(grace).await;
            }
        }));
    }

    fn admit(&mut self) {
        let Some(running) = &self.vm else { return };
        let vm = running.process.client();
        for waiter in self.waiters.drain(..) {
            let waited = waiter.asked.elapsed();
            let booted = self.booted.min(waited);
            let wake = Some(WakeTiming { queued: waited.saturating_sub(booted), booted });
            let _ = waiter.reply.send(Ok(Awake { vm: Arc::clone(vm), wake }));
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        let problem = match refusal {
            Refusal::PowerAsleep => Problem::new(
                ProblemCode::WorkspaceAsleep,
                "the workspace sleeps because spec.power is Asleep; set it to Auto or Awake",
            )
            .with_field("spec.power"),
            Refusal::Deleting => Problem::new(
                ProblemCode::WorkspaceDeleting,
                format!("the workspace {} is being deleted", self.uid),
            ),
            Refusal::BootFailed => self.boot_problem.take().unwrap_or_else(|| {
                Problem::new(ProblemCode::BootFailed, "the VM could not be started; see the runner's log")
            }),
        };
        for waiter in self.waiters.drain(..) {
            let _ = waiter.reply.send(Err(problem.clone()));
        }
    }

    async fn remove(&mut self) {
        let (fleet, uid) = (Arc::clone(&self.fleet), self.uid.clone());
        let removed = tokio::task::spawn_blocking(move || fleet.remove(&uid)).await;
        if let Ok(Err(error)) = removed {
            tracing::error!(workspace = %self.uid, %error, "removing the files of a deleted workspace failed");
        }
    }

    fn publish_vm(&self) {
        let vm = self.vm.as_ref().map(|running| Arc::clone(running.process.client()));
        self.view.send_modify(|view| view.vm = vm);
    }

    fn publish(&mut self) {
        let mut new = state(&self.uid, self.epoch, &self.config, &self.machine);
        new.message.clone_from(&self.message);
        new.last_wake.clone_from(&self.last_wake);
        if let Some(running) = &self.vm {
            new.restart_required = restart_required(&running.config, &self.config);
            new.usage = running.usage;
        }
        let vm = self.vm.as_ref().map(|running| Arc::clone(running.process.client()));
        let old = Arc::clone(&self.view.borrow().state);
        if *old == new && vm.is_some() == self.view.borrow().vm.is_some() {
            return;
        }
        self.fleet.metrics.moved(Some(old.power), Some(new.power));
        let new = Arc::new(new);
        let has_changed = *old != *new;
        self.view.send_replace(View { state: Arc::clone(&new), vm });
        if has_changed {
            self.fleet
                .changes
                .announce(WorkspaceChange::State { state: Box::new(WorkspaceState::clone(&new)) });
        }
    }
}

/// The problem of a request by somebody whose binding is over.
pub(crate) fn stale_epoch(uid: &Uid, epoch: u64, known: u64) -> Problem {
    let detail = format!(
        "epoch {epoch} of workspace {uid} is over: this runner knows epoch {known}; read the Workspace's status again"
    );
    Problem::new(ProblemCode::StaleEpoch, detail)
}

/// Waits for something that may not be there; then for ever.
async fn optional<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// What comes from the VM, if there is one: its end, or what it uses.
async fn vm_happening(vm: &mut Option<Running>) -> Happened {
    let Some(running) = vm else { return pending().await };
    tokio::select! {
        how = running.process.wait() => Happened::VmExited(how),
        usage = optional(&mut running.measuring) => {
            running.measuring = None;
            Happened::Measured(usage.ok().flatten())
        }
    }
}
