//! The task that owns one workspace: it feeds the machine and does what it says.
//!
//! `configure` takes configurations and deletion, `power` boots and stops the VM, `read` keeps a VM that only reads,
//! `publish` tells everybody else, and `rest` ends the task of a workspace that sleeps and is left alone.

mod configure;
mod power;
mod publish;
mod read;
mod rest;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use vm_api::{
    Problem, ProblemCode, SleepReason, Usage, Wake, WakeCause, WorkspaceChange, WorkspaceConfig,
    WorkspaceState,
};

pub(crate) use self::configure::stale_epoch;
use self::power::FIRST_RETRY_PAUSE;
use self::rest::REST_AFTER;
pub(crate) use self::rest::Resting;
use super::boot::{Boot, Booted};
use super::idle::Idleness;
use super::machine::{Effect, Input, Machine, Stage};
use super::reader::{self, Reader};
use super::report::{state, whole_ms};
use super::traffic::Traffic;
use super::{Awake, View, boot_panicked};
use crate::boot_request::Activity;
use crate::supervisor::child::VmProcess;
use crate::supervisor::event::{Collected, Collector};
use crate::supervisor::fleet::Fleet;
use crate::supervisor::memory::Resident;
use crate::supervisor::registry::Registry;
use crate::supervisor::uid::Uid;
use crate::task::Task;

/// What can be asked of the owner.
#[derive(Debug)]
pub(crate) enum Request {
    /// Take this configuration.
    Configure { config: Box<WorkspaceConfig>, reply: oneshot::Sender<Result<Arc<WorkspaceState>, Problem>> },
    /// The VM, for everything.
    Wake { cause: WakeCause, asked: Instant, reply: oneshot::Sender<Result<Awake, Problem>> },
    /// A VM that can read files.
    Read { asked: Instant, reply: oneshot::Sender<Result<Awake, Problem>> },
    /// Stop the VM until the next action.
    Sleep { reply: oneshot::Sender<Result<Arc<WorkspaceState>, Problem>> },
    /// Stop the VM if it is idle: the runner is short of memory.
    Relieve,
    /// The VM uses more than it may.
    OverMemory { used_bytes: u64, allowed_bytes: u64 },
    /// Stop the VM and remove everything.
    Delete { epoch: Option<u64>, reply: oneshot::Sender<Result<(), Problem>> },
    /// When the first answer after a boot began.
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
    /// Nothing has happened for a while.
    Quiet,
    Attended(Option<Activity>),
    Reader(reader::Happening),
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
    /// What is on disk.
    epoch: u64,
    /// The latest that is known, on disk or not.
    latest_epoch: u64,
    /// Why nothing may be booted: the epoch of the binding is not on disk.
    unbound: Option<Problem>,
    config: Arc<WorkspaceConfig>,
    machine: Machine,
    inbox: mpsc::Receiver<Request>,
    /// For those who watch the VM on the owner's behalf.
    requests: mpsc::WeakSender<Request>,
    traffic: Arc<Traffic>,
    view: watch::Sender<View>,
    boot: Option<Boot>,
    vm: Option<Running>,
    reader: Option<Reader>,
    stopping: Option<Task<()>>,
    retry: Option<Pin<Box<Sleep>>>,
    retry_pause: Duration,
    /// When to look whether this task is needed at all.
    quiet: Pin<Box<Sleep>>,
    waiters: Vec<Waiter>,
    readers: Vec<Waiter>,
    sleepers: Vec<oneshot::Sender<Result<Arc<WorkspaceState>, Problem>>>,
    deleters: Vec<oneshot::Sender<Result<(), Problem>>>,
    wake_cause: WakeCause,
    last_wake: Option<Wake>,
    /// How long the last boot took, exactly.
    booted: Duration,
    message: Option<String>,
    /// Why the last boot failed, for those who waited for it.
    boot_problem: Option<Problem>,
    /// Why the VM is being killed, if it is.
    verdict: Option<(SleepReason, String)>,
    /// When the events of the last VM are kept.
    collected: Option<Collected>,
}

/// The VM.
struct Running {
    process: VmProcess,
    config: Arc<WorkspaceConfig>,
    since: Instant,
    usage: Option<Usage>,
    idle: Idleness,
    attending: Option<Task<Option<Activity>>>,
    collector: Collector,
    _resident: Option<Resident>,
}

/// What an owner is made of.
pub(super) struct Parts {
    pub(super) fleet: Arc<Fleet>,
    pub(super) registry: Weak<Registry>,
    pub(super) uid: Uid,
    /// What is on disk; 0 for a new workspace.
    pub(super) epoch: u64,
    pub(super) config: Arc<WorkspaceConfig>,
    /// How the workspace was when its last owner came to rest.
    pub(super) resumed: Option<Arc<WorkspaceState>>,
    pub(super) inbox: mpsc::Receiver<Request>,
    pub(super) requests: mpsc::WeakSender<Request>,
    pub(super) traffic: Arc<Traffic>,
}

impl Owner {
    pub(super) fn new(parts: Parts) -> (Self, watch::Receiver<View>) {
        let Parts { fleet, registry, uid, epoch, config, resumed, inbox, requests, traffic } = parts;
        let (machine, state, unbound) = match resumed {
            Some(state) => {
                let reason = state.sleep.unwrap_or(SleepReason::NotStarted);
                (Machine::asleep(reason, config.power), state, None)
            }
            None => {
                let machine = Machine::new();
                let state = Arc::new(state(&uid, epoch, &config, &machine));
                fleet.metrics.moved(None, Some(state.power));
                let detail = format!("the workspace {uid} is being bound to this runner; try again");
                (machine, state, Some(Problem::new(ProblemCode::WorkspaceNotBound, detail)))
            }
        };
        let (last_wake, message) = (state.last_wake.clone(), state.message.clone());
        let (view, receiver) = watch::channel(View { state, vm: None, reader: None });
        let owner = Self {
            fleet,
            registry,
            uid,
            epoch,
            latest_epoch: epoch,
            unbound,
            config,
            machine,
            inbox,
            requests,
            traffic,
            view,
            boot: None,
            vm: None,
            reader: None,
            stopping: None,
            retry: None,
            retry_pause: FIRST_RETRY_PAUSE,
            quiet: Box::pin(sleep(REST_AFTER)),
            waiters: Vec::new(),
            readers: Vec::new(),
            sleepers: Vec::new(),
            deleters: Vec::new(),
            wake_cause: WakeCause::Spec,
            last_wake,
            booted: Duration::ZERO,
            message,
            boot_problem: None,
            verdict: None,
            collected: None,
        };
        (owner, receiver)
    }

    /// Runs until the workspace is deleted or the supervisor stops.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while self.machine.stage() != Stage::Gone {
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
                Happened::Quiet => {
                    if self.rest() {
                        return;
                    }
                    continue;
                }
                Happened::Attended(activity) => self.attended(activity).await,
                Happened::Reader(happening) => self.reader_happened(happening).await,
            }
            self.serve_readers();
            self.publish();
            self.answer_sleepers();
            self.quiet.as_mut().reset(tokio::time::Instant::now() + REST_AFTER);
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
            result = optional(self.boot.as_mut().map(|boot| &mut boot.task)) => {
                self.boot = None;
                Happened::BootEnded(Box::new(result.unwrap_or_else(|error| Err(boot_panicked(&error)))))
            }
            happened = vm_happening(&mut self.vm) => happened,
            happening = reader_happening(&mut self.reader) => Happened::Reader(happening),
            _ = optional(self.stopping.as_mut()) => {
                self.stopping = None;
                Happened::Stopped
            }
            () = &mut self.quiet => Happened::Quiet,
            () = optional(self.retry.as_mut()) => {
                self.retry = None;
                Happened::RetryDue
            }
        }
    }

    /// The supervisor stops: the VM ends, and with it this task. The workspace stays.
    async fn abandon(mut self) {
        let grace = self.fleet.stop_grace;
        if let Some(boot) = self.boot.take() {
            boot.cancel(grace).await;
        }
        if let Some(Running { process, collector, .. }) = self.vm.take() {
            collector.listening().await;
            process.stop(grace).await;
            // Not before the VM has told its last.
            drop(collector);
        }
        if let Some(reader) = self.reader.take() {
            reader.end(grace).await;
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
            Request::Wake { reply, .. } | Request::Read { reply, .. } if self.unbound.is_some() => {
                let _ = reply.send(self.unbound.clone().map_or_else(|| Err(self.deleting()), Err));
            }
            Request::Wake { cause, asked, reply } => {
                if self.vm.is_none() && self.boot.is_none() {
                    self.wake_cause = cause;
                }
                self.waiters.push(Waiter { asked, reply });
                self.step(Input::Wake).await;
            }
            // Served below, as the stage allows.
            Request::Read { asked, reply } => self.readers.push(Waiter { asked, reply }),
            Request::Sleep { reply } => self.sleep_on_demand(reply).await,
            Request::Relieve => self.sleep_if_idle(SleepReason::MemoryPressure).await,
            Request::OverMemory { used_bytes, allowed_bytes } => {
                self.end_over_memory(used_bytes, allowed_bytes);
            }
            Request::Delete { epoch, reply } => self.delete(epoch, reply).await,
            Request::FirstByte(after) => {
                if let Some(wake) = &mut self.last_wake {
                    wake.first_byte_ms.get_or_insert(whole_ms(after));
                }
            }
        }
    }

    async fn step(&mut self, input: Input) {
        for effect in self.machine.step(input) {
            match effect {
                Effect::Boot => self.start_boot(),
                Effect::Stop => self.stop(),
                Effect::Admit => self.admit(),
                Effect::Refuse(refusal) => self.refuse(refusal),
                Effect::RetryLater => self.retry_later(),
                Effect::Remove => self.remove().await,
            }
        }
    }
}

/// Waits for something that may not be there; then for ever.
async fn optional<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// What comes from the VM, if there is one: its end, or what it tells.
async fn vm_happening(vm: &mut Option<Running>) -> Happened {
    let Some(running) = vm else { return pending().await };
    tokio::select! {
        how = running.process.wait() => Happened::VmExited(how),
        activity = optional(running.attending.as_mut()) => {
            running.attending = None;
            Happened::Attended(activity.ok().flatten())
        }
    }
}

async fn reader_happening(reader: &mut Option<Reader>) -> reader::Happening {
    match reader {
        Some(reader) => reader.happening().await,
        None => pending().await,
    }
}
