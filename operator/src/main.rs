//! The Lodge operator: reads its arguments, and runs until it is told to stop.

use anyhow::Context as _;
use clap::Parser;
use operator::{
    app,
    args::{Args, Config},
    kube_client, telemetry,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::from(Args::parse());
    telemetry::start(&config.log).context("--log-filter")?;
    let cluster = kube::Config::infer().await.context("could not find out how to reach Kubernetes")?;
    let client = kube_client::build_client(cluster)?;
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let operator = app::run(config, client, stop.clone());
    let mut operator = std::pin::pin!(operator);
    tokio::select! {
        result = &mut operator => return Ok(result?),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
    Ok(operator.await?)
}
