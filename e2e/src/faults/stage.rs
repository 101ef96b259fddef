//! Where a fault happens: workspaces that are hit, workspaces beside them, and somebody who may use all of them.

use crate::{
    cluster::Cluster,
    load::{Load, LoadPlan, Target},
    namespace::Namespace,
    user::User,
};
use anyhow::Result;
use std::time::Duration;

/// The shared runner's pod.
pub(super) const RUNNER: &str = "lodge-runner-0";

/// Workspaces in two namespaces, all awake.
#[derive(Debug)]
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    /// The namespace that is hit.
    pub hit: Namespace,
    /// The namespace beside it.
    pub beside: Namespace,
    targets: Vec<Target>,
    user: User,
}

impl Stage {
    /// Makes the namespaces, the workspaces and the user.
    ///
    /// # Errors
    /// If the cluster refuses, or a workspace does not become Ready.
    pub fn set(cluster: &Cluster) -> Result<Self> {
        let hit = Namespace::create(cluster, "hit")?;
        let beside = Namespace::create(cluster, "beside")?;
        let user = User::create(cluster, &hit, "load", Some("edit"))?;
        user.grant(&beside, "edit")?;
        let mut targets = Vec::new();
        for (namespace, names) in [(&hit, &["ada", "bob", "cyd", "dan"][..]), (&beside, &["eve", "fay"][..])]
        {
            for name in names {
                namespace.apply_workspace(name, "  idle: {sleepAfter: 1h}")?.success()?;
                targets.push(Target { namespace: namespace.name.clone(), workspace: (*name).to_owned() });
            }
        }
        for target in &targets {
            let namespace = if target.namespace == hit.name { &hit } else { &beside };
            namespace.wait_ready(&target.workspace)?;
            namespace.exec(&target.workspace, &["true"])?.success()?;
        }
        Ok(Self { cluster: cluster.clone(), hit, beside, targets, user })
    }

    /// Starts requests to all of the workspaces.
    ///
    /// # Errors
    /// If the gateway can't be found.
    pub fn load(&self, rate: u32) -> Result<Load> {
        Load::start(
            &self.cluster,
            LoadPlan {
                rate,
                targets: self.targets.clone(),
                token: self.user.token.clone(),
                patience: Duration::from_secs(60),
            },
        )
    }

    /// Deletes a workspace that a fault has made.
    pub(super) fn forget(&self, workspace: &str) -> Result<()> {
        let delete = ["delete", "workspace", workspace, "-n", &self.hit.name, "--timeout=60s"];
        self.cluster.kubectl(&delete)?.success()?;
        Ok(())
    }

    /// UID of the runner's pod in the namespace that is hit.
    ///
    /// # Errors
    /// If there is none.
    pub fn runner_uid(&self) -> Result<String> {
        self.cluster.field(&self.hit.name, &format!("pod/{RUNNER}"), ".metadata.uid")
    }
}
