//! Writes the status, if it changed and it is time to; and announces transitions.

use super::{Bound, Error, status};
use crate::{certificate::system::GATEWAY_SERVICE, context::Context, store::WatchedWorkspace};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use lodge_crds::{Workspace, WorkspaceStatus, label};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use vm_api::route;

/// How long a change of power has to last before it is written.
const SETTLE: Duration = Duration::from_secs(1);

/// When to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// Nothing changed.
    Never,
    /// Now.
    Now,
    /// Not before so much time has passed.
    In(Duration),
}

/// Brings the status up to date. Returns when to come back, if something was put off.
pub(super) async fn run(
    workspace: &Workspace,
    outcome: &Result<Bound, Error>,
    context: &Context,
) -> Result<Option<Duration>, Error> {
    let new = status::build_status(workspace, outcome, &url(workspace, context), &context.clock.time());
    publish(workspace, new, context).await
}

/// Writes a status that may or may not be another than the present one.
pub(super) async fn publish(
    workspace: &Workspace,
    new: WorkspaceStatus,
    context: &Context,
) -> Result<Option<Duration>, Error> {
    let old = workspace.status.clone().unwrap_or_default();
    let uid = workspace.uid().unwrap_or_default();
    match when(&old, &new, &uid, context) {
        Write::Never => return Ok(None),
        Write::In(pause) => return Ok(Some(pause)),
        Write::Now => {}
    }
    let written = write(workspace, &new, context).await?;
    if let Ok(written) = written.0 {
        context.ledger.wrote(Arc::new(written));
    }
    context.ledger.wrote_power(&uid, status::is_only_power(&old, &new));
    if let Some(news) = status::news(&old, &new) {
        context.announcer.announce(workspace, news);
    }
    Ok(None)
}

fn when(old: &WorkspaceStatus, new: &WorkspaceStatus, uid: &str, context: &Context) -> Write {
    if old == new {
        context.ledger.power_settled(uid);
        return Write::Never;
    }
    if !status::is_only_power(old, new) {
        return Write::Now;
    }
    let (changed, written) = context.ledger.power_changed(uid);
    let pause =
        written.map_or(Duration::ZERO, |ago| context.config.timing.power_interval.saturating_sub(ago));
    let pause = pause.max(SETTLE.min(context.config.timing.power_interval).saturating_sub(changed));
    if pause.is_zero() { Write::Now } else { Write::In(pause) }
}

async fn write(
    workspace: &Workspace,
    status: &WorkspaceStatus,
    context: &Context,
) -> Result<WatchedWorkspace, Error> {
    let api: Api<WatchedWorkspace> =
        Api::namespaced(context.client.clone(), workspace.namespace().as_deref().unwrap_or_default());
    let patch = json!({
        "apiVersion": format!("{}/{}", label::GROUP, label::VERSION),
        "kind": "Workspace",
        // With the UID, so that another Workspace of the same name doesn't get it.
        "metadata": { "name": workspace.name_any(), "uid": workspace.uid() },
        "status": status,
    });
    let parameters = PatchParams::apply(label::FIELD_MANAGER).force();
    context.metrics.wrote("workspaces/status", "apply");
    api.patch_status(&workspace.name_any(), &parameters, &Patch::Apply(patch))
        .await
        .map_err(Error::UpdateStatus)
}

fn url(workspace: &Workspace, context: &Context) -> String {
    let route =
        route::Workspace::at_gateway(&workspace.namespace().unwrap_or_default(), &workspace.name_any());
    match &context.config.gateway.address {
        Some(address) => format!("{address}{}", route.base()),
        None => format!("https://{GATEWAY_SERVICE}.{}.svc{}", context.config.namespace, route.base()),
    }
}
