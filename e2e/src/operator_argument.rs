//! Another argument for the installed operator, for as long as a test needs it.

use crate::cluster::{Cluster, SYSTEM_NAMESPACE};
use anyhow::{Context, Result};
use serde_json::{Value, json};

const DEPLOYMENT: &str = "deployment/lodge-operator";

/// While this lives the operator runs with another argument; then it runs as before.
#[derive(Debug)]
pub struct OperatorArgument {
    cluster: Cluster,
    before: Value,
}

impl OperatorArgument {
    /// Sets `--name=value`, replacing what the argument was, and waits until such an operator runs.
    ///
    /// # Errors
    /// If the Deployment can't be changed, or no operator becomes ready.
    pub fn set(cluster: &Cluster, name: &str, value: &str) -> Result<Self> {
        let get = ["get", DEPLOYMENT, "-n", SYSTEM_NAMESPACE, "-o", "json"];
        let object: Value = serde_json::from_str(&cluster.kubectl(&get)?.success()?)?;
        let before = object.pointer("/spec/template/spec/containers/0/args").context("arguments")?.clone();
        let mut arguments = before.as_array().context("a list of arguments")?.clone();
        arguments.retain(|old| !old.as_str().is_some_and(|old| old.starts_with(&format!("{name}="))));
        arguments.push(format!("{name}={value}").into());
        let argument = Self { cluster: cluster.clone(), before };
        argument.apply(&arguments.into())?;
        Ok(argument)
    }

    fn apply(&self, arguments: &Value) -> Result<()> {
        let path = "/spec/template/spec/containers/0/args";
        let patch = json!([{"op": "replace", "path": path, "value": arguments}]).to_string();
        let args = ["patch", DEPLOYMENT, "-n", SYSTEM_NAMESPACE, "--type=json", "-p", &patch];
        self.cluster.kubectl(&args)?.success()?;
        let wait = ["rollout", "status", DEPLOYMENT, "-n", SYSTEM_NAMESPACE, "--timeout=90s"];
        self.cluster.kubectl(&wait)?.success()?;
        Ok(())
    }
}

impl Drop for OperatorArgument {
    fn drop(&mut self) {
        // The next installation of the chart would set it right, too.
        drop(self.apply(&self.before));
    }
}
