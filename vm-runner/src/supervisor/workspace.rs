//! One workspace: a handle for those who need it, and the one task that owns it.
//!
//! The task runs the [`machine`] and does what it says; nobody else starts or stops the workspace's VM. Requests reach
//! it through a bounded queue. What it publishes is a [`View`], which the way of a request reads without asking.

mod boot;
mod machine;
mod owner;
mod report;
mod restart;
mod usage;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use vm_api::{Problem, ProblemCode, WakeCause, WorkspaceConfig, WorkspaceState};

pub(crate) use self::owner::stale_epoch;
use self::owner::{Owner, Request};
use super::client::VmClient;
use super::fleet::Fleet;
use super::registry::Registry;
use super::uid::Uid;
use crate::task::{self, Task};

/// Requests to the owner that may wait.
const QUEUE_LENGTH: usize = 1024;

/// What is known about a workspace without asking its owner.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) state: Arc<WorkspaceState>,
    /// The VM, while it can serve.
    pub(crate) vm: Option<Arc<VmClient>>,
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
    in_flight: Arc<Semaphore>,
}

impl Workspace {
    /// Starts the owner of a workspace that is known up to `epoch`.
    pub(crate) fn start(
        fleet: &Arc<Fleet>,
        registry: Weak<Registry>,
        uid: Uid,
        epoch: u64,
        config: Arc<WorkspaceConfig>,
        stop: CancellationToken,
    ) -> (Self, Task<()>) {
        let (requests, inbox) = mpsc::channel(QUEUE_LENGTH);
        let (owner, view) = Owner::new(Arc::clone(fleet), registry, uid.clone(), epoch, config, inbox);
        let in_flight = Arc::new(Semaphore::new(fleet.max_requests_per_workspace));
        (Self { uid, requests, view, in_flight }, task::spawn(owner.run(stop)))
    }

    /// Places for requests in flight.
    pub(crate) fn in_flight(&self) -> &Arc<Semaphore> {
        &self.in_flight
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

    /// Gets the VM, booting it if need be.
    pub(crate) async fn wake(&self, cause: WakeCause) -> Result<Awake, Problem> {
        if let Some(vm) = self.view.borrow().vm.clone() {
            return Ok(Awake { vm, wake: None });
        }
        self.ask(|reply| Request::Wake { cause, asked: Instant::now(), reply }).await?
    }

    /// Gets another VM than `dead`, whose death the owner is about to notice.
    pub(crate) async fn wake_again(&self, cause: WakeCause, dead: &Arc<VmClient>) -> Result<Awake, Problem> {
        let mut view = self.view.clone();
        let has_changed = view.wait_for(|view| !view.vm.as_ref().is_some_and(|vm| Arc::ptr_eq(vm, dead)));
        let noticed = matches!(tokio::time::timeout(Duration::from_secs(5), has_changed).await, Ok(Ok(_)));
        if !noticed {
            return Err(Problem::new(ProblemCode::VmDied, "the VM does not answer; try again"));
        }
        self.wake(cause).await
    }

    /// Tells the owner when the first answer after a boot began.
    pub(crate) fn note_first_byte(&self, after: Duration) {
        // Only a number for the status: not worth waiting for.
        let _ = self.requests.try_send(Request::FirstByte(after));
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())
    }

    fn gone(&self) -> Problem {
        Problem::new(ProblemCode::WorkspaceNotFound, format!("the workspace {} is gone", self.uid))
    }
}
