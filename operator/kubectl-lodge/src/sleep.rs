//! `kubectl lodge sleep`: stops a workspace's VM now; the next action wakes it.

use vm_api::{StorageState, WorkspaceState};

use crate::args::ClusterArgs;
use crate::error::Error;
use crate::gateway::Ask;
use crate::remote::Remote;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  kubectl lodge sleep ada

What runs in it is ended: SIGTERM, a few seconds, SIGKILL. Files are kept. The next action wakes
it; to keep it asleep, set spec.power to Asleep.";

/// Put a workspace to sleep
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SleepArgs {
    /// Name of the workspace
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Puts it to sleep.
pub(crate) async fn run(
    args: SleepArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let SleepArgs { name } = args;
    let remote = Remote::open(&name, &cluster_args).await?;
    let state: WorkspaceState = remote.document(Ask::post(remote.route.sleep()), terminal).await?;
    let StorageState { persistent, reason } = state.storage;
    let lost = if persistent {
        String::new()
    } else {
        format!("; its files are gone ({})", reason.as_deref().unwrap_or("they are not kept"))
    };
    terminal.print(format!("workspace {name} sleeps{lost}\n").as_bytes())?;
    Ok(0)
}
