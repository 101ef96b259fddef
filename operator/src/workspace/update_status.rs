//! Writes the status, if it changed and it is time to; and announces transitions.

use super::{
    Bound, Error,
    status::{self, Urgency},
};
use crate::{certificate::system::GATEWAY_SERVICE, context::Context, store::WatchedWorkspace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use lodge_crds::{Workspace, WorkspaceStatus, condition, label};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use vm_api::{Power, WorkspaceState, route};

/// How long a change of power has to last before it is written.
const SETTLE: Duration = Duration::from_secs(1);

/// How long it may take until the status tells of a VM that was awake for a moment, and sleeps as before. When the Workspace is
/// to be deleted is reckoned from what the runner says, too; only if operator and runner both begin anew within this time, the
/// moment is forgotten, so it is at most a quarter of `deleteAfter`.
const TRACE_INTERVAL: Duration = Duration::from_secs(600);

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
    let uid = workspace.uid().unwrap_or_default();
    let now = context.clock.time();
    let asleep_since =
        outcome.as_ref().ok().and_then(|bound| asleep_since(&uid, &bound.state, &now, context));
    let url = url(workspace, context);
    let new = status::build_status(workspace, outcome, &url, &now, asleep_since.as_ref());
    let later = publish(workspace, new, context).await?;
    if outcome.as_ref().is_ok_and(|bound| bound.has_lost_files) {
        context.ledger.told_of_lost_files(&uid);
    }
    Ok(later)
}

/// Since when this operator has seen a VM asleep.
fn asleep_since(uid: &str, state: &WorkspaceState, now: &Time, context: &Context) -> Option<Time> {
    if state.power != Power::Asleep {
        context.ledger.not_asleep(uid);
        return None;
    }
    let woke = state.last_wake.as_ref().and_then(status::woke_at);
    Some(context.ledger.asleep(uid, now, woke.as_ref()))
}

/// Writes a status that may or may not be another than the present one.
pub(super) async fn publish(
    workspace: &Workspace,
    new: WorkspaceStatus,
    context: &Context,
) -> Result<Option<Duration>, Error> {
    let old = workspace.status.clone().unwrap_or_default();
    let uid = workspace.uid().unwrap_or_default();
    let urgency = status::urgency(&old, &new);
    match when(urgency, workspace, context) {
        Write::Never => return Ok(None),
        Write::In(pause) => return Ok(Some(pause)),
        Write::Now => {}
    }
    let written = write(workspace, &new, context).await?;
    if let Ok(written) = written.0 {
        context.ledger.wrote(Arc::new(written));
    }
    context.ledger.wrote_power(&uid, urgency != Some(Urgency::High));
    for news in status::news(&old, &new) {
        if news.reason == condition::DATA_LOST {
            context.metrics.lost_data();
            tracing::error!(
                workspace = workspace.name_any(),
                namespace = workspace.namespace(),
                "{}",
                news.note
            );
        }
        context.announcer.announce(workspace, news);
    }
    Ok(None)
}

fn when(urgency: Option<Urgency>, workspace: &Workspace, context: &Context) -> Write {
    let (uid, interval) = (workspace.uid().unwrap_or_default(), context.config.timing.power_interval);
    let pause = match urgency {
        None => {
            context.ledger.power_settled(&uid);
            context.ledger.trace_settled(&uid);
            return Write::Never;
        }
        Some(Urgency::High) => return Write::Now,
        Some(Urgency::Low) => {
            let (changed, written) = context.ledger.power_changed(&uid);
            let pause = written.map_or(Duration::ZERO, |ago| interval.saturating_sub(ago));
            pause.max(SETTLE.min(interval).saturating_sub(changed))
        }
        Some(Urgency::Lowest) => {
            context.ledger.power_settled(&uid);
            let most = TRACE_INTERVAL.max(interval);
            let delete_after = workspace.spec.idle.delete_after.as_ref();
            let most = delete_after.map_or(most, |after| most.min(after.get() / 4));
            most.saturating_sub(context.ledger.trace_changed(&uid))
        }
    };
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
