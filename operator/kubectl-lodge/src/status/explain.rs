//! The explanation: pure text, made of what was read.

use std::fmt::Write as _;

use lodge_crds::condition::{self, reason};
use vm_api::ProcessInfo;

use super::awake::Reasons;
use crate::table::{age, bytes, printable};
use crate::workspace::{Condition, Observed, ObservedWorkspace, Runner, Wake};

/// So many processes are named.
const SHOWN_PROCESSES: usize = 5;
/// So much of a command line is shown.
const SHOWN_CHARACTERS: usize = 60;

/// What there is to say about a workspace.
pub(super) struct Explained {
    pub(super) text: String,
    pub(super) is_ready: bool,
}

pub(super) fn explain(
    name: &str,
    namespace: &str,
    workspace: &ObservedWorkspace,
    reasons: Option<&Reasons>,
) -> Explained {
    let status = workspace.status.clone().unwrap_or_default();
    let ready = find(&status, condition::READY);
    let is_ready = ready.is_some_and(|condition| condition.status == "True");
    let power = workspace.power().to_lowercase();
    let mut text = format!("Workspace {name} in namespace {namespace} is ");
    // Writing into a String cannot fail.
    let _ = match (ready, is_ready) {
        (_, true) => writeln!(text, "ready and {power}."),
        (Some(Condition { reason, message, .. }), false) => {
            writeln!(text, "not ready ({reason}): {}", printable(message))
        }
        (None, false) => writeln!(
            text,
            "not ready: the operator has not looked at it yet; if this stays so, see whether it runs: `kubectl get pods -A \
             -l app.kubernetes.io/name=lodge-operator`"
        ),
    };
    facts(&mut text, workspace, &status);
    if let Some(reasons) = reasons {
        awake(&mut text, workspace, reasons);
    } else if power == "asleep" {
        line(&mut text, "Wakes", "with the first command, shell or write; reading files does not wake it");
    }
    for step in next_steps(name, namespace, ready, is_ready, reasons) {
        let _ = writeln!(text, "Next: {step}");
    }
    Explained { text, is_ready }
}

fn find<'a>(status: &'a Observed, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.kind == kind)
}

fn line(text: &mut String, label: &str, value: &str) {
    let _ = writeln!(text, "  {label:<9} {}", printable(value));
}

fn facts(text: &mut String, workspace: &ObservedWorkspace, status: &Observed) {
    if let Some(Runner { name }) = &status.runner {
        line(text, "Runner", name);
    }
    if let Some(software) = &status.software {
        line(text, "Software", software);
    }
    if let Some(Condition { status, message, .. }) = find(status, condition::STORAGE_PERSISTENT) {
        let kept = if status == "True" { "survive sleep and restarts" } else { "are lost at sleep" };
        line(text, "Files", &format!("{kept} ({message})"));
    }
    if let Some(stored) = status.usage.as_ref().and_then(|usage| usage.storage_bytes) {
        line(text, "Stored", &bytes(stored));
    }
    if let Some(Wake { at, cause, first_byte_ms }) = &status.last_wake {
        let took = first_byte_ms.map(|ms| format!(", first byte after {ms} ms")).unwrap_or_default();
        line(text, "Woken", &format!("{at} by {cause}{took}"));
    }
    if let Some(since) = &status.idle_since {
        line(text, "Idle", &format!("since {since}"));
    }
    for kind in [condition::SLEEPING, condition::RESTART_REQUIRED, condition::DATA_LOST, condition::STALLED] {
        if let Some(Condition { reason, message, .. }) =
            find(status, kind).filter(|found| found.status == "True")
        {
            line(text, kind, &format!("{reason}: {message}"));
        }
    }
    if status.observed_generation.is_some_and(|seen| Some(seen) < workspace.metadata.generation) {
        line(text, "Note", "the spec has changed since; the operator has not looked at it yet");
    }
    if workspace.metadata.deletion_timestamp.is_some() {
        line(text, "Note", "it is being deleted");
    }
}

/// Why it is awake.
fn awake(text: &mut String, workspace: &ObservedWorkspace, reasons: &Reasons) {
    let Reasons { processes, shells, sleeps, unknown } = reasons;
    let after = workspace.spec.idle.sleep_after.as_deref().unwrap_or("15m");
    if *sleeps {
        return line(text, "Awake", "no more: it has gone to sleep a moment ago");
    }
    if workspace.spec.power.as_deref() == Some("Awake") {
        line(text, "Awake", "because spec.power says so; it never sleeps by itself");
    }
    if let Some(why) = unknown {
        return line(text, "Awake", &format!("why is not known: {why}"));
    }
    let attached: u32 = shells.iter().map(|shell| shell.attached).sum();
    let label = |is_first: bool| if is_first { "Awake" } else { "" };
    let mut is_first = workspace.spec.power.as_deref() != Some("Awake");
    if attached > 0 {
        let ids: Vec<&str> =
            shells.iter().filter(|shell| shell.attached > 0).map(|shell| shell.id.as_str()).collect();
        let value = format!("because {} attached to {}", people(attached), shell_names(&ids));
        line(text, label(std::mem::take(&mut is_first)), &value);
    }
    if !processes.is_empty() {
        let value = match processes.len() {
            1 => "because a process runs:".to_owned(),
            count => format!("because {count} processes run:"),
        };
        line(text, label(std::mem::take(&mut is_first)), &value);
        for process in processes.iter().take(SHOWN_PROCESSES) {
            line(text, "", &format!("  {}", process_line(process)));
        }
        if let Some(more) = processes.len().checked_sub(SHOWN_PROCESSES).filter(|more| *more > 0) {
            line(text, "", &format!("  and {more} more"));
        }
    }
    if attached == 0 && processes.is_empty() {
        let value = format!(
            "because somebody follows a stream or waits for an answer, or used it less than {after} ago"
        );
        line(text, label(is_first), &value);
    }
    let idle = shells.len() - shells.iter().filter(|shell| shell.attached > 0).count();
    if idle > 0 {
        line(
            text,
            "Shells",
            &format!("{idle} that nobody is attached to; one that only waits keeps nothing awake"),
        );
    }
    if workspace.spec.power.as_deref() != Some("Awake") {
        line(text, "Sleeps", &format!("{after} after the last of it (spec.idle.sleepAfter)"));
    }
}

fn people(count: u32) -> String {
    if count == 1 { "somebody is".to_owned() } else { format!("{count} clients are") }
}

fn shell_names(ids: &[&str]) -> String {
    let word = if ids.len() == 1 { "shell" } else { "shells" };
    format!("{word} {}", ids.join(", "))
}

fn process_line(process: &ProcessInfo) -> String {
    let command: String = printable(&process.argv.join(" ")).chars().take(SHOWN_CHARACTERS).collect();
    format!("{:<6} {} ({}, {})", process.pid, command, age(&process.started_at), bytes(process.memory_bytes))
}

/// What to do about it.
fn next_steps(
    name: &str,
    namespace: &str,
    ready: Option<&Condition>,
    is_ready: bool,
    reasons: Option<&Reasons>,
) -> Vec<String> {
    if is_ready {
        let mut steps = vec![format!("kubectl lodge exec {name} -n {namespace} -- COMMAND")];
        if reasons.is_some_and(|reasons| !reasons.processes.is_empty()) {
            steps.push(format!("kubectl lodge ps {name} -n {namespace}, or put it to sleep: kubectl lodge sleep {name} -n {namespace}"));
        }
        return steps;
    }
    let described = format!("kubectl describe workspace {name} -n {namespace}");
    let specific = ready.and_then(|condition| way_out(&condition.reason, namespace));
    specific.into_iter().chain([described]).collect()
}

/// What helps against a reason for not being ready.
fn way_out(why: &str, namespace: &str) -> Option<String> {
    Some(match why {
        reason::RUNNER_NOT_READY | reason::RUNNER_UNSCHEDULABLE | reason::RUNNER_UNREACHABLE => {
            format!("see the runner's pod: kubectl describe pods -n {namespace} -l app.kubernetes.io/name=lodge-runner")
        }
        reason::RUNNERS_FULL => {
            format!("put workspaces to sleep that nobody needs, or raise the limits of runners: kubectl lodge top -n {namespace}")
        }
        reason::SECRET_MISSING => format!("make the Secret, or correct its name in the spec: kubectl get secrets -n {namespace}"),
        reason::CONFIG_MAP_MISSING => {
            format!("make the ConfigMap, or correct its name in the spec: kubectl get configmaps -n {namespace}")
        }
        reason::CLAIM_MISSING => format!("make the PersistentVolumeClaim, or correct its name in the spec: kubectl get pvc -n {namespace}"),
        reason::SOFTWARE_UNKNOWN | reason::INVALID_SPEC => "correct what the message names in the spec; kubectl explain workspace.spec tells what may stand there".to_owned(),
        reason::BOOT_FAILED => {
            format!("read the runner's log: kubectl logs -n {namespace} -l app.kubernetes.io/name=lodge-runner --tail 50")
        }
        reason::BINDING => "wait a moment: kubectl wait --for=condition=Ready".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn explained(value: serde_json::Value, reasons: Option<Reasons>) -> (String, bool) {
        let workspace = serde_json::from_value(value).unwrap();
        let Explained { text, is_ready } = explain("ada", "team-a", &workspace, reasons.as_ref());
        (text, is_ready)
    }

    #[test]
    fn words_of_others_give_the_terminal_no_commands() {
        let conditions =
            json!([{"type": "Ready", "status": "False", "reason": "R", "message": "a\u{1b}[2Jb"}]);
        let (text, _) = explained(json!({"metadata": {}, "status": {"conditions": conditions}}), None);
        assert!(text.contains("a\\u{1b}[2Jb") && !text.contains('\u{1b}'), "{text}");
    }

    fn assert_contains(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_workspace_that_sleeps_is_ready() {
        let (text, is_ready) = explained(
            json!({
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
            }),
            None,
        );
        assert!(is_ready);
        assert_contains(
            &text,
            &[
                "Workspace ada in namespace team-a is ready and asleep.",
                "Runner    lodge-runner-0",
                "Files     are lost at sleep (no volume)",
                "Woken     2026-01-01T00:00:00Z by Exec, first byte after 3 ms",
                "Sleeping  Idle: unused for 15m",
                "Wakes     with the first command",
                "kubectl lodge exec ada",
            ],
        );
    }

    #[test]
    fn a_workspace_that_is_not_ready_says_why_and_what_helps() {
        let (text, is_ready) = explained(
            json!({
                "metadata": {"generation": 2},
                "status": {"observedGeneration": 1, "conditions": [
                    {"type": "Ready", "status": "False", "reason": "SecretMissing", "message": "there is no Secret s"}]},
            }),
            None,
        );
        assert!(!is_ready);
        assert_contains(
            &text,
            &[
                "is not ready (SecretMissing): there is no Secret s",
                "the spec has changed since",
                "Next: make the Secret",
                "Next: kubectl describe workspace ada -n team-a",
            ],
        );
    }

    #[test]
    fn a_workspace_that_nobody_has_looked_at_points_to_the_operator() {
        let (text, is_ready) = explained(json!({"metadata": {}}), None);
        assert!(!is_ready && text.contains("lodge-operator"), "{text}");
    }

    fn awake_workspace() -> serde_json::Value {
        json!({
            "metadata": {}, "spec": {"idle": {"sleepAfter": "7m"}},
            "status": {"power": "Awake", "conditions": [{"type": "Ready", "status": "True"}]},
        })
    }

    #[test]
    fn what_keeps_a_workspace_awake_is_named() {
        let process = json!({
            "pid": 7, "parent": 0, "group": 7, "session": 7, "argv": ["make", "nightly"], "state": "running",
            "startedAt": "2026-01-01T00:00:00Z", "memoryBytes": 1024,
        });
        let shell = json!({
            "id": "1", "pid": 9, "argv": ["sh"], "startedAt": "2026-01-01T00:00:00Z", "cols": 80, "rows": 24,
            "attached": 1, "first": 0, "end": 0,
        });
        let reasons = Reasons {
            processes: vec![serde_json::from_value(process).unwrap()],
            shells: vec![serde_json::from_value(shell).unwrap()],
            ..Reasons::default()
        };
        let (text, _) = explained(awake_workspace(), Some(reasons));
        assert_contains(
            &text,
            &[
                "Awake     because somebody is attached to shell 1",
                "because a process runs:",
                "7      make nightly",
                "Sleeps    7m after the last of it (spec.idle.sleepAfter)",
                "kubectl lodge sleep ada -n team-a",
            ],
        );
    }

    #[test]
    fn without_processes_and_shells_it_is_requests_or_the_time() {
        let (text, _) = explained(awake_workspace(), Some(Reasons::default()));
        assert_contains(&text, &["follows a stream or waits for an answer, or used it less than 7m ago"]);
        let unknown = Reasons { unknown: Some("you may not".to_owned()), ..Reasons::default() };
        assert_contains(
            &explained(awake_workspace(), Some(unknown)).0,
            &["Awake     why is not known: you may not"],
        );
    }
}
