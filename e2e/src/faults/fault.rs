//! The faults, and how each is inflicted.

use super::stage::{RUNNER, Stage};
use crate::{
    cluster::SYSTEM_NAMESPACE,
    command::{command, run},
    namespace::eventually,
    node,
};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// `kill -9` of the process of one workspace
    Vm,
    /// The runner's pod is deleted without any grace
    Runner,
    /// `kill -9` of one gateway
    Gateway,
    /// `kill -9` of the operator
    Operator,
    /// `kill -9` of the API server, which comes back after a while
    ApiServer,
    /// The runner is drained from its node, which is uncordoned after a moment
    Drain,
}

/// What was done, and when.
#[derive(Debug)]
pub(super) struct Injury {
    /// When.
    pub at: Instant,
    /// From when a recovery is counted: when a pod or a server was back.
    pub back: Instant,
    /// How long it took to recover, if that is not to be seen in the load itself.
    pub recovered: Option<Duration>,
}

impl Injury {
    fn now() -> Self {
        let now = Instant::now();
        Self { at: now, back: now, recovered: None }
    }
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 6] =
        [Self::Vm, Self::Runner, Self::Gateway, Self::Operator, Self::Drain, Self::ApiServer];

    /// Its name, as in `--only`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Runner => "runner",
            Self::Gateway => "gateway",
            Self::Operator => "operator",
            Self::ApiServer => "api-server",
            Self::Drain => "drain",
        }
    }

    /// Inflicts it, and returns when it is over as far as Kubernetes is concerned.
    pub(super) fn inflict(self, stage: &Stage, outage: Duration) -> Result<Injury> {
        match self {
            Self::Vm => kill_vm(stage),
            Self::Runner => kill_runner(stage),
            Self::Gateway => kill_gateway(stage),
            Self::Operator => kill_operator(stage),
            Self::ApiServer => kill_api_server(stage, outage),
            Self::Drain => drain(stage),
        }
    }
}

/// The workspace whose process is killed.
pub(super) const VICTIM: &str = "ada";

fn kill_vm(stage: &Stage) -> Result<Injury> {
    let workspace = stage.cluster.field(&stage.hit.name, &format!("workspace/{VICTIM}"), ".metadata.uid")?;
    let process = node::vm_process_of(&stage.runner_uid()?, &workspace)?;
    let injury = Injury::now();
    node::kill(&process)?;
    Ok(injury)
}

fn kill_runner(stage: &Stage) -> Result<Injury> {
    let before = stage.runner_uid()?;
    let injury = Injury::now();
    let pod = format!("pod/{RUNNER}");
    let delete = ["delete", &pod, "-n", &stage.hit.name, "--grace-period=0", "--force", "--wait=false"];
    stage.cluster.kubectl(&delete)?.success()?;
    Ok(Injury { back: runner_is_back(stage, &before)?, ..injury })
}

/// Waits until there is another runner pod, and it is Ready.
fn runner_is_back(stage: &Stage, before: &str) -> Result<Instant> {
    let path = "{.metadata.uid} {.status.conditions[?(@.type==\"Ready\")].status}";
    let pod = format!("pod/{RUNNER}");
    eventually(Duration::from_secs(120), || {
        let output = format!("jsonpath={path}");
        let seen = stage.cluster.kubectl(&["get", "-n", &stage.hit.name, &pod, "-o", &output])?.stdout;
        Ok(!seen.contains(before) && seen.ends_with(" True"))
    })
    .context("the runner's pod is back")?;
    Ok(Instant::now())
}

fn kill_gateway(stage: &Stage) -> Result<Injury> {
    let process = system_process(stage, "lodge-gateway")?;
    let injury = Injury::now();
    node::kill(&process)?;
    Ok(injury)
}

/// The main process of one pod of Lodge's own.
fn system_process(stage: &Stage, name: &str) -> Result<node::Process> {
    let selector = format!("app.kubernetes.io/name={name}");
    let path = "jsonpath={.items[0].metadata.uid}";
    let get = ["get", "pods", "-n", SYSTEM_NAMESPACE, "-l", &selector, "-o", path];
    let uid = stage.cluster.kubectl(&get)?.success()?;
    let processes = node::processes_of_pod(uid.trim())?;
    let main = processes.into_iter().find(|process| !process.command_line.contains("pause"));
    main.with_context(|| format!("a process of {name} runs in pod {uid}"))
}

/// Kills the leader; a Workspace that is applied at the same instant says when there is a successor.
fn kill_operator(stage: &Stage) -> Result<Injury> {
    let process = system_process(stage, "lodge-operator")?;
    let injury = Injury::now();
    node::kill(&process)?;
    stage.hit.ready_workspace("while-no-operator", "")?;
    let recovered = Some(injury.at.elapsed());
    stage.forget("while-no-operator")?;
    Ok(Injury { recovered, ..injury })
}

fn kill_api_server(stage: &Stage, outage: Duration) -> Result<Injury> {
    let state = &stage.cluster.state;
    let pid =
        std::fs::read_to_string(state.join("run/kube-apiserver.pid")).context("the API server's pid")?;
    let pid = pid.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("a pid")?;
    let injury = Injury::now();
    node::kill(&node::Process { pid, command_line: "kube-apiserver".to_owned() })?;
    std::thread::sleep(outage);
    let up = ["up".as_ref(), "--state".as_ref(), state.as_os_str()];
    run(&mut command(stage.cluster.bin.join("lodge-cluster"), up))?.success()?;
    let back = Instant::now();
    stage.hit.ready_workspace("after-the-outage", "")?;
    let recovered = Some(back.elapsed());
    stage.forget("after-the-outage")?;
    Ok(Injury { back, recovered, ..injury })
}

fn drain(stage: &Stage) -> Result<Injury> {
    let before = stage.runner_uid()?;
    let path = format!("pod/{RUNNER}");
    let node = stage.cluster.field(&stage.hit.name, &path, ".spec.nodeName")?;
    let injury = Injury::now();
    // Every pod but this one is left alone: there is no other node that they could go to.
    let selector = format!("lodge.dev/e2e-drain={before}");
    let label = ["label", &path, "-n", &stage.hit.name, &selector];
    stage.cluster.kubectl(&label)?.success()?;
    let selector = format!("--pod-selector={selector}");
    let flags = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s"];
    let drained = stage.cluster.kubectl(&[&["drain", &node, &selector][..], &flags].concat());
    std::thread::sleep(Duration::from_secs(1));
    stage.cluster.kubectl(&["uncordon", &node])?.success()?;
    drained?.success().context("drain")?;
    Ok(Injury { back: runner_is_back(stage, &before)?, ..injury })
}
