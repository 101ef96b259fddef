//! Many Workspaces at once, in a namespace whose runner runs: from each one's apply to its Ready.

use super::{
    Report,
    cluster::{apply, is_ready},
};
use crate::{cluster::Cluster, namespace::Namespace, percentile::Samples};
use anyhow::{Context, Result};
use futures::{Stream, StreamExt};
use kube::{
    Api, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
};
use lodge_crds::Workspace;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

pub(super) async fn run(cluster: &Cluster, count: usize, report: &mut Report<'_>) -> Result<()> {
    let namespace = Namespace::create(cluster, "burst")?;
    namespace.ready_workspace("first", "")?;
    let api: Api<Workspace> = Api::namespaced(cluster.client().await?, &namespace.name);
    let version = api.list(&ListParams::default()).await?.metadata.resource_version;
    let version = version.context("a list has a version")?;
    // Open before the first apply.
    let stream = api.watch(&WatchParams::default(), &version).await?;
    let start = Instant::now();
    let mut applies = JoinSet::new();
    for number in 0..count {
        let api = api.clone();
        applies.spawn(async move {
            let (name, began) = (format!("burst-{number}"), Instant::now());
            apply(&api, &name).await.map(|()| (name, began))
        });
    }
    let ready =
        async { tokio::time::timeout(Duration::from_secs(120), wait_ready(&api, stream, count)).await };
    let (ready, began) = tokio::join!(ready, applies.join_all());
    let ready = ready.context("not all Ready in two minutes")??;
    let began: HashMap<String, Instant> = began.into_iter().collect::<Result<_>>()?;
    let mut samples = Samples::default();
    for (name, at) in &ready {
        samples.add(*at - *began.get(name).with_context(|| format!("{name} was not applied"))?);
    }
    let whole = ready.values().max().context("a burst of nothing")?.saturating_duration_since(start);
    report.row(&format!("apply → Ready, {count} at once"), &samples)?;
    report.note(format!(
        "p90 {:.0} ms (goal 500), the last one Ready after {:.0} ms",
        samples.percentile(90).as_secs_f64() * 1e3,
        whole.as_secs_f64() * 1e3
    ))
}

/// When each of `count` Workspaces was first seen Ready. The API server ends a watch whose reader is slow; what happened before
/// the next one is then seen by a list, a little late.
async fn wait_ready(
    api: &Api<Workspace>,
    stream: impl Stream<Item = kube::Result<WatchEvent<Workspace>>> + Send + 'static,
    count: usize,
) -> Result<HashMap<String, Instant>> {
    let mut stream = stream.boxed();
    let mut ready = HashMap::new();
    let mut see = |workspace: &Workspace| {
        if workspace.name_any().starts_with("burst-") && is_ready(workspace) {
            ready.entry(workspace.name_any()).or_insert_with(Instant::now);
        }
        ready.len()
    };
    loop {
        let seen = match stream.next().await.transpose()? {
            Some(WatchEvent::Added(workspace) | WatchEvent::Modified(workspace)) => see(&workspace),
            Some(_) => continue,
            None => {
                let list = api.list(&ListParams::default()).await?;
                let seen = list.items.iter().map(&mut see).max().unwrap_or_default();
                let version = list.metadata.resource_version.context("a list has a version")?;
                stream = api.watch(&WatchParams::default(), &version).await?.boxed();
                seen
            }
        };
        if seen == count {
            return Ok(ready);
        }
    }
}
