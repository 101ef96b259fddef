//! `kubectl lodge ps`: what runs in a workspace. A workspace that sleeps is not woken for it.

use vm_api::{Health, ProcessExit, ProcessInfo, ProcessList, ProcessState};

use crate::args::{ClusterArgs, Format};
use crate::error::Error;
use crate::exec::shell_code;
use crate::gateway::Ask;
use crate::remote::Remote;
use crate::table::{self, Table};
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  # What runs, as a tree
  kubectl lodge ps ada

  # Also what has ended and is still known; with groups and sessions
  kubectl lodge ps ada --all -o wide

  # The numbers of all processes
  kubectl lodge ps ada -o name

A workspace that sleeps is not woken: nothing runs in it.";

/// List the processes of a workspace
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PsArgs {
    /// Name of the workspace
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// With those that have ended and are still known
    #[arg(short = 'a', long)]
    pub(crate) all: bool,
    /// How it is printed
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// Lists.
pub(crate) async fn run(
    args: PsArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let PsArgs { name, all, output } = args;
    let remote = Remote::open(&name, &cluster_args).await?;
    let mut list = match is_awake(&remote, terminal).await? {
        true => tree(&remote, terminal).await?,
        false => {
            terminal.tell(&format!("workspace {name} sleeps: nothing runs in it"));
            ProcessList::default()
        }
    };
    if !all {
        list.items.retain(|process| process.state != ProcessState::Ended);
    }
    let mut table =
        Table::new(&["PID", "AGE", "MEMORY", "STATE", "COMMAND"], &["PARENT", "GROUP", "SESSION", "OUTPUT"]);
    for process in &list.items {
        let ProcessInfo { pid, parent, group, session, memory_bytes, started_at, output, .. } = process;
        let cells = vec![
            pid.to_string(),
            table::age(started_at),
            table::bytes(*memory_bytes),
            state(process),
            command(process),
            parent.to_string(),
            group.to_string(),
            session.to_string(),
            output.map_or_else(|| "-".to_owned(), |output| table::bytes(output.end)),
        ];
        table.add(&pid.to_string(), cells);
    }
    table.print(&list, output, "no processes", terminal)?;
    Ok(0)
}

/// Whether the VM runs. Who may not ask that is told by what is asked next.
pub(crate) async fn is_awake(remote: &Remote, terminal: &mut Terminal) -> Result<bool, Error> {
    match remote.document::<Health>(Ask::get(remote.route.health()), terminal).await {
        Ok(health) => Ok(!matches!(health.status.as_str(), "asleep" | "stopping")),
        Err(error) if error.is(vm_api::ProblemCode::Forbidden) => Ok(true),
        Err(error) => Err(error),
    }
}

/// All processes, each after its parent.
pub(crate) async fn tree(remote: &Remote, terminal: &mut Terminal) -> Result<ProcessList, Error> {
    remote.document(Ask::get(format!("{}?tree", remote.route.processes())), terminal).await
}

/// The command line, below that of the parent.
pub(crate) fn command(process: &ProcessInfo) -> String {
    let depth = usize::try_from(process.depth.unwrap_or_default()).unwrap_or_default().min(40);
    let branch = if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) };
    format!("{branch}{}", process.argv.join(" "))
}

fn state(process: &ProcessInfo) -> String {
    match (process.state, &process.exit) {
        (ProcessState::Running, _) => "running".to_owned(),
        (ProcessState::Zombie, _) => "zombie".to_owned(),
        (ProcessState::Ended, None) => "ended".to_owned(),
        (ProcessState::Ended, Some(ProcessExit { signal: Some(signal), .. })) => format!("ended ({signal})"),
        (ProcessState::Ended, Some(exit)) => format!("ended ({})", shell_code(exit)),
    }
}
