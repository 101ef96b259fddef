//! `kubectl lodge wake`: boots a workspace's VM now, rather than with the first action.

use vm_api::{Wake, WorkspaceState};

use crate::args::ClusterArgs;
use crate::error::Error;
use crate::gateway::Ask;
use crate::remote::Remote;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  kubectl lodge wake ada

  # All of a namespace
  kubectl get workspaces -o name | cut -d/ -f2 | xargs -n1 kubectl lodge wake

Waking is rarely needed: the first action wakes a workspace. It sleeps again after
spec.idle.sleepAfter; to keep one awake, set spec.power to Awake.";

/// Wake a workspace
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WakeArgs {
    /// Name of the workspace
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Wakes it.
pub(crate) async fn run(
    args: WakeArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let WakeArgs { name } = args;
    let remote = Remote::open(&name, &cluster_args).await?;
    let state: WorkspaceState = remote.document(Ask::post(remote.route.wake()), terminal).await?;
    let took = state
        .last_wake
        .map_or_else(String::new, |Wake { booted_ms, .. }| format!(" (booted in {booted_ms} ms)"));
    terminal.print(format!("workspace {name} is awake{took}\n").as_bytes())?;
    Ok(0)
}
