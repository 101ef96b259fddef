//! Booting a VM: a vm process, warm if there is one, is handed the workspace's configuration.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use vm_api::{Problem, ProblemCode, WorkspaceConfig, route};

use crate::boot_request::{self, BootRequest};
use crate::supervisor::child::VmProcess;
use crate::supervisor::client::{self, VmClient};
use crate::supervisor::fleet::Fleet;
use crate::supervisor::uid::Uid;

/// Most bytes of a problem that a vm process may answer with.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// A VM that can serve.
#[derive(Debug)]
pub(crate) struct Booted {
    pub(crate) process: VmProcess,
    /// What it was booted with.
    pub(crate) config: Arc<WorkspaceConfig>,
    /// Waiting for a place among the boots in flight.
    pub(crate) queued: Duration,
    /// The boot itself.
    pub(crate) duration: Duration,
}

/// Boots a VM for a workspace.
///
/// # Errors
/// A problem for those who wait for the VM.
pub(crate) async fn boot(
    fleet: Arc<Fleet>,
    uid: Uid,
    config: Arc<WorkspaceConfig>,
) -> Result<Booted, Problem> {
    let asked = Instant::now();
    let result = tokio::time::timeout(fleet.boot_timeout, async {
        let _place = fleet.boots.acquire().await;
        let queued = asked.elapsed();
        let started = Instant::now();
        let (mut process, path) = fleet.spares.take().await.map_err(|error| failed(&error.to_string()))?;
        let vm = Arc::clone(process.client());
        tokio::select! {
            biased;
            result = configure(&vm, &uid, &config) => result,
            // It tells why in the log, and is gone before it can tell us.
            how = process.wait() => Err(failed(&how)),
        }?;
        let duration = started.elapsed();
        fleet.metrics.observe_boot(path, duration);
        tracing::info!(workspace = %uid, ?path, ?queued, ?duration, "VM booted");
        Ok(Booted { process, config, queued, duration })
    })
    .await;
    fleet.spares.refill();
    let result = result.unwrap_or_else(|_| {
        let detail = format!("the VM did not start within {:?}", fleet.boot_timeout);
        Err(Problem::new(ProblemCode::BootTimeout, detail))
    });
    if let Err(problem) = &result {
        fleet.metrics.count_boot_failure();
        tracing::warn!(workspace = %uid, %problem, "boot failed");
    }
    result
}

async fn configure(vm: &Arc<VmClient>, uid: &Uid, config: &WorkspaceConfig) -> Result<(), Problem> {
    let request = BootRequest { uid: Cow::Borrowed(uid.as_str()), config: Cow::Borrowed(config) };
    post(vm, http::Method::POST, route::BOOT, &request).await
}

/// Gives a running VM the parts of a new configuration that can change while it runs.
pub(crate) async fn reconfigure(vm: &Arc<VmClient>, config: &WorkspaceConfig) -> Result<(), Problem> {
    post(vm, http::Method::PUT, boot_request::CONFIG, config).await
}

async fn post<T: serde::Serialize>(
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
