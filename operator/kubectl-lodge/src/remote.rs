//! One workspace, reached through the gateway: what the commands that act in a workspace begin with.

use serde::de::DeserializeOwned;
use vm_api::{KillRequest, SignalName, WireDuration, route};

use crate::args::ClusterArgs;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::gateway::{Ask, Gateway, Patience, Reply};
use crate::place::{RemotePath, check_name};
use crate::terminal::Terminal;

/// A workspace that can be asked.
pub(crate) struct Remote {
    pub(crate) gateway: Gateway,
    pub(crate) route: route::Workspace,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// How long to wait while it is not there yet.
    pub(crate) wait: WireDuration,
}

impl Remote {
    /// The workspace of this name, in the namespace that the arguments choose.
    pub(crate) async fn open(name: &str, args: &ClusterArgs) -> Result<Self, Error> {
        Self::of(Cluster::load(args).await?, name, args).await
    }

    /// The workspace of this name in the cluster's namespace.
    pub(crate) async fn of(cluster: Cluster, name: &str, args: &ClusterArgs) -> Result<Self, Error> {
        let Cluster { client, namespace, credentials } = cluster;
        check_name("workspace", name)?;
        let gateway = Gateway::find(client, credentials, args).await?;
        let route = route::Workspace::at_gateway(&namespace, name);
        Ok(Self { gateway, route, namespace, name: name.to_owned(), wait: args.wait })
    }

    /// The workspace that a path is in, and the absolute path.
    pub(crate) async fn at(place: &RemotePath, args: &ClusterArgs) -> Result<(Self, String), Error> {
        let mut cluster = Cluster::load(args).await?;
        if let Some(namespace) = &place.namespace {
            cluster.namespace.clone_from(namespace);
        }
        let path = place.resolve(&cluster).await?;
        Ok((Self::of(cluster, &place.workspace, args).await?, path))
    }

    /// Asks; tells the user if that takes patience.
    pub(crate) async fn ask(&self, ask: Ask, terminal: &mut Terminal) -> Result<Reply, Error> {
        self.gateway.ask(ask, Patience::new(&self.name, self.wait, Some(terminal))).await
    }

    /// Asks without a word.
    pub(crate) async fn ask_quietly(&self, ask: Ask) -> Result<Reply, Error> {
        self.gateway.ask(ask, Patience::new(&self.name, self.wait, None)).await
    }

    /// Asks for a document.
    pub(crate) async fn document<T: DeserializeOwned>(
        &self,
        ask: Ask,
        terminal: &mut Terminal,
    ) -> Result<T, Error> {
        self.ask(ask, terminal).await?.json().await
    }

    /// Sends a signal to a process, or to its whole group.
    pub(crate) async fn kill(&self, pid: i32, signal: &str, group: bool) -> Result<(), Error> {
        let request = KillRequest { signal: Some(parse_signal(signal)), group };
        self.ask_quietly(Ask::post(self.route.process(pid, "kill")).json(&request)).await?.bytes().await?;
        Ok(())
    }

    /// The beginning of a command line for the same workspace, for hints.
    pub(crate) fn command(&self, subcommand: &str) -> String {
        format!("kubectl lodge {subcommand} {} -n {}", self.name, self.namespace)
    }
}

/// A signal by name or number.
fn parse_signal(signal: &str) -> SignalName {
    signal.parse().map_or_else(|_| SignalName::Name(signal.to_owned()), SignalName::Number)
}
