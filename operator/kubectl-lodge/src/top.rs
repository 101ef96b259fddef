//! `kubectl lodge top`: what uses a workspace's processor and memory; or all workspaces of a namespace.
//!
//! What processes have used is asked for twice. Workspaces are read from the API server: what the operator last wrote down,
//! coarsely. Nothing is woken, and nothing is run.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kube::Api;
use kube::api::ListParams;
use serde::Serialize;
use vm_api::{ProcessInfo, ProcessList, ProcessState, WireDuration};

use crate::args::{ClusterArgs, Format};
use crate::cluster::{Cluster, api_error};
use crate::error::Error;
use crate::ps::{is_awake, tree};
use crate::remote::Remote;
use crate::signals::Signals;
use crate::table::{self, Table};
use crate::terminal::Terminal;
use crate::workspace::ObservedWorkspace;

/// Shortest time between two looks: shorter, and the way there and back counts for too much.
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

Nothing is woken. What is shown of workspaces is what the operator last wrote down, which it does
coarsely.";

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
            return Ok(Self { at, is_awake: false, processes: ProcessList::default() });
        }
        let mut processes = tree(remote, terminal).await?;
        let at = Instant::now();
        processes.items.retain(|process| process.state != ProcessState::Ended);
        Ok(Self { at, is_awake: true, processes })
    }

    /// What was used since another sample, most first.
    fn uses(&self, before: &Self) -> Vec<Use<'_>> {
        let millis = (self.at - before.at).as_secs_f64().max(0.001) * 1000.0;
        // Numbers of processes are used again, but not at the same instant.
        let key = |process: &'_ ProcessInfo| (process.pid, process.started_at.clone());
        let former: HashMap<_, _> =
            before.processes.items.iter().map(|process| (key(process), process.cpu_ms)).collect();
        let used = |process: &ProcessInfo| {
            // One that is new began with nothing.
            let used = process.cpu_ms - former.get(&key(process)).copied().unwrap_or_default();
            // A process has always used something: a runner of an older version does not say.
            (process.cpu_ms > 0.0).then(|| thousandths(used / millis))
        };
        let items = self.processes.items.iter();
        let mut uses: Vec<Use<'_>> =
            items.map(|process| Use { process, cpu_millis: used(process) }).collect();
        uses.sort_by_key(|used| {
            (std::cmp::Reverse(used.cpu_millis), std::cmp::Reverse(used.process.memory_bytes))
        });
        uses
    }
}

/// A share of a processor, in thousandths.
fn thousandths(share: f64) -> u64 {
    Duration::try_from_secs_f64(share).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
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

    fn sample(at: Instant, processes: &[(i32, &str, f64)]) -> Sample {
        let info = |(pid, started_at, cpu_ms): &(i32, &str, f64)| {
            let text = serde_json::json!({
                "pid": pid, "parent": 0, "group": pid, "session": pid, "argv": ["x"], "state": "running",
                "startedAt": started_at, "memoryBytes": 1, "cpuMs": cpu_ms,
            });
            serde_json::from_value(text).unwrap()
        };
        let items = processes.iter().map(info).collect();
        Sample { at, is_awake: true, processes: ProcessList { items } }
    }

    #[test]
    fn the_use_of_a_process_is_what_it_used_between_the_looks() {
        let at = Instant::now();
        let before = sample(at, &[(7, "then", 100.0), (8, "then", 5000.0), (9, "then", 40.0)]);
        let later = at + Duration::from_millis(500);
        let after = [(7, "then", 100.0), (8, "now", 250.0), (9, "then", 1040.0), (10, "now", 0.0)];
        let after = sample(later, &after);
        let uses: Vec<_> =
            after.uses(&before).iter().map(|used| (used.process.pid, used.cpu_millis)).collect();
        // 8 is another one than before; of 10 nothing is known.
        assert_eq!(uses, [(9, Some(2000)), (8, Some(500)), (7, Some(0)), (10, None)]);
    }
}
