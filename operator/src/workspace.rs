//! The Workspace: from what its spec says to a runner that knows it, and back into its status.
//!
//! ```text
//!   dereference ─▶ validate ─▶ bind ─▶ build ─▶ apply (push to the runner) ─▶ update_status ─▶ (when new) finalizer
//!   being deleted ─▶ cleanup (remove from the runner) ─▶ finalizer removed
//! ```
//! `validate`, `bind`, `build` and the computation of the status are pure. Whatever step fails, its error is what the status
//! is made from: an [`Error`] knows its condition and whether to wait for a change or to try again.
//!
//! Runners themselves are made by [`crate::runner`]; connections to them by [`crate::follow`]. Nothing here ever writes a
//! spec, and no value of a Secret gets into a status, an Event or the log.

pub mod bind;
pub mod build;
mod cleanup;
pub mod dereference;
mod diagnose;
mod error;
mod expire;
mod finalizer;
pub mod place;
pub(crate) mod push;
pub mod status;
mod unreadable;
mod update_status;
pub mod validate;

pub(crate) use error::NOT_IMPLEMENTED;
pub use error::{Error, Verdict};

use crate::{context::Context, follow::stray::Stray, store::WatchedWorkspace};
use bind::Binding;
use kube::{
    Resource, ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};
use lodge_crds::Workspace;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;
use vm_api::WorkspaceState;

/// What came of the steps up to the push.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The runner and the epoch.
    pub binding: Binding,
    /// What the runner answered.
    pub state: WorkspaceState,
    /// Parts of the spec that have no effect yet.
    pub notes: Vec<String>,
    /// Whether the runner has nothing left of the files that it had.
    pub has_lost_files: bool,
    /// Whether Secrets or ConfigMaps went into it, which have to be read again from time to time.
    pub has_references: bool,
}

/// Reconciles one Workspace.
///
/// # Errors
/// Names the step that failed; the status says so, too.
pub async fn reconcile(watched: Arc<WatchedWorkspace>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let result = match &watched.0 {
        Err(invalid) => unreadable::report(invalid, &context).await,
        Ok(workspace) => {
            let workspace = context.ledger.newest(Arc::new(workspace.clone()));
            if workspace.metadata.deletion_timestamp.is_some() {
                cleanup::run(&workspace, &context).await
            } else {
                reconcile_live(workspace, &context).await
            }
        }
    };
    let label = result.as_ref().map_or_else(Error::label, |_| "ok");
    context.metrics.reconciled("workspace", label, started.elapsed());
    if let Err(error) = &result {
        let object = ObjectRef::from_obj(&*watched);
        // What the status tells anyway is no news for the log.
        match error.verdict() {
            Verdict::Unchanged => tracing::warn!(%error, workspace = %object, "could not reconcile"),
            Verdict::Waiting(_) | Verdict::Stalled(_) => {
                tracing::debug!(%error, workspace = %object, "not ready")
            }
        }
    }
    result
}

async fn reconcile_live(workspace: Arc<Workspace>, context: &Context) -> Result<Action, Error> {
    let is_new = is_new(&workspace, context);
    let passage = is_new.then(|| context.rush.enter());
    let (workspace, outcome) = begin(workspace, is_new, context).await?;
    let later = match update_status::run(&workspace, &outcome, context).await {
        Ok(later) => later,
        Err(error) => {
            // It may have gone in this very moment, while it was told to a runner.
            if !finalizer::has(&workspace) {
                context.strays.extend(copies(&workspace, context));
            }
            return Err(error);
        }
    };
    drop(passage);
    let bound = outcome?;
    let uid = workspace.uid().unwrap_or_default();
    if is_new && !finalizer::has(&workspace) {
        context.ledger.unheld(&uid);
    }
    let expiry = expire::run(&workspace, &bound, context).await?;
    context.ledger.succeeded(&uid);
    let hold = finalizer::due(&workspace, context);
    let recheck = bound.has_references.then_some(context.config.timing.reference_interval);
    Ok([later, recheck, expiry, hold]
        .into_iter()
        .flatten()
        .min()
        .map_or_else(Action::await_change, Action::requeue))
}

/// Whether nobody has ever had anything of a Workspace.
fn is_new(workspace: &Workspace, context: &Context) -> bool {
    let is_bound = workspace.status.as_ref().is_some_and(|status| status.runner.is_some());
    let (uid, namespace) = (workspace.uid().unwrap_or_default(), workspace.namespace().unwrap_or_default());
    !finalizer::has(workspace) && !is_bound && context.roster.holder(&namespace, &uid).is_none()
}

/// Adds the finalizer, if it is time to, and does every step up to the push.
///
/// A new Workspace that can be told to a runner at once gets the finalizer after its status, which makes it Ready sooner. If it
/// goes before, it is removed from the runner again as every stray is; by the next operator, should this one go, too.
async fn begin(
    workspace: Arc<Workspace>,
    is_new: bool,
    context: &Context,
) -> Result<(Arc<Workspace>, Result<Bound, Error>), Error> {
    if !is_new {
        let can_wait = finalizer::can_wait(&workspace, context);
        let workspace = if can_wait { workspace } else { finalizer::add(workspace, context).await? };
        let outcome = advance(&workspace, context).await;
        return Ok((workspace, outcome));
    }
    let outcome = advance(&workspace, context).await;
    if outcome.is_ok() {
        return Ok((workspace, outcome));
    }
    let copies = copies(&workspace, context);
    match finalizer::add(workspace, context).await {
        Ok(workspace) => Ok((workspace, outcome)),
        Err(error) => {
            context.strays.extend(copies);
            Err(error)
        }
    }
}

/// What runners have of a Workspace.
fn copies(workspace: &Workspace, context: &Context) -> Vec<Stray> {
    let (uid, namespace) = (workspace.uid().unwrap_or_default(), workspace.namespace().unwrap_or_default());
    context.roster.copies(&namespace, &uid)
}

async fn advance(workspace: &Workspace, context: &Context) -> Result<Bound, Error> {
    let references = dereference::dereference(workspace, &context.client).await?;
    let mut validated = validate::validate(workspace, &references)?;
    validated.notes.extend(place::volume_note(workspace, context));
    let (runner, uid) = (place::place(workspace, context)?, &validated.uid);
    let reach = context.roster.reach(&runner, uid);
    let refused = context.ledger.refused_epoch(uid);
    let binding = bind::bind(workspace, runner, push::acquaintance(&reach), refused);
    let config = build::build(&validated, &binding);
    let state = push::push(&validated, &binding, &config, reach, context).await?;
    let (has_references, has_lost_files) = (!references.is_empty(), context.ledger.has_lost_files(uid));
    Ok(Bound { binding, state, notes: validated.notes, has_lost_files, has_references })
}

/// What to do after a failure.
pub fn error_policy(watched: Arc<WatchedWorkspace>, error: &Error, context: Arc<Context>) -> Action {
    let failures = context.ledger.failed(watched.meta().uid.as_deref().unwrap_or_default());
    match error.retry(failures) {
        Some(pause) => Action::requeue(pause),
        None => Action::await_change(),
    }
}

/// What of a Workspace has to change for a reconcile: what users write, never what the operator writes.
pub fn trigger_version(watched: &WatchedWorkspace) -> Option<u64> {
    let metadata = watched.meta();
    let abandon = metadata.annotations.as_ref().and_then(|all| all.get(lodge_crds::label::ABANDON_DATA));
    let mut hasher = DefaultHasher::new();
    (metadata.generation, metadata.deletion_timestamp.is_some(), abandon).hash(&mut hasher);
    Some(hasher.finish())
}

/// Notes that a Workspace is gone.
pub fn forget(watched: &WatchedWorkspace, context: &Context) {
    let metadata = watched.meta();
    if let (Some(uid), Some(namespace)) = (&metadata.uid, &metadata.namespace) {
        context.ledger.forget(uid);
        // One that went without a cleanup.
        context.strays.extend(context.roster.copies(namespace, uid));
        // Its runner may be needed no more, unless it has others.
        if context.occupancy.leave(namespace, uid) != Some(false) {
            context.namespaces_due.push(ObjectRef::new(namespace));
        }
    }
}

/// Notes where the watch shows a Workspace to be.
pub fn notice(watched: &WatchedWorkspace, context: &Context) {
    if let Ok(workspace) = &watched.0 {
        context.ledger.caught_up(&workspace.metadata);
        place::note(workspace, context);
    }
}

/// Grows from `first` by doubling, up to `most`.
pub(crate) fn backoff(failures: u32, first: Duration, most: Duration) -> Duration {
    first.saturating_mul(1 << failures.min(16)).min(most)
}
