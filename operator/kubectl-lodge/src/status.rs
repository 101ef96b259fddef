//! `kubectl lodge status`: what a Workspace's conditions mean, in a few lines. Reads the resource only; wakes nothing.

use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use lodge_crds::{Workspace, condition};
use serde::{Deserialize, Serialize};

use crate::Terminal;
use crate::args::{ClusterArgs, StatusArgs};
use crate::cluster::{Cluster, api_error};
use crate::error::Error;

/// A Workspace, as far as its state goes; read leniently, so that a plugin of another version understands it too.
#[derive(Clone, Debug, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = "Workspace")]
struct ObservedWorkspace {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Option<Observed>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Observed {
    observed_generation: Option<i64>,
    power: Option<String>,
    runner: Option<Runner>,
    software: Option<String>,
    last_wake: Option<Wake>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Runner {
    name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wake {
    at: String,
    cause: String,
    #[serde(default)]
    first_byte_ms: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// Explains a workspace. The exit code says whether it is ready.
pub(crate) async fn run(
    args: StatusArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Error> {
    let StatusArgs { name } = args;
    let Cluster { client, namespace, credentials: _ } = Cluster::load(&cluster_args).await?;
    let api: Api<ObservedWorkspace> = Api::namespaced(client, &namespace);
    let workspace = match api.get(&name).await {
        Ok(workspace) => workspace,
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            return Err(missing(
                &name,
                &namespace,
                status.details.is_some_and(|details| details.name == name),
            ));
        }
        Err(error) => {
            return Err(api_error(
                error,
                &format!("read workspaces in namespace {namespace} (get workspaces.lodge.dev)"),
            ));
        }
    };
    let (text, is_ready) = explain(&name, &namespace, &workspace);
    terminal.stdout.write_all(text.as_bytes()).map_err(Error::Output)?;
    Ok(u8::from(!is_ready))
}

/// The API server says "not found" of an object that is missing, and of a kind that it does not know.
fn missing(name: &str, namespace: &str, is_kind_known: bool) -> Error {
    Error::Api(if is_kind_known {
        format!(
            "there is no workspace {name} in namespace {namespace}; see `kubectl get workspaces -n {namespace}`"
        )
    } else {
        "this cluster does not know workspaces: install the chart lodge-crds, then the chart lodge".to_owned()
    })
}

fn explain(name: &str, namespace: &str, workspace: &ObservedWorkspace) -> (String, bool) {
    let Observed { observed_generation, power, runner, software, last_wake, conditions } =
        workspace.status.clone().unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|condition| condition.kind == kind);
    let holds = |kind: &str| find(kind).filter(|condition| condition.status == "True");
    let ready = find(condition::READY);
    let is_ready = holds(condition::READY).is_some();

    let mut text = format!("Workspace {name} in namespace {namespace} is ");
    // Writing into a String cannot fail.
    let _ = match (ready, is_ready) {
        (_, true) => writeln!(text, "ready and {}.", power.as_deref().unwrap_or("Unbound").to_lowercase()),
        (Some(Condition { reason, message, .. }), false) => writeln!(text, "not ready ({reason}): {message}"),
        (None, false) => writeln!(
            text,
            "not ready: the operator has not looked at it yet; if this stays so, see whether it runs: `kubectl get pods -A \
             -l app.kubernetes.io/name=lodge-operator`"
        ),
    };
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "  {label:<9} {value}");
    };
    if let Some(Runner { name }) = runner {
        line("Runner", &name);
    }
    if let Some(software) = software {
        line("Software", &software);
    }
    if let Some(Condition { status, message, .. }) = find(condition::STORAGE_PERSISTENT) {
        let kept = if status == "True" { "survive sleep and restarts" } else { "are lost at sleep" };
        line("Files", &format!("{kept} ({message})"));
    }
    if let Some(Wake { at, cause, first_byte_ms }) = last_wake {
        let took = first_byte_ms.map(|ms| format!(", first byte after {ms} ms")).unwrap_or_default();
        line("Woken", &format!("{at} by {cause}{took}"));
    }
    for kind in [condition::SLEEPING, condition::RESTART_REQUIRED, condition::STALLED] {
        if let Some(Condition { reason, message, .. }) = holds(kind) {
            line(kind, &format!("{reason}: {message}"));
        }
    }
    if observed_generation.is_some_and(|seen| Some(seen) < workspace.metadata.generation) {
        line("Note", "the spec has changed since; the operator has not looked at it yet");
    }
    if workspace.metadata.deletion_timestamp.is_some() {
        line("Note", "it is being deleted");
    }
    let next = if is_ready {
        format!("Next: kubectl lodge exec {name} -n {namespace} -- COMMAND\n")
    } else {
        format!("Next: kubectl describe workspace {name} -n {namespace}\n")
    };
    text.push_str(&next);
    (text, is_ready)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn explained(value: serde_json::Value) -> (String, bool) {
        explain("ada", "team-a", &serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_workspace_that_sleeps_is_ready() {
        let (text, is_ready) = explained(json!({
            "metadata": {"name": "ada", "generation": 1},
            "status": {
                "observedGeneration": 1, "power": "Asleep", "runner": {"name": "lodge-runner-0", "epoch": 1},
                "software": "common,git", "lastWake": {"at": "2026-01-01T00:00:00Z", "cause": "Exec", "firstByteMs": 3},
                "conditions": [
                    {"type": "Ready", "status": "True", "reason": "Bound", "message": "bound"},
                    {"type": "Sleeping", "status": "True", "reason": "Idle", "message": "unused for 15m"},
                    {"type": "StoragePersistent", "status": "False", "reason": "MemoryOnly", "message": "no volume"},
                ],
            },
        }));
        assert!(is_ready);
        for part in [
            "Workspace ada in namespace team-a is ready and asleep.",
            "Runner    lodge-runner-0",
            "Files     are lost at sleep (no volume)",
            "Woken     2026-01-01T00:00:00Z by Exec, first byte after 3 ms",
            "Sleeping  Idle: unused for 15m",
            "kubectl lodge exec ada",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_workspace_that_is_not_ready_says_why() {
        let (text, is_ready) = explained(json!({
            "metadata": {"generation": 2},
            "status": {"observedGeneration": 1, "conditions": [
                {"type": "Ready", "status": "False", "reason": "SecretMissing", "message": "there is no Secret s"}]},
        }));
        assert!(!is_ready);
        assert!(text.contains("is not ready (SecretMissing): there is no Secret s"), "{text}");
        assert!(text.contains("the spec has changed since"), "{text}");
    }

    #[test]
    fn a_workspace_that_nobody_has_looked_at_points_to_the_operator() {
        let (text, is_ready) = explained(json!({"metadata": {}}));
        assert!(!is_ready && text.contains("lodge-operator"), "{text}");
    }

    #[test]
    fn a_kind_that_the_cluster_does_not_know_is_told_from_a_name_that_is_missing() {
        assert!(missing("ada", "x", true).to_string().contains("no workspace ada"));
        assert!(missing("ada", "x", false).to_string().contains("lodge-crds"));
    }
}
