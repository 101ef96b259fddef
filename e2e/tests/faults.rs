//! What survives when parts are killed, replaced, or away. One test at a time: they disturb the whole cluster. Those that
//! disturb different parts, and bear with each other, run beside each other.

#![cfg(test)]

#[path = "faults/gateway_replaced.rs"]
mod gateway_replaced;
#[path = "faults/operator_away.rs"]
mod operator_away;
#[path = "faults/upgrade.rs"]
mod upgrade;

use anyhow::{Context, Result};
use e2e::{
    chart_value::ChartValue,
    cluster::{Cluster, SYSTEM_NAMESPACE},
    faults::{self, FaultsArgs},
    namespace::{Namespace, eventually},
    node,
};
use std::{
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

static TURN: RwLock<()> = RwLock::new(());

/// Waits for the turn of a test that runs by itself.
fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the turn of a test that bears with others of its kind.
fn beside() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_killed_vm_process_costs_its_workspace_one_boot_and_its_neighbour_nothing() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "killvm")?;
    namespace.ready_workspace("ada", "")?;
    let pod = cluster.field(&namespace.name, "pod/lodge-runner-0", ".metadata.uid")?;
    let spares = node::vm_processes(&pod)?;
    namespace.exec("ada", &["true"])?.success()?;
    let ada = node::vm_processes(&pod)?;
    let ada = ada.iter().find(|process| spares.iter().any(|spare| spare.pid == process.pid));
    let ada = ada.context("ada took a spare vm process")?.clone();
    namespace.exec("ada", &["sh", "-c", "echo kept > ~/kept; sync"])?.success()?;
    namespace.ready_workspace("bob", "")?;
    namespace.exec("bob", &["sh", "-c", "echo kept > /tmp/kept"])?.success()?;
    node::kill(&ada)?;
    assert_eq!(namespace.exec("ada", &["sh", "-c", "cat ~/kept"])?.success()?, "kept\n");
    assert_eq!(namespace.exec("bob", &["cat", "/tmp/kept"])?.success()?, "kept\n");
    let restarts =
        cluster.field(&namespace.name, "pod/lodge-runner-0", ".status.containerStatuses[0].restartCount")?;
    assert_eq!(restarts, "0", "the runner itself was not disturbed");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_restarted_runner_takes_its_workspaces_and_their_files_back() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "killrunner")?;
    namespace.ready_workspace("ada", "  env: [{name: A, value: b}]")?;
    namespace.exec("ada", &["sh", "-c", "seq 1000 > ~/numbers; ln -s numbers ~/link; sync"])?.success()?;
    cluster
        .kubectl(&["delete", "pod", "lodge-runner-0", "-n", &namespace.name, "--grace-period=1"])?
        .success()?;
    eventually(Duration::from_secs(90), || Ok(namespace.exec("ada", &["printenv", "A"])?.stdout == "b\n"))
        .context("the workspace answers again after its runner came back")?;
    let found = namespace.exec("ada", &["sh", "-c", "tail -1 ~/link"])?;
    assert_eq!(found.stdout, "1000\n", "{found:?}");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_killed_operator_disturbs_nothing_that_runs_and_its_successor_goes_on() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "killop")?;
    namespace.ready_workspace("ada", "")?;
    namespace.exec("ada", &["sh", "-c", "echo kept > /tmp/kept"])?.success()?;
    let selector = "app.kubernetes.io/name=lodge-operator";
    let delete = ["delete", "pod", "-n", SYSTEM_NAMESPACE, "-l", selector, "--grace-period=0", "--force"];
    cluster.kubectl(&delete)?.success()?;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(namespace.exec("ada", &["cat", "/tmp/kept"])?.success()?, "kept\n");
    }
    namespace.ready_workspace("bob", "")?;
    assert_eq!(namespace.exec("bob", &["echo", "new"])?.success()?, "new\n");
    assert_eq!(namespace.exec("ada", &["cat", "/tmp/kept"])?.success()?, "kept\n");
    let restarts =
        cluster.field(&namespace.name, "pod/lodge-runner-0", ".status.containerStatuses[0].restartCount")?;
    assert_eq!(restarts, "0");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn under_load_no_fault_loses_an_acknowledged_write_or_disturbs_a_healthy_path() -> Result<()> {
    let _alone = alone();
    let mut table = Vec::new();
    let outcome = faults::run(&FaultsArgs::short(), &mut table);
    print_table(&table);
    outcome
}

fn print_table(table: &[u8]) {
    println!("{}", String::from_utf8_lossy(table));
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_full_runner_gets_a_second_one_beside_it_which_goes_when_it_is_not_needed() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::find()?;
    let _few = ChartValue::set(&cluster, "runner.maxWorkspaces=2")?;
    let namespace = Namespace::create(&cluster, "scaleout")?;
    let space = namespace.name.as_str();
    for name in ["ada", "bob", "cyd"] {
        namespace.ready_workspace(name, "")?;
        assert_eq!(namespace.exec(name, &["echo", name])?.success()?, format!("{name}\n"));
    }
    let runner = |name: &str| cluster.field(space, &format!("workspace/{name}"), ".status.runner.name");
    assert_eq!((runner("ada")?, runner("bob")?), ("lodge-runner-0".to_owned(), "lodge-runner-0".to_owned()));
    assert_eq!(runner("cyd")?, "lodge-runner-1", "the third does not fit");
    cluster.kubectl(&["delete", "workspace", "cyd", "-n", space, "--timeout=60s"])?.success()?;
    eventually(Duration::from_secs(120), || {
        let left = cluster.kubectl(&["get", "pods,pvc", "-n", space, "-o", "name"])?.success()?;
        Ok(!left.contains("lodge-runner-1"))
    })
    .context("the second runner and its volume go")?;
    for name in ["ada", "bob"] {
        assert_eq!(namespace.exec(name, &["echo", name])?.success()?, format!("{name}\n"));
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_leader_that_dies_at_the_instant_of_a_run_runs_nothing_twice() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "killcron")?;
    namespace.ready_workspace("ada", "")?;
    let manifest = format!(
        "apiVersion: lodge.dev/v1alpha1\nkind: CronJob\nmetadata: {{name: often, namespace: {}}}\nspec:\n  \
         workspaceRef: {{name: ada}}\n  schedule: '*/3 * * * * *'\n  catchUp: All\n  history: {{succeeded: 40, failed: 40}}\n  \
         action: {{exec: {{command: 'echo x >> ~/runs'}}}}\n",
        namespace.name
    );
    cluster.apply(&manifest)?.success()?;
    let runs = |path: &str| cluster.field(&namespace.name, "cronjobs.lodge.dev/often", path);
    let succeeded =
        || anyhow::Ok(runs(".status.runs[?(@.outcome==\"Succeeded\")].name")?.split_whitespace().count());
    eventually(Duration::from_secs(60), || Ok(succeeded()? >= 2))?;
    // Once just before and once just after an instant of the schedule.
    for (milliseconds, more) in [(2995, 3), (20, 3)] {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() % 3000;
        std::thread::sleep(Duration::from_millis(u64::try_from((3000 + milliseconds - since) % 3000)?));
        let selector = "app.kubernetes.io/name=lodge-operator";
        let delete = ["delete", "pod", "-n", SYSTEM_NAMESPACE, "-l", selector, "--grace-period=0", "--force"];
        cluster.kubectl(&delete)?.success()?;
        let before: usize = succeeded()?;
        eventually(Duration::from_secs(90), || Ok(succeeded()? >= before + more))?;
    }
    let suspend = ["patch", "cronjobs.lodge.dev", "often", "-n", &namespace.name, "--type=merge"];
    cluster.kubectl(&[&suspend[..], &["-p", "{\"spec\":{\"suspend\":true}}"]].concat())?.success()?;
    std::thread::sleep(Duration::from_secs(5));
    let names = runs(".status.runs[*].name")?;
    let names: Vec<&str> = names.split_whitespace().collect();
    let distinct: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
    let lines = namespace.exec("ada", &["cat", "runs"])?.success()?.lines().count();
    assert_eq!(lines, succeeded()?, "each run once: {names:?}");
    Ok(())
}
