//! `kubectl lodge status`: what a Workspace's conditions mean, why it is awake, and what to do next, in a few lines. Wakes
//! nothing.

mod awake;
mod explain;

use kube::Api;
use serde_json::json;

use crate::args::{ClusterArgs, DocumentFormat, Format};
use crate::cluster::Cluster;
use crate::error::Error;
use crate::remote::Remote;
use crate::table;
use crate::terminal::Terminal;
use crate::workspace::{self, ObservedWorkspace};

const EXAMPLES: &str = "\
Examples:
  kubectl lodge status ada -n team-a

  # For programs: the conditions, and what keeps it awake
  kubectl lodge status ada -o json

Why it is awake is asked of the workspace itself, if you may see its processes and shells;
everything else is read from the API server.

Exit codes:
  0 if the workspace is ready (asleep or not), 1 if it is not, 125 if that could not be found out";

/// Explain the state of a workspace
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    /// Name of the workspace
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// How it is printed
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<DocumentFormat>,
}

/// Explains a workspace. The exit code says whether it is ready.
pub(crate) async fn run(
    args: StatusArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let StatusArgs { name, output } = args;
    let cluster = Cluster::load(&cluster_args).await?;
    let namespace = cluster.namespace.clone();
    let api: Api<ObservedWorkspace> = Api::namespaced(cluster.client.clone(), &namespace);
    let found = workspace::get(&api, &name, &namespace).await?;
    let reasons = if found.power() == "Awake" {
        Some(awake::ask(Remote::of(cluster, &name, &cluster_args).await).await)
    } else {
        None
    };
    let explained = explain::explain(&name, &namespace, &found, reasons.as_ref());
    if let Some(format) = output {
        let format = match format {
            DocumentFormat::Json => Format::Json,
            DocumentFormat::Yaml => Format::Yaml,
        };
        let document = json!({
            "name": name, "namespace": namespace, "ready": explained.is_ready, "status": found.status, "awake": reasons,
        });
        table::print_document(&document, Some(format), terminal)?;
    } else {
        terminal.print(explained.text.as_bytes())?;
    }
    Ok(u8::from(!explained.is_ready))
}
