//! The life of a Workspace on a real cluster: applied, ready, used, isolated from its neighbour, deleted.

use anyhow::Result;
use e2e::{
    cluster::Cluster,
    namespace::{Namespace, eventually},
    node,
};
use std::time::Duration;

const RUNNER: &str = "lodge-runner-0";

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn an_applied_workspace_becomes_ready_and_runs_a_pipeline() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "exec")?;
    namespace.ready_workspace("ada", "")?;
    let done = namespace.exec("ada", &["sh", "-c", "echo hello | tr a-z A-Z; echo oops >&2; exit 7"])?;
    assert_eq!((done.stdout.as_str(), done.stderr.as_str(), done.code), ("HELLO\n", "oops\n", 7));
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn the_status_names_runner_power_url_and_that_files_are_kept() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "status")?;
    namespace.ready_workspace("ada", "")?;
    let field = |path: &str| cluster.field(&namespace.name, "workspace/ada", path);
    assert_eq!(field(".status.runner.name")?, RUNNER);
    assert_eq!(field(".status.observedGeneration")?, field(".metadata.generation")?);
    assert!(
        ["Asleep", "Awake"].contains(&field(".status.power")?.as_str()),
        "power {}",
        field(".status.power")?
    );
    let url = field(".status.url")?;
    assert!(url.ends_with(&format!("/v1/namespaces/{}/workspaces/ada", namespace.name)), "url {url}");
    let (_, message) = namespace.condition("ada", "StoragePersistent", "True")?;
    assert!(message.contains("volume"), "the condition says where files are kept: {message}");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn an_idle_workspace_sleeps_stays_ready_and_wakes_with_its_files() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "sleep")?;
    namespace.ready_workspace("ada", "  idle: {sleepAfter: 1s}")?;
    let generation = cluster.field(&namespace.name, "workspace/ada", ".metadata.generation")?;
    namespace.exec("ada", &["sh", "-c", "echo mine > ~/note"])?.success()?;
    eventually(Duration::from_secs(60), || {
        let (reason, _) = namespace.condition("ada", "Sleeping", "True")?;
        Ok(reason == "Idle")
    })?;
    namespace.condition("ada", "Ready", "True")?;
    assert_eq!(namespace.exec("ada", &["sh", "-c", "cat ~/note"])?.success()?, "mine\n");
    let after = cluster.field(&namespace.name, "workspace/ada", ".metadata.generation")?;
    assert_eq!(after, generation, "sleep never writes the spec");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn two_workspaces_in_a_namespace_see_nothing_of_each_other() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "two")?;
    namespace.ready_workspace("ada", "  env: [{name: WHO, value: ada}]")?;
    namespace.ready_workspace("bob", "")?;
    let written = namespace.exec("ada", &["sh", "-c", "echo secret > /tmp/note; sleep 60 & echo $WHO"])?;
    assert_eq!(written.success()?, "ada\n");
    let looked = namespace
        .exec("bob", &["sh", "-c", "cat /tmp/note; ls /proc | grep -c '^[0-9]'; echo \"[$WHO]\""])?;
    assert!(looked.stderr.contains("No such file"), "bob reads nothing of ada's: {}", looked.stderr);
    assert!(looked.stdout.contains("[]"), "bob has no environment of ada's: {}", looked.stdout);
    let own = namespace.exec("ada", &["cat", "/tmp/note"])?;
    assert_eq!(own.success()?, "secret\n");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn secrets_and_config_maps_reach_the_guest_and_not_the_status() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "secret")?;
    let space = namespace.name.as_str();
    cluster
        .kubectl(&["create", "secret", "generic", "s", "-n", space, "--from-literal=k=hunter2"])?
        .success()?;
    cluster.kubectl(&["create", "configmap", "c", "-n", space, "--from-literal=a.txt=plain"])?.success()?;
    let spec = "  env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: s, key: k}}}]\n  \
                mounts: [{path: /config, configMap: {name: c}}]";
    namespace.ready_workspace("ada", spec)?;
    assert_eq!(namespace.exec("ada", &["printenv", "TOKEN"])?.success()?, "hunter2\n");
    assert_eq!(namespace.exec("ada", &["cat", "/config/a.txt"])?.success()?, "plain");
    let everything =
        cluster.kubectl(&["get", "workspace,events,configmap", "-n", space, "-o", "yaml"])?.success()?;
    assert!(!everything.contains("hunter2"), "the secret stands in an object");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_deleted_workspace_leaves_no_pod_process_or_file() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "delete")?;
    let space = namespace.name.as_str();
    namespace.ready_workspace("ada", "")?;
    namespace.ready_workspace("bob", "")?;
    namespace.exec("ada", &["sh", "-c", "echo x > ~/file; sleep 300 & true"])?.success()?;
    namespace.exec("bob", &["true"])?.success()?;
    let uid = cluster.field(space, "workspace/ada", ".metadata.uid")?;
    let pod = cluster.field(space, &format!("pod/{RUNNER}"), ".metadata.uid")?;
    let folder = node::volume_folder(&cluster, space, RUNNER)?;
    let before = node::vm_processes(&pod)?;
    cluster.kubectl(&["delete", "workspace", "ada", "-n", space, "--timeout=60s"])?.success()?;
    let after = node::vm_processes(&pod)?;
    let ended = before.iter().filter(|old| after.iter().all(|new| new.pid != old.pid)).count();
    assert!(ended >= 1, "no vm process ended: {before:?} then {after:?}");
    assert!(!folder.join(&uid).exists(), "{} is left", folder.join(&uid).display());
    cluster.kubectl(&["delete", "workspace", "bob", "-n", space, "--timeout=60s"])?.success()?;
    eventually(Duration::from_secs(120), || {
        let left = cluster.kubectl(&["get", "pods,statefulsets,services,pvc", "-n", space, "-o", "name"])?;
        Ok(left.stdout.trim().is_empty())
    })?;
    eventually(Duration::from_secs(30), || Ok(node::processes_of_pod(&pod)?.is_empty()))?;
    eventually(Duration::from_secs(60), || Ok(!folder.exists()))?;
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_namespace_with_workspaces_can_be_deleted() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "gone")?;
    namespace.ready_workspace("ada", "")?;
    let deleted = cluster.kubectl(&["delete", "namespace", &namespace.name, "--timeout=120s"])?;
    assert_eq!(deleted.code, 0, "{}", deleted.stderr);
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn files_are_written_read_listed_moved_and_deleted_through_the_gateway() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "files")?;
    namespace.ready_workspace("ada", "")?;
    let base = format!("/v1/namespaces/{}/workspaces/ada", namespace.name);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        use e2e::gateway::{GatewayClient, Identity};
        let mut gateway = GatewayClient::connect(&cluster, &Identity::Administrator).await?;
        let put = gateway.send("PUT", &format!("{base}/files/home/agent/a%20b.txt"), "contents\n").await?;
        assert!(put.status.is_success(), "{} {}", put.status, put.text());
        let got = gateway.send("GET", &format!("{base}/files/home/agent/a%20b.txt"), "").await?;
        assert_eq!(got.text(), "contents\n");
        let folder = r#"{"path":"/home/agent/d/e","parents":true}"#;
        assert!(gateway.send("POST", &format!("{base}/files:mkdir"), folder).await?.status.is_success());
        let moved = r#"{"from":"/home/agent/a b.txt","to":"/home/agent/d/e/f"}"#;
        assert!(gateway.send("POST", &format!("{base}/files:move"), moved).await?.status.is_success());
        let listed =
            gateway.send("GET", &format!("{base}/files/home/agent/d?list&depth=2"), "").await?.text();
        assert!(listed.contains("\"e\"") && listed.contains("f"), "{listed}");
        let stat = gateway.send("GET", &format!("{base}/files/home/agent/d/e/f?stat"), "").await?.json()?;
        assert_eq!(stat["size"], 9);
        let removed = gateway.send("DELETE", &format!("{base}/files/home/agent/d/e/f"), "").await?;
        assert!(removed.status.is_success(), "{}", removed.text());
        let missing = gateway.send("GET", &format!("{base}/files/home/agent/d/e/f"), "").await?;
        assert_eq!(
            (missing.status.as_u16(), missing.json()?["code"].as_str()),
            (404, Some("path-not-found"))
        );
        anyhow::Ok(())
    })
}
