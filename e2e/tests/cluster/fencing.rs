//! A workspace is bound to one runner, by an epoch that only grows: whoever comes with an old one is refused.

use anyhow::Result;
use e2e::{
    cluster::Cluster,
    namespace::{Namespace, eventually},
    runner_peer::{Certificate, ask},
};
use std::time::Duration;
use vm_api::{WorkspaceConfig, header, route};

const RUNNER: &str = "lodge-runner-0";

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn after_its_runner_was_lost_a_workspace_has_a_new_epoch_and_the_old_one_may_not_write() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "fence")?;
    let space = namespace.name.as_str();
    namespace.ready_workspace("ada", "")?;
    namespace.exec("ada", &["sh", "-c", "echo mine > ~/note; sync"])?.success()?;
    let field = |path: &str| cluster.field(space, "workspace/ada", path);
    let uid = field(".metadata.uid")?;
    let old: u64 = field(".status.runner.epoch")?.parse()?;
    let pod = format!("pod/{RUNNER}");
    cluster.kubectl(&["delete", &pod, "-n", space, "--grace-period=0", "--force"])?.success()?;
    eventually(Duration::from_secs(90), || {
        Ok(field(".status.runner.epoch")?.parse::<u64>().is_ok_and(|epoch| epoch > old))
    })?;
    namespace.wait_ready("ada")?;
    let mut config = WorkspaceConfig::new(space, "ada");
    config.epoch = old;
    config.generation = 99;
    let operator = Certificate::issue(&cluster, header::OPERATOR_IDENTITY)?;
    let gateway = Certificate::issue(&cluster, header::GATEWAY_IDENTITY)?;
    let at_runner = route::Workspace::at_runner(&uid);
    let body = serde_json::to_vec(&config)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let put = ("PUT", at_runner.base());
        let (status, problem) = ask(&cluster, &operator, (space, RUNNER), put, body.clone()).await?;
        assert_eq!(status, 409, "an operator of yesterday: {problem}");
        assert!(problem.contains("stale-epoch"), "{problem}");
        let delete = at_runner.base_with_epoch(old);
        let (status, problem) =
            ask(&cluster, &operator, (space, RUNNER), ("DELETE", &delete), Vec::new()).await?;
        assert_eq!(status, 409, "it may not delete either: {problem}");
        let (status, problem) = ask(&cluster, &gateway, (space, RUNNER), put, body).await?;
        assert_eq!(status, 403, "the gateway binds nothing: {problem}");
        anyhow::Ok(())
    })?;
    assert_eq!(namespace.exec("ada", &["cat", "note"])?.success()?, "mine\n", "nothing was harmed");
    Ok(())
}
