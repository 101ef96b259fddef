//! `kubectl lodge top`: what uses a workspace's processor and memory; or all workspaces of a namespace.
//!
//! The processor's time is read from `/proc/PID/stat` of the workspace, twice, by a command: the files API sees no content in
//! files that the kernel makes up. Workspaces are read from the API server: what the operator last wrote down, coarsely.
//! Nothing is woken.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kube::Api;
use kube::api::ListParams;
use serde::Serialize;
use vm_api::{ExecRequest, ExecResponse, ProcessInfo, ProcessList, ProcessState, WireDuration};

use crate::args::{ClusterArgs, Format};
use crate::cluster::{Cluster, api_error};
use crate::error::Error;
use crate::gateway::Ask;
use crate::ps::{is_awake, tree};
use crate::remote::Remote;
use crate::signals::Signals;
use crate::table::{self, Table};
use crate::terminal::Terminal;
use crate::workspace::ObservedWorkspace;

/// Ticks of `/proc/PID/stat` in a second.
const TICKS: u64 = 100;
/// Prints the line of every process.
const STATS: &str = "cat /proc/[0-9]*/stat 2>/dev/null";
/// Shortest time between two looks: shorter, and ticks are too coarse.
const SHORTEST: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  # The processes of a workspace: share of one CPU over a second, and memory
  kubectl lodge top ada

  # Again and again, until ctrl-c
  kubectl lodge top ada --follow --interval 2s

  # All workspaces of the namespace, or of all
  kubectl lodge top
  kubectl lodge top -A

The use of the processor is read by a command in the workspace: without the right to exec it is
not shown. Nothing is woken. What is shown of workspaces is what the operator last wrote down,
which it does coarsely.";

/// Show what uses processor and memory
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopArgs {
    /// Name of the workspace; without it, all workspaces are shown
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Workspaces of all namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub(crate) all_namespaces: bool,
    /// Show it again and again, until ctrl-c
    #[arg(short = 'f', long, requires = "name", conflicts_with = "output")]
    pub(crate) follow: bool,
    /// Over how much time the use of the processor is measured
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub(crate) interval: WireDuration,
    /// How it is printed
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// Shows.
pub(crate) async fn run(
    args: TopArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let TopArgs { name, all_namespaces, follow, interval, output } = args;
    let Some(name) = name else {
        return workspaces(all_namespaces, output, &cluster_args, terminal).await;
    };
    let remote = Remote::open(&name, &cluster_args).await?;
    let interval = interval.0.max(SHORTEST);
    let mut signals = Signals::listen()?;
    let mut before = Sample::take(&remote, terminal).await?;
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            wish = signals.next() => return if follow { Ok(0) } else { Err(Error::Interrupted(wish.number())) },
        }
        let now = Sample::take(&remote, terminal).await?;
        let uses = now.uses(&before);
        let table = process_table(&uses);
        if !follow {
            let nothing =
                if now.is_awake { "no processes" } else { "the workspace sleeps: nothing runs in it" };
            table.print(&Uses { items: &uses }, output, nothing, terminal)?;
            return Ok(0);
        }
        let state = if now.is_awake { "awake" } else { "asleep" };
        let clear = if terminal.shows { "\x1b[H\x1b[2J" } else { "" };
        let head = format!("{clear}workspace {name}, {state}, {} processes\n\n", uses.len());
        terminal.print(format!("{head}{}", table.narrow()).as_bytes())?;
        before = now;
    }
}

/// What runs at an instant.
struct Sample {
    at: Instant,
    is_awake: bool,
    processes: ProcessList,
    /// Ticks of the processor by process.
    ticks: HashMap<i32, u64>,
}

/// What a process uses.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Use<'a> {
    #[serde(flatten)]
    process: &'a ProcessInfo,
    /// Thousandths of a processor; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_millis: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Uses<'a> {
    items: &'a [Use<'a>],
}

impl Sample {
    async fn take(remote: &Remote, terminal: &mut Terminal) -> Result<Self, Error> {
        let at = Instant::now();
        if !is_awake(remote, terminal).await? {
            return Ok(Self {
                at,
                is_awake: false,
                processes: ProcessList::default(),
                ticks: HashMap::new(),
            });
        }
        let mut processes = tree(remote, terminal).await?;
        processes.items.retain(|process| process.state != ProcessState::Ended);
        let at = Instant::now();
        let mut ticks = HashMap::new();
        if !processes.items.is_empty() {
            let ask = Ask::post(remote.route.exec()).json(&ExecRequest::command(STATS));
            match remote.document::<ExecResponse>(ask, terminal).await {
                Ok(answer) => ticks = answer.stdout.lines().filter_map(parse_stat).collect(),
                // Who may not run commands sees everything else.
                Err(error) if error.is(vm_api::ProblemCode::Forbidden) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { at, is_awake: true, processes, ticks })
    }

    /// What was used since another sample, most first.
    fn uses(&self, before: &Self) -> Vec<Use<'_>> {
        let millis = u64::try_from((self.at - before.at).as_millis()).unwrap_or(u64::MAX).max(1);
        let mut uses: Vec<Use<'_>> = self
            .processes
            .items
            .iter()
            .map(|process| {
                let used = self.ticks.get(&process.pid).map(|now| {
                    // One that is new began with nothing.
                    now.saturating_sub(before.ticks.get(&process.pid).copied().unwrap_or_default())
                });
                let cpu_millis = used.map(|ticks| ticks.saturating_mul(1000 * 1000 / TICKS) / millis);
                Use { process, cpu_millis }
            })
            .collect();
        uses.sort_by_key(|used| {
            (std::cmp::Reverse(used.cpu_millis), std::cmp::Reverse(used.process.memory_bytes))
        });
        uses
    }
}

/// Number and ticks of a line of `/proc/PID/stat`. The name in parentheses may hold anything.
fn parse_stat(line: &str) -> Option<(i32, u64)> {
    let pid = line.split(' ').next()?.parse().ok()?;
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((pid, user.saturating_add(system)))
}

fn process_table(uses: &[Use<'_>]) -> Table {
    let mut table = Table::new(&["PID", "CPU", "MEMORY", "AGE", "COMMAND"], &["PARENT"]);
    for Use { process, cpu_millis } in uses {
        let cpu = cpu_millis.map_or_else(|| "-".to_owned(), |millis| format!("{}%", millis.div_ceil(10)));
        let cells = vec![
            process.pid.to_string(),
            cpu,
            table::bytes(process.memory_bytes),
            table::age(&process.started_at),
            process.argv.join(" "),
            process.parent.to_string(),
        ];
        table.add(&process.pid.to_string(), cells);
    }
    table
}

async fn workspaces(
    all: bool,
    format: Option<Format>,
    cluster_args: &ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let Cluster { client, namespace, credentials: _ } = Cluster::load(cluster_args).await?;
    let api: Api<ObservedWorkspace> =
        if all { Api::all(client) } else { Api::namespaced(client, &namespace) };
    let list = api.list(&ListParams::default()).await;
    let mut list = list.map_err(|error| api_error(error, "list workspaces (list workspaces.lodge.dev)"))?;
    let memory = |workspace: &ObservedWorkspace| {
        workspace.status.as_ref().and_then(|status| status.usage.as_ref()?.memory_bytes)
    };
    list.items.sort_by_key(|workspace| std::cmp::Reverse(memory(workspace)));
    let mut table = Table::new(
        &["NAMESPACE", "NAME", "POWER", "PROCESSES", "MEMORY", "STORAGE"],
        &["FILES", "RUNNER", "WOKEN"],
    );
    for workspace in &list.items {
        let status = workspace.status.clone().unwrap_or_default();
        let usage = status.usage.unwrap_or_default();
        let known = |count: Option<u64>, show: fn(u64) -> String| count.map_or_else(|| "-".to_owned(), show);
        let name = workspace.metadata.name.clone().unwrap_or_default();
        let cells = vec![
            workspace.metadata.namespace.clone().unwrap_or_default(),
            name.clone(),
            workspace.power().to_owned(),
            known(usage.processes, |count| count.to_string()),
            known(usage.memory_bytes, table::bytes),
            known(usage.storage_bytes, table::bytes),
            known(usage.files, |count| count.to_string()),
            status.runner.map_or_else(|| "-".to_owned(), |runner| runner.name),
            status.last_wake.map_or_else(|| "-".to_owned(), |wake| table::age(&wake.at)),
        ];
        table.add(&name, cells);
    }
    table.print(&serde_json::json!({"items": list.items}), format, "no workspaces", terminal)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_s_time_is_read_behind_any_name() {
        let line = "7 (a) b (c)) S 1 7 7 0 -1 4194304 0 0 0 0 250 50 9 0 20 0 1 0";
        assert_eq!(parse_stat(line), Some((7, 300)));
        assert_eq!(parse_stat("x"), None);
    }
}
