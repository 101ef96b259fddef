//! Booting a VM: a vm process, warm if there is one, is given the workspace's files and its configuration.
//!
//! Whatever ends a boot, its process has ended and the files are back home before the boot's task answers; that is why a
//! boot is cancelled by its token and never by dropping it.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use vm_api::{MountSource, Problem, ProblemCode, StorageType, WorkspaceConfig, route};

use super::reader::Reader;
use crate::boot_request::{self, Access, BootRequest};
use crate::supervisor::child::VmProcess;
use crate::supervisor::client::{self, VmClient};
use crate::supervisor::fleet::Fleet;
use crate::supervisor::metrics::BootPath;
use crate::supervisor::uid::Uid;
use crate::task::{self, Task};

/// Most bytes of a problem that a vm process may answer with.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// What is to be booted.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) fleet: Arc<Fleet>,
    pub(super) uid: Uid,
    pub(super) config: Arc<WorkspaceConfig>,
    pub(super) access: Access,
}

/// A boot in flight.
#[derive(Debug)]
pub(super) struct Boot {
    pub(super) task: Task<Result<Booted, Problem>>,
    cancel: CancellationToken,
}

/// A VM that can serve.
#[derive(Debug)]
pub(super) struct Booted {
    pub(super) process: VmProcess,
    /// What it was booted with.
    pub(super) config: Arc<WorkspaceConfig>,
    /// Waiting for a place among the boots in flight.
    pub(super) queued: Duration,
    /// The boot itself.
    pub(super) duration: Duration,
    /// Its place among the readers, if it is one.
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

impl Boot {
    /// Begins to boot. `reader` is a VM that reads the same files: it becomes the VM, or has to end first.
    pub(super) fn start(order: Order, reader: Option<Reader>) -> Self {
        let cancel = CancellationToken::new();
        let task = task::spawn(boot(order, reader, cancel.clone()));
        Self { task, cancel }
    }

    /// A boot that must not be.
    pub(super) fn refused(problem: Problem) -> Self {
        Self { task: task::spawn(std::future::ready(Err(problem))), cancel: CancellationToken::new() }
    }

    /// Takes the boot back. Returns when nothing is left of it.
    pub(super) async fn cancel(self, grace: Duration) {
        self.cancel.cancel();
        if let Ok(Ok(booted)) = self.task.await {
            booted.process.stop(grace).await;
        }
    }
}

async fn boot(order: Order, reader: Option<Reader>, cancel: CancellationToken) -> Result<Booted, Problem> {
    let asked = Instant::now();
    let deadline = tokio::time::Instant::from_std(asked) + order.fleet.boot_timeout;
    let result = match take_over(&order, reader, &cancel).await {
        Some(booted) => Ok(booted),
        None => boot_fresh(&order, asked, deadline, &cancel).await,
    };
    order.fleet.spares.refill();
    if let Err(problem) = &result
        && !cancel.is_cancelled()
    {
        order.fleet.metrics.count_boot_failure();
        tracing::warn!(workspace = %order.uid, %problem, "boot failed");
    }
    result
}

/// Makes a VM that reads the same files the VM, or waits until it is gone.
async fn take_over(order: &Order, reader: Option<Reader>, cancel: &CancellationToken) -> Option<Booted> {
    let booted = match reader? {
        Reader::Running(reading) => reading.booted,
        Reader::Starting(mut boot) => tokio::select! {
            result = &mut boot.task => result.ok()?.ok()?,
            () = cancel.cancelled() => {
                boot.cancel(Duration::ZERO).await;
                return None;
            }
        },
        Reader::Ending(task) => {
            let _ = task.await;
            return None;
        }
    };
    let started = Instant::now();
    let promote = post(booted.process.client(), http::Method::POST, boot_request::PROMOTE, &());
    match tokio::time::timeout(order.fleet.boot_timeout, promote).await {
        Ok(Ok(())) => {
            let duration = started.elapsed();
            order.fleet.metrics.observe_boot(BootPath::Promoted, duration);
            tracing::info!(workspace = %order.uid, ?duration, "VM promoted");
            Some(Booted { queued: Duration::ZERO, duration, _place: None, ..booted })
        }
        _ => {
            booted.process.kill().await;
            None
        }
    }
}

async fn boot_fresh(
    order: &Order,
    asked: Instant,
    deadline: tokio::time::Instant,
    cancel: &CancellationToken,
) -> Result<Booted, Problem> {
    let Order { fleet, uid, config, access } = order;
    let timeout = || {
        let detail = format!("the VM did not start within {:?}", fleet.boot_timeout);
        Problem::new(ProblemCode::BootTimeout, detail)
    };
    let places = async {
        let place = match access {
            Access::Full => None,
            Access::Files => Arc::clone(&fleet.readers).acquire_owned().await.ok(),
        };
        (place, fleet.boots.acquire().await)
    };
    let (place, _boot) = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(cancelled()),
        places = tokio::time::timeout_at(deadline, places) => places.map_err(|_| timeout())?,
    };
    let queued = asked.elapsed();
    let started = Instant::now();
    let (process, path) = take_process(fleet, config).await?;
    let mut process = claim(process, uid, config).await?;
    let vm = Arc::clone(process.client());
    let result = tokio::select! {
        biased;
        result = configure(&vm, uid, config, *access) => result,
        // It tells why in the log, and is gone before it can tell us.
        how = process.wait() => Err(failed(&how)),
        () = cancel.cancelled() => Err(cancelled()),
        () = tokio::time::sleep_until(deadline) => Err(timeout()),
    };
    if let Err(problem) = result {
        process.kill().await;
        return Err(problem);
    }
    let duration = started.elapsed();
    if *access == Access::Full {
        fleet.metrics.observe_boot(path, duration);
    }
    tracing::info!(workspace = %uid, ?path, ?access, ?queued, ?duration, "VM booted");
    Ok(Booted { process, config: Arc::clone(config), queued, duration, _place: place })
}

/// A process that can reach what the workspace mounts.
async fn take_process(fleet: &Fleet, config: &WorkspaceConfig) -> Result<(VmProcess, BootPath), Problem> {
    let mut volumes = Vec::new();
    for mount in &config.mounts {
        if let MountSource::Volume(wanted) = &mount.source {
            let volume = fleet.volume(&wanted.name)?;
            if !volumes.contains(volume) {
                volumes.push(volume.clone());
            }
        }
    }
    let taken = match volumes.is_empty() {
        true => fleet.spares.take().await,
        false => fleet.spares.start_with(volumes).await,
    };
    taken.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Problem::new(ProblemCode::StorageFull, format!("the runner's volume (--data) is full: {error}"))
        }
        _ => failed(&error.to_string()),
    })
}

async fn claim(mut process: VmProcess, uid: &Uid, config: &WorkspaceConfig) -> Result<VmProcess, Problem> {
    let claimed = match config.storage.kind {
        StorageType::Ephemeral => Ok(()),
        StorageType::Persistent => process.claim(uid, config.epoch),
    };
    match claimed {
        Ok(()) => Ok(process),
        Err(error) => {
            process.kill().await;
            Err(error.into())
        }
    }
}

async fn configure(
    vm: &Arc<VmClient>,
    uid: &Uid,
    config: &WorkspaceConfig,
    access: Access,
) -> Result<(), Problem> {
    let request = BootRequest { uid: Cow::Borrowed(uid.as_str()), config: Cow::Borrowed(config), access };
    post(vm, http::Method::POST, route::BOOT, &request).await
}

/// Gives a running VM the parts of a new configuration that can change while it runs.
pub(super) async fn reconfigure(vm: &Arc<VmClient>, config: &WorkspaceConfig) -> Result<(), Problem> {
    post(vm, http::Method::PUT, boot_request::CONFIG, config).await
}

async fn post<T: Serialize>(
    vm: &Arc<VmClient>,
    method: http::Method,
    path: &str,
    body: &T,
) -> Result<(), Problem> {
    let body = serde_json::to_vec(body).map_err(|error| failed(&error.to_string()))?;
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .body(client::full(body))
        .map_err(|error| failed(&error.to_string()))?;
    let channel = vm.connect().await.map_err(|error| failed(&error.to_string()))?;
    let response = channel.send(request).await.map_err(|error| failed(&error.to_string()))?;
    if response.status().is_success() {
        // Read to its end, so that the connection is kept.
        let _ = http_body_util::Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        return Ok(());
    }
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let problem = body.ok().and_then(|body| serde_json::from_slice::<Problem>(&body.to_bytes()).ok());
    Err(problem.unwrap_or_else(|| failed(&format!("the vm process answered {status}"))))
}

fn failed(reason: &str) -> Problem {
    Problem::new(
        ProblemCode::BootFailed,
        format!("the VM could not be started: {reason}; see the runner's log"),
    )
}

fn cancelled() -> Problem {
    Problem::new(ProblemCode::BootFailed, "the VM is not wanted any more")
}
