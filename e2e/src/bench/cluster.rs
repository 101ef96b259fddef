//! The whole line: API server, operator, gateway, runner.

use super::{BenchArgs, sample};
use crate::{
    cluster::Cluster,
    gateway::{GatewayClient, Identity},
    namespace::Namespace,
    percentile::Samples,
};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, pin_mut};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams},
};
use lodge_crds::Workspace;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

pub(super) async fn run(cluster: &Cluster, args: &BenchArgs) -> Result<Vec<(String, Samples)>> {
    let namespace = Namespace::create(cluster, "bench")?;
    namespace.ready_workspace("awake", "")?;
    let gateway = GatewayClient::connect(cluster, &Identity::Administrator).await?;
    let gateway = Arc::new(Mutex::new(gateway));
    let api: Api<Workspace> = Api::namespaced(cluster.client().await?, &namespace.name);
    let mut rows = Vec::new();
    for (name, command) in [("exec true", "exec true"), ("echo hello", "echo hello")] {
        let samples = sample(args.requests, Duration::ZERO, |_| {
            let (gateway, namespace) = (gateway.clone(), namespace.name.clone());
            async move {
                let answer = gateway.lock().await.exec(&namespace, "awake", command).await?;
                ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
                Ok(answer.first_byte)
            }
        })
        .await?;
        rows.push((format!("gateway: sh -c '{name}', awake"), samples));
    }
    let ready = sample(args.workspaces, Duration::from_millis(150), |number| {
        let api = api.clone();
        async move { apply_to_ready(&api, &format!("ready-{number}")).await }
    })
    .await?;
    rows.push(("apply → Ready, runner running".to_owned(), ready));
    let first_byte = sample(args.workspaces, Duration::from_millis(600), |number| {
        let (api, gateway, namespace) = (api.clone(), gateway.clone(), namespace.name.clone());
        async move { apply_to_first_byte(&api, &gateway, &namespace, &format!("byte-{number}")).await }
    })
    .await?;
    rows.push(("apply → first byte of echo, runner running".to_owned(), first_byte));
    Ok(rows)
}

pub(super) async fn apply(api: &Api<Workspace>, name: &str) -> Result<()> {
    let manifest = serde_json::json!({
        "apiVersion": "lodge.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": {},
    });
    api.patch(name, &PatchParams::apply("e2e-bench"), &Patch::Apply(manifest)).await?;
    Ok(())
}

/// From sending the apply to the watch event that says Ready.
async fn apply_to_ready(api: &Api<Workspace>, name: &str) -> Result<Duration> {
    let only = format!("metadata.name={name}");
    let before = api.list(&ListParams::default().fields(&only)).await?;
    let version = before.metadata.resource_version.context("a list has a resource version")?;
    let stream = api.watch(&WatchParams::default().fields(&only), &version).await?; // open once this returns
    pin_mut!(stream);
    let start = Instant::now();
    apply(api, name).await?;
    let is_ready = async {
        while let Some(event) = stream.next().await {
            if let WatchEvent::Added(workspace) | WatchEvent::Modified(workspace) = event?
                && is_ready(&workspace)
            {
                return Ok(start.elapsed());
            }
        }
        anyhow::bail!("the watch ended")
    };
    let time =
        tokio::time::timeout(Duration::from_secs(60), is_ready).await.context("not Ready in a minute")??;
    api.delete(name, &DeleteParams::default()).await?;
    Ok(time)
}

/// From sending the apply to the first byte of `echo hello` through the gateway, which holds the request.
async fn apply_to_first_byte(
    api: &Api<Workspace>,
    gateway: &Mutex<GatewayClient>,
    namespace: &str,
    name: &str,
) -> Result<Duration> {
    let mut gateway = gateway.lock().await;
    let start = Instant::now();
    apply(api, name).await?;
    loop {
        let answer = gateway.exec(namespace, name, "echo hello").await?;
        if answer.status.is_success() {
            let time = start.elapsed();
            api.delete(name, &DeleteParams::default()).await?;
            return Ok(time);
        }
        ensure!(start.elapsed() < Duration::from_secs(60), "{}: {}", answer.status, answer.text());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(super) fn is_ready(workspace: &Workspace) -> bool {
    let conditions = workspace.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
