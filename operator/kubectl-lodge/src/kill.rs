//! `kubectl lodge kill`: a signal for processes of a workspace.

use crate::args::ClusterArgs;
use crate::error::Error;
use crate::remote::Remote;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  # Ask a process to end (SIGTERM)
  kubectl lodge kill ada 7

  # End it and its whole group, whatever it does about it
  kubectl lodge kill ada -s KILL --group 7

  # Everything that runs
  kubectl lodge ps ada -o name | xargs kubectl lodge kill ada";

/// Send a signal to processes of a workspace
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct KillArgs {
    /// Name of the workspace
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Numbers of the processes; see `kubectl lodge ps`
    #[arg(value_name = "PID", required = true, value_parser = parse_pid)]
    pub(crate) pids: Vec<i32>,
    /// Name or number of the signal
    #[arg(short = 's', long, value_name = "SIGNAL", default_value = "SIGTERM")]
    pub(crate) signal: String,
    /// Send it to the whole group of each process
    #[arg(short = 'g', long)]
    pub(crate) group: bool,
}

fn parse_pid(text: &str) -> Result<i32, String> {
    let pid = text.parse().ok().filter(|pid| *pid > 0);
    pid.ok_or_else(|| "expected the number of a process, as `kubectl lodge ps` shows it".to_owned())
}

/// Sends it to all of them, also if one of them is not there.
pub(crate) async fn run(
    args: KillArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let KillArgs { name, pids, signal, group } = args;
    let remote = Remote::open(&name, &cluster_args).await?;
    let mut last = Ok(0);
    for pid in pids {
        let Err(error) = remote.kill(pid, &signal, group).await else { continue };
        if let Err(earlier) = std::mem::replace(&mut last, Err(error)) {
            terminal.tell(&format!("error: {earlier}"));
        }
    }
    last
}
