//! Writes to the API server, counted in its audit log: until a Workspace is Ready, and when it is woken.

use super::Report;
use crate::{
    audit::AuditMark,
    cluster::Cluster,
    gateway::{Door, Identity},
    namespace::Namespace,
};
use anyhow::{Result, ensure};
use std::time::Duration;
use vm_api::route::Workspace;

const WORKSPACES: usize = 20;
const WAKES: usize = 200;

pub(super) async fn run(cluster: &Cluster, report: &mut Report<'_>) -> Result<()> {
    let namespace = Namespace::create(cluster, "writes")?;
    namespace.ready_workspace("first", "")?;
    let mark = AuditMark::now(cluster)?;
    for number in 0..WORKSPACES {
        namespace.apply_workspace(&format!("ada-{number}"), "")?.success()?;
    }
    for number in 0..WORKSPACES {
        namespace.wait_ready(&format!("ada-{number}"))?;
    }
    let (stored, events) = count(&mark, &namespace)?;
    report.note(format!(
        "writes to the API server from apply to Ready, of all users: {:.2} for each Workspace (goal 3), and {:.2} Events \
         (n = {WORKSPACES})",
        stored as f64 / WORKSPACES as f64,
        events as f64 / WORKSPACES as f64
    ))?;
    let mut gateway = Door::find(cluster)?.client(&Identity::Administrator).await?;
    let route = Workspace::at_gateway(&namespace.name, "ada-0");
    let mark = AuditMark::now(cluster)?;
    for _ in 0..WAKES {
        for path in [route.wake(), route.sleep()] {
            let answer = gateway.send("POST", &path, "").await?;
            ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text());
        }
    }
    // Longer than what the operator waits for before it writes that the power has changed.
    tokio::time::sleep(Duration::from_secs(35)).await;
    let (stored, events) = count(&mark, &namespace)?;
    report.note(format!(
        "writes to the API server for {WAKES} wakes and as many sleeps: {stored}, and {events} Events; {:.3} for each wake (goal 0)",
        stored as f64 / WAKES as f64
    ))
}

/// Writes to objects of the namespace, and Events among them.
fn count(mark: &AuditMark, namespace: &Namespace) -> Result<(usize, usize)> {
    let ours =
        mark.writes()?.into_iter().filter(|write| write.object.starts_with(&format!("{}/", namespace.name)));
    let (events, stored): (Vec<_>, Vec<_>) = ours.partition(|write| write.resource.contains("events"));
    Ok((stored.len(), events.len()))
}
