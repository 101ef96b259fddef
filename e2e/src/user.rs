//! Users with few rights: a service account, its token, and a kubeconfig that holds nothing else.

use crate::{cluster::Cluster, command::Finished, namespace::Namespace};
use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// A service account of a throw-away namespace, used with its token.
#[derive(Debug)]
pub struct User {
    /// The bearer token.
    pub token: String,
    /// The name that Kubernetes knows the account by.
    pub name: String,
    kubeconfig: NamedTempFile,
    cluster: Cluster,
}

impl User {
    /// Makes a service account and binds it to a ClusterRole in its namespace, if one is named.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub fn create(cluster: &Cluster, namespace: &Namespace, name: &str, role: Option<&str>) -> Result<Self> {
        let space = namespace.name.as_str();
        cluster.kubectl(&["create", "serviceaccount", name, "-n", space])?.success()?;
        if let Some(role) = role {
            let (role, account) =
                (format!("--clusterrole={role}"), format!("--serviceaccount={space}:{name}"));
            cluster.kubectl(&["create", "rolebinding", name, "-n", space, &role, &account])?.success()?;
        }
        let token = cluster.kubectl(&["create", "token", name, "-n", space])?.success()?.trim().to_owned();
        let kubeconfig = NamedTempFile::new()?;
        std::fs::write(kubeconfig.path(), Self::kubeconfig(cluster, &token)?)?;
        let name = format!("system:serviceaccount:{space}:{name}");
        Ok(Self { token, name, kubeconfig, cluster: cluster.clone() })
    }

    /// Binds the account to a ClusterRole in another namespace too.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub fn grant(&self, namespace: &Namespace, role: &str) -> Result<()> {
        let account = self.name.strip_prefix("system:serviceaccount:").unwrap_or(&self.name);
        let (role, account) = (format!("--clusterrole={role}"), format!("--serviceaccount={account}"));
        let create = ["create", "rolebinding", "guest", "-n", &namespace.name, &role, &account];
        self.cluster.kubectl(&create)?.success()?;
        Ok(())
    }

    /// The administrator's kubeconfig with its credentials replaced by the token.
    fn kubeconfig(cluster: &Cluster, token: &str) -> Result<String> {
        let view = cluster.kubectl(&["config", "view", "--raw", "-o", "json"])?.success()?;
        let mut config: serde_json::Value = serde_json::from_str(&view)?;
        let user = config.pointer_mut("/users/0/user").context("the kubeconfig has a user")?;
        *user = serde_json::json!({ "token": token });
        Ok(config.to_string())
    }

    /// Runs `kubectl lodge` as this user.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn lodge(&self, args: &[&str]) -> Result<Finished> {
        let mut plugin = crate::command::command(self.cluster.bin.join("kubectl-lodge"), args);
        crate::command::run(plugin.env("KUBECONFIG", self.kubeconfig.path()))
    }

    /// Whether `kubectl auth can-i` says yes to this user: to a verb on a virtual subresource of one Workspace.
    ///
    /// # Errors
    /// If it can't be asked, or says neither yes nor no.
    pub fn can_i(
        &self,
        namespace: &Namespace,
        workspace: &str,
        verb: &str,
        subresource: &str,
    ) -> Result<bool> {
        let (object, subresource) =
            (format!("workspaces.lodge.dev/{workspace}"), format!("--subresource={subresource}"));
        let answer = self.kubectl(&["auth", "can-i", verb, &object, &subresource, "-n", &namespace.name])?;
        match answer.stdout.trim() {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => bail!("kubectl auth can-i {verb} {object} {subresource}: {answer:?}"),
        }
    }

    /// Runs `kubectl` as this user.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn kubectl(&self, args: &[&str]) -> Result<Finished> {
        let mut kubectl = crate::command::command(self.cluster.bin.join("kubectl"), args);
        crate::command::run(kubectl.env("KUBECONFIG", self.kubeconfig.path()))
    }
}
