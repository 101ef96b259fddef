//! What keeps a workspace awake, asked of the workspace itself.

use std::time::Duration;

use serde::Serialize;
use vm_api::{Health, ProcessInfo, ProcessList, ProcessState, ShellInfo, ShellList};

use crate::error::Error;
use crate::gateway::{Ask, Patience};
use crate::remote::Remote;

/// How long it may take: the rest of the explanation is there already.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What keeps it awake.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reasons {
    /// Processes that run.
    pub(super) processes: Vec<ProcessInfo>,
    /// Shells that have not ended.
    pub(super) shells: Vec<ShellInfo>,
    /// Whether it has gone to sleep since.
    pub(super) sleeps: bool,
    /// Why not all of this is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unknown: Option<String>,
}

/// Asks; whatever goes wrong is part of the answer.
pub(super) async fn ask(remote: Result<Remote, Error>) -> Reasons {
    let asking = async { look(&remote?).await };
    let outcome = tokio::time::timeout(TIMEOUT, asking).await;
    let unknown = |text: String| Reasons { unknown: Some(text), ..Reasons::default() };
    match outcome {
        Ok(Ok(reasons)) => reasons,
        Ok(Err(error)) => unknown(error.to_string()),
        Err(_) => unknown(format!("it did not answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn look(remote: &Remote) -> Result<Reasons, Error> {
    let wait = vm_api::WireDuration(TIMEOUT);
    let ask = |path: String| remote.gateway.ask(Ask::get(path), Patience::new(&remote.name, wait, None));
    // Asking this never wakes anything, and what follows would.
    let health: Health = ask(remote.route.health()).await?.json().await?;
    if matches!(health.status.as_str(), "asleep" | "stopping") {
        return Ok(Reasons { sleeps: true, ..Reasons::default() });
    }
    let ProcessList { items: mut processes } = ask(remote.route.processes()).await?.json().await?;
    processes.retain(|process| process.state == ProcessState::Running);
    let ShellList { items: mut shells } = ask(remote.route.shells()).await?.json().await?;
    shells.retain(|shell| shell.exit.is_none());
    Ok(Reasons { processes, shells, sleeps: false, unknown: None })
}
