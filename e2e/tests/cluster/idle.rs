//! An idle cluster is quiet, and a workspace costs few writes.

use anyhow::Result;
use e2e::{audit::AuditMark, cluster::Cluster, namespace::Namespace};
use std::time::Duration;

/// Writes by Lodge's own service accounts, its leader's Lease left out: holding a Lease is renewing it.
fn writes_of_lodge(mark: &AuditMark) -> Result<Vec<String>> {
    let all = mark.writes()?.into_iter();
    let ours = all.filter(|write| write.user.starts_with("system:serviceaccount:lodge-system:"));
    Ok(ours
        .filter(|write| !write.resource.starts_with("coordination.k8s.io/leases"))
        .map(|write| format!("{} {} {}", write.verb, write.resource, write.object))
        .collect())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn an_idle_workspace_causes_no_writes_and_its_creation_few() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "idle")?;
    namespace.ready_workspace("ada", "")?;
    let settle = Duration::from_secs(40); // longer than the operator's coalescing of status
    std::thread::sleep(settle);
    let of_this_test = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| line.contains(&namespace.name)).collect()
    };
    let mark = AuditMark::now(&cluster)?;
    std::thread::sleep(Duration::from_secs(20));
    assert_eq!(of_this_test(writes_of_lodge(&mark)?), Vec::<String>::new(), "idle means no writes");
    let mark = AuditMark::now(&cluster)?;
    namespace.ready_workspace("bob", "")?;
    let writes = of_this_test(writes_of_lodge(&mark)?);
    let stored: Vec<_> = writes.iter().filter(|line| !line.contains("events")).collect();
    assert!(stored.len() <= 3, "at most three writes to Ready on a running runner: {stored:?}");
    Ok(())
}
