//! The Lodge gateway: the only door to the data plane. Reads the command line, starts the log, and runs until it is told to
//! stop.

mod args;

use std::io::IsTerminal as _;

use anyhow::Context as _;
use clap::Parser as _;
use gateway::Gateway;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, LogConfig, LogFormat};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (config, log) = Args::parse().into_config()?;
    start_log(&log)?;
    // The Kubernetes client asks for the process's provider; there is only one in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = kube::Client::try_default()
        .await
        .context("no access to the Kubernetes API: run in a pod with a service account, or set KUBECONFIG")?;

    let gateway = Gateway::bind(config, client).await?;
    tracing::info!(address = %gateway.address()?, version = env!("CARGO_PKG_VERSION"), "listening");
    let stop = CancellationToken::new();
    let run = gateway.run(stop.clone());
    let signals = async {
        let ended = wait_for_signal().await;
        stop.cancel();
        ended
    };
    let ((), signalled) = tokio::join!(run, signals);
    signalled
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn start_log(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter).with_context(|| {
        format!("--log {:?} is not a filter such as info or gateway=debug", config.filter)
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => log.init(),
    }
    Ok(())
}
