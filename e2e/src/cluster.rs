//! The local cluster that the tests run on, found through the environment that `make test` sets.

use crate::command::{Finished, command, run, run_with_input};
use anyhow::{Context, Result, ensure};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::client::{Body, ConfigExt};
use std::{path::PathBuf, process::Command};
use tower::{BoxError, ServiceBuilder};

/// The namespace that Lodge itself is installed in.
pub const SYSTEM_NAMESPACE: &str = "lodge-system";

/// The local cluster and the built tools.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The folder with the built tools: `kubectl`, `kubectl-lodge`, `vm-runner`, `lodge-cluster`.
    pub bin: PathBuf,
    /// The cluster's state folder.
    pub state: PathBuf,
    /// The compiled guest software.
    pub software: PathBuf,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
}

impl Cluster {
    /// Finds the cluster: `LODGE_BIN`, `LODGE_STATE` and `LODGE_SOFTWARE`, or the places that `make up` fills.
    ///
    /// # Errors
    /// If there is no running local cluster; the error names the way out.
    pub fn find() -> Result<Self> {
        let local = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.local");
        let place = |name: &str, default: &str| {
            std::env::var_os(name).map_or_else(|| local.join(default), PathBuf::from)
        };
        let state = place("LODGE_STATE", "cluster");
        let cluster = Self {
            bin: place("LODGE_BIN", "bin"),
            software: place("LODGE_SOFTWARE", "software"),
            kubeconfig: state.join("kubeconfig"),
            state,
        };
        ensure!(
            cluster.kubeconfig.exists(),
            "no local cluster: {} is missing; `make up` starts one",
            cluster.kubeconfig.display()
        );
        Ok(cluster)
    }

    /// Runs `kubectl` as administrator.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn kubectl(&self, args: &[&str]) -> Result<Finished> {
        run(command(self.bin.join("kubectl"), args).env("KUBECONFIG", &self.kubeconfig))
    }

    /// Applies a manifest by server-side apply, as administrator.
    ///
    /// # Errors
    /// If `kubectl` can't be started.
    pub fn apply(&self, manifest: &str) -> Result<Finished> {
        let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let mut kubectl = command(self.bin.join("kubectl"), args);
        run_with_input(kubectl.env("KUBECONFIG", &self.kubeconfig), manifest.as_bytes())
    }

    /// Runs `kubectl lodge` as administrator.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn lodge(&self, args: &[&str]) -> Result<Finished> {
        run(&mut self.lodge_command(args))
    }

    /// `kubectl lodge` as administrator, to be run.
    #[must_use]
    pub fn lodge_command(&self, args: &[&str]) -> Command {
        let mut plugin = command(self.bin.join("kubectl-lodge"), args);
        plugin.env("KUBECONFIG", &self.kubeconfig);
        plugin
    }

    /// One field of an object by JSONPath, as administrator; empty if the field is absent.
    ///
    /// # Errors
    /// If the object does not exist.
    pub fn field(&self, namespace: &str, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", "-n", namespace, object, "-o", &format!("jsonpath={{{path}}}")])?
            .success()
            .with_context(|| format!("{path} of {object} in {namespace}"))
    }

    /// A client of the cluster's API, as administrator: one HTTP/2 connection without Nagle's algorithm, which kube's own
    /// client has on and which would put its 40 ms into every measurement.
    ///
    /// # Errors
    /// If the kubeconfig is no good.
    pub async fn client(&self) -> Result<kube::Client> {
        let kubeconfig = kube::config::Kubeconfig::read_from(&self.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let tls = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_only();
        let client: Client<_, Body> =
            Client::builder(TokioExecutor::new()).build(tls.enable_http2().wrap_connector(connector));
        let service =
            ServiceBuilder::new().layer(config.base_uri_layer()).map_err(BoxError::from).service(client);
        Ok(kube::Client::new(service, config.default_namespace))
    }
}
