//! A runner whose volume is gone: its workspaces go on, empty, and nobody can overlook it.

use anyhow::{Context, Result};
use e2e::{
    cluster::Cluster,
    namespace::{Namespace, eventually},
};
use lodge_crds::condition;
use std::time::Duration;

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_workspace_whose_volume_is_deleted_comes_back_empty_and_says_that_data_is_lost() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "dataloss")?;
    let space = namespace.name.as_str();
    namespace.ready_workspace("ada", "")?;
    namespace.ready_workspace("unused", "")?;
    namespace.exec("ada", &["sh", "-c", "echo mine > ~/note; sync"])?.success()?;
    namespace.condition("ada", condition::SLEEPING, "False").context("its use is known")?;
    let pod = |path: &str| cluster.field(space, "pod/lodge-runner-0", path);
    let (claim, before) = ("pvc/data-lodge-runner-0", pod(".metadata.uid")?);
    let volume = cluster.field(space, claim, ".spec.volumeName")?;
    // A claim that is in use goes when its pod does.
    cluster.kubectl(&["delete", claim, "-n", space, "--wait=false"])?.success()?;
    cluster.kubectl(&["delete", "pod", "lodge-runner-0", "-n", space, "--wait=false"])?.success()?;
    let (reason, message) = namespace.condition("ada", condition::DATA_LOST, "True")?;
    assert_eq!(reason, condition::reason::VOLUME_LOST);
    assert!(message.contains("lodge-runner-0"), "names the runner: {message}");
    namespace.wait_ready("ada")?;
    assert_ne!(pod(".metadata.uid")?, before);
    assert_ne!(cluster.field(space, claim, ".spec.volumeName")?, volume, "it has a new volume");
    let looked = namespace
        .exec("ada", &["sh", "-c", "ls -A /home/agent | grep -c note; echo new > ~/new && cat ~/new"])?;
    assert_eq!(looked.success()?, "0\nnew\n", "it is empty, and can be used");
    let events = |name: &str| {
        let selector = format!("--field-selector=reason=DataLost,type=Warning,involvedObject.name={name}");
        let get = ["get", "events", "-n", space, &selector, "-o", "jsonpath={.items[*].message}"];
        cluster.kubectl(&get)?.success()
    };
    eventually(Duration::from_secs(20), || Ok(!events("ada")?.is_empty())).context("a Warning says so")?;
    namespace.wait_ready("unused")?;
    let path = ".status.conditions[?(@.type==\"DataLost\")].status";
    assert_eq!(cluster.field(space, "workspace/unused", path)?, "", "who had nothing has lost nothing");
    assert_eq!(events("unused")?, "");
    // Whoever has taken note of it edits the spec.
    namespace.ready_workspace("ada", "  env: [{name: NOTED, value: '1'}]")?;
    eventually(Duration::from_secs(30), || Ok(cluster.field(space, "workspace/ada", path)?.is_empty()))
        .context("the condition goes with the next edit")
}
