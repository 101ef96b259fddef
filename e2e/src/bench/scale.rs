//! The operator with very many Workspaces: an API server with nothing else around it, an operator on this machine, and a
//! runner that runs nothing. How long until all are Ready, and what the operator uses then, when nothing happens.

use super::{Report, cluster::is_ready};
use crate::{
    audit::AuditMark,
    cluster::{Cluster, SYSTEM_NAMESPACE},
    command::{command, run as run_command},
    fake_runner::FakeRunner,
    namespace::eventually,
    runner_peer::{Certificate, secret},
};
use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use lodge_crds::{Workspace, WorkspaceSpec};
use serde_json::json;
use std::{
    collections::HashSet,
    process::{Child, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Fewer than one runner takes.
const PER_NAMESPACE: usize = 400;
/// Creations under way at once.
const CREATIONS: usize = 64;
/// How long the operator is watched doing nothing.
const IDLE: Duration = Duration::from_secs(60);

/// An API server of this benchmark's own with an operator beside it; both end when dropped.
struct Site {
    cluster: Cluster,
    operator: Option<Child>,
    _folder: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(operator) = &mut self.operator {
            let ended = operator.kill().and_then(|()| operator.wait());
            drop(ended);
        }
        let down = ["down".as_ref(), "--state".as_ref(), self.cluster.state.as_os_str()];
        drop(run_command(&mut command(self.cluster.bin.join("lodge-cluster"), down)));
    }
}

pub(super) async fn run(cluster: &Cluster, objects: usize, report: &mut Report<'_>) -> Result<()> {
    let mut site = open(cluster)?;
    let operator = site.start_operator()?;
    eventually(Duration::from_secs(60), || Ok(secret(&site.cluster, "lodge-ca", "tls.key").is_ok()))
        .context("the operator makes its certificate authority")?;
    let namespaces: Vec<_> =
        (0..objects.div_ceil(PER_NAMESPACE)).map(|number| format!("scale-{number}")).collect();
    let names: Vec<_> =
        namespaces.iter().map(|space| format!("lodge-runner-0.lodge-runner.{space}.svc")).collect();
    let certificate = Certificate::issue_for(&site.cluster, &names)?;
    let _runner = FakeRunner::start(([127, 0, 0, 1], 7443).into(), &certificate).await?;
    let client = site.cluster.client().await?;
    for namespace in &namespaces {
        site.cluster.kubectl(&["create", "namespace", namespace])?.success()?;
        make_runner_pod(&client, namespace).await?;
    }
    let (mark, began, before) = (AuditMark::now(&site.cluster)?, Instant::now(), cpu_seconds(operator)?);
    let ready = tokio::spawn(all_ready(client.clone(), objects));
    create_all(&client, &namespaces, objects).await?;
    let created = began.elapsed();
    let ready = tokio::time::timeout(Duration::from_secs(1800), ready)
        .await
        .context("not all Ready in half an hour")?;
    ready??;
    report.note(format!(
        "{objects} Workspaces in {} namespaces on a real API server, runner simulated: created within {:.0} s, all Ready \
         after {:.0} s ({:.0}/s); the operator took {:.1} s of a core for it",
        namespaces.len(),
        created.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        objects as f64 / began.elapsed().as_secs_f64(),
        cpu_seconds(operator)? - before
    ))?;
    let writes = mark.writes()?.len();
    report.note(format!(
        "writes to the API server: {:.2} for each, creation included",
        writes as f64 / objects as f64
    ))?;
    tokio::time::sleep(Duration::from_secs(30)).await; // what is coalesced is written by then
    let (mark, before) = (AuditMark::now(&site.cluster)?, cpu_seconds(operator)?);
    tokio::time::sleep(IDLE).await;
    report.note(format!(
        "the operator afterwards, nothing happening: {:.0} MiB resident (at most {:.0} MiB), {:.2} % of a core, {} writes in \
         {} s",
        memory(operator, "VmRSS")?,
        memory(operator, "VmHWM")?,
        (cpu_seconds(operator)? - before) / IDLE.as_secs_f64() * 100.0,
        mark.writes()?.len(),
        IDLE.as_secs()
    ))
}

/// Starts an API server with Lodge's resource definitions.
fn open(cluster: &Cluster) -> Result<Site> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let up = ["api-server".as_ref(), "--state".as_ref(), state.as_os_str()];
    run_command(&mut command(cluster.bin.join("lodge-cluster"), up))?.success()?;
    let kubeconfig = state.join("kubeconfig");
    let site =
        Site { cluster: Cluster { state, kubeconfig, ..cluster.clone() }, operator: None, _folder: folder };
    for plural in ["workspaces", "sessions", "cronjobs"] {
        let file =
            format!("{}/../charts/lodge-crds/templates/{plural}.lodge.dev.yaml", env!("CARGO_MANIFEST_DIR"));
        let manifest = std::fs::read_to_string(&file).context(file)?;
        site.cluster.apply(&manifest)?.success()?;
    }
    site.cluster.kubectl(&["create", "namespace", SYSTEM_NAMESPACE])?.success()?;
    let wait = ["wait", "--for=condition=Established", "--timeout=30s", "crd/workspaces.lodge.dev"];
    site.cluster.kubectl(&wait)?.success()?;
    Ok(site)
}

impl Site {
    /// Returns the operator's process id.
    fn start_operator(&mut self) -> Result<u32> {
        let log = std::fs::File::create(self.cluster.state.join("operator.log"))?;
        let arguments =
            ["--namespace", SYSTEM_NAMESPACE, "--leader-elect", "false", "--runner-image", "none:0"];
        let listen = ["--health-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
        let child = command(self.cluster.bin.join("operator"), arguments)
            .args(listen)
            .args(["--log-format", "text", "--log-filter", "warn"])
            .env("KUBECONFIG", &self.cluster.kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the operator")?;
        Ok(self.operator.insert(child).id())
    }
}

/// The pod that nobody makes where there is no controller of StatefulSets.
async fn make_runner_pod(client: &kube::Client, namespace: &str) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "lodge-runner-0", "labels": {
            "app.kubernetes.io/component": "runner", "app.kubernetes.io/instance": "lodge-runner",
            "app.kubernetes.io/managed-by": "lodge-operator", "app.kubernetes.io/name": "lodge-runner",
            "app.kubernetes.io/part-of": "lodge", "lodge.dev/isolation": "Shared", "lodge.dev/runner": "lodge-runner",
        }},
        "spec": {"containers": [{"name": "runner", "image": "none:0"}]},
    }))?;
    api.create(&PostParams::default(), &pod).await?;
    let status = json!({"status": {
        "phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    api.patch_status("lodge-runner-0", &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

async fn create_all(client: &kube::Client, namespaces: &[String], objects: usize) -> Result<()> {
    let turns = Arc::new(Semaphore::new(CREATIONS));
    let mut creations = JoinSet::new();
    for number in 0..objects {
        let turn = turns.clone().acquire_owned().await?;
        let api: Api<Workspace> = Api::namespaced(client.clone(), &namespaces[number % namespaces.len()]);
        creations.spawn(async move {
            let workspace = Workspace::new(&format!("ada-{number}"), WorkspaceSpec::default());
            let created = api.create(&PostParams::default(), &workspace).await;
            drop(turn);
            created.map(drop)
        });
    }
    while let Some(created) = creations.join_next().await {
        created??;
    }
    Ok(())
}

/// Ends when so many Workspaces have been seen Ready.
async fn all_ready(client: kube::Client, objects: usize) -> Result<()> {
    let stream = watcher(Api::<Workspace>::all(client), watcher::Config::default())
        .default_backoff()
        .applied_objects();
    let mut stream = std::pin::pin!(stream);
    let mut ready = HashSet::new();
    while let Some(workspace) = stream.next().await {
        let workspace = workspace?;
        if is_ready(&workspace) {
            ready.insert(workspace.name_any());
        }
        if ready.len() == objects {
            break;
        }
    }
    Ok(())
}

/// What a process has used of processors, in seconds.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the operator has ended")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // The 14th and 15th field of the line, in hundredths of a second.
    let ticks =
        |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) / 100.0)
}

/// A line of a process's status, in MiB.
fn memory(pid: u32, line: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the operator has ended")?;
    let found = status.lines().find(|text| text.starts_with(line)).context("a line of /proc/PID/status")?;
    let kibibytes: f64 = found.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kibibytes / 1024.0)
}
