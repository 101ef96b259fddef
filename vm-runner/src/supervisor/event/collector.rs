//! Collecting the events of one VM, from its boot to its end.
//!
//! The VM is not trusted: what it tells is read, bounded and written anew, and taken no faster than it is kept; its own
//! ring drops what comes too fast, and says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use vm_api::{VmEvent, route, sse};

use super::Events;
use crate::http::Body;
use crate::supervisor::client::{self, VmClient};
use crate::supervisor::journal::Entry;
use crate::supervisor::uid::Uid;

/// How long a boot's first command has the VM, and its connection, for itself.
const CONNECT_PAUSE: Duration = Duration::from_millis(5);
/// How long it then has the disk for itself. What happens meanwhile waits in the stream.
const WRITE_PAUSE: Duration = Duration::from_millis(50);
/// How long events are gathered before they are kept together.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the last events of a VM that has ended are waited for.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a VM that shall stop waits until somebody listens.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(1);

/// Resolves when all events of a VM are kept.
pub(in crate::supervisor) type Collected = oneshot::Receiver<()>;

/// Who collects the events of a VM. Dropping it says that the runner stops.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(super) last: oneshot::Sender<VmEvent>,
    pub(super) epoch: Arc<AtomicU64>,
    pub(super) line: Line,
}

/// What a collector and its owner tell each other about the connection to the VM.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// The VM is about to stop: the connection cannot wait.
    wanted: CancellationToken,
    /// The VM is listened to, or cannot be.
    settled: CancellationToken,
}

impl Collector {
    /// Waits until somebody listens to the VM. One that is stopped before that would tell nobody what it did.
    pub(crate) async fn listening(&self) {
        self.line.wanted.cancel();
        // A VM that does not answer is not waited for.
        let _ = tokio::time::timeout(LISTEN_TIMEOUT, self.line.settled.cancelled()).await;
    }

    /// The workspace is bound anew while the VM runs.
    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    /// The VM has ended; this is the last event.
    pub(crate) fn end(self, last: VmEvent) {
        // Whoever collects lives until it is told.
        let _ = self.last.send(last);
    }
}

/// What is to be collected.
pub(super) struct Order {
    pub(super) keeper: Keeper,
    pub(super) vm: Arc<VmClient>,
    pub(super) booted: Entry,
    pub(super) before: Option<Collected>,
    pub(super) last: oneshot::Receiver<VmEvent>,
    pub(super) done: oneshot::Sender<()>,
    pub(super) line: Line,
}

/// Who keeps what is collected.
pub(super) struct Keeper {
    pub(super) events: Events,
    pub(super) uid: Uid,
    pub(super) epoch: Arc<AtomicU64>,
}

impl Keeper {
    async fn keep(&self, entries: Vec<Entry>) {
        self.events.append(&self.uid, self.epoch.load(Ordering::Relaxed), entries).await;
    }
}

/// Collects until the VM has ended.
pub(super) async fn collect(order: Order) {
    let Order { keeper, vm, booted, before, mut last, done, line } = order;
    if let Some(before) = before {
        // Whoever collected them may be gone.
        let _ = before.await;
    }
    let mut told = pause(CONNECT_PAUSE, &mut last, &line).await;
    let stream = connect(&keeper.uid, &vm).await;
    line.settled.cancel();
    if told.is_none() {
        told = pause(WRITE_PAUSE, &mut last, &line).await;
    }
    keeper.keep(vec![booted]).await;
    let mut following = std::pin::pin!(follow(&keeper, stream));
    if told.is_none() {
        told = tokio::select! {
            told = &mut last => Some(told),
            () = following.as_mut() => None,
        };
    }
    let ended = match told {
        Some(told) => {
            // What cannot be had in time is lost.
            let _ = tokio::time::timeout(LAST_TIMEOUT, following).await;
            told
        }
        None => last.await,
    };
    let shutdown = ended.unwrap_or(VmEvent::VmShutdown { reason: None, message: None });
    keeper.keep(vec![Entry::of(shutdown)]).await;
    // Nobody may wait for it.
    let _ = done.send(());
}

/// Waits for so long, but no longer than until the VM ends or shall stop. Returns its last event, if it has ended.
async fn pause(
    longest: Duration,
    last: &mut oneshot::Receiver<VmEvent>,
    line: &Line,
) -> Option<Result<VmEvent, oneshot::error::RecvError>> {
    tokio::select! {
        told = last => Some(told),
        () = line.wanted.cancelled() => None,
        () = tokio::time::sleep(longest) => None,
    }
}

/// Collects what a VM tells, until it tells no more.
async fn follow(keeper: &Keeper, stream: Option<Body>) {
    let Some(mut body) = stream else { return };
    let mut decoder = sse::Decoder::default();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(chunk) = frame.into_data() else { continue };
        let Ok(messages) = decoder.push(&chunk) else {
            tracing::warn!(workspace = %keeper.uid, "a VM tells events that are too long; no more are taken from it");
            return;
        };
        let entries: Vec<_> = messages.iter().filter_map(|message| Entry::of_vm(&message.data)).collect();
        if !entries.is_empty() {
            keeper.keep(entries).await;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn connect(uid: &Uid, vm: &Arc<VmClient>) -> Option<Body> {
    let path = route::Workspace::at_runner(uid.as_str()).events();
    let request = http::Request::get(path).body(client::full("")).ok()?;
    let answered = async { vm.connect().await?.send(request).await };
    match answered.await {
        Ok(response) if response.status() == StatusCode::OK => Some(response.into_body()),
        Ok(response) => {
            tracing::warn!(workspace = %uid, status = %response.status(), "a VM does not tell its events");
            None
        }
        // It ended at once, and its owner says so.
        Err(error) => {
            tracing::debug!(workspace = %uid, %error, "a VM does not tell its events");
            None
        }
    }
}
