//! What survives when parts are killed. One test at a time: they disturb the whole cluster.

#![cfg(test)]

use anyhow::{Context, Result};
use e2e::{
    cluster::{Cluster, SYSTEM_NAMESPACE},
    faults::{self, FaultsArgs},
    namespace::{Namespace, eventually},
    node,
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

static ALONE: Mutex<()> = Mutex::new(());

/// Waits for the turn of a test.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
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

#[expect(clippy::print_stdout, reason = "the times to recover stand in the log of the tests")]
fn print_table(table: &[u8]) {
    println!("{}", String::from_utf8_lossy(table));
}
