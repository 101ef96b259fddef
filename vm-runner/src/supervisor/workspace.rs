//! One workspace: a handle for those who need it, and the one task that owns it.
//!
//! The task runs the [`machine`] and does what it says; nobody else starts or stops the workspace's VM. Requests reach
//! it through a bounded queue. What it publishes is a [`View`], which the way of a request reads without asking.

mod attend;
mod boot;
mod idle;
mod machine;
mod owner;
mod reader;
mod report;
mod restart;
mod traffic;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use vm_api::{Power, Problem, ProblemCode, SleepReason, WakeCause, WorkspaceConfig, WorkspaceState};

use self::owner::{Owner, Parts};
pub(crate) use self::owner::{Request, Resting, stale_epoch};
use self::traffic::Traffic;
pub(crate) use self::traffic::Visit;
use super::client::VmClient;
use super::fleet::Fleet;
use super::metrics::Metrics;
use super::registry::Registry;
use super::uid::Uid;
use crate::task::{self, Task};

/// How long an owner may take to notice that its VM is gone.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests to the owner that may wait.
const QUEUE_LENGTH: usize = 1024;

/// What is known about a workspace without asking its owner.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) state: Arc<WorkspaceState>,
    /// The VM, while it can serve.
    pub(crate) vm: Option<Arc<VmClient>>,
    /// A VM that only reads files, while the workspace sleeps.
    pub(crate) reader: Option<Arc<VmClient>>,
}

/// What somebody needs a VM for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Something that only an awake workspace does.
    Act(WakeCause),
    /// Reading files, which wakes nothing.
    Read,
}

/// Why a VM has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The workspace was put to sleep, or deleted.
    ByOrder,
    /// It ended by itself, or was ended for what it did.
    ByItself,
}

impl View {
    /// Whether a VM has stopped, or is about to, and why.
    fn stopped(&self, vm: &Arc<VmClient>) -> Option<Stopped> {
        match (self.state.power, self.state.sleep) {
            (Power::Stopping, _)
            | (Power::Asleep, Some(SleepReason::Requested | SleepReason::OnDemand | SleepReason::Idle)) => {
                Some(Stopped::ByOrder)
            }
            (Power::Asleep | Power::Waking, _) => Some(Stopped::ByItself),
            (Power::Awake, _) => {
                let is_another = self.vm.as_ref().is_some_and(|current| !Arc::ptr_eq(current, vm));
                is_another.then_some(Stopped::ByItself)
            }
        }
    }

    fn vm_for(&self, purpose: Purpose) -> Option<&Arc<VmClient>> {
        match purpose {
            Purpose::Act(_) => self.vm.as_ref(),
            Purpose::Read => self.vm.as_ref().or(self.reader.as_ref()),
        }
    }
}

/// A VM that can take a request, and what it took to get it.
#[derive(Debug)]
pub(crate) struct Awake {
    pub(crate) vm: Arc<VmClient>,
    /// Present when this request had to wait for a boot.
    pub(crate) wake: Option<WakeTiming>,
}

/// How long a boot took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WakeTiming {
    pub(crate) queued: Duration,
    pub(crate) booted: Duration,
}

/// Those who need a workspace hold this. Clones are cheap.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    uid: Uid,
    requests: mpsc::Sender<Request>,
    view: watch::Receiver<View>,
    traffic: Arc<Traffic>,
    metrics: Arc<Metrics>,
    /// Cancelled when the supervisor stops.
    stop: CancellationToken,
}

impl Workspace {
    /// Starts an owner again for a workspace that has none.
    pub(crate) fn resume(
        fleet: &Arc<Fleet>,
        registry: Weak<Registry>,
        uid: Uid,
        resting: Resting,
        stop: CancellationToken,
    ) -> (Self, Task<()>) {
        let Resting { config, state } = resting;
        Self::start_owner(fleet, registry, uid, (state.epoch, config, Some(state)), stop)
    }

    /// Starts the owner of a workspace that is known up to `epoch`.
    pub(crate) fn start(
        fleet: &Arc<Fleet>,
        registry: Weak<Registry>,
        uid: Uid,
        epoch: u64,
        config: Arc<WorkspaceConfig>,
        stop: CancellationToken,
    ) -> (Self, Task<()>) {
        Self::start_owner(fleet, registry, uid, (epoch, config, None), stop)
    }

    fn start_owner(
        fleet: &Arc<Fleet>,
        registry: Weak<Registry>,
        uid: Uid,
        (epoch, config, resumed): (u64, Arc<WorkspaceConfig>, Option<Arc<WorkspaceState>>),
        stop: CancellationToken,
    ) -> (Self, Task<()>) {
        let (requests, inbox) = mpsc::channel(QUEUE_LENGTH);
        let traffic = Traffic::new(fleet.max_requests_per_workspace);
        let (owner, view) = Owner::new(Parts {
            fleet: Arc::clone(fleet),
            registry,
            uid: uid.clone(),
            epoch,
            config,
            resumed,
            inbox,
            requests: requests.downgrade(),
            traffic: Arc::clone(&traffic),
        });
        (
            Self { uid, requests, view, traffic, metrics: Arc::clone(&fleet.metrics), stop: stop.clone() },
            task::spawn(owner.run(stop)),
        )
    }

    /// Lets a request in, if there is room. It comes before [`reach`](Self::reach) and lasts until its answer has ended.
    pub(crate) fn enter(&self) -> Option<Visit> {
        self.traffic.enter()
    }

    /// Lets a run in. As [`enter`](Self::enter), but it takes no request's place.
    pub(crate) fn enter_run(&self) -> Visit {
        self.traffic.enter_run()
    }

    /// Whether its owner has ended, because the workspace was deleted.
    pub(crate) fn is_gone(&self) -> bool {
        self.requests.is_closed()
    }

    pub(crate) fn state(&self) -> Arc<WorkspaceState> {
        Arc::clone(&self.view.borrow().state)
    }

    /// Hands the owner a configuration.
    pub(crate) async fn configure(&self, config: WorkspaceConfig) -> Result<Arc<WorkspaceState>, Problem> {
        self.ask(|reply| Request::Configure { config: Box::new(config), reply }).await?
    }

    /// Deletes the workspace: stops its VM and removes what it left.
    pub(crate) async fn delete(&self, epoch: Option<u64>) -> Result<(), Problem> {
        self.ask(|reply| Request::Delete { epoch, reply }).await?
    }

    /// Boots the VM if need be, and says how the workspace is then.
    pub(crate) async fn wake(&self) -> Result<Arc<WorkspaceState>, Problem> {
        self.reach(Purpose::Act(WakeCause::OnDemand)).await?;
        // Its owner lets those in who wait before it tells everybody that the boot is over.
        let mut view = self.view.clone();
        let view = view.wait_for(|view| view.state.power != Power::Waking).await.map_err(|_| self.gone())?;
        Ok(Arc::clone(&view.state))
    }

    /// Stops the VM until the next action, and says how the workspace is then.
    pub(crate) async fn sleep(&self) -> Result<Arc<WorkspaceState>, Problem> {
        self.ask(|reply| Request::Sleep { reply }).await?
    }

    /// Gets a VM that can do that, booting it if need be.
    pub(crate) async fn reach(&self, purpose: Purpose) -> Result<Awake, Problem> {
        if let Some(vm) = self.view.borrow().vm_for(purpose) {
            return Ok(Awake { vm: Arc::clone(vm), wake: None });
        }
        let asked = Instant::now();
        self.ask(|reply| match purpose {
            Purpose::Act(cause) => Request::Wake { cause, asked, reply },
            Purpose::Read => Request::Read { asked, reply },
        })
        .await?
    }

    /// Gets another VM than `dead`, whose death the owner is about to notice.
    pub(crate) async fn reach_another(
        &self,
        purpose: Purpose,
        dead: &Arc<VmClient>,
    ) -> Result<Awake, Problem> {
        if self.wait_for_another(purpose, dead).await {
            return self.reach(purpose).await;
        }
        Err(Problem::new(ProblemCode::VmDied, "the VM does not answer; try again"))
    }

    /// Waits until nobody gets this VM any more. False if that takes too long.
    pub(crate) async fn wait_for_another(&self, purpose: Purpose, old: &Arc<VmClient>) -> bool {
        let mut view = self.view.clone();
        let has_changed = view.wait_for(|view| !view.vm_for(purpose).is_some_and(|vm| Arc::ptr_eq(vm, old)));
        matches!(tokio::time::timeout(NOTICE_TIMEOUT, has_changed).await, Ok(Ok(_)))
    }

    /// Whether a VM has stopped, or is about to, and why.
    pub(crate) fn is_stopped(&self, vm: &Arc<VmClient>) -> Option<Stopped> {
        if self.is_gone() {
            return Some(Stopped::ByOrder);
        }
        self.view.borrow().stopped(vm)
    }

    /// Waits until it is known why a VM has stopped that does not answer any more.
    pub(crate) async fn wait_stopped(&self, vm: &Arc<VmClient>) -> Option<Stopped> {
        let mut view = self.view.clone();
        let known = view.wait_for(|view| view.stopped(vm).is_some());
        // Its owner ends when it is deleted.
        let known = tokio::time::timeout(NOTICE_TIMEOUT, known).await;
        let known = known.ok().map(|view| view.map_or(Some(Stopped::ByOrder), |view| view.stopped(vm)));
        known.flatten()
    }

    /// Tells that the first answer after a boot began.
    pub(crate) fn note_first_byte(&self, wake: WakeTiming, after: Duration) {
        self.metrics.observe_wake(wake.queued, wake.booted, after);
        // Only a number for the status: not worth waiting for.
        let _ = self.requests.try_send(Request::FirstByte(after));
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())
    }

    /// Why there is no owner to ask.
    fn gone(&self) -> Problem {
        if self.stop.is_cancelled() {
            return shutting_down();
        }
        Problem::new(ProblemCode::WorkspaceNotFound, format!("the workspace {} is gone", self.uid))
    }
}

/// The problem of whoever comes when it is too late: the next supervisor knows the workspace.
pub(crate) fn shutting_down() -> Problem {
    Problem::new(ProblemCode::ShuttingDown, "the runner is stopping; nothing was done, try again")
}

fn boot_panicked(error: &tokio::task::JoinError) -> Problem {
    Problem::new(ProblemCode::Internal, format!("the boot ended abnormally: {error}"))
}
