//! A namespace for one test, deleted when the test is over.

use crate::{cluster::Cluster, command::Finished};
use anyhow::{Context, Result, ensure};
use lodge_crds::{CronJob, CronJobStatus};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A throw-away namespace. Dropping it asks the cluster to delete it, and does not wait.
#[derive(Debug)]
pub struct Namespace {
    cluster: Cluster,
    /// The namespace's name.
    pub name: String,
}

impl Namespace {
    /// Makes a namespace with a name of its own, at Pod Security level `restricted`.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub fn create(cluster: &Cluster, purpose: &str) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{purpose}-{}-{number}", std::process::id());
        let manifest = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
             pod-security.kubernetes.io/enforce: restricted\n"
        );
        cluster.apply(&manifest)?.success().with_context(|| format!("namespace {name}"))?;
        Ok(Self { cluster: cluster.clone(), name })
    }

    /// Applies a Workspace of the given name and `spec` (YAML, indented by two spaces; empty for the defaults).
    ///
    /// # Errors
    /// If the API server can't be asked. A refusal is an exit code.
    pub fn apply_workspace(&self, workspace: &str, spec: &str) -> Result<Finished> {
        let spec = if spec.is_empty() { "  power: Auto" } else { spec };
        self.cluster.apply(&format!(
            "apiVersion: lodge.dev/v1alpha1\nkind: Workspace\nmetadata:\n  name: {workspace}\n  namespace: {}\nspec:\n{spec}\n",
            self.name
        ))
    }

    /// Applies a Workspace and waits until `kubectl wait` finds it Ready.
    ///
    /// # Errors
    /// If it is refused or not Ready within two minutes; the error shows its status.
    pub fn ready_workspace(&self, workspace: &str, spec: &str) -> Result<()> {
        self.apply_workspace(workspace, spec)?.success()?;
        self.wait_ready(workspace)
    }

    /// Waits until `kubectl wait` finds a Workspace Ready.
    ///
    /// # Errors
    /// If it is not within two minutes; the error shows its status.
    pub fn wait_ready(&self, workspace: &str) -> Result<()> {
        let object = format!("workspace/{workspace}");
        let wait = ["wait", "--for=condition=Ready", "--timeout=120s", "-n", &self.name, &object];
        let waited = self.cluster.kubectl(&wait)?;
        if waited.code != 0 {
            let status = self.cluster.kubectl(&["get", "-n", &self.name, &object, "-o", "yaml"])?.stdout;
            anyhow::bail!("{object} is not Ready: {}\n{status}", waited.stderr);
        }
        Ok(())
    }

    /// Applies a CronJob for a workspace of this namespace; `spec` is the rest of its spec (YAML, indented by two spaces).
    ///
    /// # Errors
    /// If it is refused.
    pub fn apply_cron_job(&self, name: &str, workspace: &str, spec: &str) -> Result<()> {
        self.cluster.apply(&self.cron_job(name, workspace, spec))?.success().map(drop)
    }

    /// The manifest of a CronJob.
    #[must_use]
    pub fn cron_job(&self, name: &str, workspace: &str, spec: &str) -> String {
        format!(
            "apiVersion: lodge.dev/v1alpha1\nkind: CronJob\nmetadata:\n  name: {name}\n  namespace: {}\n\
             spec:\n  workspaceRef: {{name: {workspace}}}\n{spec}\n",
            self.name
        )
    }

    /// The status of a CronJob.
    ///
    /// # Errors
    /// If there is no such CronJob.
    pub fn cron_job_status(&self, name: &str) -> Result<CronJobStatus> {
        let get = ["get", "cronjobs.lodge.dev", name, "-n", &self.name, "-o", "json"];
        let cron_job: CronJob = serde_json::from_str(&self.cluster.kubectl(&get)?.success()?)?;
        Ok(cron_job.status.unwrap_or_default())
    }

    /// Runs argv in a workspace by `kubectl lodge exec`, as administrator.
    ///
    /// # Errors
    /// If the plugin can't be started.
    pub fn exec(&self, workspace: &str, argv: &[&str]) -> Result<Finished> {
        let mut args = vec!["exec", workspace, "-n", &self.name, "--"];
        args.extend(argv);
        self.cluster.lodge(&args)
    }

    /// Runs `kubectl lodge` in this namespace, as administrator.
    ///
    /// # Errors
    /// If the plugin can't be started.
    pub fn lodge(&self, args: &[&str]) -> Result<Finished> {
        let (command, rest) = args.split_first().context("a subcommand")?;
        self.cluster.lodge(&[&[*command, "-n", &self.name], rest].concat())
    }

    /// The message of a workspace's condition, once it has the given status.
    ///
    /// # Errors
    /// If that does not come within a minute.
    pub fn condition(&self, workspace: &str, kind: &str, status: &str) -> Result<(String, String)> {
        let object = format!("workspace/{workspace}");
        let path = |field: &str| format!(".status.conditions[?(@.type==\"{kind}\")].{field}");
        let mut seen = String::new();
        eventually(Duration::from_secs(60), || {
            seen = self.cluster.field(&self.name, &object, &path("status"))?;
            Ok(seen == status)
        })
        .with_context(|| format!("condition {kind} of {workspace} is {seen:?}, not {status}"))?;
        let reason = self.cluster.field(&self.name, &object, &path("reason"))?;
        Ok((reason, self.cluster.field(&self.name, &object, &path("message"))?))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let deleted = self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
        drop(deleted); // the cluster is thrown away anyway
    }
}

/// Asks again and again, five times a second, until the answer is yes.
///
/// # Errors
/// If the deadline passes or the question fails.
pub fn eventually(deadline: Duration, mut is_true: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_true()? {
        ensure!(start.elapsed() < deadline, "not within {deadline:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
