//! A workspace with a runner of its own, and a volume of the user's in it.

use anyhow::{Context, Result};
use e2e::{
    cluster::Cluster,
    namespace::{Namespace, eventually},
    node,
};
use std::time::Duration;

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_dedicated_workspace_has_its_own_pod_with_its_resources_and_its_volume() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "dedicated")?;
    let space = namespace.name.as_str();
    let claim = format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: datasets, namespace: {space}}}\n\
         spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 16Mi}}}}}}\n"
    );
    cluster.apply(&claim)?.success()?;
    let spec = "  isolation: Dedicated\n  runner: {resources: {requests: {cpu: 50m, memory: 128Mi}}}\n  \
                mounts: [{path: /data, volume: {claimName: datasets}}]";
    namespace.ready_workspace("ada", spec)?;
    namespace.ready_workspace("bob", "")?;
    let runner = cluster.field(space, "workspace/ada", ".status.runner.name")?;
    assert_ne!(runner, cluster.field(space, "workspace/bob", ".status.runner.name")?);
    let request =
        cluster.field(space, &format!("pod/{runner}"), ".spec.containers[0].resources.requests.cpu")?;
    assert_eq!(request, "50m");
    namespace.exec("ada", &["sh", "-c", "echo kept > /data/file"])?.success()?;
    let folder = node::claim_folder(&cluster, space, "datasets")?;
    let on_the_volume = std::fs::read_to_string(folder.join("file"));
    assert_eq!(on_the_volume.context("the file is on the volume itself")?, "kept\n");
    cluster.kubectl(&["delete", "workspace", "ada", "-n", space, "--timeout=90s"])?.success()?;
    eventually(Duration::from_secs(60), || {
        Ok(cluster.kubectl(&["get", "pod", &runner, "-n", space])?.code != 0)
    })
    .context("its pod goes with it")?;
    assert!(folder.join("file").exists(), "the user's volume stays");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_volume_that_is_not_there_is_named() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "noclaim")?;
    let spec = "  isolation: Dedicated\n  mounts: [{path: /data, volume: {claimName: datasets}}]";
    namespace.apply_workspace("ada", spec)?.success()?;
    let (_, message) = namespace.condition("ada", "Ready", "False")?;
    eventually(Duration::from_secs(30), || {
        Ok(namespace.condition("ada", "Ready", "False")?.1.contains("datasets"))
    })
    .with_context(|| format!("names the claim: {message}"))
}
