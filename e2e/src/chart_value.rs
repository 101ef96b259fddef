//! Another value for the installed chart, for as long as a test needs it.
//!
//! Set by Helm itself: whatever else changed the objects would own what it changed, and be in the way of the next upgrade.

use crate::{
    cluster::{Cluster, SYSTEM_NAMESPACE},
    command::{command, run},
};
use anyhow::{Context, Result};

/// While this lives the chart is installed with another value; then as before. Several nest.
#[derive(Debug)]
pub struct ChartValue {
    cluster: Cluster,
    /// The release as it was.
    revision: String,
}

impl ChartValue {
    /// Sets a value, such as `runner.maxWorkspaces=2`, and waits until everything runs with it.
    ///
    /// # Errors
    /// If Helm fails.
    pub fn set(cluster: &Cluster, assignment: &str) -> Result<Self> {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/lodge");
        let revision = revision(cluster)?;
        let value = Self { cluster: cluster.clone(), revision };
        value.helm(&["upgrade", "lodge", chart, "--reuse-values", "--set", assignment])?;
        Ok(value)
    }

    fn helm(&self, args: &[&str]) -> Result<()> {
        helm(&self.cluster, &[args, &["--wait", "--timeout", "120s"]].concat()).map(drop)
    }
}

/// The number that Helm knows the release by, as it is now.
fn revision(cluster: &Cluster) -> Result<String> {
    let history = helm(cluster, &["history", "lodge", "--max", "1", "-o", "json"])?;
    let history: serde_json::Value = serde_json::from_str(&history)?;
    history.pointer("/0/revision").map(ToString::to_string).context("the release has a revision")
}

fn helm(cluster: &Cluster, args: &[&str]) -> Result<String> {
    let mut helm = command(cluster.bin.join("helm"), [args, &["-n", SYSTEM_NAMESPACE]].concat());
    run(helm.env("KUBECONFIG", &cluster.kubeconfig))?.success().context("helm")
}

impl Drop for ChartValue {
    fn drop(&mut self) {
        // A failure is noticed by the next `make up`, which compares the values.
        drop(self.helm(&["rollback", "lodge", &self.revision]));
    }
}
