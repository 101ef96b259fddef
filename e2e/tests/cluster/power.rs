//! Asleep and awake: as the spec says, as use says, and what is deleted in the end.

use anyhow::{Context, Result};
use e2e::{
    cluster::Cluster,
    gateway::{Door, Identity},
    namespace::{Namespace, eventually},
};
use std::time::{Duration, Instant};
use vm_api::route::Workspace;

fn power(cluster: &Cluster, namespace: &Namespace) -> Result<String> {
    cluster.field(&namespace.name, "workspace/ada", ".status.power")
}

fn becomes(cluster: &Cluster, namespace: &Namespace, wanted: &str) -> Result<()> {
    eventually(Duration::from_secs(60), || Ok(power(cluster, namespace)? == wanted))
        .with_context(|| format!("status.power becomes {wanted}"))
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn power_in_the_spec_keeps_awake_and_keeps_asleep_and_leaves_files_readable() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "power")?;
    namespace.ready_workspace("ada", "  power: Awake\n  idle: {sleepAfter: 1s}")?;
    becomes(&cluster, &namespace, "Awake")?;
    namespace.exec("ada", &["sh", "-c", "echo mine > ~/note"])?.success()?;
    std::thread::sleep(Duration::from_secs(4)); // longer than sleepAfter
    let door = Door::find(&cluster)?;
    let route = Workspace::at_gateway(&namespace.name, "ada");
    let send = |method: &'static str, path: String| {
        tokio::runtime::Runtime::new()?
            .block_on(async { door.client(&Identity::Administrator).await?.send(method, &path, "{}").await })
    };
    let health = send("GET", route.health())?;
    assert_eq!(health.status, 200, "{}", health.text());
    assert_eq!(power(&cluster, &namespace)?, "Awake", "spec.power: Awake is not idle");

    namespace.ready_workspace("ada", "  power: Asleep")?;
    becomes(&cluster, &namespace, "Asleep")?;
    assert_eq!(namespace.condition("ada", "Sleeping", "True")?.0, "PowerAsleep");
    let refused = send("POST", route.wake())?;
    let code = refused.json()?["code"].clone();
    assert_eq!(
        (refused.status.as_u16(), code.as_str()),
        (409, Some("workspace-asleep")),
        "{}",
        refused.text()
    );
    let read = send("GET", route.file("/home/agent/note"))?;
    assert_eq!(read.text(), "mine\n", "files of a workspace that has to sleep are readable");
    assert_eq!(power(&cluster, &namespace)?, "Asleep");

    namespace.ready_workspace("ada", "  power: Auto")?;
    assert_eq!(namespace.exec("ada", &["cat", "note"])?.success()?, "mine\n");
    becomes(&cluster, &namespace, "Awake")?;
    let cause = cluster.field(&namespace.name, "workspace/ada", ".status.lastWake.cause")?;
    assert_eq!(cause, "Exec");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn an_edit_that_needs_a_boot_is_announced_and_one_that_does_not_is_there_at_once() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "edit")?;
    namespace.ready_workspace("ada", "  env: [{name: A, value: one}]")?;
    assert_eq!(namespace.exec("ada", &["printenv", "A"])?.success()?, "one\n");
    namespace.exec("ada", &["sh", "-c", "echo kept > /tmp/kept; sleep 1000 & true"])?.success()?;
    namespace.ready_workspace("ada", "  env: [{name: A, value: two}]")?;
    eventually(Duration::from_secs(30), || Ok(namespace.exec("ada", &["printenv", "A"])?.stdout == "two\n"))
        .context("new processes have the new environment")?;
    let user = "  env: [{name: A, value: two}]\n  user: {name: bob, uid: 1001, gid: 1001, home: /home/bob}";
    namespace.ready_workspace("ada", user)?;
    let (_, message) = namespace.condition("ada", "RestartRequired", "True")?;
    assert!(message.contains("spec.user"), "names what waits for a boot: {message}");
    namespace.lodge(&["sleep", "ada"])?.success()?;
    assert_eq!(namespace.exec("ada", &["id", "-u"])?.success()?, "1001\n");
    namespace.condition("ada", "RestartRequired", "False").map(drop)
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_workspace_that_nobody_uses_is_deleted_in_the_end() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "expire")?;
    namespace.ready_workspace("ada", "  idle: {sleepAfter: 1s, deleteAfter: 1m}")?;
    namespace.ready_workspace("bob", "  idle: {sleepAfter: 1s, deleteAfter: 1m}")?;
    let used = Instant::now();
    namespace.exec("ada", &["true"])?.success()?;
    let exists = |name: &str| -> Result<bool> {
        Ok(cluster.kubectl(&["get", "workspace", name, "-n", &namespace.name])?.code == 0)
    };
    eventually(Duration::from_secs(150), || {
        // Whoever is used in between stays.
        namespace.exec("bob", &["true"])?.success()?;
        Ok(!exists("ada")?)
    })?;
    let after = used.elapsed();
    assert!(after >= Duration::from_secs(60), "deleted after {after:?}");
    assert!(exists("bob")?, "one that is used is not deleted");
    let events =
        cluster.kubectl(&["get", "events", "-n", &namespace.name, "-o", "jsonpath={.items[*].reason}"])?;
    assert!(events.stdout.contains("Expired"), "an Event says so: {}", events.stdout);
    Ok(())
}
