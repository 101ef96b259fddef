//! What a CronJob refers to: its Workspace, the runner of that, and the values of its environment.

use super::{Error, validate::ValidatedCronJob};
use crate::{
    context::Context,
    roster::{Placement, Reach},
    runner::name::RunnerId,
    runner_client::RunnerConnection,
    store::WatchedWorkspace,
    workspace::{
        dereference::dereference_env,
        status::{find, is_true},
        validate::environment,
    },
};
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use lodge_crds::{Workspace, condition};
use std::sync::Arc;
use tokio::sync::Semaphore;
use vm_api::{ExecRequest, RunRequest};

/// A Workspace that runs can begin in now.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Name of the Workspace.
    pub(super) name: String,
    /// UID of the Workspace.
    pub(super) uid: String,
    /// The epoch of its binding.
    pub(super) epoch: u64,
    /// The way to its runner.
    pub(super) connection: Arc<dyn RunnerConnection>,
    /// Permits to make the runner work.
    pub(super) permits: Arc<Semaphore>,
}

/// Where the Workspace of a run is.
#[derive(Clone, Debug)]
pub(super) enum Whereabouts {
    /// It doesn't exist any more.
    Gone,
    /// Its runner isn't connected, or was not told about it yet.
    Away,
    /// Here.
    Here(Box<Host>),
}

/// The Workspace of a CronJob, if it can be used.
pub(super) fn workspace(namespace: &str, name: &str, context: &Context) -> Result<Arc<Workspace>, Error> {
    let watched = context.stores.workspaces.get(&ObjectRef::new(name).within(namespace));
    let watched = watched.ok_or_else(|| Error::WorkspaceMissing { name: name.to_owned() })?;
    let not_ready =
        |message: &str| Error::WorkspaceNotReady { name: name.to_owned(), message: message.to_owned() };
    if watched.meta().deletion_timestamp.is_some() {
        return Err(not_ready("it is being deleted"));
    }
    let Ok(workspace) = &watched.0 else {
        return Err(not_ready("this version of the operator can't read it"));
    };
    let workspace = context.ledger.newest(Arc::new(workspace.clone()));
    let conditions = workspace.status.as_ref().map_or(&[][..], |status| &status.conditions);
    if is_true(conditions, condition::READY) {
        return Ok(workspace);
    }
    let ready = find(conditions, condition::READY);
    Err(not_ready(ready.map_or("it is not bound to a runner yet", |ready| &ready.message)))
}

/// Where a Workspace is.
pub(super) fn host(workspace: &Workspace, context: &Context) -> Whereabouts {
    let uid = workspace.uid().unwrap_or_default();
    let Some(runner) = RunnerId::recorded(workspace) else { return Whereabouts::Away };
    match context.roster.reach(&runner, &uid) {
        Reach::Here(placement) => {
            let Placement { connection, permits, state, pushed: _ } = *placement;
            match state {
                Some(state) => {
                    let (name, epoch) = (workspace.name_any(), state.epoch);
                    Whereabouts::Here(Box::new(Host { name, uid, epoch, connection, permits }))
                }
                None => Whereabouts::Away,
            }
        }
        Reach::Away(_) => Whereabouts::Away,
    }
}

/// Where the Workspace of this UID is, be it the one that the CronJob refers to or an earlier one.
pub(super) fn host_of(namespace: &str, name: &str, uid: &str, context: &Context) -> Whereabouts {
    let store = &context.stores.workspaces;
    let is_it = |watched: &WatchedWorkspace| watched.meta().uid.as_deref() == Some(uid);
    let referred = store.get(&ObjectRef::new(name).within(namespace)).filter(|watched| is_it(watched));
    match referred.or_else(|| store.find(is_it)) {
        None => Whereabouts::Gone,
        Some(watched) => match &watched.0 {
            Ok(workspace) => host(&context.ledger.newest(Arc::new(workspace.clone())), context),
            Err(_) => Whereabouts::Away,
        },
    }
}

/// What a runner is asked for, with the environment resolved. Secrets are read now, and only those that are named.
pub(super) async fn exec(validated: &ValidatedCronJob, context: &Context) -> Result<ExecRequest, Error> {
    let mut exec = validated.exec.clone();
    let references = dereference_env(&validated.env, &validated.namespace, &context.client).await;
    let references = references.map_err(Error::Environment)?;
    exec.env = environment::resolve("spec.action.exec.env", &validated.env, &references)
        .map_err(Error::Environment)?;
    Ok(exec)
}

/// The same, for this host.
pub(super) fn request(exec: &ExecRequest, host: &Host) -> RunRequest {
    RunRequest { epoch: host.epoch, exec: exec.clone() }
}
