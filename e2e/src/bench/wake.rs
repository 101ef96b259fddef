//! Sleeping workspaces that a command wakes: from sending it to the first byte of its output, through the gateway.

use super::Report;
use crate::{
    cluster::Cluster,
    gateway::{Door, GatewayClient, Identity},
    namespace::Namespace,
    percentile::Samples,
};
use anyhow::{Result, ensure};
use std::time::Duration;
use vm_api::route::Workspace;

/// Workspaces that take turns, so that one may settle while others are measured.
const TURNS: usize = 8;

pub(super) async fn run(cluster: &Cluster, wakes: usize, report: &mut Report<'_>) -> Result<()> {
    let namespace = Namespace::create(cluster, "wake")?;
    let mut gateway = Door::find(cluster)?.client(&Identity::Administrator).await?;
    for turn in 0..TURNS {
        namespace.ready_workspace(&name(turn), "")?;
        wake(&mut gateway, &namespace, turn).await?;
    }
    let (mut samples, mut lost) = (Samples::default(), Vec::new());
    for number in 0..wakes {
        let turn = number % TURNS;
        fall_asleep(&mut gateway, &namespace, turn).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        match wake(&mut gateway, &namespace, turn).await {
            Ok(time) => samples.add(time),
            Err(why) => lost.push(format!("{why:#}")),
        }
    }
    report.row("asleep → first byte of echo", &samples)?;
    report.note(format!("{} of {wakes} lost (goal 0); goal 50 ms p50, 150 ms p99", lost.len()))?;
    lost.iter().take(5).try_for_each(|why| report.note(why))
}

fn name(turn: usize) -> String {
    format!("wake-{turn}")
}

async fn fall_asleep(gateway: &mut GatewayClient, namespace: &Namespace, turn: usize) -> Result<()> {
    let path = Workspace::at_gateway(&namespace.name, &name(turn)).sleep();
    let answer = gateway.send("POST", &path, "").await?;
    ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text());
    Ok(())
}

/// Time to the first byte of the answer to `echo`.
async fn wake(gateway: &mut GatewayClient, namespace: &Namespace, turn: usize) -> Result<Duration> {
    let answer = gateway.exec(&namespace.name, &name(turn), "echo awake").await?;
    ensure!(answer.text().contains(r#""stdout":"awake\n""#), "{} {}", answer.status, answer.text());
    Ok(answer.first_byte)
}
