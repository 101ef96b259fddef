//! Another value for the installed chart, for as long as a test needs it.
//!
//! Set by Helm itself: whatever else changed the objects would own what it changed, and be in the way of the next upgrade.

use crate::{
    cluster::{Cluster, SYSTEM_NAMESPACE},
    command::{command, run},
};
use anyhow::{Context, Result};

/// While this lives the chart is installed with another value; then as before.
#[derive(Debug)]
pub struct ChartValue {
    cluster: Cluster,
}

impl ChartValue {
    /// Sets a value, such as `runner.maxWorkspaces=2`, and waits until everything runs with it.
    ///
    /// # Errors
    /// If Helm fails.
    pub fn set(cluster: &Cluster, assignment: &str) -> Result<Self> {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/lodge");
        let value = Self { cluster: cluster.clone() };
        value.helm(&["upgrade", "lodge", chart, "--reuse-values", "--set", assignment])?;
        Ok(value)
    }

    fn helm(&self, args: &[&str]) -> Result<()> {
        let flags = ["-n", SYSTEM_NAMESPACE, "--wait", "--timeout", "120s"];
        let mut helm = command(self.cluster.bin.join("helm"), [args, &flags].concat());
        run(helm.env("KUBECONFIG", &self.cluster.kubeconfig))?.success().context("helm").map(drop)
    }
}

impl Drop for ChartValue {
    fn drop(&mut self) {
        // A failure is noticed by the next `make up`, which compares the values.
        drop(self.helm(&["rollback", "lodge"]));
    }
}
